"""Which replica gets which request, and what becomes of the requests of one that died. Needs no Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from upwell.engines.base import Reply, Request

_MOST_DEATHS = 3
"""Replicas that a request may take with it; then it is set aside. Before the last, it is run alone."""
_ONCE_BITTEN = 16
"""Requests seen in one death that a replica holds at most, among any number of others: those that a second death
finds with the culprit are each run alone, which with all of `ahead` would take 256 responses, one after the other."""
_LONGEST_PAUSE = 30.0
"""Seconds before a replica is built whose predecessors died without an answer, at most."""


class Worker:
    """A replica as the driver sees it."""

    def __init__(self, actor: Any, number: int, barren: int = 0) -> None:
        self.actor = actor
        self.number = number
        self.barren = barren
        """Predecessors in its place that died one after the other without an answer."""
        self.ready = False
        self.call: Any = actor.start.remote(min(_LONGEST_PAUSE, 0.25 * 2.0**barren) if barren else 0.0)
        """The call that is out, if one is."""
        self.fresh: list[Request] = []
        """Given to it, to go with the next call."""
        self.held: dict[str, Request] = {}
        """All that it has not answered, `fresh` included."""
        self.alone = False
        """Whether it runs one suspect and nothing else."""

    def give(self, request: Request) -> None:
        self.fresh.append(request)
        self.held[request.key] = request


class Job:
    """The requests of one `generate` that have not been answered, wherever they are."""

    def __init__(self, source: Iterator[Request | None], ahead: int) -> None:
        self._source = source
        self._ahead = ahead
        self._queue: deque[Request] = deque()
        self._bitten: deque[Request] = deque()
        self._suspects: deque[Request] = deque()
        self._strikes: dict[str, int] = {}
        """Deaths that a request was seen in, from the first on."""
        self._dry = False
        self._last: tuple[tuple[str, bool], Worker] | None = None
        self.waiting = False
        """Whether the source had nothing for now."""

    def over(self, workers: list[Worker]) -> bool:
        out = any(worker.held for worker in workers)
        return self._dry and not (out or self._queue or self._bitten or self._suspects)

    def fill(self, workers: list[Worker]) -> None:
        """Give ready replicas what they have room for, draws of one prompt together."""
        up = [worker for worker in workers if worker.ready]
        kept = None
        if self._suspects and not any(worker.alone for worker in up):
            # One replica takes nothing new, so that it soon runs suspects, one by one; the others go on.
            kept = min(up, key=lambda worker: len(worker.held), default=None)
        try:
            self._deal([worker for worker in up if not worker.alone and worker is not kept])
        finally:
            for worker in up:
                if self._suspects and not worker.held:
                    worker.alone = True
                    worker.give(self._suspects.popleft())

    def _deal(self, open_: list[Worker]) -> None:
        """Hand out once-bitten requests as far as they may be held, then whatever is next."""
        self.waiting = False
        if self._bitten:
            room = {w: _ONCE_BITTEN - sum(key in self._strikes for key in w.held) for w in open_}
            while self._bitten:
                chosen = self._place(self._bitten[0], [worker for worker in open_ if room[worker] > 0])
                if chosen is None:
                    break
                room[chosen] -= 1
                chosen.give(self._bitten.popleft())
        while open_:
            request = self._upcoming()
            if request is None:
                return
            chosen = self._place(request, open_)
            if chosen is None:
                self._queue.appendleft(request)
                return
            chosen.give(request)

    def answered(self, worker: Worker, replies: list[Reply]) -> Iterator[Reply]:
        """The replies to what the replica holds; it may answer nothing else."""
        for reply in replies:
            if worker.held.pop(reply.key, None) is not None:
                self._strikes.pop(reply.key, None)
                worker.alone = worker.alone and bool(worker.held)
                yield reply

    def requeue(self, worker: Worker) -> list[Reply]:
        """Take back what a dead replica held. Returns the reply to a request that is not tried again, if it is
        such a one.

        What was not sent yet has no part in the death.
        """
        unsent = {request.key for request in worker.fresh}
        for request in reversed(worker.held.values()):
            strikes = self._strikes.get(request.key, 0) + (request.key not in unsent)
            if strikes == 0:
                self._queue.appendleft(request)
                continue
            self._strikes[request.key] = strikes
            if strikes >= _MOST_DEATHS and worker.alone:
                del self._strikes[request.key]
                gone = f"set aside: {strikes} replicas died while they worked on it"
                return [Reply(key=request.key, error=gone)]
            (self._suspects if strikes >= _MOST_DEATHS - 1 else self._bitten).appendleft(request)
        return []

    def _upcoming(self) -> Request | None:
        if self._queue:
            return self._queue.popleft()
        if self._dry:
            return None
        try:
            request = next(self._source)
        except StopIteration:
            self._dry = True
            return None
        self.waiting = request is None
        return request

    def _place(self, request: Request, open_: list[Worker]) -> Worker | None:
        """The replica that has the prompt already, else the one with most room; None where all are full."""
        if not open_:
            return None
        prompt = (request.prompt, request.chat)
        if self._last is not None and self._last[0] == prompt and self._last[1] in open_:
            worker = self._last[1]
            if len(worker.held) < self._ahead:
                return worker
            if all(2 * len(other.held) > self._ahead for other in open_):
                return None  # nobody is short of work: wait for the one that has the prompt
        freest = min(open_, key=lambda worker: len(worker.held))
        if len(freest.held) >= self._ahead:
            return None
        self._last = (prompt, freest)
        return freest
