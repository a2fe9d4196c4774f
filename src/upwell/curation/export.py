"""The stage that hands on: examples as other programs read them, and any table as Parquet."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from upwell import prompts
from upwell.curation.card import card
from upwell.curation.parquet import kind_of, write_parquet
from upwell.curation.settings import ExportSettings
from upwell.errors import UsageError
from upwell.measurement.watch import Silent, Watch
from upwell.records import Example
from upwell.runs import Run
from upwell.runs.run import MANIFEST
from upwell.runs.storage import storage_error, sync_folder

_BATCH = 1024


def export(path: str, settings: ExportSettings, *, watch: Watch | None = None) -> Path:
    """Write rows of a finished run for other programs.

    Args:
        path: Run directory.
        settings: What, in which form, and where to.
        watch: Told of the progress.

    Raises:
        UsageError: The run is not there, not finished or has no such rows; or something is at the place already.
        MissingExtra: pyarrow is not installed, for Parquet.
        StorageError: It could not be written; nothing is there then.
    """
    watch = watch or Silent()
    run, target = Run.read(path), Path(settings.to)
    kind = kind_of(settings.table)
    if run.summary is None:
        raise UsageError(
            f"the run `{path}` is not finished, so rows can be missing", "run the command that made it again"
        )
    if not run.count(settings.table):
        there = sorted(file.stem for file in run.path.glob("*.jsonl"))
        raise UsageError(
            f"the run `{path}` has no {settings.table}; its tables: {', '.join(there) or 'none'}",
            f"--table {there[0]} --format parquet" if there else "give a run of upwell curate",
        )
    _check_place(target)
    rungs = _rungs(run)
    if settings.rung is not None and settings.rung > len(rungs):
        has = f"has the rungs 1 to {len(rungs)}" if rungs else "has no ladder"
        raise UsageError(
            f"--rung {settings.rung}: the run `{path}` {has}",
            f"--rung {len(rungs)}"
            if rungs
            else "leave --rung out, or upwell curate ... --ladder allx2^-5..0",
        )

    def rows(at_least: int = 0) -> Iterator[Any]:
        most = settings.rung
        watch.begin(f"writing {settings.format}", run.count(settings.table))
        for row in run.rows(settings.table, kind):
            watch.advance()
            if most is None or (isinstance(row, Example) and row.rung is not None and row.rung <= most):
                yield row
        watch.end()

    writers: dict[str, Callable[[Path], object]] = {
        "chat": lambda file: _write_lines(file, map(_chat(run), rows())),
        "prompt-completion": lambda file: _write_lines(file, map(_plain, rows())),
        "parquet": lambda file: write_parquet(file, kind, rows()),
        "hub": lambda folder: _write_hub(folder, run, rungs[: settings.rung], rows()),
    }
    _aside(target, writers[settings.format])
    return target


def _check_place(target: Path) -> None:
    """See that an export overwrites nothing and does not pass for a table of a run.

    Raises:
        UsageError: Something is there, or would be read as a table.
    """
    if os.path.lexists(target):
        raise UsageError(f"`{target}` is there already, and nothing is overwritten", "choose another --to")
    if target.suffix == ".jsonl" and (target.parent / MANIFEST).exists():
        raise UsageError(
            f"`{target}` is within the run `{target.parent}`, where it would pass for one of its tables",
            "choose a --to outside of runs",
        )


def _rungs(run: Run) -> list[dict[str, Any]]:
    ladder = (run.summary or {}).get("ladder") or {}
    found: list[dict[str, Any]] = ladder.get("rungs", [])
    return found


def _chat(run: Run) -> Callable[[Example], dict[str, Any]]:
    """How an example becomes messages: what the user says is the question, with the instruction that a prompt for chat
    models puts around it."""
    name = run.manifest.get("prompt", {}).get("name", "")
    says = prompts.get(name, by_server=True).render if name in ("chat", "chat-plain") else str

    def chat(example: Example) -> dict[str, Any]:
        return {
            "key": example.key,
            "messages": [
                {"role": "user", "content": says(example.question)},
                {"role": "assistant", "content": example.completion.strip()},
            ],
        }

    return chat


def _plain(example: Example) -> dict[str, Any]:
    return {"key": example.key, "prompt": example.prompt, "completion": example.completion}


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    encoder = msgspec.json.Encoder()
    with path.open("wb") as file:
        for row in rows:
            file.write(encoder.encode(row) + b"\n")


def _write_hub(folder: Path, run: Run, rungs: list[dict[str, Any]], rows: Iterator[Example]) -> None:
    """A data set folder: README.md, and one file for each rung with the rows that the rungs below do not have.

    Examples stand in the order of the ladder, so each file is a stretch of the table.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    files: dict[str, int] = {}
    for name, stretch in _stretches(rows):
        name = name if rungs else "train"
        files[f"data/{name}.parquet"] = write_parquet(data / f"{name}.parquet", Example, stretch)
    (folder / "README.md").write_text(card(run, rungs, files), encoding="utf-8")


def _stretches(rows: Iterator[Example]) -> Iterator[tuple[str, Iterator[Example]]]:
    for rung, stretch in groupby(rows, lambda example: example.rung):
        yield ("rest" if rung is None else f"rung-{rung:02d}"), stretch


def _aside(target: Path, write: Callable[[Path], object]) -> None:
    """Have something written beside its place, and put it there when it is whole.

    Raises:
        StorageError: It could not be written.
    """
    beside = target.with_name(f".{target.name}.tmp")
    try:
        _remove(beside)  # of a command that was killed
        target.parent.mkdir(parents=True, exist_ok=True)
        write(beside)
        for path in [beside, *beside.rglob("*")]:
            _sync(path)
        os.replace(beside, target)
        sync_folder(target.parent)
    except OSError as error:
        raise storage_error(target, error) from None
    finally:
        with contextlib.suppress(OSError):
            _remove(beside)


def _sync(path: Path) -> None:
    if path.is_dir():
        sync_folder(path)
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
