"""The laws of the two relations: `same` is an equivalence, `accepts` is constant on its classes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from upwell.grading.equality import accepts, canonical, literal, same
from upwell.grading.normal import shortest_decimal

steady = settings(deadline=None, derandomize=True, max_examples=250)
Spellings = tuple[str, ...]
"""Ways to write one answer."""

small = st.one_of(
    st.integers(-12, 12).map(Fraction),
    st.fractions(-9, 9, max_denominator=9),
    st.builds(Fraction, st.integers(1, 9_999), st.sampled_from((10, 100, 1_000, 10_000))),
    st.sampled_from((Fraction(3, 7), Fraction(4286, 10_000), Fraction(1, 3), Fraction(3333, 10_000))),
)


@st.composite
def rationals(draw: st.DrawFn) -> Spellings:
    q = draw(small)
    n, d = q.numerator, q.denominator
    sign = "-" if n < 0 else ""
    found = [f"{n}/{d}", f"\\frac{{{n}}}{{{d}}}", f"{sign}\\dfrac{{{3 * abs(n)}}}{{{3 * d}}}", f"x = {n}/{d}"]
    found += [f"{n}/{d} + y - y", f"\\{{{n}/{d}\\}}", f"{n}/{d}, {n}/{d}"]
    if d == 1:
        found += [str(n), f"{n:,}", f"{n}.0", f"{n} cm", f"\\${n}", f"{n} and {n}"]
    elif decimal := shortest_decimal(q):
        found += [decimal, f"{decimal}0", f"x \\approx {decimal}", f"{decimal}\\text{{ m}}^2"]
    if abs(n) > d > 1:
        found += [
            f"{sign}{abs(n) // d}\\frac{{{abs(n) % d}}}{{{d}}}",
            f"{sign}{abs(n) // d} {abs(n) % d}/{d}",
        ]
    return tuple(found)


@st.composite
def radicals(draw: st.DrawFn) -> Spellings:
    a, b, c = draw(st.integers(1, 4)), draw(st.sampled_from((2, 3, 5))), draw(st.integers(-2, 3))
    return (f"{a}\\sqrt{{{b}}}+{c}", f"{c}+\\sqrt{{{a * a * b}}}", f"{a}*sqrt({b}) + {c}",
            f"x = {a}\\sqrt{{{b}}} + {c}", f"{a}\\sqrt{{{b}}}+{c} \\approx {a * b**0.5 + c:.2f}")  # fmt: skip


@st.composite
def linear(draw: st.DrawFn) -> Spellings:
    v, a, b = draw(st.sampled_from("xymg")), draw(st.integers(2, 5)), draw(st.integers(1, 5))
    return f"{a}{v}+{b}", f"{b} + {a}*{v}", f"{a}({v} + \\frac{{{b}}}{{{a}}})"


@st.composite
def percentages(draw: st.DrawFn) -> Spellings:
    q = draw(small)
    number = shortest_decimal(q) or f"\\frac{{{q.numerator}}}{{{q.denominator}}}"
    return f"{number}\\%", f"{number}%", f"{number} percent", f"{number}\\text{{ pct}}"


def bare(spellings: Spellings) -> Spellings:
    """The spellings that may stand inside brackets: no labels, no lists."""
    return tuple(
        s for s in spellings if not any(mark in s for mark in ("=", ",", "approx", "and", "\\{", "- y"))
    )


values = st.one_of(rationals(), rationals(), radicals(), linear()).map(bare)


@st.composite
def lists(draw: st.DrawFn) -> Spellings:
    parts = draw(st.lists(values, min_size=2, max_size=3, unique_by=lambda p: canonical(p[0])))
    shuffled = draw(st.permutations(parts))
    one, two = [draw(st.sampled_from(p)) for p in parts], [draw(st.sampled_from(p)) for p in shuffled]
    return (", ".join(one), " and ".join(two), f"\\{{{', '.join(two)}\\}}", "; ".join(two),)  # fmt: skip


@st.composite
def tuples(draw: st.DrawFn) -> Spellings:
    parts = draw(st.lists(values, min_size=2, max_size=3))
    one, two = ([draw(st.sampled_from(p)) for p in parts] for _ in range(2))
    return f"({', '.join(one)})", f"(x, y) = ({','.join(two)})", f"\\langle {', '.join(two)} \\rangle"


@st.composite
def records(draw: st.DrawFn) -> Spellings:
    parts = draw(st.lists(values, min_size=2, max_size=3))
    named = list(zip("xyz", parts, strict=False))
    shuffled = draw(st.permutations(named))
    return (", ".join(f"{v} = {draw(st.sampled_from(p))}" for v, p in named),
            " and ".join(f"{v}={draw(st.sampled_from(p))}" for v, p in shuffled))  # fmt: skip


@st.composite
def columns(draw: st.DrawFn) -> Spellings:
    parts = draw(st.lists(values, min_size=2, max_size=3))
    one, two = ([draw(st.sampled_from(p)) for p in parts] for _ in range(2))
    joint = " \\\\ "
    return (f"\\begin{{pmatrix}}{joint.join(one)}\\end{{pmatrix}}",
            f"v = \\begin{{bmatrix}} {joint.join(two)} \\end{{bmatrix}}")  # fmt: skip


@st.composite
def intervals(draw: st.DrawFn) -> Spellings:
    a, b = sorted(draw(st.lists(small, min_size=2, max_size=2, unique=True)))
    return draw(
        st.sampled_from(
            (
                (f"({a}, {b})", f"{a} < x < {b}", f"x > {a} \\text{{ and }} x < {b}", f"]{a}, {b}["),
                (f"[{a}, {b})", f"{b} > x \\ge {a}", f"[{a}, \\infty) \\cap (-\\infty, {b})"),
                (f"({a}, \\infty)", f"2x > {2 * a}", f"({a}, {b}) \\cup [{b}, \\infty)"),
                (f"(-\\infty, {a}) \\cup ({b}, \\infty)", f"x < {a} or x > {b}", f"x>{b}, x<{a}"),
                (
                    f"x \\ne {a}",
                    f"(-\\infty, {a}) \\cup ({a}, \\infty)",
                    f"\\mathbb{{R}} \\setminus \\{{{a}\\}}",
                ),
            )
        )
    )


@st.composite
def equations(draw: st.DrawFn) -> Spellings:
    a, b, c = draw(st.integers(1, 4)), draw(st.sampled_from((-3, 1, 2))), draw(st.integers(-5, 5))
    return draw(
        st.sampled_from(
            (
                (f"y = {a}x + {c}", f"{a}x - y + {c} = 0", f"2y = {2 * a}x + {2 * c}", f"x = (y - {c})/{a}"),
                (f"{a}x + {b}y = {c}", f"{2 * a}x + {2 * b}y = {2 * c}", f"{a}x + {b}y - {c} = 0"),
                (f"x \\cdot y = {c}", f"2xy - {2 * c} = 0"),
            )
        )
    )


@st.composite
def clocks(draw: st.DrawFn) -> Spellings:
    hour, minute = draw(st.integers(0, 23)), draw(st.sampled_from((0, 0, 30, 7)))
    half = "am" if hour < 12 else "pm"
    full = (f"{hour % 12 or 12} {half}",) if minute == 0 else ()
    return (f"{hour}:{minute:02}", f"{hour}:{minute:02}:00", f"{hour % 12 or 12}:{minute:02} {half}", *full)


@st.composite
def others(draw: st.DrawFn) -> Spellings:
    n, m = draw(st.integers(1, 28)), draw(st.integers(1, 9))
    return draw(
        st.sampled_from(
            (
                (f"July {n}, 2021", f"{n} July 2021", f"2021-07-{n:02}", f"Jul. {n}, 2021"),
                (f"July {n}", f"the {n}th of July"),
                (f"{m} hours {n} minutes", f"{m} hr {n} min", f"{m}h{n}m"),
                (f"{n}:{m}" if m < 6 else f"{n} : {m}",),
                (f"{2 * n} : {2 * m}", f"{3 * n} : {3 * m}"),
                ("C", "(C)", "\\text{(C)}", "option C"),
                (f"(C) {n}", f"\\text{{(C)}}\\ {n}.0"),
                (f"{n}0{m}", f"{n}0{m} apples"),
                (f"{m}10,{n + 100}", f"{m}10{n + 100}"),
                (f"1{m % 2}1_2", f"1{m % 2}1_{{two}}"),
                ("Monday", "Mon.", "\\text{Monday}", "on Monday"),
                ("no solution", "\\emptyset", "\\{\\}"),
                ("yes", "Yes, it is.", "True"),
                (f"{n}g", f"g*{n}"),
                (f"{n}", f"+{n}"),
                ("\\sum_{k=0}^{n} k",),
                ("\\oint f", "\\oint  f"),
                ("9^{9^{9^{9}}}",),
            )
        )
    )


groups: SearchStrategy[Spellings] = st.one_of(
    rationals(), radicals(), linear(), percentages(), lists(), tuples(), records(), columns(), intervals(),
    equations(), clocks(), others(),
)  # fmt: skip


@steady
@given(groups)
def test_spellings_of_one_answer_are_the_same(spellings: Spellings) -> None:
    assert {canonical(s) for s in spellings} == {canonical(spellings[0])}, spellings


@steady
@given(st.lists(groups, min_size=2, max_size=4))
def test_same_is_an_equivalence(drawn: list[Spellings]) -> None:
    answers = [spelling for spellings in drawn for spelling in spellings]
    related = {(a, b) for a in answers for b in answers if same(a, b)}
    for a in answers:
        assert (a, a) in related
        for b in answers:
            assert ((a, b) in related) is ((b, a) in related)
            if (a, b) in related:
                assert all(((a, c) in related) is ((b, c) in related) for c in answers)


@steady
@given(st.lists(groups, min_size=2, max_size=3), st.sampled_from((None, 0.01)), small)
def test_accepts_is_constant_on_the_classes_of_same(
    drawn: list[Spellings], tolerance: float | None, near: Fraction
) -> None:
    rounded = [f"{float(near):.{places}f}" for places in (1, 2, 3, 4, 5)]
    answers = [s for spellings in drawn for s in spellings] + rounded
    classes: dict[str, list[str]] = {}
    for answer in answers:
        classes.setdefault(canonical(answer), []).append(answer)
    for gold in [spellings[0] for spellings in drawn] + [drawn[0][-1], str(near), rounded[2]]:
        for equal in classes.values():
            verdicts = {answer: accepts(gold, answer, tolerance).correct for answer in equal}
            assert len(set(verdicts.values())) == 1, (gold, verdicts)


@steady
@given(groups)
def test_what_is_the_same_as_the_gold_answer_is_accepted(spellings: Spellings) -> None:
    for gold in spellings:
        assert all(accepts(gold, answer).correct for answer in spellings), (gold, spellings)


@steady
@given(
    st.text(alphabet="0123456789+-*/^().,{}[]\\frac sqrtpixy=<>|!%$_&:;\"' andor", max_size=30),
    st.text(max_size=6),
)
def test_noise_obeys_the_laws(noise: str, more: str) -> None:
    spaced = f" {noise} "
    assert same(noise, noise)
    assert same(noise, spaced) is same(spaced, noise)
    assert accepts(noise, noise).correct
    for gold in ("7", "1, 2", "x^2", more):
        if same(noise, spaced):
            assert accepts(gold, noise).correct is accepts(gold, spaced).correct


@pytest.mark.parametrize(
    "answers",
    [
        ("1, 2", "(1, 2)", "x = 1, y = 2", "[1, 2]", "3"),
        ("15\\%", "15", "0.15"),
        ("C", "(C) 24", "24", "(C) 25"),
        ("20:30", "20 : 30", "8:30", "8:30 pm EST"),
        ("204_5", "204", "54"),
        ("July 4, 2021", "July 4", "4", "July 5, 2021"),
        ("2 hours 30 minutes", "2.5", "150", "2 hours"),
        ("0.4286", "\\frac{3}{7}", "0.43"),
        ("(1, 2), (3, 4)", "(1, 2, 3, 4)", "(3, 1), (2, 4)"),
        ("\\sum_{k=0}^n k", "\\sum_{k=1}^n k", "\\int_0^n k dk"),
    ],
)
def test_answers_that_are_not_the_same(answers: Sequence[str]) -> None:
    assert len({canonical(answer) for answer in answers}) == len(answers)


def test_what_the_rules_cannot_read_is_the_same_only_when_spelled_alike() -> None:
    assert same("\\oint f", "$\\oint  f$")
    assert literal("\\oint f") == literal("$\\oint  f$")
    assert not same("\\oint f", "\\oint g")
    long = "f" * 30_000
    assert same(long, f"{long} ")
    assert not same(long, f"{long}g")


def test_items_are_paired_by_leniency_whatever_their_order() -> None:
    """0.4286 suits both gold items, 0.428571 the first only by more digits: greedy pairing would fail."""
    gold = "\\frac{3}{7}, 0.4286"
    assert accepts(gold, "0.4286, 0.42857").correct is True
    assert accepts(gold, "0.42857, 0.4286").correct is True
    assert accepts(gold, "0.4286, 0.5").correct is False
