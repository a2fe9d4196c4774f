"""A process that compares answers with math-verify and SymPy, to be killed when it takes too long.

Run as `python -m upwell.grading.worker TIMEOUT MEMORY_MB`; speaks length-prefixed MessagePack on its standard
input and output. It limits its own memory and CPU time, and ends when its parent does: at the end of its
input, or, while it computes, when a watching thread sees that it has another parent.
"""

from __future__ import annotations

import logging
import math
import os
import resource
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from upwell.grading.cases import Case

HEADER = struct.Struct("<I")
MAX_FRAME = 1 << 20


class Task(msgspec.Struct, frozen=True, array_like=True):
    """Two answers to compare."""

    id: int
    grader: str
    """Whose comparison: `math-verify`, or a key of `style.COMPARISONS`."""
    mode: str
    """See `Case.mode`."""
    gold: str
    answer: str


Compare = Callable[[Task], bool]


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What came of it. `id` -1 announces that the worker is ready."""

    id: int
    equal: bool | None
    trouble: str = ""
    """`timeout` (of CPU time), `stalled` (of time on the clock: the machine may have been too busy), `memory`,
    `crash`, or `no worker` where none can be started."""


def frame(message: msgspec.Struct) -> bytes:
    """A message as bytes with its length in front."""
    body = msgspec.msgpack.encode(message)
    return HEADER.pack(len(body)) + body


def serve(source: BinaryIO, sink: BinaryIO, compare: Compare, seconds: float) -> None:
    """Answer tasks until the input ends or memory runs out."""
    decoder = msgspec.msgpack.Decoder(Task)
    sink.write(frame(Outcome(-1, None)))
    sink.flush()
    while len(header := source.read(HEADER.size)) == HEADER.size:
        task = decoder.decode(source.read(HEADER.unpack(header)[0]))
        _limit_cpu(seconds)
        outcome = _outcome(task, compare)
        sink.write(frame(outcome))
        sink.flush()
        if outcome.trouble == "memory":
            return  # what is left of this heap is not to be trusted


def _outcome(task: Task, compare: Compare) -> Outcome:
    try:
        return Outcome(task.id, compare(task))
    except MemoryError:
        return Outcome(task.id, None, "memory")
    except (Exception, RecursionError):  # noqa: BLE001  SymPy raises anything on input it cannot take
        return Outcome(task.id, False)


def _limit_cpu(seconds: float) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.RLIM_INFINITY))


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.25)
    os._exit(1)


def comparisons() -> Compare:
    """The comparisons by grader: math-verify's, and those of other projects with SymPy for their algebra."""
    from upwell.grading.style import COMPARISONS
    from upwell.grading.symbolic import SympyAlgebra, math_verify_comparison

    math_verify, algebra = math_verify_comparison(), SympyAlgebra()

    def compare(task: Task) -> bool:
        if task.grader in COMPARISONS:
            case = Case(task.gold, task.answer, mode=task.mode)
            return bool(COMPARISONS[task.grader](case, algebra).correct)
        return math_verify(task.gold, task.answer)

    return compare


def main(seconds: float, memory_mb: int) -> None:
    """Serve on standard input and output under the limits given."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's business
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    limit = memory_mb << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.setrecursionlimit(3_000)
    logging.disable(logging.CRITICAL)
    serve(sys.stdin.buffer, sink, comparisons(), seconds)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
