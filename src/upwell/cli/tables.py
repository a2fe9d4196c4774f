"""Tables on stdout."""

from __future__ import annotations

import os
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from upwell.report.text import visible

_HEADLINE = [
    ("pass_ratio", "PassRatio (mean share correct)"),
    ("pass@k", "pass@{k}"),
    ("maj@k", "maj@{k}"),
    ("pass^k", "pass^{k} (all {k} correct)"),
    ("chance_pass@k", "chance pass@{k}"),
    ("adjusted_pass@k", "pass@{k} adjusted for chance"),
    ("truncated", "truncated at the token limit"),
    ("no_answer", "without an answer"),
    ("undecided", "the grader could not tell"),
    ("mean_tokens", "mean tokens"),
]


def console() -> Console:
    """stdout: as wide as the terminal, or wide enough for any table where there is none."""
    asked = os.environ.get("COLUMNS", "")
    # rich itself reads COLUMNS, but takes 80 where there is neither that nor a terminal.
    width = None if sys.stdout.isatty() or (asked.isdigit() and int(asked) > 0) else 110
    return Console(width=width, highlight=False)


def metrics_table(manifest: dict[str, Any], summary: dict[str, Any]) -> None:
    """The headline numbers of a run, each with both intervals; then what to know about them."""
    whole = [m for m in summary["metrics"] if m["slice"] is None]
    if not whole:
        return
    most = max((m["k"] for m in whole if m["k"] is not None and m["value"] is not None), default=None)
    counts = summary["counts"]
    out = console()
    title = (
        f"{manifest.get('model', {}).get('name', manifest.get('engine', ''))} on "
        f"{manifest['fingerprint'].get('problems', 'a run')}: {counts['problems']:,} problems, "
        f"{counts['responses']:,} responses"
    )
    table = Table(
        title=escape(visible(title)), title_justify="left", title_style="bold", caption_justify="left"
    )
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("95 %, problems like these", justify="right")
    table.add_column("95 %, these problems", justify="right")
    for name, label in _HEADLINE:
        for metric in _chosen(whole, name, most):
            table.add_row(label.format(k=metric["k"]), *_cells(metric))
    out.print(table)
    for slice_ in sorted({m["slice"] for m in summary["metrics"] if m["slice"]}):
        ratio, best = (
            next(
                (m for m in summary["metrics"] if (m["name"], m["k"], m["slice"]) == (name, k, slice_)), None
            )
            for name, k in (("pass_ratio", None), ("pass@k", most))
        )
        if ratio and best:
            shares = f"PassRatio {_number(ratio, 'value')}, pass@{most} {_number(best, 'value')}"
            out.print(visible(f"  {slice_}: {shares} ({ratio['problems']} problems)"), markup=False)
    for note in summary.get("notes", []):
        out.print(visible(f"note: {note}"), markup=False)


def _chosen(metrics: list[dict[str, Any]], name: str, most: int | None) -> list[dict[str, Any]]:
    wanted: tuple[int | None, ...] = (None, most) if name != "pass@k" else (1, most)
    found = [m for m in metrics if m["name"] == name and m["k"] in wanted]
    if name == "undecided":
        return [m for m in found if m["value"]]
    return sorted(found, key=lambda m: m["k"] or 0)


def _cells(metric: dict[str, Any]) -> tuple[str, str, str]:
    return (
        _number(metric, "value"),
        f"{_number(metric, 'low')} – {_number(metric, 'high')}",
        f"{_number(metric, 'low_fixed')} – {_number(metric, 'high_fixed')}",
    )


def _number(metric: dict[str, Any], what: str) -> str:
    value = metric[what]
    if value is None:
        return "?"
    return f"{value:,.1f}" if metric["name"] == "mean_tokens" else f"{100 * value:.1f} %"
