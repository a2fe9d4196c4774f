"""How much of the distance from PassRatio to pass@k a selector that knows no gold answers reaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from upwell.analysis.bootstrap import (
    Floats,
    between,
    mean_with_interval,
    percent,
    percentiles,
    resampled_sums,
)
from upwell.analysis.found import Found
from upwell.analysis.graded import Source, graded
from upwell.analysis.settings import AnalyzeSettings
from upwell.errors import UsageError
from upwell.grading import RuleGrader
from upwell.measurement.summary import outcomes_of
from upwell.measurement.watch import Watch
from upwell.metrics import Outcomes, best_of_at_k, compare, default_ks, maj_at_k, pass_at_k, weighted_maj_at_k
from upwell.metrics.outcomes import NO_VOTE

RANDOM, ORACLE, MAJORITY = "random", "oracle", "majority"
_SCORE, _LIKELY = "score", "log-probability"
_SAYS = {MAJORITY: "majority vote"}
Values = dict[str, Floats]
"""Per selector, `(problems,)`: the chance that what it takes of k responses is right."""


def selection(sources: Sequence[str], settings: AnalyzeSettings, watch: Watch) -> Found:
    """What every selector that the responses allow makes of k of them.

    Raises:
        UsageError: a source has no verdicts, or one response for some problem.
    """
    found = Found(points=[], fits=[], conclusions=[], notes=[])
    with RuleGrader() as grader:
        for source in graded(sources, "selection"):
            tables = list(_tables(source, grader, watch, found.notes))
            _selected(source, tables, settings, watch, found)
    found.notes.append(
        "`reached` is (selector - PassRatio) / (pass@k - PassRatio): 0 for a random choice, 1 for one that knows the "
        "answer; all over subsets of k of the responses drawn"
    )
    return found


def _tables(
    source: Source, grader: RuleGrader, watch: Watch, notes: list[str]
) -> Iterator[tuple[str | None, Outcomes]]:
    """The outcomes with each kind of score that all responses have, by its name; None where there is none."""
    outcomes, tally, _ = outcomes_of(source.run, grader, watch, guess=False)
    fewest = int(outcomes.n.min()) if len(outcomes.slots) else 0
    if fewest < 2:
        short = int(np.count_nonzero(outcomes.n < 2))
        raise UsageError(
            f"{short:,} of {len(outcomes.slots):,} problems of `{source.run.path}` have one response: there is nothing "
            "to select from",
            "measure with --samples 16: `upwell measure ... --samples 16 --out RUN`",
        )
    scored, likely = tally.scored == tally.responses, tally.likely == tally.responses
    if outcomes.scores is None:
        notes.append(
            f"{source.name}: responses have neither scores nor log-probabilities, so no verifier selects "
            "(`upwell grade RUN --score MODEL`, or sample with --logprobs)"
        )
        yield None, outcomes
        return
    yield (_SCORE if scored else _LIKELY), outcomes
    if scored and likely:
        yield _LIKELY, outcomes_of(source.run, grader, watch, score="logprob", guess=False)[0]


def _values(
    tables: Sequence[tuple[str | None, Outcomes]], ks: Sequence[int], seed: int, notes: list[str], name: str
) -> dict[int, Values]:  # fmt: skip
    outcomes = tables[0][1]
    n, c, right = outcomes.n, outcomes.c, outcomes.correct == 1
    votes = bool(np.any(outcomes.votes != NO_VOTE))
    if not votes:
        notes.append(f"{name}: no answers are known, only verdicts: nobody can vote")
    found: dict[int, Values] = {k: {RANDOM: c / n, ORACLE: pass_at_k(n, c, k)} for k in ks}
    for k in ks:
        if votes:
            found[k][MAJORITY] = maj_at_k(n, outcomes.classes, k, seed=seed).values
    for label, table in tables:
        if label is None or table.scores is None:
            continue
        for k in ks:
            found[k][f"best by {label}"] = best_of_at_k(table.starts, right, table.scores, k)
        if votes:
            for k, voted in weighted_maj_at_k(table, ks, seed=seed).items():
                found[k][f"vote weighted by {label}"] = voted.values
    return found


def _selected(
    source: Source,
    tables: Sequence[tuple[str | None, Outcomes]],
    settings: AnalyzeSettings,
    watch: Watch,
    found: Found,
) -> None:
    outcomes = tables[0][1]
    ks = [k for k in default_ks(int(outcomes.n.min())) if k > 1]
    watch.say(f"{source.name}: selecting among 2 to {ks[-1]} responses")
    values = _values(tables, ks, settings.seed, found.notes, source.name)
    problems, samples = len(outcomes.slots), int(outcomes.n.sum())
    for k in ks:
        names = list(values[k])
        each = np.stack([values[k][name] for name in names])
        drawn = resampled_sums(each, settings.bootstrap, settings.seed)
        means, base = each.mean(axis=1), names.index(RANDOM)
        top = names.index(ORACLE)
        with np.errstate(invalid="ignore", divide="ignore"):
            again = (drawn - drawn[:, [base]]) / (drawn[:, top] - drawn[:, base])[:, None]
        apart = float(means[top] - means[base])
        for i, name in enumerate(names):
            value, low, high = mean_with_interval(each[i])
            near, far = percentiles(again[:, i]) if apart > 1e-12 else (None, None)
            found.points.append({
                "run": source.name, "k": k, "selector": name, "value": value, "low": low, "high": high,
                "reached": (value - float(means[base])) / apart if apart > 1e-12 else None,
                "reached_low": near, "reached_high": far, "problems": problems, "samples": samples,
            })  # fmt: skip
            if k == ks[-1] and name not in (RANDOM, ORACLE, MAJORITY) and MAJORITY in names:
                _against_majority(source, k, (name, each[i]), values[k][MAJORITY], found)
    _conclude(source, ks[-1], found)


def _against_majority(source: Source, k: int, one: tuple[str, Floats], voted: Floats, found: Found) -> None:
    if len(voted) < 2:
        return
    ahead = compare(voted, one[1])
    found.fits.append({
        "run": source.name, "k": k, "selector": one[0], "parameter": "accuracy, above that of majority vote",
        "value": ahead.value, "low": ahead.low, "high": ahead.high, "problems": ahead.problems,
    })  # fmt: skip


def _conclude(source: Source, k: int, found: Found) -> None:
    rows = {row["selector"]: row for row in found.points if row["run"] == source.name and row["k"] == k}

    def shown(name: str) -> str:
        row = rows[name]
        return f"{percent(_number(row['value']))} {between(_number(row['low']), _number(row['high']))}"

    start = f"{source.name}: from PassRatio {shown(RANDOM)} to pass@{k} {shown(ORACLE)}"
    if rows[ORACLE]["reached"] is None:
        found.conclusions.append(f"{start} there is no distance: no selector could gain anything.")
        return
    told = []
    for name, row in rows.items():
        if name in (RANDOM, ORACLE):
            continue
        low, high = _number(row["reached_low"]), _number(row["reached_high"])
        verdict = ""
        if high is not None and high < 0:
            verdict = ", which is worse than a random choice"
        elif low is not None and low <= 0:
            verdict = ", not told from a random choice"
        told.append(
            f"{_SAYS.get(str(name), name)} reaches {percent(_number(row['reached']))} {between(low, high)}{verdict}"
        )
    found.conclusions.append(
        f"{start}: of this distance {'; '.join(told)}."
        if told
        else f"{start}; nothing that the responses come with can select among them."
    )
    for row in found.fits:
        if row["run"] == source.name:
            low, high = _number(row["low"]), _number(row["high"])
            says = (
                "cannot be told from"
                if low is None or high is None or low <= 0 <= high
                else "is better than"
                if low > 0
                else "is worse than"
            )
            size = "" if low is None or high is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
            found.conclusions.append(
                f"{source.name}: with {k} responses {row['selector']} {says} majority vote: "
                f"{100 * (_number(row['value']) or 0.0):+.1f} points{size}."
            )


def _number(cell: object) -> float | None:
    return float(cell) if isinstance(cell, int | float) else None
