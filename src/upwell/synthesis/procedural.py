"""Drafts that a program makes, with answers that are right by construction: no teacher, no call, no cost."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from upwell import problems
from upwell.errors import UsageError
from upwell.measurement.watch import Watch
from upwell.problems.procedural import PREFIX
from upwell.records import Draft
from upwell.runs import Run
from upwell.synthesis.settings import SynthesisSettings
from upwell.synthesis.yields import yield_of

_COUNT = 1000
_BATCH = 1000


def procedural(settings: SynthesisSettings, watch: Watch) -> Path:
    """Questions with exact answers of the generators that `settings.seeds` names, `--count` in all.

    They have no solutions yet: `--method rejection --seeds RUN` draws some from a model.

    Raises:
        UsageError: a seed is no `procedural:TASK`.
        MissingExtra: reasoning-gym is not installed.
    """
    names = list(dict.fromkeys(name.strip() for name in settings.seeds.split(",")))
    count = settings.count or _COUNT
    for name in names:
        if not name.startswith(PREFIX):
            raise UsageError(
                f"--method procedural makes questions by program, but `{name}` is none",
                "--seeds procedural:chain_sum,procedural:products",
            )
    shares = [count * (at + 1) // len(names) - count * at // len(names) for at in range(len(names))]
    sets = [
        problems.load(name, limit=share, seed=settings.seed)
        for name, share in zip(names, shares, strict=True)
        if share
    ]
    notes = [f"{one.name}: {note}" for one in sets for note in one.notes]
    for note in notes:
        watch.say(note)
    with Run.open(
        settings.out,
        verb="synthesize",
        settings=asdict(settings),
        fingerprint={"method": settings.method, "seeds": ",".join(names), "seed": settings.seed},
        amounts={"count": count},
        inputs=[file for one in sets for file in one.files],
    ) as run:
        done = run.keys("drafts")
        watch.begin("drafts", count, len(done))
        for one in sets:
            rows = [
                Draft(
                    key=problem.key,
                    method=settings.method,
                    question=problem.question,
                    answer=problem.answer,
                    solution=problem.solution or "",
                    source=problem.source,
                    split=problem.split,
                    level=problem.level,
                    subject=problem.subject,
                    teacher=one.files[0]["name"],
                )
                for problem in one
                if problem.key not in done
            ]
            for start in range(0, len(rows), _BATCH):
                run.append("drafts", rows[start : start + _BATCH])
                watch.advance(len(rows[start : start + _BATCH]))
        watch.end()
        run.finish(yield_of(run, settings.method, 0, notes))
    return Path(settings.out)
