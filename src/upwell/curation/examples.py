"""From drafts that stay to training examples: the prompt of a template, and the solution to learn."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from upwell.curation.selection import uncopied
from upwell.errors import UsageError
from upwell.prompts import Template
from upwell.records import Draft, Example

if TYPE_CHECKING:
    from upwell.engines.checkpoints import Checkpoint

_CALCULATOR = re.compile(r"<<[^<>\n]*>>")
_HASHES = re.compile(r"\n*####[^\n]*\s*\Z")
_ENDINGS: dict[str, tuple[re.Pattern[str], str]] = {
    "boxed": (re.compile(r"\\boxed"), "\nThe final answer is $\\boxed{{{answer}}}$."),
    "hashes": (re.compile(r"(?:^|\n)####"), "\n#### {answer}"),
    "sentence": (re.compile(r"[Tt]he (?:final )?answer is"), "\nThe answer is: {answer}"),
}
"""By `--final-answer`: what shows that a solution gives its answer so, and what is put behind one that does not."""
_BATCH = 1024
_PIECE = re.compile(r"[^\W\d_]+|\d|[^\w\s]|_")
PIECES = "pieces: words, digits and signs, a guess at tokens"


@dataclass(frozen=True)
class Maker:
    """Makes examples."""

    template: Template
    final: str = "keep"
    """How solutions end (`CurateSettings.final_answer`)."""
    calculator: bool = True

    def example(self, draft: Draft, rung: int | None) -> Example:
        """The example of a draft."""
        prompt = self.template.render(draft.question)
        solution = self.solution(draft)
        # A chat template ends where the answer begins; a text such as `Answer:` wants a space before it.
        joint = "" if not self.template.add_special_tokens or prompt[-1:].isspace() else " "
        return Example(
            key=draft.key,
            prompt=prompt,
            completion=joint + solution,
            problem=problem_of(draft),
            source=draft.source,
            lineage=tuple(dict.fromkeys((*draft.parents, *draft.replies))),
            rung=rung,
            question=draft.question,
            answer=draft.answer,
            level=draft.level,
            subject=draft.subject,
        )

    def solution(self, draft: Draft) -> str:
        """The solution as it is to be learnt; of a row that has none, the answer."""
        text = draft.solution.strip()
        if not text:
            return (
                draft.answer
                if self.final == "keep"
                else _ENDINGS[self.final][1].format(answer=draft.answer).strip()
            )
        if not self.calculator:
            text = _CALCULATOR.sub("", text)
        if self.final != "keep" and draft.answer:
            shows, ending = _ENDINGS[self.final]
            if not shows.search(text):
                text = _HASHES.sub("", text) + ending.format(answer=draft.answer)
        return text


def problem_of(draft: Draft) -> str:
    """The problem that a row solves: the parent whose draw it is, else itself, or what it is a copy of."""
    if draft.parents and draft.key.startswith(draft.parents[0] + "#"):
        return draft.parents[0]
    return uncopied(draft.key)


def pieces(text: str) -> int:
    """How many words, digits and signs a text has: about its tokens, with no tokenizer at hand."""
    return len(_PIECE.findall(text))


Count = Callable[[list[str]], Iterable[int]]
"""How many tokens each of some texts has."""


def count_pieces(texts: list[str]) -> Iterable[int]:
    """`pieces` of each text."""
    return map(pieces, texts)


def counter_of(checkpoint: Checkpoint) -> Count:
    """How a checkpoint's tokenizer counts, without special tokens.

    Raises:
        MissingExtra, UsageError: The tokenizer is not to be had.
    """
    file = checkpoint.folder / "tokenizer.json"
    if importlib.util.find_spec("tokenizers") is not None and file.is_file():
        from tokenizers import (
            Tokenizer,  # a tenth of a second; transformers takes several, for the same counts
        )

        try:
            fast = Tokenizer.from_file(str(file))
        except Exception as error:  # noqa: BLE001  tokenizers raises a bare Exception for a broken file
            raise UsageError(
                f"the tokenizer `{file}` cannot be loaded: {error}", "download it again"
            ) from None
        return lambda texts: [len(one) for one in fast.encode_batch(texts, add_special_tokens=False)]
    slow = checkpoint.tokenizer()
    return lambda texts: map(len, slow(texts, add_special_tokens=False)["input_ids"])


def counted(texts: Iterable[str], count: Count, advance: Callable[[int], None]) -> Iterator[int]:
    """The tokens of each text; `advance` is told of every batch."""
    several = iter(texts)
    while batch := list(islice(several, _BATCH)):
        advance(len(batch))
        yield from count(batch)


def template_of(
    name: str, model: str | None, say: Callable[[str], None]
) -> tuple[Template, Checkpoint | None]:
    """The prompt template, and the checkpoint that `model` names.

    Raises:
        UsageError: There is no such prompt or checkpoint, or the prompt needs a chat template that is not there.
    """
    from upwell import problems, prompts
    from upwell.measurement.plan import chat_of

    checkpoint = None
    if model is not None:
        from upwell.engines.checkpoints import resolve

        if model.split(":")[0] in ("server", "batch", "vllm"):
            raise UsageError(
                f"--model {model}: prompts are written here, so a checkpoint is needed", "--model OWNER/NAME"
            )
        checkpoint = resolve(model, say=say)
    chat = chat_of(checkpoint) if checkpoint is not None else None
    if name == "auto":
        name = "chat" if chat is not None else "plain"
    if name in ("chat", "chat-plain") and model is None:
        raise UsageError(
            f"--prompt {name} needs a model, whose chat template it is", f"--prompt {name} --model CHECKPOINT"
        )
    return prompts.get(
        name, chat=chat, examples=lambda train: problems.load(train, split="train").problems
    ), checkpoint
