"""`build`: read finished runs, draw, and write the page, its PNGs and its tables. `serve`: the page alone, served."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from upwell.errors import StorageError, UsageError

if TYPE_CHECKING:
    from upwell.report.page import Analysed
    from upwell.report.reading import RunView
    from upwell.report.rendering import Rendered
    from upwell.report.serving import Server

EMBEDDING_CAP = 8_000_000
"""Bytes of responses that one page holds at most, about; beyond it, some responses of every problem."""


@dataclass(frozen=True)
class ReportFiles:
    """What a report wrote."""

    html: Path
    pngs: tuple[Path, ...] = ()
    tables: tuple[Path, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """What was left out and why, for the terminal; the page says it too where it concerns the reader."""


def build(
    run_paths: Sequence[Path], out: Path, *, pngs: bool = True, embed_bytes: int = EMBEDDING_CAP
) -> ReportFiles:
    """Write a report on finished runs: one HTML file that needs no network, PNGs and CSVs beside it.

    Args:
        run_paths: Run directories, each finished and graded; several are laid over one another. A ladder of trainings
            stands for its measured runs. Runs of `analyze` have sections of their own.
        out: The HTML file. Figures go beside it as `<stem>-<figure>.png` and `.csv`.
        pngs: Whether to write the PNGs.
        embed_bytes: Bytes of responses that the page holds at most, about. A larger run shows all its
            tallies and, of every problem, the first responses of both outcomes.

    Raises:
        UsageError: a folder is no finished run, or `out` cannot be written.
        MissingExtra: the packages that draw figures are not installed.
        StorageError: the disk is full or fails.
    """
    from upwell.report.page import page
    from upwell.report.rendering import png, table

    if not run_paths:
        raise UsageError("no run to report on", "upwell report runs/NAME --out report.html")
    _check_writable(out)
    content = _content(run_paths, embed_bytes)
    notes = [
        f"{run.name}: the page shows {run.shown_per_problem} of {run.samples_written} per problem, "
        "the first of both outcomes; every count and every number is over all of them (--serve shows them all)."
        for run in content.runs
        if run.shown_per_problem is not None
    ]
    _write(out, page(content.runs, content.drawn, notes, content.studies).encode())
    drawn = [*content.drawn, *(one.drawn for one in content.studies if one.drawn is not None)]
    tables = [_write(_beside(out, one.figure.name, "csv"), table(one.figure)) for one in drawn]
    images: list[Path] = []
    for one in drawn if pngs else ():
        try:
            data = png(one)
        except ValueError as error:  # what vl-convert raises
            notes.append(f"no PNG of `{one.figure.name}` ({error}); the page has the figure")
            continue
        images.append(_write(_beside(out, one.figure.name, "png"), data))
    return ReportFiles(out, tuple(images), tuple(tables), tuple(notes))


def serve(run_paths: Sequence[Path], port: int = 0) -> Server:
    """The same page, to be served to this machine alone: with every response, read from the runs as it is asked for.

    Args:
        run_paths: as for `build`.
        port: 0 for any that is free.

    Returns:
        A server that listens; `serve_forever` answers, `address` is what to open.

    Raises:
        UsageError: a folder is no finished run, or the port is taken.
        MissingExtra: the packages that draw figures are not installed.
    """
    from upwell.report.page import page
    from upwell.report.serving import Server, Shelf

    if not run_paths:
        raise UsageError("no run to report on", "upwell report runs/NAME --serve")
    content = _content(run_paths, 0)
    html = page(content.runs, content.drawn, [], content.studies, served=True)
    return Server(html.encode(), [Shelf.of(path) for path in content.paths], port)


@dataclass(frozen=True)
class _Content:
    """What a page is made of."""

    paths: list[Path]
    """Of the runs."""
    runs: list[RunView]
    drawn: list[Rendered]
    studies: list[Analysed]


def _content(run_paths: Sequence[Path], embed_bytes: int) -> _Content:
    from upwell.report.figures import figures
    from upwell.report.ladder import read_ladder, rungs
    from upwell.report.page import Analysed
    from upwell.report.reading import read_run
    from upwell.report.rendering import render, require_charts
    from upwell.report.studies import figure_of, read_study

    require_charts()
    named: list[tuple[str, Path]] = []
    ladders, studies = [], []
    for path, name in zip(run_paths, _names(run_paths), strict=True):
        study = read_study(path, name)
        ladder = None if study is not None else read_ladder(path)
        if study is not None:
            figure = figure_of(study)
            studies.append(Analysed(study, None if figure is None else render(figure)))
        elif ladder is None:
            named.append((name, path))
        else:
            ladders.append(ladder)
            several = f"{name}: " if len(run_paths) > 1 else ""
            named += [(several + own, measured) for own, measured in ladder.measured]
    cap = embed_bytes // max(len(named), 1)
    runs = [read_run(path, name, cap) for name, path in named]
    drawn = [render(figure) for figure in (*map(rungs, ladders), *figures(runs))]
    return _Content([path for _, path in named], runs, drawn, studies)


def _names(paths: Sequence[Path]) -> list[str]:
    """Folder names, with as much of the path before them as tells them apart."""
    resolved = [path.resolve() for path in paths]
    for depth in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    raise UsageError("the same run is given twice", "give each run once")


def _check_writable(out: Path) -> None:
    if out.is_dir():
        raise UsageError(f"`{out}` is a folder, not a file", f"--out {out / 'report.html'}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise UsageError(
            f"cannot write `{out}`: {error.strerror}", "choose another place, as in --out report.html"
        ) from None


def _beside(out: Path, name: str, ending: str) -> Path:
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:60]
    return out.with_name(f"{out.stem}-{safe}.{ending}")


def _write(path: Path, data: bytes) -> Path:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(
            f"cannot write `{path}`: {error.strerror}", "free some space and run it again"
        ) from None
    return path
