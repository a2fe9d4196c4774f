"""Measuring: the numbers, what is owed, and what is refused."""

from __future__ import annotations

import json
import random
from fractions import Fraction
from math import comb
from pathlib import Path
from typing import Any

import pytest
from arithmetic import ANSWERS, LIMIT, PROBLEMS, Pupil, answer_sheet, spoken, write_problems

from upwell.engines.base import Reply, Request
from upwell.errors import UsageError
from upwell.measurement import GradeSettings, MeasureSettings, SampleSettings, grade, measure, sample
from upwell.records import Failure, Problem, Response, Verdict, draw_seed
from upwell.runs import Run


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    return write_problems(tmp_path / "sums.jsonl")


def settings(file: Path, **changes: Any) -> MeasureSettings:
    """Four samples of the problems in a file, into the folder `run` beside it."""
    asked: dict[str, Any] = dict(
        problems=str(file), out=str(file.parent / "run"), samples=4, max_tokens=LIMIT
    )
    return MeasureSettings(**asked | changes)


def lines(run: Path | str, table: str) -> list[bytes]:
    return (Path(run) / f"{table}.jsonl").read_bytes().splitlines(keepends=True)


def finished(run: Path | str) -> dict[str, Any]:
    summary = Run.read(run).summary
    assert summary is not None
    return summary


class Numbers:
    """The metrics of a summary, each found by exactly one (name, k, slice)."""

    def __init__(self, summary: dict[str, Any]) -> None:
        self._by_key = {(m["name"], m["k"], m["slice"]): m for m in summary["metrics"]}
        assert len(self._by_key) == len(summary["metrics"]), "a metric is there twice"

    def __call__(self, name: str, k: int | None = None, part: str | None = None) -> dict[str, Any]:
        return self._by_key[name, k, part]

    def value(self, name: str, k: int | None = None, part: str | None = None) -> float:
        found = self(name, k, part)["value"]
        assert isinstance(found, float)
        return found


# The numbers


def test_the_numbers_are_those_worked_out_by_hand(problems: Path) -> None:
    run = measure(settings(problems), engine=Pupil().engine)
    summary = finished(run)
    number = Numbers(summary)
    right = {"a": 3, "b": 1, "c": 0, "d": 4}

    assert number.value("pass_ratio") == pytest.approx(8 / 16)
    for k in (1, 2, 4):
        expected = sum(1 - Fraction(comb(4 - c, k), comb(4, k)) for c in right.values()) / 4
        assert number.value("pass@k", k) == pytest.approx(float(expected))
        hat = sum(Fraction(comb(c, k), comb(4, k)) for c in right.values()) / 4
        assert number.value("pass^k", k) == pytest.approx(float(hat))
    assert [number.value("pass@k", k) for k in (1, 2, 4)] == pytest.approx([0.5, 0.625, 0.75])
    # k = 2: a wins a vote of 4, 4 and half of 4, 5; b half of each vote with its 6 in it; d wins all.
    assert number.value("maj@k", 2) == pytest.approx((0.75 + 0.25 + 0 + 1) / 4)
    assert number.value("maj@k", 4) == pytest.approx((1 + 0 + 0 + 1) / 4)
    # The first two of b are 6 and 7: the first seen wins.
    assert number.value("maj@k_first", 2) == pytest.approx((1 + 1 + 0 + 1) / 4)
    assert number.value("maj@k_first", 4) == pytest.approx((1 + 0 + 0 + 1) / 4)
    # Of the 12 responses to other problems only b's two sevens hit a gold, that of d.
    for k in (1, 2, 4):
        chance = float((1 - Fraction(10, 12) ** k) / 4)
        assert number.value("chance_pass@k", k) == pytest.approx(chance)
        adjusted = (number.value("pass@k", k) - chance) / (1 - chance)
        assert number.value("adjusted_pass@k", k) == pytest.approx(adjusted)
    assert number.value("truncated") == pytest.approx(1 / 16)
    assert number.value("no_answer") == pytest.approx(1 / 16)
    assert number.value("mean_tokens") == pytest.approx((15 * 4 + LIMIT) / 16)

    counts = summary["counts"]
    assert (counts["problems"], counts["responses"], counts["correct"]) == (4, 16, 8)
    assert counts["tokens"] == 15 * 4 + LIMIT and counts["undecided"] == 0
    assert sum(counts["by_tier"].values()) == 16 and counts["by_tier"]["none"] == 1


def test_every_number_lies_in_its_intervals_and_none_has_no_width(problems: Path) -> None:
    summary = finished(measure(settings(problems), engine=Pupil().engine))
    for metric in summary["metrics"]:
        if metric["value"] is None:
            continue
        assert metric["low"] <= metric["value"] <= metric["high"]
        assert metric["low_fixed"] <= metric["value"] <= metric["high_fixed"]
        if metric["name"] in ("pass@k", "pass_ratio") and metric["slice"] is None:
            assert metric["low"] < metric["high"] and metric["low_fixed"] < metric["high_fixed"]
            assert (metric["problems"], metric["samples"]) == (4, 16) or metric["samples"] == 4


def test_levels_and_subjects_have_numbers_of_their_own(problems: Path) -> None:
    number = Numbers(finished(measure(settings(problems), engine=Pupil().engine)))
    for part, ratio in (
        ("level=1", (3 + 4) / 8), ("level=2", 1 / 8), ("subject=Algebra", 3 / 8), ("subject=Geometry", 5 / 8),
    ):  # fmt: skip
        assert number.value("pass_ratio", None, part) == pytest.approx(ratio)
        assert number("pass_ratio", None, part)["problems"] == 2
    assert number.value("pass@k", 4, "level=2") == pytest.approx(1 / 2)


@pytest.mark.usefixtures("without_metrics")
def test_the_tables_say_what_was_asked_and_answered(problems: Path) -> None:
    pupil = Pupil()
    run = Run.read(measure(settings(problems, seed=7), engine=pupil.engine))
    assert [p.key for p in run.rows("problems", Problem)] == list("abcd")
    responses = {r.key: r for r in run.rows("responses", Response)}
    verdicts = {v.key: v for v in run.rows("verdicts", Verdict)}
    assert responses.keys() == verdicts.keys() == {f"{p}#{i}" for p in "abcd" for i in range(4)}
    for key, response in responses.items():
        problem, index = key.split("#")
        answer = ANSWERS[problem][int(index)]
        assert (response.problem, response.index) == (problem, int(index))
        assert response.seed == draw_seed(7, problem, int(index))
        assert response.finish == ("length" if answer is None else "stop")
        assert verdicts[key].answer == answer
    assert len({request.seed for request in pupil.asked}) == 16
    assert all(f"{p['question']}" in r.prompt for p in PROBLEMS for r in pupil.asked if r.key[0] == p["id"])
    assert pupil.keys == sorted(pupil.keys), (
        "draws of one problem come together, so that they can share its prompt"
    )


# What is owed


def test_a_finished_run_asks_nothing_again(problems: Path) -> None:
    run = measure(settings(problems), engine=Pupil().engine)
    before = {path.name: path.read_bytes() for path in run.glob("*.jsonl")}
    metrics = finished(run)["metrics"]
    again = Pupil()
    measure(settings(problems), engine=again.engine)
    assert again.asked == []
    assert {path.name: path.read_bytes() for path in run.glob("*.jsonl")} == before
    assert finished(run)["metrics"] == metrics


def test_a_broken_off_run_owes_only_the_rest(problems: Path) -> None:
    def breaking(request: Request) -> str:
        if request.key == "c#1":
            raise KeyboardInterrupt
        return answer_sheet(request)

    with pytest.raises(KeyboardInterrupt):
        measure(settings(problems), engine=Pupil(breaking).engine)
    run = problems.parent / "run"
    assert not (run / "summary.json").exists()
    kept = lines(run, "responses")
    assert len(kept) == 9
    pupil = Pupil()
    measure(settings(problems), engine=pupil.engine)
    assert pupil.keys == ["c#1", "c#2", "c#3", "d#0", "d#1", "d#2", "d#3"]
    assert lines(run, "responses")[:9] == kept
    assert Numbers(finished(run)).value("pass@k", 4) == pytest.approx(0.75)


def test_more_samples_add_to_the_run_and_change_no_row(problems: Path) -> None:
    run = measure(settings(problems, samples=2), engine=Pupil().engine)
    before = {table: lines(run, table) for table in ("problems", "responses", "verdicts")}
    pupil = Pupil()
    assert measure(settings(problems, samples=4), engine=pupil.engine) == run
    assert sorted(pupil.keys) == sorted(f"{p}#{i}" for p in "abcd" for i in (2, 3))
    for table, rows in before.items():
        assert lines(run, table)[: len(rows)] == rows
    assert len(lines(run, "responses")) == len(lines(run, "verdicts")) == 16
    together = finished(measure(settings(problems, out=str(run) + "2"), engine=Pupil().engine))
    assert finished(run)["metrics"] == together["metrics"], "in two goes or in one: the same numbers"
    manifest = Run.read(run).manifest
    assert manifest["settings"]["samples"] == 4 and len(manifest["sessions"]) == 2


@pytest.mark.usefixtures("without_metrics")
def test_a_larger_limit_adds_problems(problems: Path) -> None:
    run = measure(settings(problems, limit=2), engine=Pupil().engine)
    first = set(Run.read(run).keys("problems"))
    assert len(first) == 2 and finished(run)["counts"]["responses"] == 8
    pupil = Pupil()
    measure(settings(problems, limit=3), engine=pupil.engine)
    assert len({r.key[0] for r in pupil.asked} | first) == 3 and not {r.key[0] for r in pupil.asked} & first
    measure(settings(problems), engine=Pupil().engine)
    assert finished(run)["counts"]["responses"] == 16


@pytest.mark.usefixtures("without_metrics")
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"temperature": 0.9}, "temperature 0.7 -> 0.9"),
        ({"top_p": 0.5}, "top_p 1.0 -> 0.5"),
        ({"max_tokens": 99}, f"max_tokens {LIMIT} -> 99"),
        ({"prompt": "alpaca"}, "prompt plain@"),
        ({"seed": 1}, "seed 0 -> 1"),
        ({"style": "boxed"}, "grader "),
        ({"stop": ("x",)}, "stop"),
        ({"samples": 3}, "cannot lower samples 4 -> 3"),
        ({"limit": 2}, "cannot lower limit all -> 2"),
    ],
)
def test_what_changes_the_meaning_of_a_row_is_refused_by_name(
    problems: Path, change: dict[str, Any], named: str
) -> None:
    run = measure(settings(problems), engine=Pupil().engine)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    pupil = Pupil()
    with pytest.raises(UsageError) as refusal:
        measure(settings(problems, **change), engine=pupil.engine)
    assert named in refusal.value.message and "--out" in str(refusal.value.hint)
    assert pupil.asked == []
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.usefixtures("without_metrics")
def test_another_model_or_verb_cannot_resume_a_run(problems: Path) -> None:
    measure(settings(problems), engine=Pupil(identity="scripted/one").engine)
    with pytest.raises(UsageError, match="scripted/one -> scripted/two"):
        measure(settings(problems), engine=Pupil(identity="scripted/two").engine)
    with pytest.raises(UsageError, match="made by `upwell measure`, not `upwell sample`"):
        sample(
            SampleSettings(problems=str(problems), out=settings(problems).out, samples=4, max_tokens=LIMIT),
            engine=Pupil().engine,
        )


# A problem file that changes under a run


@pytest.mark.usefixtures("without_metrics")
def test_a_changed_answer_is_refused_not_graded_by_the_old_one(problems: Path) -> None:
    run = measure(settings(problems, samples=2), engine=Pupil().engine)
    write_problems(problems, [PROBLEMS[0] | {"answer": "5"}, *PROBLEMS[1:]])
    pupil = Pupil()
    with pytest.raises(UsageError, match="`a` is not the same any more") as refusal:
        measure(settings(problems), engine=pupil.engine)
    assert "--out" in str(refusal.value.hint) and pupil.asked == []
    assert finished(run)["counts"]["responses"] == 8


@pytest.mark.usefixtures("without_metrics")
def test_another_file_with_the_same_name_and_ids_is_refused(problems: Path) -> None:
    measure(settings(problems), engine=Pupil().engine)
    other = problems.parent / "elsewhere"
    other.mkdir()
    write_problems(
        other / problems.name, [row | {"question": "Another: " + row["question"]} for row in PROBLEMS]
    )
    with pytest.raises(UsageError, match="is not the same any more"):
        measure(settings(problems, problems=str(other / problems.name)), engine=Pupil().engine)


@pytest.mark.usefixtures("without_metrics")
def test_a_problem_that_is_gone_is_refused(problems: Path) -> None:
    measure(settings(problems), engine=Pupil().engine)
    write_problems(problems, PROBLEMS[1:])
    with pytest.raises(UsageError, match="`a` is gone"):
        measure(settings(problems), engine=Pupil().engine)


def test_problems_added_to_the_file_are_measured_too(problems: Path) -> None:
    write_problems(problems, PROBLEMS[:3])
    run = measure(settings(problems), engine=Pupil().engine)
    write_problems(problems)
    pupil = Pupil()
    measure(settings(problems), engine=pupil.engine)
    assert {request.key[0] for request in pupil.asked} == {"d"}
    assert Numbers(finished(run)).value("pass_ratio") == pytest.approx(0.5)


# Failures


def test_failed_draws_are_rows_and_are_owed_again(problems: Path) -> None:
    def failing(request: Request) -> str:
        if request.key in ("a#1", "d#3"):
            raise ConnectionError("hung up")
        return answer_sheet(request)

    for attempt in (1, 2):
        run = Run.read(measure(settings(problems), engine=Pupil(failing).engine))
        failures = list(run.rows("failures", Failure))
        assert [(f.key, f.attempt) for f in failures[-2:]] == [("a#1", attempt), ("d#3", attempt)]
        assert failures[-1].message == "ConnectionError: hung up" and failures[-1].where == "scripted"
        summary = finished(run.path)
        assert summary["counts"]["failed"] == 2 and summary["counts"]["responses"] == 14
        assert any("2 draws failed and are missing from every number" in note for note in summary["notes"])
        assert run.count("responses") == run.count("verdicts") == 14
    pupil = Pupil()
    measure(settings(problems), engine=pupil.engine)
    assert pupil.keys == ["a#1", "d#3"]
    assert run.count("failures") == 4, "what failed once stays on record"
    summary = finished(run.path)
    assert summary["counts"]["failed"] == 0 and not any("failed" in note for note in summary["notes"])
    assert Numbers(summary).value("pass@k", 4) == pytest.approx(0.75)


@pytest.mark.usefixtures("without_metrics")
def test_a_finished_run_that_fails_to_grow_says_so(problems: Path) -> None:
    run = measure(settings(problems, samples=2), engine=Pupil().engine)

    def failing(request: Request) -> Reply:
        return Reply(key=request.key, error="no")

    measure(settings(problems), engine=Pupil(failing).engine)
    assert finished(run)["counts"]["failed"] == 8
    assert len(lines(run, "responses")) == 8 and len(lines(run, "failures")) == 8


# Text that models do write


@pytest.mark.usefixtures("without_metrics")
def test_odd_text_is_stored_graded_and_resumed(problems: Path) -> None:
    odd = '\x00\u202e\u2028 \ud800 \udfff <script>\r\n\x1b[31m {"key": "a#0"}\n The answer is: 4'

    def speak(request: Request) -> str:
        return odd if request.key == "a#0" else answer_sheet(request)

    run = measure(settings(problems, samples=1, max_tokens=100), engine=Pupil(speak).engine)
    stored = next(r for r in Run.read(run).rows("responses", Response) if r.key == "a#0")
    assert stored.text == odd.replace("\ud800", "\ufffd").replace("\udfff", "\ufffd")
    assert next(v for v in Run.read(run).rows("verdicts", Verdict) if v.key == "a#0").correct
    again = Pupil()
    measure(settings(problems, samples=1, max_tokens=100), engine=again.engine)
    assert again.asked == []


def test_an_id_may_hold_the_sign_that_joins_it_to_the_draw(tmp_path: Path) -> None:
    path = write_problems(tmp_path / "sums.jsonl", [{"id": "x#1/é", "question": "2 + 2?", "answer": "4"}])
    run = measure(settings(path), engine=Pupil(lambda _: spoken("4")).engine)
    assert Run.read(run).keys("responses") == {f"x#1/é#{i}" for i in range(4)}
    assert Numbers(finished(run)).value("pass_ratio") == 1.0


# Verdicts


def test_the_order_of_the_verdicts_does_not_matter(problems: Path) -> None:
    run = measure(settings(problems), engine=Pupil().engine)
    metrics = finished(run)["metrics"]
    for table, seed in (("verdicts", 1), ("responses", 2), ("verdicts", 3)):
        rows = lines(run, table)
        random.Random(seed).shuffle(rows)
        (run / f"{table}.jsonl").write_bytes(b"".join(rows))
        (run / "summary.json").unlink()
        again = Pupil()
        measure(settings(problems), engine=again.engine)
        assert again.asked == [] and finished(run)["metrics"] == metrics


def test_a_lost_verdict_is_made_anew(problems: Path) -> None:
    run = measure(settings(problems), engine=Pupil().engine)
    metrics, rows = finished(run)["metrics"], lines(run, "verdicts")
    (run / "verdicts.jsonl").write_bytes(b"".join(rows[:5] + rows[6:]))
    measure(settings(problems), engine=Pupil().engine)
    assert lines(run, "verdicts")[-1] == rows[5] and finished(run)["metrics"] == metrics


@pytest.mark.usefixtures("without_metrics")
def test_a_verdict_on_nothing_is_refused_not_left_out(problems: Path) -> None:
    run = measure(settings(problems), engine=Pupil().engine)
    rows = lines(run, "verdicts")
    (run / "verdicts.jsonl").write_bytes(b"".join([rows[0].replace(b"a#0", b"a#9"), *rows[1:]]))
    with pytest.raises(UsageError, match="verdict on `a#9`") as refusal:
        measure(settings(problems), engine=Pupil().engine)
    assert "rm " in str(refusal.value.hint)


def test_grading_anew_makes_a_second_table_and_leaves_the_first(problems: Path) -> None:
    boxed = {"a": "The answer is: 4. No: \\boxed{5}"}

    def speak(request: Request) -> str:
        return boxed.get(request.key[0]) or answer_sheet(request)

    first = measure(settings(problems), engine=Pupil(speak).engine)
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    second = grade(str(first), GradeSettings(style="boxed"))
    assert second == Path(f"{first}-boxed")
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before
    verdicts = {v.key: v for v in Run.read(second).rows("verdicts", Verdict)}
    assert len(verdicts) == 16
    assert verdicts["a#0"].answer == "5" and not verdicts["a#0"].correct
    assert verdicts["d#0"].answer is None and verdicts["d#0"].tier == "none"
    manifest = Run.read(second).manifest
    assert manifest["verb"] == "grade" and manifest["grader"].endswith("/boxed")
    assert {entry["table"] for entry in manifest["inputs"]} == {"responses", "problems"}
    assert Numbers(finished(second)).value("no_answer") == pytest.approx(12 / 16)
    assert grade(str(first), GradeSettings(style="boxed")) == second, "again: nothing to do"
    named = grade(str(first), GradeSettings(style="boxed", out=str(first.parent / "other")))
    assert finished(named)["metrics"] == finished(second)["metrics"]


def test_sampling_then_grading_gives_what_measuring_gives(problems: Path) -> None:
    drawn = sample(
        SampleSettings(
            problems=str(problems), out=str(problems.parent / "drawn"), samples=4, max_tokens=LIMIT
        ),
        engine=Pupil().engine,
    )
    assert (
        finished(drawn)["counts"] == {"responses": 16, "failed": 0}
        and not (drawn / "verdicts.jsonl").exists()
    )
    measured = measure(settings(problems), engine=Pupil().engine)
    graded = grade(str(drawn), GradeSettings())
    assert finished(graded)["metrics"] == finished(measured)["metrics"]
    assert lines(graded, "verdicts") == lines(measured, "verdicts")


def test_grading_what_is_no_run_or_has_no_responses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run at"):
        grade(str(tmp_path), GradeSettings())
    with Run.open(tmp_path / "empty", verb="sample", settings={}, fingerprint={}):
        pass
    with pytest.raises(UsageError, match="holds no responses"):
        grade(str(tmp_path / "empty"), GradeSettings())


@pytest.mark.usefixtures("without_metrics")
def test_the_manifest_says_what_made_the_run(problems: Path) -> None:
    manifest = Run.read(measure(settings(problems, limit=3), engine=Pupil().engine)).manifest
    assert manifest["verb"] == "measure" and manifest["engine"] == "scripted"
    assert manifest["prompt"]["name"] == "plain" and len(manifest["prompt"]["digest"]) == 64
    assert manifest["amounts"] == {"samples": 4, "limit": 3}
    assert {entry["name"] for entry in manifest["inputs"]} == {str(problems), "sums"}
    assert json.loads(json.dumps(manifest["settings"]))["max_tokens"] == LIMIT
