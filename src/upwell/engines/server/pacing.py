"""How many calls a server should have in flight, found from how it answers. No I/O and no clock: time is told.

A limit is tried for a round: until about as many calls have begun and ended under it as it admits. What the round
delivered is calls in flight times work per second of one call (Little's law). A round looks only at calls of its own
that went out when as many were in flight as it admits: those before them found a server with less to do. A round whose
pipeline was not full teaches nothing.

    starting   double, while twice the calls bring nearly twice the work
    climbing   a quarter more, while that brings at least something
    holding    stay at the best; now and then try a little more or a little less, more rarely each time it fails
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

START = 4
"""Calls in flight before anything is known: what the smallest server stands."""
MOST = 2048
"""Calls in flight to one server where the user sets no bound: past it, ports and file descriptors run out."""
_PROPORTIONAL = 0.7
"""Of a doubled limit, at least this share must come out for another doubling. So a limit is doubled only while it is
below 1.7 times the knee of a server, and none is driven past 2.4 times its knee even if it hides it until then."""
_WORTH = 0.2
"""More calls are kept if at least this share of the increase comes out: below, they only wait longer."""
_NO_LOSS = 0.98
"""Fewer calls are kept if they bring this much of what more brought."""
_RELAPSE = 0.9
"""A limit that brings less than this share of what a smaller one once did gives way to that, if it still does."""
_MORE, _LESS = 1.25, 0.8
_CUT = 0.7
"""What is left of the limit after a server says that it is too much."""
_FULL = 0.8
"""Mean share of the limit that has to be in flight for a round to count."""
_LEAST_CALLS, _LEAST_SECONDS = 8, 0.02
_ERROR = {"starting": 0.06, "climbing": 0.03, "holding": 0.03}
"""Relative standard error of a round's rate that is good enough to decide by; a doubling shows through more noise."""
_PATIENT = 3
"""A round ends without that after so many times the limit."""
_FIRST_HOLD, _LONGEST_HOLD = 2, 32
"""Rounds between tries while holding; doubled each time neither more nor less was better."""


@dataclass(slots=True)
class Ticket:
    """A call in flight, as its pace sees it."""

    began: float
    round: int
    counts: bool = True
    """Whether it tells of the round's limit: not one that went out while there were still fewer in flight."""


class Pace(Protocol):
    """How many calls one server may have in flight."""

    limit: int
    in_flight: int

    def begin(self, now: float) -> Ticket:
        """A call goes out."""
        ...

    def end(self, ticket: Ticket, now: float, tokens: int | None = None) -> None:
        """A call came back with this many tokens (0: not known); None: with nothing that tells of speed."""
        ...

    def overloaded(self, ticket: Ticket, now: float) -> None:
        """The server turned this call away as too much, or let it time out. To be told beside `end`."""
        ...

    def restart(self, now: float) -> None:
        """The server was away: what was learned is void."""
        ...


class Fixed:
    """Always the same number of calls."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0

    def begin(self, now: float) -> Ticket:
        self.in_flight += 1
        return Ticket(now, 0)

    def end(self, ticket: Ticket, now: float, tokens: int | None = None) -> None:
        self.in_flight -= 1

    def overloaded(self, ticket: Ticket, now: float) -> None:
        pass

    def restart(self, now: float) -> None:
        pass


@dataclass(slots=True)
class Calls:
    """Sums over the calls of a round: tokens t and seconds s."""

    count: int = 0
    t: float = 0.0
    s: float = 0.0
    tt: float = 0.0
    ts: float = 0.0
    ss: float = 0.0

    def add(self, tokens: float, seconds: float) -> None:
        """One more call."""
        self.count += 1
        self.t += tokens
        self.s += seconds
        self.tt += tokens * tokens
        self.ts += tokens * seconds
        self.ss += seconds * seconds


class Work:
    """What a call counts as: `1 - share + share * tokens / mean tokens`, the share being that part of a call's time
    that grows with its tokens. 1 for a model that writes token by token, so that a round that happened to
    have short responses is not taken for a fast one; 0 where every call takes as long as any other."""

    def __init__(self) -> None:
        self._share, self._weight = 0.5, 8.0
        self._tokens, self._calls = 0.0, 0

    def note(self, calls: Calls) -> None:
        """Learn the share and the mean from a round."""
        self._tokens += calls.t
        self._calls += calls.count
        spread = calls.tt - calls.t**2 / calls.count
        if spread > 0 and calls.s > 0:
            slope = (calls.ts - calls.t * calls.s / calls.count) / spread
            share = min(max(slope * calls.t / calls.s, 0.0), 1.0)
            self._share += (share - self._share) * calls.count / (self._weight + calls.count)
            self._weight = min(self._weight + calls.count, 1000.0)

    def _of(self, calls: Calls) -> tuple[float, float]:
        """a and b of a call's work a + b * tokens."""
        tokens, count = self._tokens + calls.t, self._calls + calls.count
        return (1 - self._share, self._share * count / tokens) if tokens > 0 else (1.0, 0.0)

    def speed(self, calls: Calls) -> float:
        """Work per second of one call."""
        a, b = self._of(calls)
        return (a * calls.count + b * calls.t) / max(calls.s, 1e-9)

    def error(self, calls: Calls) -> float:
        """Relative standard error of that."""
        a, b = self._of(calls)
        work, n = a * calls.count + b * calls.t, calls.count
        v = work / max(calls.s, 1e-9)
        # Sum of squares of what is left of each call's work when its seconds times the mean speed are taken off.
        left = (
            a * a * n
            + b * b * calls.tt
            + v * v * calls.ss
            + 2 * (a * b * calls.t - a * v * calls.s - b * v * calls.ts)
        )
        return math.sqrt(max(left, 0.0)) / work if work > 0 else math.inf


class Adaptive:
    """The number of calls that gets the most work out of a server, found while working.

    Args:
        most: never more than this.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self.in_flight = 0
        self._seen_at = 0.0
        self._full = False
        """Whether the round has had about as many in flight as it admits."""
        self._round = 0
        self._work = Work()
        self._reset(0.0)

    def _reset(self, now: float) -> None:
        self._phase: Literal["starting", "climbing", "holding"] = "starting"
        self._best: tuple[int, float] | None = None
        """The limit that was best, and the work per second that it brought."""
        self._rates: dict[int, float] = {}
        """What each limit brought when it was tried last."""
        self._held = 0
        self._hold = _FIRST_HOLD
        self._up_next = True
        self._go(min(START, self._most), now)

    def restart(self, now: float) -> None:
        self._reset(now)

    def begin(self, now: float) -> Ticket:
        self._pass_time(now)
        self.in_flight += 1
        if not self._full and self.in_flight >= _FULL * self.limit:
            self._full, self._began, self._area = True, now, 0.0
        return Ticket(now, self._round, self._full)

    def end(self, ticket: Ticket, now: float, tokens: int | None = None) -> None:
        self._pass_time(now)
        self.in_flight -= 1
        if tokens is None or ticket.round != self._round or not ticket.counts:
            return
        self._calls.add(tokens, now - ticket.began)
        elapsed = now - self._began
        if elapsed < _LEAST_SECONDS or not self._enough():
            return
        mean = self._area / elapsed
        if mean < _FULL * self.limit:
            self._go(self.limit, now)
            return
        speed = self._work.speed(self._calls)
        self._work.note(self._calls)
        self._learn(mean * speed, now)

    def _enough(self) -> bool:
        """Whether the round has seen enough calls to be judged."""
        calls = self._calls.count
        if calls < max(self.limit, _LEAST_CALLS):
            return False
        if calls >= max(_PATIENT * self.limit, _PATIENT * _LEAST_CALLS):
            return True
        return self._work.error(self._calls) <= _ERROR[self._phase]

    def overloaded(self, ticket: Ticket, now: float) -> None:
        if ticket.round != self._round:
            return  # it went out before the limit was last changed
        self._best, self._rates = None, {}
        self._phase, self._held, self._hold, self._up_next = "holding", 0, _FIRST_HOLD, True
        self._go(max(1, int(_CUT * min(self.limit, self.in_flight + 1))), now)

    def _pass_time(self, now: float) -> None:
        self._area += self.in_flight * (now - self._seen_at)
        self._seen_at = now

    def _go(self, limit: int, now: float) -> None:
        """Begin a round under this limit."""
        self.limit = max(1, min(limit, self._most))
        self._round += 1
        self._calls = Calls()
        self._began = self._seen_at = now
        self._area = 0.0
        self._full = self.in_flight >= _FULL * self.limit

    def _learn(self, rate: float, now: float) -> None:
        """A round under the present limit brought this much work per second."""
        best, limit = self._best, self.limit
        self._rates[limit] = rate
        if best is None or limit == best[0]:
            self._best = (limit, rate if best is None else (best[1] + rate) / 2)
            self._after_best(now)
        elif limit > best[0]:
            share = self._share(limit, rate)
            if share < _WORTH:
                self._settle(now)
                return
            self._best = (limit, rate)
            if share < _PROPORTIONAL or self._phase == "holding":
                self._phase = "climbing"
            self._grow(now)
        elif rate >= _NO_LOSS * best[1]:
            self._best = (limit, rate)
            self._hold, self._held, self._up_next = _FIRST_HOLD, 0, False  # perhaps still less will do
            self._go(limit, now)
        else:
            self._settle(now)

    def _share(self, limit: int, rate: float) -> float:
        """1: the work grew as the calls did; 0: it did not grow. Told from the best and, because a step of a quarter
        drowns in noise and several such add up, also from the largest limit of at most half this one."""
        assert self._best is not None
        before = [
            self._best,
            *([max(far)] if (far := [at for at in self._rates.items() if 2 * at[0] <= limit]) else []),
        ]
        return min((rate / brought - 1) / (limit / fewer - 1) for fewer, brought in before)

    def _grow(self, now: float) -> None:
        more = 2 * self.limit if self._phase == "starting" else max(self.limit + 1, int(_MORE * self.limit))
        if self.limit >= self._most:
            self._settle(now)
        else:
            self._go(more, now)

    def _settle(self, now: float) -> None:
        """Back to the best: the limit that was tried brought nothing."""
        assert self._best is not None
        if self._phase == "holding" and not self._up_next:
            self._hold = min(2 * self._hold, _LONGEST_HOLD)
        self._up_next = not self._up_next if self._phase == "holding" else True
        self._phase, self._held = "holding", 0
        self._go(self._best[0], now)

    def _after_best(self, now: float) -> None:
        """A round at the best limit is over."""
        if self._phase != "holding":
            self._grow(now)
            return
        assert self._best is not None
        most = max((brought, at) for at, brought in self._rates.items() if at <= self.limit)
        if self._best[1] < _RELAPSE * most[0] and most[1] < self.limit:
            self._up_next = False
            self._go(
                most[1], now
            )  # fewer brought more: this limit was let in by luck, or the server has changed
            return
        self._held += 1
        if self._held < self._hold:
            self._go(self.limit, now)
            return
        self._held = 0
        up = max(self.limit + 1, int(_MORE * self.limit))
        down = min(self.limit - 1, int(_LESS * self.limit))
        if self._up_next and self.limit < self._most:
            self._go(up, now)
        elif down >= 1:
            self._up_next = False
            self._go(down, now)
        else:
            self._up_next = True
            self._go(self.limit, now)


class Meter:
    """Keeps a rate per minute, smoothly: what costs more is followed by a longer pause.

    Args:
        per_minute: how much may be spent in a minute; None is no bound.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._seconds_each = 60.0 / per_minute if per_minute else 0.0
        self._free_at = 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next may go out; 0: now."""
        return max(0.0, self._free_at - now)

    def spend(self, amount: float, now: float) -> None:
        """This much goes out now. Idle time is not saved up."""
        self._free_at = max(self._free_at, now) + amount * self._seconds_each

    def correct(self, amount: float) -> None:
        """That much more (or, below 0, less) was spent than was thought."""
        self._free_at += amount * self._seconds_each
