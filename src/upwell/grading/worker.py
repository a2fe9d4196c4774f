"""A process that compares formulas with math-verify and SymPy, to be killed when it takes too long.

Run as `python -m upwell.grading.worker TIMEOUT MEMORY_MB`; speaks length-prefixed MessagePack on its standard
input and output. It limits its own memory and CPU time, and ends when its parent does: at the end of its
input, or, while it computes, when a watching thread sees that it has another parent.
"""

from __future__ import annotations

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

HEADER = struct.Struct("<I")
MAX_FRAME = 1 << 20


class Task(msgspec.Struct, frozen=True, array_like=True):
    """Two formulas to compare."""

    id: int
    gold: str
    answer: str


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What came of it. `id` -1 announces that the worker is ready."""

    id: int
    equal: bool | None
    trouble: str = ""


def frame(message: msgspec.Struct) -> bytes:
    """A message as bytes with its length in front."""
    body = msgspec.msgpack.encode(message)
    return HEADER.pack(len(body)) + body


def serve(source: BinaryIO, sink: BinaryIO, compare: Callable[[str, str], bool], seconds: float) -> None:
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


def _outcome(task: Task, compare: Callable[[str, str], bool]) -> Outcome:
    try:
        return Outcome(task.id, compare(task.gold, task.answer))
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


def math_verify_comparison() -> Callable[[str, str], bool]:
    """The comparison of math-verify: LaTeX only, its own timeouts (which need signals) off, nothing evaluated."""
    import logging

    import math_verify
    import sympy.parsing.sympy_parser
    import sympy.physics.units  # `simplify` imports it, and it parses its own names while it loads
    from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("text is not evaluated here")

    def number(_: object, text: str) -> object:
        digits = text.replace(",", "")
        return sympy.Integer(int(digits)) if digits.isdigit() else sympy.Float(digits)

    # SymPy turns every string into an object with `parse_expr`, which runs Python; latex2sympy does so for digits.
    sympy.parsing.sympy_parser.parse_expr = refuse
    _Latex2Sympy.parse_number = number
    logging.disable(logging.CRITICAL)
    configuration = [math_verify.LatexExtractionConfig(boxed_match_priority=-1)]

    def parsed(text: str) -> list[object]:
        return list(math_verify.parse(f"${text}$", configuration, "no_fallback", parsing_timeout=None))

    def compare(gold: str, answer: str) -> bool:
        return bool(math_verify.verify(parsed(gold), parsed(answer), timeout_seconds=None))

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
    serve(sys.stdin.buffer, sink, math_verify_comparison(), seconds)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
