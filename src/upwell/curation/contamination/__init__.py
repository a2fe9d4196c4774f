"""Decontamination: which training rows are, or are made from, problems of a benchmark's test set.

reference = Reference.of([problems.load("gsm8k"), problems.load("math")])
for match in reference.check(rows, workers=2): ...
"""

from __future__ import annotations

from upwell.curation.contamination.audit import Audit, Pair
from upwell.curation.contamination.judging import Item, Match
from upwell.curation.contamination.reference import Embed, Reference
from upwell.curation.contamination.settings import METHODS, Settings

__all__ = ["METHODS", "Audit", "Embed", "Item", "Match", "Pair", "Reference", "Settings"]
