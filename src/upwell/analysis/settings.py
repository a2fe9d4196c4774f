"""The settings of `analyze`: flags, help and Python all come from here."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf

from upwell.analysis.stepping import RULES
from upwell.errors import UsageError, check_ranges

KINDS = ("scaling", "steps", "errors", "leakage", "selection", "compute")


@dataclass(frozen=True, kw_only=True)
class AnalyzeSettings:
    """What is asked of finished runs."""

    out: str
    """Run directory of the analysis."""
    seed: int = 0
    """Seed of the bootstrap."""
    bootstrap: int = 1000
    """Bootstrap resamples behind each band and interval."""
    # steps
    steps_by: str = "auto"
    """What counts as a step of a gold solution: lines, notes (`<<...>>`), equations (lines and sentences with one), or
    auto: lines where the solutions have notes, else equations. For steps."""
    # compute
    parameters: float | None = None
    """Parameters of the model, such as 7e9, where no checkpoint is at hand to count them in. For compute."""

    def __post_init__(self) -> None:
        check_ranges(
            ("bootstrap", self.bootstrap, self.bootstrap >= 20, "20 or more"),
            (
                "parameters",
                self.parameters,
                self.parameters is None or 1 <= self.parameters < inf,
                "1 or more",
            ),
        )
        if self.steps_by not in RULES:
            raise UsageError(
                f"--steps-by {self.steps_by}: there is no such rule", f"--steps-by {'|'.join(RULES)}"
            )


_ONLY = {"steps_by": "steps", "parameters": "compute"}
"""Settings that do something for one kind alone."""


def check_used(kind: str, settings: AnalyzeSettings) -> None:
    """Refuse a setting that does nothing for this kind of analysis.

    Raises:
        UsageError: names it, and what it is for.
    """
    for field in fields(settings):
        if _ONLY.get(field.name, kind) != kind and getattr(settings, field.name) != field.default:
            flag = "--" + field.name.replace("_", "-")
            raise UsageError(
                f"{flag} does nothing for {kind}: it is for {_ONLY[field.name]}", f"leave {flag} out"
            )


def check_kind(kind: str) -> None:
    """Refuse a kind of analysis that there is not.

    Raises:
        UsageError: with the one that is nearest.
    """
    import difflib

    if kind not in KINDS:
        close = difflib.get_close_matches(kind, KINDS, n=1)
        raise UsageError(
            f"no analysis `{kind}`; there are {', '.join(KINDS)}",
            f"upwell analyze {close[0] if close else KINDS[0]} RUN... --out RUN",
        )
