"""The noise that fixed intervals rest on, against responses that really are drawn again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betaln

from upwell.metrics import Outcomes, Row, Slot, best_of_at_k, maj_at_k, pass_at_k, summarise
from upwell.metrics.difficulty import Difficulty, fit_beta_binomial
from upwell.metrics.estimators import Ranking
from upwell.metrics.outcomes import Classes, Floats, Ints
from upwell.metrics.resampling import Redraw, evenly_contested, left_by_overlap, linear
from upwell.metrics.verifier import Verifier

WRONG = np.array([0.5, 0.3, 0.15, 0.05])
"""Shares of the wrong responses; the last is silence."""


def votes_of(chance: Floats, n: int, rng: np.random.Generator) -> Ints:
    return rng.multinomial(n, np.hstack([chance[:, None], (1 - chance[:, None]) * WRONG]))[:, :-1]


def classes_of(counts: Ints) -> Classes:
    owner, which = np.nonzero(counts)
    size = counts[counts > 0]
    order = np.lexsort((-size, owner))
    starts = np.searchsorted(owner, np.arange(len(counts) + 1))
    return Classes(starts, size[order], (which == 0).astype(float)[order], np.arange(len(size)))


@pytest.mark.parametrize(("samples", "k"), [(8, 4), (8, 8), (64, 8), (64, 32), (64, 64)])
def test_votes(samples: int, k: int) -> None:
    rng = np.random.default_rng(1)
    chance = rng.beta(1, 1.5, 400)
    n = np.full(400, samples)
    again = [maj_at_k(n, classes_of(votes_of(chance, samples, rng)), k).values for _ in range(60)]
    counts = votes_of(chance, samples, rng)
    redraw = Redraw(n, classes_of(counts), Difficulty.fit(n, counts[:, 0]), seed=0)
    noise, expected = redraw.majority(k, maj_at_k(n, classes_of(counts), k).values)
    # The noise is known to 10 % from 1,200 pairs, and the share that overlaps leave to about as much.
    assert noise.mean() == pytest.approx(np.var(again, axis=0, ddof=1).mean(), rel=0.3)
    assert expected.mean() == pytest.approx(np.mean(again), abs=0.04)


@pytest.mark.parametrize("apart", [0.0, 1.5])
@pytest.mark.parametrize(("samples", "k"), [(8, 8), (32, 4), (32, 16), (32, 32)])
def test_a_verifier(samples: int, k: int, apart: float) -> None:
    rng = np.random.default_rng(2)
    chance = rng.beta(0.7, 1, 500)
    starts = np.arange(501) * samples

    def draw() -> tuple[np.ndarray, np.ndarray]:
        good = rng.random((500, samples)) < chance[:, None]
        # Far from normal: only the order of the scores may matter.
        return good.ravel(), np.exp(3 * (rng.standard_normal(good.shape) + apart * good)).ravel()

    again = [best_of_at_k(starts, *draw(), k) for _ in range(60)]
    good, scores = draw()
    difficulty = Difficulty.fit(np.full(500, samples), good.reshape(500, -1).sum(axis=1))
    noise, expected = Verifier.fit(difficulty, Ranking.of(starts, scores), good).noise(k)
    assert noise.mean() == pytest.approx(np.var(again, axis=0, ddof=1).mean(), rel=0.12)
    assert expected.mean() == pytest.approx(np.mean(again), abs=0.03)


def test_a_verifier_that_says_nothing_or_all() -> None:
    """Equal scores everywhere; one side only; one response: no number may be lost on it."""
    for verdicts in ("++--", "++++", "----", "+"):
        rows = [
            Row(problem=key, index=i, correct=v == "+", vote=v, score=1.0)
            for key in "ab"
            for i, v in enumerate(verdicts)
        ]
        metrics = summarise(Outcomes.collect([Slot(key="a"), Slot(key="b")], rows))
        for m in metrics:
            if m.name in ("best_of@k", "weighted_maj@k"):
                assert m.value == pytest.approx(verdicts.count("+") / len(verdicts))
                assert m.low_fixed < m.high_fixed and m.low < m.high  # type: ignore[operator]


def test_overlaps() -> None:
    # One draw of n: the mean has 1/n of its variance. All of them: all of it.
    assert left_by_overlap(50, 1, evenly_contested) == pytest.approx(1 / 50)
    assert left_by_overlap(50, 50, evenly_contested) == pytest.approx(1)
    # What is linear in the draws has k/n of its variance left.
    assert left_by_overlap(40, 10, linear) == pytest.approx(10 / 40)
    assert 0.5 * 0.25 < left_by_overlap(400, 100, evenly_contested) < 0.25


@pytest.mark.parametrize(("a", "b"), [(0.05, 0.2), (1, 1), (20, 5)])
def test_beta_binomial_fit_is_the_likeliest(a: float, b: float) -> None:
    rng = np.random.default_rng(4)
    n = rng.integers(3, 40, 300)
    c = rng.binomial(n, rng.beta(a, b, 300))

    def loss(a: float, b: float) -> float:
        fit = np.sum(betaln(a + c, b + n - c) - betaln(a, b))
        return float(-fit - 0.5 * np.log(a * b / (a + b) ** 2) + np.log(a + b) ** 2 / 18)

    found = fit_beta_binomial(n, c, np.ones(300))
    for other in (0.97, 1.03):
        assert loss(*found) < loss(found[0] * other, found[1])
        assert loss(*found) < loss(found[0], found[1] * other)


@pytest.mark.parametrize("right", [0, 10_000])
def test_ten_thousand_draws_that_agree(right: int) -> None:
    metrics = summarise(Outcomes.from_counts([10_000] * 3, [right] * 3), ks=[1, 100])
    assert all(m.value == min(right, 1) for m in metrics if m.name == "pass@k")


def test_chance_interval_covers_the_population() -> None:
    """Problems share responses, so that the spread between their values is half of the story."""
    rng = np.random.default_rng(6)
    common = np.arange(1, 21) ** -1.0
    common /= common.sum()
    held, runs = 0, 200
    for _ in range(runs):
        gold = rng.choice(20, 150, p=common)
        answers = rng.choice(20, (150, 4), p=common)
        rows = [
            Row(problem=str(i), index=j, correct=bool(a == gold[i]), vote=str(a))
            for i, line in enumerate(answers)
            for j, a in enumerate(line)
        ]
        slots = [Slot(key=str(i), gold=str(g)) for i, g in enumerate(gold)]
        outcomes = Outcomes.collect(slots, rows)
        (m,) = [m for m in summarise(outcomes, ks=[1], slices=False) if m.name == "chance_pass@k"]
        held += bool(m.low <= common @ common <= m.high)  # type: ignore[operator]
    assert 0.905 <= held / runs <= 0.99  # standard error 1.5 points; without the shared part 0.8


def test_few_hits_do_not_make_a_fixed_interval_too_sure() -> None:
    """Rates so low that half a problem of 1,319 is solved in every draw."""
    rng = np.random.default_rng(8)
    held, runs = 0, 300
    for _ in range(runs):
        chance = rng.beta(1, 0.1, 1319)
        right = rng.binomial(256, chance)
        truth = float(np.mean(1 - (1 - chance) ** 256))
        metrics = summarise_pass(256, right)
        held += bool(metrics[0] <= truth <= metrics[1])
    assert held / runs >= 0.915


def summarise_pass(n: int, right: Ints) -> tuple[float, float]:
    from upwell.metrics.intervals import fixed_interval

    noise, smooth = Difficulty.fit(np.full(len(right), n), right).noise(n)
    mean = pass_at_k(n, right, n).mean()
    low, high = fixed_interval(mean, noise.mean(), smooth.mean(), len(right), unit=1.0, fitted=len(right))
    return float(low), float(high)
