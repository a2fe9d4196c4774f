"""What a run has cost: from replies to rows, and from rows back to sums."""

from __future__ import annotations

from typing import Any

import msgspec

from upwell.engines.base import Reply, Usage
from upwell.engines.settings import EngineSettings
from upwell.engines.spending import Price, Spent
from upwell.records import Waste
from upwell.runs import Run


class _Cost(msgspec.Struct, frozen=True):
    """What a row of responses or judgements says of its cost."""

    tokens: int | None = None
    prompt_tokens: int | None = None
    usd: float | None = None


def row_usd(reply: Reply, price: Price | None) -> float | None:
    """What the reply itself cost, without calls for nothing; None where that is nothing or not known."""
    if price is None or reply.error is not None or reply.tokens is None:
        return None
    own = Usage(
        prompt_tokens=reply.prompt_tokens,
        cached_tokens=reply.cached_tokens,
        completion_tokens=reply.tokens,
    )
    return price.usd(own) or None


def waste_of(reply: Reply, price: Price | None) -> list[Waste]:
    """The row, if there is one, of the calls that were made for the reply and gave nothing."""
    wasted = reply.wasted
    if not wasted.calls:
        return []
    return [
        Waste(
            key=reply.key,
            calls=wasted.calls,
            prompt_tokens=wasted.prompt_tokens,
            completion_tokens=wasted.completion_tokens,
            usd=(price.usd(wasted) or None) if price is not None else None,
        )
    ]


def spending_of(run: Run, table: str = "responses") -> dict[str, Any]:
    """What the run has taken: tokens and dollars in all, and how much of it went to calls for nothing.

    `usd` is None where no row says what it cost. `uncounted` rows do not say how many tokens they took: the sums are
    without them.
    """
    prompt = completion = calls = uncounted = 0
    usd: list[float] = []
    for row in run.rows(table, _Cost):
        prompt += row.prompt_tokens or 0
        completion += row.tokens or 0
        uncounted += row.tokens is None
        if row.usd is not None:
            usd.append(row.usd)
    wasted_usd: list[float] = []
    wasted = 0
    for waste in run.rows("waste", Waste):
        calls += waste.calls
        wasted += waste.prompt_tokens + waste.completion_tokens
        prompt += waste.prompt_tokens
        completion += waste.completion_tokens
        if waste.usd is not None:
            wasted_usd.append(waste.usd)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "uncounted": uncounted,
        "usd": sum(usd) + sum(wasted_usd) if usd or wasted_usd else None,
        "wasted": {"calls": calls, "tokens": wasted, "usd": sum(wasted_usd) if wasted_usd else None},
    }


def spent_so_far(run: Run, settings: EngineSettings, table: str = "responses") -> Spent:
    """What counts against the caps; not read where there are none."""
    if settings.max_usd is None and settings.max_total_tokens is None:
        return Spent()
    sums = spending_of(run, table)
    return Spent(tokens=sums["prompt_tokens"] + sums["completion_tokens"], usd=sums["usd"] or 0.0)
