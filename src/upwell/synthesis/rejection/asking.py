"""What to ask next: the one source of all requests, whatever the engine and however many workers it has.

First what is needed for certain: a question that lacks 12 right solutions needs at least 12 more draws, so 12 in
flight can never be too many. Only when an engine asks and there is nothing of that kind, what is likely to be needed:
12 over the chance that a draw is right. So nothing is drawn too much while there is enough to do, and at the end a
few hard questions fill the whole engine.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np

from upwell.engines.base import Request
from upwell.metrics.difficulty import fit_beta_binomial
from upwell.synthesis.rejection.ledger import OPEN, Ints, Ledger

_REFIT = 1.25
"""Growth of the number of known draws after which the prior is fitted anew."""


class Asker:
    """Requests, as the ledger needs them; `None` while that depends on replies that are awaited.

    Args:
        ledger: What there is.
        lock: Held by whoever reads or changes the ledger: engines may pull from threads of their own.
        request: Makes the request for a draw (question, index).
        check: Called before each request; raises what is to end the run.
    """

    def __init__(
        self,
        ledger: Ledger,
        lock: threading.Lock,
        request: Callable[[int, int], Request],
        check: Callable[[], None],
    ) -> None:
        self._lock = lock
        self._ledger = ledger
        self._request = request
        self._check = check
        self._again: deque[tuple[int, int]] = deque(ledger.owed())
        self._round: deque[tuple[int, int]] = deque()
        self._guessed = False
        """Whether the round is of what is likely, not of what is certain: then each reply may change it."""
        self._as_of = -1
        """State of the ledger that the round was made for."""
        self._prior = (0.5, 0.5)
        self._fitted = 0

    def __iter__(self) -> Iterator[Request | None]:
        return self

    def __next__(self) -> Request | None:
        self._check()
        with self._lock:
            ledger = self._ledger
            while self._again:
                question, index = self._again.popleft()
                if ledger.state[question] == OPEN:
                    return self._request(question, index)
            if not ledger.open:
                raise StopIteration
            while True:
                if self._as_of != ledger.changes if self._guessed else not self._round:
                    self._as_of = ledger.changes
                    self._round = self._needed()
                while self._round:
                    question, many = self._round.popleft()
                    if ledger.state[question] != OPEN or ledger.asked[question] >= ledger.limit[question]:
                        continue
                    if many > 1:
                        self._round.appendleft((question, many - 1))
                    return self._request(question, ledger.ask(question))
                if self._guessed:
                    return None

    def retry(self, question: int, index: int) -> None:
        """Ask for the draw once more; the caller holds the lock."""
        self._again.append((question, index))

    def _needed(self) -> deque[tuple[int, int]]:
        """Questions with how many draws each is to get now, those with most before them first."""
        ledger = self._ledger
        self._refit()
        open_ = np.flatnonzero(
            ledger.state == OPEN
        )  # of 15,000 only a few, for most of the time that a run takes
        sure, likely = wanted(ledger, self._prior, open_)
        flight = (ledger.asked - ledger.settled)[open_]
        # Not one by one as replies come, but half of what may be in flight at once: they share the prompt.
        now = np.where(flight <= sure, sure, 0)
        self._guessed = not now.any()
        if self._guessed:
            now = likely
        chosen = np.flatnonzero(now)
        chosen = chosen[np.argsort(-(likely + flight)[chosen], kind="stable")]
        return deque(zip(open_[chosen].tolist(), now[chosen].tolist(), strict=True))

    def _refit(self) -> None:
        """How chances are spread over questions, by all that is known."""
        ledger = self._ledger
        n, c = ledger.settled - ledger.missing, ledger.right
        if (known := int(n.sum())) < _REFIT * self._fitted or not known:
            return
        self._fitted = known
        seen = n > 0
        pairs, count = np.unique(np.stack([n[seen], c[seen]]), axis=1, return_counts=True)
        self._prior = fit_beta_binomial(pairs[0], pairs[1], count.astype(np.float64))


def wanted(ledger: Ledger, prior: tuple[float, float], questions: Ints) -> tuple[Ints, Ints]:
    """Draws to ask for, per question, beyond those that are out: needed for certain, and as far as can be expected.

    Args:
        ledger: What there is.
        prior: a and b of the beta distribution of chances over questions; with it, a question's own draws give the
            mean of its posterior.
        questions: Open ones, by number.
    """
    a, b = prior
    asked, settled, right = (array[questions] for array in (ledger.asked, ledger.settled, ledger.right))
    limit, target = ledger.limit[questions], ledger.target[questions]
    chance = (a + right) / (a + b + settled - ledger.missing[questions])
    flight, room = asked - settled, np.maximum(limit - asked, 0)
    need = np.maximum(target - right, 0)
    expected = np.minimum(np.ceil(need / chance), 1e9).astype(np.int64)
    aimed = target > 0  # before, all up to the limit is needed
    sure = np.where(aimed, np.clip(need - flight, 0, room), room)
    likely = np.where(aimed, np.clip(expected - flight, 0, room), room)
    return sure, likely
