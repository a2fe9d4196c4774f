"""Evaluating: models on suites of benchmarks, each asked in its own way, beside what is published of it.

run = evaluate(["Xwin-LM/Xwin-Math-7B-V1.1"], EvaluateSettings(suite="xwin", out="runs/xwin"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upwell.evaluation.settings import EvaluateSettings

if TYPE_CHECKING:
    from upwell.evaluation.stage import evaluate

__all__ = ["EvaluateSettings", "evaluate"]


def __getattr__(name: str) -> Any:
    """The stage, loaded when first asked for: `--help` needs the settings alone."""
    if name != "evaluate":
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    from upwell.evaluation.stage import evaluate

    return evaluate
