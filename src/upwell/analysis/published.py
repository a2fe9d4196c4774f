"""Curves that the papers published, as points with their source."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from upwell.errors import UsageError

PAPER = "paper:"
_READING = 0.002
"""Standard error of reading a figure, taken to be a fifth of a point."""
_EXAMPLES, _TRIES, _RAW = "examples", "samples per problem", "raw samples"


@dataclass(frozen=True, kw_only=True)
class Published:
    """One curve."""

    name: str
    what: str
    source: str
    points: tuple[tuple[float, float], ...]
    """x, and percent."""
    problems: int
    """That each point is measured on."""
    unit: str = _EXAMPLES
    metric: str = "accuracy"
    read: bool = False
    """Whether the points were read off a figure."""

    def error(self, share: float) -> float:
        """Standard error of a point: binomial over its problems, and that of reading."""
        binomial = share * (1 - share) / self.problems
        return float((binomial + (_READING**2 if self.read else 0.0)) ** 0.5)


_XWIN, _DART = "Xwin-Math, arXiv 2403.04706", "DART-Math, arXiv 2407.13690"
_GSM8K, _MATH, _MATH500, _QUERIES = 1319, 5000, 500, 14973


def _thousands(*points: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    return tuple((1000 * x, y) for x, y in points)


def _xwin() -> list[Published]:
    """Table 1: sizes as printed. The endpoints of figure 1 join the synthetic arm, which begins as it does."""
    sizes = (0.94, 1.88, 3.75, 7.5)
    table = {
        "gsm8k-real": (26.7, 32.8, 43.3, 50.2), "gsm8k-synthetic": (25.9, 31.9, 42.2, 49.5),
        "math-real": (4.2, 5.6, 6.6, 8.4), "math-synthetic": (3.9, 4.9, 6.0, 7.9),
    }  # fmt: skip
    curves = [
        Published(
            name=f"xwin/{name}", what=f"LLaMA-2 7B, {name.replace('-', ', ')} questions, Pass@1",
            source=f"{_XWIN}, table 1", points=_thousands(*zip(sizes, values, strict=True)),
            problems=_GSM8K if name.startswith("gsm8k") else _MATH,
        )
        for name, values in table.items()
    ]  # fmt: skip
    for name, size, end, problems in (("gsm8k", 960, 82.6, _GSM8K), ("math", 480, 40.6, _MATH)):
        values = table[f"{name}-synthetic"]
        curves.append(
            Published(
                name=f"xwin/{name}-7b", what=f"LLaMA-2 7B, {name}, synthetic questions up to {size}K, Pass@1",
                source=f"{_XWIN}, table 1 and the endpoint in the text on figure 1",
                points=_thousands(*zip(sizes, values, strict=True), (size, end)), problems=problems,
            )
        )  # fmt: skip
    curves.append(
        Published(
            name="xwin/math-70b", what="LLaMA-2 70B, MATH, synthetic questions, Pass@1",
            source=f"{_XWIN}, tables 5 and 2", points=_thousands((7.5, 28.9), (30, 37.6), (480, 52.8)), problems=_MATH,
        )
    )  # fmt: skip
    return curves


_SCALING = {
    "mistral-vrt": (
        (8.5, 25.0), (17, 29.3), (34, 31.9), (68, 33.6), (136, 35.6), (271, 37.9), (543, 40.4), (814, 41.2),
    ),
    "mistral-uniform": (
        (15, 29.6), (30, 34.5), (59, 36.3), (118, 39.6), (235, 41.6), (464, 44.2), (912, 46.2), (1340, 47.2),
    ),
    "mistral-prop2diff": (
        (7.5, 26.3), (13, 28.1), (25, 30.7), (49, 34.6), (97, 38.4), (190, 42.1), (367, 44.2), (522, 45.9),
    ),
    "llama3-8b-vrt": ((8.5, 22.7), (34, 33.7), (136, 38.5), (543, 42.5), (813, 42.6)),
    "llama3-8b-uniform": ((15, 31.6), (59, 39.7), (235, 44.6), (464, 46.2), (1340, 47.6)),
    "llama3-8b-prop2diff": ((7.5, 25.5), (25, 33.5), (97, 39.9), (280, 44.9), (522, 45.9)),
    "dsmath-7b-vrt": ((8.5, 50.7), (813, 53.0)),
    "dsmath-7b-uniform": ((15, 51.2), (689, 53.8)),
    "dsmath-7b-prop2diff": ((7.5, 50.6), (367, 53.8)),
}  # fmt: skip
_COVERED = {
    "gsm8k-prop2diff-covered": ((7.5, 58.8), (13, 60.6), (522, 66.7)),
    "gsm8k-prop2diff-uncovered": ((9.4, 51.9), (22, 57.2), (522, 66.6)),
}
_PASS_AT_K = {
    "base": (20.4, 43.6, 78.2, 91.6, 93.4, 98.2), "instruct": (42.4, 67.6, 86.6, 93.2, 95.0, 98.2),
    "rl": (51.6, 70.0, 85.0, 92.6, 94.8, 98.0), "rl-t1.6": (49.2, 71.2, 85.4, 93.8, 95.6, 98.0),
}  # fmt: skip
_ACHIEVED = {
    "prop2diff": (
        (2.39, 3.16, 4.43, 6.60, 10.27, 16.48), (77.9, 81.8, 84.5, 86.8, 89.0, 90.6),
    ),
    "uniform": ((1.53, 2.06, 2.95, 4.45, 6.97, 11.24), (84.6, 87.1, 89.3, 91.0, 92.4, 93.6)),
}  # fmt: skip


def _dart() -> list[Published]:
    curves = [
        Published(
            name=f"dart/{name}", what=f"{name}, trained on responses to MATH, MATH accuracy",
            source=f"{_DART}, figure 3", points=_thousands(*points), problems=_MATH, read=True,
        )
        for name, points in _SCALING.items()
    ]  # fmt: skip
    curves += [
        Published(
            name=f"dart/{name}", what="Mistral-7B, trained on responses to GSM8K, GSM8K accuracy",
            source=f"{_DART}, figure 4", points=_thousands(*points), problems=_GSM8K, read=True,
        )
        for name, points in _COVERED.items()
    ]  # fmt: skip
    curves += [
        Published(
            name=f"dart/math500-pass-{name}", what=f"pass@k of the {name} model on MATH-500 against k",
            source=f"{_DART}, figure 2", points=tuple(zip((1, 4, 16, 64, 100, 256), values, strict=True)),
            problems=_MATH500, unit=_TRIES, metric="pass@k", read=True,
        )
        for name, values in _PASS_AT_K.items()
    ]  # fmt: skip
    return curves + [
        Published(
            name=f"dart/achieved-{name}", what=f"share of {name}'s targets met against raw samples drawn",
            source=f"{_DART}, figure on the cost of synthesis",
            points=tuple((1e6 * x, y) for x, y in zip(*table, strict=True)),
            problems=_QUERIES, unit=_RAW, metric="share of targets met", read=True,
        )
        for name, table in _ACHIEVED.items()
    ]  # fmt: skip


CURVES = {curve.name: curve for curve in (*_xwin(), *_dart())}
"""By name, without `paper:`."""


def published(source: str) -> Published:
    """The curve of a source such as `paper:dart/mistral-prop2diff`.

    Raises:
        UsageError: there is none of that name; says which there are.
    """
    name = source.removeprefix(PAPER)
    if name not in CURVES:
        close = difflib.get_close_matches(name, CURVES, n=1)
        raise UsageError(
            f"no published curve `{name}`; there are {', '.join(CURVES)}",
            f"{PAPER}{close[0] if close else 'dart/mistral-prop2diff'}",
        )
    return CURVES[name]
