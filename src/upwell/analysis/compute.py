"""What accuracy costs: more samples, or one more rung of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upwell.analysis.bootstrap import mean_with_interval
from upwell.analysis.found import Found, Row
from upwell.analysis.graded import graded
from upwell.analysis.pricing import FORWARD, MAJORITY, ORACLE, TRAINING, Priced, priced
from upwell.analysis.rungs import against_samples
from upwell.analysis.settings import AnalyzeSettings
from upwell.errors import UsageError
from upwell.grading import RuleGrader
from upwell.measurement.summary import outcomes_of
from upwell.measurement.watch import Watch
from upwell.metrics import compare


def compute(sources: Sequence[str], settings: AnalyzeSettings, watch: Watch) -> Found:
    """Accuracy against tokens, FLOPs and dollars, the frontier, and when a rung beats samples.

    Raises:
        UsageError: a source has no verdicts or no token counts, or the runs share no problems.
    """
    found = Found(points=[], fits=[], conclusions=[], notes=[])
    opened = graded(sources, "compute")
    with RuleGrader() as grader:
        tables = [(one, outcomes_of(one.run, grader, watch, guess=False)[0]) for one in opened]
    shared = set.intersection(*({slot.key for slot in table.slots} for _, table in tables))
    if not shared:
        raise UsageError(
            "the runs share no problem, so their accuracies cannot be set against each other",
            "analyse runs over the same --problems and --limit",
        )
    most = max(len(table.slots) for _, table in tables)
    if len(shared) < most:
        found.notes.append(f"over the {len(shared):,} problems that all runs share, of {most:,}")
    runs = []
    for one, table in tables:
        order = sorted((slot.key, i) for i, slot in enumerate(table.slots) if slot.key in shared)
        chosen = table.take(np.array([i for _, i in order], np.int64))
        runs.append(priced(one, chosen, settings, watch, found.notes))
    points = [row for run in runs for row in _points(run)]
    by = "flops" if all(run.parameters for run in runs) else "tokens"
    if by == "tokens" and len(runs) > 1:
        found.notes.append(
            "the size of some model is not known (--parameters), so the frontier is in tokens: right only for models "
            "of one size"
        )
    mark_frontier(points, by)
    found.points.extend(points)
    for run in runs:
        _doubling(run, found)
    _frontier_in_words(points, by, found)
    against_samples(runs, settings, found)
    found.notes.append(
        f"costs are per question: a prompt is read once for all k responses, a token takes {FORWARD:.0f}N FLOPs "
        f"forward and {TRAINING:.0f}N in training (N parameters that it is multiplied with; attention, which grows "
        "with length, is left out), and choosing among responses costs nothing"
    )
    return found


def _points(run: Priced) -> list[Row]:
    rung, rows = run.source.rung, list[Row]()
    for selector, at_k in run.values.items():
        for k, each in at_k.items():
            value, low, high = mean_with_interval(each)
            tokens = float(run.tokens_at(k).mean())
            row: Row = {
                "run": run.source.name, "selector": selector, "k": k, "value": value, "low": low, "high": high,
                "tokens": tokens, "flops": FORWARD * run.parameters * tokens if run.parameters else None,
                "usd": None if run.usd is None else k * run.usd, "problems": len(each), "samples": run.samples,
                "parameters": run.parameters,
            }  # fmt: skip
            if rung is not None:
                row |= {
                    "examples": rung.examples, "trained_tokens": rung.trained_tokens,
                    "training_flops": TRAINING * run.parameters * rung.trained_tokens if run.parameters else None,
                }  # fmt: skip
            rows.append(row)
    return rows


def mark_frontier(points: list[Row], by: str) -> None:
    """Say of each point whether no other of its selector is as right for less, or more right for as much."""
    for selector in {row["selector"] for row in points}:
        rows = [row for row in points if row["selector"] == selector]
        best = -1.0
        for row in sorted(rows, key=lambda row: (_number(row[by]), -_number(row["value"]))):
            row["frontier"] = _number(row["value"]) > best
            best = max(best, _number(row["value"]))


def _number(cell: object) -> float:
    assert isinstance(cell, int | float)
    return float(cell)


def _doubling(run: Priced, found: Found) -> None:
    """What the last doubling of responses buys."""
    if len(run.ks) < 2:
        found.notes.append(
            f"{run.source.name}: one response per problem: there are no more samples to set against its cost"
        )
        return
    few, many = run.ks[-2:]
    more = float((run.tokens_at(many) - run.tokens_at(few)).mean())
    for selector, at_k in run.values.items():
        if len(at_k[few]) < 2:
            continue
        gain = compare(at_k[few], at_k[many])
        found.fits.append({
            "run": run.source.name, "selector": selector, "parameter": f"gain from {few} to {many} responses",
            "value": gain.value, "low": gain.low, "high": gain.high, "tokens": more, "problems": gain.problems,
            "samples": run.samples,
        })  # fmt: skip
        name = "majority vote" if selector == MAJORITY else "pass@k"
        found.conclusions.append(
            f"{run.source.name}: from {few} to {many} responses {name} gains {100 * gain.value:+.1f} points "
            f"({100 * gain.low:+.1f} to {100 * gain.high:+.1f}) for {more:,.0f} more tokens a question."
        )


def _frontier_in_words(points: list[Row], by: str, found: Found) -> None:
    for selector in (MAJORITY, ORACLE):
        rows = [row for row in points if row["selector"] == selector and row["frontier"]]
        if len({row["run"] for row in points}) < 2 or not rows:
            continue
        rows.sort(key=lambda row: _number(row[by]))
        names = list(dict.fromkeys(str(row["run"]) for row in rows))
        most = _number(rows[-1][by])
        cost = f"{most / 1e9:,.3g} GFLOPs" if by == "flops" else f"{most:,.0f} tokens"
        found.conclusions.append(
            f"By sampling cost alone, the frontier of {selector} runs over {', '.join(names)}, up to "
            f"{100 * _number(rows[-1]['value']):.1f} % for {cost} a question; whether neighbours on it differ by more "
            "than chance is for their intervals."
        )
