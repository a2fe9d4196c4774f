"""The driver's side: replicas are started, called and replaced.

Placement, restarts of nodes and resources are Ray's own; here and in `dealing` is only the bookkeeping that
gives exactly one reply to each request.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from upwell.engines.base import NOT_NOW_SECONDS, Engine, Reply, Request
from upwell.engines.ray.cluster import connect, imported
from upwell.engines.ray.dealing import Job, Worker
from upwell.engines.ray.replica import Exchange, Replica, Trouble
from upwell.errors import EngineError
from upwell.runs.secrets import scrub_text

_POLL_SECONDS = 0.2
"""How long a replica keeps a call waiting for its first reply."""
_SOURCE_SECONDS = 0.02
"""How often a source is asked again that had nothing for now."""
_WAITING_SECONDS = 15.0
"""How long without any replica before, and between, words about it."""
_MOST_DEATHS_IN_A_ROW = 4
"""Deaths without an answer in between, beside one for each replica, after which a run ends that has none up."""
_CLOSE_SECONDS = 10.0


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
        self._ray = imported()
        self._ours = connect(self._ray, address, math.ceil(replicas * cpus))
        self._kind = self._ray.remote(**self._needs, max_restarts=0)(Replica)
        self._arguments = (make, dict(secrets or {}))
        self._number = 0
        self._workers = [self._started() for _ in range(replicas)]
        self._deaths = 0
        self._answered = False
        self._waited = self._told = 0.0

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Reply]:
        """One reply per request, in the order in which they come back.

        Raises:
            EngineError: replicas die one after the other without an answer.
            UpwellError: whatever the engine itself raises in a worker.
        """
        job = Job(iter(requests), self._ahead)
        self._deaths, self._answered = 0, False
        self._waited = self._told = time.monotonic()
        replies: list[Reply] = []
        trouble: Exception | None = None
        try:
            while trouble is None:
                try:
                    job.fill(self._workers)
                except Exception as error:  # noqa: BLE001  the source's; raised when what has come is given out
                    trouble = error
                    break
                for worker in self._workers:
                    self._call(worker)
                yield from replies  # while the replicas work on what has taken their place
                if job.over(self._workers):
                    return
                replies, trouble = self._next(job)
            yield from replies
            raise trouble
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

    def _started(self, barren: int = 0) -> Worker:
        self._number += 1
        return Worker(self._kind.remote(*self._arguments), self._number, barren)

    def _call(self, worker: Worker) -> None:
        if worker.call is None and not worker.ready:  # it could not be built for the last `generate`
            worker.call = worker.actor.start.remote()
        elif worker.call is None and worker.held:
            worker.call = worker.actor.exchange.remote(worker.fresh, _POLL_SECONDS)
            worker.fresh = []

    def _next(self, job: Job) -> tuple[list[Reply], Exception | None]:
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
        trouble: Exception | None = None
        dead: list[tuple[Worker, Exception]] = []
        for call in done:
            worker = by_call[call]
            worker.call = None
            try:
                back = self._ray.get(call)
            except self._ray.exceptions.RayTaskError as bug:  # our own code in the worker
                trouble = bug
                continue
            except self._ray.exceptions.RayError as death:
                dead.append((worker, death))
                continue
            if isinstance(back, Exchange):
                if back.replies:
                    self._deaths, self._answered, worker.barren = 0, True, 0
                replies += job.answered(worker, back.replies)
                back = back.trouble
            else:
                worker.ready = back is None
            if isinstance(back, Trouble):
                trouble = trouble or back.error()
        for worker, error in dead:  # after the living: their replies say that not everything is lost
            set_aside, doomed = self._buried(worker, job, error)
            replies += set_aside
            trouble = trouble or doomed
        self._speak_of_waiting()
        return replies, trouble

    def _buried(self, worker: Worker, job: Job, error: Exception) -> tuple[list[Reply], EngineError | None]:
        """Put another replica in the place of one that died. Returns the answer to what has now taken too many
        with it, and what to say where none is worth starting any more.

        A run is not given up while a replica is up or being built for the first time: on a node where none can
        live they die again and again, while the others may take minutes to load a model.
        """
        self._deaths += 1
        why = _reason(error)
        self._say(f"replica {worker.number} is gone: {why}")
        self._ray.kill(worker.actor)
        set_aside = job.requeue(worker)
        self._workers[self._workers.index(worker)] = self._started(worker.barren + 1)
        hope = any(other.ready or not other.barren for other in self._workers)
        if self._deaths >= _MOST_DEATHS_IN_A_ROW + self._replicas and not hope:
            return set_aside, EngineError(
                f"{self._deaths} replicas died one after the other without an answer; the last: {why}",
                "see the cluster's logs (memory is the usual cause); run the same command again to go on",
            )
        if set_aside and self._answered:  # where nothing was ever answered, it is hardly the request
            self._deaths = 0
        return set_aside, None

    def _speak_of_waiting(self) -> None:
        now = time.monotonic()
        if any(worker.ready for worker in self._workers):
            self._waited = now
        elif now - max(self._waited, self._told) > _WAITING_SECONDS:
            self._told = now
            has, free = self._ray.cluster_resources(), self._ray.available_resources()
            shown = " and ".join(
                f"{has.get(of, 0):g} {of}s ({free.get(of, 0):g} free)" for of in ("CPU", "GPU")
            )
            self._say(
                f"no replica is up after {now - self._waited:.0f} s: each needs {self._needs['num_cpus']:g} CPUs and "
                f"{self._needs['num_gpus']:g} GPUs; the cluster has {shown}"
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


def _reason(error: Exception) -> str:
    """The line of Ray's message that says most: the last, where a worker's own error is quoted."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return scrub_text((lines[-1] if "Traceback" in str(error) else lines[0])[:300])


def _process_id(_: Any) -> int:
    return os.getpid()
