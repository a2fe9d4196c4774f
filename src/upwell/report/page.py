"""The page: template, style, script, figures and embedded rows put together into one HTML text."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from upwell.report.embedding import chunks, index
from upwell.report.palette import css_variables, run_colour
from upwell.report.reading import RunView, common_tries, written_command
from upwell.report.rendering import Rendered
from upwell.report.studies import Study
from upwell.report.text import brief, counted, percent, visible
from upwell.report.wording import facts, footnotes, headline, lead, metric_rows, run_cells, run_columns

_SHARES = ("value", "low", "high", "low_fixed", "high_fixed")


@dataclass(frozen=True)
class Analysed:
    """An analysis with its picture, where it has one."""

    study: Study
    drawn: Rendered | None


def page(
    runs: Sequence[RunView],
    drawn: Sequence[Rendered],
    notes: Sequence[str],
    studies: Sequence[Analysed] = (),
    *,
    served: bool = False,
) -> str:
    """The whole report as HTML. It loads nothing: the content security policy allows only what it holds.

    Args:
        served: the responses are not in the page but asked of the server that it came from, and of no other.
    """
    import jinja2
    from markupsafe import Markup

    style = css_variables() + _resource("page.css")
    script = _resource("page.js")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_resource("page.html.jinja"))
    plan = [] if served else list(chunks(runs))
    return template.render(
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script, served),
        title=f"Upwell report: {', '.join([*(run.label for run in runs), *(one.study.name for one in studies)])}",
        headline=headline(runs) if runs else "What finished runs say together",
        lead=lead(runs) if runs else [],
        studies=[_study_context(one, Markup) for one in studies],
        runs=[_run_context(run, number, common_tries(runs)) for number, run in enumerate(runs)],
        columns=run_columns(runs) if runs else [],
        figures=[_figure_context(rendered, Markup) for rendered in drawn],
        notes=list(notes),
        index=Markup(inert_json({**index(runs, plan), "served": served})),
        chunks=[_packed(chunk.content) for chunk in plan],
    )


def inert_json(value: object) -> str:
    """JSON in ASCII without `<`, `>` and `&`: it can neither end a script element nor begin another."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _packed(content: object) -> str:
    data = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(data, compresslevel=6, mtime=0)).decode()


def _policy(style: str, script: str, served: bool) -> str:
    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; "
        + ("connect-src 'self'; " if served else "")
        + "base-uri 'none'; form-action 'none'"
    )


def _resource(name: str) -> str:
    return (files("upwell.report") / name).read_text(encoding="utf-8")


def _run_context(run: RunView, number: int, tries: int) -> dict[str, Any]:
    return {
        "name": run.label,
        "model": brief(run.model),
        "colour": run_colour(number),
        "facts": facts(run),
        "rows": metric_rows(run),
        "cells": run_cells(run, tries),
        "footnotes": footnotes(run),
        "measured": f"{counted(len(run.problems), 'problem')} × {run.samples_written}",
        "command": visible(written_command(run.manifest)),
        "details": [(visible(key), visible(value)) for key, value in _flat(run.manifest, "")],
        "notes": [visible(note) for note in run.notes],
    }


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """A nested manifest as dotted names and values."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            if prefix or key != "command":
                yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{prefix}[{number}]")
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _figure_context(rendered: Rendered, markup: Any) -> dict[str, Any]:
    figure = rendered.figure
    columns = list(dict.fromkeys(column for row in figure.rows for column in row))
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "svgs": [markup(svg) for svg in rendered.svgs],
        "columns": [visible(column) for column in columns],
        "rows": [
            [_shown(column, row.get(column), figure.shares) for column in columns] for row in figure.rows
        ],
    }


def _study_context(one: Analysed, markup: Any) -> dict[str, Any]:
    study = one.study
    columns = list(dict.fromkeys(column for row in study.fits for column in row))
    return {
        "name": f"{study.kind}-{study.name}",
        "title": study.title,
        "label": brief(study.name),
        "conclusions": [visible(line) for line in study.conclusions],
        "notes": [visible(line) for line in study.notes],
        "figure": None if one.drawn is None else _figure_context(one.drawn, markup),
        "columns": [visible(column) for column in columns],
        "rows": [[_shown(column, row.get(column), frozenset()) for column in columns] for row in study.fits],
        "command": visible(written_command(study.manifest)),
    }


def _shown(column: str, value: Any, shares: frozenset[str] | None) -> str:
    """A value as tables have it; `shares` as `Figure` has it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if column in shares if shares is not None else isinstance(value, float) or column in _SHARES:
            return percent(float(value))
        return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    return visible(value)
