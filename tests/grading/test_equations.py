"""Equations in responses: what is found, what is right, and that nothing can break or slow the checker."""

from __future__ import annotations

import json
import os
import random
import re
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upwell.grading.equations import MAX_WRONG, check_equations, equations, soundness

PAGE = Path(__file__).parents[2] / "docs" / "soundness.md"
NOTE = re.compile(r"<<([^<>]*)>>")


def rows(*heading: str) -> list[tuple[str, ...]]:
    """The rows of the page's tables under a heading, code marks taken off."""
    found: list[tuple[str, ...]] = []
    inside = False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = tuple(re.findall(r"`([^`]*)`|(?<=\| )([^|`]+)(?= \|)", line))
        texts = tuple(code or plain.strip() for code, plain in cells)
        if texts == heading:
            inside = True
        elif inside and not set(line) <= set("|-"):
            found.append(texts)
    return found


VERDICTS = rows("response", "verdict")


@pytest.mark.parametrize(("response", "verdict"), VERDICTS)
def test_every_example_of_the_page(response: str, verdict: str) -> None:
    assert soundness(response) == verdict


def test_the_page_is_read() -> None:
    assert len(VERDICTS) > 80
    assert {verdict for _, verdict in VERDICTS} == {"yes", "no", "none"}


def test_wrong_equations_are_shown_where_they_stand() -> None:
    text = "First, **2 + 3 = 5** eggs.\nThen <<4*5=21>>20, and so 4 * 5 = 20 = 40 / 3."
    checked = check_equations(text)
    assert (checked.found, checked.right, checked.wrong) == (4, 2, 2)
    for example in checked.examples:
        assert text[example.start : example.end] == example.text
    assert [(e.text, e.left, e.right) for e in checked.examples] == [
        ("4*5=21", 20.0, 21.0),
        (" 20 = 40 / 3", 20.0, pytest.approx(40 / 3)),
    ]


def test_the_list_of_wrong_equations_is_bounded() -> None:
    checked = check_equations("2 + 2 = 5.\n" * 1_000)
    assert checked.wrong == 1_000
    assert len(checked.examples) == MAX_WRONG


@pytest.mark.parametrize(
    "text",
    [
        "He has 3 apples and 4 pears, so 3 apples + 4 pears = 7 fruits.",
        "Since 60 minutes = 1 hour, 90 minutes / 60 minutes = 1.5 hours.",
        "For 3, 4 + 5 = 9.",
        "The ratio is 3/4 = 0.75",
        "12 patrons who came in cars + 27 from a bus = 39 patrons",
        "600/(3+1=4) = 150",
        "60 / 3/4 = 80",
        "So 3/3 - 2/3 = 1/3 of $150 is left.",
        "They need 4/3 = 1 and 1/3 hours",
        "about 96 birds: 32 / 96 * 100% = 33.33...%, or a third",
        "We get \\$3 \\times 4 = \\$12.",
        "2+3\n= 5\n= 10/2",
        "\\[\n12 \\times 3 = 36\n\\]\nand\n\\[\n36 + 4 = 40\n\\]",
        "$2^43^2 = 144$",
        "A = \\frac12 \\cdot 6 \\cdot 4 = 12",
        "10,\\!000 + 1 = 10{,}001",
        "24 (eggs in all) - 3 (broken ones) = 21",
        "They ran 16 times + 8 times = 24 times.",
        "At $280/week * .2 = $56/week she pays",
        "100/2 = 50-foot sections",
        "He needs 2 wheels * 10ml of oil per wheel = 20ml of oil.",
        "because 10 plus 9 plus 1 equals 20.",
        "6 x 30 min = 180 min",
    ],
)
def test_ways_to_write_that_are_right(text: str) -> None:
    assert soundness(text) == "yes"


@pytest.mark.parametrize(
    "text",
    [
        "Let x = 5. Then 3x = 15 and 2 + x = 7.",
        "P(A) = 1/2, P(2) = 0.3",
        "Area = \\pi 5^2 = 25\\pi",
        "3 \\equiv 8 = 2 \\pmod 5",
        "(1, 2) = (1, 2), C(5, 2) = 10",
        "on 3/4 = March 4",
        "It is 4:30 = half past four.",
        "a + 2 = 3 + b = 5c",
        "CD = AC \\sqrt{2} = \\sqrt{3} \\cdot \\sqrt{2}",
        "== 3 + 4 ==",
        "if x == 3 + 4 and 3 + 4 <= 8, y >= 2 + 2, z != 1 + 1",
        "\\frac{x}{2} = 3, \\frac{6}{y} = 3",
        "\\begin{align*} a &= 3 + 4 \\\\ &\\quad + 5 \\\\ &= 12 \\end{align*}",
        "\\frac{988}{6} = 164.\\overline{6}",
        "- 3 apples = 2 + x",
        "Team 1 - 3 = Team 2",
        "5 = x",
        "10 = 2 more than 8",
        "3 bags / 15 minutes = 8 bags / Y",
        "Since 2/3 of the tank equals 16 gallons, 1/3 equals 8.",
        "4480: \\sqrt{15} = \\sqrt{15} \\left( AE^2 + 1\\right)",
        "20 years ago he was = 32 - 20",
    ],
)
def test_what_is_no_arithmetic_is_never_wrong(text: str) -> None:
    assert soundness(text) != "no"


TEXTS = st.text(alphabet=st.sampled_from("0123456789 .,+-*/×÷=≈()[]{}$%!^x<>\\ab\n&~½√'cmk:"), max_size=80)
_PIECES = r"""12|3|.5|1,200| | + |*|/| x |=| = |<<|>>|(|)|\frac|{|}|^|\sqrt|[|]|\text{ a}|%| of | times | apples|/hour
|$|!|\times|\approx|**|\binom| percent|\\|&|a|2 1/2|½| divided by |\(|\]|-|99999999|m| equals |\text{ cm(}| ("""
PIECES = st.lists(st.sampled_from(_PIECES.split("|")), max_size=25).map("".join)


@given(TEXTS | PIECES | st.text(max_size=60))
@settings(max_examples=600, deadline=None)
def test_any_text_has_a_verdict_and_the_short_cut_changes_none(text: str) -> None:
    checked, listed = check_equations(text), list(equations(text))
    assert checked.right == sum(e.holds for e in listed)
    assert checked.wrong == sum(not e.holds for e in listed)
    assert soundness(text) in ("yes", "no", "none")


NUMBERS = st.integers(0, 999).map(str) | st.decimals(0, 99, places=2).map(str) | st.just("(2 + 1)")


@given(
    st.lists(st.tuples(NUMBERS, st.sampled_from("+-*/")), min_size=1, max_size=4), NUMBERS, st.integers(1, 9)
)
@settings(max_examples=300, deadline=None)
def test_arithmetic_agrees_with_fractions(head: list[tuple[str, str]], last: str, off: int) -> None:
    left = "".join(f"{number} {sign} " for number, sign in head) + last
    products: list[Fraction] = []
    sign = "+"
    for number, following in [*head, (last, "")]:
        value = Fraction(3) if number.startswith("(") else Fraction(number)
        if sign in "*/" and (value or sign == "*"):
            products[-1] = products[-1] * value if sign == "*" else products[-1] / value
        elif sign == "/":
            assert soundness(f"{left} = 1") == "none"
            return
        else:
            products.append(-value if sign == "-" else value)
        sign = following
    value = sum(products, Fraction(0))
    written = f"{value.numerator}/{value.denominator}" if value.denominator > 1 else str(value)
    assert soundness(f"So {left} = {written}.") == "yes"
    wrong = value + Fraction(off, value.denominator)
    assert soundness(f"So {left} = {wrong.numerator}/{wrong.denominator * 7}.") == (
        "no" if wrong != 7 * value else "yes"
    )


@pytest.mark.parametrize(
    "text",
    [
        "1+" * 1_000_000 + "=",
        "1=" * 1_000_000,
        "(" * 2_000_000 + "=",
        "<<" * 1_000_000 + "=",
        "\\" * 2_000_000 + "=",
        "5 a b c d e f g " * 120_000 + "=",
        "5 " + " \n" * 1_000_000 + "= 5",
        "he has 3 red apples and then some more = " * 50_000,
        "**" * 1_000_000 + "=",
        "\\begin{" * 300_000 + "=",
        ("1% = 2 cm = " * 160 + "so ") * 300,
        ("+" + "a" * 38 + " 1 + 1 = 3 " + "b c " * 10 + "! ") * 20_000,
        "9" * 2_000_000 + "=" + "9" * 2_000_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_time_is_linear(text: str) -> None:
    start = time.process_time()
    check_equations(text)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "text",
    [
        "9^9^9^9 = 1",
        "2^99999999 = 1",
        "(2^9999)^9999 = 1",
        "9999999! = 1",
        "0^{-1} = 1",
        "1/0 = 1",
        "\\binom{99999}{5000} = 1",
        "(" * 200 + "1" + ")" * 200 + " + 1 = 3",
        "1e9 = 1",
        "٣ + ٤ = ٧",
        "2 ^ = 4",
    ],
)
def test_what_cannot_be_computed_is_skipped(text: str) -> None:
    assert soundness(text) == "none"


@pytest.fixture(scope="module")
def solutions() -> list[str]:
    folder = os.environ.get("UPWELL_DATA")
    path = Path(folder or "") / "gsm8k" / "test.jsonl"
    if not folder or not path.exists():
        pytest.skip("UPWELL_DATA has no gsm8k/test.jsonl")
    return [json.loads(line)["answer"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_gold_equations_pass_and_changed_ones_fail(solutions: list[str]) -> None:
    noted = [note for solution in solutions for note in NOTE.findall(solution)]
    assert sum(soundness(f"<<{note}>>") == "yes" for note in noted) >= 0.99 * len(noted)
    draw = random.Random(1)
    caught = 0
    for note in noted:
        left, _, right = note.rpartition("=")
        caught += soundness(f"<<{left}={Fraction(right) + draw.randrange(1, 9)}>>") == "no"
    assert caught >= 0.99 * len(noted)


def test_gold_prose_is_found_and_right(solutions: list[str]) -> None:
    noted = sum(len(NOTE.findall(solution)) for solution in solutions)
    checked = [check_equations(NOTE.sub("", solution)) for solution in solutions]
    assert sum(c.found for c in checked) >= 0.97 * noted
    assert sum(c.wrong for c in checked) <= 0.003 * noted
