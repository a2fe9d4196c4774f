"""The server engine from outside: requests in, replies out, an event loop in a thread of its own between."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from upwell.engines.base import NOT_NOW_SECONDS, Reply, Request
from upwell.engines.endpoint import Endpoint
from upwell.engines.server.dispatch import Dispatch
from upwell.engines.server.pacing import MOST, Adaptive, Pace
from upwell.engines.server.remote import Remote
from upwell.engines.server.wire import server_identity
from upwell.engines.settings import EngineSettings

_SOURCE_SECONDS = 0.02
"""How often a source is asked again that had nothing for now, while calls are out."""


class ServerEngine:
    """Draws from OpenAI-compatible servers that serve one model.

    Args:
        endpoints: where the servers are; each gets as many calls as it proves to stand.
        model: what they call the model.
        settings: how they are called.
        say: told what the user should know: a server that is down, back, or left out.
        pace: makes what finds the number of calls in flight to one server, given the most that it may be.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        model: str,
        *,
        settings: EngineSettings,
        say: Callable[[str], None] = lambda line: None,
        pace: Callable[[int], Pace] = Adaptive,
    ) -> None:
        self.identity = server_identity(model, settings)
        self._settings = settings
        self._say = say
        most = settings.max_concurrency or MOST * len(endpoints)
        share = max(1, -(-most // len(endpoints)))
        self.remotes = [
            Remote(endpoint, model, settings.dialect, pace(min(share, MOST)), settings.choices_per_call)
            for endpoint in endpoints
        ]

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Reply]:
        """One reply per request, in the order in which calls come back.

        Raises:
            EngineError: no server has been reachable for `settings.patience` seconds, or all refuse us.
            UsageError: a server has a list of what it serves, and the model is not on it.
        """
        back: queue.SimpleQueue[list[Reply] | BaseException] = queue.SimpleQueue()
        dispatch = Dispatch(self.remotes, self._settings, back.put, self._say)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run, args=(loop, dispatch, back), daemon=True)
        started = False
        try:
            source, dry, out = iter(requests), False, 0
            while True:
                fresh, dry, waiting = _pulled(source, dispatch.room - out, dry)
                out += len(fresh)
                if not started:
                    thread.start()
                    started = True
                if fresh or dry:
                    loop.call_soon_threadsafe(dispatch.accept, fresh, dry)
                if not out:
                    if dry:
                        return
                    time.sleep(NOT_NOW_SECONDS)
                    continue
                try:
                    came = back.get(timeout=_SOURCE_SECONDS if waiting else None)
                except queue.Empty:
                    continue
                if isinstance(came, BaseException):
                    raise came
                out -= len(came)
                yield from came
        finally:
            if started:
                loop.call_soon_threadsafe(dispatch.stop)
                thread.join()
            loop.close()

    def close(self) -> None:
        """Nothing to give back: connections end with `generate`."""


def _pulled(source: Iterator[Request | None], room: int, dry: bool) -> tuple[list[Request], bool, bool]:
    """Requests as far as there is room; whether the source has ended; whether it has nothing for now."""
    fresh: list[Request] = []
    while not dry and len(fresh) < room:
        try:
            request = next(source)
        except StopIteration:
            return fresh, True, False
        if request is None:
            return fresh, False, True
        fresh.append(request)
    return fresh, dry, False


def _run(
    loop: asyncio.AbstractEventLoop,
    dispatch: Dispatch,
    back: queue.SimpleQueue[list[Reply] | BaseException],
) -> None:
    try:
        loop.run_until_complete(dispatch.run())
    except BaseException as error:  # noqa: BLE001  handed to the caller's thread, raised there
        back.put(error)
