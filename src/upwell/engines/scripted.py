"""Replies from a function: for tests, demonstrations and dry runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from upwell.engines.base import NOT_NOW_SECONDS, Reply, Request


class ScriptedEngine:
    """Answers each request with what a function returns.

    Args:
        reply: Given a request; returns the response's text, or a whole `Reply`.
        identity: What the engine calls itself; part of a run's fingerprint.
    """

    def __init__(self, reply: Callable[[Request], str | Reply], identity: str = "scripted") -> None:
        self._reply = reply
        self.identity = identity

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Reply]:
        """One reply per request, in order. An exception of the function is an error reply."""
        for request in requests:
            if request is None:
                time.sleep(NOT_NOW_SECONDS)
                continue
            try:
                made = self._reply(request)
            except Exception as error:  # noqa: BLE001  the function is the caller's: whatever it does wrong is data
                made = Reply(key=request.key, error=f"{type(error).__name__}: {error}")
            yield _spoken(made, request) if isinstance(made, str) else made

    def close(self) -> None:
        """Nothing to give back."""


def _spoken(text: str, request: Request) -> Reply:
    """A text as a reply: words count as tokens, and the token limit and stop strings hold."""
    cuts = [at for stop in request.sampling.stop if (at := text.find(stop)) >= 0]
    text = text[: min(cuts)] if cuts else text
    words, most = text.split(), request.sampling.max_tokens
    if len(words) > most:
        return Reply(key=request.key, text=" ".join(words[:most]), finish="length", tokens=most)
    return Reply(key=request.key, text=text, finish="stop", tokens=len(words))
