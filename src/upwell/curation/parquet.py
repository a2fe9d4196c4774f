"""Tables of a run as Parquet files, a batch of rows at a time."""

from __future__ import annotations

import types
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from upwell import records
from upwell.errors import MissingExtra, UsageError
from upwell.records import Record

_ROWS = 10_000
"""Rows of a row group."""
KINDS: dict[str, type[Record]] = {
    "problems": records.Problem,
    "responses": records.Response,
    "replies": records.Response,
    "verdicts": records.Verdict,
    "judgements": records.Judgement,
    "drafts": records.Draft,
    "examples": records.Example,
    "steps": records.Step,
    "losses": records.Loss,
    "rejects": records.Reject,
    "failures": records.Failure,
    "waste": records.Waste,
    "laps": records.Lap,
}
"""What the rows of a table are; of `verdicts-dart` the part before the hyphen counts."""


def kind_of(table: str) -> type[Record]:
    """The record that the rows of a table are.

    Raises:
        UsageError: No run has such a table.
    """
    kind = KINDS.get(table.partition("-")[0])
    if kind is None:
        raise UsageError(f"no table `{table}` is known", f"--table {'|'.join(KINDS)}")
    return kind


def write_parquet(path: Path, kind: type[Record], rows: Iterable[Record]) -> int:
    """Write rows as one file; a column for every field, whether any row has it or not. Returns how many there are.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("writing Parquet", "pyarrow", "curate") from None
    schema = pa.schema([(field.name, _type(field.type, pa)) for field in msgspec.structs.fields(kind)])
    several, count = iter(rows), 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := [msgspec.structs.asdict(row) for row in islice(several, _ROWS)]:
            writer.write_table(pa.Table.from_pylist(batch, schema))
            count += len(batch)
    return count


def _type(hint: Any, pa: Any) -> Any:
    """The Arrow type of a record's field."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is Literal:
        hint = type(get_args(hint)[0])
    if get_origin(hint) is tuple:
        return pa.list_(_type(get_args(hint)[0], pa))
    return {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[hint]
