"""A user's own file as a problem set, with `--field` naming its columns."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path

from upwell.errors import UsageError
from upwell.problems import files
from upwell.problems.answers import after_hashes, last_boxed, text_of, whole_number
from upwell.problems.cards import Card
from upwell.problems.formats import MissingField, Parsed, Row
from upwell.problems.sets import Gathering, ProblemSet, finish

FIELDS = ("question", "answer", "solution", "level", "subject", "id")
"""What a local row can give a problem; the first two are needed."""

SPLIT = "local"
"""The split that problems of a local file have in their keys."""

_USUAL = {
    "question": ("problem", "prompt", "query", "input", "text", "Question", "instruction"),
    "answer": ("gold", "target", "final_answer", "expected", "label", "Answer", "solution", "output"),
}
"""Column names that the two needed fields have elsewhere, for the hint."""


def is_path(name: str) -> bool:
    """Whether a set's name means a file."""
    return Path(name).suffix.lower() in files.READERS or os.path.exists(name)


def load(name: str, fields: Mapping[str, str], limit: int | None) -> ProblemSet:
    """The problems of a local file.

    A row's own `id` becomes its key; without one the key is made from the question.

    Raises:
        UsageError: The file is broken or has no column for a needed field.
    """
    path = Path(name)
    unknown = [field for field in fields if field not in FIELDS]
    if unknown:
        raise UsageError(f"--field {unknown[0]}=...: no such field", f"one of {', '.join(FIELDS)}")
    rows = files.read(path, name)
    columns = _columns(rows)
    for field in FIELDS:
        _check(field, fields.get(field), columns, rows, name)
    gathering = Gathering(path.stem, SPLIT)
    typeless = path.suffix.lower() in (".csv", ".tsv")
    reader = _Reader(dict(fields), typeless)
    gathering.add(rows, reader, name)
    notes = []
    if reader.unpacked:
        notes.append(
            f"{reader.unpacked} answers are worked solutions: the gold is what follows `####` or stands in "
            "the last \\boxed{}"
        )
    card = Card(
        name=path.stem,
        title=f"local file {path.name}",
        url=name,
        licence="not stated",
        layout="question_answer",
    )
    return finish(
        gathering,
        card,
        SPLIT,
        files=[{"name": name, "digest": files.digest(path)}],
        notes=notes,
        limit=limit,
    )


class _Reader:
    """Reads rows by field names and counts the answers that had to be unpacked from a solution."""

    def __init__(self, fields: Mapping[str, str], typeless: bool) -> None:
        self._fields = fields
        self._typeless = typeless
        self.unpacked = 0

    def __call__(self, row: Row) -> Parsed:
        question, answer = self._take(row, "question"), self._take(row, "answer")
        if question is None or answer is None:
            missing = "question" if question is None else "answer"
            raise MissingField(f"no `{self._fields.get(missing, missing)}`")
        solution = self._take(row, "solution")
        gold = after_hashes(answer) or last_boxed(answer)
        if gold is not None:
            self.unpacked += 1
            answer, solution = gold, solution or answer
        return Parsed(
            question=question,
            answer=whole_number(answer) if self._typeless else answer,
            solution=solution or None,
            level=self._take(row, "level") or None,
            subject=self._take(row, "subject") or None,
            id=self._take(row, "id") or None,
        )

    def _take(self, row: Row, field: str) -> str | None:
        found, value = _lookup(row, self._fields.get(field, field))
        if not found:
            return None
        try:
            return text_of(value) or ""
        except TypeError as error:
            raise MissingField(f"`{self._fields.get(field, field)}` holds {error}") from None


def _lookup(row: Row, column: str) -> tuple[bool, object]:
    """A column, or with dots a path into nested objects and lists (`reward.ground_truth`, `golds.0`)."""
    if column in row:
        return True, row[column]
    value: object = row
    for part in column.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isascii() and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return False, None
    return True, value


def _columns(rows: files.Rows) -> list[str]:
    """Columns of the file, nested ones with dots, in order of appearance."""
    seen: dict[str, None] = {}
    for _, row in rows[:1000]:
        for key, value in row.items():
            seen[key] = None
            if isinstance(value, Mapping):
                seen.update(dict.fromkeys(f"{key}.{inner}" for inner in value))
    return list(seen)


def _check(field: str, column: str | None, columns: list[str], rows: files.Rows, name: str) -> None:
    """Refuses a field that no row has, naming the columns there are and the likely one."""
    needed = field in ("question", "answer")
    if column is None and not needed:
        return
    wanted = column or field
    if any(_lookup(row, wanted)[0] for _, row in rows):
        return
    usual = [other for other in _USUAL.get(field, ()) if other in columns]
    close = difflib.get_close_matches(wanted, columns, n=1, cutoff=0.5) or usual
    guess = (close or ["COLUMN"])[0]
    raise UsageError(
        f"`{name}` has no column `{wanted}` for the {field}; its columns: {', '.join(columns) or 'none'}",
        f"--field {field}={guess}",
    )
