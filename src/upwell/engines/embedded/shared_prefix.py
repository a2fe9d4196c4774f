"""A causal language model whose prompts are prefilled once and whose draws share them.

`transformers` runs everything but the attention. Attention is routed to `_attend` here, which keeps
keys and values in two kinds of buffer, both preallocated:

* the pool: one row per live prompt, `[rows * kv_heads, prompt_length, head_dim]` a layer;
* the slots: one per draw, holding only what was generated: room for `[slots * kv_heads, max_new, head_dim]`
  a layer, laid out for the longest draw of the moment (the matrix multiplications copy an operand that
  is not contiguous, at every step; a new layout copies once in `_SPAN` steps).

A step attends from each slot's newest token to its prompt's pool row and to its own slot. Slots in
use are always 0..n-1, so a batch shrinks as draws run out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from upwell.engines.embedded.attention import Layer, Layout, Prefix, Step, causal, grown
from upwell.errors import UsageError

IMPLEMENTATION = "upwell_shared_prefix"
_SPAN = 32
"""Pool rows and slots are laid out in multiples of this many tokens."""


class Prefill:
    """The phase in which a prompt runs into its pool row."""

    def __init__(self, row: int) -> None:
        self.row = row


class SharedPrefixModel:
    """Prefill prompts, place draws on them, step all draws at once.

    Args:
        model: a `transformers` causal LM in evaluation mode, loaded with attention implementation
            `IMPLEMENTATION` (see `route`).
        slots: most draws at once.
        max_new: most tokens one draw may get.
    """

    def __init__(self, model: Any, *, slots: int, max_new: int) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.slots = slots
        self.max_new = max_new
        self._layers: dict[int, Layer] = {}
        self.pool_budget: int | None = None
        """Bytes that prompts may take; None: no bound."""
        self.windows: set[int | None] = set()
        """The sliding windows that layers have asked for; None where a layer has none."""
        self._free_rows: list[int] = []
        self._rows = 0
        self._pool_length = 0
        self._slot_prefix: list[Prefix | None] = [None] * slots
        self._lengths: list[int] = [0] * slots
        self._used = 0
        """Slots from 0 that may hold something."""
        self._span = 0
        self._phase: Prefill | Step | None = None
        self._layout: tuple[int, Layout] | None = None

    # Prompts

    @torch.inference_mode()
    def prefill(self, ids: list[int]) -> Prefix:
        """Run a prompt once and keep its keys and values in the pool until `release`."""
        row = self._take_row(len(ids))
        self._phase = Prefill(row)
        logits = self._forward(torch.tensor([ids]), torch.arange(len(ids))[None], logits_to_keep=1)
        return Prefix(row, len(ids), logits)

    def fits(self, length: int) -> bool:
        """Whether one more prompt of this many tokens stays within `pool_budget`."""
        rows, longest = self._grown_to(length)
        return self._affordable(rows, longest)

    def token_bytes(self) -> int:
        """Bytes of keys and values of one token, all layers together; 0 before the first prefill."""
        return sum(
            layer.kv_heads * (layer.keys.shape[-1] + layer.values.shape[-1]) * layer.keys.itemsize
            for layer in self._layers.values()
        )

    def reset(self) -> None:
        """Forget all draws and all prompts."""
        self._free_rows = sorted(range(self._rows), reverse=True)
        self._slot_prefix = [None] * self.slots
        self._used = 0
        self._layout = None

    def release(self, prefix: Prefix) -> None:
        """Give a prompt's pool row back; no slot may use it."""
        assert prefix.users == 0
        self._free_rows.append(prefix.row)
        self._free_rows.sort(reverse=True)

    def _grown_to(self, length: int) -> tuple[int, int]:
        """Rows and tokens a row that the pool must have to take one more prompt."""
        wanted = -(-length // _SPAN) * _SPAN
        if len(self._free_rows) == self._rows:  # nothing in use: what it once had to hold need not be kept
            return 1, wanted
        longest = max(self._pool_length, wanted)
        if self._free_rows:
            return self._rows, longest
        ample = self._rows + max(1, self._rows // 2)
        return (ample if self._affordable(ample, longest) else self._rows + 1), longest

    def _affordable(self, rows: int, longest: int) -> bool:
        return self.pool_budget is None or rows * longest * self.token_bytes() <= self.pool_budget

    def _take_row(self, length: int) -> int:
        rows, longest = self._grown_to(length)
        if (rows, longest) != (self._rows, self._pool_length):
            free = [row for row in self._free_rows if row < rows]
            self._free_rows = sorted([*free, *range(self._rows, rows)], reverse=True)
            self._rows, self._pool_length = rows, longest
            for layer in self._layers.values():
                layer.pool_keys = grown(layer.pool_keys, rows, longest)
                layer.pool_values = grown(layer.pool_values, rows, longest)
        return self._free_rows.pop()

    # Draws

    def place(self, slot: int, prefix: Prefix) -> None:
        """Start a draw in an unused slot."""
        self._slot_prefix[slot] = prefix
        self._lengths[slot] = 0
        self._used = max(self._used, slot + 1)
        prefix.users += 1
        self._layout = None

    def vacate(self, slot: int) -> Prefix:
        """End the draw in a slot. Returns its prompt."""
        prefix = self._slot_prefix[slot]
        assert prefix is not None
        self._slot_prefix[slot] = None
        prefix.users -= 1
        self._layout = None
        return prefix

    @torch.inference_mode()
    def move(self, source: int, target: int) -> None:
        """Move a draw to an unused slot."""
        length = self._lengths[source]
        for layer in self._layers.values():
            for buffer in (layer.keys, layer.values):
                by_slot = layer.spread(buffer, self._used, self._span).unflatten(0, (self._used, -1))
                by_slot[target, :, :length] = by_slot[source, :, :length]
        self._slot_prefix[target], self._slot_prefix[source] = self._slot_prefix[source], None
        self._lengths[target] = length
        self._layout = None

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """Feed the newest token of the draws in slots 0..n-1 and return what follows.

        Args:
            tokens: [n] int64.

        Returns:
            [n, vocabulary] logits in the model's dtype.
        """
        n = len(tokens)
        if self._layout is None or self._layout[0] != n:
            prefixes = [p for p in self._slot_prefix[:n] if p is not None]
            assert len(prefixes) == n, "slots in use must be 0..n-1"
            self._layout = (n, Layout(prefixes, self.device))
        layout = self._layout[1]
        self._used = n
        self._lay_out(max(self._lengths[:n]) + 1)
        lengths = torch.tensor(self._lengths[:n], device=self.device)
        self._phase = Step(layout, lengths, self._span)
        logits = self._forward(tokens[:, None], (layout.prompt_lengths + lengths)[:, None], logits_to_keep=0)
        for slot in range(n):
            self._lengths[slot] += 1
        return logits

    def _lay_out(self, longest: int) -> None:
        """Lay the slots out for draws of `longest` tokens, with some room so that it is seldom done."""
        span = min(-(-longest // _SPAN) * _SPAN, self.max_new)
        if span == self._span or self._span - 2 * _SPAN < span < self._span:
            return
        kept = min(span, self._span)
        for layer in self._layers.values():
            for buffer in (layer.keys, layer.values):
                old = layer.spread(buffer, self._used, self._span)[:, :kept].clone()
                layer.spread(buffer, self._used, span)[:, :kept] = old
        self._span = span

    def _forward(self, ids: Tensor, positions: Tensor, logits_to_keep: int) -> Tensor:
        out = self.model(
            input_ids=ids.to(self.device),
            position_ids=positions.to(self.device),
            use_cache=False,
            logits_to_keep=logits_to_keep,
            upwell_state=self,
        )
        logits: Tensor = out.logits[:, -1]
        return logits

    # Attention, called once a layer by transformers

    def attend(
        self,
        index: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float,
        softcap: float | None,
        window: int | None,
    ) -> Tensor:
        if index not in self._layers:
            layer = self._layers[index] = Layer(key, value, self.slots * self.max_new)
            layer.pool_keys = grown(layer.pool_keys, self._rows, self._pool_length)
            layer.pool_values = grown(layer.pool_values, self._rows, self._pool_length)
            self.windows.add(window)
        layer = self._layers[index]
        if isinstance(self._phase, Prefill):
            layer.pool_keys[self._phase.row, :, : key.shape[2]] = key[0]
            layer.pool_values[self._phase.row, :, : value.shape[2]] = value[0]
            return causal(query, key, value, scale, softcap, window)
        assert self._phase is not None
        return self._phase.attend(layer, query, key, value, scale, softcap, window)


def _attention(  # noqa: PLR0913  the signature is transformers'
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    upwell_state: SharedPrefixModel | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in place of its own attention."""
    if upwell_state is None:
        raise UsageError(
            f"the model class `{type(module).__name__}` does not hand its keyword arguments to its attention, "
            "so the embedded engine cannot share prompts in it",
            "serve it with vLLM or SGLang instead",
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = upwell_state.attend(module.layer_idx, query, key, value, scale, softcap, sliding_window)
    return out, None


def route() -> str:
    """Make the attention known to transformers; returns the name to load models with."""
    from transformers import AttentionInterface

    AttentionInterface.register(IMPLEMENTATION, _attention)
    return IMPLEMENTATION
