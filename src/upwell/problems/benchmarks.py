"""Known sets, from `$UPWELL_DATA` or the hub."""

from __future__ import annotations

import os
from pathlib import Path

from upwell.errors import UsageError
from upwell.problems import files, hub
from upwell.problems.cards import Card, DataFile
from upwell.problems.sets import Fault, Gathering, ProblemSet, finish

ENVIRONMENT = "UPWELL_DATA"
"""Environment variable that names the folder of benchmark files."""


def data_folder(given: Path | None) -> Path | None:
    """The folder of benchmark files: the one given, else `$UPWELL_DATA`; None where neither is set.

    Raises:
        UsageError: It is no folder.
    """
    named = given if given is not None else os.environ.get(ENVIRONMENT) or None
    if named is None:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        where = "the data folder" if given is not None else ENVIRONMENT
        raise UsageError(
            f"{where} is `{named}`, which is not a folder", f"export {ENVIRONMENT}=/path/to/folder"
        )
    return folder


def load(card: Card, split: str, *, folder: Path | None, limit: int | None, graded: bool) -> ProblemSet:
    """A known set: from the folder if its files are there, else from the hub.

    Raises:
        UsageError: No such split; no reference answers but `graded`; neither here nor on the hub.
    """
    if split not in card.splits:
        raise UsageError(
            f"problem set `{card.name}` has no split `{split}`", f"--split {' or --split '.join(card.splits)}"
        )
    if graded and not card.graded:
        raise UsageError(
            f"problem set `{card.name}` has no reference answers, so rules cannot grade it: {card.remarks[0]}",
            f"upwell sample --problems {card.name} --out RUN ..., then: upwell grade RUN --judge MODEL",
        )
    gathering = Gathering(card.name, split, graded=graded and card.graded)
    wanted = card.files_of(split)
    if folder is not None and all((folder / file.path).is_file() for file in wanted):
        read = [_from_file(folder, file, card, gathering) for file in wanted]
    else:
        read = _from_hub(card, split, folder, gathering)
    if not card.graded:
        gathering.drop_faults("duplicate question")  # every file asks the same questions
    changed = [f"{fault.file}: {fault.kind}: {fault.detail}" for fault in gathering.faults if not fault.row]
    return finish(gathering, card, split, files=read, notes=[*changed, *card.remarks], limit=limit)


def _from_file(folder: Path, file: DataFile, card: Card, gathering: Gathering) -> dict[str, str]:
    path = folder / file.path
    rows = files.read(path, str(path))
    found = files.digest(path)
    if file.sha256 is not None and found != file.sha256:
        count = (
            "" if file.rows in (None, len(rows)) else f", {len(rows):,} rows where {file.rows:,} are known"
        )
        gathering.faults.append(
            Fault(
                file=file.path,
                row=0,
                kind="changed file",
                detail=f"SHA-256 {found}, known {file.sha256}{count}: scores may not compare",
            )
        )
    gathering.add(rows, card.reader, file.path)
    return {"name": file.path, "digest": found}


def _from_hub(card: Card, split: str, folder: Path | None, gathering: Gathering) -> list[dict[str, str]]:
    expected = card.files_of(split)[0].path
    read: list[dict[str, str]] = []
    try:
        for name, rows in hub.read(card, split):
            gathering.add(rows, card.reader, name)
            read.append({"name": name, "digest": hub.digest(rows)})
    except hub.Unavailable as error:
        at = (folder / expected) if folder is not None else f"${ENVIRONMENT}/{expected}"
        unset = "" if folder is not None else f" ({ENVIRONMENT} is not set)"
        raise UsageError(
            f"problem set `{card.name}`, split {split}, is not on this machine: no `{at}`{unset}; "
            f"from the hub: {error}.\n"
            f"source: {card.origin}, licence: {card.licence}, format: {card.format}",
            f"export {ENVIRONMENT}={folder or '/path/to/folder'}  # with {expected} in it",
        ) from None
    total = len(gathering.problems) + len(gathering.faults)
    known = card.published.get(split)
    if known is not None and total != known:
        gathering.faults.append(
            Fault(
                file=f"hub:{card.name}",
                row=0,
                kind="row count",
                detail=f"{total:,} rows, {known:,} published",
            )
        )
    return read
