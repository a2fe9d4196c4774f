"""The lines of a dump as objects, and what a path such as `output.choices.text` leads to in one."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from upwell.errors import UsageError
from upwell.problems import files as data_files

ABSENT = object()
"""What a path leads to that a line does not have."""
_LONGEST_INT = 4000
_LISTS = ("samples", "results", "rows", "data")
"""Where a JSON document that is one object keeps its list of samples."""


class Lines:
    """The lines of a file, read as a stream except where the file is one JSON document or a table."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn: tuple[int, str] | None = None
        """A last line that was cut off: its number and text."""

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Lines with their numbers, from 0."""
        if self.path.suffix.lower() in (".csv", ".tsv", ".parquet"):
            for number, row in data_files.read(self.path, str(self.path)):
                yield number - 1, row
            return
        try:
            with _opened(self.path) as file:
                first = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
                file.seek(0)
                if first == b"[" or self.path.suffix.lower() == ".json":
                    found = _of_document(file.read(), self.path)
                    file.seek(0)
                    yield from self._of_lines(file) if found is None else found
                else:
                    yield from self._of_lines(file)
        except (OSError, EOFError, zlib.error) as error:
            what = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"cannot read `{self.path}`: {what}", "give a run directory or a data file"
            ) from None

    def _of_lines(self, file: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in enumerate(file):
            if number == 0:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            try:
                yield number, _decoded(line)
            except ValueError as error:
                if not line.endswith(b"\n"):
                    self.torn = (number, line[:400].decode("utf-8", "replace"))
                    return
                raise UsageError(
                    f"{self.path}:{number + 1}: not a JSON object: {error}",
                    f"mend or delete that line: sed -n {number + 1}p {self.path}",
                ) from None


def at(value: Any, parts: list[str]) -> Any:
    """What a path leads to: into objects by key, into lists by number, over all items of a list without one."""
    if isinstance(value, Mapping) and len(parts) > 1 and ".".join(parts) in value:
        return value[".".join(parts)]
    for position, part in enumerate(parts):
        if isinstance(value, Mapping):
            if part not in value:
                return ABSENT
            value = value[part]
        elif isinstance(value, list):
            if part.isascii() and part.isdigit():
                if int(part) >= len(value):
                    return ABSENT
                value = value[int(part)]
            else:
                found = [at(item, parts[position:]) for item in value]
                return [None if one is ABSENT else one for one in found]
        else:
            return ABSENT
    return value


def columns(line: Mapping[str, Any]) -> Iterator[str]:
    for key, value in line.items():
        yield key
        if isinstance(value, Mapping):
            yield from (f"{key}.{inner}" for inner in value)


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if packed else path.open("rb")


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= _LONGEST_INT else digits  # Python refuses longer ones


def _decoded(line: bytes) -> dict[str, Any]:
    """A line as an object; NaN, which other programs do write, as None.

    Raises:
        ValueError: It is none.
    """
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            value = json.loads(line, parse_constant=lambda _: None, parse_int=_whole)
        except RecursionError:
            raise ValueError("nested too deeply") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"it is a {type(value).__name__}")
    return value


def _of_document(data: bytes, path: Path) -> Iterator[tuple[int, dict[str, Any]]] | None:
    """The samples of a file that is one JSON document; None where it is one object a line instead."""
    try:
        value = json.loads(data, parse_constant=lambda _: None, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            return None
        raise UsageError(f"`{path}` is not JSON: {str(error)[:120]}", "give JSON or JSON lines") from None
    if isinstance(value, dict):
        value = next((value[name] for name in _LISTS if isinstance(value.get(name), list)), [value])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise UsageError(
            f"`{path}` holds no list of samples", f"a list of objects, at the top or under `{_LISTS[0]}`"
        )
    return enumerate(value)
