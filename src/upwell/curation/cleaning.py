"""Duplicates and contamination as steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from upwell.curation.scratch import Spool, digest64
from upwell.curation.steps import rejected
from upwell.records import Draft, Reject


def exact_duplicates() -> Callable[[Spool], Iterator[Draft | Reject]]:
    def step(rows: Spool) -> Iterator[Draft | Reject]:
        seen: set[int] = set()
        for draft in rows:
            digest = digest64(
                " ".join(draft.question.lower().split()), " ".join(draft.solution.lower().split())
            )
            if digest in seen:
                yield rejected(draft, "exact duplicates", "the same question and solution")
            else:
                seen.add(digest)
                yield draft

    return step
