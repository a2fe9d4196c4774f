"""What runs in a worker: one engine, fed and emptied by the driver's calls. Ray itself is not needed here."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing

import msgspec

from upwell.engines.base import Engine, Reply, Request
from upwell.errors import BudgetSpent, EngineError, UpwellError, UsageError
from upwell.runs.secrets import scrub_text

_STOP_SECONDS = 600.0
"""How long an abandoned generation may take to end: a response in mid-draw ends first."""


class Trouble(msgspec.Struct, frozen=True):
    """An error of ours on its way to the driver: exceptions of strangers' packages need not survive a pickle."""

    message: str
    hint: str | None
    exit_code: int

    @classmethod
    def of(cls, error: Exception) -> Trouble:
        if isinstance(error, UpwellError):
            return cls(error.message, error.hint, error.exit_code)
        told = scrub_text(f"a replica failed: {type(error).__name__}: {error}")
        return cls(told, None, EngineError.exit_code)

    def error(self) -> UpwellError:
        """The error to raise in the driver."""
        for kind in (UsageError, BudgetSpent):
            if kind.exit_code == self.exit_code:
                return kind(self.message, self.hint)
        return EngineError(self.message, self.hint)


class Exchange(msgspec.Struct, frozen=True):
    """What a replica has for the driver."""

    replies: list[Reply]
    trouble: Trouble | None = None


class Replica:
    """An engine that draws in a thread of its own, so that it goes on between the driver's calls.

    Args:
        make: builds the engine.
        secrets: put into this process's environment first.
    """

    def __init__(self, make: Callable[[], Engine], secrets: Mapping[str, str]) -> None:
        os.environ.update(secrets)
        self._make = make
        self._engine: Engine | None = None
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[Reply | Trouble] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, pause: float = 0.0) -> Trouble | None:
        """Build the engine, after so many seconds. Returns what went wrong, if something did."""
        time.sleep(pause)
        try:
            self._engine = self._make()
        except Exception as error:  # noqa: BLE001  an engine may fail in any way; the driver is to hear of it
            return Trouble.of(error)
        return None

    def exchange(self, requests: list[Request], seconds: float) -> Exchange:
        """Take requests; give what has been drawn, waiting at most so long for the first of it."""
        for request in requests:
            self._requests.put(request)
        if self._thread is None or not self._thread.is_alive():
            self._stop.clear()
            self._thread = threading.Thread(target=self._draw, daemon=True)
            self._thread.start()
        replies: list[Reply] = []
        try:
            found = self._replies.get(timeout=seconds)
            while True:
                if isinstance(found, Trouble):
                    return Exchange(replies, found)
                replies.append(found)
                found = self._replies.get_nowait()
        except queue.Empty:
            return Exchange(replies)

    def abandon(self) -> None:
        """Drop everything in flight: its driver does not wait for it any more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
            self._thread = None
        self._requests, self._replies = queue.SimpleQueue(), queue.SimpleQueue()

    def close(self) -> None:
        """Let the engine go, so that servers of its own end too."""
        self.abandon()
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _draw(self) -> None:
        assert self._engine is not None
        try:
            with closing(_generator(self._engine.generate(self._source()))) as drawn:
                for reply in drawn:
                    self._replies.put(reply)
                    if self._stop.is_set():
                        return
            if not self._stop.is_set():  # its source has no end before
                raise RuntimeError("the engine left off with requests unanswered")
        except Exception as error:  # noqa: BLE001  as in `start`
            self._replies.put(Trouble.of(error))

    def _source(self) -> Iterator[Request | None]:
        while not self._stop.is_set():
            try:
                yield self._requests.get_nowait()
            except queue.Empty:
                yield None  # the engine goes on with what it has, and asks again


def _generator(replies: Iterator[Reply]) -> Generator[Reply, None, None]:
    yield from replies
