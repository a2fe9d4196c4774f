"""Measuring: sample responses, grade them, summarise; one run directory holds it all.

run = measure(MeasureSettings(problems="gsm8k", limit=100, samples=64, out="runs/gsm8k"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from upwell.measurement.settings import GradeSettings, MeasureSettings, SampleSettings
from upwell.measurement.watch import Silent, Watch

if TYPE_CHECKING:
    from upwell.measurement.grading import grade
    from upwell.measurement.stages import measure, sample

__all__ = [
    "GradeSettings",
    "MeasureSettings",
    "SampleSettings",
    "Silent",
    "Watch",
    "grade",
    "measure",
    "sample",
]

_STAGES = {"grade": "grading", "measure": "stages", "sample": "stages"}


def __getattr__(name: str) -> Any:
    """The stages, loaded when first asked for: `--help` needs the settings alone, in half the time."""
    if name not in _STAGES:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    return getattr(import_module(f"{__name__}.{_STAGES[name]}"), name)
