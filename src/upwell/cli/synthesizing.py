"""The verb that makes drafts, and the tables of what it gave."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from upwell.cli.flags import Flags, under
from upwell.synthesis.settings import REJECTION, QuestionSettings, RejectionSettings, SynthesisSettings

if TYPE_CHECKING:
    from upwell.runs import Run
    from upwell.synthesis.yields import Forecast

under("New questions: all methods but rejection", 1, QuestionSettings)
under("Rejection", 1, RejectionSettings)


def synthesize(settings: Annotated[SynthesisSettings, Flags]) -> int:
    """Make new questions with solutions, or many verified solutions of given ones, with a teacher."""
    from upwell.cli.terminal import Terminal
    from upwell.report.text import visible
    from upwell.runs import Run
    from upwell.synthesis import stages

    if settings.dry_run:
        with Terminal() as terminal:
            found = stages.dry_run(settings, watch=terminal)
        _forecast_table(found)
        return 0
    with Terminal() as terminal:
        path = stages.synthesize(settings, watch=terminal)
    run = Run.read(path)
    drafts_table(run)
    sys.stdout.write(f"run: {visible(str(path))}\n")
    counts = (run.summary or {}).get("counts", {})
    return 1 if counts.get("failed") or counts.get("missing") else 0


def drafts_table(run: Run) -> None:
    """What a run of synthesis has given, whatever its method."""
    if run.manifest["fingerprint"].get("method") == REJECTION:
        _rejection_table(run)
    else:
        _yield_table(run)


def _rejection_table(run: Run) -> None:
    """Questions against their targets, by level; nothing where the run is not finished."""
    from rich.table import Table

    from upwell.cli.tables import console
    from upwell.report.text import visible

    if run.summary is None:
        return
    summary = run.summary
    told = summary["rejection"]
    scale = f", scale {told['scale']}" if told["scale"] else ""
    table = Table(
        title=visible(f"{told['policy']}{scale}, by {run.manifest.get('model', {}).get('name', '?')}"),
        title_justify="left",
        title_style="bold",
    )
    table.add_column("")
    for column in (
        "questions",
        "target met",
        "given up",
        "kept",
        "of wanted",
        "with one",
        "draws",
        "fail rate",
    ):
        table.add_column(column, justify="right")
    rows = told["levels"] if len(told["levels"]) > 1 else []
    for name, row in [*((f"  {row['source']} {row['level'] or ''}", row) for row in rows), ("all", told)]:
        table.add_row(
            visible(name),
            f"{row['questions']:,}",
            f"{row['met']:,}",
            f"{row['given_up']:,}",
            f"{row['kept']:,}",
            _share(row["kept"], row["target"]),
            f"{row['covered']:,}",
            f"{row['draws']:,}",
            "" if row["fail_rate"] is None else f"{row['fail_rate']:.2f}",
        )
    out = console()
    out.print(table)
    counts, spending = summary["counts"], summary["spending"]
    calls = {"calls": run.count("responses") + spending["wasted"]["calls"]}
    tokens = spending["prompt_tokens"] + spending["completion_tokens"]
    kept = counts["drafts"]
    each = {
        "tokens": tokens / kept if kept else None,
        "usd": spending["usd"] / kept if kept and spending["usd"] is not None else None,
    }
    out.print(_took(calls, spending, each), markup=False)
    for note in summary["notes"]:
        out.print(visible(f"note: {note}"), markup=False)


def _yield_table(run: Run) -> None:
    """Drafts, rejects by reason, and what they took; of an unfinished run, so far."""
    from rich.table import Table

    from upwell.cli.tables import console
    from upwell.report.text import visible
    from upwell.synthesis.yields import yield_of

    method = run.manifest["fingerprint"].get("method", "")
    summary = run.summary or yield_of(run, method, 0)
    out = console()
    if run.summary is None:
        out.print("not finished: these are the numbers so far")
    counts, spending = summary["counts"], summary["spending"]
    teacher = run.manifest.get("model", {}).get("name", "a program")
    seeds = str(run.manifest["fingerprint"].get("seeds", "")).partition("@")[0]
    table = Table(
        title=visible(f"{method} on {seeds} by {teacher}"), title_justify="left", title_style="bold"
    )
    table.add_column("")
    table.add_column("rows", justify="right")
    table.add_column("share", justify="right")
    tries = counts["tries"]
    table.add_row("questions begun", f"{tries:,}", "")
    table.add_row("drafts accepted", f"{counts['drafts']:,}", _share(counts["drafts"], tries))
    table.add_row("turned down", f"{counts['rejected']:,}", _share(counts["rejected"], tries))
    for entry in summary["rejects"]:
        label = f"  {entry['step']}: {entry['reason']}"
        table.add_row(visible(label), f"{entry['rows']:,}", _share(entry["rows"], tries))
    if counts["failed"]:
        table.add_row("owed: a call failed", f"{counts['failed']:,}", "")
    out.print(table)
    out.print(_took(counts, spending, summary["per_draft"]), markup=False)
    for note in summary["notes"]:
        out.print(visible(f"note: {note}"), markup=False)


def _took(counts: dict[str, Any], spending: dict[str, Any], each: dict[str, Any]) -> str:
    told = (
        f"took: {counts['calls']:,} calls, {spending['prompt_tokens']:,} prompt and "
        f"{spending['completion_tokens']:,} completion tokens"
    )
    if spending["wasted"]["calls"]:
        told += f" ({spending['wasted']['calls']:,} calls for nothing among them)"
    if spending["usd"] is not None:
        told += f", ${spending['usd']:,.4g}"
    if each["tokens"] is not None:
        told += f"; a draft took {each['tokens']:,.0f} tokens"
        if each["usd"] is not None:
            told += f" and ${each['usd']:,.4g}"
    return told


def _share(rows: int, of: int | None) -> str:
    return f"{100 * rows / of:.1f} %" if of else ""


def _forecast_table(found: Forecast) -> None:
    from rich.table import Table

    from upwell.cli.tables import console

    table = Table(
        title=f"{found.wanted:,} drafts, from {found.tries:,} tries of which {found.accepted:,} were accepted",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("")
    for column in ("expected", "95 % range"):
        table.add_column(column, justify="right")
    for label, unit, amount in (
        ("tries", "{:,.0f}", found.needed),
        ("prompt tokens", "{:,.0f}", found.prompt_tokens),
        ("completion tokens", "{:,.0f}", found.completion_tokens),
        ("dollars", "${:,.4g}", found.usd),
    ):
        if amount is not None:
            low, high = unit.format(amount.low), unit.format(amount.high)
            table.add_row(label, unit.format(amount.expected), f"{low} – {high}")
    console().print(table)
