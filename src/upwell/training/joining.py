"""A training whose processes the user has started, with torchrun, on one machine or several.

The process of rank 0 does what the only process does otherwise: it opens the run, prepares rows, checks, trains and
writes. The others wait for its job, train along, and write nothing. They meet at the store that torchrun gives its
processes to find each other (MASTER_ADDR, MASTER_PORT).
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from upwell.errors import UpwellError
from upwell.training.trainer import Job, run_job

_POLL = 0.2
_NO_JOB = b"-"


def started() -> int | None:
    """Processes that torchrun has started with this one; None where nobody did."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in names) else None


def follows() -> bool:
    """Whether this process is to join what another one leads."""
    return started() is not None and os.environ["RANK"] != "0"


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """Around a training: the others are let go when it ends, however it does. Nothing where there are none."""
    if (started() or 1) == 1:
        yield
        return
    meeting = _meeting()
    meeting.number += 1
    try:
        yield
    finally:
        with contextlib.suppress(RuntimeError):  # where all is lost anyhow, the error says so
            if not meeting.store.check([meeting.key("job")]):
                meeting.store.set(meeting.key("job"), _NO_JOB)
            meeting.store.set(meeting.key("end"), b"")


def lead(job: Job) -> None:
    """Give the job to the others; all of them have to run it then."""
    if (started() or 1) > 1:
        meeting = _meeting()
        meeting.store.set(meeting.key("job"), msgspec.json.encode(job))


def follow() -> None:
    """Wait for the job of the first process, train along, and wait for its last word.

    Raises:
        UpwellError: the first process is gone.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is to be tidied up, and torchrun waits for us
    meeting = _meeting()
    meeting.number += 1
    told = meeting.wait("job")
    if told != _NO_JOB:
        run_job(msgspec.json.decode(told, type=Job), lambda event: None)
        meeting.wait("end")


class _Meeting:
    """Where the processes meet, and how many trainings they have met for."""

    def __init__(self, store: Any) -> None:
        self.store, self.number = store, 0

    def key(self, name: str) -> str:
        return f"upwell/{self.number}/{name}"

    def wait(self, name: str) -> bytes:
        # Not with the store's own `wait`, which would hold off signals: preparing may take hours.
        try:
            while not self.store.check([self.key(name)]):
                time.sleep(_POLL)
            return bytes(self.store.get(self.key(name)))
        except RuntimeError:
            raise UpwellError(
                "the first process of the training is gone",
                "see what it said; then run the same command again",
            ) from None


@functools.cache
def _meeting() -> _Meeting:
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(iter(rendezvous("env://")))
    return _Meeting(store)
