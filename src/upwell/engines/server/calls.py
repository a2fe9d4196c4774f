"""A request on its way to its reply: alone, with others in a call, and what may become of the call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from upwell.engines.base import NO_USAGE, Reply, Request, Usage
from upwell.engines.server.faults import Doomed, Refusal, Retry
from upwell.engines.server.wire import Answer, Choice

if TYPE_CHECKING:
    from upwell.engines.server.pacing import Ticket
    from upwell.engines.server.remote import Remote

ONE_CALL = Usage(calls=1)


class Lost(msgspec.Struct, frozen=True):
    """A call that went out and brought nothing."""

    why: str
    usage: Usage = ONE_CALL
    timed_out: bool = False
    spoken: bool = False
    """Whether a whole reply came, if none of use: the server is there."""


class Away(msgspec.Struct, frozen=True):
    """A call that could not go out."""

    why: str


Outcome = Answer | Refusal | Retry | Doomed | Lost | Away


class Item:
    """A request on its way to its reply."""

    __slots__ = ("faults", "most", "request", "wasted")

    def __init__(self, request: Request, most: int) -> None:
        self.request = request
        self.most = most
        """Responses that a call begun with this one may ask for."""
        self.faults = 0
        self.wasted = NO_USAGE


class Call:
    """Requests, alike but for key and seed, that are out in one call."""

    __slots__ = ("began", "cost", "cut", "items", "remote", "task", "ticket")

    def __init__(self, remote: Remote, items: list[Item], ticket: Ticket, began: float, cost: float) -> None:
        self.remote = remote
        self.items = items
        self.ticket = ticket
        self.began = began
        self.cost = cost
        """Tokens that it was expected to take."""
        self.cut = False
        """Whether it took too long and was cancelled for it."""
        self.task: asyncio.Task[None] | None = None


def alike(one: Request, other: Request) -> bool:
    """Whether one call can draw for both."""
    return (
        one.prompt == other.prompt
        and one.sampling == other.sampling
        and one.chat == other.chat
        and one.add_special_tokens == other.add_special_tokens
    )


def reply_of(item: Item, choice: Choice, call: Usage, *, seeded: bool) -> Reply:
    """A choice as a reply. `call` is what it carries of its call: prompt tokens."""
    if choice.finish == "filtered":
        took = Usage(
            calls=1,
            prompt_tokens=call.prompt_tokens,
            cached_tokens=call.cached_tokens,
            completion_tokens=choice.tokens or 0,
        )
        return Reply(
            key=item.request.key, error="the server's content filter cut it off", wasted=item.wasted + took
        )
    return Reply(
        key=item.request.key,
        text=choice.text,
        finish=choice.finish,
        tokens=choice.tokens,
        prompt_tokens=call.prompt_tokens,
        cached_tokens=call.cached_tokens,
        logprob=choice.logprob,
        seeded=seeded,
        wasted=item.wasted,
    )
