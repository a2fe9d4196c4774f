"""Problem files that an evaluation makes for itself: perturbed sets, and fresh problems of a generator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from upwell import problems
from upwell.errors import UsageError
from upwell.evaluation.suites import SuiteSet, with_originals
from upwell.measurement.perturbation import perturbed
from upwell.measurement.watch import Watch
from upwell.problems import subset
from upwell.records import Problem
from upwell.runs.storage import write_atomically

FOLDER = "problems"
FRESH = 500
"""Problems of a generator where no limit says otherwise."""


def made(entry: SuiteSet, folder: Path, seed: int, limit: int | None, watch: Watch) -> tuple[Path, list[str]]:
    """The file of a made set, and what to know about it. Files that are there already are kept as they are.

    Args:
        entry: The set.
        folder: Run directory of the evaluation.
        seed: Of the problems.
        limit: At most so many; a larger one adds to a smaller.
        watch: Told of the progress.

    Raises:
        UsageError: What it is made from is not to be had, or proves nothing.
    """
    fresh = entry.made == "fresh"
    limited = {"limit": limit or FRESH, "seed": seed} if fresh else {}
    source = problems.load(entry.problems, split=entry.split, **limited)  # type: ignore[arg-type]
    path = folder / FOLDER / f"{entry.name}.jsonl"
    stamp = path.with_name(f"{entry.plain_name}.made.json")
    recipe = {"from": source.digest, "seed": seed, "limit": limit}
    known = _stamped(stamp)
    if known.get("recipe") == recipe and path.exists():
        return path, known["notes"]
    if fresh:
        files, notes = {path: source.problems}, list(source.notes)
    else:
        changed, notes = _perturbed(entry, source.problems, seed, limit, watch)
        kept = {parent for problem in changed for parent in problem.parents}
        originals = tuple(problem for problem in source.problems if problem.key in kept)
        perturbed_, originals_ = (
            path.with_name(f"{one.name}.jsonl") for one in reversed(with_originals(entry.problems))
        )
        files = {perturbed_: changed, originals_: originals}
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        write_atomically(name, "".join(_line(problem) for problem in rows).encode())
    write_atomically(stamp, json.dumps({"recipe": recipe, "notes": notes}).encode())
    return path, notes


def _perturbed(
    entry: SuiteSet, originals: Sequence[Problem], seed: int, limit: int | None, watch: Watch
) -> tuple[tuple[Problem, ...], list[str]]:
    ordered = subset(list(originals), len(originals))  # as --limit takes problems
    watch.begin(f"changing the numbers of {entry.problems}", len(ordered) if limit is None else limit)
    found = perturbed(ordered, seed, limit, made=watch.advance)
    watch.end()
    tried = len(found.problems) + sum(found.left_out.values())
    why = "; ".join(f"{count:,} {reason}" for reason, count in found.left_out.items())
    if not found.problems:
        raise UsageError(
            f"no answer of `{entry.problems}` can be proven with other numbers: {why}",
            "only worked solutions with calculator notes (<<48/2=24>>), as GSM8K has them, prove new answers",
        )
    return found.problems, [
        f"the numbers of {len(found.problems):,} of {tried:,} problems can be changed and their answers re-derived "
        f"from the worked solutions (seed {seed})" + (f"; not of {why}" if why else "")
    ]


def _line(problem: Problem) -> str:
    row: dict[str, Any] = {"id": problem.key, "question": problem.question, "answer": problem.answer}
    row |= {name: value for name in ("solution", "level", "subject") if (value := getattr(problem, name))}
    return json.dumps(row, ensure_ascii=False) + "\n"


def _stamped(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
