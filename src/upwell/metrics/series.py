"""Every metric before it is averaged: one value per problem, and how far drawing responses again would move it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from upwell.metrics.difficulty import Difficulty
from upwell.metrics.estimators import Ranking, pass_at_k, pass_hat_k
from upwell.metrics.majority import Majority, maj_at_k, maj_at_k_first
from upwell.metrics.outcomes import NO_EQUATION, NO_VOTE, SOUND, Floats, Ints, Outcomes
from upwell.metrics.resampling import Redraw
from upwell.metrics.verifier import Verifier
from upwell.metrics.weighting import weighted_maj_at_k

AT_K = ("pass@k", "maj@k", "maj@k_first", "pass^k", "chance_pass@k", "adjusted_pass@k")
"""Metrics that are there for every k of every run."""


@dataclass(frozen=True, eq=False)
class Series:
    """One metric before it is averaged: a value per problem, and how sure each is."""

    name: str
    k: int | None
    values: Floats
    """In [0, 1], except mean tokens; NaN for a problem that has none."""
    noise: Floats
    """Variance that drawing the problem's responses again would give its value."""
    expected: Floats | None
    """The value as a model has it, inside (0, 1); None for a metric that is not a share."""
    unit: float = 1.0
    """The most that one response can count for in a problem's value: k / n."""
    note: str | None = None
    missing: str = ""
    """Why a problem has no value, in the words of a note that ends in how many have none."""
    counted: Ints | None = None
    """Responses of each problem that go into its value, where these may not be all."""
    sampled: bool = True
    """False where no response goes into the value, so that for exactly these problems it is certain."""


def names_at_k(outcomes: Outcomes) -> list[str]:
    """The metrics that `outcomes` allow at every k."""
    names = list(AT_K)
    if outcomes.scores is not None:
        names += ["best_of@k", "weighted_maj@k"]
    if outcomes.sound is not None:
        names += ["sound_pass@k", "sound_pass@k_upper"]
    if _guesses(outcomes) is not None:
        names += ["guess_pass@k"]
    return names


def series(outcomes: Outcomes, ks: Sequence[int], seed: int) -> Iterator[Series]:
    """All metrics that are means of the problems' own values, at every one of `ks`, none above the smallest n."""
    n, c = outcomes.n, outcomes.c
    typical = float(n.mean())
    difficulty = Difficulty.fit(n, c)
    yield Series("pass_ratio", None, c / n, *difficulty.noise(1), 1 / typical)
    yield from _passes("pass@k", n, c, difficulty, ks)
    for k in ks:
        yield Series("pass^k", k, pass_hat_k(n, c, k), *difficulty.noise(k, every=True), k / typical)
    yield from _selections(outcomes, ks, difficulty, seed)
    yield from _soundness(outcomes, ks)
    guesses = _guesses(outcomes)
    if guesses is not None:
        for k in ks:
            hit = 1 - (1 - guesses) ** k
            yield Series(
                "guess_pass@k", k, hit, np.zeros(len(n)), hit, sampled=False,
                missing="problems left out, having no computed chance of a guess",
            )  # fmt: skip
    for name, column in (
        ("truncated", outcomes.truncated),
        ("no_answer", outcomes.votes == NO_VOTE),
        ("undecided", outcomes.correct == -1),
    ):
        count = outcomes.per_problem(column)
        yield Series(name, None, count / n, *Difficulty.fit(n, count).noise(1), 1 / typical)
    yield _lengths(outcomes)


def _lengths(outcomes: Outcomes) -> Series:
    """Mean tokens, of the responses whose tokens are known."""
    known = outcomes.tokens >= 0
    n = outcomes.per_problem(known)
    unknown = np.full(len(n), np.nan)
    means = np.divide(
        outcomes.per_problem(np.where(known, outcomes.tokens, 0)), n, out=unknown.copy(), where=n > 0
    )
    off = np.where(known, outcomes.tokens - np.repeat(means, outcomes.n), 0.0)
    around = np.add.reduceat(off**2, outcomes.starts[:-1])
    noise = np.divide(around, n * (n - 1), out=unknown, where=n > 1)
    return Series("mean_tokens", None, means, noise, None, counted=n)


def _passes(name: str, n: Ints, c: Ints, difficulty: Difficulty, ks: Sequence[int]) -> Iterator[Series]:
    for k in ks:
        yield Series(name, k, pass_at_k(n, c, k), *difficulty.noise(k), k / float(n.mean()))


def _soundness(outcomes: Outcomes, ks: Sequence[int]) -> Iterator[Series]:
    """Right responses whose arithmetic checks out; and, as an upper limit, those in which none was found wrong."""
    if outcomes.sound is None:
        return
    n, right = outcomes.n, outcomes.correct == 1
    lower = outcomes.per_problem(right & (outcomes.sound == SOUND))
    difficulty = Difficulty.fit(n, lower)
    yield Series("sound_pass_ratio", None, lower / n, *difficulty.noise(1), 1 / float(n.mean()))
    yield from _passes("sound_pass@k", n, lower, difficulty, ks)
    upper = outcomes.per_problem(right & ((outcomes.sound == SOUND) | (outcomes.sound == NO_EQUATION)))
    yield from _passes("sound_pass@k_upper", n, upper, Difficulty.fit(n, upper), ks)


def _guesses(outcomes: Outcomes) -> Floats | None:
    """Per problem, the chance that one guess is right; NaN where it has none, None where no problem has."""
    chances = [np.nan if slot.guess is None else slot.guess for slot in outcomes.slots]
    return None if np.all(np.isnan(chances)) else np.array(chances)


def _selections(outcomes: Outcomes, ks: Sequence[int], difficulty: Difficulty, seed: int) -> Iterator[Series]:
    """What real selectors make of k draws: a vote, a verifier, both."""
    redraw = Redraw(outcomes.n, outcomes.classes, difficulty, seed)
    votes = bool(np.any(outcomes.votes != NO_VOTE)) or not np.any(outcomes.c)
    if votes:
        for k in ks:
            yield from _majorities(outcomes, k, redraw, seed)
    else:
        yield from _without_votes(("maj@k", "maj@k_first"), ks, outcomes)
    if outcomes.scores is None:
        return
    right, typical = outcomes.correct == 1, float(outcomes.n.mean())
    ranking = Ranking.of(outcomes.starts, outcomes.scores)
    verifier = Verifier.fit(difficulty, ranking, right)
    for k in ks:
        yield Series("best_of@k", k, ranking.best_of(right, k), *verifier.noise(k), k / typical)
    if not votes:
        yield from _without_votes(("weighted_maj@k",), ks, outcomes)
    elif ks:
        weighted = weighted_maj_at_k(outcomes, ks, seed=seed)
        spread = redraw.weighted(ks, [weighted[k].values for k in ks], outcomes)
        for (k, one), (noise, expected) in zip(weighted.items(), spread, strict=True):
            noise = noise + one.errors**2
            yield Series("weighted_maj@k", k, one.values, noise, expected, k / typical, _simulated(one))


def _without_votes(names: Sequence[str], ks: Sequence[int], outcomes: Outcomes) -> Iterator[Series]:
    missing = np.full(len(outcomes.slots), np.nan)
    for k in ks:
        for name in names:
            yield Series(name, k, missing, missing, missing, note="no answers were given, only verdicts")


def _majorities(outcomes: Outcomes, k: int, redraw: Redraw, seed: int) -> Iterator[Series]:
    majority, unit = maj_at_k(outcomes.n, outcomes.classes, k, seed=seed), k / float(outcomes.n.mean())
    noise, expected = redraw.majority(k, majority.values)
    yield Series(
        "maj@k", k, majority.values, noise + majority.errors**2, expected, unit, _simulated(majority)
    )
    # Given the problem, the first k draws are right or wrong with the chance that maj@k estimates.
    once = np.maximum(majority.values * (1 - majority.values), 0.0) + noise
    yield Series("maj@k_first", k, maj_at_k_first(outcomes, k), once, expected)


def _simulated(majority: Majority) -> str | None:
    if not majority.error:
        return None
    return f"{majority.simulated} problems by Monte Carlo, standard error {majority.error:.1e}"
