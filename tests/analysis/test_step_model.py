"""The step model: the paper's arithmetic, its alternatives, what counts as a step, first errors, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_runs import Said, fit, problem, summary_of, write_graded, write_ladder

from upwell.analysis import AnalyzeSettings, analyze
from upwell.analysis.decay import Counts, accuracy, expected, fitted, step_accuracy
from upwell.analysis.stepping import equations, lines, notes, rule_for
from upwell.analysis.steps import first_error
from upwell.errors import UsageError

GSM8K = {2: 326, 3: 371, 4: 297, 5: 175, 6: 87, 7: 40, 8: 20, 9: 2, 11: 1}
"""Problems of GSM8K's test split by the lines of their solutions."""
ANNOTATED = "She sells 16 - 3 = <<16-3=13>>13 eggs.\nShe makes 13 * 2 = $<<13*2=26>>26.\n#### 26"


@pytest.mark.parametrize(
    ("step", "by_problem", "over_steps"), [(0.789, 44.4, 34.1), (0.897, 68.0, 59.5), (0.942, 80.7, 74.7)]
)
def test_table_4_of_the_paper_comes_out(step: float, by_problem: float, over_steps: float) -> None:
    kinds, problems = (np.array(list(part), float) for part in (GSM8K.keys(), GSM8K.values()))
    assert round(100 * accuracy(step, kinds, problems)[0], 1) == by_problem
    seven = problems >= 10
    assert kinds[seven].tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert round(100 * accuracy(step, kinds[seven], problems[seven])[1], 1) == over_steps
    # And back: from the accuracies to the step accuracy.
    assert step_accuracy(kinds, problems * step**kinds, problems) == pytest.approx(step, abs=1e-9)


def counts(rng: np.random.Generator, step: np.ndarray, mean: np.ndarray | None = None, n: int = 16) -> Counts:
    steps = np.repeat([2.0, 3.0, 4.0, 5.0, 6.0], len(step) // 5)
    chance = step**steps if mean is None else mean
    return Counts.of(steps, np.full(len(steps), float(n)), rng.binomial(n, chance).astype(float))


def test_heterogeneous_steps_are_told_from_one_step_accuracy() -> None:
    rng = np.random.default_rng(1)
    own = {model.name: model for model in fitted(counts(rng, rng.beta(8, 2, 800)))}
    assert own["beta"].aic == min(model.aic for model in own.values())
    assert own["beta"].mean == pytest.approx(0.8, abs=0.03) and own["beta"].size == pytest.approx(10, rel=0.4)
    assert own["beta"].low < 0.8 < own["beta"].high and own["beta"].high - own["beta"].low < 0.06
    steps = np.repeat([2.0, 3.0, 4.0, 5.0, 6.0], 160)
    around = rng.beta(3 * 0.85**steps, 3 * (1 - 0.85**steps))
    one = {model.name: model for model in fitted(counts(rng, np.zeros(800), around))}
    assert one["spread"].aic < one["beta"].aic - 10 and one["spread"].mean == pytest.approx(0.85, abs=0.02)
    assert one["flat"].aic > one["spread"].aic + 50


def test_expected_accuracy_of_a_beta_is_its_moment() -> None:
    draws = np.random.default_rng(0).beta(4, 1, 400_000)
    assert expected(0.8, 5, np.array([1.0, 3.0, 6.0])) == pytest.approx(
        [np.mean(draws**s) for s in (1, 3, 6)], abs=3e-3
    )


@pytest.mark.parametrize(
    ("solution", "by_line", "by_note", "by_equation"),
    [
        (ANNOTATED, 2, 2, 2),
        ("He has 3.\nSo 3 + 4 = 7. Then 7 * 2 = 14.\n\n#### 14", 2, 0, 2),
        ("We get $x=3$ by symmetry. Hence $2x=6$. The answer is $\\boxed{6}$.", 1, 0, 2),
        ("Guess.", 1, 0, 0),
    ],
)
def test_what_counts_as_a_step(solution: str, by_line: int, by_note: int, by_equation: int) -> None:
    assert (lines(solution), notes(solution), equations(solution)) == (by_line, by_note, by_equation)


def test_the_rule_follows_the_solutions() -> None:
    assert rule_for("auto", [ANNOTATED])[0] == "lines"
    assert rule_for("auto", ["2 + 2 = 4"])[0] == "equations"
    with pytest.raises(UsageError, match="none of the 1 gold solutions has a step by the rule `notes`"):
        rule_for("notes", ["2 + 2 = 4"])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("2 + 2 = 4\n4 * 3 = 13\nSo 13 - 1 = 12.", (2, 3)),
        ("He has 2 + 2 = 5 eggs. She has 3 * 3 = 9 eggs.", (1, 2)),
        ("2 + 2 = 4 eggs.", None),
        ("no arithmetic", None),
    ],
)
def test_the_first_wrong_equation_is_placed(text: str, place: tuple[int, int] | None) -> None:
    assert first_error(text) == place


def walk(path: Path, step: float, seed: int, count: int = 60) -> Path:
    """A run whose responses err at each step of 2 to 6 with one chance, and show it."""
    rng, asked = np.random.default_rng(seed), []
    for number in range(count * 5):
        s = 2 + number % 5
        said = []
        for _ in range(4):
            fails = int(np.flatnonzero(np.r_[rng.random(s) > step, True])[0])
            text = "\n".join(f"{i} + 1 = {i + 1 + (i == fails)}" for i in range(s))
            said.append(Said(text=text, correct=fails == s))
        asked.append((problem(number, solution="\n".join(["1 + 1 = <<1+1=2>>2"] * s)), said))
    return write_graded(path, asked)


def test_a_step_process_is_found_again(tmp_path: Path) -> None:
    out = analyze(
        "steps",
        [str(walk(tmp_path / "weak", 0.8, 1)), str(walk(tmp_path / "strong", 0.9, 2))],
        AnalyzeSettings(out=str(tmp_path / "out"), bootstrap=200),
    )
    found = summary_of(out)
    row = fit(out, run="weak", fit="power", parameter="step accuracy")
    assert row["low"] < 0.8 < row["high"] and row["high"] - row["low"] < 0.05 and row["problems"] == 300
    points = [p for p in found["points"] if p["what"] == "accuracy" and p["run"] == "weak"]
    assert [p["steps"] for p in points] == [2, 3, 4, 5, 6] and all(
        p["low"] < 0.8 ** p["steps"] < p["high"] for p in points
    )
    assert sum(p["residual_low"] <= 0 <= p["residual_high"] for p in points) >= 4
    place = fit(out, run="weak", parameter="mean position, as a share of the response's steps")
    assert place["low"] < place["expected"] < place["high"]
    share = fit(out, run="weak", parameter="wrong responses with a wrong equation")
    assert share["value"] == 1.0 and share["low"] < 1
    above = fit(out, run="strong", parameter="step accuracy, above that of weak")
    assert above["low"] < 0.1 < above["high"] and above["low"] > 0
    assert any("as far as can be told" in line for line in found["conclusions"])
    assert (out / "points.csv").read_text().startswith("what,run,steps,value")


def test_a_ladder_is_its_measured_runs(tmp_path: Path) -> None:
    rungs = [
        (
            examples,
            tokens,
            [
                (
                    problem(i, solution="1 + 1 = 2\n2 + 2 = 4"),
                    [Said(correct=(i + j) % 3 < right) for j in range(2)],
                )
                for i in range(12)
            ],
        )
        for examples, tokens, right in ((0, 0, 1), (10, 500, 2))
    ]
    out = analyze(
        "steps",
        [str(write_ladder(tmp_path / "lad", rungs))],
        AnalyzeSettings(out=str(tmp_path / "out"), bootstrap=50),
    )
    assert {row["run"] for row in summary_of(out)["points"]} == {"base", "10-s1"}
    assert fit(out, run="10-s1", parameter="step accuracy, above that of base")["value"] > 0.2


def test_a_run_without_wrong_responses_is_a_conclusion(tmp_path: Path) -> None:
    asked = [(problem(i, solution="1 + 1 = 2"), [Said(correct=True)] * 2) for i in range(4)]
    out = analyze(
        "steps", [str(write_graded(tmp_path / "all", asked))], AnalyzeSettings(out=str(tmp_path / "out"))
    )
    said = " ".join(summary_of(out)["conclusions"])
    assert "all 8 responses are right" in said and "no response is wrong" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solution": None}, "have no gold solutions"),
        ({"verb": "sample"}, "is a run of `sample`: steps needs graded responses"),
        ({"finished": False}, "is not finished"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    one = problem(1, solution=change.get("solution", "1 + 1 = 2"))
    run = write_graded(
        tmp_path / "run",
        [(one, [Said()])],
        verb=change.get("verb", "measure"),
        finished=change.get("finished", True),
    )
    with pytest.raises(UsageError, match=message):
        analyze("steps", [str(run)], AnalyzeSettings(out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_settings_of_other_kinds_and_unknown_rules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--parameters does nothing for steps: it is for compute"):
        analyze("steps", ["x"], AnalyzeSettings(out=str(tmp_path / "out"), parameters=7e9))
    with pytest.raises(UsageError, match="no such rule"):
        AnalyzeSettings(out="out", steps_by="words")


def test_one_run_twice_is_refused_and_equal_names_are_told_apart(tmp_path: Path) -> None:
    asked = [(problem(i, solution="1 + 1 = 2"), [Said(correct=bool(i % 2))] * 2) for i in range(4)]
    one, two = (write_graded(tmp_path / name / "run", asked) for name in ("a", "b"))
    with pytest.raises(UsageError, match="is given twice"):
        analyze("steps", [str(one), str(one)], AnalyzeSettings(out=str(tmp_path / "out")))
    out = analyze("steps", [str(one), str(two)], AnalyzeSettings(out=str(tmp_path / "out"), bootstrap=50))
    assert {row["run"] for row in summary_of(out)["points"]} == {"a/run", "b/run"}
