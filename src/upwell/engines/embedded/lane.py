"""A lane: keeps every slot of one `SharedPrefixModel` busy with the next owed draw."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from upwell.engines.base import NOT_NOW_SECONDS, Reply, Request
from upwell.engines.embedded.attention import Prefix
from upwell.engines.embedded.drawing import Rows, draw, token_logprobs, uniforms
from upwell.engines.embedded.shared_prefix import SharedPrefixModel

End = Literal["stop", "length"]

_GROUP = 256
"""Draws of one prompt that a lane takes at once; a prompt with more may be prefilled by a second lane too."""
_NO_MORE = object()


class Host(Protocol):
    """What a lane needs of its engine."""

    context: int
    """Most tokens of prompt and response together."""
    logprobs: bool

    def encode(self, request: Request) -> list[int] | str: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def buffers(self, lane: int, max_new: int) -> SharedPrefixModel: ...
    def ends(self, stop: tuple[str, ...]) -> frozenset[int]: ...


class Work:
    """Requests handed out to lanes: the draws of one prompt go to one lane, which prefills it once.

    What a lane is about to start is pulled from the source: at first as many requests as there are slots, then
    a prompt's draws (at most `_GROUP`) whenever a lane has begun all that it had. At the end a lane that would
    stand idle takes half of what another has not begun. Safe to use from several threads.

    Args:
        requests: the source.
        lanes: how many lanes ask.
        slots: draws that all lanes together hold.
    """

    def __init__(self, requests: Iterable[Request | None], lanes: int, slots: int) -> None:
        self._source = iter(requests)
        self._lock = threading.Lock()
        self._held: list[deque[Request]] = [deque() for _ in range(lanes)]
        self._ahead: deque[Request] = deque()
        self._slots = slots
        self.dry = False
        """Whether the source has ended."""
        self._begun = False

    def peek(self, lane: int) -> Request | None:
        """The request that the lane is to start next, or None where there is nothing for it: for now, or, once
        the source is `dry`, for good."""
        with self._lock:
            held = self._held[lane]
            if not held:
                if not self._begun:
                    self._begin()
                held = self._held[lane]
            if not held:
                held.extend(self._group())
            if not held:
                most = max(self._held, key=len)
                for _ in range(len(most) // 2):
                    held.appendleft(most.pop())
            return held[0] if held else None

    def take(self, lane: int) -> None:
        """Count the request that `peek` showed as begun."""
        with self._lock:
            self._held[lane].popleft()

    def _begin(self) -> None:
        """Read one filling of all slots; if that is all there is, deal it out evenly."""
        self._begun = True
        while len(self._ahead) < self._slots and self._pull():
            pass
        if self.dry:
            share = -(-len(self._ahead) // len(self._held))
            for held in self._held:
                held.extend(self._ahead.popleft() for _ in range(min(share, len(self._ahead))))

    def _group(self) -> Iterator[Request]:
        """The next prompt's draws, up to `_GROUP`."""
        first: Request | None = None
        for _ in range(_GROUP):
            if not self._ahead and not self._pull():
                return
            if first is not None and _prompt(self._ahead[0]) != _prompt(first):
                return
            first = self._ahead.popleft()
            yield first

    def _pull(self) -> bool:
        """Read one request ahead; False where the source has none, for now or for good (`dry`)."""
        if self.dry:
            return False
        request = next(self._source, _NO_MORE)
        if isinstance(request, Request):
            self._ahead.append(request)
            return True
        self.dry = request is _NO_MORE
        return False


def _prompt(request: Request) -> tuple[str, bool]:
    return request.prompt, request.add_special_tokens


class _Draw:
    """A response being written."""

    __slots__ = ("ends", "limit", "logprob", "prefix", "request", "tail", "tokens")

    def __init__(self, request: Request, prefix: Prefix, context: int, ends: frozenset[int]) -> None:
        self.request = request
        self.prefix = prefix
        self.tokens: list[int] = []
        self.logprob = 0.0
        self.ends = ends
        self.limit = min(request.sampling.max_tokens, context - prefix.length)
        # A token may be as short as one byte of a stop string; a few more keep multi-byte characters whole.
        self.tail = max((len(stop.encode()) for stop in request.sampling.stop), default=0) + 4


class Lane:
    """The draws in flight on one set of slots: draw i sits in slot i."""

    def __init__(self, host: Host, number: int) -> None:
        self.host = host
        self.number = number
        self.model: SharedPrefixModel | None = None
        self.draws: list[_Draw] = []
        self._rows: Rows | None = None
        self._current: tuple[tuple[str, bool], Prefix] | None = None
        """The prompt seen last: kept while the next request may want it too."""

    def run(self, work: Work, stopped: Callable[[], bool] = lambda: False) -> Iterator[Reply]:
        """Replies to everything that `work` hands out, in the order in which draws end.

        Args:
            work: what there is to do.
            stopped: asked before every step whether to leave off.
        """
        while (first := work.peek(self.number)) is None:
            if work.dry or stopped():
                return
            time.sleep(NOT_NOW_SECONDS)
        self.model = self.host.buffers(self.number, self._longest(first))
        try:
            while not stopped():
                yield from self._fill(work)
                if self.draws:
                    yield from self._step()
                elif work.dry:
                    return
                else:
                    time.sleep(NOT_NOW_SECONDS)
        finally:
            self._clear()

    def _fill(self, work: Work) -> Iterator[Reply]:
        """Start owed draws until every slot is taken; answer those that end at once or cannot be served."""
        assert self.model is not None
        while len(self.draws) < self.model.slots:
            fresh: list[_Draw] = []
            while len(self.draws) + len(fresh) < self.model.slots:
                request = work.peek(self.number)
                if request is None:
                    break
                if self._longest(request) > self.model.max_new:
                    if self.draws or fresh:
                        break  # longer draws need longer buffers: let those in flight end first
                    self._clear()
                    self.model = self.host.buffers(self.number, self._longest(request))
                prefix = self._prefix(request, waiting=bool(self.draws or fresh))
                if prefix is None:
                    break
                work.take(self.number)
                if isinstance(prefix, str):
                    yield Reply(key=request.key, error=prefix)
                else:
                    prefix.users += 1  # holds the prompt until the first token is drawn
                    ends = self.host.ends(request.sampling.stop)
                    fresh.append(_Draw(request, prefix, self.host.context, ends))
            if not fresh:
                return
            yield from self._start(fresh)

    def _longest(self, request: Request) -> int:
        """Most tokens that a response to the request can have."""
        return min(request.sampling.max_tokens, self.host.context)

    def _step(self) -> Iterator[Reply]:
        """One token for every draw in flight."""
        assert self.model is not None
        newest = torch.tensor([d.tokens[-1] for d in self.draws], device=self.model.device)
        logits = self.model.step(newest)
        ended = self._extend(self.draws, logits)
        if not ended:
            return
        self._rows = None
        for slot in sorted(ended, reverse=True):
            drawn = self.draws[slot]
            self._let_go(self.model.vacate(slot))
            last = len(self.draws) - 1
            if slot != last:
                self.model.move(last, slot)
                self.draws[slot] = self.draws[last]
            self.draws.pop()
            yield self._reply(drawn, ended[slot])

    def _clear(self) -> None:
        """Leave the model with no draws and no prompts, wherever it was left off."""
        assert self.model is not None
        self.draws.clear()
        self._rows = None
        self._current = None
        self.model.reset()

    def _start(self, fresh: list[_Draw]) -> Iterator[Reply]:
        """Draw first tokens, which come from the prompts' own logits, and place what goes on."""
        assert self.model is not None
        logits = torch.cat([d.prefix.logits for d in fresh])
        ended = self._extend(fresh, logits)
        self._rows = None
        for number, drawn in enumerate(fresh):
            drawn.prefix.users -= 1
            if number in ended:
                self._let_go(drawn.prefix)
                yield self._reply(drawn, ended[number])
            else:
                self.model.place(len(self.draws), drawn.prefix)
                self.draws.append(drawn)

    def _extend(self, draws: list[_Draw], logits: Tensor) -> dict[int, End]:
        """Draw the next token of each; returns how those that ended did, by position."""
        assert self.model is not None
        rows = self._rows
        if rows is None or draws is not self.draws:
            rows = Rows([d.request.sampling for d in draws], self.model.device)
            if draws is self.draws:
                self._rows = rows
        uniform = uniforms([d.request.seed for d in draws], [len(d.tokens) for d in draws])
        tokens = draw(logits, rows, uniform)
        logprobs = token_logprobs(logits, tokens).tolist() if self.host.logprobs else None
        ended: dict[int, End] = {}
        for number, (drawn, token) in enumerate(zip(draws, tokens.tolist(), strict=True)):
            drawn.tokens.append(token)
            if logprobs is not None:
                drawn.logprob += logprobs[number]
            if token in drawn.ends or self._stopped(drawn):
                ended[number] = "stop"
            elif len(drawn.tokens) >= drawn.limit:
                ended[number] = "length"
        return ended

    def _stopped(self, drawn: _Draw) -> bool:
        stops = drawn.request.sampling.stop
        if not stops:
            return False
        tail = self.host.decode(drawn.tokens[-drawn.tail :])
        if not any(stop in tail for stop in stops):
            return False
        text = self.host.decode(drawn.tokens)
        return any(stop in text for stop in stops)

    def _reply(self, drawn: _Draw, finish: End) -> Reply:
        text = self.host.decode(drawn.tokens)
        cuts = [at for stop in drawn.request.sampling.stop if (at := text.find(stop)) >= 0]
        return Reply(
            key=drawn.request.key,
            text=text[: min(cuts)] if cuts else text,
            finish=finish,
            tokens=len(drawn.tokens),
            prompt_tokens=drawn.prefix.length,
            logprob=drawn.logprob / len(drawn.tokens) if self.host.logprobs else None,
        )

    def _prefix(self, request: Request, waiting: bool) -> Prefix | str | None:
        """The request's prompt in the pool; an error text; or None where it has to wait for room."""
        assert self.model is not None
        name = _prompt(request)
        if self._current is not None:
            if self._current[0] == name:
                return self._current[1]
            prefix, self._current = self._current[1], None
            self._let_go(prefix)
        ids = self.host.encode(request)
        if isinstance(ids, str):
            return ids
        if not self.model.fits(len(ids)):
            if waiting:
                return None
            return f"the prompt has {len(ids)} tokens, more than the memory set aside for prompts holds"
        self._current = (name, self.model.prefill(ids))
        return self._current[1]

    def _let_go(self, prefix: Prefix) -> None:
        assert self.model is not None
        if prefix.users == 0 and (self._current is None or self._current[1] is not prefix):
            self.model.release(prefix)
