"""What finished runs say together: scaling, steps, errors, leakage, selection, compute."""

from upwell.analysis.settings import KINDS, AnalyzeSettings
from upwell.analysis.stage import analyze

__all__ = ["KINDS", "AnalyzeSettings", "analyze"]
