"""Styles of grading by name: where the answer is looked for, and how it is compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from upwell.errors import UsageError
from upwell.grading import extraction
from upwell.grading.cases import Algebra, Case, Decision
from upwell.grading.published import dart, gsm8k, hendrycks, minerva, xwin
from upwell.records import Problem

Compare = Callable[[Case, Algebra], Decision]


@dataclass(frozen=True, slots=True)
class Style:
    """One way to grade."""

    name: str
    extract: Callable[[str], str | None]
    """The final answer in a response, or None."""
    grader: str = "upwell"
    """Whose comparison it is: `upwell` is `accepts`; `math-verify` leaves every pair to a worker."""
    compare: Compare | None = None
    """The comparison of another project."""
    mode: Callable[[Problem], str] | None = None
    """What the comparison has to know of the problem (`Case.mode`)."""
    truncated_is_wrong: bool = False
    """Whether a response cut off at the token limit is wrong whatever it says."""


def _published() -> tuple[Style, ...]:
    return (
        Style("xwin-strict", xwin.extract_strict, "xwin", xwin.compare, xwin.mode),
        Style("xwin-flex", xwin.extract_flex, "xwin", xwin.compare, xwin.mode),
        Style("dart", dart.extract, "dart", dart.compare, dart.mode, truncated_is_wrong=True),
        Style("minerva", minerva.extract, "minerva", minerva.compare),
        Style("gsm8k", gsm8k.extract, "gsm8k", gsm8k.compare),
        Style("boxed-only", hendrycks.extract, "hendrycks", hendrycks.compare),
    )


STYLES: dict[str, Style] = {
    style.name: style
    for style in (
        Style("auto", extraction.auto),
        Style("boxed", extraction.boxed),
        *_published(),
        Style("last-number", extraction.last_number),
        Style("bare", extraction.whole),
        Style("math-verify", extraction.auto, "math-verify"),
    )
}
COMPARISONS: dict[str, Compare] = {
    style.grader: style.compare for style in STYLES.values() if style.compare is not None
}
"""Comparisons of other projects by grader, for the worker."""


def style_named(name: str) -> Style:
    """The style of that name. Raises `UsageError` where there is none."""
    if name not in STYLES:
        raise UsageError(f"no grading style `{name}`", f"one of {', '.join(STYLES)}, as in `--style auto`")
    return STYLES[name]


def extract(text: str, style: str = "auto") -> str | None:
    """The final answer in a response, or None where it has none.

    Args:
        text: The response; 10 MB cost well under a second.
        style: One of `styles()`.
    """
    found = style_named(style).extract(text)
    return None if found is None or not found.strip() else found.strip()


def styles() -> tuple[str, ...]:
    """The names of the grading styles."""
    return tuple(STYLES)
