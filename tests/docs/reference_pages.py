"""The pages of docs/reference/, made from the code: flags, records, and the Python interface.

`python tests/docs/reference_pages.py` writes them anew.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from upwell import records
from upwell.cli import VERBS, application

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
MADE = "<!-- Made by tests/docs/reference_pages.py from the code: change that, not this page. -->\n"
ROOMS = (
    "problems", "prompts", "measurement", "metrics", "grading", "synthesis", "curation", "training", "evaluation",
    "analysis", "report", "runs",
)  # fmt: skip
STAGES = {
    "synthesis": ("stages:synthesize", "settings:SynthesisSettings"),
    "curation": ("curate:curate", "settings:CurateSettings", "export:export", "settings:ExportSettings"),
    "training": ("stage:train", "ladder:train_ladder"),
}
"""What a room offers beside its `__all__`: stages that only their verbs load."""
TABLES = {
    "problems": ("Problem", "measure, sample, grade, synthesize"),
    "responses": ("Response", "measure, sample, grade of files"),
    "verdicts": ("Verdict", "measure, grade"), "judgements": ("Judgement", "grade --judge"),
    "drafts": ("Draft", "synthesize"), "examples": ("Example", "curate"), "steps": ("Step", "train"),
    "losses": ("Loss", "analyze leakage"), "laps": ("Lap", "measure, sample"),
    "waste": ("Waste", "whatever asks a server"), "rejects": ("Reject", "synthesize, curate, train"),
    "failures": ("Failure", "whatever asks a model"),
}  # fmt: skip
"""Table: its record, and the verbs that write it."""
FILES = {
    "manifest.json": "written first, whole: verb, settings, fingerprint, inputs with digests, model, prompt, code and "
    "package versions, machine, the exact command",
    "TABLE.jsonl": "append only, one record a line, UTF-8; a torn last line is cut off and owed again",
    "summary.json": "there if and only if the run finished: every number of the run, with intervals",
    "*.csv": "tables of numbers for other programs, made from the summary",
    "model/": "of `train`: a checkpoint (safetensors) with `upwell.json`, which says how it is asked",
    ".lock": "one writer at a time",
}


def pages() -> dict[str, str]:
    """File name to text."""
    return {"cli.md": cli(), "formats.md": formats(), "python.md": python()}


# -- the command line --------------------------------------------------------------------------------------------------


def cli() -> str:
    """Every verb with its arguments and flags."""
    app = application()
    parts = [
        "# Command line\n", MADE,
        "Every flag is a setting of a dataclass, and the same from Python ([python.md](python.md)). Exit codes: 0 "
        "done, 1 something owed is missing, 2 wrong use, 3 a budget is spent, 130 interrupted; what was written stays "
        "in every case.\n",
    ]  # fmt: skip
    for verb, (_, line) in VERBS.items():
        command = app[verb]
        parts.append(f"## `upwell {verb}`\n\n{line}\n")
        nested = [name for name in command if not name.startswith("-")]
        if command.default_command is not None:
            parts.append(_flags(command))
        for name in nested:
            doc = _first(inspect.getdoc(command[name].default_command))
            parts.append(f"### `upwell {verb} {name}`\n\n{doc}\n\n{_flags(command[name])}")
    return "\n".join(parts)


def _flags(command: Any) -> str:
    rows = []
    for argument in command.assemble_argument_collection(parse_docstring=True):
        if not argument.show:
            continue
        positional = not argument.names[0].startswith("-")
        # A list that is emptied by a flag is of no use where none has a default.
        names = " ".join(f"`{name}`" for name in argument.names if not name.startswith("--empty-"))
        default = argument.field_info.default
        if default is inspect.Parameter.empty or default is dataclasses.MISSING:
            default = None
        told = (
            "required" if argument.required else "" if default in (None, (), "") else f"`{_written(default)}`"
        )
        rows.append(f"| {names} | {_type(argument.hint)} | {told} | {_cell(argument.parameter.help or '')} |")
        assert positional or argument.parameter.help, f"{names} has no help"
    return "| | value | default | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n" if rows else "No flags.\n"


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _type(hint: Any) -> str:
    """A type in a word."""
    origin, inside = (
        typing.get_origin(hint),
        [one for one in typing.get_args(hint) if one not in (type(None), ...)],
    )
    if origin is tuple or origin is list:
        return f"{_type(inside[0])}, several" if inside else "several"
    if origin is dict:
        return "NAME=VALUE, several"
    if origin is typing.Literal:
        return ", ".join(f"`{one}`" for one in inside)
    if inside:
        return " or ".join(dict.fromkeys(_type(one) for one in inside))
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "switch", "Path": "path"}
    return names.get(getattr(hint, "__name__", ""), getattr(hint, "__name__", str(hint)))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# -- files -------------------------------------------------------------------------------------------------------------


def formats() -> str:
    """A run directory, and every record with its fields."""
    parts = [
        "# Files of a run\n", MADE,
        "Every verb that makes something writes one directory, and reads others. Resuming is the same command again. "
        "Keys are content, never positions: a problem's is its set, split and a digest of its question, a response's "
        "is `PROBLEM#INDEX`.\n",
        "| file | |\n|---|---|\n" + "\n".join(f"| `{name}` | {text} |" for name, text in FILES.items()) + "\n",
        "| table | record | written by |\n|---|---|---|\n"
        + "\n".join(f"| `{name}.jsonl` | [{kind}](#{kind.lower()}) | {by} |" for name, (kind, by) in TABLES.items())
        + "\n",
        "A field that has its default is left out of the line. `upwell export RUN` writes any table as Parquet.\n",
    ]  # fmt: skip
    told = _attributes(Path(inspect.getfile(records)))
    for kind, _ in dict.fromkeys(TABLES.values()):
        record = getattr(records, kind)
        rows = [
            f"| `{name}` | {_annotation(record, name)} | {_cell(told.get((kind, name), ''))} |"
            for name in record.__struct_fields__
        ]
        parts.append(
            f"## {kind}\n\n{_cell(inspect.getdoc(record) or '')}\n\n| field | type | |\n|---|---|---|\n"
            + "\n".join(rows)
            + "\n"
        )
    return "\n".join(parts)


def _annotation(record: type, name: str) -> str:
    return f"`{record.__annotations__[name]}`".replace("|", "\\|") if name in record.__annotations__ else ""


def _attributes(path: Path) -> dict[tuple[str, str], str]:
    """Class and attribute to the string that stands under it."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            for field, below in zip(node.body, node.body[1:], strict=False):
                is_field = isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr)
                if is_field and isinstance(below.value, ast.Constant):
                    found[node.name, field.target.id] = str(below.value.value)
    return found


# -- Python ------------------------------------------------------------------------------------------------------------


def python() -> str:
    """What each room offers, with signatures and docstrings."""
    parts = [
        "# Python\n", MADE,
        "Every verb is one function that takes one settings object, whose fields are the flags of [cli.md](cli.md).\n",
    ]  # fmt: skip
    for room in ROOMS:
        module = importlib.import_module(f"upwell.{room}")
        parts.append(f"## `upwell.{room}`\n\n{_first(inspect.getdoc(module))}\n")
        parts.extend(_entries(room, module))
    return "\n".join(parts)


def _entries(room: str, module: Any) -> Iterator[str]:
    things = {name: getattr(module, name) for name in getattr(module, "__all__", ())}
    for place in STAGES.get(room, ()):
        inner, _, name = place.partition(":")
        things[name] = getattr(importlib.import_module(f"upwell.{room}.{inner}"), name)
    for name, thing in sorted(things.items(), key=lambda pair: pair[0].lower()):
        where = thing.__module__ if callable(thing) else ""
        if inspect.isclass(thing):
            yield f"### `{name}`\n\n`from {where} import {name}`\n\n{_doc(thing)}\n"
        elif inspect.isfunction(thing):
            written = _signature(name, thing)
            yield f"### `{name}`\n\n```python\nfrom {where} import {name}\n\n{written}\n```\n\n{_doc(thing)}\n"


def _signature(name: str, function: Any) -> str:
    """On one line where it fits, else a parameter a line."""
    signature = inspect.signature(function)
    short = f"{name}{signature}".replace("'", "")
    if len(short) <= 100:
        return short
    parts = str(signature.replace(return_annotation=inspect.Signature.empty)).replace("'", "")[1:-1]
    lines = re.split(r", (?=[*/]|\w+(?::|,|$))(?![^\[]*\])", parts)
    returned = short.rpartition(" -> ")[2]
    return f"{name}(\n    " + ",\n    ".join(lines) + f",\n) -> {returned}"


def _doc(thing: Any) -> str:
    """A docstring as Markdown: its first paragraphs as they are, its sections as lists."""
    text = inspect.getdoc(thing) or ""
    if inspect.isclass(thing) and text.startswith(f"{thing.__name__}("):
        text = ""  # what dataclasses write by themselves
    out = []
    for block in re.split(r"\n(?=(?:Args|Returns|Raises|Yields):\n)", text):
        head, _, body = block.partition("\n")
        if head in ("Args:", "Returns:", "Raises:", "Yields:"):
            items = re.sub(r"\n {4,}", " ", textwrap.dedent(body)).strip().split("\n")
            out.append(
                f"{head[:-1]}:\n\n" + "\n".join(f"- {item.strip()}" for item in items if item.strip()) + "\n"
            )
        else:
            out.append(block.strip() + "\n")
    return "\n".join(out).strip()


def _first(text: str | None) -> str:
    return " ".join((text or "").partition("\n\n")[0].split())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
