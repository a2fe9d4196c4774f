"""Every metric of a run, whole and by slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from upwell.errors import UsageError
from upwell.metrics.chance import Chance, adjusted_pass_at_k, chance_pass_at_k
from upwell.metrics.difficulty import Difficulty
from upwell.metrics.estimators import best_of_at_k, pass_at_k, pass_hat_k
from upwell.metrics.intervals import fixed_interval, mean_interval, population_interval
from upwell.metrics.majority import maj_at_k, maj_at_k_first
from upwell.metrics.metric import Metric
from upwell.metrics.outcomes import NO_VOTE, Bools, Floats, Outcomes
from upwell.metrics.resampling import Redraw

AT_K = ("pass@k", "maj@k", "maj@k_first", "best_of@k", "pass^k", "chance_pass@k", "adjusted_pass@k")


@dataclass(frozen=True, eq=False)
class Series:
    """One metric before it is averaged: a value per problem, and how sure each is."""

    name: str
    k: int | None
    values: Floats
    """In [0, 1], except mean tokens."""
    noise: Floats
    """Variance that drawing the problem's responses again would give its value."""
    expected: Floats | None
    """The value as a model has it, inside (0, 1); None for a metric that is not a share."""
    unit: float = 1.0
    """The most that one response can count for in a problem's value: k / n."""
    note: str | None = None


def default_ks(n: int) -> list[int]:
    """Powers of two up to n, and n itself."""
    return sorted({2**i for i in range(n.bit_length())} | {n}) if n > 0 else []


def summarise(
    outcomes: Outcomes, *, ks: Sequence[int] | None = None, slices: bool = True, seed: int = 0
) -> list[Metric]:
    """All metrics, each with its two 95 % intervals, whole and by level and subject.

    Args:
        outcomes: The graded responses.
        ks: Subset sizes; by default powers of two up to the fewest responses of a problem, and that number.
        slices: Also by level and subject, where the problems have them.
        seed: Of what is simulated: the fixed interval of maj@k and best_of@k, and maj@k where it is too
            dear to be exact.

    Returns:
        One `Metric` per name, k and slice. What cannot be computed is there with value None and a note.

    Raises:
        UsageError: a k below 1.
    """
    fewest = int(outcomes.n.min()) if len(outcomes.slots) else 0
    wanted = default_ks(fewest) if ks is None else sorted(set(ks))
    if wanted and wanted[0] < 1:
        raise UsageError(f"k must be at least 1, got {wanted[0]}", "leave it out of the list of k")
    feasible = [k for k in wanted if k <= fewest]
    shared = _notes(outcomes, fewest)
    metrics = [_not_computable(outcomes, name, k) for k in wanted if k > fewest for name in _at_k(outcomes)]
    if not len(outcomes.slots):
        return [
            *metrics,
            Metric(name="pass_ratio", value=None, problems=0, samples=0, note=_join("no responses", *shared)),
        ]
    series, chance = list(_series(outcomes, feasible, seed)), Chance.of(outcomes)
    passed = {one.k: one for one in series if one.name == "pass@k"}
    for name, chosen in _slices(outcomes, slices):
        metrics += [_metric(one, outcomes, chosen, name, shared) for one in series]
        for k in feasible:
            metrics += _guesses(passed[k], chance, outcomes, chosen, name, shared)
    return metrics


def _at_k(outcomes: Outcomes) -> list[str]:
    return [name for name in AT_K if name != "best_of@k" or outcomes.scores is not None]


def _series(outcomes: Outcomes, ks: Sequence[int], seed: int) -> Iterator[Series]:
    n, c = outcomes.n, outcomes.c
    typical = float(n.mean())
    difficulty = Difficulty.fit(n, c)
    yield Series("pass_ratio", None, c / n, *difficulty.noise(1), 1 / typical)
    for k in ks:
        yield Series("pass@k", k, pass_at_k(n, c, k), *difficulty.noise(k), k / typical)
    for k in ks:
        yield Series("pass^k", k, pass_hat_k(n, c, k), *difficulty.noise(k, every=True), k / typical)
    redraw = Redraw(outcomes, difficulty, seed)
    for k in ks:
        yield from _majorities(outcomes, k, redraw, seed)
    if outcomes.scores is not None:
        for k in ks:
            values = best_of_at_k(outcomes.starts, outcomes.correct == 1, outcomes.scores, k)
            yield Series("best_of@k", k, values, *redraw.best_of(k, values), k / typical)
    for name, column in (
        ("truncated", outcomes.truncated),
        ("no_answer", outcomes.votes == NO_VOTE),
        ("undecided", outcomes.correct == -1),
    ):
        count = outcomes.per_problem(column)
        yield Series(name, None, count / n, *Difficulty.fit(n, count).noise(1), 1 / typical)
    tokens = outcomes.per_problem(outcomes.tokens) / n
    around = np.add.reduceat((outcomes.tokens - np.repeat(tokens, n)) ** 2, outcomes.starts[:-1])
    noise = np.divide(around, n * (n - 1), out=np.full(len(n), np.nan), where=n > 1)
    yield Series("mean_tokens", None, tokens, noise, None)


def _majorities(outcomes: Outcomes, k: int, redraw: Redraw, seed: int) -> Iterator[Series]:
    if not np.any(outcomes.votes != NO_VOTE) and np.any(outcomes.c):
        missing = np.full(len(outcomes.slots), np.nan)
        for name in ("maj@k", "maj@k_first"):
            yield Series(name, k, missing, missing, missing, note="no answers were given, only verdicts")
        return
    unit = k / float(outcomes.n.mean())
    majority = maj_at_k(outcomes.n, outcomes.classes, k, seed=seed)
    noise, expected = redraw.majority(k, majority.values)
    note = (
        f"{majority.simulated} problems by Monte Carlo, standard error {majority.error:.1e}"
        if majority.error
        else None
    )
    yield Series("maj@k", k, majority.values, noise + majority.errors**2, expected, unit, note)
    # Given the problem, the first k draws are right or wrong with the chance that maj@k estimates.
    once = np.maximum(majority.values * (1 - majority.values), 0.0) + noise
    yield Series("maj@k_first", k, maj_at_k_first(outcomes, k), once, expected)


def _slices(outcomes: Outcomes, wanted: bool) -> Iterator[tuple[str | None, Bools]]:
    yield None, np.ones(len(outcomes.slots), np.bool_)
    for what in ("level", "subject") if wanted else ():
        labels = np.array([getattr(slot, what) or "" for slot in outcomes.slots], dtype=object)
        for label in sorted(set(labels) - {""}):
            yield f"{what}={label}", labels == label


def _metric(one: Series, outcomes: Outcomes, chosen: Bools, name: str | None, shared: list[str]) -> Metric:
    chosen = chosen & ~np.isnan(one.values)
    count, samples = int(np.count_nonzero(chosen)), int(outcomes.n[chosen].sum())
    note = _join(one.note, *shared)
    if not count:
        return Metric(name=one.name, k=one.k, value=None, problems=0, samples=0, slice=name, note=note)
    values, noise = one.values[chosen], float(one.noise[chosen].mean())
    mean = float(values.mean())
    between = float(values.var(ddof=1)) if count > 1 else np.nan
    low: float | None
    low_fixed: float | None
    if one.expected is None:
        low, high = mean_interval(mean, between / count, count - 1) if count > 1 else (None, None)
        low_fixed, high_fixed = (
            (None, None) if np.isnan(noise) else mean_interval(mean, noise / count, np.inf)
        )
        if low is None or low_fixed is None:
            note = _join("no interval from one problem or one response", note)
    else:
        mean = min(max(mean, 0.0), 1.0)
        smooth = float(one.expected[chosen].mean())
        low, high = map(float, population_interval(mean, between, count))
        low_fixed, high_fixed = map(
            float, fixed_interval(mean, noise, smooth, count, unit=one.unit, fitted=len(one.values))
        )
    return Metric(
        name=one.name, k=one.k, value=mean, low=low, high=high, low_fixed=low_fixed, high_fixed=high_fixed,
        problems=count, samples=samples, slice=name, note=note,
    )  # fmt: skip


def _guesses(
    passed: Series, chance: Chance, outcomes: Outcomes, chosen: Bools, name: str | None, shared: list[str]
) -> Iterator[Metric]:
    """chance_pass@k and adjusted_pass@k, over the problems that have a chance."""
    assert passed.k is not None and passed.expected is not None
    k, known = passed.k, chosen & ~np.isnan(chance.q)
    count, samples = int(np.count_nonzero(known)), int(outcomes.n[known].sum())
    unknown = int(np.count_nonzero(chosen)) - count
    note = _join(
        f"problems left out, having no other of their kind or no canonical gold: {unknown}"
        if unknown
        else None,
        *shared,
    )

    def metric(
        metric_name: str, value: float | None, between: float, noise: float, smooth: float, why: str | None
    ) -> Metric:
        if value is None:
            return Metric(
                name=metric_name, k=k, value=None, problems=count, samples=samples, slice=name, note=why
            )
        low, high = map(float, population_interval(value, between, count))
        low_fixed, high_fixed = map(
            float, fixed_interval(value, noise, smooth, count, unit=passed.unit, fitted=len(outcomes.slots))
        )
        return Metric(
            name=metric_name, k=k, value=value, low=low, high=high, low_fixed=low_fixed, high_fixed=high_fixed,
            problems=count, samples=samples, slice=name, note=why,
        )  # fmt: skip

    if not count:
        yield metric("chance_pass@k", None, 0, 0, 0, note)
        yield metric("adjusted_pass@k", None, 0, 0, 0, note)
        return
    guess, right = chance_pass_at_k(chance.q[known], k), passed.values[known]
    mean, base, noise = float(guess.mean()), float(right.mean()), chance.noise(k, known)
    smooth = float(chance_pass_at_k(chance.smooth()[known], k).mean())
    yield metric("chance_pass@k", mean, _between(guess), noise, smooth, note)
    value = adjusted_pass_at_k(base, mean)
    if value is None:
        yield metric("adjusted_pass@k", None, 0, 0, 0, _join("chance is 1", note))
        return
    # To first order in both means.
    by_pass, by_chance = 1 / (1 - mean), (1 - base) / (1 - mean) ** 2
    spread = _between(by_pass * right - by_chance * guess)
    noise = by_pass**2 * float(passed.noise[known].mean()) + by_chance**2 * noise
    inside = 0.5 / (samples + 1)
    smooth = min(max((float(passed.expected[known].mean()) - smooth) / (1 - smooth), inside), 1 - inside)
    below = "pass@k is below chance" if base < mean else None
    yield metric("adjusted_pass@k", value, spread, noise, smooth, _join(below, note))


def _between(values: Floats) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else np.nan


def _notes(outcomes: Outcomes, fewest: int) -> list[str]:
    notes = []
    if outcomes.unanswered:
        notes.append(f"problems left out, having no response: {outcomes.unanswered}")
    if len(outcomes.slots) and outcomes.n.max() > fewest:
        short = int(np.count_nonzero(outcomes.n == fewest))
        notes.append(
            f"{fewest} to {outcomes.n.max()} responses per problem ({fewest} for {short}), so k ends at {fewest}"
        )
    return notes


def _join(*notes: str | None) -> str | None:
    return "; ".join(note for note in notes if note) or None


def _not_computable(outcomes: Outcomes, name: str, k: int) -> Metric:
    short = int(np.count_nonzero(outcomes.n < k)) + outcomes.unanswered
    total = len(outcomes.slots) + outcomes.unanswered
    note = f"not computable: fewer than {k} responses for {short} of {total} problems"
    return Metric(name=name, k=k, value=None, problems=0, samples=0, note=note)
