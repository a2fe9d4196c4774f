"""From the runs of an evaluation to the rows of its table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from upwell.evaluation.published import FIGURES, Figure, figures_of
from upwell.measurement.comparison import compare
from upwell.measurement.perturbation import parent_of
from upwell.measurement.watch import Watch
from upwell.records import Problem, Verdict
from upwell.runs import Run

_ROUNDING = 0.0005
"""Published figures are rounded to a tenth of a percent."""
_PARTS = ("value", "low", "high", "low_fixed", "high_fixed", "problems")
AVERAGES = {
    "xwin": ("svamp", "asdiv", "numglue", "algebra", "mawps"),
    "dart": ("math", "gsm8k", "college-math", "deepmind-mathematics", "olympiadbench", "theoremqa"),
}
"""The sets that a suite's published averages are over."""

Row = dict[str, Any]


def row_of(model: Mapping[str, Any], name: str, benchmark: str, runs: Mapping[str, Path], out: Path) -> Row:
    """The row of a model on a set.

    Args:
        model: The model's entry.
        name: The set's name in the table.
        benchmark: The name that figures are published under; empty where it is no published set.
        runs: The set's runs: `greedy`, and with samples `sampled`; of an exam `judged`.
        out: Run directory of the evaluation, which paths are relative to.
    """
    found = {kind: Run.read(path) for kind, path in runs.items()}
    answers = found.get("judged") or found["greedy"]
    summary = answers.summary or {}
    row: Row = {
        "model": model["label"],
        "set": name,
        "problems": summary["counts"]["problems"],
        "greedy": _share(summary, "pass_ratio"),
        "truncated": _value(summary, "truncated"),
        "failed": sum((run.summary or {})["counts"].get("failed", 0) for run in found.values()),
        "judged": "judged" in found,
        "styles": _styles(summary),
        "sampled": _sampled(found["sampled"].summary or {}) if "sampled" in found else None,
        "slices": _slices(summary, (found["sampled"].summary or {}) if "sampled" in found else None),
        "runs": {kind: str(path.relative_to(out)) for kind, path in runs.items()},
        "notes": [note for note in summary.get("notes", [])],
    }
    row["published"] = (
        [_beside(figure, row) for figure in figures_of(model["name"], benchmark)] if benchmark else []
    )
    return row


def average_of(model: Mapping[str, Any], suite: str, rows: Sequence[Row]) -> Row | None:
    """The mean over the sets that the suite's published averages are over; None where one of them is missing."""
    wanted = AVERAGES.get(suite, ())
    chosen = [row for row in rows if row["model"] == model["label"] and row["set"] in wanted]
    if not wanted or len(chosen) < len(wanted):
        return None
    row: Row = {
        "model": model["label"], "set": "average", "problems": sum(row["problems"] for row in chosen),
        "over": list(wanted), "greedy": _mean([row["greedy"] for row in chosen]), "judged": False, "sampled": None,
        "styles": [
            {"style": style, **_mean([_in_style(row, style) for row in chosen])}
            for style in dict.fromkeys(entry["style"] for row in chosen for entry in row["styles"])
        ],
    }  # fmt: skip
    row["published"] = [
        _beside(figure, row) for figure in figures_of(model["name"], "average") if _of_suite(figure, wanted)
    ]
    return row


def comparisons(rows: Sequence[Row], out: Path, watch: Watch) -> list[dict[str, Any]]:
    """Paired differences of each model to the first, on every set that both have."""
    first, found = rows[0]["model"] if rows else "", []
    mine = {row["set"]: row for row in rows if row["model"] == first}
    for row in rows:
        if row["model"] == first or row["set"] not in mine:
            continue
        for kind, path in row["runs"].items():
            other = mine[row["set"]]["runs"].get(kind)
            if other is None or (kind == "greedy" and row["judged"]) or row["problems"] < 2:
                continue
            watch.say(f"comparing {row['model']} with {first} on {row['set']}, {kind}")
            paired = compare(str(out / other), str(out / path))
            found += [
                {"set": row["set"], "kind": kind, "first": first, "second": row["model"], "name": line.name,
                 "k": line.k, "means": [line.first, line.second], "difference": _plain(line.difference)}
                for line in paired.lines
            ]  # fmt: skip
    return found


def robustness(rows: Sequence[Row], out: Path) -> list[dict[str, Any]]:
    """How each model does on changed problems against the very problems that they were made from."""
    from upwell.metrics import compare as paired

    found: list[dict[str, Any]] = []
    by_name = {(row["model"], row["set"]): row for row in rows}
    for row in rows:
        plain = row["set"].removesuffix("-perturbed")
        original = by_name.get((row["model"], f"{plain}-originals"))
        if original is None or plain == row["set"]:
            continue
        for kind in ("greedy", "sampled"):
            if kind not in row["runs"] or kind not in original["runs"]:
                continue
            was, now = (_right(Run.read(out / one["runs"][kind])) for one in (original, row))
            pairs = [(was[parent_of(key)], value) for key, value in now.items() if parent_of(key) in was]
            if len(pairs) < 2:
                continue
            import numpy as np

            before, after = np.array(pairs, np.float64).T
            found.append(
                {"set": row["set"], "kind": kind, "model": row["model"], "problems": len(pairs),
                 "means": [float(before.mean()), float(after.mean())], "difference": _plain(paired(before, after))}
            )  # fmt: skip
    return found


# -- one row


def _share(
    summary: Mapping[str, Any], name: str, k: int | None = None, part: str | None = None
) -> dict[str, Any]:
    for metric in summary.get("metrics", ()):
        if (metric["name"], metric["k"], metric["slice"]) == (name, k, part):
            return {name: metric[name] for name in _PARTS}
    return dict.fromkeys(_PARTS)


def _value(summary: Mapping[str, Any], name: str) -> float | None:
    value = _share(summary, name)["value"]
    return None if value is None else float(value)


def _styles(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    styles = summary.get("agreement", {}).get("styles", [])[1:]
    return [{"style": entry["style"]} | {name: entry[name] for name in _PARTS} for entry in styles]


def _sampled(summary: Mapping[str, Any]) -> dict[str, Any]:
    most = max(
        (m["k"] for m in summary["metrics"] if m["name"] == "pass@k" and m["value"] is not None), default=0
    )
    return {
        "samples": most,
        "pass_ratio": _share(summary, "pass_ratio"),
        "pass@k": _share(summary, "pass@k", most),
    }


def _slices(greedy: Mapping[str, Any], sampled: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    found = []
    for metric in greedy.get("metrics", ()):
        if metric["name"] != "pass_ratio" or metric["slice"] is None:
            continue
        entry: dict[str, Any] = {"slice": metric["slice"], "greedy": {name: metric[name] for name in _PARTS}}
        if sampled is not None:
            most = _sampled(sampled)["samples"]
            entry["pass_ratio"] = _share(sampled, "pass_ratio", None, metric["slice"])
            entry["pass@k"] = _share(sampled, "pass@k", most, metric["slice"])
        found.append(entry)
    return found


def _in_style(row: Row, style: str) -> dict[str, Any]:
    return next((entry for entry in row["styles"] if entry["style"] == style), row["greedy"])


def _beside(figure: Figure, row: Row) -> dict[str, Any]:
    """A published figure beside our number in the same grader's style, or in ours where that was not applied."""
    graded = any(entry["style"] == figure.style for entry in row["styles"])
    ours = _in_style(row, figure.style or "")
    told: dict[str, Any] = {
        "model": figure.model, "percent": figure.percent, "source": figure.source.title, "url": figure.source.url,
        "style": figure.style, "note": figure.note, "ours_graded_as": figure.style if graded else None,
        "ours": ours["value"], "difference": None, "within": None,
    }  # fmt: skip
    if ours["value"] is None or row["judged"]:  # right answers by a judge are not points by people
        return told
    published = figure.percent / 100
    told["difference"] = 100 * ours["value"] - figure.percent
    if ours["low"] is not None:
        told["within"] = ours["low"] - _ROUNDING <= published <= ours["high"] + _ROUNDING
    return told


def _of_suite(figure: Figure, wanted: Sequence[str]) -> bool:
    """Whether a published average is one over these sets: its source has figures on them."""
    known = {other.benchmark for other in FIGURES if other.source == figure.source}
    return set(wanted) <= known


def _mean(shares: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The plain mean over sets. They are independent, so each half of the interval is a root of squares."""
    values = [share["value"] for share in shares]
    if any(value is None for value in values):
        return dict.fromkeys(_PARTS)
    mean = sum(values) / len(values)
    bounds = {
        name: mean + sign * math.hypot(*(share[name] - share["value"] for share in shares)) / len(shares)
        if all(share[name] is not None for share in shares)
        else None
        for name, sign in (("low", -1), ("high", 1), ("low_fixed", -1), ("high_fixed", 1))
    }
    return {"value": mean, **bounds, "problems": sum(share["problems"] for share in shares)}


def _right(run: Run) -> dict[str, float]:
    """Share of right responses by problem."""
    counts: dict[str, list[int]] = {problem.key: [0, 0] for problem in run.rows("problems", Problem)}
    for verdict in run.rows("verdicts", Verdict):
        count = counts[verdict.key.rpartition("#")[0]]
        count[0] += bool(verdict.correct)
        count[1] += 1
    return {key: right / drawn for key, (right, drawn) in counts.items() if drawn}


def _plain(difference: Any) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(difference)
    return found
