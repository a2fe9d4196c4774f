"""Rejection sampling: many solutions per question, the right ones kept, as many as the policy wants of each.

path = rejection(SynthesisSettings(method="rejection", seeds="gsm8k", policy="prop2diff", out="runs/hard"))
"""

from upwell.synthesis.rejection.stage import rejection

__all__ = ["rejection"]
