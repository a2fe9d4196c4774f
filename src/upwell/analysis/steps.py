"""How accuracy falls with the number of steps: Acc = p^s, what speaks against it, and where responses go wrong."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from upwell.analysis.bootstrap import (
    Floats,
    between,
    mean_with_interval,
    percent,
    percentiles,
    ratio_interval,
    resampled_sums,
)
from upwell.analysis.decay import Counts, Model, accuracy, fitted, step_accuracy
from upwell.analysis.found import Found, Row
from upwell.analysis.graded import Source, Text, graded
from upwell.analysis.settings import AnalyzeSettings
from upwell.analysis.stepping import rule_for, spans
from upwell.errors import UsageError
from upwell.measurement.summary import joined
from upwell.measurement.watch import Watch

FEW = 10
"""Problems below which a number of steps has no vote in what is said of single numbers of steps."""
_SHORT = 4
"""Numbers of steps, from the fewest, that the continued fit rests on: the paper's dashed curve."""
_SAYS = {
    "power": "one step accuracy, and nothing else that sets problems apart",
    "spread": "one step accuracy, with problems scattered around its curve",
    "beta": "a step accuracy of its own for every problem",
    "flat": "no influence of the number of steps",
    "free": "an accuracy of its own for every number of steps",
}


@dataclass(frozen=True, eq=False)
class _Tried:
    """The problems of one run that have steps, and what became of their responses."""

    source: Source
    rule: str
    keys: list[str]
    steps: Floats
    n: Floats
    c: Floats
    places: list[Placed]
    wrong: Floats
    """Wrong responses per problem."""
    left_out: int
    """Problems without steps by the rule."""


@dataclass(frozen=True)
class Placed:
    """A wrong response whose first wrong equation is known."""

    problem: int
    step: int
    """Of the response, from 1."""
    of: int
    """Steps that the response has."""


def steps(sources: Sequence[str], settings: AnalyzeSettings, watch: Watch) -> Found:
    """The step model of every run: points by gold steps, fits, alternatives, first errors.

    Raises:
        UsageError: a source has no verdicts, or its problems have no gold solutions.
    """
    found = Found(points=[], fits=[], conclusions=[], notes=[])
    means: list[tuple[_Tried, Floats]] = []
    for source in graded(sources, "steps"):
        run = _read(source, settings, watch)
        if run.left_out:
            found.notes.append(
                f"{source.name}: {run.left_out:,} problems have no step by the rule `{run.rule}` and are left out"
            )
        means.append((run, _describe(run, settings, found)))
        _first_errors(run, found)
    _compared(means, found)
    found.notes.append(
        "steps of the gold solution are counted, not of the response; a response may take another way, so p^s is a "
        "description, not a mechanism"
    )
    return found


def _read(source: Source, settings: AnalyzeSettings, watch: Watch) -> _Tried:
    problems = source.problems()
    solved = [problem for problem in problems if problem.solution]
    if not solved:
        raise UsageError(
            f"the problems of `{source.run.path}` have no gold solutions, whose steps could be counted",
            "measure on a set with solutions: --problems gsm8k or --problems math",
        )
    rule, counted = rule_for(settings.steps_by, [problem.solution or "" for problem in solved])
    length = [counted(problem.solution or "") for problem in problems]
    number = {
        problem.key: i
        for i, problem in enumerate(problem for problem, s in zip(problems, length, strict=True) if s)
    }
    n, c, wrong = (np.zeros(len(number)) for _ in range(3))
    places = []
    watch.begin(f"{source.name}: looking for first errors", source.run.count("responses"))
    for response, verdict in joined(source.run, Text):
        watch.advance()
        at = number.get(response.problem)
        if at is None:
            continue
        n[at] += 1
        if verdict.correct:
            c[at] += 1
        elif verdict.correct is False:
            wrong[at] += 1
            place = first_error(response.text)
            if place is not None:
                places.append(Placed(at, *place))
    watch.end()
    asked = n > 0
    if not asked.any():
        raise UsageError(
            f"no problem of `{source.run.path}` has a step by the rule `{rule}` and a response",
            "--steps-by lines",
        )
    steps_of = np.array([s for s in length if s], np.float64)
    new = np.cumsum(asked) - 1
    return _Tried(
        source=source, rule=rule, keys=[key for key, i in number.items() if asked[i]],
        steps=steps_of[asked], n=n[asked], c=c[asked], wrong=wrong[asked], left_out=length.count(0),
        places=[Placed(int(new[place.problem]), place.step, place.of) for place in places],
    )  # fmt: skip


def first_error(text: str) -> tuple[int, int] | None:
    """The step of a response with its first wrong equation, from 1, and how many steps it has; None where no equation
    is wrong."""
    from upwell.grading import check_equations

    wrong = check_equations(text).examples
    if not wrong:
        return None
    begins = [begin for begin, _ in spans(text)]
    step = max(bisect_right(begins, min(equation.start for equation in wrong)), 1)
    return step, max(len(begins), step)


def _describe(run: _Tried, settings: AnalyzeSettings, found: Found) -> Floats:
    """Points and fits of one run; returns the resampled step accuracy."""
    name, share = run.source.name, run.c / run.n
    kinds, which = np.unique(run.steps, return_inverse=True)
    member = (which == np.arange(len(kinds))[:, None]).astype(np.float64)
    problems = member.sum(axis=1)
    right = member @ share
    degenerate = not 0 < share.sum() < len(share)
    drawn = resampled_sums(np.concatenate([member * share, member]), settings.bootstrap, settings.seed)
    again_right, again_tried = drawn[:, : len(kinds)], drawn[:, len(kinds) :]
    step = float(step_accuracy(kinds, right, problems))
    again = step_accuracy(kinds, again_right, again_tried)
    models = [] if degenerate else fitted(Counts.of(run.steps, run.n, run.c))
    curves = {model.name: model.curve for model in models}
    with np.errstate(invalid="ignore", divide="ignore"):
        residuals = again_right / again_tried - again[:, None] ** kinds
    for i, s in enumerate(kinds):
        value, low, high = mean_with_interval(share[which == i])
        off_low, off_high = (None, None) if degenerate else percentiles(residuals[:, i])
        found.points.append({
            "what": "accuracy", "run": name, "steps": int(s), "value": value, "low": low, "high": high,
            "problems": int(problems[i]), "samples": int(run.n[which == i].sum()),
            "power": None if degenerate else step**s,
            "residual": None if degenerate else value - step**s, "residual_low": off_low, "residual_high": off_high,
            **{model: float(curve[i]) for model, curve in curves.items() if model != "power"},
        })  # fmt: skip
    whole, whole_low, whole_high = mean_with_interval(share)
    if degenerate:
        every = "right" if share.sum() else "wrong"
        found.conclusions.append(
            f"{name}: all {int(run.n.sum()):,} responses are {every}: there is no step accuracy to fit; accuracy "
            f"{percent(whole)} {between(whole_low, whole_high)}."
        )
        return np.full(settings.bootstrap, np.nan)
    step_low, step_high = percentiles(again)
    by_problem, by_kind = accuracy(step, kinds, problems)
    found.fits.append({
        "run": name, "fit": "power", "parameter": "step accuracy", "value": step, "low": step_low, "high": step_high,
        "problems": len(share), "samples": int(run.n.sum()), "accuracy": by_problem, "accuracy_over_steps": by_kind,
        "note": "every problem counts alike; interval by bootstrap over problems",
    })  # fmt: skip
    found.conclusions.append(
        f"{name}: accuracy {percent(whole)} {between(whole_low, whole_high)} over {len(share):,} problems of "
        f"{kinds[0]:.0f} to {kinds[-1]:.0f} steps (rule `{run.rule}`) comes to a step accuracy of {percent(step)} "
        f"{between(step_low, step_high)}."
    )
    enough = problems >= FEW
    _by_point(run, (kinds[enough], right[enough] / problems[enough]), drawn, enough, found)
    _continued(run, (kinds, right, problems), drawn, found)
    _alternatives(run, models, found)
    return np.asarray(again)


def _by_point(
    run: _Tried, points: tuple[Floats, Floats], drawn: Floats, enough: np.ndarray, found: Found
) -> None:  # fmt: skip
    """The fit in which every number of steps counts alike, by least squares."""
    kinds, shares = points
    if len(kinds) < 2 or not shares.any():
        return
    count = drawn.shape[1] // 2
    with np.errstate(invalid="ignore", divide="ignore"):
        again = (drawn[:, :count] / drawn[:, count:])[:, enough]
    value = float(_least_squares(kinds, shares[None])[0])
    low, high = percentiles(_least_squares(kinds, again))
    found.fits.append({
        "run": run.source.name, "fit": "power, by point", "parameter": "step accuracy", "value": value, "low": low,
        "high": high, "problems": len(run.n), "samples": int(run.n.sum()),
        "accuracy_over_steps": float(np.mean(value**kinds)),
        "note": f"least squares over the {len(kinds)} numbers of steps with {FEW} problems or more, alike",
    })  # fmt: skip


def _least_squares(kinds: Floats, shares: Floats) -> Floats:
    """The p of p^s nearest to each row of shares; missing shares do not count."""
    known = ~np.isnan(shares)
    shares = np.where(known, shares, 0.0)
    step = np.full(len(shares), 0.8)
    for _ in range(60):
        curve = step[:, None] ** kinds
        slope = np.where(known, kinds * step[:, None] ** (kinds - 1), 0.0)
        off = np.sum((shares - curve) * slope, axis=1)
        step = np.clip(
            step + np.clip(off / np.maximum(np.sum(slope**2, axis=1), 1e-12), -0.2, 0.2), 1e-6, 1.0
        )
    return np.where(known.any(axis=1), step, np.nan)


def _continued(run: _Tried, table: tuple[Floats, Floats, Floats], drawn: Floats, found: Found) -> None:
    """Whether long problems lie where the fit on short ones, continued, puts them."""
    kinds, right, problems = table
    usable = np.flatnonzero(problems >= FEW)
    if len(usable) <= _SHORT:
        found.notes.append(
            f"{run.source.name}: no fit on short problems is continued to long ones: it needs {_SHORT + 1} numbers of "
            f"steps with {FEW} problems or more, there are {len(usable)}"
        )
        return
    short, long = usable[:_SHORT], usable[_SHORT:]
    count = len(kinds)
    step = float(step_accuracy(kinds[short], right[short], problems[short]))
    again = step_accuracy(kinds[short], drawn[:, short], drawn[:, count + short])
    told = problems[long] @ step ** kinds[long] / problems[long].sum()
    value = float(right[long].sum() / problems[long].sum() - told)
    tried = drawn[:, count + long]
    with np.errstate(invalid="ignore", divide="ignore"):
        off = (drawn[:, long].sum(1) - np.sum(tried * again[:, None] ** kinds[long], 1)) / tried.sum(1)
    low, high = percentiles(off)
    ends = dict.fromkeys((f"{kinds[long[0]]:.0f}", f"{kinds[long[-1]]:.0f}"))
    where = f"{' to '.join(ends)} steps"
    found.fits.append({
        "run": run.source.name, "fit": "power on short problems", "parameter": "step accuracy", "value": step,
        **dict(zip(("low", "high"), percentiles(again), strict=True)),
        "problems": int(problems[short].sum()), "samples": int(run.n[np.isin(run.steps, kinds[short])].sum()),
        "note": f"{kinds[short[0]]:.0f} to {kinds[short[-1]]:.0f} steps",
    })  # fmt: skip
    found.fits.append({
        "run": run.source.name, "fit": "power on short problems",
        "parameter": "accuracy of long problems, above the fit", "value": value,
        "low": low, "high": high, "problems": int(problems[long].sum()),
        "samples": int(run.n[np.isin(run.steps, kinds[long])].sum()), "note": where,
    })  # fmt: skip
    if low is None or high is None or low <= 0 <= high:
        says = "lie where the fit on shorter problems puts them, as far as can be told"
    else:
        says = f"lie {'above' if value > 0 else 'below'} what the fit on shorter problems says"
    found.conclusions.append(
        f"{run.source.name}: problems of {where} {says}: {100 * value:+.1f} points {_points(low, high)}."
    )


def _points(low: float | None, high: float | None) -> str:
    return "(no interval)" if low is None or high is None else f"({100 * low:+.1f} to {100 * high:+.1f})"


def _alternatives(run: _Tried, models: list[Model], found: Found) -> None:
    best = min(models, key=lambda model: model.aic)
    for model in models:
        found.fits.append({
            "run": run.source.name, "fit": model.name, "parameter": "mean step accuracy, by likelihood",
            "value": model.mean, "low": model.low, "high": model.high, "size": model.size,
            "problems": len(run.n), "samples": int(run.n.sum()), "parameters": model.parameters,
            "log_likelihood": model.log_likelihood, "aic": model.aic, "above_best": model.aic - best.aic,
            "note": _SAYS[model.name],
        })  # fmt: skip
    named = {model.name: model for model in models}
    plain, beta = named.get("spread", named["power"]), named["beta"]
    apart = plain.aic - beta.aic
    if abs(apart) < 4:
        says = f"cannot be told apart (AIC differs by {abs(apart):.1f})"
    else:
        says = f"are told apart: the {'second' if apart > 0 else 'first'} is likelier (AIC lower by {abs(apart):.1f})"
    found.conclusions.append(
        f"{run.source.name}: {_SAYS[plain.name]} (p^s), and {_SAYS['beta']} (E[p^s], mean {percent(beta.mean)} "
        f"{between(beta.low, beta.high)}), {says}."
    )
    if best.name not in (plain.name, "beta"):
        found.conclusions.append(
            f"{run.source.name}: likelier than either is {_SAYS[best.name]} (AIC lower by "
            f"{min(plain.aic, beta.aic) - best.aic:.1f}): the number of steps does not set accuracy by p^s alone."
        )
    if run.n.max() == 1:
        found.notes.append(
            f"{run.source.name}: with one response per problem, differences between problems show in the curve only"
        )


def _first_errors(run: _Tried, found: Found) -> None:
    name, wrong = run.source.name, int(run.wrong.sum())
    if not wrong:
        found.conclusions.append(f"{name}: no response is wrong, so there is no first error.")
        return
    count = len(run.n)
    told = np.bincount([place.problem for place in run.places], minlength=count)
    share, low, high = ratio_interval(told, run.wrong)
    found.fits.append({
        "run": name, "fit": "first error", "parameter": "wrong responses with a wrong equation", "value": share,
        "low": low, "high": high, "problems": int(np.count_nonzero(run.wrong)), "samples": wrong,
    })  # fmt: skip
    if not run.places:
        found.conclusions.append(
            f"{name}: none of {wrong:,} wrong responses writes down a wrong equation: where they go wrong cannot be "
            f"told (at most {percent(high)} do)."
        )
        return
    last = 10
    for step in range(1, last + 1):
        hits = np.bincount(
            [p.problem for p in run.places if p.step == step or (step == last and p.step > last)],
            minlength=count,
        )
        if hits.any():
            value, below, above = ratio_interval(hits, told)
            found.points.append({
                "what": "first error" if step < last else f"first error, or later than step {last}", "run": name,
                "steps": step, "value": value, "low": below, "high": above,
                "problems": int(np.count_nonzero(hits)), "samples": int(hits.sum()),
            })  # fmt: skip
    position = np.bincount([p.problem for p in run.places], [p.step / p.of for p in run.places], count)
    value, below, above = ratio_interval(position, told)
    fit = float(step_accuracy(*_table(run)))
    chance = np.mean([_expected_position(fit, place.of) for place in run.places])
    found.fits.append({
        "run": name, "fit": "first error", "parameter": "mean position, as a share of the response's steps",
        "value": value, "low": below, "high": above, "problems": int(np.count_nonzero(told)),
        "samples": len(run.places), "expected": float(chance),
        "note": "`expected`: if every step failed with the same chance",
    })  # fmt: skip
    found.conclusions.append(
        f"{name}: {percent(share)} {between(low, high)} of {wrong:,} wrong responses write down a wrong equation; the "
        f"first stands on average at {percent(value)} {between(below, above)} of the response's steps, where errors "
        f"that strike every step alike would put it at {percent(float(chance))}. The other wrong responses go wrong in "
        "what they compute, which this cannot place."
    )


def _table(run: _Tried) -> tuple[Floats, Floats, Floats]:
    kinds, which = np.unique(run.steps, return_inverse=True)
    right, problems = np.bincount(which, run.c / run.n), np.bincount(which)
    return kinds, right.astype(np.float64), problems.astype(np.float64)


def _expected_position(step: float, of: int) -> float:
    """Mean place of the first error, of responses of so many steps that have one, if every step is right with one
    chance."""
    places = np.arange(1, of + 1)
    chance = np.maximum(step, 1e-12) ** (places - 1)
    return float(places @ chance / chance.sum() / of)


def _compared(means: list[tuple[_Tried, Floats]], found: Found) -> None:
    """Step accuracy of every further run against the first's."""
    if len(means) < 2:
        return
    (first, base), *others = means
    told: list[str] = []
    for run, again in others:
        kinds = step_accuracy(*_table(run)) - step_accuracy(*_table(first))
        if run.keys != first.keys or np.isnan(again).any() or np.isnan(base).any():
            found.notes.append(
                f"{run.source.name} and {first.source.name} are not compared: "
                + ("other problems" if run.keys != first.keys else "one has nothing to fit")
            )
            continue
        low, high = percentiles(again - base)
        row: Row = {
            "run": run.source.name, "fit": "power", "parameter": f"step accuracy, above that of {first.source.name}",
            "value": float(kinds), "low": low, "high": high, "problems": len(run.n),
            "samples": int(run.n.sum() + first.n.sum()), "note": "paired by problem",
        }  # fmt: skip
        found.fits.append(row)
        told.append(
            f"{run.source.name}: step accuracy differs by {100 * float(kinds):+.1f} points {_points(low, high)} from "
            f"that of {first.source.name}, on the same problems."
        )
    found.conclusions[:0] = told  # what is asked first about several runs
