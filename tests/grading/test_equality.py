"""Single values and kinds, tolerance, limits. The laws of the two relations are in test_relations.py."""

from __future__ import annotations

import sys
import time
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upwell.grading import accepts, canonical, kind

relaxed = settings(deadline=None, derandomize=True)  # a busy machine is no fault of the grader
whole = st.integers(-(10**12), 10**12)
fractions = st.fractions(max_denominator=10**6)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9)


@relaxed
@given(whole)
def test_spellings_of_a_whole_number_share_a_canonical_form(n: int) -> None:
    spellings = [
        f"{n}",
        f"{n:,}",
        f"${n}$",
        f"${n:,}",
        f"{n}.0",
        f"\\boxed{{{n}}}",
        f"\\text{{{n}}}",
        f"\\left( {n} \\right)",
        f"x = {n}",
        f"\\frac{{{2 * n}}}{{2}}",
        f"{n} apples",
        f"{n}\\text{{ cm}}",
        f"{n}.",
        f"{n - 7} + 7",
    ]
    assert {canonical(s) for s in spellings} == {str(n)}


@relaxed
@given(fractions)
def test_spellings_of_a_fraction_share_a_canonical_form(q: Fraction) -> None:
    a, b = q.numerator, q.denominator
    sign = "-" if a < 0 else ""
    spellings = [
        f"{a}/{b}",
        f"\\frac{{{a}}}{{{b}}}",
        f"{sign}\\dfrac{{{abs(a)}}}{{{b}}}",
        f"{{{a} \\over {b}}}",
    ]
    assert {canonical(s) for s in spellings} == {str(q)}


@relaxed
@given(decimals)
def test_decimals_are_exact(d: Decimal) -> None:
    assert canonical(f"{d:f}") == canonical(f"{d:,f}") == str(Fraction(d))


@relaxed
@given(st.lists(whole, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_a_list_has_no_order_and_a_tuple_has(numbers: list[int], random: object) -> None:
    mixed = list(numbers)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    for form in ("{}", "\\{{ {} \\}}", "x = {}"):
        assert canonical(form.format(", ".join(map(str, numbers)))) == canonical(
            form.format(", ".join(map(str, mixed)))
        )
    same_order = canonical(f"({', '.join(map(str, numbers))})") == canonical(
        f"({', '.join(map(str, mixed))})"
    )
    assert same_order == (numbers == mixed)


@relaxed
@given(st.text(max_size=60))
def test_canonical_never_raises_and_is_deterministic(text: str) -> None:
    assert canonical(text) == canonical(text)
    kind(text)


@relaxed
@given(st.text(alphabet="0123456789+-*/^().,{}[]\\frac sqrtpixy=<>|!%$_&", max_size=40))
def test_formula_like_noise_never_raises(text: str) -> None:
    assert canonical(text) == canonical(text)
    assert accepts(text, text).correct is not False or not text.strip()
    accepts("7", text)
    accepts(text, "7")


@relaxed
@given(whole, whole)
def test_accepts_tells_whole_numbers_apart(a: int, b: int) -> None:
    assert accepts(str(a), f"{b:,}").correct is (a == b)


@relaxed
@given(st.fractions(max_denominator=999), st.fractions(max_denominator=999))
def test_accepts_is_constant_on_classes(gold: Fraction, answer: Fraction) -> None:
    spellings = [f"{answer}", f"\\frac{{{answer.numerator}}}{{{answer.denominator}}}", f"x = {answer}"]
    assert len({accepts(str(gold), s).correct for s in spellings}) == 1


@relaxed
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_radicals_are_equal_in_every_form(a: int, b: int, c: int) -> None:
    forms = [
        f"{a}\\sqrt{{{b}}} + {c}",
        f"{c} + {a} \\cdot \\sqrt {{{b}}}",
        f"{a}*sqrt({b}) + {c}",
        f"\\sqrt{{{a * a * b}}} + {c}",
        f"{c}+{a}*{b}^(1/2)",
    ]
    assert len({canonical(f) for f in forms}) == 1
    assert canonical(f"{a}\\sqrt{{{b}}} + {c + 1}") != canonical(forms[0])


@relaxed
@given(st.lists(st.integers(-9, 9), min_size=2, max_size=5))
def test_polynomials_are_equal_expanded_or_factored(roots: list[int]) -> None:
    factored = "".join(f"(x - {r})" if r >= 0 else f"(x + {-r})" for r in roots)
    coefficients = [1]
    for root in roots:
        shifted = [*coefficients, 0]
        coefficients = [s - root * c for s, c in zip(shifted, [0, *coefficients], strict=True)]
    degree = len(roots)
    expanded = " + ".join(f"{c} x^{{{degree - i}}}" for i, c in enumerate(coefficients))
    assert accepts(factored, expanded).correct is True
    assert canonical(factored) == canonical(expanded)
    assert accepts(factored, expanded + " + 1").correct is False


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("5", "integer"),
        ("0.5", "decimal"),
        ("1/2", "fraction"),
        ("50\\%", "percent"),
        ("1, 2", "list"),
        ("(1, 2)", "tuple"),
        ("[1, 2)", "interval"),
        ("(-\\infty, 2)", "interval"),
        ("x^2", "expression"),
        ("\\sqrt{2}", "expression"),
        ("y = 2x", "equation"),
        ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "matrix"),
        ("C", "choice"),
        ("12_5", "base"),
        ("3:2", "ratio"),
        ("7:30 pm", "time"),
        ("8 pm", "time"),
        ("July 4, 2021", "date"),
        ("2 hours 30 minutes", "amount"),
        ("Monday", "text"),
        ("\\oint f", "unreadable"),
    ],
)
def test_kind(answer: str, expected: str) -> None:
    assert kind(answer) == expected


def test_a_published_tolerance_is_honoured() -> None:
    assert accepts("5", "5.004").correct is False
    assert accepts("5", "5.004", tolerance=0.01).correct is True
    assert accepts("5", "5.02", tolerance=0.01).correct is False
    assert accepts("(1, 2)", "(1, 2.004)", tolerance=0.01).correct is True


def test_numbers_beyond_the_digit_limit_of_python() -> None:
    limit = sys.get_int_max_str_digits()
    huge = "7" * (limit + 10)
    assert accepts(huge, huge).correct is True
    assert accepts(huge, huge[:-1] + "8").correct is False
    assert canonical("2^{20000}") == canonical("4^{10000}")
    assert accepts("10^{5000}", "10^{5000}").correct is True


BOMBS = [
    "9^{9^{9^{9}}}",
    "2500!",
    "2500!:2",
    "\\sum_{k=1}^{10^{12}} k^k",
    "\\prod" * 3_000 + "2",
    "\\int_" * 3_000,
    "99999999!",
    "10^{10^{10}}!",
    "((9!)!)!",
    "\\binom{10^{12}}{10^{11}}",
    "(x+y+z)^{100000}",
    "\\sin(10^{10^{9}})",
    "0^{-1}",
    "\\frac{1}{0}",
    "\\log 0",
    "\\tan 90^\\circ",
    "1e999999999",
    "x" * 10_000,
    "(" * 10_000,
    "{" * 10_000 + "}" * 10_000,
    "\\frac" * 5_000,
    "\\frac12" * 3_000,
    "\\sqrt" * 5_000,
    "-" * 10_000 + "1",
    "1," * 9_000,
    "1/" * 9_000,
    "2^" * 5_000 + "2",
    "|" * 10_000,
    "\\text{" * 4_000,
    "\\begin{pmatrix}" * 1_000,
    "\\pm 1" * 3_000,
    "a_" * 5_000,
    "\\left(" * 3_000 + "1" + "\\right)" * 3_000,
    "=" * 10_000,
    "1=" * 9_000,
    "\x00" * 10_000,
    "1;" * 9_000,
    "is " * 6_000,
    "5 is 5. " * 2_000,
    "0." + "\\overline{3}" * 1_000,
    "١٢٣",  # digits of another script are not ours to guess
    "１２３",
    "\u202e321",
    "1 " * 9_000,
]


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda b: b[:12])
def test_nothing_explodes(bomb: str) -> None:
    start = time.process_time()
    canonical(bomb)
    kind(bomb)
    assert accepts("7", bomb).correct is not True
    accepts(bomb, "7")
    accepts("x^2 + 1", bomb)
    assert time.process_time() - start < 2.0


def test_full_width_digits_are_digits() -> None:
    assert accepts("123", "１２３").correct is True
