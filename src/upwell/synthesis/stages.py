"""The stage that makes drafts: it works off what is owed, and leaves a run directory that says all."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from upwell import prompts
from upwell.engines.base import Engine, Reply, Request, Sampling
from upwell.engines.opening import Model, find_model
from upwell.engines.spending import Metered, Price, price_of
from upwell.errors import UsageError
from upwell.measurement.clock import Clock
from upwell.measurement.pilot import PILOT
from upwell.measurement.plan import frame_of
from upwell.measurement.replies import attempts_so_far, response_of
from upwell.measurement.spending import row_usd, spent_so_far, waste_of
from upwell.measurement.watch import Silent, Watch
from upwell.problems import ProblemSet
from upwell.records import Draft, Failure, Problem, Response, draw_key, draw_seed
from upwell.runs import Run
from upwell.synthesis.asking import Asked, Made, Seed, Wish
from upwell.synthesis.dealing import Deal
from upwell.synthesis.making import Workshop
from upwell.synthesis.methods import method_named
from upwell.synthesis.procedural import procedural
from upwell.synthesis.seeds import load_seeds, lot, question_of, reach
from upwell.synthesis.settings import PROCEDURAL, REJECTION, SynthesisSettings
from upwell.synthesis.yields import Forecast, forecast, yield_of

REPLIES = "replies"
"""Table of what the teacher said: a `Response` whose problem is the draft it was said for."""
_TRIES = 4


def synthesize(
    settings: SynthesisSettings, *, engine: Engine | None = None, watch: Watch | None = None
) -> Path:
    """Make the drafts that are owed in the run directory `settings.out`.

    Args:
        settings: what to make, and from what.
        engine: who writes; by default the model that `settings.teacher` names. An engine of your own sees prompts
            without a chat template.
        watch: told of the progress.

    Raises:
        UsageError: settings, seeds, teacher or run directory are wrong; nothing was asked.
        StorageError: the run directory cannot be written; what was written stays.
        EngineError, BudgetSpent: nothing can be asked any more; the run is resumable.
    """
    watch = watch or Silent()
    if settings.method == REJECTION:
        from upwell.synthesis.rejection import rejection

        return rejection(settings, engine=engine, watch=watch)
    if settings.method == PROCEDURAL:
        return procedural(settings, watch)
    with _Synthesis(settings, engine, watch) as job, job.open() as run:
        failed = job.make(run)
        run.finish(yield_of(run, settings.method, failed, job.seeds.notes, job.count))
    return Path(settings.out)


def dry_run(
    settings: SynthesisSettings, *, engine: Engine | None = None, watch: Watch | None = None
) -> Forecast:
    """Make a few drafts, which are kept, and say what all that are wanted would take. As `synthesize`.

    Raises:
        UsageError: the method is one that is not forecast.
    """
    if settings.method in (REJECTION, PROCEDURAL):
        raise UsageError(
            f"--dry-run does nothing for --method {settings.method}", "leave --dry-run out, or use --max-usd"
        )
    with _Synthesis(settings, engine, watch or Silent()) as job, job.open() as run:
        job.make(run, pilot=PILOT)
        return forecast(run, job.count, job.price)


class _Synthesis:
    """One session: what is planned, and the teacher, who is called only if something is owed."""

    def __init__(self, settings: SynthesisSettings, engine: Engine | None, watch: Watch) -> None:
        self._settings, self._engine, self._watch = settings, engine, watch
        self._own_engine = engine is None
        self._method, digest = method_named(settings.method)
        self.seeds: ProblemSet = load_seeds(settings)
        for note in self.seeds.notes:
            watch.say(f"{self.seeds.name}: {note}")
        self._weights = None if settings.student is None else reach(settings.student, self.seeds.problems)
        if self._weights is not None:
            watch.say(
                f"{len(self._weights):,} of {len(self.seeds):,} seeds are solved sometimes but not always"
            )
        self.count = settings.count or len(self._weights or self.seeds)
        self.price: Price | None = None
        self._model: Model | None = None
        self._frame: prompts.Template | None = None
        if engine is None:
            self._model = find_model(settings.teacher, settings, say=watch.say, flag="--teacher")
            self.price = price_of(self._model, settings)
            self._frame = frame_of(self._model)
        elif settings.price is not None:
            self.price = price_of(_nobody(engine, settings), settings)
        self._wish = _wish(settings, self.seeds)
        self.prompt = f"{digest[:12]}" + (f"/{self._frame.digest[:12]}" if self._frame is not None else "")
        self._sampling = Sampling(
            temperature=settings.heat, top_p=settings.nucleus, max_tokens=settings.max_tokens
        )

    def __enter__(self) -> _Synthesis:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own_engine and self._engine is not None:
            self._engine.close()

    def open(self) -> Run:
        settings = self._settings
        if self._model is not None:
            teacher, entry = self._model.identity, self._model.entry()
        else:
            assert self._engine is not None
            teacher = self._engine.identity
            entry = {"name": teacher}
        tries = settings.max_tries or _TRIES * self.count
        amounts = {"count": self.count, "max_tries": tries} if settings.generations == 1 else {}
        fixed = (
            {} if amounts else {"count": self.count, "max_tries": tries, "generations": settings.generations}
        )
        inputs: list[dict[str, Any]] = [
            *self.seeds.files, {"name": self.seeds.name, "digest": self.seeds.digest},
        ]  # fmt: skip
        if settings.student is not None:
            inputs.append(Run.read(settings.student).reference("verdicts"))
        return Run.open(
            settings.out,
            verb="synthesize",
            settings=asdict(settings),
            fingerprint={
                "method": settings.method,
                "seeds": f"{self.seeds.name}@{self.seeds.digest[:12]}",
                "split": self.seeds.split,
                "student": settings.student and inputs[-1]["digest"],
                "teacher": teacher,
                "prompt": self.prompt,
                "seed": settings.seed,
                **asdict(self._wish),
                **msgspec.to_builtins(self._sampling),
                **fixed,
            },
            amounts=amounts,
            inputs=inputs,
            identity={
                "model": entry,
                "engine": teacher,
                "prompt": {"name": settings.method, "digest": self.prompt},
            },
        )

    def make(self, run: Run, pilot: int | None = None) -> int:
        """Make what is owed. Returns how many drafts are owed still because a call for them failed."""
        settings = self._settings
        have = run.keys("problems")
        run.append("problems", [seed for seed in self.seeds if seed.key not in have])
        del have
        seeds: list[Problem] = list(self.seeds)
        rounds = settings.generations
        failed = 0
        for round_ in range(rounds):
            count = self.count * (round_ + 1) // rounds - self.count * round_ // rounds
            if not count:
                continue
            deal = Deal(seeds, settings.method, settings.seed, self._weights if round_ == 0 else None)
            failed = self._round(run, deal, count, pilot)
            if failed or pilot is not None or round_ == rounds - 1:
                break
            seeds = [question_of(row) for row in run.rows("drafts", Draft) if deal.seed_of(row.key)]
            if not seeds:
                self._watch.say(f"round {round_ + 1} gave no draft, so there is no seed for another round")
                break
        return failed

    def _round(self, run: Run, deal: Deal, count: int, pilot: int | None) -> int:
        """Make the drafts of one deal: `count` of them, or those that a few tries give."""
        run.mend(REPLIES)
        accepted = sum(deal.settle(key) for key in run.keys("drafts"))
        tries = accepted + sum(deal.settle(key) for key in run.keys("rejects"))
        left = max((self._settings.max_tries or _TRIES * count) - tries, 0)
        if pilot is not None:
            left = min(left, max(pilot - tries, 0))
        if accepted >= count or not left:
            return 0
        stored: dict[str, dict[int, Response]] = {}
        for reply in run.rows(REPLIES, Response):
            if deal.seed_of(reply.problem) is not None and not deal.is_settled(reply.problem):
                stored.setdefault(reply.problem, {})[reply.index] = reply
        shop = Workshop(deal, self._begun, stored, wanted=count - accepted, tries=left, finish=self._draft)
        self._watch.begin("drafts", count if pilot is None else tries + left, accepted)
        self._work(run, shop)
        self._watch.end()
        made = run.count("drafts")
        if shop.given_back:
            self._watch.say(
                f"{shop.given_back} drafts are owed still, for calls failed: see {run.path / 'failures.jsonl'}"
            )
        elif pilot is None and self._settings.generations == 1 and made < count:
            self._watch.say(
                f"{made:,} of {count:,} drafts wanted: --max-tries is reached; raise it and run the same command again"
            )
        return shop.given_back

    def _work(self, run: Run, shop: Workshop) -> None:
        clock = Clock(run, "synthesis")
        attempts = attempts_so_far(run)
        spent = spent_so_far(run, self._settings, REPLIES)
        with closing(_generated(self._requests(shop), self, run, spent)) as replies:
            for reply in replies:
                clock.tick()
                slot = reply.key.rpartition("#")[0]
                # Before the row: a kill in between may count a call twice, but never forgets one.
                run.append("waste", waste_of(reply, self.price))
                if reply.error is None:
                    usd = row_usd(reply, self.price)
                    said = response_of(reply, usd)
                    run.append(REPLIES, [said])
                    self._watch.advance(0, tokens=reply.tokens or 0, usd=usd or 0.0)
                    shop.take(said)
                else:
                    attempt = attempts.get(reply.key, 0) + 1
                    run.append(
                        "failures",
                        [Failure(key=reply.key, where=self.teacher, message=reply.error, attempt=attempt)],
                    )
                    shop.give_back(slot)
                self._write(run, shop)
        self._write(run, shop)
        clock.stop()

    def _write(self, run: Run, shop: Workshop) -> None:
        for outcome in shop.outcomes():
            is_draft = isinstance(outcome, Draft)
            run.append("drafts" if is_draft else "rejects", [outcome])
            self._watch.advance(int(is_draft))

    @property
    def teacher(self) -> str:
        """Who writes."""
        if self._model is not None:
            return self._model.identity
        assert self._engine is not None
        return self._engine.identity

    def metered(self, run: Run, spent: Any) -> Metered:
        """The teacher, held to the caps."""
        if self._engine is None:
            assert self._model is not None
            self._watch.say(f"loading {self._model.name}")
            self._engine = self._model.open(folder=run.path, say=self._watch.say)
        return Metered(self._engine, price=self.price, settings=self._settings, spent=spent)

    def _begun(self, key: str, seed: Problem) -> Asked:
        return self._method(Seed(seed, lot(self._settings.seed, key), self._wish))

    def _requests(self, shop: Workshop) -> Iterator[Request | None]:
        frame = self._frame
        for call in shop.calls():
            if call is None:
                yield None
                continue
            yield Request(
                key=draw_key(call.slot, call.index),
                prompt=call.prompt if frame is None else frame.render(call.prompt),
                add_special_tokens=frame is None or frame.add_special_tokens,
                chat=frame is not None and frame.chat,
                seed=draw_seed(self._settings.seed, call.slot, call.index),
                sampling=self._sampling,
            )

    def _draft(self, key: str, seed: Problem, made: Made, replies: list[Response]) -> Draft:
        costs = [reply.usd for reply in replies if reply.usd is not None]
        return Draft(
            key=key,
            method=self._settings.method,
            question=made.question,
            answer=made.answer,
            solution=made.solution,
            parents=(seed.key,),
            source=seed.source,
            split=seed.split,
            level=made.level or seed.level,
            subject=made.subject or seed.subject,
            teacher=self.teacher,
            prompt=self.prompt,
            replies=tuple(reply.key for reply in replies),
            prompt_tokens=sum(reply.prompt_tokens or 0 for reply in replies),
            completion_tokens=sum(reply.tokens or 0 for reply in replies),
            usd=sum(costs) if costs else None,
            agreement=made.agreement,
        )


def _wish(settings: SynthesisSettings, seeds: ProblemSet) -> Wish:
    if settings.keep == "consensus" and settings.solutions < 2:
        raise UsageError(
            "--keep consensus needs several solutions to compare", "--solutions 3 --keep consensus"
        )
    like = settings.like
    if like == "auto":
        from upwell.synthesis.parsing import is_number

        first = seeds.problems[:200]
        # Word problems say their answer in figures; competition problems come with a subject, or with formulas.
        plain = all(is_number(seed.answer) and seed.subject is None for seed in first if seed.answer)
        like = "gsm8k" if plain else "math"
    return Wish(
        like=like,
        verification=settings.verification,
        solutions=settings.solutions,
        consensus=settings.consensus if settings.keep == "consensus" else None,
        resolve=settings.resolve,
    )


def _nobody(engine: Engine, settings: SynthesisSettings) -> Model:
    return Model(name=engine.identity, kind="embedded", identity=engine.identity, settings=settings)


def _generated(
    requests: Iterator[Request | None], job: _Synthesis, run: Run, spent: Any
) -> Generator[Reply, None, None]:
    yield from job.metered(run, spent).generate(requests)
