"""Data files as rows: JSONL, JSON, CSV, TSV and Parquet, with errors that name the line."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from upwell.errors import MissingExtra, UsageError

Rows = list[tuple[int, dict[str, Any]]]
"""Rows with their numbers: the line of a JSONL file; elsewhere the record, counted from 1."""

_LONGEST_INT = 4000
"""Digits of the longest number that `int` reads (Python refuses more than 4,300)."""

_LIST_KEYS = ("data", "problems", "examples", "rows", "questions", "items", "instances", "test")


def read(path: Path, shown: str) -> Rows:
    """All rows of a data file, its format told by its ending.

    Args:
        path: The file.
        shown: Its name in messages.

    Raises:
        UsageError: No such file, an unknown ending, broken content (with the line), or no row at all.
        MissingExtra: A Parquet file without pyarrow installed.
    """
    if not os.path.isfile(path):
        what = "is a folder, not a data file" if os.path.isdir(path) else "does not exist"
        raise UsageError(f"`{shown}` {what}", f"give a file that ends in {', '.join(READERS)}")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"`{shown}`: `{path.suffix}` is no known format", f"give a file that ends in {', '.join(READERS)}"
        )
    try:
        rows = reader(path, shown)
    except OSError as error:
        raise UsageError(f"cannot read `{shown}`: {error.strerror or error}") from None
    except RecursionError:
        raise UsageError(f"`{shown}`: the JSON is nested too deeply to be a list of problems") from None
    if not rows:
        raise UsageError(f"`{shown}` holds no rows", "check that it was downloaded whole")
    return rows


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(path: Path, shown: str) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{shown}:{line}: not UTF-8 text (byte 0x{data[error.start]:02x} at offset {error.start})",
            f"iconv -f WINDOWS-1252 -t UTF-8 {shown} > fixed{path.suffix}",
        ) from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parse(text: str) -> Any:
    """JSON with exact numbers: floats as `Decimal`, huge integers too."""
    return json.loads(
        text,
        parse_float=Decimal,
        parse_int=lambda digits: int(digits) if len(digits) < _LONGEST_INT else Decimal(digits),
        parse_constant=_no_constant,
    )


def _jsonl(path: Path, shown: str) -> Rows:
    rows: Rows = []
    # Not splitlines(): U+2028 and friends are legal inside a JSON string.
    for number, line in enumerate(_text(path, shown).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = _parse(line)
        except ValueError as error:
            raise UsageError(
                f"{shown}:{number}: not a JSON object: {_reason(error)}",
                f"mend or delete that line: sed -n {number}p {shown}",
            ) from None
        if not isinstance(row, dict):
            raise UsageError(f"{shown}:{number}: a JSON {type(row).__name__}, not an object with fields")
        rows.append((number, row))
    return rows


def _json(path: Path, shown: str) -> Rows:
    try:
        value = _parse(_text(path, shown))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and error.lineno > 1:
            return _jsonl(path, shown)  # one object a line under the wrong ending, as NumGLUE has it
        raise UsageError(f"{shown}:{error.lineno}: not JSON: {_reason(error)}") from None
    except ValueError as error:
        raise UsageError(f"{shown}: not JSON: {error}") from None
    if isinstance(value, dict):
        value = _list_inside(value, shown)
    if not isinstance(value, list):
        raise UsageError(f"`{shown}` holds a JSON {type(value).__name__}, not a list of problems")
    for number, row in enumerate(value, 1):
        if not isinstance(row, dict):
            raise UsageError(
                f"{shown}: item {number} is a JSON {type(row).__name__}, not an object with fields"
            )
    return list(enumerate(value, 1))


def _list_inside(value: dict[str, Any], shown: str) -> list[Any]:
    lists = {key: part for key, part in value.items() if isinstance(part, list)}
    for key in _LIST_KEYS:
        if key in lists:
            return lists[key]
    if len(lists) == 1:
        return next(iter(lists.values()))
    raise UsageError(
        f"`{shown}` is a JSON object without one list of problems; its keys: {_some(list(value))}",
        "put the problems in a list, at the top or under the key `problems`",
    )


def _table(separator: str) -> Callable[[Path, str], Rows]:
    def read_table(path: Path, shown: str) -> Rows:
        csv.field_size_limit(2**31 - 1)  # the default of 128 KiB cuts long solutions off with an error
        text = _text(path, shown)
        header = text.partition("\n")[0]
        # Spreadsheets in countries with a decimal comma write CSV with semicolons.
        by = ";" if separator == "," and "," not in header and ";" in header else separator
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=by, strict=True)
        try:
            return list(_records(reader, shown))
        except csv.Error as error:
            raise UsageError(f"{shown}:{reader.line_num}: broken CSV: {error}") from None

    return read_table


def _records(reader: Any, shown: str) -> Iterator[tuple[int, dict[str, Any]]]:
    header = next(reader, None)
    if header is None:
        return
    names = [name.strip() for name in header]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(f"{shown}:1: more than one column is named {_some(sorted(twice))}")
    for number, cells in enumerate((cells for cells in reader if cells), 1):
        if len(cells) != len(names):
            raise UsageError(
                f"{shown}:{reader.line_num}: {len(cells)} cells where the header has {len(names)} columns",
                "quote cells that hold the separator or a line break",
            )
        yield number, dict(zip(names, cells, strict=True))


def _parquet(path: Path, shown: str) -> Rows:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("reading Parquet", "pyarrow", "report") from None
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"`{shown}` is not a Parquet file: {str(error).splitlines()[0]}") from None
    return list(enumerate(table.to_pylist(), 1))


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return str(error)


def _some(names: list[str], most: int = 12) -> str:
    listed = ", ".join(f"`{name}`" for name in names[:most])
    return listed + (f" and {len(names) - most} more" if len(names) > most else "")


READERS: dict[str, Callable[[Path, str], Rows]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _table(","),
    ".tsv": _table("\t"),
    ".parquet": _parquet,
}
"""Reader by file ending."""
