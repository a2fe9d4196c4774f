"""The settings of `analyze`: flags, help and Python all come from here."""

from __future__ import annotations

from dataclasses import dataclass

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

    def __post_init__(self) -> None:
        check_ranges(("bootstrap", self.bootstrap, self.bootstrap >= 20, "20 or more"))


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
