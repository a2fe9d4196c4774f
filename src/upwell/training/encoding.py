"""From an example's text to tokens: what the model sees, and which of it is learnt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from upwell.errors import UsageError
from upwell.records import Example
from upwell.training.recipes import Recipe

MASKED = -100
"""Label of a token that is not learnt."""
_AT_ONCE = 1024


@dataclass(frozen=True)
class Piece:
    """The tokens of one example."""

    key: str
    ids: list[int]
    """Prompt, completion, end of sequence."""
    prompt: int
    """How many of them are the prompt."""
    trouble: str | None = None
    """Why the example cannot be learnt, if so."""

    @property
    def labels(self) -> list[int]:
        """What is learnt at each position."""
        return [MASKED] * self.prompt + self.ids[self.prompt :]


class Encoder:
    """Tokenises examples so that training sees, token for token, what evaluation will show and hope for.

    The prompt is tokenised alone, as it is when a response is drawn. The completion follows as the tokenizer writes it
    behind that prompt; where the two would grow together into another token (a prompt that ends in a space, with
    LLaMA-2's tokenizer), as it writes it at the start of a line: the tokens that a model can go on with.
    """

    def __init__(self, tokenizer: Any, eos: int, *, add_special_tokens: bool) -> None:
        """
        Raises:
            UsageError: the tokenizer ends every text by itself, so that a prompt would end before its response.
        """
        self._tokenizer, self._eos, self._special = tokenizer, eos, add_special_tokens
        # Those that are named (begin, end, padding), and those that only the tokenizer's file calls special.
        added = tokenizer.added_tokens_decoder
        self._forbidden = {i: str(token) for i, token in added.items() if token.special} | {
            i: tokenizer.convert_ids_to_tokens(i) for i in (*tokenizer.all_special_ids, eos)
        }
        self.seams = 0
        """Examples whose completion would have grown together with the prompt."""
        last = self._ids(["1"], add_special_tokens)[0][-1]
        if last in self._forbidden:
            raise UsageError(
                f"the tokenizer puts `{self._forbidden[last]}` behind every prompt, which ends it before its response",
                'set "add_eos_token": false in tokenizer_config.json of --base',
            )

    def pieces(self, examples: Iterable[Example]) -> Iterator[Piece]:
        """The tokens of each example, in order."""
        source = iter(examples)
        while batch := list(islice(source, _AT_ONCE)):
            yield from self._batch(batch)

    def _batch(self, batch: Sequence[Example]) -> Iterator[Piece]:
        prompts = self._ids([example.prompt for example in batch], self._special)
        wholes = self._ids([example.prompt + example.completion for example in batch], self._special)
        for example, prompt, whole in zip(batch, prompts, wholes, strict=True):
            trouble = None
            if whole[: len(prompt)] == prompt:
                completion = whole[len(prompt) :]
            else:
                self.seams += 1
                completion = self._apart(example.completion)
                if self._text(prompt + completion) != self._text(whole):
                    trouble = "prompt and completion cannot be told apart in tokens"
            special = next((token for token in completion if token in self._forbidden), None)
            if not prompt:
                trouble = "empty prompt"
            elif not completion or not example.completion.strip():
                trouble = "empty completion"
            elif special is not None:
                trouble = f"special token `{self._forbidden[special]}` in the completion"
            yield Piece(example.key, [*prompt, *completion, self._eos], len(prompt), trouble)

    def _apart(self, completion: str) -> list[int]:
        line, whole = self._ids(["\n", "\n" + completion], False)
        return whole[len(line) :] if whole[: len(line)] == line else self._ids([completion], False)[0]

    def _ids(self, texts: list[str], special: bool) -> list[list[int]]:
        # Not `verbose`: what is longer than a row is told by its reject.
        made = self._tokenizer(texts, add_special_tokens=special, verbose=False)
        found: list[list[int]] = made["input_ids"]
        return found

    def _text(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def end_of_sequence(recipe: Recipe, tokenizer: Any, *, own_base: bool) -> tuple[str, int]:
    """The token that ends a completion, as text and as id.

    Args:
        own_base: whether the base is the recipe's own. Another one may not know the recipe's token; its tokenizer's
            own end of sequence is taken then.

    Raises:
        UsageError: the tokenizer does not know the token as one.
    """
    for text in (recipe.eos.value, None if own_base else tokenizer.eos_token):
        if text is None:
            continue
        found = tokenizer.convert_tokens_to_ids(text)
        if isinstance(found, int) and found >= 0 and (found != tokenizer.unk_token_id):
            return text, found
    raise UsageError(
        f"the tokenizer has no token `{recipe.eos.value}`, which ends a completion in the recipe `{recipe.name}`"
        + ("" if own_base else ", and no end of sequence of its own"),
        "set eos_token in tokenizer_config.json of --base",
    )
