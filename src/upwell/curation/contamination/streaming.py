"""Rows through several processes: in order, a few chunks at a time, whatever their number."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import Any, TypeVar

from upwell.errors import UpwellError

ROWS, CHARACTERS = 512, 2_000_000
"""Rows and characters that go to a worker at once, whichever is reached first."""
_AHEAD = 2
"""Chunks that wait per worker, so that none is ever idle and memory stays flat."""

Row = TypeVar("Row", bound=tuple[str, ...])
Shared = TypeVar("Shared")
Chunk = TypeVar("Chunk")
Out = TypeVar("Out")

_held: Any = None


def chunked(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in chunks of bounded length and size."""
    chunk: list[Row] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += sum(map(len, row))
        if len(chunk) >= ROWS or size >= CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def in_order(
    work: Callable[[Shared, Chunk], Out], shared: Shared, chunks: Iterable[Chunk], workers: int
) -> Iterator[Out]:
    """`work(shared, chunk)` for each chunk, in order. Each worker gets `shared` once; `work` is a module's function.

    The processes are started afresh, so that it is safe beside threads. Two chunks or fewer are not worth a process.

    Raises:
        UpwellError: A worker died.
    """
    source = iter(chunks)
    first = list(islice(source, 3 if workers > 1 else 0))
    if workers <= 1 or len(first) < 3:
        for chunk in chain(first, source):
            yield work(shared, chunk)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_hold, initargs=(shared,))
    waiting: deque[Future[Out]] = deque()
    try:
        for chunk in chain(first, source):
            waiting.append(pool.submit(_with_held, work, chunk))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UpwellError(
            "a process that checked rows for contamination died; most likely the machine ran out of memory",
            "--workers 1",
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _hold(shared: Any) -> None:
    global _held
    _held = shared


def _with_held(work: Callable[[Any, Chunk], Out], chunk: Chunk) -> Out:
    return work(_held, chunk)
