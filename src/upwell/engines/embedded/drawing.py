"""Drawing tokens: a token is a function of the logits, the draw's seed and the position, and of nothing else.

The inverse of the cumulative distribution is used, one uniform number a token. The usual Gumbel trick
needs one exponential draw per vocabulary entry and step; on a CPU that alone took more than a third of
the sampler's time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from upwell.engines.base import Sampling

_BLOCK = 256
"""Vocabulary entries per block of the two-level search: the cumulative sum is taken over blocks, then inside one."""
_SHORTLIST = 1024
"""Nucleus (top-p) sets are looked for among this many most likely tokens before a whole row is sorted."""


def uniforms(seeds: Sequence[int], positions: Sequence[int]) -> np.ndarray:
    """Uniform numbers in [0, 1), one per (seed, position): output `position` of SplitMix64 started at `seed`.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    with np.errstate(over="ignore"):
        x = np.asarray(seeds, dtype=np.uint64)
        x = x + (np.asarray(positions, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(11)).astype(np.float64) * 2.0**-53


class Rows:
    """The sampling settings of a batch of draws as columns, one row a draw."""

    def __init__(self, settings: Sequence[Sampling], device: torch.device) -> None:
        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)[:, None]

        temperature = [s.temperature for s in settings]
        self.greedy = torch.tensor([t == 0 for t in temperature], device=device)
        self.any_greedy = any(t == 0 for t in temperature)
        self.all_greedy = all(t == 0 for t in temperature)
        self.same_temperature = temperature[0] if len(set(temperature)) == 1 else None
        self.temperature = column([t or 1.0 for t in temperature])
        self.top_k = column([float(s.top_k or 1 << 30) for s in settings])
        self.max_top_k = max((s.top_k for s in settings), default=0)
        self.top_p = column([s.top_p for s in settings])
        self.any_top_p = any(s.top_p < 1 for s in settings)
        self.min_p = column([s.min_p for s in settings])
        self.any_min_p = any(s.min_p > 0 for s in settings)


def draw(logits: Tensor, rows: Rows, uniform: np.ndarray) -> Tensor:
    """Draw one token a row.

    Args:
        logits: [n, vocabulary], any float dtype.
        rows: sampling settings of the n rows.
        uniform: [n] in [0, 1).

    Returns:
        [n] int64 token ids.
    """
    if rows.all_greedy:
        return logits.argmax(-1)
    # A copy in float32, scaled in place: the logits may be read again for log-probabilities.
    scaled = logits.to(torch.float32, copy=True)
    scaled = scaled.div_(rows.same_temperature or rows.temperature)
    p = torch.softmax(scaled, -1)
    p = _filtered(p, rows)
    tokens = _inverse_cdf(p, torch.from_numpy(uniform).to(p.device))
    if rows.any_greedy:
        tokens = torch.where(rows.greedy, logits.argmax(-1), tokens)
    return tokens


def token_logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    """[n] log-probabilities at temperature 1 of the tokens drawn."""
    chosen = logits.gather(-1, tokens[:, None])[:, 0].float()
    return chosen - torch.logsumexp(logits.float(), -1)


def _filtered(p: Tensor, rows: Rows) -> Tensor:
    """Zero what top-k, then top-p, then min-p drop; the rest is not renormalised. Ties at an edge are kept."""
    if rows.max_top_k:
        k = min(rows.max_top_k, p.shape[-1])
        best = p.topk(k, -1).values
        edge = best.gather(-1, (rows.top_k.clamp(max=k) - 1).long())
        edge = torch.where(rows.top_k > p.shape[-1], torch.zeros_like(edge), edge)
        p = p.masked_fill(p < edge, 0)
    if rows.any_top_p:
        p = p.masked_fill(p < _nucleus_edge(p, rows.top_p), 0)
    if rows.any_min_p:
        p = p.masked_fill(p < rows.min_p * p.amax(-1, keepdim=True), 0)
    return p


def _nucleus_edge(p: Tensor, top_p: Tensor) -> Tensor:
    """[n, 1] the smallest probability in each row's nucleus."""
    wanted = top_p * p.sum(-1, keepdim=True)
    best = p.topk(min(_SHORTLIST, p.shape[-1]), -1).values
    if bool(
        (best.sum(-1, keepdim=True) < wanted).any()
    ):  # a flat row: its nucleus is wider than the short list
        best = p.sort(-1, descending=True).values
    # A token belongs if those before it do not reach the mass yet, so the first always belongs.
    before = best.cumsum(-1) - best
    last = ((before < wanted).sum(-1, keepdim=True) - 1).clamp(min=0)
    edge = best.gather(-1, last)
    return torch.where(top_p >= 1, torch.zeros_like(edge), edge)


def _inverse_cdf(p: Tensor, uniform: Tensor) -> Tensor:
    """[n] the first index whose cumulative probability passes uniform times the row's sum."""
    n, size = p.shape
    if size % _BLOCK:
        p = torch.nn.functional.pad(p, (0, _BLOCK - size % _BLOCK))
    blocks = p.view(n, -1, _BLOCK)
    ends = blocks.sum(-1).double().cumsum(-1)
    target = uniform[:, None] * ends[:, -1:]
    which = torch.searchsorted(ends, target, right=True).clamp(max=ends.shape[-1] - 1)
    start = torch.where(which > 0, ends.gather(-1, (which - 1).clamp(min=0)), torch.zeros_like(target))
    inside = blocks.gather(1, which[:, :, None].expand(-1, -1, _BLOCK))[:, 0]
    sums = inside.double().cumsum(-1)
    offset = torch.searchsorted(sums, target - start, right=True)
    # Rounding may carry the target past the last token that has any probability: then that one it is.
    last = _BLOCK - 1 - (inside > 0).flip(-1).int().argmax(-1, keepdim=True)
    return (which * _BLOCK + torch.minimum(offset, last))[:, 0]
