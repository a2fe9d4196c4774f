"""A curated row is led back to the very row that it was, also where other runs have rows with its key."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_inputs import curated, draft, examples, jsonl, make_run

from upwell.cli.showing import show
from upwell.curation.origins import origin_of
from upwell.records import Draft, Problem, Reject, Response, Verdict
from upwell.runs import Run


def teacher(folder: Path, name: str, *drafts: Draft, turned_down: tuple[str, ...] = ()) -> Path:
    """A run of a teacher: its drafts, and what it said for each of them."""
    said = [
        Response(key=f"{one.key}#0", problem=one.key, index=0, text=f"{name} said it", finish="stop")
        for one in drafts
    ]
    refused = [Reject(key=key, step="question", reason=f"{name} failed") for key in turned_down]
    said += [
        Response(key=f"{key}#0", problem=key, index=0, text=f"{name} said nonsense", finish="stop")
        for key in turned_down
    ]
    seeds = [Problem(key="s", question="The seed?", answer="1", source="gsm8k")]
    return make_run(
        folder / name, "synthesize", problems=seeds, drafts=list(drafts), rejects=refused, replies=said
    )


def from_seed(key: str, name: str) -> Draft:
    return draft(
        key,
        question=f"What {name} asks in {key}?",
        solution=f"{name} solves. The answer is 3.",
        answer="3",
        parents=("s",),
        replies=(f"{key}#0",),
        teacher=name,
    )


def shown(run: Path, key: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert show(str(run), row=key) == 0
    return capsys.readouterr().out


def test_two_teachers_on_one_seed_are_not_taken_for_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ada = teacher(tmp_path, "ada", from_seed("s/xwin-0", "ada"), turned_down=("s/xwin-1",))
    bob = teacher(tmp_path, "bob", from_seed("s/xwin-0", "bob"), from_seed("s/xwin-1", "bob"))
    run = curated(ada, bob, out=tmp_path / "out")
    found = examples(run)
    assert len(found) == 3
    for key, one in found.items():
        name, other = ("ada", "bob") if "ada" in one.question else ("bob", "ada")
        assert origin_of(run, key) == (tmp_path / name, key.partition("~")[0])
        told = shown(run.path, key, capsys)
        assert f"teacher: {name}" in told and f"{name} said it" in told and "The seed?" in told
        assert f"{other} said" not in told and f"{other} failed" not in told


def test_copies_are_led_back_and_belong_to_the_same_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = draft("d/xwin-0", solution="One. " * 8 + "The answer is 4.", replies=("d/xwin-0#0",))
    run = curated(
        teacher(tmp_path, "ada", long, draft("d/xwin-1", solution="4")),
        out=tmp_path / "out",
        resample="sentences",
        resample_rows=6,
    )
    found = examples(run)
    assert {"d/xwin-0", "d/xwin-0*2"} <= set(found)
    assert {one.problem for key, one in found.items() if "xwin-0" in key} == {"d/xwin-0"}
    assert origin_of(run, "d/xwin-0*2") == (tmp_path / "ada", "d/xwin-0")
    assert "ada said it" in shown(run.path, "d/xwin-0*2", capsys)


def test_a_right_response_is_led_back_to_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = []
    for name in ("one", "two"):
        problem = Problem(key="p", question="1 + 1?", answer="2", source="gsm8k")
        said = Response(key="p#0", problem="p", index=0, text=f"{name} says 2", finish="stop")
        tables = {"problems": [problem], "responses": [said], "verdicts": [Verdict(key="p#0", correct=True)]}
        runs.append(make_run(tmp_path / name, "measure", **tables))  # type: ignore[arg-type]
    run = curated(*runs, out=tmp_path / "out")
    for key, one in examples(run).items():
        name = "one" if "one" in one.completion else "two"
        assert origin_of(run, key) == (tmp_path / name, "p#0") and one.problem == "p"
        assert ("two says" if name == "one" else "one says") not in shown(run.path, key, capsys)


def test_rows_of_files_have_no_run_and_a_run_that_is_gone_is_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = jsonl(tmp_path / "rows.jsonl", [{"id": "mine", "question": "Who?", "solution": "Me."}])
    run = curated(file, teacher(tmp_path, "ada", from_seed("s/xwin-0", "ada")), out=tmp_path / "out")
    assert origin_of(run, "mine") is None and "question: Who?" in shown(run.path, "mine", capsys)
    (tmp_path / "ada").rename(tmp_path / "elsewhere")
    assert show(str(run.path), row="s/xwin-0") == 0
    told = capsys.readouterr()
    assert "(examples of" in told.out and "is not there" in told.err and str(tmp_path / "ada") in told.err


def test_a_curated_run_shows_its_steps_and_passes_by_files_that_are_not_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = curated(teacher(tmp_path, "ada", from_seed("s/xwin-0", "ada")), out=tmp_path / "out")
    (run.path / "My.rows.jsonl").write_text("{}\n")
    assert show(str(run.path)) == 0
    told = capsys.readouterr().out
    assert "exact duplicates" in told and "1 examples, 0 rejected" in told and "not a table" in told
    assert "nothing was decontaminated" in told


def test_an_unfinished_curation_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Run.open(tmp_path / "out", verb="curate", settings={}, fingerprint={}).close()
    assert show(str(tmp_path / "out")) == 0
    assert "not finished" in capsys.readouterr().out
