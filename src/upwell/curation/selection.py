"""Steps that look at all rows before they decide: caps per question, balance, mixes, resampling."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from upwell.curation.scratch import Spool, digest64, ranks, share
from upwell.curation.steps import OfAll, rejected
from upwell.errors import UsageError
from upwell.records import Draft, Reject

COPY = "*"
"""Between a key and the number of a copy. A row's own key that ends like that of a copy gets another."""
_COPIED = re.compile(rf"{re.escape(COPY)}\d+\Z")
_FIFTHS = 5


def uncopied(key: str) -> str:
    """The key of the row that this one is a copy of; the key itself where it is none."""
    return _COPIED.sub("", key)


def label(draft: Draft, by: str) -> str:
    """The source, level, subject or difficulty of a row."""
    if by == "difficulty":
        if draft.fail_rate is None:
            return "unknown"
        fifth = min(_FIFTHS - 1, int(draft.fail_rate * _FIFTHS))
        return f"fails {100 * fifth // _FIFTHS}-{100 * (fifth + 1) // _FIFTHS} %"
    return getattr(draft, by) or "unknown"


def per_problem(most: int, seed: int) -> OfAll:
    """The step that keeps so many rows per question (white space folded), drawn at random."""

    def step(rows: Spool) -> Iterator[Draft | Reject]:
        questions = rows.column(lambda draft: digest64(" ".join(draft.question.split())))
        draws = rows.column(lambda draft: digest64(seed, "per problem", draft.key))
        for draft, place in zip(rows, ranks(questions, draws).tolist(), strict=True):
            more = f"more than {most} of its question"
            yield draft if place < most else rejected(draft, "per problem", more)

    return step


def balanced(by: str, most: int | None, seed: int, told: dict[str, Any]) -> OfAll:
    """The step that keeps at most so many rows of each label, or as many as the smallest has."""

    def step(rows: Spool) -> Iterator[Draft | Reject]:
        sizes = Counter(label(draft, by) for draft in rows)
        each = most if most is not None else min(sizes.values(), default=0)
        told["balance"] = told.get("balance", {}) | {by: {"most": each, "had": dict(sizes.most_common())}}
        yield from _capped(
            rows, f"balance {by}", lambda draft: label(draft, by), dict.fromkeys(sizes, each), seed
        )

    return step


def mixed(weights: Mapping[str, float], seed: int, told: dict[str, Any]) -> OfAll:
    """The step that leaves the sources in these proportions, as many rows as there are without repeating any.

    Raises (when it runs):
        UsageError: A source has no weight, or a weight no source.
    """

    def step(rows: Spool) -> Iterator[Draft | Reject]:
        sizes = Counter(draft.source for draft in rows)
        if strange := [source for source in sizes if source not in weights]:
            raise UsageError(
                f"--mix says nothing of the source `{strange[0]}` with its {sizes[strange[0]]:,} rows",
                f"--mix {_mix(weights)},{strange[0]}=1 (0 leaves it out)",
            )
        if absent := [source for source, weight in weights.items() if weight and not sizes[source]]:
            raise UsageError(
                f"--mix asks for the source `{absent[0]}`, of which no row is left; there are "
                + ", ".join(f"{source} ({count:,})" for source, count in sizes.most_common()),
                f"--mix {','.join(f'{source}=1' for source in sizes) or 'SOURCE=1'}",
            )
        unit = min((sizes[source] / weight for source, weight in weights.items() if weight), default=0.0)
        caps = {source: int(weights[source] * unit + 1e-9) for source in sizes}
        told["mix"] = {source: {"weight": weights[source], "rows": caps[source]} for source in sizes}
        yield from _capped(rows, "mix", lambda draft: draft.source, caps, seed)

    return step


def _mix(weights: Mapping[str, float]) -> str:
    return ",".join(f"{source}={weight:g}" for source, weight in weights.items())


def _capped(
    rows: Spool, name: str, group: Callable[[Draft], str], caps: Mapping[str, int], seed: int
) -> Iterator[Draft | Reject]:
    groups = rows.column(lambda draft: digest64(group(draft)))
    draws = rows.column(lambda draft: digest64(seed, name, draft.key))
    for draft, place in zip(rows, ranks(groups, draws).tolist(), strict=True):
        most = caps[group(draft)]
        yield draft if place < most else rejected(draft, name, f"more than {most:,} of {group(draft)}")


_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n+")
_SAYS = re.compile(r"\w")


def sentences(solution: str) -> int:
    """How many sentences a solution has: what ends in `.`, `!` or `?` before white space, or in a line break.

    The line `#### 18` that closes a GSM8K solution is none.
    """
    parts = _SENTENCE.split(solution)
    return sum(bool(_SAYS.search(part)) and not part.startswith("####") for part in parts)


def resampled(power: float, wanted: int | None, seed: int, told: dict[str, Any]) -> OfAll:
    """The step that draws rows anew, each with a weight of its sentences to the power.

    Systematic sampling: a row that is to be there 2.3 times on average is there two or three times, one with 0.4
    not or once. Exactly `wanted` rows come out, by default as many as went in. Xwin-Math draws its 960K set anew by
    the number of sentences and gives no weights; ours are in the summary.
    """

    def step(rows: Spool) -> Iterator[Draft | Reject]:
        lengths = rows.column(lambda draft: max(1, sentences(draft.solution))).astype(np.float64)
        if not len(lengths):
            return
        weights = lengths**power
        drawn = len(lengths) if wanted is None else wanted
        expected = weights * (drawn / weights.sum())
        # In a random order: in that of the input, a length that comes round in a period would be drawn always or never.
        order = np.argsort(rows.column(lambda draft: digest64(seed, "resample", draft.key)))
        ends = np.cumsum(expected[order])
        ends[-1] = drawn  # where rounding left it a hair beside
        copies = np.empty(len(rows), np.int64)
        copies[order] = np.diff(np.floor(ends + share(seed, "resample")), prepend=0.0)
        told["resampling"] = {
            "power": power,
            "rows": drawn,
            "weights": [
                {
                    "sentences": int(length),
                    "rows": int((at := lengths == length).sum()),
                    "copies_expected": float(expected[at][0]),
                    "drawn": int(copies[at].sum()),
                }
                for length in np.unique(lengths)
            ],
        }
        for draft, count, length, mean in zip(rows, copies.tolist(), lengths, expected, strict=True):
            if not count:
                reason = f"not drawn: {length:.0f} sentences, {mean:.2f} copies on average"
                yield rejected(draft, "resample", reason)
            for number in range(1, count + 1):
                key = draft.key if number == 1 else f"{draft.key}{COPY}{number}"
                yield msgspec.structs.replace(draft, key=key)

    return step
