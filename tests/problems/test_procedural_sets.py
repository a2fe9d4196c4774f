"""Generated sets: the same for the same seed, growing with the limit, and honest about their origin."""

from __future__ import annotations

import re
import sys

import pytest

from upwell import problems
from upwell.errors import MissingExtra, UsageError

NAME = "procedural:gsm_symbolic"


@pytest.fixture(scope="module", autouse=True)
def _gym() -> None:
    pytest.importorskip("reasoning_gym")


def test_the_first_problems_of_one_sequence() -> None:
    few, many = problems.load(NAME, limit=20), problems.load(NAME)
    assert (len(few), len(many)) == (20, 200)
    assert few.problems == many.problems[:20] == problems.load(NAME, limit=20).problems
    assert len({problem.key for problem in many}) == 200
    assert all(problem.answer.lstrip("-").isdigit() for problem in many)
    for problem in many:
        assert float((problem.solution or "").rpartition("####")[2]) == float(problem.answer)
    assert any("GSM8K test set" in note for note in many.notes)
    assert many.files[0]["digest"] == many.digest


def test_neighbouring_seeds_share_no_problem() -> None:
    # reasoning-gym itself seeds problem i with seed + i.
    asked = [{problem.question for problem in problems.load(NAME, limit=100, seed=seed)} for seed in (0, 1)]
    assert not asked[0] & asked[1]


def test_repeated_questions_are_asked_once() -> None:
    found = problems.load("procedural:syllogism", limit=300)
    assert len({problem.question for problem in found}) == len(found) == 300


def test_a_talkative_generator_keeps_off_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(problems.load("procedural:bf", limit=3)) == 3
    assert capsys.readouterr().out == ""


def test_find_makes_the_problem_again() -> None:
    wanted = problems.load(NAME, limit=30, seed=3).problems[-1]
    assert wanted.key.startswith("procedural:gsm_symbolic/seed3/")
    assert problems.find(wanted.key) == wanted


def test_unknown_and_ungradable_tasks_are_refused() -> None:
    with pytest.raises(UsageError, match="no task `gsm_symbolik`") as caught:
        problems.load("procedural:gsm_symbolik")
    assert "procedural:gsm_symbolic" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="cannot be graded"):
        problems.load("procedural:countdown")  # any expression that reaches the target is right


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(MissingExtra, match=r"upwell\[procedural\]"):
        problems.load(NAME)


def test_the_two_parts_of_gsm_symbolic_share_no_template() -> None:
    train, held_out = (problems.load(f"{NAME}-{part}", limit=150) for part in ("train", "heldout"))
    assert len(train) == len(held_out) == 150
    # Names, numbers and nouns vary within a template; how a question begins says which one it is.
    kinds = [{re.sub(r"[\d.,]+", "#", p.question)[:20] for p in part.problems} for part in (train, held_out)]
    assert not kinds[0] & kinds[1]
    whole = {p.question for p in problems.load(NAME, limit=900).problems}
    assert {p.question for p in train.problems} | {p.question for p in held_out.problems} <= whole
