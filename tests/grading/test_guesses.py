"""Guess rates: the numbers of a question, and agreement with guesses drawn one by one."""

from __future__ import annotations

import random
import time
from fractions import Fraction

import pytest
from test_equations import rows

from upwell.grading.guesses import guess_rate, numbers


@pytest.mark.parametrize(("question", "answer", "rate"), rows("question", "answer", "q"))
def test_every_example_of_the_page(question: str, answer: str, rate: str) -> None:
    assert guess_rate(question, answer) == (None if rate == "none" else float(rate))


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("She buys 1,250.50 kg and .5 more", ["2501/2", "1/2"]),
        ("half of twenty-five, then two-thirds of 1/2", ["1/2", "25", "2/3"]),
        ("2 1/2 cups and 2\\frac{3}{4} cups", ["5/2", "11/4"]),
        ("two hundred and five people, two dozen eggs", ["205", "2", "12"]),
        ("twice as many as 3 million", ["2", "3000000"]),
        ("-5 degrees, 10-20 pages", ["-5", "10", "20"]),
        ("a third of it, an eighth of it", ["1/3", "1/8"]),
        ("5 and 5 and five", ["5"]),
        ("nobody, someone, tension, x2", []),
        ("1/0 of them", []),
    ],
)
def test_numbers_of_a_question(question: str, expected: list[str]) -> None:
    assert [str(readings[0]) for readings in numbers(question)] == expected


def test_a_percentage_offers_two_readings() -> None:
    assert numbers("20% or fifteen percent") == [
        (Fraction(20), Fraction(1, 5)),
        (Fraction(15), Fraction(3, 20)),
    ]


def simulated(question: str, target: Fraction, draws: int) -> float:
    """The share of right guesses, drawn one by one as the definition says."""
    draw = random.Random(4)
    found = numbers(question)

    def operate(a: Fraction | None, b: Fraction | None) -> Fraction | None:
        sign = draw.choice("+-*/")
        if a is None or b is None or (sign == "/" and b == 0):
            return None
        return a + b if sign == "+" else a - b if sign == "-" else a * b if sign == "*" else a / b

    right = 0
    for _ in range(draws):
        picked = [draw.choice(readings) for readings in draw.sample(found, min(3, len(found)))]
        value = operate(picked[0], picked[1])
        if len(found) > 2 and draw.random() < 0.5:
            value = operate(value, picked[2]) if draw.random() < 0.5 else operate(picked[2], value)
        right += value == target
    return right / draws


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("2, 3, 4 and 10", "14"),
        ("0, 1 and 2", "1"),
        ("20% of 50 plus 7", "17"),
        ("1/2, 0.25 and 3", "3/8"),
        (", ".join(map(str, range(2, 27))), "30"),
    ],
)
def test_rates_agree_with_guesses_drawn_one_by_one(question: str, answer: str) -> None:
    rate = guess_rate(question, answer)
    assert rate is not None
    assert 0 < rate < 1
    share = simulated(question, Fraction(answer), 20_000)
    assert abs(rate - share) < 4 * (rate * (1 - rate) * (1 / 20_000 + 1 / 8_192)) ** 0.5


def test_equality_is_exact() -> None:
    huge = "10000000000000000"
    assert guess_rate(f"{huge} and 1", "10000000000000001") == 0.25
    assert guess_rate(f"{huge} and 1", huge) == 0.375  # times one twice, by one once, not plus
    assert guess_rate(f"{huge} and 2", "10000000000000001") == 0.0


@pytest.mark.parametrize("gold", ["(1, 2)", "Monday", "x + 1", "7:30", ""])
def test_answers_that_are_no_numbers_have_no_rate(gold: str) -> None:
    assert guess_rate("3 and 4", gold) is None


def test_irrational_answers_are_never_guessed() -> None:
    assert guess_rate("3 and 4", "2\\sqrt{3}") == 0.0


def test_a_percent_answer_is_met_as_number_and_as_share() -> None:
    assert guess_rate("3 of 12", "25\\%") == guess_rate("3 of 12", "0.25") == 0.125
    assert guess_rate("5 and 20", "25\\%") == 0.375  # 5 + 20, 20 + 5 and 5 / 20


def test_many_numbers_are_estimated_the_same_every_time_and_quickly() -> None:
    question = ", ".join(str(n * n + 1) for n in range(300))
    start = time.process_time()
    first = guess_rate(question, "7")
    assert time.process_time() - start < 1
    assert first == guess_rate(question, "7")
