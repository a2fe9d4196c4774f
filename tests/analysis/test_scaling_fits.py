"""Fits of accuracy against data: they recover what was put in, say how sure they are, and keep silent in time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from upwell.analysis.fitting import Measured, alike, fit, fits, held_out, left_out, needed, ranked
from upwell.analysis.forms import FLOOR, FORMS, LOG_LINEAR, POWER, SATURATING, Form, curve, least_squares
from upwell.analysis.published import CURVES
from upwell.errors import UsageError

X = 500.0 * 2.0 ** np.arange(8)
MIDDLE = float(np.exp(np.log(X).mean()))
TRUE = {
    LOG_LINEAR: ([0.4, 0.05], []), POWER: ([0.5], [0.2]), FLOOR: ([0.8, 0.3], [0.5]), SATURATING: ([0.7], [1.3, 0.8]),
}  # fmt: skip


def true_curve(form: Form, x: np.ndarray) -> np.ndarray:
    levels, shapes = (np.array(each)[None] for each in TRUE[form])
    return curve(form, x / MIDDLE, levels, shapes.astype(float))[0]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_points_on_a_curve_give_its_parameters(form: Form) -> None:
    levels, shapes = TRUE[form]
    found = least_squares(form, X / MIDDLE, true_curve(form, X)[None], np.eye(len(X)) / 0.01)
    assert found.levels[0] == pytest.approx(levels, abs=2e-3)
    assert found.shapes[0] == pytest.approx(shapes, rel=2e-2)
    assert found.chi2[0] < 0.01


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_intervals_hold_what_was_put_in_nineteen_times_of_twenty(form: Form) -> None:
    rng = np.random.default_rng(5)
    error = np.full(len(X), 0.008)
    levels, shapes = TRUE[form]
    wanted = [*levels, *shapes]
    hits = np.zeros(form.count)
    trials = 40
    for _ in range(trials):
        found = fit(form, Measured.apart(X, true_curve(form, X) + rng.normal(size=len(X)) * error, error))
        assert found is not None
        for i, each in enumerate(found.parameters()):
            scale = found.units(i)
            low = -np.inf if each.low is None else each.low / scale
            high = np.inf if each.high is None else each.high / scale
            hits[i] += low <= wanted[i] <= high
    assert (hits >= 35).all(), hits / trials  # 34 or fewer of 40 come once in 70 at 95 %


def test_units_of_x_change_nothing_but_units() -> None:
    values = true_curve(FLOOR, X) + np.array([1, -1, 1, 1, -1, -1, 1, -1]) * 0.003
    error = np.full(len(X), 0.005)
    one, other = (fit(FLOOR, Measured.apart(X * scale, values, error)) for scale in (1, 1e6))
    assert one is not None and other is not None
    assert one.chi2 == pytest.approx(other.chi2)
    assert one.at(X) == pytest.approx(other.at(1e6 * X))


def test_a_ceiling_is_a_share() -> None:
    """A straight line in log x bends less than any power law with a ceiling of 1 or below."""
    found = fit(FLOOR, Measured.apart(X, 0.1 + 0.09 * np.arange(8), np.full(len(X), 0.01)))
    assert found is not None
    ceiling = found.parameters()[0]
    assert ceiling.value == pytest.approx(1.0) and ceiling.high == pytest.approx(1.0)
    error = np.full(len(X), 0.01)
    steep = fit(SATURATING, Measured.apart(X, np.clip(0.15 * np.arange(8), 0, 1), error))
    assert steep is not None and 0 <= steep.parameters()[0].value <= 1


def test_too_few_amounts_are_no_fit() -> None:
    data = Measured.apart(X[:3], true_curve(POWER, X[:3]), np.full(3, 0.01))
    assert [one.form for one in fits(data)] == [LOG_LINEAR, POWER]
    assert [one.aicc for one in fits(data)] == [None, None]
    seeds = Measured.apart(np.repeat(X[:2], 4), np.repeat(true_curve(POWER, X[:2]), 4), np.full(8, 0.01))
    assert fits(seeds) == [], "several seeds of two rungs are two amounts"
    assert held_out(LOG_LINEAR, data, times=50, seed=0) is None


def test_scatter_beyond_the_errors_widens_and_less_does_not_narrow() -> None:
    values, error = true_curve(LOG_LINEAR, X), np.full(len(X), 0.01)
    wild = fit(LOG_LINEAR, Measured.apart(X, values + np.array([3, -3, 3, -3, 3, -3, 3, -3]) * 0.01, error))
    tame = fit(LOG_LINEAR, Measured.apart(X, values, error))
    assert wild is not None and tame is not None
    assert tame.inflation == 1.0 and wild.inflation > 3
    narrow, wide = (one.parameters()[1] for one in (tame, wild))
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)  # type: ignore[operator]


def moving_together(alike: float, error: float = 0.03) -> np.ndarray:
    return error**2 * (alike + (1 - alike) * np.eye(len(X)))


def test_what_all_points_err_by_is_in_what_is_said_of_levels_and_not_of_gains() -> None:
    """As rungs do that were measured on the same problems."""
    rng = np.random.default_rng(3)
    spread, trials, hits = moving_together(0.8), 60, np.zeros(3)
    twice = 2 * X[-1]
    true = true_curve(LOG_LINEAR, np.array([twice]))[0]
    for trial in range(trials):
        noise = np.linalg.cholesky(spread) @ rng.normal(size=len(X))
        found = fit(LOG_LINEAR, Measured(X, true_curve(LOG_LINEAR, X) + noise, spread))
        assert found is not None
        level, gain = found.parameters()
        hits[0] += level.low <= 0.4 <= level.high  # type: ignore[operator]
        hits[1] += gain.low <= 0.05 * np.log(2) <= gain.high  # type: ignore[operator]
        low, high = found.redrawn(200, trial).band([twice])
        hits[2] += low[0] <= true <= high[0]
    assert (hits >= 51).all(), (
        hits / trials
    )  # 50 or fewer of 60 come once in 1,000 at 95 %; taken as apart, levels get 34
    error = np.full(len(X), 0.03)
    apart, together = (
        fit(LOG_LINEAR, data)
        for data in (
            Measured.apart(X, true_curve(LOG_LINEAR, X), error),
            Measured(X, true_curve(LOG_LINEAR, X), spread),
        )
    )
    assert apart is not None and together is not None
    widths = np.array([[each.high - each.low for each in one.parameters()] for one in (apart, together)])  # type: ignore[operator]
    assert widths[1, 0] > 2 * widths[0, 0] and widths[1, 1] < widths[0, 1] / 2


def test_a_shared_error_does_not_hide_that_the_largest_rung_was_missed() -> None:
    values = true_curve(LOG_LINEAR, X)
    values[-1] -= 0.06  # two errors of 0.03: nothing, if rungs erred apart
    apart = held_out(LOG_LINEAR, Measured.apart(X, values, np.full(len(X), 0.03)), times=400, seed=0)
    together = held_out(LOG_LINEAR, Measured(X, values, moving_together(0.9)), times=400, seed=0)
    assert apart is not None and together is not None
    assert apart.within and not together.within


def test_the_form_that_foresaw_the_largest_rung_goes_first() -> None:
    values = true_curve(SATURATING, X)
    values[-1] = values[-2]  # it stopped
    data = Measured.apart(X, values, np.full(len(X), 0.004))
    found = fits(data)
    held = {one.form.name: held_out(one.form, data, times=200, seed=1) for one in found}
    order = ranked(found, held)
    missed = [not held[one.form.name].within for one in order]  # type: ignore[union-attr]
    assert missed == sorted(missed) and missed[-1]
    assert order[0] in alike(order, held)


def test_residuals_are_of_a_fit_without_the_rung() -> None:
    values = true_curve(LOG_LINEAR, X)
    values[3] += 0.05
    apart = left_out(LOG_LINEAR, Measured.apart(X, values, np.full(len(X), 0.01)))
    assert apart[3] == pytest.approx(0.05, abs=1e-9)
    others = fit(LOG_LINEAR, Measured.apart(X, values, np.full(len(X), 0.01)))
    assert others is not None and values[3] - others.at(X[3])[0] < 0.05


def test_data_needed_for_a_gain() -> None:
    found = fit(LOG_LINEAR, Measured.apart(X, true_curve(LOG_LINEAR, X), np.full(len(X), 0.004)))
    assert found is not None
    drawn = found.redrawn(400, 0)
    per_doubling = 0.05 * np.log(2)
    value, low, high = needed(drawn, X[-1], per_doubling, 8 * X[-1])
    assert value == pytest.approx(2 * X[-1], rel=0.01) and low < value < high
    value, low, high = needed(drawn, X[-1], 0.5, 8 * X[-1])
    assert value is None and high == np.inf


def test_published_curves_rise_in_x_and_are_shares() -> None:
    assert len(CURVES) == 24
    for name, one in CURVES.items():
        xs = [x for x, _ in one.points]
        assert all(a < b for a, b in pairwise(xs)), name
        assert all(0 < y < 100 for _, y in one.points) and one.source, name
        assert 0 < one.error(0.5) < 0.05
    table = {name: [y for _, y in CURVES[f"xwin/gsm8k-{name}"].points] for name in ("real", "synthetic")}
    apart = [round(a - b, 1) for a, b in zip(table["real"], table["synthetic"], strict=True)]
    assert apart == [0.8, 0.9, 1.1, 0.7], "the paper's own differences"


def test_an_unknown_curve_names_the_nearest() -> None:
    from upwell.analysis.published import published

    with pytest.raises(UsageError, match="no published curve `dart/mistral-prop2dif`") as told:
        published("paper:dart/mistral-prop2dif")
    assert told.value.hint == "paper:dart/mistral-prop2diff"
