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

from upwell.errors import UsageError

IMPLEMENTATION = "upwell_shared_prefix"
_SPAN = 32
"""Pool rows and slots are laid out in multiples of this many tokens."""


class Prefix:
    """A prompt in the pool."""

    def __init__(self, row: int, length: int, logits: Tensor) -> None:
        self.row = row
        self.length = length
        """Tokens of the prompt."""
        self.logits = logits
        """[1, vocabulary]: what follows the prompt; the first token of every draw comes from here."""
        self.users = 0
        """Slots that attend to it."""


class _Layer:
    """Keys and values of one layer; allocated when the first prompt shows the shapes."""

    __slots__ = ("keys", "kv_heads", "pool_keys", "pool_values", "values")

    def __init__(self, key: Tensor, value: Tensor, tokens: int) -> None:
        self.kv_heads = key.shape[1]
        self.keys = key.new_zeros(tokens * self.kv_heads, key.shape[-1])
        self.values = value.new_zeros(tokens * self.kv_heads, value.shape[-1])
        self.pool_keys = key.new_zeros(0, self.kv_heads, 0, key.shape[-1])
        self.pool_values = value.new_zeros(0, self.kv_heads, 0, value.shape[-1])

    def spread(self, buffer: Tensor, n: int, span: int) -> Tensor:
        """[n * kv_heads, span, d] of the first n slots, as they lie for draws of up to `span` tokens."""
        return buffer[: n * self.kv_heads * span].view(n * self.kv_heads, span, buffer.shape[-1])


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
        self._layers: dict[int, _Layer] = {}
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
        self._phase: _Prefill | _Step | None = None
        self._layout: tuple[int, _Layout] | None = None

    # Prompts

    @torch.inference_mode()
    def prefill(self, ids: list[int]) -> Prefix:
        """Run a prompt once and keep its keys and values in the pool until `release`."""
        row = self._take_row(len(ids))
        self._phase = _Prefill(row)
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
                layer.pool_keys = _grown(layer.pool_keys, rows, longest)
                layer.pool_values = _grown(layer.pool_values, rows, longest)
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
            self._layout = (n, _Layout(prefixes, self.device))
        layout = self._layout[1]
        self._used = n
        self._lay_out(max(self._lengths[:n]) + 1)
        lengths = torch.tensor(self._lengths[:n], device=self.device)
        self._phase = _Step(layout, lengths, self._span)
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
            layer = self._layers[index] = _Layer(key, value, self.slots * self.max_new)
            layer.pool_keys = _grown(layer.pool_keys, self._rows, self._pool_length)
            layer.pool_values = _grown(layer.pool_values, self._rows, self._pool_length)
            self.windows.add(window)
        layer = self._layers[index]
        if isinstance(self._phase, _Prefill):
            layer.pool_keys[self._phase.row, :, : key.shape[2]] = key[0]
            layer.pool_values[self._phase.row, :, : value.shape[2]] = value[0]
            return _causal(query, key, value, scale, softcap, window)
        assert self._phase is not None
        return self._phase.attend(layer, query, key, value, scale, softcap, window)


class _Prefill:
    def __init__(self, row: int) -> None:
        self.row = row


class _Layout:
    """Which slot attends to which pool row, as indices that gather slots by prompt and back.

    Slots of a prompt are laid side by side so that its keys are read once for all of them: `[rows, width]`,
    short rows padded with slot 0.
    """

    def __init__(self, prefixes: list[Prefix], device: torch.device) -> None:
        rows: dict[int, list[int]] = {}
        for slot, prefix in enumerate(prefixes):
            rows.setdefault(prefix.row, []).append(slot)
        self.rows = max(rows) + 1
        """Pool rows from 0 that are read."""
        self.width = max(map(len, rows.values()))
        gather = [[0] * self.width for _ in range(self.rows)]
        back = [0] * len(prefixes)
        for row, slots in rows.items():
            for place, slot in enumerate(slots):
                gather[row][place] = slot
                back[slot] = row * self.width + place
        self.straight = self.rows == 1
        """All slots share one prompt and lie in order: nothing to gather."""
        self.gather = torch.tensor(gather, device=device).flatten()
        self.back = torch.tensor(back, device=device)
        lengths = [prefix.length for prefix in prefixes]
        self.longest = max(lengths)
        self.prompt_lengths = torch.tensor(lengths, device=device)

    def by_prompt(self, x: Tensor) -> Tensor:
        """[n, kv, g, d] of slots to [rows * kv, width * g, d] of prompts."""
        n, kv, g, d = x.shape
        if self.straight:
            return x.transpose(0, 1).reshape(kv, n * g, d)
        x = x.index_select(0, self.gather).view(self.rows, self.width, kv, g, d)
        return x.transpose(1, 2).reshape(self.rows * kv, self.width * g, d)

    def by_slot(self, x: Tensor, kv: int, g: int) -> Tensor:
        """[rows * kv, width * g, d] of prompts to [n, kv, g, d] of slots."""
        d = x.shape[-1]
        if self.straight:
            return x.view(kv, -1, g, d).transpose(0, 1)
        x = x.view(self.rows, kv, self.width, g, d).transpose(1, 2)
        return x.reshape(self.rows * self.width, kv, g, d).index_select(0, self.back)


class _Step:
    """One decoding step of n slots; masks are made once and shared by all layers."""

    def __init__(self, layout: _Layout, lengths: Tensor, span: int) -> None:
        self.layout = layout
        self.lengths = lengths
        """[n] tokens already in each slot; the one being fed goes behind them."""
        self.span = span
        self._places: dict[int, Tensor] = {}
        self._masks: dict[int | None, Tensor | None] = {}

    def attend(
        self,
        layer: _Layer,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float,
        softcap: float | None,
        window: int | None,
    ) -> Tensor:
        n, heads, _, dim = query.shape
        kv = key.shape[1]
        group = heads // kv
        layout, prompt, new = self.layout, self.layout.longest, self.span
        places = self._newest(kv)
        layer.keys.index_copy_(0, places, key.reshape(n * kv, -1))
        layer.values.index_copy_(0, places, value.reshape(n * kv, -1))
        query = query.view(n, kv, group, dim) * scale
        shared_keys = layer.pool_keys[: layout.rows, :, :prompt].reshape(layout.rows * kv, prompt, dim)
        shared = torch.bmm(layout.by_prompt(query), shared_keys.transpose(1, 2))
        own = torch.bmm(query.view(n * kv, group, dim), layer.spread(layer.keys, n, new).transpose(1, 2))
        scores = torch.cat((layout.by_slot(shared, kv, group), own.view(n, kv, group, new)), -1).float()
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        mask = self._mask(window)
        if mask is not None:
            scores += mask
        weights = torch.softmax(scores, -1).to(value.dtype)
        shared_values = layer.pool_values[: layout.rows, :, :prompt].reshape(layout.rows * kv, prompt, -1)
        out = torch.bmm(weights[..., prompt:].reshape(n * kv, group, new), layer.spread(layer.values, n, new))
        from_prompt = torch.bmm(layout.by_prompt(weights[..., :prompt]), shared_values)
        out = out.view(n, kv, group, -1) + layout.by_slot(from_prompt, kv, group)
        return out.reshape(n, 1, heads, -1)

    def _newest(self, kv: int) -> Tensor:
        """[n * kv] where in a layer's flat buffer each slot's newest key belongs."""
        if kv not in self._places:
            heads = torch.arange(len(self.lengths) * kv, device=self.lengths.device)
            self._places[kv] = heads * self.span + self.lengths.repeat_interleave(kv)
        return self._places[kv]

    def _mask(self, window: int | None) -> Tensor | None:
        """[n, 1, 1, prompt + new]: 0 where a slot may look, -inf elsewhere."""
        if window is not None and window >= self.layout.longest + self.span:
            window = None
        if window not in self._masks:
            lengths, prompts = self.lengths[:, None], self.layout.prompt_lengths[:, None]
            at = torch.arange(self.layout.longest, device=lengths.device)[None]
            new = torch.arange(self.span, device=lengths.device)[None]
            hidden = torch.cat((at >= prompts, new > lengths), -1)
            if window is not None:
                positions = torch.cat((at.expand(len(lengths), -1), prompts + new), -1)
                hidden |= positions <= prompts + lengths - window
            mask = torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, float("-inf"))
            self._masks[window] = mask[:, None, None] if bool(hidden.any()) else None
        return self._masks[window]


def _grown(pool: Tensor, rows: int, length: int) -> Tensor:
    """The pool with another number of rows and tokens a row; what still has a place keeps it."""
    grown = pool.new_zeros(rows, pool.shape[1], length, pool.shape[3])
    kept = pool[:rows, :, :length]
    grown[: kept.shape[0], :, : kept.shape[2]] = kept
    return grown


def _causal(
    query: Tensor, key: Tensor, value: Tensor, scale: float, softcap: float | None, window: int | None
) -> Tensor:
    """Plain causal attention over one prompt: [1, heads, t, d] to [1, t, heads, d]."""
    t = query.shape[2]
    if softcap is None and (window is None or window >= t):
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=t > 1, scale=scale, enable_gqa=key.shape[1] != query.shape[1]
        )
        return out.transpose(1, 2).contiguous()
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scores = (query @ key.transpose(2, 3)).float() * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    at = torch.arange(t, device=query.device)
    hidden = at[None, :] > at[:, None]
    if window is not None:
        hidden |= at[None, :] <= at[:, None] - window
    weights = torch.softmax(scores.masked_fill(hidden, float("-inf")), -1).to(value.dtype)
    return (weights @ value).transpose(1, 2).contiguous()


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
