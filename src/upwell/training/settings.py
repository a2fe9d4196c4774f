"""The settings of `train`: flags, help and Python all come from here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from upwell.errors import UsageError, check_ranges

METHODS = ("full", "lora")
SHARDINGS = ("none", "fsdp2", "zero3")
PRECISIONS = ("auto", "float32", "bfloat16")
ROWS = ("packed", "longest", "full")
SAME = ("epochs", "steps")

PLANNED_ONLY = ("data", "examples", "tokens_per_example", "hardware", "mfu", "price")
"""Settings that only a plan reads."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What is trained, how, and on what machines."""

    recipe: str
    """Recipe by name: it holds every value of the training, each with its source (docs/training.md)."""
    plan: bool = False
    """Print the recipe and what it takes: tokens, steps, memory, hours, dollars. Reads and writes no model."""
    base: str | None = None
    """Base model instead of the recipe's: smollm2-135m-instruct, a folder, or a hub name."""
    out: str | None = None
    """Run directory of the training. A plan writes nothing."""
    data: str | None = None
    """Plan on this data recipe instead of the recipe's own: the papers' sets by name (docs/training.md)."""
    examples: int | None = None
    """Plan on this many examples."""
    tokens_per_example: float | None = None
    """Mean tokens of one example, prompt and all, in a plan; by default the data recipe's."""
    hardware: tuple[str, ...] = ()
    """Plan for NUMBERxDEVICE (8xH100, 32xA100, 1xH200) or here, this machine; by default for 8xH100, what the recipe
    names, and here. Repeatable."""
    mfu: float | None = None
    """Share of the peak FLOP/s that the model's own arithmetic is planned to reach; 0.40 by default."""
    price: float | None = None
    """Dollars per device-hour of a plan; by default H100 3.00, H200 4.00, A100 2.00."""
    method: str | None = None
    """full or lora, instead of the recipe's."""
    prompt: str | None = None
    """Prompt template instead of the recipe's. It has to be the one that the examples were made with."""
    epochs: int | None = None
    """Instead of the recipe's."""
    learning_rate: float | None = None
    """Instead of the recipe's."""
    batch_size: int | None = None
    """Rows of one optimizer step over all devices, instead of the recipe's."""
    max_length: int | None = None
    """Tokens of a row, instead of the recipe's."""
    rows: str | None = None
    """packed: whole examples share rows of the maximum length, none seeing another; longest: one example a row, padded
    to the longest of its batch; full: padded to the maximum length. By default what the recipe says of packing."""
    precision: str | None = None
    """auto, bfloat16 or float32, instead of the recipe's."""
    attention: str | None = None
    """Attention of transformers (sdpa, eager, flash_attention_2, flex_attention), instead of the recipe's."""
    sharding: str | None = None
    """none, fsdp2 or zero3: how states are spread over several devices, instead of the recipe's."""
    seed: int | None = None
    """Of the order of the rows and of adapters, instead of the recipe's."""
    max_steps: int | None = None
    """End after this many optimizer steps; the schedule of the learning rate spans them."""
    devices: int | None = None
    """Processes, one a device; by default every GPU of this machine, or one process on a CPU."""
    rows_per_device: int | None = None
    """Rows that a device works on at once; by default as many as the planner says fit. Gradients of several passes
    are added up to the batch size."""
    ray: str | None = None
    """Train on a Ray cluster: its address, or local. Needs --devices."""
    max_truncated: float = 0.005
    """Share of the examples that may be longer than a row. They are left out, each a row in rejects; more are
    refused."""
    save_every: int | None = None
    """Optimizer steps between checkpoints; by default about ten minutes of them."""
    preflight: str = "full"
    """full; or no-overfit, which leaves out the few steps on one batch that must lower its loss."""
    report_to: tuple[str, ...] = ()
    """Trackers besides the run's own loss table, as transformers names them, such as trackio or wandb. Repeatable."""
    ladder: bool = False
    """Train every rung of the examples' ladder by one rule, measure each, and leave one table."""
    same: str = "epochs"
    """What rungs have in common: epochs, or steps (as many as the largest rung's epochs take)."""
    seeds: tuple[int, ...] = ()
    """Seeds that every rung is trained with. Repeatable; by default the recipe's one."""
    problems: str | None = None
    """Problem set that rungs are measured on; none where it is left out."""
    limit: int | None = None
    """Problems that rungs are measured on; by default all."""
    samples: int = 16
    """Responses per problem when rungs are measured."""
    max_tokens: int = 512
    """Tokens of a response when rungs are measured."""
    temperature: float = 0.7
    """Sampling temperature when rungs are measured."""

    def __post_init__(self) -> None:
        check_ranges(
            ("examples", self.examples, _none_or(self.examples, 1), "1 or more"),
            ("tokens-per-example", self.tokens_per_example, _none_or(self.tokens_per_example, 2), "2 or more"),
            ("mfu", self.mfu, self.mfu is None or 0 < self.mfu <= 1, "above 0, at most 1"),
            ("price", self.price, _none_or(self.price, 0), "0 or more"),
            ("epochs", self.epochs, _none_or(self.epochs, 1), "1 or more"),
            (
                "learning-rate", self.learning_rate, self.learning_rate is None or 0 < self.learning_rate <= 1,
                "above 0, at most 1",
            ),
            ("batch-size", self.batch_size, _none_or(self.batch_size, 1), "1 or more"),
            ("max-length", self.max_length, _none_or(self.max_length, 16), "16 or more"),
            ("max-steps", self.max_steps, _none_or(self.max_steps, 1), "1 or more"),
            ("devices", self.devices, _none_or(self.devices, 1), "1 or more"),
            ("rows-per-device", self.rows_per_device, _none_or(self.rows_per_device, 1), "1 or more"),
            ("max-truncated", self.max_truncated, 0 <= self.max_truncated <= 1, "from 0 to 1"),
            ("save-every", self.save_every, _none_or(self.save_every, 1), "1 or more"),
            ("limit", self.limit, _none_or(self.limit, 1), "1 or more"),
            ("samples", self.samples, self.samples >= 1, "1 or more"),
            ("max-tokens", self.max_tokens, self.max_tokens >= 1, "1 or more"),
            ("temperature", self.temperature, 0 <= self.temperature < math.inf, "0 (greedy) or more"),
        )  # fmt: skip
        _one_of("method", self.method, METHODS)
        _one_of("rows", self.rows, ROWS)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("sharding", self.sharding, SHARDINGS)
        _one_of("preflight", self.preflight, ("full", "no-overfit"))
        _one_of("same", self.same, SAME)
        if self.ray is not None and self.devices is None:
            raise UsageError("--ray does not say how many devices", "--ray local --devices 2")
        if self.seeds and not self.ladder:
            raise UsageError(
                "--seeds does nothing without --ladder", "--seed N for one training, or add --ladder"
            )


def _none_or(value: float | None, least: float) -> bool:
    return value is None or least <= value < math.inf


def _one_of(flag: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise UsageError(
            f"--{flag} is `{value}`, but has to be one of {', '.join(allowed)}", f"--{flag} {allowed[0]}"
        )
