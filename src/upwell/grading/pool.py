"""Warm symbolic workers: started when first needed, killed and replaced when they exceed a limit."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

import upwell
from upwell.grading.worker import HEADER, Outcome, Task, frame

_START_SECONDS = 120.0
"""How long a fresh worker may take to import SymPy on a busy machine."""
_PATIENCE = 4
_MAX_FAILED_STARTS = 4


def worker_command(timeout: float, memory_mb: int) -> list[str]:
    """The command line of one worker (`-P` keeps the user's folder off its import path)."""
    return [sys.executable, "-P", "-m", "upwell.grading.worker", str(timeout), str(memory_mb)]


class _Worker:
    """One process and what it is doing."""

    def __init__(self, command: Sequence[str]) -> None:
        home = str(Path(upwell.__file__).parents[1])
        path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.buffer = bytearray()
        self.task: Task | None = None
        self.ready = False
        self.deadline = time.monotonic() + _START_SECONDS

    def give(self, task: Task, seconds: float) -> None:
        assert self.process.stdin is not None
        self.task = task
        self.deadline = time.monotonic() + seconds
        with contextlib.suppress(BrokenPipeError):  # its end shows as the end of its output
            self.process.stdin.write(frame(task))
            self.process.stdin.flush()

    def outcomes(self) -> tuple[list[Outcome], bool]:
        """The complete messages so far, and whether the process has ended its output."""
        assert self.process.stdout is not None
        ended = False
        while True:
            try:
                piece = os.read(self.process.stdout.fileno(), 1 << 16)
            except BlockingIOError:
                break
            if not piece:
                ended = True
                break
            self.buffer += piece
        found = []
        while len(self.buffer) >= HEADER.size:
            size = HEADER.unpack_from(self.buffer)[0]
            if len(self.buffer) < HEADER.size + size:
                break
            found.append(msgspec.msgpack.decode(self.buffer[HEADER.size : HEADER.size + size], type=Outcome))
            del self.buffer[: HEADER.size + size]
        return found, ended

    def kill(self) -> int:
        """End the process for certain and return how it ended."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return self.process.wait()


class SymbolicPool:
    """Compares pairs of formulas in worker processes, each under a wall-clock, CPU and memory limit.

    Single-threaded: work moves only while `results` is called. No signals and no event loop are involved, so
    it may be used from any thread, though from one at a time.
    """

    def __init__(
        self, workers: int, timeout: float, memory_mb: int, command: Sequence[str] | None = None
    ) -> None:
        """
        Args:
            workers: Most processes at a time.
            timeout: Seconds of CPU time that one comparison may take; on the clock it may take `_PATIENCE` times
                as long, so that verdicts do not depend on what else the machine does.
            memory_mb: Address space of one worker, in MiB.
            command: What to run instead of the usual worker (tests).
        """
        self._size = workers
        self._patience = _PATIENCE * timeout
        self._command = list(command or worker_command(timeout, memory_mb))
        self._workers: list[_Worker] = []
        self._queue: deque[Task] = deque()
        self._selector = selectors.DefaultSelector()
        self._failed_starts = 0

    @property
    def waiting(self) -> int:
        """Tasks that have no result yet."""
        return len(self._queue) + sum(worker.task is not None for worker in self._workers)

    def submit(self, task: Task) -> None:
        """Queue one comparison; its result will carry the task's `id`."""
        self._queue.append(task)
        self._dispatch()

    def results(self, seconds: float) -> Iterator[Outcome]:
        """What has been decided, waiting up to `seconds` for the first of it."""
        self._dispatch()
        if not self._workers:
            yield from self._given_up()
            return
        now = time.monotonic()
        wait = max(0.0, min([seconds] + [w.deadline - now for w in self._workers if w.task or not w.ready]))
        for event, _ in self._selector.select(wait):
            yield from self._collect(event.data)
        now = time.monotonic()
        for worker in [w for w in self._workers if (w.task or not w.ready) and now >= w.deadline]:
            yield from self._remove(worker, "stalled")
        self._dispatch()

    def close(self) -> None:
        """Kill all workers."""
        for worker in self._workers:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(worker.process.stdout)  # type: ignore[arg-type]
            worker.kill()
        self._workers.clear()
        self._queue.clear()
        self._selector.close()

    def _dispatch(self) -> None:
        for worker in self._workers:
            if self._queue and worker.ready and worker.task is None:
                worker.give(self._queue.popleft(), self._patience)
        starting = sum(not worker.ready for worker in self._workers)
        if (
            len(self._queue) > starting
            and len(self._workers) < self._size
            and self._failed_starts < _MAX_FAILED_STARTS
        ):
            worker = _Worker(self._command)
            self._workers.append(worker)
            self._selector.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]

    def _collect(self, worker: _Worker) -> Iterator[Outcome]:
        found, ended = worker.outcomes()
        for outcome in found:
            if outcome.id < 0:
                worker.ready = True
                self._failed_starts = 0
            else:
                worker.task = None
                ended |= outcome.trouble == "memory"  # it ends now; nothing more must be given to it
                yield outcome
        if ended:
            yield from self._remove(worker, "crash")

    def _remove(self, worker: _Worker, trouble: str) -> Iterator[Outcome]:
        self._selector.unregister(worker.process.stdout)  # type: ignore[arg-type]
        self._workers.remove(worker)
        code = worker.kill()
        if code == -signal.SIGXCPU:
            trouble = "timeout"
        if not worker.ready:
            self._failed_starts += 1
        elif worker.task is not None:
            yield Outcome(worker.task.id, None, trouble)

    def _given_up(self) -> Iterator[Outcome]:
        """No worker can be started on this machine: nothing that waits will be decided."""
        if self._failed_starts >= _MAX_FAILED_STARTS:
            while self._queue:
                yield Outcome(self._queue.popleft().id, None, "no worker")
