"""How likely a model finds texts that are there already: log-probabilities of their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from upwell.engines.checkpoints import Checkpoint
from upwell.engines.embedded.drawing import token_logprobs
from upwell.engines.embedded.loading import load_model
from upwell.errors import EngineError

_TOKENS = {"cpu": 1024, "cuda": 8192}
"""Of one pass, padding included; the logits of all are held at once."""


class Losses:
    """A model that reads.

    Args:
        checkpoint: which one.
        dtype: as `--dtype`.
        device: as `--device`.

    Raises:
        UsageError: the checkpoint cannot be loaded.
    """

    def __init__(self, checkpoint: Checkpoint, *, dtype: str = "float32", device: str = "auto") -> None:
        self._tokenizer = checkpoint.tokenizer()
        self._model, self.dtype = load_model(checkpoint, dtype, device, attention="sdpa")
        self._device = next(self._model.parameters()).device
        self.context = int(getattr(self._model.config, "max_position_embeddings", 0) or 2**31)
        begin = self._tokenizer.bos_token_id
        self._begin = self._tokenizer.eos_token_id if begin is None else begin

    def of(
        self, texts: Sequence[tuple[str, str]], *, add_special_tokens: bool = True
    ) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
        """Log-probabilities of the tokens of each text behind its context, in nats, the shortest first.

        Context and text are tokenised apart, as a prompt and what is learnt behind it are in training. Without a
        context the text stands behind the tokenizer's first token (its end token where it has none).

        Args:
            texts: pairs of context (may be empty) and text.
            add_special_tokens: whether the tokenizer puts its own tokens in front of a context.

        Yields:
            The number of the pair, and `(tokens,)`: at most as many as fit into the model's context.

        Raises:
            EngineError: a text has no tokens, or the device ran out of memory.
        """
        encoded = [self._encode(*pair, special=add_special_tokens) for pair in texts]
        order = sorted(range(len(texts)), key=lambda i: len(encoded[i][0]))
        budget, at = _TOKENS.get(self._device.type, _TOKENS["cpu"]), 0
        while at < len(order):
            end = at + 1
            while end < len(order) and (end + 1 - at) * len(encoded[order[end]][0]) <= budget:
                end += 1
            numbers = order[at:end]
            yield from zip(numbers, self._pass([encoded[i] for i in numbers]), strict=True)
            at = end

    def _encode(self, context: str, text: str, *, special: bool) -> tuple[list[int], int]:
        """Token ids, and how many of them are context."""
        before = self._tokenizer(context, add_special_tokens=special)["input_ids"] if context else []
        behind = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        if not behind:
            raise EngineError(f"the text {text[:40]!r} has no tokens", "leave it out")
        before = before or [self._begin]
        return (before + behind)[: self.context], len(before)

    def _pass(self, rows: Sequence[tuple[list[int], int]]) -> Iterator[npt.NDArray[np.float64]]:
        longest = max(len(ids) for ids, _ in rows)
        # Padded on the right, where causal attention does not look.
        ids = torch.full((len(rows), longest), self._begin or 0, device=self._device)
        for row, (tokens, _) in zip(ids, rows, strict=True):
            row[: len(tokens)] = torch.tensor(tokens, device=self._device)
        try:
            with torch.inference_mode():
                logits = self._model(input_ids=ids, use_cache=False).logits
                for row, (tokens, before) in enumerate(rows):
                    told = logits[row, before - 1 : len(tokens) - 1]
                    found = token_logprobs(told, ids[row, before : len(tokens)])
                    yield found.double().cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise EngineError(
                f"the device ran out of memory: {str(error).splitlines()[0]}", "--device cpu"
            ) from None
