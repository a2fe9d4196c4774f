"""Grading: where in a response its answer stands, and whether it equals the reference.

The policy (what is equal to what) is docs/grading.md. Model text is never evaluated, and nothing here imports
SymPy: that happens in killable worker processes only.
"""

from upwell.grading.cache import cache_file
from upwell.grading.equality import accepts, canonical, kind, same
from upwell.grading.equations import check_equations, soundness
from upwell.grading.grader import GRADER_VERSION, RuleGrader
from upwell.grading.guesses import guess_rate
from upwell.grading.style import extract, styles

__all__ = [
    "GRADER_VERSION",
    "RuleGrader",
    "accepts",
    "cache_file",
    "canonical",
    "check_equations",
    "extract",
    "guess_rate",
    "kind",
    "same",
    "soundness",
    "styles",
]
