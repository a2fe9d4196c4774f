"""What a width costs: plans come out as planned, the limits of problems and samples, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from upwell.errors import UsageError
from upwell.metrics import Outcomes, summarise
from upwell.metrics.planning import pass_noise, plan_samples


@pytest.mark.parametrize(
    ("width", "k", "kind", "shape", "available"),
    [
        (0.05, 1, "population", (0.5, 1.0), None),
        (0.08, 8, "population", (1.0, 0.5), 1319),
        (0.03, 16, "fixed", (0.3, 1.0), 300),
        (0.02, 8, "population", (3.0, 0.3), None),
    ],
)
def test_a_run_at_the_plan_is_as_sure_as_planned(
    width: float, k: int, kind: str, shape: tuple[float, float], available: int | None
) -> None:
    planned = plan_samples(width, k=k, kind=kind, difficulty=shape, problems_available=available)
    row = planned.recommended
    assert row is not None and row.reached
    rng, widths = np.random.default_rng(0), []
    n = np.full(row.problems, row.samples)
    for _ in range(15):
        table = Outcomes.from_counts(n, rng.binomial(n, rng.beta(*shape, row.problems)))
        (metric,) = (m for m in summarise(table, ks=[k]) if m.name == "pass@k")
        ends = (metric.low, metric.high) if kind == "population" else (metric.low_fixed, metric.high_fixed)
        assert ends[0] is not None and ends[1] is not None
        widths.append(ends[1] - ends[0])
    expected = row.population if kind == "population" else row.fixed
    assert expected <= width
    assert np.mean(widths) == pytest.approx(expected, rel=0.1)
    assert np.mean(widths) == pytest.approx(width, rel=0.12)


def test_the_recommendation_is_the_cheapest_and_one_less_does_not_do() -> None:
    planned = plan_samples(0.06, k=4, difficulty=(0.5, 0.5), problems_available=2000)
    row = planned.recommended
    assert row is not None
    assert row.responses == min(r.responses for r in planned.rows if r.reached)
    fewer = plan_samples(0.06, k=4, difficulty=(0.5, 0.5), problems_available=row.problems - 1)
    assert all(r.samples > row.samples for r in fewer.rows if r.reached)


def test_samples_cannot_replace_problems() -> None:
    planned = plan_samples(0.04, problems_available=200)
    assert planned.recommended is None
    assert "out of reach" in planned.statement and "what is missing is problems" in planned.statement
    assert planned.best == pytest.approx(min(row.population for row in planned.rows)) and planned.best > 0.04
    # The interval for exactly these problems does get there.
    fixed = plan_samples(0.04, problems_available=200, kind="fixed")
    assert fixed.recommended is not None and fixed.recommended.problems == 200


def test_a_pilot_counts_for_what_it_shows() -> None:
    rng = np.random.default_rng(2)
    n = np.full(200, 8)
    easy = plan_samples(0.05, pilot_n=n, pilot_c=rng.binomial(8, rng.beta(8, 1, 200)))
    blind = plan_samples(0.05)
    assert easy.recommended is not None and blind.recommended is not None
    assert easy.recommended.responses < 0.7 * blind.recommended.responses
    assert "a pilot of 200 problems with 1,600 responses" in easy.basis
    assert blind.basis.startswith("no pilot: the widest of typical")
    assert all(row.typical <= row.population for row in blind.rows)


def test_noise_is_that_of_simulated_draws() -> None:
    rng = np.random.default_rng(3)
    chances, weights = np.array([0.02, 0.3, 0.8]), np.array([0.5, 0.3, 0.2])
    simulated = 0.0
    for p, w in zip(chances, weights, strict=True):
        solved = rng.random((40_000, 16)) < p
        values = 1 - np.array([np.prod(1 - 4 / (16 - np.arange(c))) for c in np.minimum(solved.sum(1), 13)])
        simulated += w * values.var()
    assert pass_noise(chances, weights, 16, 4) == pytest.approx(simulated, rel=0.03)


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0.0},
        {"width": 1.5},
        {"width": 0.1, "metric": "maj@k"},
        {"width": 0.1, "k": 0},
        {"width": 0.1, "problems_available": 0},
        {"width": 0.1, "difficulty": (0.0, 1.0)},
        {"width": 0.1, "pilot_n": [4]},
        {"width": 0.1, "pilot_n": [4], "pilot_c": [5]},
    ],
)
def test_plans_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        plan_samples(**wrong)  # type: ignore[arg-type]
