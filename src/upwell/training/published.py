"""What the papers say their runs took, beside what the planner says of the same runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from upwell.training.corpora import CORPORA
from upwell.training.cost import work_of
from upwell.training.hardware import find_hardware
from upwell.training.recipes import RECIPES, Sourced
from upwell.training.shapes import SHAPES


@dataclass(frozen=True)
class Published:
    """A run whose length a paper gives."""

    recipes: tuple[str, ...]
    data: str
    hardware: str
    epochs: int
    gpu_hours: float
    said: str


PUBLISHED = (
    Published(
        ("xwin-llama2-70b",), "xwin-gsm8k-960k", "8xH100", 3, 1900.0,
        "Xwin-Math: 1,900 H100 GPU-hours for its costliest run, 70B on 960K examples",
    ),
    Published(
        ("dart-mistral-7b", "dart-llama3-8b", "dart-dsmath-7b"), "dart-hard", "8xA100", 1, 24.0,
        "DART-Math: 3 hours per epoch on 8 A100 for 7-8B models and 585K examples",
    ),
    Published(
        ("dart-llama3-70b",), "dart-hard", "32xA100", 1, 192.0,
        "DART-Math: 6 hours per epoch on 32 A100 for 70B and 585K examples",
    ),
)  # fmt: skip


def compared(recipe: str) -> list[dict[str, Any]]:
    """Published lengths of this recipe's run beside the planner's, packed, and where the paper does not say that it
    packed, also with every example padded to the maximum length; and which MFU each reading implies."""
    found = []
    for run in PUBLISHED:
        if recipe not in run.recipes:
            continue
        hardware = find_hardware(run.hardware)
        plain = RECIPES[recipe]
        timed = replace(plain, epochs=Sourced(run.epochs, "paper", run.said))
        readings = {}
        silent = plain.packing.paper is None
        for reading, padded in (("packed", False), ("padded", True)) if silent else (("packed", False),):
            work = work_of(timed, SHAPES[plain.base.value], CORPORA[run.data], padded=padded)
            planned = work.model_flops / (hardware.peak * hardware.mfu) / 3600
            implied = work.model_flops / (hardware.peak * run.gpu_hours * 3600)
            readings[reading] = {
                "gpu_hours": planned,
                "difference": planned / run.gpu_hours - 1,
                "implied_mfu": implied,
                "implied_with_recomputation": implied * work.hardware_flops / work.model_flops,
            }
        found.append({"said": run.said, "gpu_hours": run.gpu_hours, "assumed_mfu": hardware.mfu, **readings})
    return found
