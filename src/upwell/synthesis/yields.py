"""What a run of synthesis has given for what it took: drafts, rejects by reason, tokens, money."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from upwell.engines.spending import FREE, Price
from upwell.errors import EngineError
from upwell.measurement.pilot import Amount, total_of
from upwell.measurement.spending import spending_of
from upwell.measurement.summary import total_seconds
from upwell.records import Reject
from upwell.runs import Run


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a whole run of synthesis takes, from its first tries."""

    wanted: int
    """Drafts."""
    tries: int
    accepted: int
    """Of the tries so far."""
    needed: Amount
    """Tries for all that are wanted."""
    prompt_tokens: Amount
    completion_tokens: Amount
    usd: Amount | None
    """None where the teacher has no price."""


class _Cost(msgspec.Struct, frozen=True):
    problem: str
    tokens: int | None = None
    prompt_tokens: int | None = None
    usd: float | None = None


def yield_of(
    run: Run, method: str, failed: int, notes: Sequence[str] = (), wanted: int | None = None
) -> dict[str, Any]:
    """The summary of a run of synthesis.

    Args:
        run: holds `drafts`, `rejects` and `replies`.
        method: that made them.
        failed: drafts owed, for a call for them failed.
        notes: what to know of the seeds.
        wanted: drafts asked for, where that is known.
    """
    accepted = run.count("drafts")
    reasons = Counter((row.step, row.reason) for row in run.rows("rejects", Reject))
    rejected = sum(reasons.values())
    spending = spending_of(run, "replies")
    told = [*notes]
    if failed:
        told.append(f"{failed:,} drafts are owed: a call for them failed, see failures.jsonl")
    missing = max((wanted or 0) - accepted - failed, 0)
    if missing:
        told.append(
            f"{missing:,} of {wanted:,} drafts are missing: the tries that --max-tries allows are used up"
        )
    tokens = spending["prompt_tokens"] + spending["completion_tokens"]
    return {
        "method": method,
        "metrics": [],
        "counts": {
            "tries": accepted + rejected,
            "drafts": accepted,
            "rejected": rejected,
            "failed": failed,
            "missing": missing,
            "calls": run.count("replies") + spending["wasted"]["calls"],
        },
        "rejects": [
            {"step": step, "reason": reason, "rows": rows} for (step, reason), rows in reasons.most_common()
        ],
        "spending": spending,
        "per_draft": {
            "tokens": tokens / accepted if accepted else None,
            "usd": spending["usd"] / accepted if accepted and spending["usd"] is not None else None,
        },
        "notes": told,
        "seconds": total_seconds(run),
    }


def forecast(run: Run, wanted: int, price: Price | None) -> Forecast:
    """What `wanted` drafts take, from what the run holds so far.

    Raises:
        EngineError: nothing was made.
    """
    from scipy.stats import beta

    accepted = run.count("drafts")
    tries = accepted + run.count("rejects")
    costs: dict[str, list[float]] = {}
    for row in run.rows("replies", _Cost):
        cost = costs.setdefault(row.problem, [0.0, 0.0, 0.0])
        cost[0] += row.prompt_tokens or 0
        cost[1] += row.tokens or 0
        cost[2] += row.usd or 0.0
    if not tries or not costs:
        raise EngineError("the pilot got no reply", f"see why in {run.path / 'failures.jsonl'}")
    low, high = (float(beta.ppf(q, accepted + 0.5, tries - accepted + 0.5)) for q in (0.025, 0.975))
    share = (accepted + 0.5) / (tries + 1)
    needed = Amount(expected=wanted / share, low=wanted / high, high=wanted / low)

    def total(which: int) -> Amount:
        per_try = total_of([cost[which] for cost in costs.values()], 1.0)
        return Amount(
            expected=per_try.expected * needed.expected,
            low=per_try.low * needed.low,
            high=per_try.high * needed.high,
        )

    return Forecast(
        wanted=wanted,
        tries=tries,
        accepted=accepted,
        needed=needed,
        prompt_tokens=total(0),
        completion_tokens=total(1),
        usd=total(2) if price not in (None, FREE) else None,
    )
