"""The suites: which problem sets, and whose graders beside ours."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

import msgspec

from upwell.errors import UsageError


class SuiteSet(msgspec.Struct, frozen=True, kw_only=True):
    """A problem set of a suite. Which answers count within which tolerance, the set's own rows say."""

    problems: str
    """As `--problems` takes it."""
    why: str
    split: str = "test"
    styles: tuple[str, ...] = ()
    """Grading styles whose verdicts stand beside our own: those that published figures were graded in."""
    judged: bool = False
    """Whether a judging model has to grade it, because there are no reference answers."""
    made: Literal["", "perturbed", "originals", "fresh"] = ""
    """How the evaluation makes the problems itself, from its seed: with other numbers
    (`upwell.measurement.perturbation`); those that such were made from; or new ones of a generator."""

    @property
    def plain_name(self) -> str:
        """What it is called but for how it is made."""
        path = Path(self.problems)
        return path.stem if path.suffix else self.problems.removeprefix("procedural:").replace("_", "-")

    @property
    def name(self) -> str:
        """What tables and folders call it."""
        return self.plain_name + (f"-{self.made}" if self.made in ("perturbed", "originals") else "")


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """Problem sets that are reported together."""

    name: str
    title: str
    sets: tuple[SuiteSet, ...]


def with_originals(problems: str) -> tuple[SuiteSet, SuiteSet]:
    """A set's problems whose numbers can be changed, as they are and changed: the two are compared in pairs."""
    return (
        SuiteSet(
            problems=problems, made="originals", why="problems whose numbers can be changed, as they are"
        ),
        SuiteSet(problems=problems, made="perturbed", why="the same with other numbers"),
    )


_XWIN = ("xwin-flex",)
_DART = ("dart",)

SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            name="xwin",
            title="Xwin-Math: its two benchmarks and those of its generalisation study",
            sets=(
                SuiteSet(problems="gsm8k", styles=_XWIN, why="in domain"),
                SuiteSet(problems="math", styles=_XWIN, why="in domain"),
                SuiteSet(problems="svamp", styles=_XWIN, why="out of domain, elementary"),
                SuiteSet(problems="asdiv", styles=_XWIN, why="out of domain, elementary"),
                SuiteSet(problems="numglue", styles=_XWIN, why="out of domain, arithmetic in other tasks"),
                SuiteSet(problems="algebra", styles=_XWIN, why="out of domain, systems of equations"),
                SuiteSet(problems="mawps", styles=_XWIN, why="out of domain, elementary"),
                SuiteSet(problems="hungarian", judged=True, why="an exam newer than the training data"),
            ),
        ),
        Suite(
            name="dart",
            title="DART-Math: two benchmarks in domain and four out of it",
            sets=(
                SuiteSet(problems="math", styles=_DART, why="in domain"),
                SuiteSet(problems="gsm8k", styles=_DART, why="in domain"),
                SuiteSet(problems="college-math", styles=_DART, why="out of domain, textbooks"),
                SuiteSet(problems="deepmind-mathematics", styles=_DART, why="out of domain, generated"),
                SuiteSet(
                    problems="olympiadbench",
                    styles=_DART,
                    why="out of domain, competitions; answers within the tolerance that their row gives",
                ),
                SuiteSet(
                    problems="theoremqa",
                    styles=_DART,
                    why="out of domain, applied theorems; floats within 4 % of the reference",
                ),
            ),
        ),
        Suite(
            name="robust",
            title="The same kind of problem with other numbers",
            sets=(
                *with_originals("gsm8k"),
                SuiteSet(problems="gsm-hard", why="the originals with large numbers"),
                SuiteSet(
                    problems="procedural:gsm_symbolic", made="fresh", why="their templates, fresh numbers"
                ),
            ),
        ),
    )
}
"""Every suite by name."""


def suite_named(name: str) -> Suite:
    """The suite of a name.

    Raises:
        UsageError: There is none.
    """
    if name not in SUITES:
        close = difflib.get_close_matches(name.lower(), SUITES, n=1)
        raise UsageError(f"no suite `{name}`", f"--suite {close[0] if close else '|'.join(SUITES)}")
    return SUITES[name]
