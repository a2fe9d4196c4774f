"""Fits of accuracy against the amount of data, with what is uncertain about them, and the choice among them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from upwell.analysis.bootstrap import TAILS
from upwell.analysis.forms import FORMS, Floats, Form, curve, least_squares

_CHI2_95 = 3.841458820694124
"""95 % quantile of chi squared with one degree of freedom."""
_SHAPE_LIMITS = (1e-4, 1e4)
"""How far beyond the least and largest shape a limit is looked for."""
CLOSE = 2.0
"""AICc apart up to which two forms are not told apart."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Accuracies at amounts of data."""

    x: Floats
    """`(n,)`, above 0, rising; equal ones are several seeds of one rung."""
    y: Floats
    """`(n,)`, from 0 to 1."""
    error: Floats
    """`(n,)`, standard error of measurement, above 0."""

    @property
    def rungs(self) -> int:
        """Different amounts."""
        return len(np.unique(self.x))

    def without(self, x: float) -> Measured:
        """All but one rung."""
        kept = self.x != x
        return Measured(self.x[kept], self.y[kept], self.error[kept])


@dataclass(frozen=True)
class Parameter:
    """An estimate with its 95 % interval; None where the data set no limit to that side."""

    name: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False)
class Fit:
    """One form, fitted."""

    form: Form
    data: Measured
    levels: Floats
    shapes: Floats
    chi2: float

    @property
    def freedom(self) -> int:
        """Degrees of freedom."""
        return len(self.data.y) - self.form.count

    @property
    def inflation(self) -> float:
        """By how much errors are larger than measured: what scatters beyond them, such as the luck of a training.

        The square root of chi squared per degree of freedom where that is above 1 (the Particle Data Group's scale
        factor), else 1: points that lie too well are no evidence of smaller errors.
        """
        return max(1.0, float(np.sqrt(self.chi2 / self.freedom))) if self.freedom > 0 else 1.0

    @property
    def aicc(self) -> float | None:
        """Akaike's criterion with its correction for few points; None where that is not defined."""
        count, points = self.form.count, len(self.data.y)
        left = points - count - 1
        return None if left <= 0 else self.chi2 + 2 * count + 2 * count * (count + 1) / left

    @cached_property
    def middle(self) -> float:
        """The geometric mean of x."""
        return float(np.exp(np.log(self.data.x).mean()))

    def at(self, x: npt.ArrayLike) -> Floats:
        """The fitted accuracy, between 0 and 1."""
        ratio = np.atleast_1d(np.asarray(x, np.float64)) / self.middle
        values: Floats = np.clip(curve(self.form, ratio, self.levels[None], self.shapes[None])[0], 0.0, 1.0)
        return values

    def redrawn(self, times: int, seed: int) -> Redrawn:
        """Parametric bootstrap: the measured points drawn again around the fit, each fitted anew."""
        rng = np.random.default_rng([seed, 23])
        noise = rng.normal(size=(times, len(self.data.y))) * self.data.error * self.inflation
        found = least_squares(
            self.form, self.data.x / self.middle, self.at(self.data.x) + noise, self.data.error
        )
        return Redrawn(self, found.levels, found.shapes)

    def parameters(self) -> list[Parameter]:
        """Every parameter with the interval in which chi squared, the others being fitted, is 3.84 or less (times the
        inflation squared) above its least: Wilks."""
        found = []
        for i, name in enumerate(self.form.parameters):
            value = float(self.levels[i] if i < len(self.levels) else self.shapes[i - len(self.levels)])
            low, high = (self._limit(i, value, side) for side in (-1, 1))
            scale = self.units(i)
            found.append(
                Parameter(name, value * scale, *(None if v is None else v * scale for v in (low, high)))
            )
        return found

    def units(self, number: int) -> float:
        """From the units of the fit to those of tables."""
        if self.form.parameters[number] == "half at":
            return self.middle
        return self.form.scale[number] if number < len(self.form.scale) else 1.0

    def _limit(self, number: int, value: float, side: int) -> float | None:
        """Where the rise of chi squared passes its bound, on one side."""
        bound = self.chi2 + _CHI2_95 * self.inflation**2

        def above(at: float) -> float:
            ratio = self.data.x / self.middle
            held = least_squares(self.form, ratio, self.data.y[None], self.data.error, held={number: at})
            return float(held.chi2[0]) - bound

        shape = number >= len(self.form.levels)
        share = self.form.share and number == 0
        step, at = (1.05 if shape else 1e-3), value
        for _ in range(60):
            beyond = at * step**side if shape else value + side * step
            if share and not 0 <= beyond <= 1:
                beyond = min(max(beyond, 0.0), 1.0)
                if above(beyond) < 0:
                    return beyond
            elif shape and not _SHAPE_LIMITS[0] <= beyond <= _SHAPE_LIMITS[1]:
                return None
            if above(beyond) >= 0:
                return float(brentq(above, at, beyond, xtol=1e-9, rtol=1e-6)) if above(at) < 0 else at
            at, step = beyond, step**1.5 if shape else step * 1.6
        return None


@dataclass(frozen=True, eq=False)
class Redrawn:
    """Fits to points drawn again."""

    fit: Fit
    levels: Floats
    shapes: Floats

    def at(self, x: npt.ArrayLike) -> Floats:
        """Accuracies, `(times, len(x))`."""
        ratio = np.atleast_1d(np.asarray(x, np.float64)) / self.fit.middle
        values: Floats = np.clip(curve(self.fit.form, ratio, self.levels, self.shapes), 0.0, 1.0)
        return values

    def band(self, x: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Limits of the fitted curve."""
        low, high = np.percentile(self.at(x), TAILS, axis=0)
        return low, high

    def measured_band(self, x: float, error: float, seed: int) -> tuple[float, float]:
        """Limits of what a measurement with that error would give at x."""
        rng = np.random.default_rng([seed, 29])
        drawn = self.at(x)[:, 0]
        low, high = np.percentile(drawn + rng.normal(size=len(drawn)) * error * self.fit.inflation, TAILS)
        return float(low), float(high)


@dataclass(frozen=True)
class HeldOut:
    """The largest rung, predicted from the others."""

    x: float
    observed: float
    predicted: float
    low: float
    high: float
    """Of what would be measured there, at 95 %."""

    @property
    def within(self) -> bool:
        """Whether the prediction came true."""
        return self.low <= self.observed <= self.high


def fit(form: Form, data: Measured) -> Fit | None:
    """The form on these points; None where there are not more different amounts than parameters."""
    if data.rungs <= form.count:
        return None
    middle = float(np.exp(np.log(data.x).mean()))
    found = least_squares(form, data.x / middle, data.y[None], data.error)
    return Fit(form, data, found.levels[0], found.shapes[0], float(found.chi2[0]))


def fits(data: Measured) -> list[Fit]:
    """All forms that the points suffice for."""
    return [found for form in FORMS if (found := fit(form, data)) is not None]


def held_out(form: Form, data: Measured, *, times: int, seed: int) -> HeldOut | None:
    """The largest rung against what the form predicts from the others; None where these are too few."""
    top = float(data.x.max())
    found = fit(form, data.without(top))
    if found is None:
        return None
    at = data.x == top
    weights = 1 / data.error[at] ** 2
    observed, error = float((data.y[at] * weights).sum() / weights.sum()), float(1 / np.sqrt(weights.sum()))
    low, high = found.redrawn(times, seed).measured_band(top, error, seed)
    return HeldOut(top, observed, float(found.at(top)[0]), low, high)


def left_out(form: Form, data: Measured) -> list[float | None]:
    """Per point, what was measured less what the form predicts from the other rungs."""
    apart: dict[float, Fit | None] = {x: fit(form, data.without(x)) for x in np.unique(data.x).tolist()}
    return [
        None if (found := apart[x]) is None else y - float(found.at(x)[0])
        for x, y in zip(data.x.tolist(), data.y.tolist(), strict=True)
    ]


def ranked(found: list[Fit], held: dict[str, HeldOut | None]) -> list[Fit]:
    """The fits, best first: those that predicted the largest rung before those that did not, each by AICc.

    Where AICc is defined for none, by chi squared and twice the parameters, which cannot tell them apart.
    """

    def worth(one: Fit) -> tuple[bool, bool, float]:
        out = held.get(one.form.name)
        aicc = one.aicc
        return (
            out is not None and not out.within,
            aicc is None,
            one.chi2 + 2 * one.form.count if aicc is None else aicc,
        )

    return sorted(found, key=worth)


def alike(order: list[Fit], held: dict[str, HeldOut | None]) -> list[Fit]:
    """The forms that the data do not tell from the best."""
    best = order[0]

    def missed(one: Fit) -> bool:
        out = held.get(one.form.name)
        return out is not None and not out.within

    if best.aicc is None:
        return [one for one in order if missed(one) == missed(best)]
    return [
        one for one in order
        if one.aicc is not None and one.aicc - best.aicc <= CLOSE and missed(one) == missed(best)
    ]  # fmt: skip


def needed(drawn: Redrawn, start: float, gain: float, most: float) -> tuple[float | None, float, float]:
    """The x at which accuracy is `gain` above that at `start`: of the fit, and limits over its redrawn ones.

    Returns:
        The fit's (None beyond `most`) and both limits, infinite beyond `most`.
    """
    xs = np.geomspace(start, most, 400)

    def reached(values: Floats) -> Floats:
        gained = values - values[:, :1] >= gain
        return np.where(gained.any(axis=1), xs[gained.argmax(axis=1)], np.inf)

    value = float(reached(drawn.fit.at(xs)[None])[0])
    low, high = np.percentile(reached(drawn.at(xs)), TAILS, method="inverted_cdf")
    return (value if np.isfinite(value) else None), float(low), float(high)
