"""Every metric of a run, whole and by slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from upwell.errors import UsageError
from upwell.metrics.chance import Chance, adjusted_pass_at_k, chance_pass_at_k
from upwell.metrics.estimators import best_of_at_k, pass_at_k, pass_hat_k
from upwell.metrics.intervals import LEVEL, population_interval, share_interval
from upwell.metrics.majority import maj_at_k, maj_at_k_first
from upwell.metrics.metric import Metric
from upwell.metrics.outcomes import NO_VOTE, Bools, Floats, Ints, Outcomes
from upwell.metrics.spread import jeffreys_noise


@dataclass(frozen=True, eq=False)
class Series:
    """One metric before it is averaged."""

    name: str
    k: int | None
    values: Floats
    """Per problem; NaN where the problem has none and is left out."""
    noise: Floats
    """Per problem, the variance that drawing its responses again would give the value."""
    unit: bool = True
    """Values are shares in [0, 1]."""
    note: str | None = None


def default_ks(n: int) -> list[int]:
    """Powers of two up to n, and n itself."""
    return sorted({2**i for i in range(n.bit_length()) if 2**i <= n} | ({n} if n else set()))


def summarise(
    outcomes: Outcomes, *, ks: Sequence[int] | None = None, slices: bool = True, seed: int = 0
) -> list[Metric]:
    """All metrics, each with its two 95 % intervals, whole and by level and subject.

    Args:
        outcomes: The graded responses.
        ks: Subset sizes; by default powers of two up to the fewest responses of a problem, and that number.
        slices: Also by level and subject, where the problems have them.
        seed: Of what is simulated (the interval of maj@k, and maj@k where it cannot be exact).

    Raises:
        UsageError: a k below 1.
    """
    fewest = int(outcomes.n.min()) if len(outcomes.slots) else 0
    wanted = default_ks(fewest) if ks is None else sorted(set(ks))
    if wanted and wanted[0] < 1:
        raise UsageError(f"k must be at least 1, got {wanted[0]}", "drop it from the list of k")
    feasible = [k for k in wanted if k <= fewest]
    series = _all_series(outcomes, feasible, seed)
    chance = Chance.of(outcomes)
    notes = _notes(outcomes, fewest)
    metrics: list[Metric] = []
    for name, mask in _slices(outcomes, slices):
        metrics += [_metric(one, outcomes, mask, name, notes) for one in series]
        metrics += _chance_metrics(outcomes, chance, feasible, mask, name, notes)
    missing = [k for k in wanted if k > fewest]
    return metrics + [_not_computable(outcomes, name, k, fewest) for k in missing for name in _AT_K]


_AT_K = ("pass@k", "maj@k", "maj@k_first", "pass^k", "chance_pass@k", "adjusted_pass@k")


def _all_series(outcomes: Outcomes, ks: Sequence[int], seed: int) -> list[Series]:
    n, c = outcomes.n, outcomes.c
    size = n.astype(np.float64)

    def share(name: str, column: npt.NDArray[np.bool_]) -> Series:
        values = outcomes.per_problem(column) / size
        return Series(name, None, values, jeffreys_noise(values, size))

    out = [share("pass_ratio", outcomes.correct == 1)]
    for k in ks:
        values = pass_at_k(n, c, k)
        out.append(Series("pass@k", k, values, jeffreys_noise(values, size / k)))
    for k in ks:
        majority = maj_at_k(n, outcomes.classes, k, seed=seed)
        note = f"Monte Carlo, standard error {majority.error:.1e}" if majority.error else None
        noise = jeffreys_noise(majority.values, size / k)
        out.append(Series("maj@k", k, majority.values, noise, note=note))
    for k in ks:
        values = maj_at_k_first(outcomes, k)
        out.append(Series("maj@k_first", k, values, jeffreys_noise(values, np.ones(len(n)))))
    for k in ks:
        values = pass_hat_k(n, c, k)
        out.append(Series("pass^k", k, values, jeffreys_noise(values, size / k)))
    if outcomes.scores is not None:
        for k in ks:
            values = best_of_at_k(outcomes.starts, outcomes.correct == 1, outcomes.scores, k)
            out.append(Series("best_of@k", k, values, jeffreys_noise(values, size / k)))
    out.append(share("truncated", outcomes.truncated))
    out.append(share("no_answer", outcomes.votes == NO_VOTE))
    out.append(share("undecided", outcomes.correct == -1))
    tokens = outcomes.per_problem(outcomes.tokens) / size
    squares = outcomes.per_problem(outcomes.tokens.astype(np.int64) ** 2) / size
    out.append(Series("mean_tokens", None, tokens, (squares - tokens**2) / np.maximum(size - 1, 1), unit=False))
    return out


def _slices(outcomes: Outcomes, wanted: bool) -> list[tuple[str | None, Bools]]:
    out: list[tuple[str | None, Bools]] = [(None, np.ones(len(outcomes.slots), np.bool_))]
    for what in ("level", "subject") if wanted else ():
        labels = np.array([getattr(slot, what) or "" for slot in outcomes.slots], dtype=object)
        out += [(f"{what}={label}", labels == label) for label in sorted(set(labels)) if label]
    return out


def _notes(outcomes: Outcomes, fewest: int) -> list[str]:
    notes = []
    if outcomes.unanswered:
        notes.append(f"{outcomes.unanswered} problems without any response are left out")
    if len(outcomes.slots) and outcomes.n.max() > fewest:
        short = int(np.count_nonzero(outcomes.n == fewest))
        notes.append(f"problems have {fewest} to {outcomes.n.max()} responses; k ends at {fewest} ({short} problems)")
    return notes


def _join(*notes: str | None) -> str | None:
    return "; ".join(note for note in notes if note) or None


def _metric(one: Series, outcomes: Outcomes, mask: Bools, name: str | None, notes: list[str]) -> Metric:
    chosen = mask & ~np.isnan(one.values)
    problems, samples = int(np.count_nonzero(chosen)), int(outcomes.n[chosen].sum())
    note = _join(one.note, *notes)
    if not problems:
        return Metric(name=one.name, k=one.k, value=None, problems=0, samples=0, slice=name,
                      note=_join("no responses", note))
    values, noise = one.values[chosen], one.noise[chosen]
    mean, variance = float(values.mean()), float(noise.sum()) / problems**2
    if one.unit:
        low, high = population_interval(values)
        low_fixed, high_fixed = share_interval(mean, variance, samples, np.inf)
    else:
        low, high = _t_interval(mean, float(np.var(values, ddof=1)) / problems if problems > 1 else np.nan, problems - 1)
        low_fixed, high_fixed = _t_interval(mean, variance, np.inf)
    return Metric(name=one.name, k=one.k, value=mean, low=low, high=high, low_fixed=low_fixed,
                  high_fixed=high_fixed, problems=problems, samples=samples, slice=name, note=note)


def _t_interval(mean: float, variance: float, dof: float) -> tuple[float | None, float | None]:
    if not np.isfinite(variance):
        return None, None
    half = float(stats.t.ppf(0.5 + LEVEL / 2, dof) * np.sqrt(max(variance, 0.0)))
    return mean - half, mean + half


def _chance_metrics(outcomes: Outcomes, chance: Chance, ks: Sequence[int], mask: Bools, name: str | None,
                    notes: list[str]) -> list[Metric]:
    known = ~np.isnan(chance.q)
    unknown = int(np.count_nonzero(mask & ~known))
    note = f"{unknown} problems left out: no other problem of the kind, or no canonical gold" if unknown else None
    out = []
    noise = np.zeros(len(known))
    for k in ks:
        guess = chance_pass_at_k(chance.q, k)
        one = Series("chance_pass@k", k, guess, noise, note=note)
        metric = _metric(one, outcomes, mask, name, notes)
        out.append(metric)
        passed = Series("pass@k", k, np.where(known, pass_at_k(outcomes.n, outcomes.c, k), np.nan),
                        jeffreys_noise(pass_at_k(outcomes.n, outcomes.c, k), outcomes.n / k), note=note)
        real = _metric(passed, outcomes, mask, name, notes)
        out.append(_adjusted(real, metric))
    return out


def _adjusted(passed: Metric, chance: Metric) -> Metric:
    def adjust(value: float | None) -> float | None:
        return None if value is None or chance.value is None else adjusted_pass_at_k(value, chance.value)

    value = adjust(passed.value)
    note = passed.note if value is not None else _join("chance is 1 or unknown", passed.note)
    return Metric(name="adjusted_pass@k", k=passed.k, value=value, low=adjust(passed.low), high=adjust(passed.high),
                  low_fixed=adjust(passed.low_fixed), high_fixed=adjust(passed.high_fixed),
                  problems=passed.problems, samples=passed.samples, slice=passed.slice, note=note)


def _not_computable(outcomes: Outcomes, name: str, k: int, fewest: int) -> Metric:
    short = int(np.count_nonzero(outcomes.n < k))
    return Metric(name=name, k=k, value=None, problems=0, samples=0,
                  note=f"not computable: {short} of {len(outcomes.slots)} problems have fewer than {k} responses"
                       f" (fewest: {fewest})")
