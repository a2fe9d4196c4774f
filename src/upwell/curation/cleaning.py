"""Duplicates and contamination as steps."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

from upwell import problems
from upwell.curation import contamination
from upwell.curation.contamination import Match, Reference
from upwell.curation.scratch import Spool, digest64
from upwell.curation.steps import rejected
from upwell.errors import UsageError
from upwell.problems import ProblemSet
from upwell.problems.benchmarks import data_folder
from upwell.records import Draft, Reject

TEST = "test"
ALL = "all"
STEP = "decontamination"


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


def benchmarks(names: Iterable[str], notes: list[str]) -> list[ProblemSet]:
    """The test splits of these benchmarks; of `all` those whose files are here, and a note on those that are not.

    Raises:
        UsageError: One is not to be had, or none is here.
    """
    chosen = list(names)
    if ALL in chosen:
        folder = data_folder(None)
        tests = {card.name: card.files_of(TEST) for card in problems.cards() if TEST in card.splits}
        here = [
            name
            for name, files in tests.items()
            if folder is not None and all((folder / file.path).is_file() for file in files)
        ]
        if not here:
            raise UsageError(
                "--against all: no benchmark's files are on this machine",
                "export UPWELL_DATA=/path/to/folder  # or name them: --against gsm8k,math",
            )
        missing = [name for name in tests if name not in here]
        notes.append(
            f"--against all: {', '.join(here)}" + f"; not here: {', '.join(missing)}" * bool(missing)
        )
        chosen = [*here, *(name for name in chosen if name not in (ALL, *here))]
    return [problems.load(name, split=TEST, graded=False) for name in chosen]


def decontamination(
    sets: list[ProblemSet], bounds: contamination.Settings, workers: int | None, told: dict[str, Any]
) -> Callable[[Spool], Iterator[Draft | Reject]]:
    """The step that turns down rows in which question or solution is, or is made from, a benchmark's problem."""

    def step(rows: Spool) -> Iterator[Draft | Reject]:
        found: Counter[str] = Counter()
        reference = Reference.of(sets, bounds)
        items = ((draft.key, draft.question, draft.solution) for draft in rows)
        matches = reference.check(items, workers=workers or len(os.sched_getaffinity(0)))
        match = next(matches, None)
        for draft in rows:
            if match is None or match.key != draft.key:
                yield draft
                continue
            found[match.against.rpartition("/")[0]] += 1
            yield rejected(draft, STEP, _reason(match))
            match = next(matches, None)
        told[STEP] = {
            "benchmarks": {f"{one.name}/{one.split}": len(one) for one in sets},
            "problems": len(reference),
            "rejected_for": dict(found.most_common()),
            "bounds": asdict(bounds),
        }

    return step


def _reason(match: Match) -> str:
    near = f"its {match.field} is near the {match.against_field} of {match.against} ({match.score:.2f})"
    return f"{match.method}: {near}" + (f", shares `{match.span}`" if match.span else "")
