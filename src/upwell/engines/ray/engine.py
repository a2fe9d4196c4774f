"""The driver's side: which replica draws what, and what becomes of the requests of one that died.

Placement, restarts of nodes and resources are Ray's own; here is only the bookkeeping that gives exactly
one reply to each request.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import upwell
from upwell.engines.base import NOT_NOW_SECONDS, Engine, Reply, Request
from upwell.engines.ray.replica import Exchange, Replica, Trouble
from upwell.errors import EngineError, MissingExtra, UsageError

_POLL_SECONDS = 0.2
"""How long a replica keeps a call waiting for its first reply."""
_SOURCE_SECONDS = 0.02
"""How often a source is asked again that had nothing for now."""
_WAITING_SECONDS = 15.0
"""How long without any replica before, and between, words about it."""
_MOST_DEATHS = 3
"""Replicas that a request may take with it; then it is set aside. Before the last, it is run alone."""
_CLOSE_SECONDS = 10.0
_CONNECT_SECONDS = 10.0
_OBJECT_STORE = 100 * 2**20
"""Bytes of shared memory of a Ray that we start: requests and replies are small and pass at once."""


class _Worker:
    """A replica as the driver sees it."""

    def __init__(self, actor: Any, number: int) -> None:
        self.actor = actor
        self.number = number
        self.ready = False
        self.call: Any = actor.start.remote()
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


class RayEngine:
    """Draws on any number of replicas of an engine, as the cluster has room for them.

    The source is pulled here, in the caller's thread, and rows are written by the caller: workers only
    return values. A replica that dies is replaced and what it had not answered is asked again elsewhere.
    A request that was in flight on two replicas when they died is run alone; if it takes a third with it,
    it is answered with an error.

    Args:
        make: builds the engine in the worker; pickled with its arguments, so free of secrets.
        identity: the engine's.
        address: `local` for a Ray of our own on this machine, else a cluster's address, or `auto`.
        replicas: replicas at most.
        gpus: GPUs of each.
        cpus: CPUs of each; Ray also sets OMP_NUM_THREADS to it in the worker.
        ahead: requests that one replica holds at most.
        secrets: environment variables set in the worker before `make` is called. They travel as an argument
            of the actor, never in a runtime environment, which Ray logs.
        say: told in a line what was decided.

    Raises:
        MissingExtra: Ray is not installed.
        UsageError: there is no cluster at the address.
    """

    def __init__(  # noqa: PLR0913  a cluster has that many sides
        self,
        make: Callable[[], Engine],
        *,
        identity: str,
        address: str,
        replicas: int = 1,
        gpus: float = 0.0,
        cpus: float = 1.0,
        ahead: int = 256,
        secrets: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.identity = identity
        self._say = say
        self._ahead = ahead
        self._replicas = replicas
        self._needs = {"num_cpus": cpus, "num_gpus": gpus}
        self._ray = _imported()
        self._ours = _connect(self._ray, address, math.ceil(replicas * cpus))
        self._kind = self._ray.remote(**self._needs, max_restarts=0)(Replica)
        self._arguments = (make, dict(secrets or {}))
        self._number = 0
        self._workers = [self._started() for _ in range(replicas)]
        self._deaths = 0
        self._waited = self._told = 0.0

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Reply]:
        """One reply per request, in the order in which they come back.

        Raises:
            EngineError: replicas die one after the other without an answer.
            UpwellError: whatever the engine itself raises in a worker.
        """
        job = _Job(iter(requests), self._ahead)
        self._deaths = 0
        self._waited = self._told = time.monotonic()
        replies: list[Reply] = []
        trouble: Trouble | None = None
        try:
            while trouble is None:
                job.fill(self._workers)
                for worker in self._workers:
                    self._call(worker)
                yield from replies  # while the replicas work on what has taken their place
                if job.over(self._workers):
                    return
                replies, trouble = self._next(job)
            yield from replies
            raise trouble.error()
        finally:
            self._abandon()

    def close(self) -> None:
        """End the replicas, and Ray if it is ours. A second call does nothing."""
        workers, self._workers = self._workers, []
        with_engine = [worker for worker in workers if worker.ready]
        if with_engine:
            closing = [worker.actor.close.remote() for worker in with_engine]
            self._ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_SECONDS)
        for worker in workers:
            self._ray.kill(worker.actor)
        if self._ours:
            self._ours = False
            self._ray.shutdown()

    @property
    def process_ids(self) -> list[int]:
        """Of the replicas that are up: for looking at them from outside."""
        return self._ray.get([w.actor.__ray_call__.remote(_process_id) for w in self._workers if w.ready])  # type: ignore[no-any-return]

    def _started(self) -> _Worker:
        self._number += 1
        return _Worker(self._kind.remote(*self._arguments), self._number)

    def _call(self, worker: _Worker) -> None:
        if worker.call is None and worker.held:
            worker.call = worker.actor.exchange.remote(worker.fresh, _POLL_SECONDS)
            worker.fresh = []

    def _next(self, job: _Job) -> tuple[list[Reply], Trouble | None]:
        """Wait for some call to come back and deal with all that have. Returns the replies that they bring, and
        what ends the run."""
        by_call = {worker.call: worker for worker in self._workers if worker.call is not None}
        if not by_call:
            time.sleep(NOT_NOW_SECONDS)  # all is answered, and the source has nothing for now
            return [], None
        seconds = _SOURCE_SECONDS if job.waiting else 1.0
        done, _ = self._ray.wait(list(by_call), num_returns=1, timeout=seconds)
        if done:  # and any others that are there by now
            done, _ = self._ray.wait(list(by_call), num_returns=len(by_call), timeout=0)
        replies: list[Reply] = []
        trouble: Trouble | None = None
        for call in done:
            worker = by_call[call]
            worker.call = None
            try:
                back = self._ray.get(call)
            except self._ray.exceptions.RayTaskError:
                raise  # our own code in the worker: a bug
            except self._ray.exceptions.RayError as error:
                replies += self._buried(worker, job, error)
                continue
            if isinstance(back, Exchange):
                if back.replies:
                    self._deaths = 0
                replies += job.answered(worker, back.replies)
                back = back.trouble
            else:
                worker.ready = back is None
            trouble = trouble or back
        self._speak_of_waiting()
        return replies, trouble

    def _buried(self, worker: _Worker, job: _Job, error: Exception) -> list[Reply]:
        """Put another replica in the place of one that died; answer what has now taken too many with it."""
        self._deaths += 1
        why = _reason(error)
        self._say(f"replica {worker.number} is gone: {why}")
        self._ray.kill(worker.actor)
        if self._deaths >= _MOST_DEATHS + self._replicas:
            raise EngineError(
                f"{self._deaths} replicas died one after the other without an answer; the last: {why}",
                "see the cluster's logs (memory is the usual cause); run the same command again to go on",
            )
        set_aside = job.requeue(worker)
        self._workers[self._workers.index(worker)] = self._started()
        if set_aside is None:
            return []
        self._deaths = 0
        return [set_aside]

    def _speak_of_waiting(self) -> None:
        now = time.monotonic()
        if any(worker.ready for worker in self._workers):
            self._waited = now
        elif now - max(self._waited, self._told) > _WAITING_SECONDS:
            self._told = now
            has, needs = self._ray.available_resources(), self._needs
            self._say(
                f"no replica is up after {now - self._waited:.0f} s: each needs {needs['num_cpus']:g} CPUs and "
                f"{needs['num_gpus']:g} GPUs; free are {has.get('CPU', 0):g} and {has.get('GPU', 0):g}"
            )

    def _abandon(self) -> None:
        """Let replicas drop what nobody waits for; calls to a replica run in order, so the next sees it done."""
        for worker in self._workers:
            if worker.held or (worker.ready and worker.call is not None):
                worker.actor.abandon.remote()
            worker.held.clear()
            worker.fresh.clear()
            worker.alone = False
            if worker.ready:
                worker.call = None


class _Job:
    """The requests of one `generate` that have not been answered, wherever they are."""

    def __init__(self, source: Iterator[Request | None], ahead: int) -> None:
        self._source = source
        self._ahead = ahead
        self._queue: deque[Request] = deque()
        self._suspects: deque[Request] = deque()
        self._strikes: dict[str, int] = {}
        self._dry = False
        self._last: tuple[tuple[str, bool], _Worker] | None = None
        self.waiting = False
        """Whether the source had nothing for now."""

    def over(self, workers: list[_Worker]) -> bool:
        out = any(worker.held for worker in workers)
        return self._dry and not (out or self._queue or self._suspects)

    def fill(self, workers: list[_Worker]) -> None:
        """Give ready replicas what they have room for, draws of one prompt together."""
        up = [worker for worker in workers if worker.ready]
        for worker in up:
            if self._suspects and not worker.held:
                worker.alone = True
                worker.give(self._suspects.popleft())
        # While there are suspects, one replica takes nothing new, so that it soon runs one of them alone.
        kept = next((w for w in up if not w.alone), None) if self._suspects else None
        open_ = [worker for worker in up if not worker.alone and worker is not kept]
        self.waiting = False
        while open_:
            request = self._upcoming()
            if request is None:
                return
            chosen = self._place(request, open_)
            if chosen is None:
                self._queue.appendleft(request)
                return
            chosen.give(request)

    def answered(self, worker: _Worker, replies: list[Reply]) -> Iterator[Reply]:
        """The replies to what the replica holds; it may answer nothing else."""
        for reply in replies:
            if worker.held.pop(reply.key, None) is not None:
                self._strikes.pop(reply.key, None)
                worker.alone = worker.alone and bool(worker.held)
                yield reply

    def requeue(self, worker: _Worker) -> Reply | None:
        """Take back what a dead replica held. Returns the reply to a request that is not tried again.

        What was not sent yet has no part in the death.
        """
        unsent = {request.key for request in worker.fresh}
        set_aside = None
        for request in reversed(worker.held.values()):
            strikes = self._strikes.get(request.key, 0) + (request.key not in unsent)
            self._strikes[request.key] = strikes
            if strikes >= _MOST_DEATHS and worker.alone:
                self._strikes.pop(request.key)
                set_aside = Reply(
                    key=request.key, error=f"set aside: {strikes} replicas died while they worked on it"
                )
            elif strikes >= _MOST_DEATHS - 1:
                self._suspects.appendleft(request)
            else:
                self._queue.appendleft(request)
        return set_aside

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

    def _place(self, request: Request, open_: list[_Worker]) -> _Worker | None:
        """The replica that has the prompt already, else the one with most room; None where all are full."""
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


def _imported() -> Any:
    # Ray reports to its makers unless told not to, and warns of its own plans for environment variables.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise MissingExtra("--ray", "ray", "ray") from None
    return ray


def _connect(ray: Any, address: str, cpus: int) -> bool:
    """Be connected to the cluster. Returns whether we did it, and are to undo it."""
    if ray.is_initialized():
        return False
    if address == "local":
        ray.init(
            num_cpus=max(cpus, len(os.sched_getaffinity(0))),
            object_store_memory=_OBJECT_STORE,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
        return True
    _check_reachable(address)
    try:
        # The package is shipped, so that nodes need not have this very version installed.
        ray.init(
            address=address,
            runtime_env={"py_modules": [str(Path(upwell.__file__).parent)]},
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise _no_cluster(address, error) from None
    return True


def _check_reachable(address: str) -> None:
    """See that somebody listens there: Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdigit()):
        return  # `auto`, or a name that Ray resolves
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise _no_cluster(address, error) from None


def _no_cluster(address: str, error: Exception) -> UsageError:
    first = next(iter(str(error).splitlines()), type(error).__name__)
    return UsageError(
        f"no Ray cluster at `{address}`: {first}", "--ray local, or start one: ray start --head"
    )


def _reason(error: Exception) -> str:
    """The line of Ray's message that says most: the last, where a worker's own error is quoted."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return (lines[-1] if "Traceback" in str(error) else lines[0])[:300]


def _process_id(_: Any) -> int:
    return os.getpid()
