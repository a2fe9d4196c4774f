"""What curation reads: every kind of input becomes rows, none is lost, confused with another, or made up."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from upwell.curation.curate import curate
from upwell.curation.settings import CurateSettings
from upwell.errors import UsageError
from upwell.records import Draft, Example, Problem, Record, Reject, Response, Verdict
from upwell.runs import Run


def make_run(path: Path, verb: str, **tables: list[Record]) -> Path:
    with Run.open(path, verb=verb, settings={}, fingerprint={}, identity={"engine": "scripted/1"}) as run:
        for name, rows in tables.items():
            run.append(name, rows)
        run.finish({})
    return path


def draft(key: str, **changes: Any) -> Draft:
    number = sum(map(ord, key))
    given = {"method": "xwin", "question": f"What is {number} + {number}?", "answer": str(2 * number),
             "solution": f"{number} + {number} = {2 * number}. The answer is {2 * number}."}  # fmt: skip
    return Draft(key=key, **(given | changes))


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def curated(*inputs: Path | str, out: Path, **settings: Any) -> Run:
    return Run.read(curate([str(one) for one in inputs], CurateSettings(out=str(out), **settings)))


def examples(run: Run) -> dict[str, Example]:
    found = list(run.rows("examples", Example))
    assert len({one.key for one in found}) == len(found)
    return {one.key: one for one in found}


def rejects(run: Run) -> list[tuple[str, str, str]]:
    return [(one.key, one.step, one.reason) for one in run.rows("rejects", Reject)]


@pytest.fixture
def graded(tmp_path: Path) -> Path:
    problems = [
        Problem(key=f"p{n}", question=f"{n} + 1?", answer=str(n + 1), source="gsm8k", level="2")
        for n in range(3)
    ]
    responses, verdicts = [], []
    for n, right in ((0, [True, False, True]), (1, [False, False, False]), (2, [True, None, False])):
        for i, correct in enumerate(right):
            key = f"p{n}#{i}"
            responses.append(Response(key=key, problem=f"p{n}", index=i, text=f"draw {i}: {n + 1}", tokens=5,
                                      finish="length" if key == "p0#2" else "stop"))  # fmt: skip
            if key != "p2#2":
                verdicts.append(Verdict(key=key, correct=correct))
    # Verdicts of several sessions need not be in the order of the responses.
    return make_run(
        tmp_path / "graded", "measure", problems=problems, responses=responses, verdicts=verdicts[::-1]
    )


def test_correct_responses_become_rows_and_the_others_are_accounted_for(graded: Path, tmp_path: Path) -> None:
    run = curated(graded, out=tmp_path / "out")
    found = examples(run)
    assert set(found) == {"p0#0", "p0#2", "p2#0"}
    one = found["p2#0"]
    assert (one.problem, one.question, one.answer, one.source, one.level) == (
        "p2",
        "2 + 1?",
        "3",
        "gsm8k",
        "2",
    )
    assert one.completion.strip() == "draw 0: 3" and one.lineage == ("p2",)
    reasons = {key: reason for key, _, reason in rejects(run)}
    assert reasons == {
        "p0#1": "wrong answer", "p1#0": "wrong answer", "p1#1": "wrong answer", "p1#2": "wrong answer",
        "p2#1": "could not tell", "p2#2": "not graded",
    }  # fmt: skip
    assert run.summary is not None and run.summary["teachers"] == {"scripted/1": 3}


def test_the_fail_rate_is_over_graded_responses(graded: Path, tmp_path: Path) -> None:
    run = curated(graded, out=tmp_path / "out", balance=("difficulty=9",))
    assert run.summary is not None
    # p0: 1 of 3 wrong; p2: 1 of 2 that were graded.
    assert run.summary["balance"]["difficulty"]["had"] == {"fails 20-40 %": 2, "fails 40-60 %": 1}


def test_responses_cut_at_the_limit_go_where_an_end_is_required(graded: Path, tmp_path: Path) -> None:
    run = curated(graded, out=tmp_path / "out", require=("ends",))
    assert "p0#2" not in examples(run)
    assert ("p0#2", "read", "cut off: at the token limit") in rejects(run)


def test_rows_of_several_inputs_with_the_same_key_are_neither_lost_nor_confused(tmp_path: Path) -> None:
    first = make_run(tmp_path / "a", "synthesize", drafts=[draft("s/xwin-0"), draft("s/xwin-1")])
    other = draft("s/xwin-0", question="Another question?", solution="Another. The answer is 7.")
    second = make_run(tmp_path / "b", "synthesize", drafts=[other, draft("s/xwin-1")])
    run = curated(first, second, out=tmp_path / "out", exact=False)
    found = examples(run)
    assert sorted(one.question for one in found.values()) == sorted(
        [draft("s/xwin-0").question, "Another question?", draft("s/xwin-1").question]
    )
    renamed = [key for key in found if key.startswith("s/xwin-0~")]
    assert len(renamed) == 2 and "s/xwin-1" in found
    assert rejects(run) == [("s/xwin-1", "read", "the same row again")]
    # Which run is named first changes neither the rows nor their keys.
    assert set(examples(curated(second, first, out=tmp_path / "swapped", exact=False))) == set(found)


def test_a_key_that_looks_like_a_copy_cannot_clash_with_one(tmp_path: Path) -> None:
    drafts = [draft("k", solution="One. Two. Three."), draft("k*2", solution="Just one.")]
    path = make_run(tmp_path / "a", "synthesize", drafts=drafts)
    found = examples(curated(path, out=tmp_path / "out", resample="sentences", resample_rows=4))
    assert {key for key, one in found.items() if one.question == draft("k").question} == {"k", "k*2", "k*3"}
    (own,) = set(found) - {"k", "k*2", "k*3"}
    assert own.startswith("k*2~") and found[own].completion.strip() == "Just one."


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_files_of_every_kind_give_the_same_rows(kind: str, tmp_path: Path) -> None:
    rows = [{"query": f"{n} + {n}?", "response": f"It is\n{2 * n}, \"clearly\".", "gold": str(2 * n), "id": f"row-{n}"}
            for n in range(3)]  # fmt: skip
    path = tmp_path / f"data.{kind}"
    if kind == "jsonl":
        jsonl(path, rows)
    elif kind == "json":
        path.write_text(json.dumps({"data": rows}))
    elif kind == "parquet":
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    run = curated(path, out=tmp_path / "out", field=("question=query", "solution=response", "answer=gold"))
    found = examples(run)
    assert list(found) == ["row-0", "row-1", "row-2"]
    assert found["row-2"].answer == "4" and found["row-2"].completion == ' It is\n4, "clearly".'


def test_rows_without_an_id_are_named_by_their_content(tmp_path: Path) -> None:
    rows = [{"question": "2 + 2?", "solution": text} for text in ("It is 4.", "4, of course.")]
    forward = examples(curated(jsonl(tmp_path / "d.jsonl", rows), out=tmp_path / "a"))
    backward = examples(curated(jsonl(tmp_path / "d.jsonl", rows[::-1]), out=tmp_path / "b"))
    assert {key: one.completion for key, one in forward.items()} == {
        key: one.completion for key, one in backward.items()
    }
    assert len({one.problem for one in forward.values()}) == 1  # two solutions of one problem
    assert {one.answer for one in forward.values()} == {"4"}  # read from the solution, and the run says so
    assert any("no answer" in note for note in (Run.read(tmp_path / "a").summary or {})["notes"])


def test_several_solutions_under_one_id_all_stay(tmp_path: Path) -> None:
    row = {"id": "q1", "question": "2 + 2?", "answer": "4"}
    path = jsonl(tmp_path / "d.jsonl", [row | {"solution": f"{n} + {4 - n} = 4"} for n in range(3)])
    assert len(examples(curated(path, out=tmp_path / "out"))) == 3


def test_faulty_rows_are_rejects_under_their_id_or_line(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", [
        {"id": "good", "question": "2 + 2?", "answer": "4", "solution": "4"},
        {"id": "empty", "question": " ", "answer": "4", "solution": "4"},
        {"question": {"text": "?"}, "answer": "4", "solution": "4"},
        {"id": "bare", "question": "3 + 3?", "answer": "", "solution": ""},
    ])  # fmt: skip
    with path.open("a") as file:
        file.write('{"id": "torn", "question": "1 +')
    run = curated(path, out=tmp_path / "out")
    assert list(examples(run)) == ["good"]
    assert rejects(run) == [
        ("empty", "read", "no question"),
        ("d.jsonl:3", "read", "unreadable: a dict where text or a number belongs"),
        ("d.jsonl:5", "read", "cut off: the last line"),
        ("bare", "solution", "no solution"),
    ]


def test_rows_with_an_answer_alone_stay_and_are_counted(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "d.jsonl",
        [{"id": f"q{n}", "question": f"{n} + {n}?", "answer": str(2 * n)} for n in range(3)],
    )
    run = curated(path, out=tmp_path / "out")
    assert {key: one.completion.strip() for key, one in examples(run).items()} == {
        "q0": "0",
        "q1": "2",
        "q2": "4",
    }
    assert any("3 rows have no solution" in note for note in (run.summary or {})["notes"])
    boxed = curated(path, out=tmp_path / "boxed", final_answer="boxed")
    assert examples(boxed)["q1"].completion.strip() == "The final answer is $\\boxed{2}$."


def test_the_benchmark_train_split_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "gsm8k").mkdir(parents=True)
    rows = [{"question": f"{n} and {n}?", "answer": f"{n}+{n} = {2 * n}\n#### {2 * n}"} for n in range(9)]
    jsonl(tmp_path / "data" / "gsm8k" / "train.jsonl", rows)
    monkeypatch.setenv("UPWELL_DATA", str(tmp_path / "data"))
    found = examples(curated("gsm8k/train", out=tmp_path / "out", limit=4))
    assert len(found) == 4 and all(key.startswith("gsm8k/train/") for key in found)


def bad_inputs(tmp_path: Path) -> Iterator[tuple[list[str], dict[str, Any], str, str]]:
    """Inputs, settings, what the message has to say, and what the hint."""
    rows = jsonl(tmp_path / "rows.jsonl", [{"Question": "2 + 2?", "response": "4"}])
    yield [], {}, "no input", "upwell curate"
    yield ["nowhere"], {}, "no run, file or problem set `nowhere`", "gsm8k/train"
    yield ["gsm8k"], {}, "several splits", "gsm8k/train"
    yield [str(rows)], {}, "no column `question`", "--field question=Question"
    yield [str(rows)], {"field": ("question=Question",)}, "no column `solution`", "--field solution=response"
    yield (
        [str(rows)],
        {"field": ("question=Question", "solution=reponse")},
        "no column `reponse`",
        "solution=response",
    )
    yield [str(rows)], {"field": ("text=Question",)}, "no such field", "question"
    yield (
        [str(rows)],
        {"field": ("question=Question", "solution=response"), "limit": 3},
        "--limit does nothing",
        "limit",
    )
    broken = tmp_path / "broken.jsonl"
    broken.write_text(
        '{"question": "2 + 2?", "solution": "4"}\n' * 1500 + "nonsense\n" + '{"question": "1?"}\n'
    )
    yield [str(broken)], {}, "broken.jsonl:1501", "sed -n 1501p"
    (tmp_path / "empty.jsonl").write_text("")
    yield [str(tmp_path / "empty.jsonl")], {}, "holds no rows", "whole"
    sampled = make_run(
        tmp_path / "sampled", "sample", responses=[Response(key="p#0", problem="p", index=0, text="4")]
    )
    yield [str(sampled)], {}, "not graded", f"upwell grade {sampled}"
    yield [str(sampled)], {"field": ("question=a",)}, "not graded", "upwell grade"
    folder = tmp_path / "folder"
    folder.mkdir()
    yield [str(folder)], {}, "no run at", "--out"


def test_bad_inputs_are_refused_with_a_hint_and_leave_the_place_free(tmp_path: Path) -> None:
    for inputs, settings, says, hint in bad_inputs(tmp_path):
        with pytest.raises(UsageError) as error:
            curated(*inputs, out=tmp_path / "out", **settings)
        assert says in error.value.message, error.value
        assert hint in (error.value.hint or ""), error.value
        assert error.value.exit_code == 2
    good = jsonl(tmp_path / "good.jsonl", [{"question": "2 + 2?", "solution": "4"}])
    assert len(examples(curated(good, out=tmp_path / "out"))) == 1


def test_an_input_that_changed_is_not_the_same_run(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", [{"question": "2 + 2?", "solution": "4"}])
    curated(path, out=tmp_path / "out")
    jsonl(path, [{"question": "3 + 3?", "solution": "6"}])
    with pytest.raises(UsageError, match="other settings"):
        curated(path, out=tmp_path / "out")
