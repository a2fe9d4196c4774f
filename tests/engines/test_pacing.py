"""How many calls a server should have in flight: simulated servers, no clock and no network."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

import pytest

from upwell.engines.server.pacing import Adaptive, Meter, Pace, Ticket

Latency = Callable[[int, random.Random], tuple[float, int]]
"""Given the calls in flight: seconds and tokens of one more."""


class Trial:
    """A pace driven against a simulated server whose source never runs dry."""

    def __init__(self, pace: Pace, latency: Latency, calls: int, seed: int = 0) -> None:
        draw, now, order = random.Random(seed), 0.0, itertools.count()
        out: list[tuple[float, int, Ticket, int]] = []
        self.most = 0
        self.ends: list[tuple[float, int]] = []
        """When each call ended, and with how many tokens."""
        while len(self.ends) < calls:
            while pace.in_flight < pace.limit:
                ticket = pace.begin(now)
                seconds, tokens = latency(pace.in_flight, draw)
                heapq.heappush(out, (now + seconds, next(order), ticket, tokens))
            self.most = max(self.most, pace.in_flight)
            now, _, ticket, tokens = heapq.heappop(out)
            pace.end(ticket, now, tokens)
            self.ends.append((now, tokens))

    def rate(self, first: int) -> float:
        """Tokens per second from this call on."""
        kept = self.ends[first:]
        return sum(tokens for _, tokens in kept) / (kept[-1][0] - self.ends[first - 1][0])


def kneed(knee: int, fall: float = 1.0, spread: float = 0.0) -> Latency:
    """Latency 1 s up to the knee; beyond it the throughput stays (fall 1) or falls (above 1)."""

    def latency(in_flight: int, draw: random.Random) -> tuple[float, int]:
        tokens = 200 if not spread else max(1, round(200 * draw.lognormvariate(0, spread)))
        return tokens / 200 * max(1.0, in_flight / knee) ** fall, tokens

    return latency


@pytest.mark.parametrize("knee", [1, 3, 10, 24, 48, 64, 100])
@pytest.mark.parametrize("fall", [1.0, 1.5])
def test_it_settles_near_the_best_within_500_calls_and_is_never_far_past_the_knee(
    knee: int, fall: float
) -> None:
    pace = Adaptive()
    trial = Trial(pace, kneed(knee, fall), 1200)
    assert trial.rate(500) >= 0.8 * 200 * knee
    assert trial.most <= max(3 * knee, 8), (
        "it begins with 4, and twice that tells it first that they are too many"
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("fall", [1.0, 1.5])
def test_spells_in_which_all_is_slower_do_not_drive_it_past_the_knee(seed: int, fall: float) -> None:
    """As on a machine that others use too: a limit that was tried in a bad spell looks worse than it is."""
    steady, weather, called = kneed(64, fall), random.Random(seed), 0
    spell = 1.0

    def latency(in_flight: int, draw: random.Random) -> tuple[float, int]:
        nonlocal spell, called
        called += 1
        if called % 50 == 0:
            spell = weather.uniform(1.0, 1.4)
        seconds, tokens = steady(in_flight, draw)
        return seconds * spell, tokens

    trial = Trial(Adaptive(), latency, 2500)
    assert trial.most <= 3 * 64
    assert trial.rate(500) >= 0.8 * 200 * 64 / 1.2


def test_a_server_that_has_come_to_stand_less_is_given_less() -> None:
    """Nothing tells of it but its answers."""
    before, after, called = kneed(96, 1.5), kneed(24, 2.0), 0

    def latency(in_flight: int, draw: random.Random) -> tuple[float, int]:
        nonlocal called
        called += 1
        return (before if called <= 2500 else after)(in_flight, draw)

    pace = Adaptive()
    trial = Trial(pace, latency, 5500)
    assert trial.most >= 64 and pace.limit <= 32
    assert trial.rate(4500) >= 0.8 * 200 * 24


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fall", [1.0, 1.5])
def test_responses_of_very_different_length_do_not_mislead_it(seed: int, fall: float) -> None:
    trial = Trial(Adaptive(), kneed(64, fall, spread=0.6), 4000, seed)
    assert trial.most <= 3 * 64
    # By the tokens that a server at its knee gives.
    assert trial.rate(1500) >= 0.75 * 200 * 64


def test_a_server_that_takes_ever_more_is_given_more() -> None:
    """As vLLM: throughput grows with the square root to a few hundred calls and beyond."""

    def latency(in_flight: int, draw: random.Random) -> tuple[float, int]:
        return (1 + in_flight / 256), 200

    pace = Adaptive()
    trial = Trial(pace, latency, 12_000)
    assert pace.limit >= 200 and trial.rate(6000) > 0.4 * 200 * 256


def test_a_bound_is_kept() -> None:
    assert Trial(Adaptive(7), kneed(64), 500).most == 7
    assert Trial(Adaptive(1), kneed(64), 50).most == 1


def test_being_turned_away_cuts_once_for_all_calls_that_were_out() -> None:
    pace = Adaptive()
    Trial(pace, kneed(64), 600)
    before = pace.limit
    tickets = [pace.begin(1e6) for _ in range(pace.limit - pace.in_flight)]
    for ticket in tickets:
        pace.end(ticket, 1e6 + 1)
        pace.overloaded(ticket, 1e6 + 1)
    assert 0.5 * before <= pace.limit < before


def test_a_source_that_gives_little_teaches_nothing() -> None:
    pace, now = Adaptive(), 0.0
    for _ in range(500):  # one at a time
        ticket = pace.begin(now)
        now += 1
        pace.end(ticket, now, 100)
    assert pace.limit == 4


def test_a_rate_per_minute_is_kept_smoothly() -> None:
    meter, now, sent = Meter(60), 100.0, 0
    while now < 160:
        now += meter.wait(now)
        meter.spend(1, now)
        sent += 1
    assert 60 <= sent <= 62
    assert Meter(None).wait(0.0) == 0.0
    meter = Meter(600)
    meter.spend(50, 0.0)
    assert meter.wait(0.0) == pytest.approx(5.0)
    meter.correct(-20)
    assert meter.wait(0.0) == pytest.approx(3.0)
