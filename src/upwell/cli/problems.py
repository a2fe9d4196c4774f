"""The verb on problem sets: list them, check them, show one problem as a model sees it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cyclopts import App, Parameter

from upwell.report.text import brief, visible

if TYPE_CHECKING:
    from upwell.measurement.gold import Miss
    from upwell.problems import Card

app = App(
    name="problems",
    help="List, check and show problem sets.",
    help_format="plaintext",
    default_parameter=Parameter(negative_iterable=()),
)


@app.default
def known() -> int:
    """List the known problem sets: rows, where their files are, licence and source."""
    from upwell import problems
    from upwell.cli.tables import console
    from upwell.problems import benchmarks

    folder = benchmarks.data_folder(None)
    out = console()
    for card in problems.cards():
        rows = ", ".join(f"{split} {count:,}" for split, count in _rows(card).items()) or "rows not known"
        here = "here" if folder is not None and any((folder / f.path).exists() for f in card.files) else ""
        out.print(f"{card.name:<22} {rows:<26} {here:<5} {card.licence}", markup=False, overflow="fold")
        out.print(f"{'':<22} {card.url}", markup=False, style="dim", overflow="fold")
    where = (
        f"UPWELL_DATA is {folder}" if folder else "UPWELL_DATA is not set: files are looked for on the hub"
    )
    sys.stdout.write(
        f"{where}\nalso: procedural:<reasoning-gym task>, and any JSONL, JSON, CSV or Parquet file\n"
    )
    return 0


@app.command
def check(
    *names: str, split: str = "test", limit: int | None = None, field: tuple[str, ...] = (), show: int = 20
) -> int:
    """Check sets: rows against what is known of the files, and every gold answer against the grader.

    Each gold answer is fed back as a response (the worked solution where there is one), with the
    identical-text tier switched off; those that do not come back correct are listed. The exit code is 1 where a file of
    yours has any, or a fault; of known sets it is known that some have, and they are not yours to mend.

    Parameters
    ----------
    names
        Sets or files; all known sets by default. Those without files here are skipped, with the reason.
    split
        Split of named sets.
    limit
        Check this many problems.
    field
        For a file, FIELD=COLUMN. Repeatable.
    show
        List this many misses and faults per set at most.
    """
    from rich.markup import escape
    from rich.table import Table

    from upwell import problems
    from upwell.cli.tables import console
    from upwell.cli.terminal import Terminal
    from upwell.errors import UsageError
    from upwell.measurement.gold import check_golds
    from upwell.measurement.settings import ProblemSettings
    from upwell.problems import local

    table = Table(title="Golds fed back to the grader", title_justify="left", title_style="bold")
    for column in ("set", "problems", "correct", "share", "accepted by tier"):
        table.add_column(column, justify="right" if column in ("problems", "correct", "share") else "left")
    skipped: list[str] = []
    details: list[str] = []
    clean = True
    for name in names or tuple(problems.names()):
        settings = ProblemSettings(problems=name, split=split, limit=limit, field=field)
        try:
            found = problems.load(name, split=split, limit=limit, fields=settings.fields())
        except UsageError as error:
            if names:
                raise
            skipped.append(f"{name}: {error.message}")
            continue
        with Terminal() as terminal:
            checked = check_golds(found, terminal)
        tiers = ", ".join(f"{tier} {count:,}" for tier, count in checked.tiers.most_common())
        share = f"{100 * checked.correct / checked.problems:.2f} %"
        table.add_row(escape(visible(name)), f"{checked.problems:,}", f"{checked.correct:,}", share, tiers)
        faults = [str(fault) for fault in problems.validate(found)]
        clean &= name in problems.names() or not (local.is_path(name) and (faults or checked.misses))
        details += [f"{name}: {line}" for line in _first(faults, show)]
        details += [f"{name}: {line}" for line in _first([_miss(miss) for miss in checked.misses], show)]
    console().print(table)
    for line in details:
        sys.stdout.write(visible(line) + "\n")
    for line in skipped:
        sys.stdout.write(visible(f"skipped {line}") + "\n")
    return 0 if clean else 1


@app.command
def show(key: str, *, field: tuple[str, ...] = (), prompt: str = "auto", model: str | None = None) -> int:
    """Show one problem exactly as a model sees it, special tokens visible.

    Parameters
    ----------
    key
        Key of a problem of a known set, such as gsm8k/test/1f2e3d4c5b6a7980; or the name of a set, or a file, for
        one of its problems, always the same.
    field
        For a file, FIELD=COLUMN. Repeatable.
    prompt
        Prompt template by name; auto is the model's own chat template, or `plain` where it has none.
    model
        Model whose tokenizer and chat template are used; smollm2-135m-instruct by default.
    """
    from upwell import problems
    from upwell.engines.checkpoints import DEFAULT_MODEL
    from upwell.engines.opening import find_model
    from upwell.engines.settings import EngineSettings
    from upwell.measurement.plan import template_for
    from upwell.measurement.settings import ProblemSettings
    from upwell.problems import local

    if "/" not in key or local.is_path(key):
        fields = ProblemSettings(problems=key, field=field).fields()
        problem = problems.load(key, limit=1, fields=fields).problems[0]
    else:
        problem = problems.find(key)
    found = find_model(model or DEFAULT_MODEL, EngineSettings(), say=_say)
    template = template_for(prompt, found, _say)
    text = template.render(problem.question)
    if found.checkpoint is None:
        around = "its server puts the chat template around it" if template.chat else "as text"
        _say(f"{problem.key}: prompt {template.name}@{template.digest[:12]} for {found.name}, {around}")
        sys.stdout.write(visible(text) + "\n")
        return 0
    checkpoint, tokenizer = found.checkpoint, found.checkpoint.tokenizer()
    ids = tokenizer(text, add_special_tokens=template.add_special_tokens)["input_ids"]
    seen = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    _say(
        f"{problem.key}: prompt {template.name}@{template.digest[:12]}, {len(ids)} tokens of {checkpoint.name}, "
        f"answer {problem.answer}"
    )
    for stop in template.stop:
        _say(f"stops at {stop!r}")
    sys.stdout.write(visible(seen) + "\n")
    return 0


def _rows(card: Card) -> dict[str, int]:
    counted: dict[str, int] = dict(card.published)
    for file in card.files:
        if file.rows is not None:
            known = sum(f.rows or 0 for f in card.files_of(file.split))
            counted[file.split] = known
    return counted


def _miss(miss: Miss) -> str:
    how = "literal only" if miss.literal else f"tier {miss.verdict.tier}"
    if miss.verdict.trouble:
        how += f", {miss.verdict.trouble}"
    gold, read = brief(miss.problem.answer, 60), brief(miss.verdict.answer or "", 60)
    return f"{miss.problem.key}: gold `{gold}` read as `{read}` ({how})"


def _first(lines: list[str], most: int) -> list[str]:
    return lines[:most] + ([f"and {len(lines) - most:,} more"] if len(lines) > most else [])


def _say(line: str) -> None:
    sys.stderr.write(visible(line) + "\n")
