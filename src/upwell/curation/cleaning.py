"""Duplicates and contamination as steps."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from upwell import problems
from upwell.curation import contamination, duplicates
from upwell.curation.contamination import Item, Match, Reference
from upwell.curation.scratch import Spool, digest64, repeated
from upwell.curation.steps import OfAll, rejected, unended, unsound
from upwell.errors import UsageError
from upwell.measurement.watch import Watch
from upwell.problems import ProblemSet
from upwell.problems.benchmarks import data_folder
from upwell.records import Draft, Reject
from upwell.runs.storage import storage_error

TEST = "test"
ALL = "all"
EXACT, NEAR, STEP = "exact duplicates", "near duplicates", "decontamination"


def quality(draft: Draft) -> float:
    """Which of several rows that say the same is kept: more is better.

    No wrong arithmetic counts 4, a solution that is not cut off 2, and the share of the question's solutions that give
    this answer up to 1 (a half where nobody asked for several). Of equals the first stays.
    """
    return 4.0 * (unsound(draft) is None) + 2.0 * (unended(draft) is None) + _agreement(draft)


def _agreement(draft: Draft) -> float:
    return 0.5 if draft.agreement is None else draft.agreement


def exact_duplicates() -> OfAll:
    """The step that keeps one of the rows whose question and solution are the same but for case and white space."""

    def step(rows: Spool) -> Iterator[Draft | Reject]:
        digests = rows.column(_digest)
        again = repeated(digests)
        best: dict[int, tuple[float, int, str]] = {}
        for at, (draft, digest) in enumerate(zip(rows, digests.tolist(), strict=True)):
            if digest in again:  # texts being the same, all that can differ of their quality is the agreement
                best[digest] = max(best.get(digest, _NONE), (_agreement(draft), -at, draft.key))
        for at, (draft, digest) in enumerate(zip(rows, digests.tolist(), strict=True)):
            if digest in again and best[digest][1] != -at:
                yield rejected(draft, EXACT, f"the same question and solution as: {best[digest][2]}")
            else:
                yield draft

    return step


_NONE = (-1.0, 0, "")


def _digest(draft: Draft) -> int:
    learnt = draft.solution if draft.solution.strip() else draft.answer
    return digest64(*(" ".join(text.casefold().split()) for text in (draft.question, learnt)))


def near_duplicates(threshold: float, on: str, workers: int | None, folder: Path, watch: Watch) -> OfAll:
    """The step that keeps the best of each cluster of rows which share this share of their runs of words."""

    def text(draft: Draft) -> str:
        said = {"question": draft.question, "solution": draft.solution}
        return said.get(on, f"{draft.question}\n{draft.solution}")

    def step(rows: Spool) -> Iterator[Draft | Reject]:
        done = 0

        def progress(what: str, through: int) -> None:
            nonlocal done
            if what == "reading":
                watch.advance(through - done)
                done = through

        found = duplicates.near_duplicates(
            ((draft.key, text(draft), quality(draft)) for draft in rows),
            threshold,
            workers=workers or _cores(),
            folder=folder,
            progress=progress,
        )
        watch.begin(f"{NEAR}: comparing", len(rows))
        loser = next(found, None)
        for draft in rows:
            if loser is None or loser.loser != draft.key:
                yield draft
                continue
            alike = "question and solution" if on == "row" else on
            yield rejected(draft, NEAR, f"{alike} near those of: {loser.winner} ({loser.similarity:.2f})")
            loser = next(found, None)

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
    for name in chosen:
        known, _, split = name.partition("/")
        if split and known in problems.names() and not os.path.exists(name):
            raise UsageError(
                f"--against {name}: a benchmark is named without its split, it is the test split that counts",
                f"--against {known}",
            )
    return [problems.load(name, split=TEST, graded=False) for name in chosen]


def decontamination(
    sets: list[ProblemSet],
    bounds: contamination.Settings,
    workers: int | None,
    told: dict[str, Any],
    audit: Path | None,
    watch: Watch,
) -> OfAll:
    """The step that turns down rows in which question or solution is, or is made from, a benchmark's problem.

    Args:
        sets: The benchmarks.
        bounds: When a row counts as contaminated.
        workers: Processes; one per core by default.
        told: Gets what was compared and what was found.
        audit: Folder for an audit of all rows, which takes several times as long; none by default.
        watch: Told of the audit's progress.
    """

    def step(rows: Spool) -> Iterator[Draft | Reject]:
        found: Counter[str] = Counter()
        named = {problem.key: f"{one.name}/{one.split}" for one in sets for problem in one}
        watch.say(f"making {sum(map(len, sets)):,} benchmark problems ready to be compared with")
        reference = Reference.of(sets, bounds)
        watch.begin(f"{STEP}: comparing", len(rows))
        reasons: dict[str, str] = {}
        for match in reference.check(_items(rows, watch), workers=workers or _cores()):
            reasons[match.key] = _reason(match)
            found[named[match.against]] += 1
        told[STEP] = {
            "benchmarks": {f"{one.name}/{one.split}": len(one) for one in sets},
            "problems": len(reference),
            "rejected_for": dict(found.most_common()),
            "bounds": asdict(bounds),
        }
        if audit is not None:
            told[STEP]["audit"] = _audited(rows, reference, audit, workers, watch)
        for draft in rows:
            reason = reasons.get(draft.key)
            yield draft if reason is None else rejected(draft, STEP, reason)

    return step


def _audited(
    rows: Spool, reference: Reference, folder: Path, workers: int | None, watch: Watch
) -> dict[str, Any]:
    """Write the audit of all rows; gives how many of those made from which split are removed and kept."""
    from upwell.curation.contamination.audit import Audit

    watch.begin(f"{STEP}: audit", len(rows))
    splits = (draft.split if draft.split in ("train", "test") else "" for draft in rows)
    items = zip(_items(rows, watch), splits, strict=True)
    audit = Audit.of(reference, items, workers=workers or _cores())
    watch.end()
    for name, write in (("audit.html", audit.write_html), ("audit.csv", audit.write_csv)):
        aside = folder / f".{name}.tmp"
        try:
            write(aside)
            aside.replace(folder / name)
        except OSError as error:
            raise storage_error(folder / name, error) from None
    return {
        label: {"removed": audit.seeded[label, True], "kept": audit.seeded[label, False]}
        for label in sorted({label for label, _ in audit.seeded})
    }


def _items(rows: Spool, watch: Watch) -> Iterator[Item]:
    for draft in rows:
        watch.advance()
        yield draft.key, draft.question, draft.solution


def _reason(match: Match) -> str:
    near = f"its {match.field} is near the {match.against_field} of {match.against} ({match.score:.2f})"
    return f"{match.method}: {near}" + (f", shares `{match.span}`" if match.span else "")


def _cores() -> int:
    return len(os.sched_getaffinity(0))
