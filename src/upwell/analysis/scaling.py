"""What more data buys: accuracy against examples, tokens or dollars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from upwell.analysis.bootstrap import NORMAL
from upwell.analysis.fitting import Fit, HeldOut, Redrawn, alike, fits, held_out, left_out, needed, ranked
from upwell.analysis.forms import FORMS
from upwell.analysis.found import Cell, Found, Row
from upwell.analysis.series import Series, read_series
from upwell.analysis.settings import AnalyzeSettings
from upwell.measurement.watch import Watch

_SHARES = ("accuracy at the middle", "gain per doubling", "ceiling")
_DECIDING = 10
"""Times as many redraws go into whether the largest rung was foreseen: the choice of a form may hang on it."""
_CURVE = 60
"""Places of x that a curve is drawn through."""


def scaling(sources: Sequence[str], settings: AnalyzeSettings, watch: Watch) -> Found:
    """Fit all forms to every source; choose, predict, or say why not.

    Raises:
        UsageError: a source holds no points of the kind that is asked for.
    """
    found = Found(points=[], fits=[], conclusions=[], notes=[])
    for source in sources:
        series = read_series(source, settings, watch)
        watch.say(f"{series.name}: {len(series.points)} points")
        found.notes.extend(series.notes)
        _study(series, settings, found)
    return found


@dataclass(frozen=True)
class _Chosen:
    """The best form and those that the data do not tell from it, redrawn."""

    order: list[Fit]
    held: dict[str, HeldOut | None]
    close: list[Redrawn]

    @property
    def best(self) -> Fit:
        return self.order[0]

    def band(self, x: float) -> tuple[float, float]:
        """Over all close forms: which of them is right is part of what is not known."""
        limits = [one.band(x) for one in self.close]
        return min(float(low[0]) for low, _ in limits), max(float(high[0]) for _, high in limits)


def _study(series: Series, settings: AnalyzeSettings, found: Found) -> None:
    data, flipped = series.measured, series.metric == "error"
    if series.base is not None:
        found.notes.append(
            f"{series.name}: the base ({_percent(series.base.value, flipped)}) is in no fit: it had no data"
        )
    order = fits(data)
    times = _DECIDING * settings.bootstrap
    held = {one.form.name: held_out(one.form, data, times=times, seed=settings.seed) for one in order}
    order = ranked(order, held)
    _name_what_is_missing(series, found)
    if not order:
        found.points.extend(_measured(series, None))
        found.conclusions.append(
            f"{series.name}: {data.rungs} different amounts of {series.unit}: no form can be fitted, so nothing is "
            "said about more."
        )
        return
    close = [one.redrawn(settings.bootstrap, settings.seed) for one in alike(order, held)]
    chosen = _Chosen(order, held, close)
    found.points.extend(_measured(series, chosen))
    found.points.extend(_curves(series, chosen, settings))
    for one in order:
        found.fits.extend(_fit_rows(series, one, chosen))
    found.conclusions.append(_describe(series, chosen))
    _predict(series, chosen, settings, found)


def _name_what_is_missing(series: Series, found: Found) -> None:
    rungs = series.measured.rungs
    missing = [form for form in FORMS if rungs <= form.count]
    if missing:
        needs = ", ".join(f"{form.name} ({form.count + 1})" for form in missing)
        found.notes.append(
            f"{series.name}: {rungs} different amounts are too few for {needs}: each needs one more than it has "
            "parameters"
        )


def _measured(series: Series, chosen: _Chosen | None) -> list[Row]:
    data, flipped = series.measured, series.metric == "error"
    apart = left_out(chosen.best.form, data) if chosen else [None] * len(series.points)
    fitted = chosen.best.at(data.x) if chosen else None
    rows: list[Row] = []
    for i, point in enumerate(series.points):
        sign = -1 if flipped else 1
        half = NORMAL * point.error
        low, high = max(point.value - half, 0.0), min(point.value + half, 1.0)
        rows.append(
            {
                "source": series.name, "what": "measured", "form": None, "unit": series.unit, "x": point.x,
                "metric": series.metric, **_limits(point.value, low, high, flipped),
                "residual": None if fitted is None else sign * (point.value - float(fitted[i])),
                "residual_left_out": None if (left := apart[i]) is None else sign * left,
                "standard_error": point.error, "problems": point.problems, "samples": point.samples,
            }
        )  # fmt: skip
    return rows


def _curves(series: Series, chosen: _Chosen, settings: AnalyzeSettings) -> list[Row]:
    """The best form's curve with its band, as far as anything is predicted."""
    data, flipped = series.measured, series.metric == "error"
    end = max(float(data.x[-1]), min(settings.multiple * float(data.x[-1]), farthest(data.x)))
    xs = np.geomspace(float(data.x[0]), end, _CURVE)
    values, (low, high) = chosen.best.at(xs), chosen.close[0].band(xs)
    return [
        {
            "source": series.name, "what": "fitted" if x <= data.x[-1] else "predicted", "form": chosen.best.form.name,
            "unit": series.unit, "x": float(x), "metric": series.metric,
            **_limits(float(value), float(under), float(over), flipped),
        }
        for x, value, under, over in zip(xs, values, low, high, strict=True)
    ]  # fmt: skip


def _limits(value: float, low: float, high: float, flipped: bool) -> dict[str, Cell]:
    """A share and its limits, or those of its error."""
    return (
        {"value": 1 - value, "low": 1 - high, "high": 1 - low}
        if flipped
        else {"value": value, "low": low, "high": high}
    )


def _fit_rows(series: Series, one: Fit, chosen: _Chosen) -> list[Row]:
    """Every parameter, how well the form fits, and how it predicted the largest rung."""
    at = f"at {_count(one.middle)} {series.unit}"
    rows = [
        _row(series, one, each.name, each.value, each.low, each.high, at if "middle" in each.name else None)
        for each in one.parameters()
    ]
    best = chosen.best.aicc
    fits_so = f"chi squared {one.chi2:.1f} with {one.freedom} degrees of freedom"
    rows.append(
        _row(
            series, one, "AICc above the best", None if one.aicc is None or best is None else one.aicc - best,
            note=fits_so if one.aicc is not None else f"not defined with so few points; {fits_so}",
        )
    )  # fmt: skip
    out = chosen.held[one.form.name]
    if out is not None:
        says = f"measured {100 * out.observed:.1f} %: {'within' if out.within else 'outside'}"
        rows.append(_row(series, one, "largest rung from the others", out.predicted, out.low, out.high, says))
    return rows


def _row(
    series: Series,
    one: Fit,
    parameter: str,
    value: Cell,
    low: Cell = None,
    high: Cell = None,
    note: str | None = None,
) -> Row:
    return {
        "source": series.name, "form": one.form.name, "parameter": parameter, "value": value, "low": low, "high": high,
        "note": note,
    }  # fmt: skip


def _describe(series: Series, chosen: _Chosen) -> str:
    """Which form, how sure, and what it says in one number."""
    best, flipped = chosen.best, series.metric == "error"
    first, last = series.points[0], series.points[-1]
    says = (
        f"{series.name}: {_spoken(series.metric)} {_percent(first.value, flipped)} at {_count(first.x)} "
        f"{series.unit} and {_percent(last.value, flipped)} at {_count(last.x)}; {best.form.name} "
        f"({best.form.formula}) "
    )
    others = [one.fit.form.name for one in chosen.close[1:]]
    if best.aicc is None:
        says += "lies nearest, but so few points cannot tell forms apart"
    elif others:
        says += f"fits best, but {' and '.join(others)} cannot be told from it"
    else:
        says += "fits best"
    shown = [each for each in best.parameters() if each.name in ("gain per doubling", "exponent", "ceiling")]
    told = "; ".join(_parameter(each.name, each.value, each.low, each.high) for each in shown)
    if best.inflation > 1.05:
        told += f"; points scatter {best.inflation:.1f} times as far as their errors, and intervals are wider by that"
    return f"{says}: {told}."


def _parameter(name: str, value: float, low: float | None, high: float | None) -> str:
    if name in _SHARES:
        limits = [("no limit" if limit is None else f"{100 * limit:.1f}") for limit in (low, high)]
        unit = "points" if name == "gain per doubling" else "%"
        return f"{name} {100 * value:.1f} {unit} ({limits[0]} to {limits[1]})"
    limits = [("no limit" if limit is None else f"{limit:.3g}") for limit in (low, high)]
    return f"{name} {value:.3g} ({limits[0]} to {limits[1]})"


def farthest(x: np.typing.NDArray[np.float64]) -> float:
    """How far a curve may be followed: beyond the largest amount by half of the range seen, in logarithms."""
    return float(x[-1] * math.sqrt(x[-1] / x[0]))


def _why_not(series: Series, chosen: _Chosen) -> str | None:
    """The reason to predict nothing, or None."""
    data, out = series.measured, chosen.held[chosen.best.form.name]
    if data.rungs < 4:
        return f"{data.rungs} different amounts say nothing about what comes after them: four do"
    if out is not None and not out.within:
        return (
            f"no form foresaw the largest rung from the others ({100 * out.observed:.1f} % measured, "
            f"{100 * out.low:.1f} to {100 * out.high:.1f} % foreseen)"
        )
    ends = [one.at([data.x[0], data.x[-1]]) for one in chosen.close]
    risen = [float(np.percentile(values[:, 1] - values[:, 0], 2.5)) for values in ends]
    if min(risen) <= 0:
        error = math.sqrt(data.covariance[0, 0] + data.covariance[-1, -1] - 2 * data.covariance[0, -1])
        if data.y[-1] - data.y[0] > NORMAL * error:
            scatter = f"{chosen.best.inflation:.0f} times as far as their errors"
            return f"no form lies near the points: they scatter {scatter} around the best"
        return "it is not certain that anything was gained over the amounts seen"
    return None


def _predict(series: Series, chosen: _Chosen, settings: AnalyzeSettings, found: Found) -> None:
    reason = _why_not(series, chosen)
    if reason is not None:
        found.conclusions.append(f"{series.name}: nothing is predicted: {reason}.")
        return
    data, flipped = series.measured, series.metric == "error"
    top, limit = float(data.x[-1]), farthest(data.x)
    target = settings.multiple * top
    if target > limit * (1 + 1e-9):
        found.conclusions.append(
            f"{series.name}: {settings.multiple:g} times the most {series.unit} seen is farther than the data reach: "
            f"at most {limit / top:.2g} times (half of the range seen, in logarithms)."
        )
    else:
        value, (low, high) = float(chosen.best.at(target)[0]), chosen.band(target)
        found.fits.append(
            _row(
                series, chosen.best, f"{series.metric} at {_count(target)} {series.unit}",
                **_limits(value, low, high, flipped), note=f"{settings.multiple:g} times the most seen",
            )
        )  # fmt: skip
        between = sorted((_points(low, flipped), _points(high, flipped)))
        found.conclusions.append(
            f"{series.name}: at {_count(target)} {series.unit} ({settings.multiple:g} times the most seen) "
            f"{_spoken(series.metric)} {_percent(value, flipped)} is predicted "
            f"({between[0]:.1f} to {between[1]:.1f} %)."
        )
    _examples_needed(series, chosen, settings, limit, found)


def _examples_needed(
    series: Series, chosen: _Chosen, settings: AnalyzeSettings, limit: float, found: Found
) -> None:
    top = float(series.measured.x[-1])
    all_of = [needed(one, top, settings.gain / 100, limit) for one in chosen.close]
    value, low, high = all_of[0][0], min(one[1] for one in all_of), max(one[2] for one in all_of)
    shown = [None if math.isinf(each) else each for each in (low, high)]
    found.fits.append(
        _row(
            series, chosen.best, f"{series.unit} for {settings.gain:g} points more", value, shown[0], shown[1],
            note=f"looked for up to {_count(limit)}" if None in (value, *shown) else None,
        )
    )  # fmt: skip
    beyond = f"more than {_count(limit)}, which is as far as these data reach"
    if value is None:
        least = "" if shown[0] is None else f" (at least {_count(shown[0])})"
        text = f"{beyond}{least}"
    else:
        text = f"{_count(value)} ({_count(low)} to {'beyond ' + _count(limit) if shown[1] is None else _count(high)})"
    found.conclusions.append(
        f"{series.name}: {settings.gain:g} points above the fit at {_count(top)} take {text} {series.unit}."
        if value is not None
        else f"{series.name}: {settings.gain:g} points above the fit at {_count(top)} take {text}."
    )


def _points(share: float, flipped: bool) -> float:
    return 100 * (1 - share if flipped else share)


def _percent(share: float, flipped: bool) -> str:
    return f"{_points(share, flipped):.1f} %"


def _spoken(metric: str) -> str:
    return "PassRatio" if metric == "pass_ratio" else metric


def _count(x: float) -> str:
    """An amount in three figures."""
    if x >= 100:
        return f"{round(x, 2 - math.floor(math.log10(x))):,.0f}"
    return f"{x:.3g}"
