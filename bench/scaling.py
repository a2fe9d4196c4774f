"""Ladders with known laws: how often intervals hold the truth, and how often the largest rung is foreseen.

    python bench/scaling.py                       # 200 simulated ladders per form, then fits to the published curves
    python bench/scaling.py --trials 40 --only together

A simulated ladder has eight rungs, each twice the one before. `apart`: 1,319 other problems for each rung, one response
each, as published numbers are read. `together`: the same 200 problems for all rungs, 16 responses each, as a ladder is
measured; problems differ much and rungs mostly agree on which are hard. `seeds`: the same with 50 problems and three
seeds of five rungs. The fit gets errors, and what they have in common, as a user would. Truth is that of all problems.
Intervals are 95 %; 93 % of trials is the bar.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import betaincinv
from scipy.stats import norm

from upwell.analysis import analyze
from upwell.analysis.correlation import of_values
from upwell.analysis.fitting import Measured, fit, held_out
from upwell.analysis.forms import FLOOR, FORMS, LOG_LINEAR, POWER, SATURATING, Floats, Form, curve
from upwell.analysis.published import CURVES
from upwell.analysis.settings import AnalyzeSettings
from upwell.metrics.intervals import population_interval
from upwell.runs import Run

PROBLEMS = 1319
SPREAD = 1.0
"""Of difficulties at one rung: Beta(SPREAD m, SPREAD (1 - m)) around the mean m, most of them near 0 or 1."""
AGREED = (0.6, 0.3, 0.7)
"""Correlation of a problem's difficulty (as a normal) between two rungs d doublings apart: a + b c^d; a + b between two
seeds of one."""
X = 467.0 * 2.0 ** np.arange(8)
MIDDLE = float(np.exp(np.log(X).mean()))
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
    parser.add_argument("--only", choices=(*DRAWS, "published"))
    asked = parser.parse_args()
    for which in DRAWS:
        if asked.only in (None, which):
            simulated(asked.trials, which)
    if asked.only in (None, "published"):
        published()


Draw = Callable[[Callable[[Floats], Floats], np.random.Generator], Measured]


def apart(truth: Callable[[Floats], Floats], rng: np.random.Generator) -> Measured:
    """Other problems for each rung."""
    right = rng.binomial(PROBLEMS, truth(X))
    share = (right + 0.5) / (PROBLEMS + 1)
    return Measured.apart(X, right / PROBLEMS, np.sqrt(share * (1 - share) / PROBLEMS))


def together(
    truth: Callable[[Floats], Floats], rng: np.random.Generator, *, problems: int = 200, seeds: int = 1
) -> Measured:
    """The same problems for every rung; what they have in common is estimated from them, as a ladder's is."""
    x = np.repeat(X if seeds == 1 else X[:5], seeds)
    mean = truth(x)[:, None]
    base, more, decay = AGREED
    alike = base + more * decay ** np.abs(np.log2(x[:, None] / x)) + (1 - base - more) * np.eye(len(x))
    hard = norm.cdf(np.linalg.cholesky(alike) @ rng.normal(size=(len(x), problems)))
    chance = np.clip(betaincinv(SPREAD * mean, SPREAD * (1 - mean), hard), 0, 1)
    values = rng.binomial(16, chance) / 16
    y = values.mean(axis=1)
    low, high = population_interval(y, values.var(axis=1, ddof=1), problems)
    error = (high - low) / (2 * 1.959963984540054)
    return Measured(x, y, np.outer(error, error) * of_values(values))


DRAWS: dict[str, Draw] = {
    "apart": apart, "together": together, "seeds": functools.partial(together, problems=50, seeds=3),
}  # fmt: skip


def simulated(trials: int, which: str) -> None:
    print(
        f"| {which}: form | true parameter | within its interval, of {trials} | no limit on a side | "
        "largest rung foreseen | twice the data within |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    for form in FORMS:
        for number, (levels, shapes) in enumerate(TRUE[form]):
            _simulate(form, levels, shapes, trials, number, DRAWS[which])


def _simulate(
    form: Form, levels: list[float], shapes: list[float], trials: int, seed: int, draw: Draw
) -> None:
    begun = time.monotonic()
    rng = np.random.default_rng([seed, *form.name.encode()])

    def truth(x: Floats) -> Floats:
        return curve(form, x / MIDDLE, np.array([levels]), np.array([shapes]).reshape(1, -1))[0]

    within, open_ended, foreseen, ahead = np.zeros(form.count), np.zeros(form.count), 0, 0
    wanted = np.array([*levels, *shapes])
    for trial in range(trials):
        data = draw(truth, rng)
        found = fit(form, data)
        assert found is not None
        wanted = _at_middle(form, levels, shapes, found.middle / MIDDLE)
        for i, each in enumerate(found.parameters()):
            scale = found.units(i)
            low = -np.inf if each.low is None else each.low / scale
            high = np.inf if each.high is None else each.high / scale
            within[i] += low <= wanted[i] <= high
            open_ended[i] += each.low is None or each.high is None
        out = held_out(form, data, times=400, seed=trial)
        foreseen += out is not None and out.within
        twice = 2 * data.x[-1]
        under, over = (float(limit[0]) for limit in found.redrawn(400, trial).band([twice]))
        ahead += under <= float(truth(np.array([twice]))[0]) <= over
    for i, name in enumerate(form.parameters):
        last = (
            f"{100 * foreseen / trials:.1f} % ({time.monotonic() - begun:.0f} s) | {100 * ahead / trials:.1f} %"
            if i == 0
            else " | "
        )
        print(
            f"| {form.name} | {name} {wanted[i]:.3g} | {100 * within[i] / trials:.1f} % | "
            f"{100 * open_ended[i] / trials:.1f} % | {last} |",
            flush=True,
        )


def _at_middle(form: Form, levels: list[float], shapes: list[float], moved: float) -> Floats:
    """True parameters where the middle of the rungs is `moved` times that of all eight."""
    if form is LOG_LINEAR:
        return np.array([levels[0] + levels[1] * np.log(moved), levels[1]])
    if form is SATURATING:
        return np.array([levels[0], shapes[0] / moved, shapes[1]])
    return np.array([*levels[:-1], levels[-1] * moved ** -shapes[0], shapes[0]])


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
