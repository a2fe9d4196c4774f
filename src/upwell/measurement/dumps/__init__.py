"""Other programs' output files as problems and responses: one line may hold one sample or many.

A dump is read as a stream: a million lines cost no more memory than a thousand. `formats` knows the layouts of
the programs that researchers use; `--field` names the fields of any other.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from upwell.errors import UsageError
from upwell.measurement.dumps.formats import Format, known
from upwell.measurement.dumps.lines import ABSENT, Lines, at, columns
from upwell.measurement.dumps.reading import Reading, Sample
from upwell.problems import ProblemSet

__all__ = ["FIELDS", "Dump", "Sample"]

FIELDS = (
    "gold", "response", "prediction", "problem", "question", "reward", "correct", "points", "max_points", "id", "level",
    "subject", "finish", "tokens", "logprob",
)  # fmt: skip
"""What a line can give; a response or a prediction is needed, and a gold unless `--problems` has it or a judge needs
none. A judge has to be shown the question."""

_BY_OWN_NAME = ("question", "id", "level", "subject")
"""Taken from a field of the same name where `--field` does not say otherwise."""
_USUAL = {
    "gold": ("answer", "expected_answer", "target", "reference", "ref_ans", "gt", "gold", "label"),
    "response": (
        "response",
        "completion",
        "generation",
        "output",
        "resp",
        "text",
        "responses",
        "completions",
    ),
    "question": ("prompt", "problem", "query", "input", "instruction"),
    "prediction": ("prediction", "pred", "predicted_answer", "answer"),
}
"""Names that the needed fields have elsewhere, for the hint."""
_SHOWN_FIELDS = 30
_HEAD = 100
"""Lines in which a field has to occur."""


class Dump:
    """A file of graded or ungraded samples.

    Args:
        path: JSONL, or JSON, CSV, TSV or Parquet.
        fields: Field of a line for each of `FIELDS`, with dots into objects and lists.
        golds: Where the gold answers come from if the lines have none.
        judged: Whether a judge decides where there is no gold answer.

    Raises:
        UsageError: No such file, no samples, or fields that it does not have.
    """

    def __init__(
        self, path: Path, fields: Mapping[str, str], golds: ProblemSet | None = None, *, judged: bool = False
    ) -> None:
        self.path, self.golds, self.judged = path, golds, judged
        self.notes: list[str] = []
        """What a reader of the numbers should know, filled while reading."""
        unknown = [name for name in fields if name not in FIELDS]
        if unknown:
            close = difflib.get_close_matches(unknown[0], FIELDS, n=1)
            raise UsageError(
                f"--field {unknown[0]}=...: no such field",
                f"{f'did you mean `{close[0]}`? ' if close else ''}one of {', '.join(FIELDS)}",
            )
        self._lines = Lines(path)
        head = [line for _, line in islice(self._lines, _HEAD)]
        if not head and self._lines.torn is not None:
            raise UsageError(
                f"{path}:1: not a JSON object", "give JSON lines, or a JSON document that ends in .json"
            )
        if not head:
            raise UsageError(f"`{path}` holds no samples", "check that it was written whole")
        self.format = None if "response" in fields or "prediction" in fields else _layout(head)
        """The known layout by which the file is read, if it has one and `fields` names no response."""
        fields = {**(self.format.fields if self.format else {}), **fields}
        self._check(fields, head)
        fields = {name: name for name in _BY_OWN_NAME} | fields
        if fields.get("problem") == fields["id"]:
            del fields["id"]
        self.fields: Mapping[str, str] = fields

    @property
    def torn(self) -> tuple[int, str] | None:
        """A last line that was cut off, known after reading: its number and text."""
        return self._lines.torn

    def samples(self) -> Iterator[Sample]:
        """The samples in the order of the file.

        Raises:
            UsageError: A line is broken or lacks a field, an id occurs twice, or a problem has two golds.
        """
        reading = Reading(self.path, self.fields, self.golds, judged=self.judged)
        first: dict[tuple[str, str], object] = {}
        left_out = 0
        for number, line in self._lines:
            if self.format is not None and self.format.copies is not None:
                which = (str(line.get("doc_id")), str(line.get("doc_hash")))
                value = line.get(self.format.copies)
                if first.setdefault(which, value) != value:
                    left_out += 1
                    continue
            yield from reading.samples(number, line)
        if left_out:
            assert self.format is not None
            self.notes.append(
                f"{left_out:,} lines repeat samples under another `{self.format.copies}`: counted once, as first read"
            )
        self.notes += reading.notes()

    def _check(self, fields: Mapping[str, str], head: list[dict[str, Any]]) -> None:
        """Refuse fields that none of the first lines has, before anything is written."""
        absent = [
            name for name, path in fields.items() if all(at(line, path.split(".")) is ABSENT for line in head)
        ]
        for name in ("points", "max_points"):
            if name in fields and not self.judged:
                raise UsageError(f"--field {name}=... does nothing without --judge", "--judge MODEL")
        asked = [name for name in ("response", "prediction") if name in fields]
        if not asked:
            raise self._missing("response", None, head[0])
        if "gold" not in fields and self.golds is None and not self.judged:
            raise self._missing("gold", None, head[0])
        if self.judged and self.golds is None:
            asks = fields.get("question", "question").split(".")
            if all(at(line, asks) is ABSENT for line in head):
                raise self._missing("question", None, head[0])
        if not all(name in absent for name in asked):
            absent = [
                name for name in absent if name not in asked
            ]  # a later line may have the other of the two
        for name in absent:
            if self.format is None or name not in self.format.fields or name in ("response", "gold"):
                raise self._missing(name, fields[name], head[0])

    def _missing(self, what: str, column: str | None, line: Mapping[str, Any]) -> UsageError:
        there = list(columns(line))
        close = difflib.get_close_matches(column or what, there, n=1, cutoff=0.6)
        usual = [name for name in _USUAL.get(what, ()) if name in there]
        guess = (close or usual or ["FIELD"])[0]
        shown = ", ".join(there[:_SHOWN_FIELDS]) + (" ..." if len(there) > _SHOWN_FIELDS else "")
        lead = (
            f"`{self.path}` has no field `{column}` for the {what}"
            if column
            else f"`{self.path}` has no known layout: which field is the {what}?"
        )
        more = (
            " (or --field prediction=FIELD for bare answers)"
            if what == "response"
            else " (or --problems SET for the golds of a problem set, or --judge MODEL where there are none)"
            if what == "gold"
            else ""
        )
        return UsageError(
            f"{lead}; the fields of its first line: {shown or 'none'}", f"--field {what}={guess}{more}"
        )


def _layout(head: list[dict[str, Any]]) -> Format | None:
    """The known layout of the first line that has one: a batch may begin with a request that failed."""
    return next((found for line in head if (found := known(line)) is not None), None)
