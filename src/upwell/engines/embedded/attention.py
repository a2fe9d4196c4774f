"""The arithmetic of shared-prefix attention: where keys and values lie, and how a step attends to them."""

from __future__ import annotations

import torch
from torch import Tensor


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


class Layer:
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


class Layout:
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


class Step:
    """One decoding step of n slots; masks are made once and shared by all layers."""

    def __init__(self, layout: Layout, lengths: Tensor, span: int) -> None:
        self.layout = layout
        self.lengths = lengths
        """[n] tokens already in each slot; the one being fed goes behind them."""
        self.span = span
        self._places: dict[int, Tensor] = {}
        self._masks: dict[int | None, Tensor | None] = {}

    def attend(
        self,
        layer: Layer,
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


def causal(
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


def grown(pool: Tensor, rows: int, length: int) -> Tensor:
    """The pool with another number of rows and tokens a row; what still has a place keeps it."""
    grown = pool.new_zeros(rows, pool.shape[1], length, pool.shape[3])
    kept = pool[:rows, :, :length]
    grown[: kept.shape[0], :, : kept.shape[2]] = kept
    return grown
