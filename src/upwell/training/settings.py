"""The settings of `train`: flags, help and Python all come from here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from upwell.errors import UsageError, check_ranges

METHODS = ("full", "lora")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What is trained, how, and on what machines."""

    recipe: str
    """Recipe by name: it holds every value of the training, each with its source (docs/training.md)."""
    plan: bool = False
    """Print the recipe and what it takes: tokens, steps, memory, hours, dollars. Reads and writes no model."""
    base: str | None = None
    """Base model instead of the recipe's: a folder, or a name whose shape ships here."""
    out: str | None = None
    """Run directory of the training. A plan writes nothing."""
    data: str | None = None
    """Plan on this data recipe instead of the recipe's own: the papers' sets by name (docs/training.md)."""
    examples: int | None = None
    """Plan on this many examples."""
    tokens_per_example: float | None = None
    """Mean tokens of one example, prompt and all; by default the data recipe's."""
    method: str | None = None
    """full or lora, instead of the recipe's."""
    hardware: tuple[str, ...] = ()
    """Plan for NUMBERxDEVICE (8xH100, 32xA100, 1xH200) or here, this machine; by default for 8xH100, what the recipe
    names, and here. Repeatable."""
    mfu: float | None = None
    """Share of the peak FLOP/s that the model's own arithmetic reaches; 0.40 by default."""
    price: float | None = None
    """Dollars per device-hour; by default H100 3.00, H200 4.00, A100 2.00."""

    def __post_init__(self) -> None:
        tokens = self.tokens_per_example
        check_ranges(
            ("examples", self.examples, self.examples is None or self.examples >= 1, "1 or more"),
            ("tokens-per-example", tokens, tokens is None or 2 <= tokens < math.inf, "2 or more"),
            ("mfu", self.mfu, self.mfu is None or 0 < self.mfu <= 1, "above 0, at most 1"),
            ("price", self.price, self.price is None or 0 <= self.price < math.inf, "0 or more"),
        )
        if self.method is not None and self.method not in METHODS:
            raise UsageError(f"--method is `{self.method}`, but has to be full or lora", "--method lora")
