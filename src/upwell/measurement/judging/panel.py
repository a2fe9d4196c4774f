"""A model that is asked several times about each response: its votes are rows, and none is paid for twice."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, Literal, NamedTuple

from upwell import prompts
from upwell.engines.base import Engine, Reply, Request, Sampling
from upwell.engines.opening import Model, find_model
from upwell.engines.spending import Metered, Price, price_of
from upwell.measurement.clock import Clock
from upwell.measurement.judging import asking
from upwell.measurement.judging.asking import Kind, Question, Vote
from upwell.measurement.plan import frame_of
from upwell.measurement.replies import attempts_so_far
from upwell.measurement.settings import JudgeSettings
from upwell.measurement.spending import row_usd, spent_so_far, waste_of
from upwell.measurement.watch import Watch
from upwell.records import Failure, Judgement, draw_seed
from upwell.runs import Run

TABLE = "judgements"
Role = Literal["judge", "score", "mistake"]
_SAME = {vote: vote for vote in (Vote(True), Vote(False), asking.UNREADABLE)}
"""Of a million votes, almost all are one of three."""
_KINDS: dict[Role, tuple[Kind, ...]] = {
    "judge": ("reference", "open", "points"), "score": ("score",), "mistake": ("mistake",),
}  # fmt: skip
_FLAGS: dict[Role, str] = {"judge": "--judge", "score": "--score", "mistake": "--judge"}
_MARKS: dict[Role, str] = {"judge": "", "score": "score-", "mistake": "mistake-"}
"""What the key of a vote has before its number."""


class Panel:
    """The votes of one model, in one role. Its engine is opened when a vote is owed, and not before.

    Args:
        role: Whether it judges, scores or names mistakes; keeps the votes of these apart in one table.
        name: The model, as `--judge` or `--score` has it.
        settings: How it is reached and asked.
        watch: Told of the progress.
        engine: What answers instead of the model of that name; it sees prompts without a chat template.

    Raises:
        UsageError: There is no such model, or a setting does nothing for it.
    """

    def __init__(
        self, role: Role, name: str, settings: JudgeSettings, watch: Watch, engine: Engine | None = None
    ) -> None:
        self.role, self.votes, self.seed = role, settings.votes, settings.judge_seed
        self._settings, self._watch, self._engine = settings, watch, engine
        self._work = "scoring" if role == "score" else "judging"
        self._sampling = Sampling(temperature=settings.heat, max_tokens=settings.judge_tokens)
        self._model: Model | None = None
        self._frame: prompts.Template | None = None
        self._price: Price | None = None
        if engine is None:
            self._model = find_model(name, settings, say=watch.say, flag=_FLAGS[role])
            self._price = price_of(self._model, settings)
            self._frame = frame_of(self._model)
        self.identity = engine.identity if engine is not None else self._need_model().identity

    def entry(self) -> dict[str, Any]:
        """What a manifest says of it."""
        model = {"name": self.identity} if self._model is None else self._model.entry()
        return {self.role: {"model": model, "identity": self.identity, "prompt": self._prompt()}}

    def fingerprint(self) -> dict[str, Any]:
        """What decides what a vote means, and how many there are."""
        return {
            self.role: {
                "model": self.identity,
                "prompt": self._prompt(),
                "votes": self.votes,
                "temperature": self._sampling.temperature,
                "max_tokens": self._sampling.max_tokens,
                "seed": self.seed,
            }
        }

    def keys(self, response: str) -> list[str]:
        """The keys of the votes on a response."""
        return [f"{response}#{_MARKS[self.role]}{vote}" for vote in range(self.votes)]

    def poll(self, run: Run, responses: Collection[str], questions: Iterable[Question]) -> int:
        """Ask for the votes that are owed on these responses.

        Args:
            run: Gets a row of `judgements` per vote, and one of `failures` per call that failed.
            responses: Keys of the responses that are asked about.
            questions: One for each of them, made as they are needed.

        Returns:
            How many votes are owed still because their calls failed.

        Raises:
            EngineError, BudgetSpent: Nothing can be asked any more; the run is resumable.
        """
        done = run.keys(TABLE)
        total = len(responses) * self.votes
        owed = sum(key not in done for response in responses for key in self.keys(response))
        if not owed:
            return 0
        engine = self._engine
        if engine is None:
            model = self._need_model()
            self._watch.say(f"loading {model.name}")
            engine = model.open(folder=run.path, say=self._watch.say)
        try:
            spent = spent_so_far(run, self._settings, TABLE)
            metered = Metered(engine, price=self._price, settings=self._settings, spent=spent)
            self._watch.begin(self._work, total, total - owed)
            failed = self._collect(run, metered, self._requests(questions, done))
            self._watch.end()
        finally:
            if self._engine is None:
                engine.close()
        if failed:
            where = run.path / "failures.jsonl"
            self._watch.say(f"{failed} of {owed} judgements failed and are owed still: see {where}")
        return failed

    def _collect(self, run: Run, engine: Metered, asked: Iterable[tuple[Request, Question]]) -> int:
        attempts = attempts_so_far(run)
        pending: dict[str, Question] = {}

        def requests() -> Iterator[Request]:
            for request, question in asked:
                pending[request.key] = question._replace(text="")
                yield request

        failed = 0
        clock = Clock(run, self._work)
        with closing(_generated(engine, requests())) as replies:
            for reply in replies:
                question = pending.pop(reply.key)
                clock.tick()
                usd = row_usd(reply, self._price)
                # Before the row: a kill in between may count a call twice, but never forgets one.
                run.append("waste", waste_of(reply, self._price))
                if reply.error is None:
                    run.append(TABLE, [_judgement(reply, question, usd)])
                    self._watch.advance(tokens=reply.tokens, usd=usd or 0.0)
                else:
                    failed += 1
                    attempt = attempts.get(reply.key, 0) + 1
                    run.append(
                        "failures",
                        [Failure(key=reply.key, where=self.identity, message=reply.error, attempt=attempt)],
                    )
        clock.stop()
        return failed

    def votes_in(self, run: Run) -> dict[str, list[Vote]]:
        """The votes that the run holds so far, by response."""
        found: dict[str, list[Vote]] = {}
        for row in run.rows(TABLE, Judgement):
            if row.key[len(row.response) + 1 :].rstrip("0123456789") == _MARKS[self.role]:
                vote = Vote(row.correct, row.points, row.mistake)
                found.setdefault(row.response, []).append(_SAME.get(vote, vote))
        return found

    def _requests(self, questions: Iterable[Question], done: set[str]) -> Iterator[tuple[Request, Question]]:
        """The votes on one response together, so that they share its prompt."""
        for question in questions:
            owed = [(vote, key) for vote, key in enumerate(self.keys(question.response)) if key not in done]
            if not owed:
                continue
            prompt = question.text if self._frame is None else self._frame.render(question.text)
            for vote, key in owed:
                yield (
                    Request(
                        key=key,
                        prompt=prompt,
                        add_special_tokens=self._frame is None or self._frame.add_special_tokens,
                        chat=self._frame is not None and self._frame.chat,
                        seed=draw_seed(self.seed, f"{self.role}\x1f{question.response}", vote),
                        sampling=self._sampling,
                    ),
                    question,
                )

    def _prompt(self) -> str:
        frame = "plain" if self._frame is None else f"{self._frame.name}@{self._frame.digest[:12]}"
        return f"{self.role}@{asking.digest(*_KINDS[self.role])[:12]} in {frame}"

    def _need_model(self) -> Model:
        assert self._model is not None
        return self._model


def _generated(engine: Metered, requests: Iterator[Request]) -> Generator[Reply, None, None]:
    yield from engine.generate(requests)


def _judgement(reply: Reply, question: Question, usd: float | None) -> Judgement:
    vote = asking.read(reply.text, reply.finish, question.kind, question.most)
    return Judgement(
        key=reply.key,
        response=question.response,
        text=reply.text,
        correct=vote.correct,
        points=vote.points,
        mistake=vote.mistake,
        finish=reply.finish,
        tokens=reply.tokens or 0,
        prompt_tokens=reply.prompt_tokens or None,
        usd=usd,
    )


class Panels(NamedTuple):
    """The models that are asked about the responses of one run."""

    judge: Panel | None = None
    verifier: Panel | None = None

    @property
    def suffix(self) -> str:
        """What the name of the run's directory says of them."""
        return "-scored" * (self.verifier is not None) + "-judged" * (self.judge is not None)

    def entry(self) -> dict[str, Any]:
        """What a manifest says of them."""
        return {name: value for panel in self if panel is not None for name, value in panel.entry().items()}

    def fingerprint(self) -> dict[str, Any]:
        """What decides what their votes mean."""
        return {
            name: value for panel in self if panel is not None for name, value in panel.fingerprint().items()
        }
