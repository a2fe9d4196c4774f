"""How accuracy may depend on the amount of data: forms of a curve, and their least squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.special import expit

Floats = npt.NDArray[np.float64]

_SIDE = 7
"""Values a side that a round of refinement tries for each shape."""
_ROUNDS = 5
_EXPONENTS = np.geomspace(0.01, 5.0, 120)


@dataclass(frozen=True)
class Form:
    """A curve that is linear in some parameters once its shapes are given.

    accuracy(x) = constant + levels . basis(x / middle, shapes), with `middle` the geometric mean of all x, so that
    parameters hardly depend on each other and on the unit of x.
    """

    name: str
    formula: str
    levels: tuple[str, ...]
    """The linear parameters, as tables call them."""
    shapes: tuple[str, ...]
    """The others; all above 0."""
    basis: Callable[[Floats, Floats], Floats]
    """Ratios `(n,)` and shapes `(..., q)` to `(..., n, p)`."""
    grid: Callable[[float, float], Floats]
    """Least and largest ratio to the shapes that are tried first, `(g, q)`."""
    constant: float = 0.0
    share: bool = False
    """Whether the first level is a share: from 0 to 1."""
    scale: tuple[float, ...] = ()
    """What a level is multiplied with in tables (a slope per doubling, not per factor of e)."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """All, in the order of a fit."""
        return self.levels + self.shapes

    @property
    def count(self) -> int:
        """How many parameters there are."""
        return len(self.parameters)


def _constant_and_log(ratio: Floats, shapes: Floats) -> Floats:
    both = np.stack([np.ones_like(ratio), np.log(ratio)], axis=-1)
    return np.broadcast_to(both, (*shapes.shape[:-1], *both.shape))


def _left(ratio: Floats, shapes: Floats) -> Floats:
    """x^-b, which steep curves would take beyond all numbers."""
    return np.exp(np.clip(-shapes[..., :1] * np.log(ratio), -100.0, 100.0))


def _error_left(ratio: Floats, shapes: Floats) -> Floats:
    return -_left(ratio, shapes)[..., None]


def _ceiling_and_error_left(ratio: Floats, shapes: Floats) -> Floats:
    left = _left(ratio, shapes)
    return np.stack([np.ones_like(left), -left], axis=-1)


def _filled(ratio: Floats, shapes: Floats) -> Floats:
    half, steepness = shapes[..., :1], shapes[..., 1:]
    filled: Floats = expit(steepness * (np.log(ratio) - np.log(half)))
    return filled[..., None]


def _no_shape(_: float, __: float) -> Floats:
    return np.empty((1, 0))


def _exponents(_: float, __: float) -> Floats:
    return _EXPONENTS[:, None]


def _halves(low: float, high: float) -> Floats:
    return np.array(
        [*product(np.geomspace(low / 100, high * 1000, 40), np.geomspace(0.08, 6.0, 30))], dtype=np.float64
    )


LOG_LINEAR = Form(
    "log-linear", "accuracy = a + b ln x", ("accuracy at the middle", "gain per doubling"), (),
    _constant_and_log, _no_shape, scale=(1.0, float(np.log(2.0))),
)  # fmt: skip
POWER = Form(
    "power law", "error = A x^-b", ("error at the middle",), ("exponent",),
    _error_left, _exponents, constant=1.0,
)  # fmt: skip
FLOOR = Form(
    "power law with floor", "error = floor + A x^-b", ("ceiling", "error above the floor at the middle"),
    ("exponent",), _ceiling_and_error_left, _exponents, share=True,
)  # fmt: skip
SATURATING = Form(
    "saturating", "accuracy = ceiling / (1 + (half / x)^h)", ("ceiling",), ("half at", "steepness"),
    _filled, _halves, share=True,
)  # fmt: skip
FORMS = (LOG_LINEAR, POWER, FLOOR, SATURATING)
"""The simplest first."""


@dataclass(frozen=True)
class Least:
    """Least squares of a form, for `m` sets of accuracies at the same x."""

    levels: Floats
    """`(m, p)`"""
    shapes: Floats
    """`(m, q)`"""
    chi2: Floats
    """`(m,)`, squares of the residuals in units of their errors."""


def least_squares(
    form: Form, ratio: Floats, values: Floats, whiten: Floats, *, held: dict[int, float] | None = None
) -> Least:
    """The parameters that are nearest to the accuracies.

    Levels follow from shapes by linear algebra, so only shapes are searched: over the form's grid, the same for all,
    then closer and closer around the best of each. No starting point, no local minimum of a descent.

    Args:
        form: the curve.
        ratio: `(n,)`, x over the middle.
        values: `(m, n)`, accuracies from 0 to 1.
        whiten: `(n, n)`, takes their errors to independent ones of variance 1: for independent errors the diagonal of
            one over each.
        held: parameters by number that stay at a value; the others are fitted.
    """
    held = held or {}
    fixed = {i - len(form.levels): value for i, value in held.items() if i >= len(form.levels)}
    levels = {i: value for i, value in held.items() if i < len(form.levels)}
    grid = form.grid(float(ratio.min()), float(ratio.max()))
    for i, value in fixed.items():
        grid = np.unique(_put(grid, i, value), axis=0)
    steps = [_step(grid[:, i]) for i in range(grid.shape[1])]
    solved, chi2 = _solve(form, ratio, values, whiten, grid[None], levels)
    best = chi2.argmin(axis=1)
    rows = np.arange(len(values))
    shapes = grid[best]
    found = Least(solved[rows, best], shapes, chi2[rows, best])
    for _ in range(_ROUNDS if len(fixed) < len(form.shapes) else 0):
        around = np.array([*product(*([*np.linspace(-1, 1, _SIDE)] for _ in form.shapes))])
        factors = np.exp(around * np.log(steps))
        tried = found.shapes[:, None, :] * factors[None]
        for i, value in fixed.items():
            tried[..., i] = value
        solved, chi2 = _solve(form, ratio, values, whiten, tried, levels)
        best = chi2.argmin(axis=1)
        better = chi2[rows, best] <= found.chi2
        found = Least(
            np.where(better[:, None], solved[rows, best], found.levels),
            np.where(better[:, None], tried[rows, best], found.shapes),
            np.where(better, chi2[rows, best], found.chi2),
        )
        steps = [step ** (2 / (_SIDE - 1)) for step in steps]
    return found


def curve(form: Form, ratio: Floats, levels: Floats, shapes: Floats) -> Floats:
    """Accuracies of fits `(m, p)` and `(m, q)` at ratios `(n,)`: `(m, n)`. Not cut at 0 and 1."""
    basis = form.basis(np.asarray(ratio, np.float64), shapes)
    found: Floats = form.constant + np.einsum("mnp,mp->mn", basis, levels)
    return found


def _put(grid: Floats, column: int, value: float) -> Floats:
    out = grid.copy()
    out[:, column] = value
    return out


def _step(values: Floats) -> float:
    each = np.unique(values)
    return float(each[1] / each[0]) if len(each) > 1 else 1.0


def _solve(
    form: Form, ratio: Floats, values: Floats, whiten: Floats, shapes: Floats, held: dict[int, float]
) -> tuple[Floats, Floats]:
    """The levels of every set of shapes, `(m, g, p)`, and chi squared `(m, g)`; shapes are `(1 or m, g, q)`."""
    basis = whiten @ form.basis(ratio, shapes)
    target = np.broadcast_to(
        ((values - form.constant) @ whiten.T)[:, None, :], (len(values), basis.shape[1], len(ratio))
    )
    found = _levels(basis, target, held)
    if form.share and 0 not in held:
        outside = (found[..., 0] < 0) | (found[..., 0] > 1)
        if outside.any():
            for bound in (0.0, 1.0):
                at = _levels(basis, target, held | {0: bound})
                wrong = (found[..., 0] < 0) if bound == 0.0 else (found[..., 0] > 1)
                found = np.where((wrong & outside)[..., None], at, found)
    left = target - np.einsum(
        "mgnp,mgp->mgn", np.broadcast_to(basis, (*found.shape[:2], *basis.shape[2:])), found
    )
    return found, np.einsum("mgn,mgn->mg", left, left)


def _levels(basis: Floats, target: Floats, held: dict[int, float]) -> Floats:
    """Weighted linear least squares with some levels held, by the normal equations: there are at most two."""
    count = basis.shape[-1]
    free = [i for i in range(count) if i not in held]
    out = np.empty((*target.shape[:2], count))
    for i, value in held.items():
        out[..., i] = value
        target = target - value * basis[..., i]
    if not free:
        return out
    part = basis[..., free]
    square = np.einsum("mgnp,mgnq->mgpq", part, part)
    # A shape may make columns alike (an exponent near 0) or nothing: a trace of ridge keeps that solvable.
    ridge = np.maximum(1e-12 * np.einsum("mgpp->mg", square), 1e-200)
    square = square + ridge[..., None, None] * np.eye(len(free))
    right = np.einsum("mgnp,mgn->mgp", np.broadcast_to(part, (*target.shape[:2], *part.shape[2:])), target)
    out[..., free] = np.linalg.solve(
        np.broadcast_to(square, (*target.shape[:2], *square.shape[2:])), right[..., None]
    )[..., 0]
    return out
