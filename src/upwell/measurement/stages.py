"""The stages: each reads what is there, works off what is owed, and leaves a run directory that says all."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from upwell.engines.base import Engine, Reply, Request
from upwell.engines.opening import Model, find_model
from upwell.engines.spending import Metered, Price, price_of
from upwell.errors import UsageError
from upwell.grading.style import style_named
from upwell.measurement.agreement import agreement
from upwell.measurement.clock import Clock
from upwell.measurement.grading import grade_owed, grader_of
from upwell.measurement.pilot import PILOT, Estimate, estimate
from upwell.measurement.plan import Plan, load_problems, plan, template_for
from upwell.measurement.replies import attempts_so_far, response_of
from upwell.measurement.settings import MeasureSettings, SampleSettings
from upwell.measurement.spending import row_usd, spending_of, spent_so_far, waste_of
from upwell.measurement.summary import summary_of, total_seconds
from upwell.measurement.watch import Silent, Watch
from upwell.problems import ProblemSet
from upwell.records import Failure, Problem
from upwell.runs import Run


def sample(
    settings: SampleSettings,
    *,
    engine: Engine | None = None,
    model: Model | None = None,
    watch: Watch | None = None,
) -> Path:
    """Draw the owed responses into the run directory `settings.out`.

    Args:
        settings: What to draw.
        engine: Where responses come from; by default the embedded engine with `settings.model`. With an
            engine of your own, prompts that need a chat template are refused, unless `model` is given.
        model: What `settings.model` names, where that is known; `engine` is then an engine that serves it.
        watch: Told of the progress.

    Raises:
        UsageError: Settings, problems, prompt, model or run directory are wrong; nothing was drawn.
        StorageError: The run directory cannot be written; what was written stays.
        EngineError: Nothing can be served any more; the run is resumable.
    """
    watch = watch or Silent()
    with _Sampling(settings, engine, watch, model) as job, job.open("sample", {}, {}) as run:
        failed = job.draw(run)
        run.finish(
            {
                "metrics": [],
                "counts": {"responses": run.count("responses"), "failed": failed},
                "spending": spending_of(run),
                "notes": [*job.plan.problem_set.notes, *_of_failures(failed)],
                "seconds": total_seconds(run),
            }
        )
    return Path(settings.out)


def measure(
    settings: MeasureSettings,
    *,
    engine: Engine | None = None,
    model: Model | None = None,
    watch: Watch | None = None,
) -> Path:
    """Sample, grade and summarise in one run directory. Arguments and errors as for `sample`."""
    watch = watch or Silent()
    others = settings.others()
    for style in others:
        style_named(style)
    with grader_of(settings) as grader, _Sampling(settings, engine, watch, model) as job:
        identity = {"grader": grader.identity}
        with job.open("measure", identity, identity) as run:
            failed = job.draw(run)
            grade_owed(run, grader, watch)
            for style in others:
                with grader_of(settings, style) as other:
                    grade_owed(run, other, watch, f"verdicts-{style}")
            notes = [*job.plan.problem_set.notes, *_of_failures(failed)]
            summary = summary_of(run, grader, settings, watch, notes, failed)
            if others:
                summary["agreement"] = agreement(run, settings.style, others, watch)
            run.finish(summary)
    return Path(settings.out)


def _of_failures(failed: int) -> list[str]:
    return (
        [f"{failed:,} draws failed and are missing from every number: see failures.jsonl"] if failed else []
    )


def dry_run(
    settings: SampleSettings, *, engine: Engine | None = None, watch: Watch | None = None
) -> Estimate:
    """Draw a few responses into `settings.out`, where they count like any others, and say what the rest would take.

    Arguments and errors as for `sample`.
    """
    watch = watch or Silent()
    with ExitStack() as stack:
        verb, identity = "sample", {}
        if isinstance(settings, MeasureSettings):
            verb, identity = "measure", {"grader": stack.enter_context(grader_of(settings)).identity}
        job = stack.enter_context(_Sampling(settings, engine, watch))
        run = stack.enter_context(job.open(verb, identity, identity))
        job.draw(run, pilot=PILOT)
        return estimate(run, job.plan, job.price, settings)


class _Sampling:
    """One session of drawing: what is planned, and the engine, which is loaded only if something is owed."""

    def __init__(
        self, settings: SampleSettings, engine: Engine | None, watch: Watch, model: Model | None = None
    ) -> None:
        self._settings = settings
        self._watch = watch
        self._engine = engine
        self._own_engine = engine is None
        problem_set = load_problems(settings, graded=isinstance(settings, MeasureSettings))
        for note in problem_set.notes:
            watch.say(f"{problem_set.name}: {note}")
        self._model = model
        if engine is None and model is None:
            self._model = find_model(settings.model, settings, say=watch.say)
        self.price: Price | None = None if self._model is None else price_of(self._model, settings)
        template = template_for(settings.prompt, self._model, watch.say)
        self.plan: Plan = plan(settings, problem_set, template)

    def __enter__(self) -> _Sampling:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own_engine and self._engine is not None:
            self._engine.close()

    def open(self, verb: str, fingerprint: dict[str, Any], identity: dict[str, Any]) -> Run:
        settings, made = self._settings, self.plan
        if self._model is not None:
            model, entry = self._model.identity, self._model.entry()
        else:
            assert self._engine is not None
            model = self._engine.identity
            entry = {"name": model}
        return Run.open(
            settings.out,
            verb=verb,
            settings=asdict(settings),
            fingerprint=made.fingerprint(model) | fingerprint,
            amounts={"samples": settings.samples, "limit": settings.limit},
            inputs=[
                *made.problem_set.files,
                {"name": made.problem_set.name, "digest": made.problem_set.digest},
            ],
            identity={
                "model": entry,
                "engine": model,
                "prompt": {
                    "name": made.template.name,
                    "digest": made.template.digest,
                    "source": made.template.source,
                    "examples": list(made.template.examples),
                },
                **identity,
            },
        )

    def draw(self, run: Run, pilot: int | None = None) -> int:
        """Draw what is owed, or one response each of some problems only. Returns how many draws failed and are
        owed still."""
        made, watch = self.plan, self._watch
        have = run.keys("problems")
        _check_unchanged(run, made.problem_set)
        run.append("problems", [p for p in made.problem_set if p.key not in have])
        done = run.keys("responses")
        total = len(made.problem_set) * made.samples
        asked = made.owed(done)
        owed = made.count_owed(done)
        if pilot is not None:
            few = list(made.pilot(done, pilot))
            asked, total, owed = iter(few), len(few), len(few)
        if not owed:
            return 0
        if self._engine is None:
            assert self._model is not None
            watch.say(f"loading {self._model.name}")
            self._engine = self._model.open(folder=run.path, say=watch.say)
        metered = Metered(
            self._engine, price=self.price, settings=self._settings, spent=spent_so_far(run, self._settings)
        )
        attempts = attempts_so_far(run)
        watch.begin("sampling" if pilot is None else "pilot", total, total - owed)
        clock = Clock(run, "sampling")
        failed = 0
        requested: dict[str, Request] = {}
        # Closed by name, not by the collector: an engine's lanes must have ended when an error leaves here.
        with closing(_generated(metered, _noted(asked, requested))) as replies:
            for reply in replies:
                request = requested.pop(reply.key)
                clock.tick()
                usd = row_usd(reply, self.price)
                # Before the row: a kill in between may count a call twice, but never forgets one.
                run.append("waste", waste_of(reply, self.price))
                if reply.error is None:
                    run.append("responses", [response_of(reply, usd, request.seed if reply.seeded else None)])
                    watch.advance(tokens=reply.tokens, usd=usd or 0.0)
                else:
                    attempt = attempts.get(reply.key, 0) + 1
                    run.append(
                        "failures",
                        [
                            Failure(
                                key=reply.key,
                                where=self._engine.identity,
                                message=reply.error,
                                attempt=attempt,
                            )
                        ],
                    )
                    failed += 1
        clock.stop()
        watch.end()
        if failed:
            watch.say(
                f"{failed} of {owed} draws failed and are owed still: see {run.path / 'failures.jsonl'}"
            )
        return failed


def _check_unchanged(run: Run, problem_set: ProblemSet) -> None:
    """Refuse to add to a run whose problems are not what they were: their rows would mean two things.

    Raises:
        UsageError: A problem of the run is gone from the set, or is there with other content.
    """
    now = {problem.key: problem for problem in problem_set}
    for was in run.rows("problems", Problem):
        if now.get(was.key) != was:
            how = "is not the same any more" if was.key in now else "is gone"
            raise UsageError(
                f"the problem set `{problem_set.name}` has changed since `{run.path}` was begun: "
                f"problem `{was.key}` {how}",
                f"choose another --out, or put back the problems that {run.path / 'problems.jsonl'} holds",
            )


def _noted(requests: Iterator[Request], into: dict[str, Request]) -> Iterator[Request]:
    for request in requests:
        into[request.key] = request
        yield request


def _generated(engine: Engine, requests: Iterator[Request]) -> Generator[Reply, None, None]:
    yield from engine.generate(requests)
