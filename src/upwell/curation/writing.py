"""From the rows that stay to the table of examples, and what there is to say of it."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import Any

import numpy as np

from upwell.curation import ladder
from upwell.curation.examples import PIECES, Count, Maker, count_pieces, counted
from upwell.curation.scratch import Spool
from upwell.curation.settings import CurateSettings
from upwell.measurement.watch import Watch
from upwell.records import Record
from upwell.runs import Run

_BATCH = 1024
"""Rows written at once."""
_COUNTED = ("source", "level", "subject", "method", "teacher")
_NAMED = 50
"""Sources, levels and so on that a summary names; there can be as many subjects as rows."""


def write_examples(
    run: Run,
    rows: Spool,
    maker: Maker,
    count: Count,
    settings: CurateSettings,
    watch: Watch,
) -> dict[str, Any]:
    """Write the examples, in the order of the ladder where there is one; gives that part of the summary.

    Raises:
        UsageError: Two rungs come out the same.
        StorageError: They cannot be written.
    """
    sizes = ladder.parse(settings.ladder) if settings.ladder is not None else []
    watch.begin("counting tokens", len(rows))
    texts = (maker.solution(draft) for draft in rows)
    tokens = np.fromiter(counted(texts, count, watch.advance), np.int64, len(rows))
    watch.end()
    order = ladder.order(rows, settings.seed) if sizes else np.arange(len(rows))
    tokens = tokens[order]
    by_tokens = settings.ladder_by == "tokens"
    rungs = ladder.rungs(sizes, tokens if by_tokens else None, len(rows))
    lengths = [length for _, length in rungs if length is not None]
    counts: dict[str, Counter[str]] = {name: Counter() for name in _COUNTED}
    watch.begin("writing examples", len(rows))
    batch: list[Record] = []
    bare = 0
    for at, draft in enumerate(rows.taken(order.tolist())):
        rung = bisect_right(lengths, at) + 1
        batch.append(maker.example(draft, rung if rung <= len(lengths) else None))
        bare += not draft.solution.strip()
        for name, counter in counts.items():
            counter[getattr(draft, name) or ""] += 1
        if len(batch) >= _BATCH:
            run.append("examples", batch)
            watch.advance(len(batch))
            batch = []
    run.append("examples", batch)
    watch.advance(len(batch))
    watch.end()
    return {
        "counts": {"examples": len(rows), "answers_alone": bare, "failed": len(rungs) - len(lengths)},
        "tokens": {
            "completion": int(tokens.sum()),
            "by": PIECES if count is count_pieces else settings.model,
        },
        "ladder": _told(rungs, tokens, settings.ladder_by) if rungs else None,
        **{f"{name}s": _commonest(counter) for name, counter in counts.items()},
    }


def _told(rungs: list[tuple[int, int | None]], tokens: ladder.Positions, by: str) -> dict[str, Any]:
    """The rungs that there are, with their tokens; and the sizes of those for which too few rows are left."""
    ends = np.cumsum(tokens)
    there = [
        {"rung": number, "wanted": wanted, "rows": length, "tokens": int(ends[length - 1])}
        for number, (wanted, length) in enumerate(rungs, 1)
        if length is not None
    ]
    return {"by": by, "rungs": there, "missing": [wanted for wanted, length in rungs if length is None]}


def _commonest(counter: Counter[str]) -> dict[str, int]:
    named = dict(counter.most_common(_NAMED))
    rest = sum(counter.values()) - sum(named.values())
    return named | ({"(others)": rest} if rest else {})
