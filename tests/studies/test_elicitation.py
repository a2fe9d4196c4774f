"""The reference study: its rules, its control, and all of it in a toy form, killed on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import plan
import verdicts
import world
from tiny_models import make_checkpoint
from upwell.curation.curate import curate
from upwell.curation.settings import CurateSettings

FOLDER = Path(__file__).parents[2] / "studies" / "elicitation"


@pytest.mark.parametrize(
    ("low", "high", "sign", "verdict"),
    [
        (0.01, 0.2, 1, "holds"),
        (-0.2, -0.01, 1, "fails"),
        (-0.01, 0.015, 1, "fails"),  # no more than two points can be in it
        (-0.01, 0.03, 1, "cannot be told"),
        (-0.2, -0.01, -1, "holds"),
        (0.01, 0.2, -1, "fails"),
    ],
)
def test_a_change(low: float, high: float, sign: int, verdict: str) -> None:
    assert verdicts.changed(low, high, sign) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.04, 0.05, "holds"),
        (0.01, 0.04, "holds"),  # a difference, but none that matters
        (0.01, 0.09, "fails"),
        (-0.09, -0.01, "fails"),
        (-0.2, 0.2, "cannot be told"),
    ],
)
def test_being_alike(low: float, high: float, verdict: str) -> None:
    assert verdicts.alike(low, high, 0.05) == verdict


def line(
    gain: tuple[float, float], behind: float | None, foresaw: dict[str, bool]
) -> tuple[list[verdicts.Fit], list[verdicts.Fit]]:
    """What an analysis of scaling says of a straight line over four doublings."""
    fits: list[verdicts.Fit] = [
        {
            "form": "log-linear", "parameter": "gain per doubling", "value": sum(gain) / 2, "low": gain[0],
            "high": gain[1], "note": None,
        },
        {"form": "log-linear", "parameter": "AICc above the best", "value": behind, "note": "chi squared 1"},
    ]  # fmt: skip
    for form, within in foresaw.items():
        note = f"measured 50.0 %: {'within' if within else 'outside'}"
        fits.append({"form": form, "parameter": "largest rung from the others", "value": 0.5, "note": note})
    return fits, [{"what": "measured", "x": x} for x in (100.0, 400.0, 1600.0)]


@pytest.mark.parametrize(
    ("gain", "behind", "foresaw", "verdict"),
    [
        ((0.01, 0.03), 0.5, {"log-linear": True}, "holds"),
        ((0.01, 0.03), None, {"log-linear": True}, "cannot be told"),  # with so few points any line would do
        ((0.01, 0.03), 0.5, {}, "cannot be told"),
        ((0.01, 0.03), 0.5, {"log-linear": False, "saturating": False}, "cannot be told"),
        ((0.01, 0.03), 0.5, {"log-linear": False, "saturating": True}, "fails"),
        ((0.01, 0.03), 5.0, {"log-linear": True}, "fails"),
        ((0.01, 0.03), 3.0, {"log-linear": True}, "cannot be told"),
        (
            (-0.01, 0.019),
            0.0,
            {"log-linear": True},
            "cannot be told",
        ),  # eight points over the ladder are no nothing
        ((-0.01, 0.004), 0.0, {"log-linear": True}, "fails"),
        ((-0.05, 0.03), 5.0, {"log-linear": False, "saturating": True}, "cannot be told"),
    ],
)
def test_growing_with_the_logarithm(
    gain: tuple[float, float], behind: float | None, foresaw: dict[str, bool], verdict: str
) -> None:
    assert verdicts.grows_with_the_logarithm(*line(gain, behind, foresaw))[0] == verdict


def test_why_it_does_not_grow_with_the_logarithm() -> None:
    fits, measured = line((0.01, 0.03), 5.0, {"log-linear": False, "saturating": True})
    fits.append(
        {"form": "saturating", "parameter": "AICc above the best", "value": 0.0, "note": "chi squared 1"}
    )
    assert verdicts.grows_with_the_logarithm(fits, measured)[1] == (
        "+2.0 points [+1.0, +3.0] per doubling; AICc 5.0 behind the best (saturating); "
        "the largest rung was missed, but foreseen by saturating"
    )
    few = verdicts.grows_with_the_logarithm(*line((0.01, 0.03), None, {}))[1]
    assert few.endswith("; too few points to tell forms apart; too few to foresee the largest rung")


@pytest.mark.parametrize(
    ("flag", "highs", "verdict"),
    [
        ("not flagged", (0.05, 0.08), "holds"),
        ("not flagged", (0.05, 0.095), "cannot be told"),  # a tenth learnt by heart is nine points more
        ("not flagged", (None, 0.05), "cannot be told"),
        ("not flagged", (0.05, 0.14), "cannot be told"),  # not looked at closely enough is no finding
        ("not flagged", (None, None), "cannot be told"),
        ("FLAGGED", (0.05, 0.3), "fails"),
    ],
)
def test_no_sign_of_a_leak(tmp_path: Path, flag: str, highs: tuple[float | None, ...], verdict: str) -> None:
    fits = [
        {"part": part, "measure": "among the other's easiest tenth", "value": 0.0, "low": -0.1, "high": high}
        for part, high in zip(("question", "solution"), highs, strict=True)
    ]
    (tmp_path / "summary.json").write_text(json.dumps({"conclusions": [f"a: {flag}"], "fits": fits}))
    assert verdicts.of_leakage(tmp_path).verdict == verdict


def test_seeds_have_to_agree() -> None:
    def said(verdict: str) -> list[verdicts.Verdict]:
        return [verdicts.Verdict("it grows", "Figure 3", "real", verdict, f"so it {verdict}")]

    (one,) = verdicts.together(["8-s1"], [said("holds")])
    assert (one.verdict, one.figures) == ("holds", "so it holds")
    (same,) = verdicts.together(["8-s1", "8-s2"], [said("holds"), said("holds")])
    assert (same.verdict, same.figures) == ("holds", "seed 1: so it holds; seed 2: so it holds")
    (apart,) = verdicts.together(["8-s1", "8-s2"], [said("holds"), said("fails")])
    assert apart.verdict == "cannot be told"
    (silent,) = verdicts.together(["8-s1", "8-s2"], [said("holds"), []])
    assert (silent.verdict, silent.figures) == ("cannot be told", "seed 1: so it holds")


def test_all_seeds_of_the_largest_rung_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["934-s1", "934-s2", "3737-s1", "3737-s2"]
    own, gold = (
        [Path(arm, name) for name in [*names, *more]] for arm, more in (("own", ["7473-s1"]), ("gold", []))
    )
    assert [run.name for run in verdicts.Arm("real", (Path("base"), *gold), Path()).tops] == names[2:]
    limits = {"3737-s1": (-0.01, 0.01), "3737-s2": (-0.01, 0.01)}

    def differences(first: Path, second: Path) -> dict[str, object]:
        assert (first.parent.name, second.parent.name, first.name) == ("gold", "own", second.name)
        low, high = limits[first.name]
        apart = SimpleNamespace(value=0.0, low=low, high=high, detectable=None, problems=9)
        return {"pass_ratio": SimpleNamespace(first=0.5, second=0.5, difference=apart)}

    monkeypatch.setattr(verdicts, "differences", differences)
    both = verdicts.of_matched(own, gold)
    assert both.verdict == "holds"
    assert both.figures.startswith("seed 1: 50.0% to 50.0%") and "; seed 2: " in both.figures
    limits["3737-s2"] = (0.01, 0.3)
    assert verdicts.of_matched(own, gold).verdict == "cannot be told"


def test_rungs_by_their_size() -> None:
    names = ["934-s42", "3737-s44", "467-s42", "3737-s43"]
    assert [path.name for path in plan.by_size(map(Path, names))] == [
        "467-s42", "934-s42", "3737-s43", "3737-s44",
    ]  # fmt: skip


def test_the_arms_rungs_hold_the_same_questions(tmp_path: Path) -> None:
    """Own answers and people's, whatever the answers are called."""
    model = make_checkpoint("llama", tmp_path / "model")
    asked = [
        {
            "id": f"made/{n}", "question": f"Ann has {n} pears and buys {n % 7} in shop {n}. How many has she?",
            "answer": f"{n + n % 7}", "solution": f"{n} + {n % 7} = {n + n % 7}\n#### {n + n % 7}",
        }
        for n in range(40)
    ]  # fmt: skip
    at = plan.Folders(tmp_path)
    world.write(at / "own/questions.jsonl", asked)
    world.write(
        at / "own/answers.jsonl", [row | {"id": f"{row['id']}#{n % 5}"} for n, row in enumerate(asked)]
    )

    def curated(source: Path, out: Path) -> list[list[str]]:
        curate(
            [str(source)], CurateSettings(prompt="plain", model=str(model), ladder="5,10,20", out=str(out))
        )
        rows = [json.loads(row) for row in (out / "examples.jsonl").read_text().splitlines()]
        return [sorted(row["question"] for row in rows if row.get("rung", 9) <= rung) for rung in (1, 2, 3)]

    own = curated(at / "own/answers.jsonl", at / "own/set")
    plan._write_gold(at)
    assert curated(at / "own/gold.jsonl", at / "own/gold-set") == own
    assert plan.unlike(at) == {}
    kept = (at / "own/gold.jsonl").read_text().splitlines()
    (at / "own/fewer.jsonl").write_text("\n".join(kept[1:]) + "\n")  # as if a solution had been turned down
    shutil.rmtree(at / "own/gold-set")
    curated(at / "own/fewer.jsonl", at / "own/gold-set")
    assert plan.unlike(at) == {5: 1, 10: 1, 20: 1}


def test_lessons_are_right_and_held_out_templates_are() -> None:
    lessons = list(world.problems(300, "a", held_out=False))
    exam = list(world.problems(100, "a", held_out=True))
    assert not {row["question"] for row in lessons} & {row["question"] for row in exam}
    for row in [*lessons, *exam]:
        *lines, last = row["solution"].splitlines()
        assert last == f"#### {row['answer']}"
        assert lines[-1].endswith(f"={row['answer']}")
        for line in lines:
            said, result = line.split("=")
            left, sign, right = next(said.partition(sign) for sign in "+-*" if sign in said)
            value = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}[
                sign
            ]
            assert int(result) == value


def test_the_corpus_is_wrong_as_often_as_it_says() -> None:
    steps = [
        line.split("=")
        for row in world.problems(1000, "b", held_out=False, noise=world.NOISE)
        for line in row["solution"].splitlines()[:-1]
    ]
    wrong = sum(int(result) != eval(said) for said, result in steps) / len(steps)
    assert wrong == pytest.approx(world.NOISE, abs=0.03)
    assert list(world.problems(5, "c", held_out=True)) == list(world.problems(5, "c", held_out=True))


@pytest.mark.skipif("UPWELL_DATA" not in os.environ, reason="UPWELL_DATA has no benchmark files")
def test_the_whole_study_killed_on_the_way(tmp_path: Path) -> None:
    model = make_checkpoint("llama", tmp_path / "model", max_position_embeddings=1024, initializer_range=0.02)
    out = tmp_path / "study"
    command = [
        sys.executable,
        str(FOLDER / "run.py"),
        "--form",
        "toy",
        "--model",
        str(model),
        "--out",
        str(out),
    ]
    said = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True).stdout
    assert "upwell train" in said
    assert not out.exists()
    first = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while len(steps(out)) < 2:
        assert first.poll() is None
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    done = steps(out)
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr[-2000:]
    ended = [row["out"] for row in steps(out) if row["code"] == 0]
    assert len(ended) == len(set(ended)), "a finished step ran again"
    assert steps(out)[: len(done)] == done
    page = (out / "elicitation.md").read_text(encoding="utf-8")
    assert "**cannot be told**" in page  # three problems tell nothing
    assert "| 16 (seed 42) |" in page
    assert "$ upwell analyze leakage" in page
    for picture in out.glob("elicitation-*.png"):
        assert f"]({picture.name})" in page
    other = subprocess.run(
        [*command[:-4], "--out", str(out), "--form", "reduced"], capture_output=True, text=True
    )
    assert other.returncode == 1
    assert "in another form" in other.stderr


def steps(out: Path) -> list[dict[str, object]]:
    log = out / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_a_ladder_that_is_none_is_refused(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(FOLDER / "run.py"), "--real-ladder", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert "is no finished ladder" in ran.stderr
