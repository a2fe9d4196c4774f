"""What repeated sampling says: pass@k, PassRatio, maj@k and the rest, each with two honest intervals.

Arrays in, numbers out: nothing here reads a file or knows a model. Names are loaded on first use,
so that importing this package costs nothing where only its settings or records are wanted.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upwell.metrics.chance import adjusted_pass_at_k, chance_pass_at_k
    from upwell.metrics.estimators import best_of_at_k, pass_at_k, pass_hat_k
    from upwell.metrics.extrapolation import Extrapolation, extrapolate, extrapolate_curve
    from upwell.metrics.majority import maj_at_k, maj_at_k_first
    from upwell.metrics.metric import Metric
    from upwell.metrics.outcomes import Outcomes, Row, Slot
    from upwell.metrics.pairing import Difference, Flips, compare, detectable, flipped
    from upwell.metrics.planning import Planned, plan_samples
    from upwell.metrics.summary import default_ks, summarise
    from upwell.metrics.weighting import weighted_maj_at_k

_HOMES = {
    "Difference": "pairing",
    "Extrapolation": "extrapolation",
    "Flips": "pairing",
    "Metric": "metric",
    "Outcomes": "outcomes",
    "Planned": "planning",
    "Row": "outcomes",
    "Slot": "outcomes",
    "adjusted_pass_at_k": "chance",
    "best_of_at_k": "estimators",
    "chance_pass_at_k": "chance",
    "compare": "pairing",
    "default_ks": "summary",
    "detectable": "pairing",
    "extrapolate": "extrapolation",
    "extrapolate_curve": "extrapolation",
    "flipped": "pairing",
    "maj_at_k": "majority",
    "maj_at_k_first": "majority",
    "pass_at_k": "estimators",
    "pass_hat_k": "estimators",
    "plan_samples": "planning",
    "summarise": "summary",
    "weighted_maj_at_k": "weighting",
}

__all__ = [
    "Difference",
    "Extrapolation",
    "Flips",
    "Metric",
    "Outcomes",
    "Planned",
    "Row",
    "Slot",
    "adjusted_pass_at_k",
    "best_of_at_k",
    "chance_pass_at_k",
    "compare",
    "default_ks",
    "detectable",
    "extrapolate",
    "extrapolate_curve",
    "flipped",
    "maj_at_k",
    "maj_at_k_first",
    "pass_at_k",
    "pass_hat_k",
    "plan_samples",
    "summarise",
    "weighted_maj_at_k",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
