"""What a run is to hold: problems, prompt, model and sampling, worked out before anything is drawn."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from upwell import problems, prompts
from upwell.engines.base import Request, Sampling
from upwell.engines.checkpoints import Checkpoint
from upwell.engines.opening import Model
from upwell.errors import UsageError
from upwell.measurement.settings import MeasureSettings, ProblemSettings, SampleSettings
from upwell.problems import ProblemSet
from upwell.records import Problem, Response, Verdict, draw_key, draw_seed
from upwell.runs import Run

if TYPE_CHECKING:
    from upwell.metrics import Planned


@dataclass(frozen=True)
class Plan:
    """A set of problems with the way they are asked."""

    problem_set: ProblemSet
    template: prompts.Template
    sampling: Sampling
    samples: int
    seed: int

    def owed(self, done: set[str]) -> Iterator[Request]:
        """Requests for the draws that are not done, those of one problem together."""
        for problem in self.problem_set:
            yield from self._of_problem(problem, done)

    def pilot(self, done: set[str], count: int) -> Iterator[Request]:
        """Requests for one draw each of `count` problems spread evenly over the set, except those that have one."""
        several = self.problem_set.problems
        count = min(count, len(several))
        for number in range(count):
            problem = several[number * len(several) // count]
            if draw_key(problem.key, 0) not in done:
                yield next(self._of_problem(problem, done))

    def _of_problem(self, problem: Problem, done: set[str]) -> Iterator[Request]:
        prompt: str | None = None
        for index in range(self.samples):
            key = draw_key(problem.key, index)
            if key in done:
                continue
            if prompt is None:
                prompt = self.template.render(problem.question)
            yield Request(
                key=key,
                prompt=prompt,
                add_special_tokens=self.template.add_special_tokens,
                seed=draw_seed(self.seed, problem.key, index),
                sampling=self.sampling,
                chat=self.template.chat,
            )

    def count_owed(self, done: set[str]) -> int:
        """How many draws are not done."""
        keys = (draw_key(problem.key, index) for problem in self.problem_set for index in range(self.samples))
        return sum(key not in done for key in keys)

    def fingerprint(self, model: str) -> dict[str, Any]:
        """What decides what a response means. `model` names the engine, the weights and the dtype."""
        return {
            "problems": self.problem_set.name,
            "split": self.problem_set.split,
            "model": model,
            "prompt": f"{self.template.name}@{self.template.digest[:12]}",
            "seed": self.seed,
            **msgspec.to_builtins(self.sampling),
        }


def load_problems(settings: ProblemSettings, *, graded: bool = True) -> ProblemSet:
    """The problem set of the settings.

    Args:
        settings: Which one.
        graded: Whether its answers are needed; a set that has none is refused then.

    Raises:
        UsageError: It is not to be had, or `split` is set for a kind of set that has no splits.
    """
    found = problems.load(
        settings.problems,
        split=settings.split,
        limit=settings.limit,
        fields=settings.fields(),
        graded=graded,
    )
    if settings.split not in (found.split, ProblemSettings.split):
        raise UsageError(
            f"--split {settings.split} does nothing: `{settings.problems}` has no splits", "leave --split out"
        )
    return found


def template_for(name: str, model: Model | None, say: Callable[[str], None]) -> prompts.Template:
    """The prompt template of a name, with the model's chat template where it needs one."""
    chat = chat_of(model.chat) if model is not None and model.chat is not None else None
    by_server = model is not None and model.chat_by_server
    trained = model.checkpoint.training if model is not None and model.checkpoint is not None else {}
    if name == "auto" and trained:
        name = trained["prompt"]
    elif name == "auto":
        name = "chat" if chat is not None or by_server else "plain"
        if name == "plain" and model is not None:
            say(f"{model.name} has no chat template: using the prompt `plain`")
    return prompts.get(name, chat=chat, by_server=by_server, examples=_train_problems)


def chat_of(checkpoint: Checkpoint) -> prompts.Chat | None:
    """A checkpoint's chat template as prompts want it."""
    source = checkpoint.chat_template()
    if source is None:
        return None
    return prompts.Chat(
        template=source,
        bos_token=checkpoint.special_token("bos_token"),
        eos_token=checkpoint.special_token("eos_token"),
        where=checkpoint.name,
    )


def frame_of(model: Model) -> prompts.Template | None:
    """The chat template that a model is asked in where our text is all it is to see; None for one that has none: it
    sees the bare text."""
    chat = chat_of(model.chat) if model.chat is not None else None
    if chat is None and not model.chat_by_server:
        return None
    return prompts.get("chat-plain", chat=chat, by_server=model.chat_by_server)


def plan(settings: SampleSettings, problem_set: ProblemSet, template: prompts.Template) -> Plan:
    """The plan of the settings."""
    return Plan(
        problem_set=problem_set,
        template=template,
        sampling=Sampling(
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            min_p=settings.min_p,
            max_tokens=settings.max_tokens,
            stop=tuple(dict.fromkeys((*template.stop, *settings.stop))),
        ),
        samples=settings.samples,
        seed=settings.seed,
    )


def planned(settings: MeasureSettings, width: float) -> list[Planned]:
    """What runs would have 95 % intervals so wide, for PassRatio and for pass@k with the settings' samples as k.

    A graded run at `settings.out` serves as pilot.

    Raises:
        UsageError: The problems are not to be had, or the run at `out` is none.
    """
    from upwell.metrics import plan_samples

    available = len(load_problems(settings))
    counts = _pilot(settings.out) if os.path.isdir(settings.out) else None
    pilot_n, pilot_c = counts if counts is not None else (None, None)
    return [
        plan_samples(width, k=k, pilot_n=pilot_n, pilot_c=pilot_c, problems_available=available)
        for k in dict.fromkeys((1, settings.samples))
    ]


def _pilot(path: str) -> tuple[list[int], list[int]] | None:
    """Responses and right ones per problem of a graded run; None where nothing is graded."""
    run = Run.read(path)
    right = {verdict.key: bool(verdict.correct) for verdict in run.rows("verdicts", Verdict)}
    counts: dict[str, list[int]] = {}
    for response in run.rows("responses", Response):
        if response.key in right:
            count = counts.setdefault(response.problem, [0, 0])
            count[0] += 1
            count[1] += right[response.key]
    if not counts:
        return None
    return [n for n, _ in counts.values()], [c for _, c in counts.values()]


def _train_problems(name: str) -> tuple[Problem, ...]:
    return problems.load(name, split="train").problems
