"""The arithmetic and the memory of a training run, from the shape of its model. Formulas: docs/training.md."""

from __future__ import annotations

import math
from dataclasses import dataclass

from upwell.training.corpora import Corpus
from upwell.training.recipes import Recipe
from upwell.training.shapes import Shape

FILL = 0.99
"""Share of packed rows that is tokens, with best fit of whole examples of a tenth of a row and less."""
_HALF, _FULL = 2, 4
"""Bytes of bfloat16 and float32."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What there is to compute, on whatever machine."""

    tokens_per_epoch: int
    """Real tokens, prompts and all."""
    rows_per_epoch: int
    """Rows as the model sees them: packed, or one per example."""
    steps_per_epoch: int
    steps: int
    warmup_steps: int
    tokens_per_step: int
    """Positions of one optimizer step, padding included."""
    model_flops: float
    """Forward and backward over all epochs, nothing twice. What MFU counts."""
    hardware_flops: float
    """The same and what checkpointing recomputes."""


def work_of(recipe: Recipe, shape: Shape, corpus: Corpus, *, padded: bool = False) -> Work:
    """Tokens, steps and FLOPs.

    Args:
        padded: every example fills a row of its own up to the maximum length, as without packing.
    """
    each = min(corpus.tokens(recipe.prompt.value), recipe.max_length.value)
    length, batch, epochs = recipe.max_length.value, recipe.batch_size.value, recipe.epochs.value
    tokens = round(corpus.rows * each)
    packed = recipe.packing.value and not padded
    rows = math.ceil(tokens / (length * FILL)) if packed else corpus.rows
    steps = math.ceil(rows / batch)
    computed, piece = (rows * length, length) if padded else (tokens, each)
    model, recomputed = _flops_per_token(recipe, shape, piece)
    return Work(
        tokens_per_epoch=tokens,
        rows_per_epoch=rows,
        steps_per_epoch=steps,
        steps=steps * epochs,
        warmup_steps=math.ceil(steps * epochs * recipe.warmup_ratio.value),
        tokens_per_step=batch * (length if packed or padded else round(each)),
        model_flops=model * computed * epochs,
        hardware_flops=(model + recomputed) * computed * epochs,
    )


def _flops_per_token(recipe: Recipe, shape: Shape, piece: float) -> tuple[float, float]:
    """FLOPs of forward and backward, and of recomputing, per token of a piece of this length.

    A token is multiplied with N parameters: 2N forward, 4N backward; half of the backward is weight gradients, which
    frozen weights have none of. Attention to the tokens before it, half a piece on average: 2 x length x width per
    layer forward, twice that backward. Recomputation repeats the layers' forward, not the logits'.
    """
    attention = 2 * shape.layers * piece * shape.query_width
    if recipe.method.value == "lora":
        model = 4 * shape.multiplied + 6 * shape.lora_parameters(recipe.lora_rank.value) + 3 * attention
    else:
        model = 6 * shape.multiplied + 3 * attention
    recomputed = 2 * (shape.multiplied - shape.vocab * shape.hidden) + attention
    return model, recomputed if recipe.checkpointing.value else 0.0


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes at the peak on one device."""

    weights: float
    """Master weights in float32; frozen ones as they are computed with."""
    gradients: float
    optimizer: float
    """Adam's two moments in float32."""
    gathered: float
    """Copies that layers compute with: of all weights in bfloat16, or where states are sharded of two layers and the
    embeddings."""
    activations: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.gathered + self.activations


def memory_of(
    recipe: Recipe, shape: Shape, *, devices: int, rows: int, sharding: str, method: str, half: bool = True
) -> Memory:
    """Memory of one device.

    Args:
        devices: that the states are spread over where they are sharded.
        rows: of the maximum length that a device works on at once.
        sharding: `none`, `fsdp2` or `zero3`; the latter two are the same here.
        method: `full` or `lora`.
        half: whether the arithmetic is in bfloat16, not float32.
    """
    shards = 1 if sharding == "none" else devices
    size = _HALF if half else _FULL
    layer, rest = shape.layer_parameters, shape.parameters - shape.layers * shape.layer_parameters
    if method == "lora":
        trained = shape.lora_parameters(recipe.lora_rank.value)
        weights = (size * shape.parameters + _FULL * trained) / shards
    else:
        trained = shape.parameters
        weights = _FULL * trained / shards
    copied = trained if half and method == "full" else 0
    gathered = size * (rest + 2 * layer if shards > 1 else copied)
    return Memory(
        weights=weights,
        gradients=_FULL * trained / shards,
        optimizer=2 * _FULL * trained / shards,
        gathered=float(gathered),
        activations=_activations(recipe, shape, rows * recipe.max_length.value, half=half),
    )


def _activations(recipe: Recipe, shape: Shape, tokens: int, *, half: bool) -> float:
    """Kept for the backward pass, and the larger of the logits and one layer at work with its gradients; attention
    keeps no scores (flash attention, or a mask applied on the way)."""
    width, size = shape.hidden, _HALF if half else _FULL
    within = 5 * width + 2 * (shape.query_width + 2 * shape.kv_width) + 4 * shape.intermediate
    layer = size * within + 2 * _FULL * width  # norms are computed in float32
    kept = size * width if recipe.checkpointing.value else layer
    logits = (_HALF if half else 0) + 3 * _FULL  # as computed, in float32, their log-softmax, their gradient
    return float(tokens * (shape.layers * kept + max(logits * shape.vocab, 2 * layer)))
