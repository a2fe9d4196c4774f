"""Drafts in the making: which call comes next, and what becomes of the replies. Knows neither engines nor files."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from upwell.records import Draft, Problem, Reject, Response
from upwell.synthesis.asking import Asked, Made, TurnedDown
from upwell.synthesis.dealing import Deal

Outcome = Draft | Reject


@dataclass(frozen=True)
class Call:
    """One prompt to be put to the teacher."""

    slot: str
    """Key of the draft that it is for."""
    index: int
    """Number of the call for this draft, from 0."""
    prompt: str


class _Slot:
    """One draft in the making: a method's generator, fed with replies as they come."""

    def __init__(self, key: str, seed: Problem, asked: Asked, stored: dict[int, Response]) -> None:
        self.key, self.seed = key, seed
        self.made: Made | None = None
        self.turned_down: TurnedDown | None = None
        self.replies: dict[int, Response] = {}
        self._asked = asked
        self._stored = stored
        self._first = 0
        self._prompts: list[str] = []
        self._step(None)
        self._replay()

    @property
    def is_settled(self) -> bool:
        return self.made is not None or self.turned_down is not None

    def calls(self) -> Iterator[Call]:
        """What is to be asked now."""
        for index, prompt in enumerate(self._prompts, self._first):
            if index not in self.replies:
                yield Call(self.key, index, prompt)

    def take(self, reply: Response) -> bool:
        """Note a reply. True where it was the last that the method waits for, so that there are other calls now."""
        self.replies[reply.index] = reply
        if len(self.replies) < self._first + len(self._prompts):
            return False
        self._replay()
        return True

    def _replay(self) -> None:
        """Go on as far as the replies reach, those of earlier sessions included."""
        while not self.is_settled:
            wanted = range(self._first, self._first + len(self._prompts))
            for index in wanted:
                if index in self._stored:
                    self.replies.setdefault(index, self._stored[index])
            if not all(index in self.replies for index in wanted):
                return
            given = [self.replies[index] for index in wanted]
            self._first = wanted.stop
            self._step(given)

    def _step(self, given: list[Response] | None) -> None:
        self._prompts = []
        try:
            self._prompts = next(self._asked) if given is None else self._asked.send(given)
        except StopIteration as end:
            self.made = end.value
        except TurnedDown as reason:
            self.turned_down = reason


class Workshop:
    """All drafts of a run that are in the making at the moment.

    Never more are open than drafts are wanted still: were all of them accepted, none would be too many, so the number
    wanted is met exactly and no call is made for nothing. `calls` may be pulled from another thread than `take` is
    called from.

    Args:
        deal: what is begun next, and what is settled.
        begin: starts a draft from its key and its seed.
        stored: replies of earlier sessions to drafts that are not settled, by draft and number.
        wanted: drafts still wanted.
        tries: questions that may still be begun.
        finish: makes the row of a draft that is done.
    """

    def __init__(
        self,
        deal: Deal,
        begin: Callable[[str, Problem], Asked],
        stored: dict[str, dict[int, Response]],
        *,
        wanted: int,
        tries: int,
        finish: Callable[[str, Problem, Made, list[Response]], Draft],
    ) -> None:
        self._deal, self._begin, self._stored, self._finish = deal, begin, stored, finish
        self._slots = deal.slots()
        self._open: dict[str, _Slot] = {}
        self._ready: deque[Call] = deque()
        self._outcomes: deque[Outcome] = deque()
        self._wanted, self._tries = wanted, tries
        self._lock = threading.Lock()
        self.given_back = 0
        """Drafts left open because a call for them failed."""

    def calls(self) -> Iterator[Call | None]:
        """The next call, `None` while there is none but drafts are open, until all is done."""
        while True:
            with self._lock:
                call = self._next()
                done = call is None and not self._open
            if done:
                return
            yield call

    def take(self, reply: Response) -> None:
        """Note what the teacher said."""
        with self._lock:
            slot = self._open.get(reply.problem)
            if slot is not None and slot.take(reply):
                self._go_on(slot)

    def give_back(self, slot: str) -> None:
        """Leave a draft for another session: a call for it failed."""
        with self._lock:
            if self._open.pop(slot, None) is not None:
                self.given_back += 1
                self._ready = deque(call for call in self._ready if call.slot != slot)

    def outcomes(self) -> list[Outcome]:
        """What has been settled since this was asked last."""
        with self._lock:
            found = list(self._outcomes)
            self._outcomes.clear()
            return found

    def _next(self) -> Call | None:
        while not self._ready:
            if len(self._open) >= self._wanted or self._tries <= 0:
                return None
            key, seed = next(self._slots)
            self._tries -= 1
            slot = _Slot(key, seed, self._begin(key, seed), self._stored.pop(key, {}))
            self._open[key] = slot
            self._go_on(slot)
        return self._ready.popleft()

    def _go_on(self, slot: _Slot) -> None:
        if not slot.is_settled:
            self._ready.extend(slot.calls())
            return
        del self._open[slot.key]
        self._deal.settle(slot.key)
        replies = [slot.replies[index] for index in sorted(slot.replies)]
        if slot.made is not None:
            self._wanted -= 1
            self._outcomes.append(self._finish(slot.key, slot.seed, slot.made, replies))
        else:
            assert slot.turned_down is not None
            why = slot.turned_down
            self._outcomes.append(Reject(key=slot.key, step=why.step, reason=why.reason, rejected=why.detail))
