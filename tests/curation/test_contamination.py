"""Decontamination: which rows are caught, by what, which are not, and that hostile text changes nothing."""

from __future__ import annotations

import csv
import html
import os
import random
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from upwell import problems
from upwell.curation.contamination import Audit, Item, Match, Reference, Settings
from upwell.curation.contamination.audit import GRID
from upwell.errors import UpwellError, UsageError
from upwell.records import Problem

DATA = os.environ.get("UPWELL_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="UPWELL_DATA names no folder of benchmark files")

HENS = (
    "Martha keeps 48 speckled hens behind the old mill. Every morning she gathers 17 eggs, and she sells a dozen of "
    "them to the village baker for $3 each. How many eggs are left for her own breakfast after 9 days?"
)
FERRY = (
    "A river ferry carries 36 passengers and 14 bicycles on each crossing. If the ferry crosses 11 times before noon "
    "and half as many times after lunch, how many bicycles does it carry in the whole day?"
)
ROOTS = r"Let $p$ and $q$ be the roots of $3x^2 - 17x + 5 = 0$. Compute the value of $\frac{p}{q+2} + \frac{q}{p+2}$."
TINY = r"Compute $\sin 45^\circ$."
SOLUTION = (
    "In nine days the hens lay 153 eggs, because nine mornings give seventeen each. Of these the baker takes 108, "
    "a dozen every day, so the kitchen keeps the rest: 153 - 108 = 45 eggs for breakfast."
)
NOUNS = (
    """barn kite lamp tray drum vase rope shed pond coat desk cart oven sail gate tent fork bell ring chest"""
)


def filler(count: int, seed: int) -> list[str]:
    """Word problems that have nothing to do with each other but their language."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        a, b, c, d = ("".join(chance.choices(NOUNS.split(), k=2)) for _ in range(4))
        made.append(
            f"There are {chance.randrange(90)} {a}s in the {b} and each holds {chance.randrange(90)} {c}s. "
            f"If {chance.randrange(90)} of them leave for the {d}, how many {c}s are there in total?"
        )
    return made


def problem(key: str, question: str, solution: str | None = None) -> Problem:
    return Problem(key=f"bench/test/{key}", question=question, answer="1", solution=solution, source="bench")


@pytest.fixture(scope="module")
def reference() -> Reference:
    own = [
        problem("hens", HENS, SOLUTION),
        problem("ferry", FERRY),
        problem("roots", ROOTS),
        problem("tiny", TINY),
    ]
    trigonometry = [
        problem(f"t{at}", rf"Compute $\{f} {at}^\circ$.")
        for at in range(60, 75)
        for f in ("sin", "cos", "tan")
    ]
    others = [problem(f"o{at}", text) for at, text in enumerate(filler(300, 0))]
    return Reference.of([*own, *trigonometry, *others])


def found(reference: Reference, question: str, solution: str = "") -> Match | None:
    return next(reference.check([("row", question, solution)]), None)


RENUMBERED = re.sub(r"\d+", lambda match: str(int(match[0]) * 3 + 1), HENS).replace("a dozen", "twenty")
RENAMED = HENS.replace("Martha", "Boris").replace(" she", " he").replace(" her ", " his ")
REWORDED = (
    "How many eggs remain for her own breakfast after nine days? Martha owns 48 speckled hens behind the old mill. "
    "Every morning she collects 17 eggs and she sells twelve of those to the village baker, for 3 dollars each."
)


@pytest.mark.parametrize(
    "question, key, methods",
    [
        (HENS.upper().replace("$3", "3 dollars"), "hens", {"exact"}),
        (ROOTS.replace(r"\frac", r"\dfrac").replace("$", "$$"), "roots", {"exact"}),
        (TINY.replace("Compute", "compute  "), "tiny", {"exact"}),
        (" ".join([*filler(6, 1), HENS, *filler(6, 2)]), "hens", {"span"}),
        (HENS.replace("the old mill", "a new barn in the far valley"), "hens", {"ngram", "span", "template"}),
        (RENUMBERED, "hens", {"masked"}),
        (ROOTS.replace("17", "29").replace("5 =", "8 =").replace("+2", "+7"), "roots", {"masked"}),
        (" ".join([*filler(6, 1), RENUMBERED, *filler(6, 2)]), "hens", {"masked"}),
        (RENAMED.replace("48", "51").replace("17", "23"), "hens", {"renamed"}),
        (REWORDED, "hens", {"reworded"}),
    ],
)
def test_what_is_made_from_a_test_question_is_caught(
    reference: Reference, question: str, key: str, methods: set[str]
) -> None:
    match = found(reference, question)
    assert match is not None and match.against == f"bench/test/{key}" and match.method in methods
    assert match.field == match.against_field == "question" and match.score >= reference.settings.bound(
        match.method
    )


@pytest.mark.parametrize(
    "question",
    [
        "",
        "?",
        r"Compute $\sin 13^\circ$.",
        r"Compute $\sin 45^\circ + \cos 31^\circ \cdot \tan 9^\circ$.",
        "Martha keeps 48 speckled hens behind the old mill. How tall is the mill?",
        HENS[: len(HENS) // 2],
        "A river ferry has 3 decks. On each there are 14 bicycles and one captain who is 48 years old. How old is he?",
        r"Let $p$ and $q$ be the roots of $x^2 - 4x + 1 = 0$. Compute $p^2 + q^2$.",
        "How many eggs are left?",
    ],
)
def test_what_only_looks_like_a_test_question_is_kept(reference: Reference, question: str) -> None:
    assert found(reference, question) is None


def test_solutions_are_looked_at_for_questions_and_for_solutions(reference: Reference) -> None:
    quoted = found(reference, "Who?", f"The problem was: {HENS} So the answer is 45.")
    assert quoted is not None and (quoted.field, quoted.against_field) == ("solution", "question")
    copied = found(reference, "Who?", f"First of all: {SOLUTION} That is all.")
    assert copied is not None and (copied.field, copied.against_field) == ("solution", "solution")
    assert found(reference, "Who?", "So the answer is 153 - 108 = 45.") is None
    assert found(reference, "Who?", RENUMBERED) is None, "solutions share forms; only what they copy counts"


def test_a_short_form_counts_where_the_bound_says_so() -> None:
    questions = [problem("tiny", TINY), *(problem(f"o{at}", text) for at, text in enumerate(filler(300, 0)))]
    other = r"Compute $\sin 13^\circ$."
    assert found(Reference.of(questions, Settings(bits=0)), other) is not None
    assert found(Reference.of(questions, Settings(bits=200)), other) is None


def test_a_bound_above_one_turns_a_method_off(reference: Reference) -> None:
    questions = [problem("hens", HENS), *(problem(f"o{at}", text) for at, text in enumerate(filler(50, 0)))]
    off = dict.fromkeys(("span", "ngram", "masked", "renamed", "template", "reworded"), 2.0)
    assert found(Reference.of(questions, Settings(**off)), RENUMBERED) is None  # type: ignore[arg-type]
    match = found(Reference.of(questions, Settings(masked=2.0)), RENUMBERED)
    assert match is not None and match.method == "renamed"


@pytest.mark.parametrize("bad", [{"n": 7}, {"masked": -0.1}, {"bits": float("nan")}])
def test_bounds_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        Settings(**bad)  # type: ignore[arg-type]


def test_nearest_tells_of_every_row_in_order_and_agrees_with_the_check(reference: Reference) -> None:
    rows: list[Item] = [
        ("a", HENS, ""),
        ("b", "", ""),
        ("c", RENUMBERED, ""),
        ("d", "How many eggs are left?", ""),
    ]
    rows += [(f"f{at}", text, "") for at, text in enumerate(filler(40, 7))]
    nearest = list(reference.nearest(rows))
    assert [match.key for match in nearest] == [key for key, _, _ in rows]
    assert [(m.key, m.method, m.against) for m in nearest if m.method] == [
        (m.key, m.method, m.against) for m in reference.check(rows)
    ]
    assert nearest[1] == Match("b")
    assert nearest[0].span.startswith("martha keeps 48 speckled hens")
    assert all(0 <= score <= 1.0001 for match in nearest for score in match.scores.values())


def test_order_is_kept_and_workers_change_nothing(reference: Reference) -> None:
    taken: list[int] = []

    def rows() -> Iterator[Item]:
        for at, text in enumerate(filler(1300, 3)):
            taken.append(at)
            yield f"{at}", HENS if at % 400 == 5 else RENUMBERED if at % 400 == 6 else text, ""

    alone = list(reference.check(rows()))
    assert [match.key for match in alone if match.against == "bench/test/hens"] == [
        str(at) for at in range(1300) if at % 400 in (5, 6)
    ]
    assert list(reference.check(rows(), workers=2)) == alone
    taken.clear()
    next(reference.check(rows()))
    assert len(taken) < 1300, "rows are read as they are needed"


def _die(*_: object) -> None:
    os._exit(1)


def test_a_worker_that_dies_is_told(reference: Reference) -> None:
    from upwell.curation.contamination.streaming import in_order

    with pytest.raises(UpwellError, match="died"):
        list(in_order(_die, None, range(5), 2))


def test_neighbours_by_vectors_are_off_unless_a_function_is_given() -> None:
    asked: list[int] = []

    def embed(texts: Sequence[str]) -> np.ndarray:
        asked.append(len(texts))
        return np.array([[len(text), text.count("hens"), text.count("Hühner")] for text in texts], np.float32)

    questions = [problem("hens", HENS), *(problem(f"o{at}", text) for at, text in enumerate(filler(30, 0)))]
    translated = "Hühner " * 2 + "hens " * 40
    assert found(Reference.of(questions), translated) is None
    reference = Reference.of(questions, Settings(embedding=0.5), embed)
    rows: list[Item] = [("x", translated, ""), ("nothing", "", "")]
    match = next(reference.check(rows))
    assert match.key == "x" and match.method == "embedding" and 0.5 <= match.score <= 1.0001
    assert asked == [31, 2]
    assert list(reference.check(rows * 600, workers=2)) == list(reference.check(rows * 600))


HOSTILE = {
    "words": "eggs " * 60_000,
    "letters": "x" * 1_500_000,
    "symbols": "x + " * 60_000,
    "marks": "e" + "\u0301\u0327" * 300_000,
    "surrogates": "\ud800 eggs are left" * 10_000,
    "controls": "\0\x1b[31m\u202e" * 100_000,
}


def test_hostile_rows_take_seconds_and_hide_nothing(reference: Reference) -> None:
    began = time.process_time()
    rows: list[Item] = [(kind, text, text) for kind, text in HOSTILE.items()]
    rows += [("hidden", f"{HOSTILE['words']} {HENS} {HOSTILE['symbols']}", "")]
    matches = list(reference.nearest(rows))
    assert [match.key for match in matches if match.method] == ["hidden"]
    assert time.process_time() - began < 60  # quadratic work takes hours


def test_hostile_benchmarks_do_not_break_the_reference() -> None:
    odd = [
        problem("empty", ""),
        problem("dots", "..."),
        problem("one", "x"),
        problem("long", "why not " * 100_000),
    ]
    assert len(Reference.of(odd)) == 2
    assert list(Reference.of([]).check([("a", HENS, SOLUTION)])) == []
    reference = Reference.of([*odd, problem("hens", HENS)])
    assert found(reference, HENS) is not None and found(reference, "y") is None


def test_the_audit_escapes_everything(reference: Reference, tmp_path: Path) -> None:
    evil = f'=HYPERLINK("x") <script>alert(1)</script> </td> {HENS} \ud800'
    rows = [((f"k{at}", text, ""), "train") for at, text in enumerate(filler(30, 9))]
    rows += [(("-evil", evil, ""), "test"), (("+hens", HENS, ""), ""), (("@none", "", ""), "test")]
    audit = Audit.of(reference, rows, shown=20)
    assert audit.rows == 33 and audit.removed == {"exact": 1, "span": 1}
    assert audit.seeded["test-seeded", True] == 1 and audit.seeded["train-seeded", False] >= 25
    assert audit.would_remove["span", 0.4] >= audit.would_remove["span", 1.0] >= 1
    audit.write_html(tmp_path / "audit.html")
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "<script" not in page and html.escape("<script>alert(1)</script>") in page and "src=" not in page
    assert page.count("<section") == 20 and "test-seeded" in page
    audit.write_csv(tmp_path / "audit.csv")
    with (tmp_path / "audit.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.reader(file))
    assert len(cells) == 21 and {len(row) for row in cells} == {len(cells[0])}
    assert not [cell for row in cells for cell in row if cell.lstrip()[:1] in tuple("=+-@")]
    assert [row[0] for row in cells[1:3]] == ["'+hens", "'-evil"]


def test_counts_at_a_bound_are_those_of_a_check_with_it(reference: Reference) -> None:
    texts = [HENS, RENUMBERED, RENAMED, REWORDED, *filler(50, 4)]
    audit = Audit.of(reference, [((f"{at}", text, ""), "") for at, text in enumerate(texts)])
    assert [audit.would_remove["masked", bound] for bound in (0.4, 0.95)] >= [2, 2]
    assert audit.would_remove["exact", 1.0] == 1 and audit.would_remove["renamed", 0.9] == 3
    for method in ("span", "ngram", "masked", "renamed", "template", "reworded"):
        counts = [audit.would_remove[method, bound] for bound in GRID]
        assert counts == sorted(counts, reverse=True) and counts[0] >= 1


@needs_data
def test_symbolic_variants_of_gsm8k_are_caught_and_its_train_questions_are_not() -> None:
    pytest.importorskip("reasoning_gym")
    reference = Reference.of([problems.load("gsm8k")])
    variants = problems.load("procedural:gsm_symbolic", limit=200)
    caught = list(reference.check((each.key, each.question, "") for each in variants))
    assert len(caught) >= 180  # things are replaced too, and some sentences
    train = problems.load("gsm8k", split="train", limit=1000)
    lost = list(reference.check((each.key, each.question, each.solution or "") for each in train))
    assert len(lost) <= 5, "half a percent"
