"""`analyze scaling` over ladders, files and published curves."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import Said, problem, summary_of, write_graded

from upwell.analysis.settings import AnalyzeSettings
from upwell.analysis.stage import analyze
from upwell.errors import UsageError
from upwell.metrics.intervals import population_interval
from upwell.runs import Run


def ladder(path: Path, rungs: list[tuple[int, int, float]]) -> str:
    """A ladder by its examples, seed and accuracy."""
    rows: list[dict[str, Any]] = [{"rung": 0, "examples": 0, "seed": None, "metrics": metrics(0.1)}]
    for number, (examples, seed, accuracy) in enumerate(rungs, 1):
        rows.append(
            {
                "rung": number, "examples": examples, "seed": seed, "completion_tokens": 100 * examples,
                "training_seconds": 36.0 * examples, "metrics": metrics(accuracy),
            }
        )  # fmt: skip
    with Run.open(path, verb="train", settings={}, fingerprint={"ladder": "epochs"}) as run:
        run.finish({"ladder": rows, "same": "epochs", "problems": "made"})
    return str(path)


def metrics(value: float) -> dict[str, Any]:
    def one(share: float) -> dict[str, Any]:
        return {
            "value": share, "low": share - 0.02, "high": share + 0.02, "low_fixed": 0, "high_fixed": 1,
            "problems": 500, "samples": 500,
        }  # fmt: skip

    return {"greedy_pass_ratio": one(value), "pass_ratio": one(value - 0.05), "pass@16": one(0.6)}


def analysed(tmp_path: Path, *sources: str, **settings: Any) -> dict[str, Any]:
    out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    analyze("scaling", sources, AnalyzeSettings(out=str(out), **settings))
    return summary_of(out)


RISING = [(100 * 2**i, 1, 0.2 + 0.05 * i) for i in range(6)]


def row(found: dict[str, Any], form: str, parameter: str) -> dict[str, Any]:
    (one,) = [r for r in found["fits"] if r["form"] == form and r["parameter"].startswith(parameter)]
    return dict(one)


def test_a_ladder_is_fitted_predicted_and_drawn(tmp_path: Path) -> None:
    found = analysed(tmp_path, ladder(tmp_path / "ladder", RISING))
    gain = row(found, "log-linear", "gain per doubling")
    assert gain["value"] == pytest.approx(0.05) and gain["low"] < 0.05 < gain["high"]
    told = row(found, "log-linear", "accuracy at 6,400 examples")
    assert told["value"] == pytest.approx(0.5) and told["low"] < 0.5 < told["high"]
    assert row(found, "log-linear", "examples for 2 points")["value"] == pytest.approx(
        3200 * 2**0.4, rel=0.02
    )
    measured = [p for p in found["points"] if p["what"] == "measured"]
    assert [p["x"] for p in measured] == [x for x, _, _ in RISING]
    assert all(abs(p["residual"]) < 1e-9 and abs(p["residual_left_out"]) < 1e-9 for p in measured)
    assert max(p["x"] for p in found["points"]) == pytest.approx(6400)
    assert "the base (10.0 %) is in no fit" in " ".join(found["notes"])
    assert "is predicted" in " ".join(found["conclusions"])


def drawn_ladder(path: Path, *, alike: bool) -> str:
    """Four rungs over 60 problems, 8 responses each, with their measured runs: the same are hard in all, or others."""
    rng, tables = np.random.default_rng(2), []
    hard = rng.random(60)
    with Run.open(path, verb="train", settings={}, fingerprint={"ladder": "epochs"}) as run:
        for number, examples in enumerate((100, 200, 400, 800)):
            own = hard if alike else rng.random(60)
            right = rng.binomial(8, np.clip(own + 0.08 * number - 0.1, 0, 1))
            asked = [
                (problem(i), [Said(correct=bool(n < c)) for n in range(8)])
                for i, c in enumerate(right.tolist())
            ]
            write_graded(path / "measured" / f"{examples}-s1" / "sampled", asked)
            value = float(right.mean() / 8)
            low, high = population_interval(value, (right / 8).var(ddof=1), 60)
            told = {"value": value, "low": float(low), "high": float(high), "problems": 60, "samples": 480}
            tables.append(
                {"rung": number + 1, "examples": examples, "seed": 1, "metrics": {"pass_ratio": told}}
            )
        run.finish({"ladder": tables, "same": "epochs", "problems": "made"})
    return str(path)


def test_rungs_of_a_ladder_err_together_as_far_as_they_find_the_same_problems_hard(tmp_path: Path) -> None:
    same = analysed(tmp_path, drawn_ladder(tmp_path / "same", alike=True))
    other = analysed(tmp_path, drawn_ladder(tmp_path / "other", alike=False))
    said = [float(found["notes"][0].split("correlation of ")[1].split(",")[0]) for found in (same, other)]
    assert said[0] > 0.7 and abs(said[1]) < 0.2, said
    widths = [
        row(found, "log-linear", "gain")["high"] - row(found, "log-linear", "gain")["low"]
        for found in (same, other)
    ]
    assert widths[0] < 0.75 * widths[1], widths
    shutil.rmtree(tmp_path / "same" / "measured")
    gone = analysed(tmp_path, str(tmp_path / "same"))
    assert "the measured runs are not there" in gone["notes"][0]


def test_error_is_accuracy_from_the_other_side(tmp_path: Path) -> None:
    source = ladder(tmp_path / "ladder", RISING)
    right, wrong = (analysed(tmp_path, source, metric=metric) for metric in ("accuracy", "error"))
    one = row(right, "log-linear", "accuracy at 6,400")
    other = row(wrong, "log-linear", "error at 6,400")
    assert other["value"] == pytest.approx(1 - one["value"])
    assert (other["low"], other["high"]) == pytest.approx((1 - one["high"], 1 - one["low"]))


def test_tokens_dollars_and_other_metrics(tmp_path: Path) -> None:
    source = ladder(tmp_path / "ladder", RISING)
    tokens = analysed(tmp_path, source, x="tokens", metric="pass_ratio")
    assert tokens["points"][0]["x"] == 10_000 and tokens["points"][0]["value"] == pytest.approx(0.15)
    usd = analysed(tmp_path, source, x="usd", usd_per_hour=2.0)
    assert usd["points"][0]["x"] == pytest.approx(2.0)
    flat = analysed(tmp_path, source, metric="pass@16")
    assert "not certain that anything was gained" in " ".join(flat["conclusions"])
    assert not any("more" in r["parameter"] for r in flat["fits"])


@pytest.mark.parametrize(
    ("rungs", "says"),
    [
        (RISING[:2], "no form can be fitted"),
        (RISING[:3], "3 different amounts say nothing about what comes after"),
        ([*RISING[:5], (3200, 1, 0.2)], "no form foresaw the largest rung"),
        ([(1000 + 100 * i, 1, 0.2 + 0.08 * i) for i in range(5)], "farther than the data reach"),
        ([(100 * 4**i, 1, y) for i, y in enumerate((0.1, 0.11, 0.12, 0.8))], "no form lies near the points"),
    ],
)
def test_nothing_is_predicted_that_the_data_do_not_support(
    tmp_path: Path, rungs: list[tuple[int, int, float]], says: str
) -> None:
    found = analysed(tmp_path, ladder(tmp_path / "ladder", rungs))
    assert says in " ".join(found["conclusions"])
    assert not [
        r for r in found["fits"] if r["parameter"].startswith("accuracy at") and "times" in str(r["note"])
    ]


def test_numbers_of_one_s_own(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("x,value,problems\n" + "".join(f"{x},{y},1000\n" for x, _, y in RISING), encoding="utf-8")
    found = analysed(tmp_path, str(path))
    assert row(found, "log-linear", "gain per doubling")["value"] == pytest.approx(0.05, abs=1e-3)
    path.write_text("x,value,low,high\n100,0.2,0.1,0.3\n200,52,0.4,0.6\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"line 3: value is '52'"):
        analysed(tmp_path, str(path))


def test_published_curves_stand_beside_one_s_own(tmp_path: Path) -> None:
    found = analysed(
        tmp_path, "paper:dart/mistral-prop2diff", ladder(tmp_path / "ladder", RISING), bootstrap=100
    )
    assert {p["source"] for p in found["points"]} == {"paper:dart/mistral-prop2diff", "ladder"}
    assert any("DART-Math, arXiv 2407.13690, figure 3, read off a figure" in note for note in found["notes"])
    with (max(tmp_path.glob("out*")) / "points.csv").open(encoding="utf-8") as file:
        assert next(csv.DictReader(file))["source"] == "paper:dart/mistral-prop2diff"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "pass@8"}, "was not measured for pass@8; it has accuracy, pass_ratio, pass@16"),
        ({"x": "usd"}, "--x usd needs the price of an hour"),
    ],
)
def test_what_a_ladder_does_not_hold(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        analysed(tmp_path, ladder(tmp_path / "ladder", RISING), **settings)
    with pytest.raises(UsageError, match="--x does nothing for `paper:"):
        analysed(tmp_path, "paper:xwin/gsm8k-real", x="tokens")
