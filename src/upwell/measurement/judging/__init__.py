"""A language model that judges what the rules cannot decide, and one that scores: recorded prompts, repeated votes,
strict reading, and figures of how far to trust it. docs/judging.md says what its verdicts are worth.
"""

from upwell.measurement.judging.docket import RULES, judge, settled, told_apart
from upwell.measurement.judging.panel import TABLE, Panel, Panels
from upwell.measurement.judging.scoring import score, scored

__all__ = ["RULES", "TABLE", "Panel", "Panels", "judge", "score", "scored", "settled", "told_apart"]
