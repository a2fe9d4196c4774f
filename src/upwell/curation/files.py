"""Files of any origin as drafts, with `--field` naming their columns."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from upwell.curation.scratch import digest64
from upwell.curation.steps import READ
from upwell.errors import MissingExtra, UsageError
from upwell.grading import extract
from upwell.measurement.dumps.lines import ABSENT, Lines, at, columns
from upwell.problems.answers import after_hashes, last_boxed, text_of, whole_number
from upwell.records import Draft, Reject, problem_id
from upwell.runs import digest_file

FIELDS = ("question", "answer", "solution", "level", "subject", "source", "id")
"""What a row can give; a question and a solution are needed, and an answer that holds a worked solution is one."""
SPLIT = "local"

_USUAL = {
    "question": ("problem", "query", "prompt", "instruction", "input", "Question", "messages.0.content"),
    "solution": ("response", "output", "completion", "generated_solution", "answer_cot", "cot", "messages.1.content"),
}  # fmt: skip
"""Names that the needed columns have elsewhere, for the hint."""
_HEAD = 1000
"""Rows in which a column has to occur."""
_BATCH = 4096


class FileInput:
    """The rows of a JSONL, JSON, CSV, TSV or Parquet file. JSONL and Parquet are read as a stream.

    Raises:
        UsageError: It is broken or empty, or has no column for what is needed.
    """

    def __init__(self, path: Path, fields: Mapping[str, str]) -> None:
        self._path = path
        self._lines = Lines(path)
        self._typeless = path.suffix.lower() in (".csv", ".tsv")
        unknown = [name for name in fields if name not in FIELDS]
        if unknown:
            close = difflib.get_close_matches(unknown[0], FIELDS, n=1)
            raise UsageError(
                f"--field {unknown[0]}=...: no such field",
                f"{f'did you mean `{close[0]}`? ' if close else ''}one of {', '.join(FIELDS)}",
            )
        self._fields = self._checked(fields)
        self.entries = [{"name": str(path), "digest": digest_file(path), "fields": dict(fields)}]
        self.size = _size(path)
        self.notes: list[str] = []

    def rows(self) -> Iterator[Draft | Reject]:
        """A draft of each row that holds what is needed, a reject of each other."""
        unpacked = read = 0
        for number, row in self._numbered():
            try:
                texts = {name: self._text(row, path) for name, path in self._fields.items()}
            except TypeError as error:
                yield self._reject(number, f"unreadable: {error}", row)
                continue
            if not texts["question"]:
                yield self._reject(number, "no question", row)
                continue
            answer, solution = texts.get("answer", ""), texts.get("solution", "")
            gold = after_hashes(answer) or last_boxed(answer)
            if gold is not None:  # GSM8K keeps its worked solutions in the column `answer`
                unpacked += not solution
                answer, solution = gold, solution or answer
            if not answer and solution:
                answer = extract(solution) or ""
                read += bool(answer)
            yield self._draft(texts, whole_number(answer) if self._typeless else answer, solution)
        self.notes = self._told(unpacked, read)
        if self._lines.torn is not None:
            number, text = self._lines.torn
            yield Reject(
                key=f"{self._path.name}:{number + 1}",
                step=READ,
                reason="cut off: the last line",
                rejected=text,
            )

    def _draft(self, texts: Mapping[str, str], answer: str, solution: str) -> Draft:
        source = texts.get("source") or self._path.stem
        problem = problem_id(source, SPLIT, texts["question"])
        own = texts.get("id")
        return Draft(
            key=own or f"{problem}#{digest64(solution):016x}",
            method="file",
            question=texts["question"],
            answer=answer,
            solution=solution,
            parents=() if own else (problem,),
            source=source,
            split=SPLIT,
            level=texts.get("level") or None,
            subject=texts.get("subject") or None,
        )

    def _reject(self, number: int, reason: str, row: Mapping[str, Any]) -> Reject:
        """A row that has no key of its own is named by its line."""
        own = self._said(row, self._fields["id"]) if "id" in self._fields else ""
        key = own or f"{self._path.name}:{number + 1}"
        return Reject(key=key, step=READ, reason=reason, rejected=str(dict(row))[:2000])

    def _told(self, unpacked: int, read: int) -> list[str]:
        told = []
        if unpacked:
            told.append(
                f"{self._path}: {unpacked:,} answers are worked solutions: the answer is what follows `####` or "
                "stands in the last \\boxed{}"
            )
        if read:
            told.append(
                f"{self._path}: {read:,} rows have no answer: what their solution ends with is taken as it"
            )
        return told

    def _text(self, row: Mapping[str, Any], path: str) -> str:
        value = at(row, path.split("."))
        return "" if value is ABSENT else text_of(value) or ""

    def _numbered(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Rows with their numbers, from 0."""
        return _parquet(self._path) if self._path.suffix.lower() == ".parquet" else iter(self._lines)

    def _checked(self, fields: Mapping[str, str]) -> dict[str, str]:
        """The column of each field that the file has.

        Raises:
            UsageError: A named or needed one is not there; the hint names the likely one.
        """
        head = [row for _, row in islice(self._numbered(), _HEAD)]
        if not head:
            raise UsageError(f"`{self._path}` holds no rows", "check that it was written whole")
        found = {}
        for field in FIELDS:
            path = fields.get(field, field)
            if any(at(row, path.split(".")) is not ABSENT for row in head):
                found[field] = path
            elif field in fields:
                raise self._missing(field, path, head[0])
        if "question" not in found:
            raise self._missing("question", None, head[0])
        if "solution" not in found and "answer" not in found:
            raise self._missing("solution", None, head[0])
        return found

    def _said(self, row: Mapping[str, Any], path: str) -> str:
        try:
            return self._text(row, path)
        except TypeError:
            return ""

    def _missing(self, field: str, column: str | None, row: Mapping[str, Any]) -> UsageError:
        there = list(columns(row))
        close = difflib.get_close_matches(column or field, there, n=1, cutoff=0.6)
        usual = [name for name in _USUAL.get(field, ()) if at(row, name.split(".")) is not ABSENT]
        guess = [*close, *usual, "COLUMN"] if column else [*usual, *close, "COLUMN"]
        return UsageError(
            f"`{self._path}` has no column `{column or field}` for the {field}; its columns: {', '.join(there[:30])}",
            f"--field {field}={guess[0]}",
        )


def _size(path: Path) -> int:
    """About how many rows a file has: the line breaks of a text, nothing of other files."""
    if path.suffix.lower() not in (".jsonl", ".ndjson", ".csv", ".tsv"):
        return 0
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("reading Parquet", "pyarrow", "curate") from None
    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(_BATCH):
            for row in batch.to_pylist():
                yield number, row
                number += 1
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"`{path}` is not a Parquet file: {str(error).splitlines()[0]}") from None
