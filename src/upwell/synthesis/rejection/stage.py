"""The stage: questions in, as many right solutions of each as the policy wants out, in one run directory."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import msgspec

from upwell.engines.base import Engine, Reply
from upwell.engines.spending import Metered, Spent
from upwell.errors import UpwellError, UsageError
from upwell.grading import RuleGrader
from upwell.measurement.clock import Clock
from upwell.measurement.grading import grader_of
from upwell.measurement.replies import attempts_so_far, response_of
from upwell.measurement.settings import Grading
from upwell.measurement.spending import row_usd, spent_so_far, waste_of
from upwell.measurement.watch import Silent, Watch
from upwell.records import Failure, Problem, Response, Verdict
from upwell.runs import Run
from upwell.synthesis.rejection.asking import Asker
from upwell.synthesis.rejection.examiner import Examiner
from upwell.synthesis.rejection.ledger import (
    ANSWERED,
    ASKED,
    CUT,
    MISSING,
    NO_MAJORITY,
    RIGHT,
    WRONG,
    Ledger,
)
from upwell.synthesis.rejection.outcome import Outcome, taken_from_pool
from upwell.synthesis.rejection.plan import Plan
from upwell.synthesis.rejection.pool import Place, place_of
from upwell.synthesis.settings import SynthesisSettings

_MOST_ATTEMPTS = 3
"""Times that a draw is asked for before it counts as one that gave nothing."""


def rejection(
    settings: SynthesisSettings, *, engine: Engine | None = None, watch: Watch | None = None
) -> Path:
    """Draw solutions until every question has as many right ones as the policy wants, into `settings.out`.

    Args:
        settings: What is wanted, of which questions, from whom.
        engine: Where responses come from; by default `settings.teacher`. With an engine of your own, prompts that
            need a chat template are refused.
        watch: Told of the progress, in questions that are through.

    Raises:
        UsageError: Settings, questions, prompt, teacher, pool or run directory are wrong; nothing was drawn.
        StorageError: The run directory cannot be written; what was written stays.
        EngineError, BudgetSpent: Nothing can be served any more, or a cap is reached; the run is resumable, and
            questions that are through have their drafts.
    """
    watch = watch or Silent()
    grading = Grading(
        style=settings.style, workers=settings.workers, timeout=settings.timeout, cache=settings.cache
    )
    with grader_of(grading) as grader:
        plan = Plan(settings, engine, grader.identity, watch)
        with plan.open() as run:
            _Session(plan, run, grader, engine, watch).work()
    return Path(settings.out)


class _Session:
    """One writer of a run: takes up what is there, and draws and grades what is owed.

    Three threads may be at work: this one writes, the engine's ask what to draw, the examiner's grades. What they
    share is the ledger, and what the examiner has found that is not written yet; `lock` guards both.
    """

    def __init__(self, plan: Plan, run: Run, grader: RuleGrader, engine: Engine | None, watch: Watch) -> None:
        self._plan, self._run, self._watch = plan, run, watch
        self._engine = engine
        self._lock = threading.Lock()
        self._attempts: dict[str, int] = {}
        self._elected: list[Problem] = []
        self._verdicts: list[Verdict] = []
        self._write_problems()
        self._ledger = self._restored()
        self._shown: int | None = None
        """Questions that the watch knows to be through; None while no bar is up."""
        self._examiner = Examiner(grader, plan.policy.probes, self._on_verdict, self._on_vote)

    def work(self) -> None:
        outcome = Outcome(self._run, self._plan, self._ledger)
        try:
            self._grade_owed()
            if self._ledger.open:
                self._draw()
            self._examiner.close()
        except UpwellError:
            self._examiner.flush()
            self._write()
            outcome.write_drafts()
            raise
        finally:
            self._examiner.abandon()
        self._write()
        outcome.write_drafts()
        outcome.write_rejects()
        self._run.finish(outcome.summary())

    # What is there.

    def _write_problems(self) -> None:
        """Put the questions into the run, except those that wait for a vote.

        Raises:
            UsageError: A question of the run is gone from the set, or is there with other content.
        """
        plan, run = self._plan, self._run
        if run.summary is not None:  # asked once more: a torn line in it is cut off, and owed
            for table in ("problems", "responses", "verdicts", "failures", "drafts", "rejects", "waste"):
                run.keys(table)
        if plan.pool is not None:
            for number, answer in plan.pool.answers.items():
                plan.problems[number] = msgspec.structs.replace(plan.problems[number], answer=answer)
        have = set()
        for was in run.rows("problems", Problem):
            have.add(was.key)
            number = plan.numbers.get(was.key, -1)
            now = plan.problems[number] if number >= 0 else None
            if now is not None and not now.answer:
                now = plan.problems[number] = msgspec.structs.replace(now, answer=was.answer)
            if now != was:
                raise UsageError(
                    f"the questions of `{plan.set.name}` have changed since `{run.path}` was begun: "
                    f"`{was.key}` is {'gone' if now is None else 'not the same any more'}",
                    f"choose another --out, or put back the questions that {run.path / 'problems.jsonl'} holds",
                )
        run.append("problems", [one for one in plan.problems if one.answer and one.key not in have])

    def _restored(self) -> Ledger:
        """What earlier sessions and the pool have of every question."""
        plan, run, numbers = self._plan, self._run, self._plan.numbers
        polled = [number for number, problem in enumerate(plan.problems) if not problem.answer]
        ledger = Ledger(len(plan.problems), plan.policy, polled)
        for place in run.rows("responses", Place):
            code = CUT if place.finish == "length" else ANSWERED
            ledger.restore(numbers[place.problem], place.index, code)
        for verdict in run.rows("verdicts", Verdict):
            problem, index = place_of(verdict.key)
            ledger.restore(numbers[problem], index, RIGHT if verdict.correct else WRONG)
        self._attempts = attempts_so_far(run)
        for key, attempts in self._attempts.items():
            problem, index = place_of(key)
            row = ledger.draws[numbers[problem]]
            if index >= len(row) or row[index] == ASKED:
                code = MISSING if attempts >= _MOST_ATTEMPTS else ASKED
                ledger.restore(numbers[problem], index, code)
        for draft in run.rows("drafts", _Named):
            problem, index = place_of(draft.key)
            ledger.safe[numbers[problem]] = max(int(ledger.safe[numbers[problem]]), index + 1)
        if plan.pool is not None:
            plan.pool.mark(ledger)
            plan.pool.copy(run, ledger)
        ledger.begin()
        return ledger

    def _grade_owed(self) -> None:
        """Have responses graded that an earlier session left without a verdict."""
        ledger, plan = self._ledger, self._plan
        for number in list(ledger.polled):
            for outcome in ledger.draws[number][: plan.policy.probes]:
                if outcome == MISSING:
                    self._examiner.give(plan.problems[number], None)
        if any(ANSWERED in row or CUT in row for row in ledger.draws):
            self._watch.say("grading what was drawn before")
            for response in self._run.rows("responses", Response):
                number = plan.numbers[response.problem]
                if ledger.draws[number][response.index] in (ANSWERED, CUT):
                    self._examiner.give(plan.problems[number], response)
                    self._write()
        self._examiner.flush()
        self._write()

    # Drawing.

    def _draw(self) -> None:
        plan, run, watch, settings = self._plan, self._run, self._watch, self._plan.settings
        engine = self._engine
        if engine is None:
            assert plan.model is not None
            watch.say(f"loading {plan.model.name}")
            engine = plan.model.open(folder=run.path, say=watch.say)
        spent = spent_so_far(run, settings)
        if plan.pool is not None:
            free = taken_from_pool(run, self._ledger, plan.numbers)
            spent = Spent(tokens=spent.tokens - free.tokens, usd=spent.usd - free.usd)
        metered = Metered(engine, price=plan.price, settings=settings, spent=spent)
        asker = Asker(self._ledger, self._lock, plan.request, self._examiner.check)
        questions = len(plan.problems)
        self._shown = questions - self._ledger.open
        watch.begin("questions", questions, self._shown)
        clock = Clock(run, "sampling")
        try:
            # Closed by name, not by the collector: an engine's threads must have ended when an error leaves here.
            with closing(_generated(metered, asker)) as replies:
                for reply in replies:
                    clock.tick()
                    self._take(reply, engine, asker)
            self._examiner.flush()
            self._write()
        finally:
            self._shown = None
            clock.stop()
            if self._engine is None:
                engine.close()
        watch.end()

    def _take(self, reply: Reply, engine: Engine, asker: Asker) -> None:
        """Write a reply, and have it graded or asked for again."""
        plan, run = self._plan, self._run
        problem, index = place_of(reply.key)
        number = plan.numbers[problem]
        # Before the row: what was voted on has to be there before what was asked for because of it; and a kill in
        # between may count a call twice, but never forgets one.
        self._write()
        run.append("waste", waste_of(reply, plan.price))
        if reply.error is None:
            usd = row_usd(reply, plan.price)
            response = response_of(reply, usd, plan.seed(number, index) if reply.seeded else None)
            run.append("responses", [response])
            self._examiner.give(plan.problems[number], response)
            self._watch.advance(0, tokens=reply.tokens, usd=usd or 0.0)
            return
        attempt = self._attempts[reply.key] = self._attempts.get(reply.key, 0) + 1
        failure = Failure(key=reply.key, where=engine.identity, message=reply.error, attempt=attempt)
        run.append("failures", [failure])
        polled = False
        with self._lock:
            if attempt < _MOST_ATTEMPTS:
                asker.retry(number, index)
            else:
                polled = number in self._ledger.polled
                self._ledger.settle(number, index, MISSING)
        if polled:
            self._examiner.give(plan.problems[number], None)

    def _on_verdict(self, verdict: Verdict, cut: bool) -> None:
        problem, index = place_of(verdict.key)
        with self._lock:
            self._verdicts.append(verdict)
            outcome = RIGHT if verdict.correct and not cut else WRONG
            self._ledger.settle(self._plan.numbers[problem], index, outcome)

    def _on_vote(self, problem: Problem) -> None:
        number = self._plan.numbers[problem.key]
        with self._lock:
            if problem.answer:
                self._plan.problems[number] = problem
                self._elected.append(problem)
                self._ledger.elect(number)
            else:
                self._ledger.end(number, NO_MAJORITY)

    def _write(self) -> None:
        """Write what the examiner has found."""
        with self._lock:
            elected, self._elected = self._elected, []
            verdicts, self._verdicts = self._verdicts, []
            through = len(self._plan.problems) - self._ledger.open
        self._run.append("problems", elected)
        self._run.append("verdicts", verdicts)
        if self._shown is not None and through > self._shown:
            self._watch.advance(through - self._shown)
            self._shown = through


class _Named(msgspec.Struct, frozen=True):
    key: str


def _generated(engine: Metered, asker: Asker) -> Generator[Reply, None, None]:
    yield from engine.generate(asker)
