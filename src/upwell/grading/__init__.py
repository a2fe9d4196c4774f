"""Grading: where in a response its answer stands, and whether it equals the reference.

The policy (what is equal to what) is docs/grading.md. Model text is never evaluated, and nothing here imports
SymPy: that happens in killable worker processes only.
"""

from upwell.grading.equality import accepts, canonical, kind
from upwell.grading.extraction import extract, styles
from upwell.grading.grader import GRADER_VERSION, RuleGrader

__all__ = ["GRADER_VERSION", "RuleGrader", "accepts", "canonical", "extract", "kind", "styles"]
