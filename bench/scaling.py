"""Ladders with known laws: how often intervals hold the truth, and how often the largest rung is foreseen.

    python bench/scaling.py                       # 200 simulated ladders per form, then fits to the published curves
    python bench/scaling.py --trials 40 --only simulated

A simulated ladder has eight rungs, each twice the one before, measured on 1,319 problems with one response each: counts
are binomial, and the fit gets errors as a user would, from the counts. Intervals are 95 %; 93 % of trials is the bar.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from upwell.analysis import analyze
from upwell.analysis.fitting import Measured, fit, held_out
from upwell.analysis.forms import FLOOR, FORMS, LOG_LINEAR, POWER, SATURATING, Form, curve
from upwell.analysis.published import CURVES
from upwell.analysis.settings import AnalyzeSettings
from upwell.runs import Run

PROBLEMS = 1319
X = 467.0 * 2.0 ** np.arange(8)
RATIO = X / np.exp(np.log(X).mean())
TRUE: dict[Form, list[tuple[list[float], list[float]]]] = {
    LOG_LINEAR: [([0.45, 0.06], []), ([0.30, 0.03], [])],
    POWER: [([0.60], [0.15]), ([0.40], [0.30])],
    FLOOR: [([0.85, 0.25], [0.5]), ([0.60, 0.25], [0.3])],
    SATURATING: [([0.75], [0.6, 0.9]), ([0.55], [1.5, 1.3])],
}  # fmt: skip
"""Levels and shapes of each form, at the middle of the ladder."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--only", choices=("simulated", "published"))
    asked = parser.parse_args()
    if asked.only != "published":
        simulated(asked.trials)
    if asked.only != "simulated":
        published()


def simulated(trials: int) -> None:
    print(
        f"| form | true parameter | within its interval, of {trials} | no limit on a side | largest rung foreseen |"
    )
    print("|---|---|---|---|---|", flush=True)
    for form in FORMS:
        for number, (levels, shapes) in enumerate(TRUE[form]):
            _simulate(form, levels, shapes, trials, seed=number)


def _simulate(form: Form, levels: list[float], shapes: list[float], trials: int, seed: int) -> None:
    begun = time.monotonic()
    rng = np.random.default_rng([seed, *form.name.encode()])
    truth = curve(form, RATIO, np.array([levels]), np.array([shapes]).reshape(1, -1))[0]
    wanted = [*levels, *shapes]
    within, open_ended, foreseen = np.zeros(form.count), np.zeros(form.count), 0
    for trial in range(trials):
        right = rng.binomial(PROBLEMS, truth)
        share = (right + 0.5) / (PROBLEMS + 1)
        data = Measured(X, right / PROBLEMS, np.sqrt(share * (1 - share) / PROBLEMS))
        found = fit(form, data)
        assert found is not None
        for i, each in enumerate(found.parameters()):
            scale = found.units(i)
            low = -np.inf if each.low is None else each.low / scale
            high = np.inf if each.high is None else each.high / scale
            within[i] += low <= wanted[i] <= high
            open_ended[i] += each.low is None or each.high is None
        out = held_out(form, data, times=400, seed=trial)
        foreseen += out is not None and out.within
    for i, name in enumerate(form.parameters):
        last = f"{100 * foreseen / trials:.1f} % ({time.monotonic() - begun:.0f} s)" if i == 0 else ""
        print(
            f"| {form.name} | {name} {wanted[i]:g} | {100 * within[i] / trials:.1f} % | "
            f"{100 * open_ended[i] / trials:.1f} % | {last} |",
            flush=True,
        )


def published() -> None:
    with tempfile.TemporaryDirectory() as aside:
        for name in CURVES:
            out = Path(aside) / name.replace("/", "-")
            analyze("scaling", [f"paper:{name}"], AnalyzeSettings(out=str(out)))
            summary = Run.read(out).summary or {}
            print(f"\n{name}")
            for row in summary["fits"]:
                limits = (
                    "" if row["low"] is None and row["high"] is None else f" ({row['low']} to {row['high']})"
                )
                print(f"  {row['form']}: {row['parameter']} {row['value']}{limits} {row['note'] or ''}")
            for row in summary["points"]:
                if row["what"] == "measured" and row["residual_left_out"] is not None:
                    print(
                        f"  residual at {row['x']:g} left out: {100 * row['residual_left_out']:+.2f} points"
                    )
            for line in summary["conclusions"]:
                print(f"  {line}")


if __name__ == "__main__":
    main()
