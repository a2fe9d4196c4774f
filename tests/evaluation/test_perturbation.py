"""Perturbed problems: whatever comes out is proven, and what cannot be proven does not come out."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fractions import Fraction

import pytest
from benches import WORD_PROBLEMS

from upwell import problems
from upwell.measurement.perturbation import changed, parent_of, perturbed
from upwell.measurement.perturbation.arithmetic import Unprovable, steps
from upwell.problems import subset
from upwell.records import Problem

NUMBER = re.compile(r"\d[\d,]*\.?\d*|\.\d+")


def problem(question: str, solution: str, key: str = "made/test/1") -> Problem:
    return Problem(
        key=key, question=question, answer=solution.rpartition("#### ")[2], solution=solution, source="made"
    )


def exactly(expression: str) -> Fraction:
    """An expression of a solution by Python itself, not by the code under test."""
    exact = re.sub(r"\d+\.?\d*|\.\d+", lambda number: f"Fraction('{number[0]}')", expression.replace(",", ""))
    return Fraction(eval(exact, {"Fraction": Fraction}))


def numbers(text: str) -> list[Fraction]:
    return [Fraction(n.replace(",", "").rstrip(".")) for n in NUMBER.findall(text)]


def recomputed(original: Problem, now: Problem) -> Fraction:
    """The answer again: the original's notes, with every value that moved in the question put in and carried on."""
    was, new = numbers(original.question), numbers(now.question)
    assert len(was) == len(new)
    moved = {a: b for a, b in zip(was, new, strict=True) if a != b}
    value = Fraction(0)
    for expression, stated in re.findall(r"<<([^=<>]+)=([^<>]+)>>", original.solution or ""):
        replaced = re.sub(
            r"\d+\.?\d*|\.\d+",
            lambda n: f"({moved.get(Fraction(n[0]), Fraction(n[0]))})",
            expression.replace(",", ""),
        )
        value = exactly(replaced)
        moved[Fraction(stated.replace(",", ""))] = value
    return value


def check(originals: Sequence[Problem], made: Sequence[Problem]) -> None:
    by_key = {one.key: one for one in originals}
    for now in made:
        was = by_key[parent_of(now.key)]
        assert now.parents == (was.key,)
        answer = Fraction(now.answer.replace(",", ""))
        assert answer == recomputed(was, now), now
        for expression, stated in re.findall(r"<<([^=<>]+)=([^<>]+)>>", now.solution or ""):
            assert exactly(expression) == Fraction(stated.replace(",", "")), now
        assert (now.solution or "").rpartition("#### ")[2].replace(",", "") == now.answer.replace(",", "")
        assert now.question != was.question and now.answer != was.answer
        assert re.sub(NUMBER, "#", now.question) == re.sub(NUMBER, "#", was.question), "only figures change"
        assert answer > 0
        if Fraction(was.answer.replace(",", "")).denominator == 1:
            assert answer.denominator == 1


def test_new_answers_are_those_of_an_independent_recomputation() -> None:
    originals = [problem(q, a, f"made/test/{i}") for i, (q, a) in enumerate(WORD_PROBLEMS)]
    made = [perturbed(originals, seed) for seed in range(8)]
    assert all(len(one.problems) >= 3 for one in made), [one.left_out for one in made]
    for one in made:
        check(originals, one.problems)
    assert len({now.question for one in made for now in one.problems}) > 20, "seeds give other figures"
    assert perturbed(originals, 3) == made[3], "and the same seed the same"


def test_real_problems_too() -> None:
    if "UPWELL_DATA" not in os.environ:
        pytest.skip("UPWELL_DATA is not set: no benchmark files here")
    every = list(problems.load("gsm8k").problems)
    originals = subset(every, 60)
    made = perturbed(originals, 0)
    assert len(made.problems) + sum(made.left_out.values()) == 60
    assert len(made.problems) >= 10
    check(originals, made.problems)


@pytest.mark.parametrize(
    ("why", "question", "solution"),
    [
        ("no calculator notes", "Ann has 31 pens and loses 14. How many?", "31-14=17\n#### 17"),
        ("does not come out", "Ann has 31 pens and loses 14. How many?", "<<31-14=16>>16\n#### 16"),
        ("not the answer", "Ann has 31 pens and loses 14. How many?", "<<31-14=17>>17\n#### 18"),
        (
            "comes from nowhere",
            "Ann has 31 pens and loses some. How many?",
            "She has 31-14=<<31-14=17>>17 left.\n#### 17",
        ),
        # Worked out in the head: 62 follows from 31, but nothing says so.
        (
            "comes from nowhere",
            "Ann has 31 pens, Bob too. They find 11. How many?",
            "They have 62 pens, and 62+11=<<62+11=73>>73.\n#### 73",
        ),
        # The one 31 cannot be told from the other.
        (
            "change by itself",
            "Ann has 31 pens and Bob has 31. How many?",
            "They have 31+31=<<31+31=62>>62.\n#### 62",
        ),
        # 12 may be a year's months, and then stays.
        ("change by itself", "Ann saves for 12 months, $7 a month. How much?", "<<12*7=84>>84\n#### 84"),
        # 45 is what 20 and 25 are together: changed alone, the question would contradict itself.
        (
            "change by itself",
            "Of 45 pens 20 are new and 25 are old. What do all the pens cost at $3 each?",
            "<<45*3=135>>135\n#### 135",
        ),
        ("change by itself", "A shirt of $10 is 35% off. What is saved?", "<<10*35/100=3.5>>3.5\n#### 3.5"),
        ("plain arithmetic", "Ann has 31 pens. How many?", "<<__import__('os').getpid()=31>>31\n#### 31"),
        ("plain arithmetic", "Ann has 31 pens. How many?", "<<31**9999999=31>>31\n#### 31"),
        ("plain arithmetic", "Ann has 31 pens. How many?", "<<" + "(" * 110 + "=31>>31\n#### 31"),
    ],
)
def test_what_is_not_proven_stays_out(why: str, question: str, solution: str) -> None:
    with pytest.raises(Unprovable, match=why):
        changed(problem(question, solution), 0)


def test_a_comparison_goes_the_way_it_went() -> None:
    """Who has more depends on the figures: whatever they become, it has to be the same person."""
    asked = problem(
        "Ann has 31 pens and Bob has 34 pens. How many pens has the one with more of them, if each gives away 13?",
        "Bob has more, 34, and 34-13=<<34-13=21>>21.\n#### 21",
    )
    for seed in range(30):
        made = changed(asked, seed)
        ann, bob, given = numbers(made.question)
        assert ann < bob and Fraction(made.answer) == bob - given


def test_a_number_that_reads_two_ways_comes_out_the_same_in_both() -> None:
    """23 is what Ann has left and what Bob has: if the two parted, nobody could tell which one the last step means."""
    asked = problem(
        "Ann has 57 pens, gives 19 to Cem and 15 to Dora. Bob has 23 pens. How many do Ann and Bob have?",
        "Ann has 57-19=<<57-19=38>>38, then 38-15=<<38-15=23>>23.\nTogether 23+23=<<23+23=46>>46.\n#### 46",
    )
    for seed in range(20):
        try:
            ann, cem, dora, bob = numbers(changed(asked, seed).question)
        except Unprovable:
            continue
        assert ann - cem - dora == bob


def test_a_solution_in_words_is_not_left_behind() -> None:
    asked = problem(
        "Ann has 31 pens and finds 17 more. How many are there?", "Add seventeen: <<31+17=48>>48.\n#### 48"
    )
    for seed in range(10):
        made = changed(asked, seed)
        assert numbers(made.question)[1] == 17, "the solution says seventeen"


def test_an_exact_reading_of_notes() -> None:
    found = steps("a <<1,200*.5=600>>600, then <<600/(3+1)=150>>150")
    assert [step.value for step in found] == [600, 150]
    with pytest.raises(Unprovable):
        steps("<<10/3=3.33>>3.33")
