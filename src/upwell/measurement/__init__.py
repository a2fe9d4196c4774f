"""Measuring: sample responses, grade them, summarise; one run directory holds it all.

run = measure(MeasureSettings(problems="gsm8k", limit=100, samples=64, out="runs/gsm8k"))
"""

from upwell.measurement.grading import grade
from upwell.measurement.settings import GradeSettings, MeasureSettings, SampleSettings
from upwell.measurement.stages import measure, sample
from upwell.measurement.watch import Silent, Watch

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
