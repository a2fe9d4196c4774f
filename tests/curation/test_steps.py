"""Steps: each turns down what it says, says why, and lets the rest through."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_inputs import curated, draft, examples, jsonl, make_run

from upwell.curation.contamination import METHODS
from upwell.curation.curate import curate
from upwell.curation.selection import sentences
from upwell.curation.settings import CurateSettings
from upwell.curation.steps import looping, unended
from upwell.errors import UsageError
from upwell.records import Draft, Reject
from upwell.runs import Run

SOLVED = "Half of 48 is 48 / 2 = 24. Together that is 48 + 24 = 72. The answer is 72."


def run_of(tmp_path: Path, drafts: list[Draft], **settings: Any) -> Run:
    make_run(tmp_path / "in", "synthesize", drafts=drafts)
    return curated(tmp_path / "in", out=tmp_path / "out", **settings)


def turned_down(run: Run) -> dict[str, tuple[str, str]]:
    return {one.key: (one.step, one.reason) for one in run.rows("rejects", Reject)}


def solved(key: str, solution: str, **changes: Any) -> Draft:
    return draft(key, **{"answer": "72", "solution": solution, "question": f"Clips of {key}?"} | changes)


@pytest.mark.parametrize(
    ("settings", "solution", "reason"),
    [
        ({"min_words": 3}, "It is 72.", None),
        ({"min_words": 4}, "It is 72.", "too short: 3 words"),
        ({"max_words": 2}, "It is 72.", "too long: 3 words"),
        ({"require": ("answer",)}, "I do not know how this could be solved.", "no final answer"),
        ({"require": ("agrees",)}, SOLVED, None),
        ({"require": ("agrees",)}, "The answer is \\boxed{72.0}.", None),
        ({"require": ("agrees",)}, "The answer is 71.", "other answer: 71 where the row says 72"),
        ({"require": ("agrees",)}, "I do not know how this could be solved.", "no final answer"),
        ({"require": ("sound",)}, SOLVED, None),
        ({"require": ("sound",)}, "48 + 24 = 73. The answer is 72.", "wrong arithmetic"),
        ({"require": ("ends",)}, "Half of 48 is 24 and so the two", "cut off: no end of a sentence"),
        ({"require": ("ends",)}, "Half of 48 is \\boxed{24", "cut off: a box is open"),
        ({"require": ("ends",)}, "Half of 48 is 24.\n#### 24 clips", None),
        ({"require": ("loopless",)}, SOLVED, None),
        ({"require": ("loopless",)}, "Add 48 and 24. " * 20, "repeats itself"),
        ({"script": "latin"}, SOLVED, None),
        ({"script": "latin"}, "Половина от 48 это 24, всего 72 скрепки.", "other script"),
        ({"script": "cyrillic:0.5"}, "Половина от 48 это 24, всего 72 скрепки.", None),
    ],
)  # fmt: skip
def test_what_a_filter_turns_down(
    settings: dict[str, Any], solution: str, reason: str | None, tmp_path: Path
) -> None:
    run = run_of(
        tmp_path, [solved("row", solution), solved("other", SOLVED + " Half of 48 is 24.")], **settings
    )
    found = turned_down(run).get("row")
    assert (found is None) == (reason is None), found
    if reason is not None:
        assert found is not None and found[1].startswith(reason)
        assert "row" not in examples(run)


def test_by_default_only_duplicates_go(tmp_path: Path) -> None:
    bad = [
        solved("loop", "Add 48 and 24. " * 20),
        solved("wrong", "1 + 1 = 3. The answer is 5"),
        solved("short", "72"),
    ]
    again = msgspec.structs.replace(bad[2], key="again")
    run = run_of(tmp_path, [*bad, again])
    assert set(examples(run)) == {"loop", "wrong", "short"}
    assert turned_down(run)["again"][0] == "exact duplicates"


def test_a_reject_holds_what_was_rejected_and_the_summary_counts_every_row(tmp_path: Path) -> None:
    run = run_of(
        tmp_path, [solved("a", SOLVED), solved("b", "72"), solved("c", "")], min_words=2, require=("sound",)
    )
    (short,) = [one for one in run.rows("rejects", Reject) if one.key == "b"]
    assert "Clips of b?" in short.rejected and "72" in short.rejected
    assert run.summary is not None
    steps = {step["step"]: step for step in run.summary["steps"]}
    assert [step["step"] for step in run.summary["steps"]][:4] == ["read", "solution", "length", "sound"]
    assert steps["length"] == {"step": "length", "in": 3, "out": 1, "rejected": {"too short": 2}}
    for before, after in zip(run.summary["steps"], run.summary["steps"][1:], strict=False):
        assert before["out"] == after["in"]
    assert run.count("rejects") == run.summary["counts"]["rejected"] == 2


def test_real_solutions_of_the_trainable_kind_are_not_taken_for_loops_or_cuts() -> None:
    aligned = "\\begin{align*}\nx &= 1 + 2 \\\\\n&= 3.\n\\end{align*}\nSo $x = \\boxed{3}$."
    cases = " ".join(
        f"If n is {n}, then n squared is {n * n}, which leaves {n * n % 7} on division by 7."
        for n in range(12)
    )
    for text in (SOLVED, aligned, cases, "#### 72", "He has 18 eggs left\n#### 18"):
        one = solved("k", text)
        assert looping(one) is None and unended(one) is None, text


def test_caps_per_question_are_random_but_the_same_again(tmp_path: Path) -> None:
    drafts = [solved(f"q{n % 10}", f"Way {n}. The answer is 72.") for n in range(100)]
    drafts = [msgspec.structs.replace(one, key=f"{one.key}#{n}") for n, one in enumerate(drafts)]
    run = run_of(tmp_path, drafts, per_problem=3)
    kept = examples(run)
    assert Counter(one.question for one in kept.values()) == dict.fromkeys(
        (f"Clips of q{n}?" for n in range(10)), 3
    )
    # Not simply the first three of each.
    assert {int(key.partition("#")[2]) for key in kept} != set(range(30))
    assert list(examples(curated(tmp_path / "in", out=tmp_path / "b", per_problem=3))) == list(kept)
    assert list(examples(curated(tmp_path / "in", out=tmp_path / "c", per_problem=3, seed=1))) != list(kept)


def many(tmp_path: Path, **counts: int) -> Path:
    drafts = [solved(f"{source}/{n}", f"Way {n}. The answer is 72.", source=source, level=str(n % 3))
              for source, count in counts.items() for n in range(count)]  # fmt: skip
    return make_run(tmp_path / "in", "synthesize", drafts=drafts)


def sources(run: Run) -> dict[str, int]:
    return dict(Counter(one.source for one in examples(run).values()))


def test_balance_evens_out_or_caps(tmp_path: Path) -> None:
    path = many(tmp_path, gsm8k=50, math=20)
    assert sources(curated(path, out=tmp_path / "a", balance=("source",))) == {"gsm8k": 20, "math": 20}
    assert sources(curated(path, out=tmp_path / "b", balance=("source=30",))) == {"gsm8k": 30, "math": 20}
    run = curated(path, out=tmp_path / "c", balance=("source", "level=9"))
    assert max(Counter(one.level for one in examples(run).values()).values()) == 9


def test_the_summary_counts_each_source_by_its_whole_name(tmp_path: Path) -> None:
    path = many(tmp_path, **{"procedural:products": 6, "procedural:chain_sum": 5, "gsm8k": 2})
    run = curated(path, out=tmp_path / "a", balance=("source",))
    assert run.summary is not None
    [step] = [step for step in run.summary["steps"] if step["step"] == "balance source"]
    assert step["rejected"] == {
        "more than 2 of procedural:products": 4, "more than 2 of procedural:chain_sum": 3,
    }  # fmt: skip


def test_mixes_have_their_proportions_and_no_row_twice(tmp_path: Path) -> None:
    path = many(tmp_path, gsm8k=50, math=20, aqua=5)
    run = curated(path, out=tmp_path / "a", mix="gsm8k=1,math=2,aqua=0")
    assert sources(run) == {"gsm8k": 10, "math": 20}
    with pytest.raises(UsageError, match="says nothing of the source `aqua`") as error:
        curated(path, out=tmp_path / "b", mix="gsm8k=1,math=2")
    assert error.value.hint == "--mix gsm8k=1,math=2,aqua=1 (0 leaves it out)"
    with pytest.raises(UsageError, match="asks for the source `svamp`"):
        curated(path, out=tmp_path / "b", mix="gsm8k=1,math=2,aqua=1,svamp=1")


def test_sentences() -> None:
    assert sentences("He has 3.5 kg. She has 2!\nTogether 5.5\n#### 5.5") == 3
    assert sentences("") == 0


def test_resampling_makes_long_solutions_weigh_more_and_records_the_weights(tmp_path: Path) -> None:
    lengths = {f"k{n}": 1 + n % 8 for n in range(400)}
    drafts = [
        solved(key, " ".join(f"Step {i} of {key}." for i in range(count))) for key, count in lengths.items()
    ]
    run = run_of(tmp_path, drafts, resample="sentences")
    kept = examples(run)
    assert len(kept) == 400 and run.summary is not None
    drawn = Counter(lengths[key.partition("*")[0]] for key in kept)
    told = run.summary["resampling"]
    assert {row["sentences"]: row["drawn"] for row in told["weights"]} == drawn
    for row in told["weights"]:
        # 50 rows of each length; a row of s sentences is to be there s / 4.5 times.
        assert row["rows"] == 50 and row["copies_expected"] == pytest.approx(row["sentences"] / 4.5)
        assert abs(row["drawn"] - 50 * row["sentences"] / 4.5) <= 10
    once = {key.partition("*")[0] for key in kept}
    assert once | set(turned_down(run)) == set(lengths) and not once & set(turned_down(run))
    assert (
        len(examples(curated(tmp_path / "in", out=tmp_path / "b", resample="sentences", resample_rows=37)))
        == 37
    )


def test_a_step_of_the_callers_own(tmp_path: Path) -> None:
    def shouting(drafts: Any) -> Any:
        for one in drafts:
            yield Reject(key=one.key, step="shouting", reason="quiet") if one.key == "a" else one

    path = make_run(tmp_path / "in", "synthesize", drafts=[draft("a"), draft("b")])
    run = Run.read(
        curate([str(path)], CurateSettings(out=str(tmp_path / "out")), also=[("shouting", shouting)])
    )
    assert set(examples(run)) == {"b"} and turned_down(run) == {"a": ("shouting", "quiet")}


@pytest.mark.parametrize(
    ("settings", "says", "hint"),
    [
        ({"require": ("sane",)}, "--require is `sane`", "sound"),
        ({"script": "klingon"}, "no such script", "latin"),
        ({"script": "latin:2"}, "no share", "--script latin:0.9"),
        ({"balance": ("mood",)}, "--balance is `mood`", "difficulty"),
        ({"balance": ("level=many",)}, "no number of rows", "--balance level=1000"),
        ({"mix": "gsm8k"}, "SOURCE=WEIGHT", "gsm8k=1"),
        ({"mix": "gsm8k=0"}, "weight 0", "gsm8k=1"),
        ({"resample": "words"}, "--resample takes sentences", "--resample sentences"),
        ({"resample_rows": 5}, "does nothing without --resample", "leave"),
        ({"ladder_by": "tokens"}, "does nothing without --ladder", "leave"),
        ({"near_on": "question"}, "does nothing without --near", "leave"),
        ({"style": "boxed"}, "does nothing without --require", "leave"),
        ({"audit": True}, "does nothing without --against", "leave"),
        ({"min_words": 9, "max_words": 3}, "no row would be left", "--min-words 3"),
        ({"near": 1.5}, "--near is 1.5", "--near"),
        ({"against": ("",)}, "names no benchmark", "--against gsm8k"),
        ({"against": (" ", ",")}, "names no benchmark", "--against gsm8k"),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(
    settings: dict[str, Any], says: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as error:
        curated("nowhere", out=tmp_path / "out", **settings)
    assert says in error.value.message and hint in (error.value.hint or "")
    assert not (tmp_path / "out").exists()


def words(seed: int, count: int = 60) -> str:
    return " ".join(f"word{(seed * 7919 + n * n * 104729) % 5000}" for n in range(count))


def test_of_duplicates_the_better_row_stays(tmp_path: Path) -> None:
    text = words(1)
    drafts = [
        solved("first", f"{text} end.", question="Clips?"),
        solved("agreed", f"{text}  End.", question="CLIPS?", agreement=0.9),
        solved("cut", f"{text} and then", question="Clips?"),
        solved("wrong", f"{text} 1 + 1 = 3.", question="Clips?"),
        solved("other", words(2)),
    ]
    run = run_of(tmp_path, drafts)
    assert set(examples(run)) == {"agreed", "cut", "wrong", "other"}
    assert turned_down(run)["first"] == ("exact duplicates", "the same question and solution as: agreed")
    near = curated(tmp_path / "in", out=tmp_path / "near", near=0.7)
    assert set(examples(near)) == {"agreed", "other"}
    step, reason = turned_down(near)["cut"]
    assert step == "near duplicates" and reason.startswith("question and solution near those of: agreed (0.")
    by_question = curated(tmp_path / "in", out=tmp_path / "question", near=0.9, near_on="question")
    assert set(examples(by_question)) == {"agreed", "other"}


QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips did "
    "Natalia sell altogether in April and May?"
)


@pytest.fixture
def benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "gsm8k").mkdir(parents=True)
    rows = [{"question": QUESTION, "answer": "48 + 24 = 72\n#### 72"}]
    rows += [{"question": f"{words(n, 30)}?", "answer": f"#### {n}"} for n in range(3, 20)]
    jsonl(tmp_path / "data" / "gsm8k" / "test.jsonl", rows)
    monkeypatch.setenv("UPWELL_DATA", str(tmp_path / "data"))


@pytest.mark.usefixtures("benchmarks")
def test_rows_that_hold_a_test_question_go_and_say_which(tmp_path: Path) -> None:
    drafts = [
        draft("clean", question="How far is a train after 3 hours at 60 km/h?", solution="3 * 60 = 180 km."),
        draft("copied", question=QUESTION, solution="It is 72."),
        draft(
            "changed", question=QUESTION.replace("48", "64").replace("Natalia", "Maria"), solution="It is 96."
        ),
        draft("inside", question="Solve it.", solution=f"The problem says: {QUESTION} So 72."),
    ]
    run = run_of(tmp_path, drafts, against=("gsm8k",), workers=1)
    assert set(examples(run)) == {"clean"}
    down = turned_down(run)
    assert {step for step, _ in down.values()} == {"decontamination"}
    assert down["copied"][1].startswith("exact: its question is near the question of gsm8k/test/")
    assert "its solution is near the question of gsm8k/test/" in down["inside"][1]
    assert run.summary is not None
    told = run.summary["decontamination"]
    assert told["benchmarks"] == {"gsm8k/test": 18} and told["rejected_for"] == {"gsm8k/test": 3}
    assert not any("nothing was decontaminated" in note for note in run.summary["notes"])
    assert {
        "name": "gsm8k/test",
        "digest": run.manifest["fingerprint"]["against"][0]["digest"],
    } in run.manifest["inputs"]


@pytest.mark.usefixtures("benchmarks")
def test_against_all_says_which_benchmarks_are_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path, [solved("clean", SOLVED)], against=("all",), workers=1)
    assert run.summary is not None
    (note,) = [note for note in run.summary["notes"] if note.startswith("--against all")]
    assert note.startswith("--against all: gsm8k; not here: math") and "olympiadbench" in note
    monkeypatch.delenv("UPWELL_DATA")
    with pytest.raises(UsageError, match="no benchmark's files") as error:
        curated(tmp_path / "in", out=tmp_path / "none", against=("all",))
    assert "UPWELL_DATA" in (error.value.hint or "")
    with pytest.raises(UsageError, match="no problem set or file `gsm9k`"):
        curated(tmp_path / "in", out=tmp_path / "none", against=("gsm9k",))


@pytest.mark.usefixtures("benchmarks")
def test_an_audit_is_written_beside_the_rows(tmp_path: Path) -> None:
    drafts = [
        draft("copied", question=QUESTION, split="train"),
        solved("clean", "<script>3</script> 60 km", split="test"),
    ]
    run = run_of(tmp_path, drafts, against=("gsm8k",), audit=True, workers=1)
    page = (run.path / "audit.html").read_text()
    assert "copied" in page and "Natalia" in page and "<script>" not in page
    assert "copied" in (run.path / "audit.csv").read_text()
    assert run.summary is not None
    assert run.summary["decontamination"]["audit"]["train-seeded"] == {"removed": 1, "kept": 0}
    assert not [path for path in run.path.iterdir() if path.suffix == ".tmp"]


@pytest.mark.usefixtures("benchmarks")
def test_bounds_can_be_moved(tmp_path: Path) -> None:
    drafts = [
        draft(
            "changed", question=QUESTION.replace("48", "64").replace("Natalia", "Maria"), solution="It is 96."
        )
    ]
    off = tuple(f"{method}=2" for method in METHODS)
    assert len(examples(run_of(tmp_path, drafts, against=("gsm8k",), bound=off, workers=1))) == 1
    with pytest.raises(UsageError, match="METHOD=SCORE"):
        CurateSettings(out="x", against=("gsm8k",), bound=("ngram=lots",))


def test_rows_without_solutions_are_duplicates_only_where_their_answers_are(tmp_path: Path) -> None:
    rows = [draft(key, question="2 + 2?", answer=answer, solution="") for key, answer in ["a4", "b5", "c4"]]
    run = curated(make_run(tmp_path / "in", "synthesize", drafts=rows), out=tmp_path / "out")
    assert set(examples(run)) == {"a", "b"} and list(turned_down(run)) == ["c"]


def test_a_benchmark_is_named_without_its_split(tmp_path: Path) -> None:
    path = make_run(tmp_path / "in", "synthesize", drafts=[draft("a")])
    for name in ("gsm8k/test", "gsm8k/train"):
        with pytest.raises(UsageError) as error:
            curated(path, out=tmp_path / "out", against=(name,))
        assert error.value.hint == "--against gsm8k"
