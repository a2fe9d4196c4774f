"""Fits of accuracy against the amount of data, with what is uncertain about them, and the choice among them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular
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
    covariance: Floats
    """`(n, n)`, of the errors of measurement. Points that were measured on the same problems err together."""

    @classmethod
    def apart(cls, x: Floats, y: Floats, error: Floats) -> Measured:
        """Points whose errors, `(n,)`, have nothing in common."""
        return cls(x, y, np.diag(error**2))

    @property
    def error(self) -> Floats:
        """`(n,)`, standard errors of measurement."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def rungs(self) -> int:
        """Different amounts."""
        return len(np.unique(self.x))

    def without(self, x: float) -> Measured:
        """All but one rung."""
        kept = self.x != x
        return Measured(self.x[kept], self.y[kept], self.covariance[np.ix_(kept, kept)])


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
    """Least chi squared, by the errors of measurement alone, with what they have in common."""
    inflation: float
    """How many times as far as their errors the points scatter around the curve, as by the luck of a training; at
    least 1: points that lie too well are no evidence of smaller errors. What is above 1 is each point's own, and takes
    chi squared down to its degrees of freedom (without common errors, the Particle Data Group's scale factor)."""

    @property
    def freedom(self) -> int:
        """Degrees of freedom."""
        return len(self.data.y) - self.form.count

    @property
    def spread(self) -> Floats:
        """`(n, n)`, covariance of measurement and scatter together."""
        return _spread(self.data, self.inflation)

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
        return self.refitted(_drawn(self.spread, times, seed))

    def refitted(self, noise: Floats) -> Redrawn:
        """Fits to the fitted accuracies with noise, `(times, n)`."""
        found = least_squares(
            self.form, self.data.x / self.middle, self.at(self.data.x) + noise, _weights(self.spread)
        )
        return Redrawn(self, found.levels, found.shapes)

    def parameters(self) -> list[Parameter]:
        """Every parameter with the interval in which chi squared, the others being fitted, is 3.84 or less above its
        least (Wilks), times what common errors change of the parameter's variance (Kent 1982)."""
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

    @cached_property
    def _common(self) -> Floats:
        """Per parameter: its variance by all of the covariance, over that if errors had nothing in common."""
        values = np.concatenate([self.levels, self.shapes])
        steps = np.diag(1e-4 * np.maximum(np.abs(values), 1e-2))
        moved = np.concatenate([values + steps, values - steps])
        count = len(self.levels)
        curves = curve(self.form, self.data.x / self.middle, moved[:, :count], moved[:, count:])
        slopes = ((curves[: len(values)] - curves[len(values) :]) / (2 * np.diag(steps))[:, None]).T
        weights = _weights(self.spread)
        back = np.linalg.pinv(weights @ slopes) @ weights
        apart = np.einsum("pn,n,pn->p", back, np.diag(self.spread), back)
        together = np.einsum("pn,nm,pm->p", back, self.spread, back)
        found: Floats = np.divide(together, apart, out=np.ones_like(apart), where=apart > 0)
        return found

    def _limit(self, number: int, value: float, side: int) -> float | None:
        """Where the rise of chi squared passes its bound, on one side."""
        ratio, weights, y = self.data.x / self.middle, _weights(self.spread), self.data.y[None]
        least = float(least_squares(self.form, ratio, y, weights).chi2[0])
        bound = least + _CHI2_95 * float(self._common[number])

        def above(at: float) -> float:
            held = least_squares(self.form, ratio, y, weights, held={number: at})
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


def _whitening(covariance: Floats) -> Floats:
    """What takes errors of that covariance to independent ones of variance 1."""
    found: Floats = solve_triangular(np.linalg.cholesky(covariance), np.eye(len(covariance)), lower=True)
    return found


def _weights(covariance: Floats) -> Floats:
    """The diagonal of one over each standard error.

    Points are weighed as if their errors had nothing in common. Weights by the whole covariance would be best if it
    were known; estimated from some dozen problems, and smaller where the accuracy happens to be, they pull fits off and
    intervals together (Peelle's puzzle). What the errors have in common goes into all that is said of the fit.
    """
    return np.diag(1 / np.sqrt(np.diag(covariance)))


def _spread(data: Measured, inflation: float) -> Floats:
    found: Floats = data.covariance + (inflation**2 - 1) * np.diag(np.diag(data.covariance))
    return found


def _drawn(covariance: Floats, times: int, seed: int) -> Floats:
    """Errors of that covariance, `(times, n)`."""
    rng = np.random.default_rng([seed, 23])
    drawn: Floats = rng.normal(size=(times, len(covariance))) @ np.linalg.cholesky(covariance).T
    return drawn


def fit(form: Form, data: Measured) -> Fit | None:
    """The form on these points; None where there are not more different amounts than parameters."""
    if data.rungs <= form.count:
        return None
    ratio = data.x / float(np.exp(np.log(data.x).mean()))

    freedom = len(data.y) - form.count

    def chi2(inflation: float) -> float:
        whiten = _whitening(_spread(data, inflation))
        return float(least_squares(form, ratio, data.y[None], whiten).chi2[0])

    chi2_measured, inflation = chi2(1.0), 1.0
    if chi2_measured > freedom > 0:
        most = 1.001 * float(np.sqrt(chi2_measured / freedom))  # what it is without common errors
        while chi2(most) > freedom:
            most *= 2
        inflation = float(brentq(lambda at: chi2(at) - freedom, 1.0, most, xtol=1e-4))
    found = least_squares(form, ratio, data.y[None], _weights(_spread(data, inflation)))
    return Fit(form, data, found.levels[0], found.shapes[0], chi2_measured, inflation)


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
    predicted, observed = float(found.at(top)[0]), float(data.y[at].mean())
    # Where the true curve lies above the fit, the others were measured too low; so was the top, by what all err by.
    noise = _drawn(_spread(data, found.inflation), times, seed)
    drawn = found.refitted(noise[:, ~at]).at(top)[:, 0] - noise[:, at].mean(axis=1)
    low, high = np.percentile(drawn, TAILS)
    return HeldOut(top, observed, predicted, float(low), float(high))


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
