"""How far the rungs of a ladder err together: they were measured on the same problems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from upwell.analysis.forms import Floats
from upwell.analysis.graded import measured_as
from upwell.grading import RuleGrader
from upwell.measurement.summary import outcomes_of
from upwell.measurement.watch import Watch
from upwell.metrics import Outcomes, maj_at_k, pass_at_k
from upwell.runs import Run

_GREEDY = "greedy_"
"""Begins the names of what a ladder measured with one greedy response."""


def correlation(ladder: Path, rows: Sequence[dict[str, Any]], label: str, watch: Watch) -> Floats | None:
    """Correlations between rungs of their errors on problems like these.

    Those of the problems' own values: a rung's mean is off by which problems were drawn, and by the luck of responses;
    the first is the same for all rungs, as far as they find the same problems hard. Of few problems they are uncertain,
    so they are taken towards 0 by the share n / (n + problems).

    Args:
        ladder: folder of the run.
        rows: n rungs of its table.
        label: what the table calls the metric.
        watch: told of the progress.

    Returns:
        `(n, n)`; None where the measured runs are gone or are not over the same problems.
    """
    folders = [ladder / "measured" / measured_as(row) for row in rows]
    folders = [folder / ("greedy" if label.startswith(_GREEDY) else "sampled") for folder in folders]
    if not all((folder / "summary.json").exists() for folder in folders):
        return None
    each, keys = [], set()
    with RuleGrader() as grader:
        for folder in folders:
            outcomes, _, _ = outcomes_of(Run.read(folder), grader, watch, guess=False)
            names = [slot.key for slot in outcomes.slots]
            order = sorted(range(len(names)), key=names.__getitem__)
            keys.add(tuple(names[i] for i in order))
            each.append(_values(outcomes, label)[order])
    if len(keys) != 1 or len(each[0]) < 2:
        return None
    return of_values(np.stack(each))


def _values(outcomes: Outcomes, label: str) -> Floats:
    """The metric of every problem."""
    name, _, k = label.removeprefix(_GREEDY).partition("@")
    if name == "pass_ratio":
        return np.asarray(outcomes.c / outcomes.n)
    if name == "pass":
        return pass_at_k(outcomes.n, outcomes.c, int(k))
    return maj_at_k(outcomes.n, outcomes.classes, int(k)).values


def of_values(values: Floats) -> Floats:
    """Correlations, `(n, n)`, of the rows of `(n, problems)`, taken towards 0; rows of one value have none."""
    count, problems = values.shape
    around = values - values.mean(axis=1, keepdims=True)
    size = np.sqrt((around**2).sum(axis=1))
    unit = np.divide(around, size[:, None], out=np.zeros_like(around), where=size[:, None] > 1e-12)
    found: Floats = unit @ unit.T * problems / (problems + count)
    np.fill_diagonal(found, 1.0)
    return found
