"""How far a judge can be trusted: with itself, with the rules, with people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from upwell.measurement.judging.asking import Vote

_RESAMPLES = 2000
_RESAMPLED = 4_000_000
"""Rows redrawn in all, beyond which there are fewer resamples, but at least 200."""
_LEVEL = 0.95


def of_votes(votes: Mapping[str, Sequence[Vote]], asked: int) -> dict[str, Any]:
    """Votes per response, the share of votes that cannot be read, and how far readable votes on one response agree.

    `pairs_agree` is the chance that two of them, of a response that has two or more, say the same; `unanimous` the
    share of such responses on which all do. None where no response has two.
    """
    total = unreadable = several = unanimous = 0
    agreed: list[float] = []
    for cast in votes.values():
        readable = [vote for vote in cast if vote != Vote()]
        total += len(cast)
        unreadable += len(cast) - len(readable)
        if len(readable) < 2:
            continue
        several += 1
        counts = [readable.count(vote) for vote in set(readable)]
        unanimous += len(counts) == 1
        n = len(readable)
        agreed.append(sum(c * (c - 1) for c in counts) / (n * (n - 1)))
    return {
        "votes": asked,
        "cast": total,
        "unreadable": unreadable / total if total else None,
        "unanimous": unanimous / several if several else None,
        "pairs_agree": sum(agreed) / several if several else None,
    }


def against(pairs: Sequence[tuple[bool, bool | None]]) -> dict[str, Any]:
    """Agreement of a judge with a reference: pairs of (reference's verdict, judge's).

    `accuracy` is over the pairs that the judge decided, with Clopper and Pearson's interval, which takes the responses
    as independent; `kappa` is Cohen's, None where both say the same of all. A false accept is right for the judge only.
    """
    from scipy.stats import binomtest

    decided = [(theirs, ours) for theirs, ours in pairs if ours is not None]
    n, same = len(decided), sum(theirs == ours for theirs, ours in decided)
    right, accepted = sum(theirs for theirs, _ in decided), sum(bool(ours) for _, ours in decided)
    accuracy = low = high = kappa = None
    if n:
        interval = binomtest(same, n).proportion_ci(_LEVEL, method="exact")
        accuracy, low, high = same / n, float(interval.low), float(interval.high)
        chance = (right * accepted + (n - right) * (n - accepted)) / n**2
        kappa = (accuracy - chance) / (1 - chance) if chance < 1 else None
    return {
        "responses": len(pairs),
        "undecided": len(pairs) - n,
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "kappa": kappa,
        "false_accepts": sum(bool(ours) and not theirs for theirs, ours in decided),
        "of_wrong": n - right,
        "false_rejects": sum(theirs and not ours for theirs, ours in decided),
        "of_right": right,
    }


def of_points(rows: Sequence[tuple[str, float, float]]) -> dict[str, Any]:
    """Agreement of points: rows of (problem, a person's points, the judge's).

    Intervals are percentiles of a bootstrap over problems. A correlation is None where either gave the same points
    throughout; its interval is over the resamples that have one.
    """
    import numpy as np

    number: dict[str, int] = {}
    problem = np.array([number.setdefault(key, len(number)) for key, _, _ in rows])
    theirs, ours = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    found = _measures(theirs, ours)
    groups = np.split(np.argsort(problem, kind="stable"), np.cumsum(np.bincount(problem))[:-1])
    rng = np.random.default_rng(0)
    redrawn = []
    for _ in range(max(200, min(_RESAMPLES, _RESAMPLED // len(rows)))):
        chosen = np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))])
        redrawn.append(_measures(theirs[chosen], ours[chosen]))
    entry: dict[str, Any] = {"responses": len(rows), "problems": len(groups)}
    for at, name in enumerate(("mean_difference", "exact", "spearman")):
        values = [one[at] for one in redrawn if not np.isnan(one[at])]
        known = not np.isnan(found[at])
        low, high = np.quantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]) if known and values else (0, 0)
        entry[name] = {"value": float(found[at]), "low": float(low), "high": float(high)} if known else None
    return entry | {"total_people": float(theirs.sum()), "total_judge": float(ours.sum())}


def _measures(theirs: Any, ours: Any) -> tuple[float, float, float]:
    """Mean absolute difference, share of equal points, and Spearman's rank correlation (NaN where there is none)."""
    import numpy as np
    from scipy.stats import rankdata

    difference = np.abs(theirs - ours)
    first, second = rankdata(theirs), rankdata(ours)
    first, second = first - first.mean(), second - second.mean()
    spread = float(np.sqrt((first @ first) * (second @ second)))
    return (
        float(difference.mean()),
        float((difference < 1e-9).mean()),
        float(first @ second) / spread if spread > 0 else float("nan"),
    )
