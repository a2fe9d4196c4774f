"""Targets, the bound for giving up, and where questions stop: against definitions and brute force."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom

from upwell.synthesis.rejection.ledger import (
    CAPPED,
    GIVEN_UP,
    MET,
    MISSING,
    OPEN,
    RIGHT,
    UNANSWERED,
    WRONG,
    Ledger,
)
from upwell.synthesis.rejection.targets import Policy, chance_to_reach

quickly = settings(max_examples=40, deadline=None)
OUTCOMES = {"r": RIGHT, "w": WRONG, "m": MISSING}


def brute(policy: Policy, draws: str, target: int) -> tuple[int, int, int]:
    """(state, draws that count, right ones): the rule said once more, straight from its words."""
    for n in range(1, len(draws) + 1):
        kept = draws[:n].count("r")
        if kept == target:
            return MET, n, kept
        if n == policy.most:
            return CAPPED, n, kept
        if n == 8 and set(draws[:8]) == {"m"}:
            return UNANSWERED, n, kept
        goal = target if kept else 1
        chance = betabinom.sf(goal - kept - 1, policy.most - n, kept + 0.5, n - kept + 0.5)
        if policy.give_up and chance < policy.give_up:
            return GIVEN_UP, n, kept
    raise AssertionError("the sequence is too short")


def test_targets_are_rounded_up_and_at_least_one() -> None:
    hard = Policy("prop2diff", 192, 2048, 16)
    assert [hard.target(wrong, 16) for wrong in (0, 1, 4, 8, 16)] == [1, 12, 48, 96, 192]
    assert hard.target(1, 3) == 64 and hard.target(1, 192) == 1 and hard.target(1, 193) == 1
    assert hard.target(8, 16, (12, 16)) == 128 and hard.target(0, 16, (0, 16)) == 1
    assert Policy("uniform", 40, 2048, 0).target(16, 16) == 40


@quickly
@given(st.integers(1, 192), st.integers(1, 500), st.data())
def test_targets_are_exact(k: int, drawn: int, data: st.DataObject) -> None:
    wrong = data.draw(st.integers(0, drawn))
    most = data.draw(st.integers(wrong, drawn))
    policy = Policy("prop2diff", k, 2048, 16)
    assert policy.target(wrong, drawn) == max(1, math.ceil(Fraction(k * wrong, drawn)))
    if most:
        assert policy.target(wrong, drawn, (most, drawn)) == max(1, math.ceil(Fraction(k * wrong, most)))


@quickly
@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 60), st.integers(0, 200))
def test_the_chance_is_the_beta_binomial(right: int, wrong: int, need: int, left: int) -> None:
    drawn = right + wrong
    expected = betabinom.sf(need - 1, left, right + 0.5, wrong + 0.5) if need <= left else 0.0
    assert chance_to_reach(drawn, right, right + need, drawn + left) == pytest.approx(expected, abs=1e-9)


def test_the_bound_holds_what_it_promises() -> None:
    """Of questions whose chances come from the prior, one given up would have met its target less often than said."""
    draw, policy = random.Random(1), Policy("uniform", 8, 200, 0, give_up=0.05)
    given_up = met = 0
    for _ in range(3000):
        chance = draw.betavariate(0.5, 0.5)
        draws = "".join("r" if draw.random() < chance else "w" for _ in range(policy.most))
        state, _, kept = brute_by_horizon(policy, draws)
        if state == GIVEN_UP and kept:
            given_up += 1
            met += draws.count("r") >= policy.k
    assert given_up > 100 and met / given_up < policy.give_up


def brute_by_horizon(policy: Policy, draws: str) -> tuple[int, int, int]:
    ledger = Ledger(1, policy)
    ledger.begin()
    for outcome in draws:
        index = ledger.ask(0)
        if ledger.settle(0, index, OUTCOMES[outcome]):
            break
    return int(ledger.state[0]), int(ledger.stop[0]), int(ledger.kept[0])


@quickly
@given(
    st.text("rrrwwwwm", min_size=40, max_size=40),
    st.integers(1, 12),
    st.integers(12, 40),
    st.sampled_from([0.0, 0.01, 0.2]),
    st.integers(1, 40),
    st.randoms(use_true_random=False),
)
def test_a_question_stops_where_the_rule_says_in_whatever_order_replies_come(
    draws: str, k: int, most: int, give_up: float, flight: int, order: random.Random
) -> None:
    policy = Policy("uniform", k, most, 0, give_up=give_up)
    ledger = Ledger(1, policy)
    ledger.begin()
    out: list[int] = []
    while ledger.state[0] == OPEN:
        while len(out) < flight and ledger.asked[0] < ledger.limit[0]:
            out.append(ledger.ask(0))
        out.sort(key=lambda _: order.random())
        index = out.pop()
        ledger.settle(0, index, OUTCOMES[draws[index]])
    assert (ledger.state[0], ledger.stop[0], ledger.kept[0]) == brute(policy, draws[:most], k)
    kept = [index for index in range(len(ledger.draws[0])) if ledger.keeps(0, index)]
    assert kept == [index for index, outcome in enumerate(draws) if outcome == "r"][: len(kept)]


@quickly
@given(
    st.lists(st.text("rrwww", min_size=60, max_size=60), min_size=1, max_size=5),
    st.booleans(),
    st.sampled_from([0.0, 0.05]),
    st.randoms(use_true_random=False),
)
def test_difficulty_is_fixed_by_the_first_draws(
    texts: list[str], over_max: bool, give_up: float, order: random.Random
) -> None:
    policy = Policy("prop2diff", 20, 60, 8, over_max=over_max, give_up=give_up)
    ledger = Ledger(len(texts), policy)
    ledger.begin()
    out: list[tuple[int, int]] = []
    while ledger.open:
        for question in range(len(texts)):
            while (
                ledger.state[question] == OPEN
                and ledger.asked[question] < ledger.limit[question]
                and order.random() < 0.7
            ):
                out.append((question, ledger.ask(question)))
        if out:
            question, index = out.pop(order.randrange(len(out)))
            ledger.settle(question, index, OUTCOMES[texts[question][index]])
    wrong = [text[:8].count("w") for text in texts]
    hardest = (max(wrong), 8) if over_max else (1, 1)
    for question, text in enumerate(texts):
        target = policy.target(wrong[question], 8, hardest)
        found = (ledger.state[question], ledger.stop[question], ledger.kept[question])
        assert ledger.target[question] == target
        assert ledger.fail_rate(question) == wrong[question] / 8
        assert found == brute(policy, text, target)
