"""What the tests of training share: small bases, examples in the prompt of a recipe, and the verb in this process."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from seed_checkpoints import make

from upwell import prompts
from upwell.engines.checkpoints import resolve
from upwell.measurement.plan import chat_of
from upwell.records import Example
from upwell.runs import Run

PROMPTS = {
    "llama2": "xwin-math", "mistral": "xwin-math", "llama3": "alpaca", "deepseek": "deepseek-math", "qwen2": "chat",
    "gemma": "chat",
}  # fmt: skip
"""The prompt that each family of small bases is trained in here."""
_THINGS = ("apples", "books", "coins", "stamps", "shells")


def template_of(base: Path, name: str) -> prompts.Template:
    """A prompt template, with the chat template of a base."""
    return prompts.get(name, chat=chat_of(resolve(str(base))))


def texts(count: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Questions with solutions of one to eight sentences, all different."""
    dice = random.Random(seed)
    for number in itertools.count(1):
        if number > count:
            return
        a, thing = dice.randint(2, 999), dice.choice(_THINGS)
        steps = "".join(f"Day {day} makes {a} + {day} = {a + day}. " for day in range(dice.randint(0, 7)))
        yield (
            f"{number}) Ben has {a} {thing} and finds {number} more. How many {thing} does he have?",
            f"{steps}In all he has {a} + {number} = {a + number} {thing}.\nThe answer is: {a + number}",
        )


def examples(template: prompts.Template, pairs: Iterable[tuple[str, str]]) -> Iterator[Example]:
    """Examples as `curate` writes them."""
    for number, (question, solution) in enumerate(pairs):
        prompt = template.render(question)
        joint = "" if not template.add_special_tokens or prompt[-1:].isspace() else " "
        yield Example(
            key=f"own/{number}", prompt=prompt, completion=joint + solution, problem=f"own/{number}"
        )


def example_run(path: Path, template: prompts.Template, rows: Iterable[Example]) -> Path:
    """A finished run of examples in a template."""
    with Run.open(
        path,
        verb="curate",
        settings={},
        fingerprint={},
        identity={"prompt": {"name": template.name, "digest": template.digest}},
        command=["upwell", "curate"],
    ) as run:
        run.append("examples", list(rows))
        run.finish({})
    return path


def seeds(room: Path, families: Iterable[str]) -> dict[str, Path]:
    """A small base of each family."""
    return {family: make(family, room / family) for family in families}


def tokenizer_of(base: Path) -> Any:
    """As training and evaluation load it."""
    return resolve(str(base)).tokenizer()
