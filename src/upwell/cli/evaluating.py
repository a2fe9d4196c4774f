"""The verb that evaluates, and its table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from upwell.cli.flags import Flags
from upwell.evaluation.settings import EvaluateSettings

if TYPE_CHECKING:
    from rich.console import Console


def evaluate(*models: str, settings: Annotated[EvaluateSettings, Flags]) -> int:
    """Evaluate models on a suite of benchmarks: greedy pass@1, and with --samples Pass@N and PassRatio@N.

    Parameters
    ----------
    models
        As --model of `upwell measure` takes them; LABEL=MODEL names one in tables and folders.
    """
    from upwell.cli.terminal import Terminal
    from upwell.evaluation import stage
    from upwell.report.text import visible
    from upwell.runs import Run

    with Terminal() as terminal:
        path = stage.evaluate(models, settings, watch=terminal)
    summary = Run.read(path).summary
    if summary is None:
        return 1
    evaluation_tables(summary)
    sys.stdout.write(f"run: {visible(str(path))}\n")
    return 1 if summary["counts"]["failed"] else 0


def evaluation_tables(summary: dict[str, Any]) -> None:
    """A table per model, then levels and subjects, models against each other, and what was skipped."""
    from upwell.cli.tables import console
    from upwell.report.text import visible

    out = console()
    for model in summary["models"]:
        rows = [row for row in summary["rows"] if row["model"] == model["label"]]
        means = [row for row in summary["averages"] if row["model"] == model["label"]]
        _model_table(out, model, summary, [*rows, *means])
    for name in dict.fromkeys(row["set"] for row in summary["rows"] if _levels(row)):
        _slice_table(out, name, [row for row in summary["rows"] if row["set"] == name])
    _difference_table(out, summary)
    for skip in summary["skipped"]:
        hint = f" (hint: {skip['hint']})" if skip["hint"] else ""
        out.print(visible(f"skipped: {skip['set']}: {skip['reason']}{hint}"), markup=False)
    for note in dict.fromkeys(f"{row['set']}: {note}" for row in summary["rows"] for note in row["notes"]):
        out.print(visible(f"note: {note}"), markup=False)


def _model_table(
    out: Console, model: dict[str, Any], summary: dict[str, Any], rows: Sequence[dict[str, Any]]
) -> None:
    from rich.markup import escape
    from rich.table import Table

    from upwell.report.text import visible

    card = model["card"]["family"] if model["card"] else "no card"
    title = f"{model['label']} on {summary['suite']} (prompt {model['prompt']}, {card})"
    table = Table(title=escape(visible(title)), title_justify="left", title_style="bold")
    samples = summary["samples"]
    columns = ["n", "pass@1", "95 %"]
    columns += [f"PassRatio@{samples}", f"Pass@{samples}"] if samples else []
    beside = any(row["published"] for row in rows)
    columns += ["graded as"] + ["published", "difference", "within", "source"] * beside
    table.add_column("set")
    for column in columns:
        table.add_column(column, justify="left" if column in ("graded as", "source") else "right")
    for row in rows:
        drawn = row["sampled"]
        sampled = [_share(drawn["pass_ratio"]), _share(drawn["pass@k"])] if drawn else ["", ""]
        start = [
            f"{row['set']}{' (judged)' if row['judged'] else ''}",
            f"{row['problems']:,}",
            *_interval(row["greedy"]),
        ]
        ours = _published(row, None) if beside else ()
        table.add_row(*start, *(sampled if samples else []), "upwell", *ours)
        for style in row["styles"]:
            blank = [""] * (2 if samples else 0)
            theirs = _published(row, style["style"]) if beside else ()
            table.add_row("", "", *_interval(style), *blank, style["style"], *theirs)
    out.print(table)


def _published(row: dict[str, Any], style: str | None) -> tuple[str, str, str, str]:
    """The figures that are compared with our number in this style (None: our own grader's), a line each."""
    found = [figure for figure in row["published"] if figure["ours_graded_as"] == style]
    within = {True: "yes", False: "no", None: "?"}
    return (
        "\n".join(f"{figure['percent']:.1f}" for figure in found),
        "\n".join(
            "?" if figure["difference"] is None else f"{figure['difference']:+.1f}" for figure in found
        ),
        "\n".join(within[figure["within"]] for figure in found),
        "\n".join(figure["source"] + (f"; {figure['note']}" if figure["note"] else "") for figure in found),
    )


def _levels(row: dict[str, Any]) -> bool:
    return any(part["slice"].startswith("level=") for part in row["slices"])


def _slice_table(out: Console, name: str, rows: Sequence[dict[str, Any]]) -> None:
    """One set by level and subject, the models side by side."""
    from rich.markup import escape
    from rich.table import Table

    from upwell.report.text import visible

    table = Table(title=f"{name} by level and subject", title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("n", justify="right")
    for row in rows:
        table.add_column(escape(visible(f"{row['model']}: pass@1")), justify="right")
        table.add_column("95 %", justify="right")
        if row["sampled"]:
            table.add_column(f"PassRatio@{row['sampled']['samples']}", justify="right")
            table.add_column(f"Pass@{row['sampled']['samples']}", justify="right")
    parts = {part["slice"]: part["greedy"]["problems"] for row in rows for part in row["slices"]}
    for label, count in parts.items():
        cells = [escape(visible(label.replace("=", " "))), f"{count:,}"]
        for row in rows:
            part = next(part for part in row["slices"] if part["slice"] == label)
            cells += _interval(part["greedy"])
            if row["sampled"]:
                cells += [_share(part["pass_ratio"]), _share(part["pass@k"])]
        table.add_row(*cells)
    out.print(table)


def _difference_table(out: Console, summary: dict[str, Any]) -> None:
    """Models against the first of them, and changed problems against their originals."""
    from rich.markup import escape
    from rich.table import Table

    from upwell.report.text import visible

    table = Table(title="Paired differences, B against A", title_justify="left", title_style="bold")
    for column in ("A", "B", "set"):
        table.add_column(column)
    table.add_column("")
    for column in ("n", "A", "B", "B - A", "95 %, problems like these", "p", "could have seen"):
        table.add_column(column, justify="right")
    several = [(entry["first"], entry["second"], entry["set"], entry) for entry in summary["comparisons"]]
    several += [
        (f"{e['model']}, originals", "with other numbers", e["set"], e) for e in summary["robustness"]
    ]
    for first, second, name, entry in several:
        one, (before, after) = entry["difference"], entry["means"]
        table.add_row(
            *(escape(visible(text)) for text in (first, second, name)),
            "pass@1" if entry["kind"] == "greedy" else _metric(entry),
            f"{one['problems']:,}",
            f"{100 * before:.1f} %",
            f"{100 * after:.1f} %",
            f"{100 * one['value']:+.1f}",
            f"{100 * one['low']:+.1f} – {100 * one['high']:+.1f}",
            f"{one['p_value']:.3f}" if one["p_value"] >= 0.001 else "< 0.001",
            f"{100 * one['detectable']:.1f}",
        )
    if several:
        out.print(table)


def _metric(entry: dict[str, Any]) -> str:
    name = entry.get("name", "pass_ratio")
    return "PassRatio" if name == "pass_ratio" else str(name).replace("@k", f"@{entry['k']}")


def _interval(share: dict[str, Any]) -> tuple[str, str]:
    if share["low"] is None:
        return _share(share), ""
    return _share(share), f"{100 * share['low']:.1f} – {100 * share['high']:.1f}"


def _share(share: dict[str, Any]) -> str:
    return "?" if share["value"] is None else f"{100 * share['value']:.1f} %"
