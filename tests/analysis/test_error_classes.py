"""Classes of mistakes: each rule, their order, shares with intervals, runs side by side, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_runs import Said, fit, problem, summary_of, write_graded, write_ladder

from upwell.analysis import AnalyzeSettings, analyze
from upwell.analysis.mistakes import CLASSES, foreign, mistake, repeats
from upwell.errors import UsageError
from upwell.records import Problem

QUESTION = "Tom has 3 bags of 14 apples and gives 20% away. How many are left after two weeks?"
GOLD = "14 * 3 = 42\n42 * 0.2 = 8.4\n42 - 8.4 = 33.6"
LOOP = "So we get it. " * 40


@pytest.mark.parametrize(
    ("text", "finish", "answer", "kind"),
    [
        (LOOP, "length", None, "repetition"),
        ("14 * 3 = 41 and so on and", "length", "41", "truncation"),
        ("I do not know, 14 * 3 = 41.", "stop", None, "format"),
        ("14 * 3 = 41\n41 - 3 = 38", "stop", "38", "arithmetic"),
        ("14 * 3 = 42\n42 - 29 = 13", "stop", "13", "quantity"),
        ("14 * 3 = 42", "stop", "42", "missing"),
        ("14 * 3 = 42\n42 * 0.8 = 33.6\n33.6 / 2 = 16.8", "stop", "16.8", "other"),
        # The first class counts, whatever else is wrong.
        ("14 * 3 = 41\n41 - 29 = 12", None, "12", "arithmetic"),
    ],
)
def test_the_first_rule_that_is_met_decides(
    text: str, finish: str | None, answer: str | None, kind: str
) -> None:
    assert mistake(text, finish, answer, QUESTION, 3) == kind


@pytest.mark.parametrize(
    "text",
    [
        "14 * 3 = 42, then 42 * 0.8 = 33.6",
        "He keeps 80% of them: 0.80 * 42 = 33.6",
        "Each bag has 14 apples, 3 bags * 14 apples/bag = 42 apples. 42 - 14 = 28.",
        "Two weeks are 14 days: 42 / 14 = 3. A week has 7 days: 42 / 7 = 6",
        "\\( 14 \\times 3 = 42 \\), so \\( 42 \\div 2 = 21 \\)",
        "Let x be what is left. 5x + 42 = 52, 5 * x = 10, x = 2.",
        "<<14*3=42>>42 and 42 + 15 = 57, one more than 14 being 15",
        "There are 3 + 1 = 4 people: 42 / 4 = 10.5",
        "He had 42 in 1999 and 77 in the end.",
    ],
)
def test_numbers_that_come_from_somewhere(text: str) -> None:
    assert foreign(text, QUESTION) is None


@pytest.mark.parametrize(
    ("text", "value"), [("14 * 29 = 406", 29.0), ("14 + 3 = 17\n17 * 0.37 = 6.29", 0.37)]
)
def test_a_number_from_nowhere(text: str, value: float) -> None:
    assert foreign(text, QUESTION) == value


@pytest.mark.parametrize(
    ("text", "is_loop"),
    [
        ("x = 1\n" * 50, True),
        ("The answer is 12 apples.\n" * 4, True),
        ("The answer is 12 apples.\n" * 3, False),
        ("".join(f"Step {i}: add {i} to the {i * i} that we have.\n" for i in range(30)), False),
        ("short", False),
        ("a" * 240, True),
    ],
)
def test_going_round_in_circles(text: str, is_loop: bool) -> None:
    assert repeats(text) is is_loop


def asked(kinds: dict[str, int], right: int = 2) -> list[Any]:
    texts = {
        "arithmetic": Said(text="1 + 1 = 3"),
        "format": Said(answer=None),
        "truncation": Said(finish="length"),
        "missing": Said(text="nothing"),
        "other": Said(text="1 + 1 = 2\n2 + 2 = 4"),
    }
    said = [texts[kind] for kind, count in kinds.items() for _ in range(count)]
    return [
        (problem(i, solution="1 + 1 = 2\n2 + 2 = 4"), said + [Said(correct=True, text="1 + 1 = 2")] * right)
        for i in range(20)
    ]


def test_shares_add_up_and_right_responses_are_tried_too(tmp_path: Path) -> None:
    run = write_graded(tmp_path / "run", asked({"arithmetic": 1, "format": 1, "missing": 2}))
    out = analyze("errors", [str(run)], AnalyzeSettings(out=str(tmp_path / "out")))
    found = summary_of(out)
    wrong = {row["class"]: row for row in found["points"] if row["of"] == "wrong responses"}
    assert list(wrong) == list(CLASSES) and sum(row["value"] for row in wrong.values()) == pytest.approx(1)
    assert wrong["missing"]["value"] == 0.5 and wrong["missing"]["samples"] == 80
    assert all(
        row["low"] <= row["value"] <= row["high"] and row["high"] > row["low"] for row in wrong.values()
    )
    lucky = {row["class"]: row for row in found["points"] if row["of"] == "right responses"}
    assert lucky["missing"]["value"] == 1.0  # the rule says nothing here, and the table shows it
    assert "of right responses 100.0 %" in found["conclusions"][0]


def test_runs_side_by_side_and_ladders(tmp_path: Path) -> None:
    rungs = [(0, 0, asked({"arithmetic": 3, "other": 1})), (9, 50, asked({"arithmetic": 1, "other": 3}))]
    out = analyze(
        "errors", [str(write_ladder(tmp_path / "lad", rungs))], AnalyzeSettings(out=str(tmp_path / "out"))
    )
    row = fit(out, run="9-s1", **{"class": "arithmetic"})
    assert row["against"] == "base" and row["value"] == pytest.approx(-0.5) and row["high"] < 0
    assert any(
        "from base to 9-s1" in line and "`arithmetic` -50.0 points" in line
        for line in summary_of(out)["conclusions"]
    )


def test_no_wrong_response_is_a_conclusion(tmp_path: Path) -> None:
    run = write_graded(tmp_path / "run", asked({}))
    out = analyze("errors", [str(run)], AnalyzeSettings(out=str(tmp_path / "out")))
    assert "none of 40 responses is wrong" in summary_of(out)["conclusions"][0]


def test_what_cannot_be_told_is_said(tmp_path: Path) -> None:
    one = Problem(key="k", question="", answer="1")
    said = [Said(finish=None, text="1 + 999 = 1000"), Said(correct=None)]
    out = analyze(
        "errors",
        [str(write_graded(tmp_path / "run", [(one, said)]))],
        AnalyzeSettings(out=str(tmp_path / "out")),
    )
    notes = " ".join(summary_of(out)["notes"])
    for part in (
        "1 responses that the grader could not decide",
        "none is `missing`",
        "none is `quantity`",
        "none of these is `truncation`",
    ):
        assert part in notes


def test_bare_answers_are_refused(tmp_path: Path) -> None:
    run = write_graded(tmp_path / "run", [(problem(1), [Said(bare=True, text="7")])])
    with pytest.raises(UsageError, match="are bare answers"):
        analyze("errors", [str(run)], AnalyzeSettings(out=str(tmp_path / "out")))
