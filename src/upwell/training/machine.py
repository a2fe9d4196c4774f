"""The machine that trains: what it is, what fits on it, and how long a run takes there."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from upwell.engines.checkpoints import DEFAULT_MODEL, Checkpoint
from upwell.errors import UsageError
from upwell.measurement.watch import Watch
from upwell.training.corpora import Corpus
from upwell.training.cost import Work, memory_of, work_of
from upwell.training.hardware import HERE, Hardware, find_hardware
from upwell.training.planner import plan_on
from upwell.training.processes import choose_sharding, count_processes
from upwell.training.recipes import Recipe
from upwell.training.rows import Rows
from upwell.training.settings import TrainSettings
from upwell.training.shapes import Shape, shape_of
from upwell.training.trainer import load_base

_BETWEEN = 600.0
"""Seconds between checkpoints, by the planner's estimate."""
_GUESS = 50
"""Optimizer steps between checkpoints where nothing can be estimated."""

_NO_CORPUS: dict[str, Any] = {
    "name": "", "rows": 1, "question": 1.0, "solution": 1.0, "source": "", "tokens_source": "",
}  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """How a batch is spread: rows at once on a device, and passes whose gradients are added up."""

    rows: int
    passes: int

    @classmethod
    def of(cls, recipe: Recipe, devices: int, asked: int | None, fitting: int) -> Batch:
        """The spread of a recipe's batch.

        Args:
            asked: rows at once on a device, where that was said.
            fitting: the most that fit.

        Raises:
            UsageError: the batch does not divide so.
        """
        whole = recipe.batch_size.value
        if whole % devices:
            raise UsageError(
                f"a batch of {whole} rows cannot be spread over {devices} devices",
                f"--batch-size {devices * max(1, round(whole / devices))}",
            )
        share = whole // devices
        if asked is not None and share % asked:
            raise UsageError(
                f"{asked} rows a device do not divide its share of the batch, {share} rows",
                f"--rows-per-device {math.gcd(share, asked)}",
            )
        rows = asked or max(n for n in range(1, min(fitting, share) + 1) if share % n == 0)
        return cls(rows, share // rows)


class Machine:
    """What a recipe runs on: devices, dtype and attention, and the planner's word on memory and time."""

    def __init__(self, recipe: Recipe, base: Checkpoint, settings: TrainSettings, watch: Watch) -> None:
        self._recipe, self._base = recipe, base
        self._padded = settings.rows == "full"
        self.cpu = _on_cpu()
        self.devices = count_processes(settings, 0 if self.cpu else _gpus())
        """Processes."""
        self.sharding = choose_sharding(recipe, settings, self.devices, cpu=self.cpu, say=watch.say)
        self.bfloat16 = _in_bfloat16(recipe.precision.value)
        """Whether the arithmetic is in bfloat16, else in float32."""
        self.attention = _attention(recipe.attention.value, watch)
        self.batch = Batch.of(recipe, self.devices, settings.rows_per_device, self._fitting())

    @cached_property
    def hardware(self) -> Hardware | None:
        """This machine; None where its GPU is not known to the planner."""
        try:
            return find_hardware(HERE)
        except UsageError:
            return None

    @cached_property
    def shape(self) -> Shape | None:
        """The base's shape; None where the planner cannot count it."""
        try:
            return shape_of(DEFAULT_MODEL if self._base.name == DEFAULT_MODEL else str(self._base.folder))
        except UsageError:
            return None

    def _fitting(self) -> int:
        """Rows that the planner says a device can work on at once."""
        if self.hardware is None or self.shape is None:
            return 1
        of = replace(self.hardware, devices=self.devices)
        return plan_on(of, self._recipe, self.shape, Corpus(**_NO_CORPUS)).fit.rows_per_device

    def work(self, facts: Rows, steps: int, per_epoch: int) -> Work | None:
        """The arithmetic of the whole run, with the tokens counted."""
        if self.shape is None:
            return None
        each = facts.tokens / facts.examples
        corpus = Corpus(
            **_NO_CORPUS | {"rows": facts.examples, "question": 0.0, "solution": each - 1, "rendered": True}
        )
        found = work_of(self._recipe, self.shape, corpus, padded=self._padded)
        epochs = steps / per_epoch
        share = epochs / self._recipe.epochs.value
        return replace(
            found, rows_per_epoch=facts.rows, steps_per_epoch=per_epoch, steps=steps,
            warmup_steps=math.ceil(steps * self._recipe.warmup_ratio.value),
            model_flops=found.model_flops * share, hardware_flops=found.hardware_flops * share,
        )  # fmt: skip

    def seconds(self, work: Work | None) -> float | None:
        """Seconds of the whole run, as planned."""
        where = self.hardware
        return (
            None
            if work is None or where is None
            else work.model_flops / (where.peak * where.mfu * self.devices)
        )

    def memory(self) -> float | None:
        if self.shape is None:
            return None
        return memory_of(
            self._recipe, self.shape, devices=self.devices, rows=self.batch.rows, sharding=self.sharding,
            method=self._recipe.method.value, half=self.bfloat16,
        ).total  # fmt: skip

    def load(self, layers: int | None, half: bool, attention: str | None = None) -> Any:
        import torch

        from upwell.engines.embedded.loading import quiet

        with quiet():
            model = load_base(
                str(self._base.folder),
                attention or self.attention,
                torch.bfloat16 if half else torch.float32,
                layers,
            )
        return model if self.cpu else model.to("cuda")

    def probe_layers(self) -> int | None:
        """How many layers of the base the pre-flight can train on one device; None for all of them."""
        if self.shape is None or self.hardware is None:
            return None
        rest = self.shape.parameters - self.shape.layers * self.shape.layer_parameters
        room = self.hardware.memory / 16 - rest  # weights, gradients and two moments in float32
        fitting = int(0.7 * room / self.shape.layer_parameters)
        return None if fitting >= self.shape.layers else max(1, fitting)

    def save_every(self, steps: int, work: Work | None) -> int:
        """Optimizer steps between checkpoints: about ten minutes of them."""
        each = (self.seconds(work) or 0) / steps
        return min(steps, max(1, round(_BETWEEN / each))) if each else _GUESS


def _on_cpu() -> bool:
    import torch

    return not torch.cuda.is_available()


def _gpus() -> int:
    import torch

    return int(torch.cuda.device_count())


def _in_bfloat16(precision: str) -> bool:
    from upwell.engines.embedded.loading import best_dtype

    return precision == "bfloat16" or (precision == "auto" and best_dtype() == "bfloat16")


def _attention(asked: str, watch: Watch) -> str:
    """The attention of the recipe, or PyTorch's own where its package is missing."""
    if asked == "flash_attention_2" and (importlib.util.find_spec("flash_attn") is None or _on_cpu()):
        watch.say(
            "flash_attention_2 is not to be had here: taking sdpa, which keeps packed examples apart by a mask"
        )
        return "sdpa"
    return asked
