"""The verb that trains, and plans what training takes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from upwell.errors import UsageError
from upwell.training.settings import TrainSettings

if TYPE_CHECKING:
    from rich.console import Console


def train(
    examples: str | None = None,
    /,
    *,
    settings: Annotated[TrainSettings, Parameter(name="*")],
    json: bool = False,
) -> int:
    """Fine-tune a base model by a recipe; with --plan, only say what that takes.

    A plan prints each value of the recipe with its source, and tokens, steps, memory, hours and dollars.

    Parameters
    ----------
    examples
        A finished run of `upwell curate`. A plan needs none: it takes the recipe's data.
    json
        Print one JSON object instead of tables; with --plan.
    """
    if not settings.plan:
        if json:
            raise UsageError("--json does nothing without --plan", "leave --json out")
        return _train(examples, settings)
    from upwell.training import plan

    found = plan(settings, examples)
    if json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        _show(found)
    return 0


def _train(examples: str | None, settings: TrainSettings) -> int:
    from upwell.cli.terminal import Terminal
    from upwell.runs import Run
    from upwell.training.joining import follows, started
    from upwell.training.stage import train as trained

    if examples is None:
        raise UsageError(
            "there are no examples to train on",
            f"upwell train RUN_OF_CURATE --recipe {settings.recipe} --out RUN, or add --plan",
        )
    if settings.ladder and started() is not None:
        raise UsageError(
            f"torchrun has started {started()} processes, and a ladder starts its own, for one model after the other",
            "upwell train ... --ladder --devices N, without torchrun; or --ray ADDRESS",
        )
    if settings.ladder:
        from upwell.training.ladder import train_ladder

        with Terminal() as terminal:
            path = train_ladder(examples, settings, watch=terminal)
    else:
        with Terminal() as terminal:
            path = trained(examples, settings, watch=terminal)
    if follows():  # the first of torchrun's processes speaks for all
        return 0
    summary = Run.read(path).summary
    if summary is None:
        return 1
    show_trained(path, summary)
    return 0


def show_trained(path: Path, summary: dict[str, Any]) -> None:
    """What a finished training, or a ladder of them, came to."""
    from upwell.report.text import visible

    if "ladder" in summary:
        _show_ladder(summary["ladder"])
        sys.stdout.write(visible(f"table: {path / 'ladder.csv'}\n"))
        return
    loss, rate = summary["loss"], summary["tokens_per_second"]
    mfu = f", MFU {summary['mfu']:.1%}" if summary["mfu"] else ""
    sys.stdout.write(
        f"{summary['counts']['steps']:,} steps over {summary['counts']['examples']:,} examples, loss "
        f"{loss['first']:.4f} to {loss['mean_of_last']:.4f} (mean of the last {loss['averaged']}), "
        f"{rate:,.0f} tokens/s{mfu}\n" + visible(f"model: {path / summary['model']['folder']}\n")
    )


def _show_ladder(rows: list[dict[str, Any]]) -> None:
    """A row a model: what it was trained on, and what it does, with intervals for the model on problems like these."""
    from upwell.cli.tables import console

    titles = {"greedy_pass_ratio": "greedy", "pass_ratio": "PassRatio", "truncated": "cut off"}
    labels = [
        label
        for label in dict.fromkeys(label for row in rows for label in row.get("metrics", {}))
        if label in titles or "@" in label
    ]
    table = _table(
        "ladder", "examples", "seed", "steps", "loss", *(titles.get(label, label) for label in labels)
    )
    for row in rows:
        metrics = row.get("metrics", {})
        table.add_row(
            f"{row['examples']:,}" if row["examples"] else "base",
            "" if row["seed"] is None else str(row["seed"]),
            f"{row['steps']:,}" if "steps" in row else "",
            f"{row['loss']:.3f}" if "loss" in row else "",
            *(_with_interval(metrics[label]) if label in metrics else "" for label in labels),
        )
    console().print(table)


def _with_interval(metric: dict[str, Any]) -> str:
    return f"{100 * metric['value']:.1f} %\n{100 * metric['low']:.1f} – {100 * metric['high']:.1f}"


def _show(found: dict[str, Any]) -> None:
    from upwell.cli.tables import console
    from upwell.report.text import visible

    out = console()
    _recipe_table(out, found)
    data, model = found["data"], found["model"]
    out.print(
        visible(
            f"model: {model['name']}, {model['parameters']:,} parameters\n"
            f"data: {data['name']}, {data['examples']:,} examples of {data['tokens_per_example']:,.0f} tokens "
            f"({data['tokens_source']})"
        ),
        markup=False,
    )
    if found["other_data"]:
        out.print(f"  --data takes also: {', '.join(found['other_data'])}", markup=False)
    _plan_table(out, found["plans"])
    _memory_table(out, found["plans"])
    for said in found["published"]:
        out.print(f"published: {said['said']}", markup=False)
        for reading in ("packed", "padded"):
            if reading in said:
                out.print(_reading(reading, said[reading], said["assumed_mfu"]), markup=False)
    for note in found["notes"]:
        out.print(visible(f"note: {note}"), markup=False)


def _recipe_table(out: Console, found: dict[str, Any]) -> None:
    from rich.markup import escape

    table = _table(f"recipe {found['name']}", "", "value", "paper", "source", "where it stands, or why")
    for name, value in found["recipe"].items():
        paper, source = found["paper"][name], found["sources"][name]
        table.add_row(
            name, escape(_written(value)), "-" if paper is None else escape(_written(paper)), source["source"],
            escape(source["why"]),
        )  # fmt: skip
    out.print(table)


def _plan_table(out: Console, plans: list[dict[str, Any]]) -> None:
    table = _table("plan", "", *(plan["hardware"] for plan in plans))
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "tokens per epoch": lambda p: f"{p['tokens_per_epoch']:,}",
        "rows per epoch": lambda p: f"{p['rows_per_epoch']:,}",
        "steps (warm-up)": lambda p: f"{p['steps']:,} ({p['warmup_steps']:,})",
        "tokens per step": lambda p: f"{p['tokens_per_step']:,}",
        "FLOPs of the model": lambda p: f"{p['model_flops']:.3g}",
        "  with recomputation": lambda p: f"{p['hardware_flops']:.3g}",
        "assumed MFU": lambda p: (
            f"{p['assumed_mfu']:.2f} of {p['devices']} x {p['peak_flops_per_device']:.3g}/s"
        ),
        "tokens per second": lambda p: f"{p['tokens_per_second']:,.0f}",
        "hours": lambda p: _amount(p["hours"]),
        "device-hours": lambda p: _amount(p["device_hours"]),
        "dollars": lambda p: "-" if p["usd"] is None else _amount(p["usd"]),
        "memory of a device": lambda p: (
            f"{p['memory'][0]['memory']['total'] / 1e9:,.1f} of {p['usable_memory_per_device'] / 1e9:,.1f} GB"
            + ("" if p["fits"] else ": does not fit")
        ),
    }
    for label, write in rows.items():
        table.add_row(label, *(write(plan) for plan in plans))
    out.print(table)


def _memory_table(out: Console, plans: list[dict[str, Any]]) -> None:
    parts = ("weights", "gradients", "optimizer", "gathered", "activations", "total")
    table = _table("memory of one device, GB", "", "rows x passes", *parts, "")
    for plan in plans:
        for at, fit in enumerate(plan["memory"]):
            label = f"{fit['method']}, {fit['sharding']}"
            table.add_row(
                f"{plan['hardware']}: {label}" if at == 0 else f"  or {label}",
                f"{fit['rows_per_device']} x {fit['accumulation']}",
                *(f"{fit['memory'][part] / 1e9:,.1f}" for part in parts),
                "fits" if fit["fits"] else "no",
            )
    out.print(table)


def _reading(reading: str, found: dict[str, Any], mfu: float) -> str:
    return (
        f"  {reading}: {_amount(found['gpu_hours'])} GPU-hours at MFU {mfu:.2f} ({found['difference']:+.0%}); "
        f"the published hours imply MFU {found['implied_mfu']:.2f}, "
        f"{found['implied_with_recomputation']:.2f} with recomputation"
    )


def _amount(value: float) -> str:
    """With three digits, and all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _table(title: str, first: str, *others: str) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first, overflow="fold")
    for column in others:
        table.add_column(column, overflow="fold")
    return table


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)
