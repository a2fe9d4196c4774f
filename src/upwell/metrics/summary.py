"""Every metric of a run, whole and by slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from upwell.errors import UsageError
from upwell.metrics.chance import Chance, adjusted_pass_at_k, chance_pass_at_k
from upwell.metrics.intervals import fixed_interval, mean_interval, population_interval
from upwell.metrics.metric import Metric
from upwell.metrics.outcomes import Bools, Floats, Outcomes
from upwell.metrics.series import Series, names_at_k, series


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
    metrics = [
        _not_computable(outcomes, name, k) for k in wanted if k > fewest for name in names_at_k(outcomes)
    ]
    if not len(outcomes.slots):
        return [
            *metrics,
            Metric(name="pass_ratio", value=None, problems=0, samples=0, note=_join("no responses", *shared)),
        ]
    every, chance = list(series(outcomes, feasible, seed)), Chance.of(outcomes)
    passed = {one.k: one for one in every if one.name == "pass@k"}
    for name, chosen in _slices(outcomes, slices):
        metrics += [_metric(one, outcomes, chosen, name, shared) for one in every]
        for k in feasible:
            metrics += _by_chance(passed[k], chance, outcomes, chosen, name, shared)
    return metrics


def _slices(outcomes: Outcomes, wanted: bool) -> Iterator[tuple[str | None, Bools]]:
    yield None, np.ones(len(outcomes.slots), np.bool_)
    for what in ("level", "subject") if wanted else ():
        labels = np.array([getattr(slot, what) or "" for slot in outcomes.slots], dtype=object)
        for label in sorted(set(labels) - {""}):
            yield f"{what}={label}", labels == label


def _metric(one: Series, outcomes: Outcomes, chosen: Bools, name: str | None, shared: list[str]) -> Metric:
    absent = int(np.count_nonzero(chosen & np.isnan(one.values)))
    there, chosen = int(outcomes.n[chosen].sum()), chosen & ~np.isnan(one.values)
    count = int(np.count_nonzero(chosen))
    samples = int((outcomes.n if one.counted is None else one.counted)[chosen].sum())
    left_out = f"{one.missing}: {absent}" if one.missing and absent else None
    if one.counted is not None and samples < there:
        left_out = f"responses left out, of unknown length: {there - samples}"
    note = _join(one.note, left_out, *shared)
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
        low_fixed, high_fixed = (
            map(float, fixed_interval(mean, noise, smooth, count, unit=one.unit, fitted=len(one.values)))
            if one.sampled
            else (mean, mean)
        )
    return Metric(
        name=one.name, k=one.k, value=mean, low=low, high=high, low_fixed=low_fixed, high_fixed=high_fixed,
        problems=count, samples=samples, slice=name, note=note,
    )  # fmt: skip


def _by_chance(
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
    # Problems share their responses, so the spread between their values is not all there is.
    pull = chance.influence(k, known)
    yield metric("chance_pass@k", mean, _spread(pull, count), noise, smooth, note)
    value = adjusted_pass_at_k(base, mean)
    if value is None:
        yield metric("adjusted_pass@k", None, 0, 0, 0, _join("chance is 1", note))
        return
    # To first order in both means.
    by_pass, by_chance = 1 / (1 - mean), (1 - base) / (1 - mean) ** 2
    pull = -by_chance * pull
    pull[known] += by_pass * (right - base)
    spread = _spread(pull, count)
    noise = by_pass**2 * float(passed.noise[known].mean()) + by_chance**2 * noise
    inside = 0.5 / (samples + 1)
    smooth = min(max((float(passed.expected[known].mean()) - smooth) / (1 - smooth), inside), 1 - inside)
    below = "pass@k is below chance" if base < mean else None
    yield metric("adjusted_pass@k", value, spread, noise, smooth, _join(below, note))


def _spread(influence: Floats, count: int) -> float:
    """Variance between `count` problems, from what each of all problems adds to their sum."""
    return float(influence @ influence) / (count - 1) if count > 1 else np.nan


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
