"""What a run is to hold: questions, teacher, prompt, sampling, policy and pool, worked out before anything is drawn."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict
from typing import Any

import msgspec

from upwell.engines.base import Engine, Request, Sampling
from upwell.engines.opening import Model, find_model
from upwell.engines.spending import Price, price_of
from upwell.errors import UsageError
from upwell.measurement.plan import template_for
from upwell.measurement.watch import Watch
from upwell.records import draw_key, draw_seed
from upwell.runs import Run
from upwell.synthesis.rejection.pool import Pool
from upwell.synthesis.rejection.targets import Policy
from upwell.synthesis.seeds import load_seeds as questions
from upwell.synthesis.settings import SynthesisSettings

_PROMPTS = 256
"""Rendered prompts kept at hand."""
_WANTED = {"vanilla": "trials", "uniform": "k_uniform", "prop2diff": "k_hardest"}


class Plan:
    """Questions with the way they are asked and what is wanted of each.

    Args:
        settings: All of it.
        engine: What answers in the teacher's place, if anything.
        grader: The grader's identity.
        watch: Told what the user should know.

    Raises:
        UsageError: Something of it is wrong or not to be had.
    """

    def __init__(self, settings: SynthesisSettings, engine: Engine | None, grader: str, watch: Watch) -> None:
        if settings.heat == 0:
            raise UsageError(
                "at temperature 0 all solutions of a question would be the same", "raise --temperature"
            )
        if settings.dry_run:
            raise UsageError(
                "--dry-run is not for rejection: what it takes depends on how hard the questions are",
                "--max-total-tokens 1000000 stops it there, and the same command without it goes on",
            )
        self.settings, self._grader = settings, grader
        self.set = questions(settings, graded=not settings.majority)
        for note in self.set.notes:
            watch.say(f"{self.set.name}: {note}")
        self.problems = list(self.set)
        """In order; one that is voted on gets its answer then."""
        self.numbers = {problem.key: number for number, problem in enumerate(self.problems)}
        lacking = sum(not problem.answer for problem in self.problems)
        if settings.majority and not lacking:
            raise UsageError(
                f"--majority does nothing: every question of `{self.set.name}` has a reference answer",
                "leave --majority out",
            )
        if lacking and not settings.majority:
            raise UsageError(
                f"{lacking:,} questions of `{self.set.name}` have no reference answer",
                "--majority takes the answer that most responses give",
            )
        self.model: Model | None = None
        self.price: Price | None = None
        if engine is None:
            self.model = find_model(settings.teacher, settings, say=watch.say, flag="--teacher")
            self.price = price_of(self.model, settings)
            self.teacher = self.model.identity
        else:
            self.teacher = engine.identity
        self.template = template_for(settings.prompt, self.model, watch.say)
        self._sampling = Sampling(
            temperature=settings.heat,
            top_p=settings.nucleus,
            max_tokens=settings.max_tokens,
            stop=self.template.stop,
        )
        self.policy = Policy.of(settings)
        asked = self._asked()
        self.pool = Pool(settings.pool, asked, self.problems) if settings.pool is not None else None
        self._fingerprint = asked | self._wanted()
        self._prompts: OrderedDict[int, str] = OrderedDict()

    @property
    def notes(self) -> list[str]:
        """What a reader of the run should know of the questions."""
        return list(self.set.notes)

    def request(self, question: int, index: int) -> Request:
        """The request for a draw."""
        prompt = self._prompts.get(question)
        if prompt is None:
            prompt = self._prompts[question] = self.template.render(self.problems[question].question)
            if len(self._prompts) > _PROMPTS:
                self._prompts.popitem(last=False)
        key = self.problems[question].key
        return Request(
            key=draw_key(key, index),
            prompt=prompt,
            add_special_tokens=self.template.add_special_tokens,
            seed=self.seed(question, index),
            sampling=self._sampling,
            chat=self.template.chat,
        )

    def seed(self, question: int, index: int) -> int:
        """The seed of a draw."""
        return draw_seed(self.settings.seed, self.problems[question].key, index)

    def open(self) -> Run:
        """The run directory, new or resumed. A larger target, more draws and more questions add to it."""
        settings, template = self.settings, self.template
        amounts = {
            name: getattr(settings, name) for name in (_WANTED[settings.policy], "max_trials", "limit")
        }
        if settings.policy == "vanilla":
            del amounts["max_trials"]
        if self.policy.over_max:
            del amounts["limit"]  # a harder question among more of them would lower the targets of the others
        prompt = {
            "name": template.name,
            "digest": template.digest,
            "source": template.source,
            "examples": list(template.examples),
        }
        return Run.open(
            settings.out,
            verb="synthesize",
            settings=asdict(settings),
            fingerprint=self._fingerprint,
            amounts=amounts,
            inputs=[
                *self.set.files,
                {"name": self.set.name, "digest": self.set.digest},
                *([] if self.pool is None else self.pool.inputs),
            ],
            identity={
                "model": self.model.entry() if self.model is not None else {"name": self.teacher},
                "engine": self.teacher,
                "prompt": prompt,
                "grader": self._grader,
            },
        )

    def _asked(self) -> dict[str, Any]:
        """What decides what a row means."""
        return {
            "problems": self.set.name,
            "split": self.set.split,
            "model": self.teacher,
            "prompt": f"{self.template.name}@{self.template.digest[:12]}",
            "seed": self.settings.seed,
            **msgspec.to_builtins(self._sampling),
            "grader": self._grader,
        }

    def _wanted(self) -> dict[str, Any]:
        """What decides which rows there are, besides amounts."""
        settings, policy = self.settings, self.policy
        wanted: dict[str, Any] = {"method": settings.method, "policy": policy.name}
        if policy.name != "vanilla":
            wanted["give_up"] = policy.give_up
        if policy.probes:
            wanted["probes"] = policy.probes
        if settings.majority:
            wanted["majority"] = True
        if policy.by_difficulty:
            wanted["scale"] = settings.scale
        if policy.over_max:
            wanted["limit"] = settings.limit
        if self.pool is not None:
            wanted["pool"] = [entry["digest"] for entry in self.pool.inputs]
        return wanted
