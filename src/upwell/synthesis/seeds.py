"""The questions that everything starts from: problem sets, files, or the drafts of an earlier run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from upwell import problems
from upwell.errors import UsageError
from upwell.measurement.settings import ProblemSettings
from upwell.problems import Card, ProblemSet, subset
from upwell.problems.sets import digest
from upwell.records import Draft, Problem, Response, Verdict
from upwell.runs import Run
from upwell.runs.run import MANIFEST
from upwell.synthesis.settings import SeedSettings


def load_seeds(settings: SeedSettings, *, graded: bool = False) -> ProblemSet:
    """The seeds of the settings.

    Args:
        settings: which.
        graded: refuse sets without reference answers.

    Raises:
        UsageError: they are not to be had, or a setting does nothing for seeds of this kind.
    """
    name = settings.seeds
    fields = ProblemSettings(problems=name, field=settings.field).fields()
    if os.path.exists(os.path.join(name, MANIFEST)):
        for flag, is_set in (("--field", bool(fields)), ("--split", settings.split != SeedSettings.split)):
            if is_set:
                raise UsageError(
                    f"{flag} does nothing: `{name}` is a run of Upwell's own", f"leave {flag} out"
                )
        return _of_run(name, settings.limit)
    found = problems.load(name, split=settings.split, limit=settings.limit, fields=fields, graded=graded)
    if settings.split not in (found.split, SeedSettings.split):
        raise UsageError(
            f"--split {settings.split} does nothing: `{name}` has no splits", "leave --split out"
        )
    return found


def question_of(draft: Draft) -> Problem:
    """A draft as a problem that can be asked, or made another question from."""
    return Problem(
        key=draft.key,
        question=draft.question,
        answer=draft.answer,
        solution=draft.solution or None,
        source=draft.source,
        split=draft.split,
        level=draft.level,
        subject=draft.subject,
        parents=draft.parents,
    )


def reach(student: str, seeds: Sequence[Problem]) -> dict[str, float]:
    """How much a seed can teach a student: p (1 - p), p being the share of its responses that are right.

    Highest for what the student solves half the time; what it never or always solves is left out. Responses whose
    verdict is open count as wrong.

    Raises:
        UsageError: the run is not graded, or has no such problem.
    """
    run = Run.read(student)
    right = {row.key for row in run.rows("verdicts", Verdict) if row.correct}
    counts: dict[str, list[int]] = {}
    for row in run.rows("responses", Response):
        count = counts.setdefault(row.problem, [0, 0])
        count[0] += 1
        count[1] += row.key in right
    weights = {}
    for seed in seeds:
        drawn, correct = counts.get(seed.key, (0, 0))
        if 0 < correct < drawn:
            weights[seed.key] = correct / drawn * (1 - correct / drawn)
    if not weights:
        known = sum(seed.key in counts for seed in seeds)
        raise UsageError(
            f"--student {student}: none of the {len(seeds):,} seeds is solved sometimes but not always "
            f"({known:,} of them are in that run)",
            "measure the student on the seeds first: upwell measure --problems ... --split train --out RUN",
        )
    return weights


def _of_run(path: str, limit: int | None) -> ProblemSet:
    run = Run.read(path)
    drafts = [question_of(draft) for draft in run.rows("drafts", Draft)]
    if not drafts:
        raise UsageError(
            f"the run `{path}` has no drafts", "seeds are a problem set, a file, or a run of synthesize"
        )
    chosen = subset(drafts, limit)
    name = os.path.basename(os.path.normpath(path))
    return ProblemSet(
        name=name,
        split=chosen[0].split,
        problems=tuple(chosen),
        source=Card(
            name=name, title=f"drafts of {name}", url="", licence="of its seeds", layout="question_answer"
        ),
        digest=digest(chosen),
        files=(run.reference("drafts"),),
        total=len(drafts),
    )


def lot(seed: int, key: str) -> int:
    """A number from 0 to 2**63 - 1 that belongs to a key."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\x1f{key}".encode(), digest_size=8).digest(), "big") >> 1
