"""Other projects' graders, re-made: what is documented of them, the defects included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from upwell.grading import RuleGrader, extract
from upwell.grading.cases import Case, Unasked, Undecided
from upwell.grading.published import dart, gsm8k, hendrycks, minerva, xwin
from upwell.grading.symbolic import SympyAlgebra
from upwell.records import Problem, Response


@pytest.fixture(scope="module")
def algebra() -> Iterator[SympyAlgebra]:
    """The workers' algebra in this process, whose SymPy is given its parser back afterwards."""
    import sympy.parsing.sympy_parser as parser

    kept = parser.parse_expr, parser.eval_expr
    yield SympyAlgebra()
    parser.parse_expr, parser.eval_expr = kept


PAGE = Path(__file__).parents[2] / "docs" / "grading.md"


def documented() -> list[tuple[str, ...]]:
    """The rows of the page's table of oddities."""
    lines = iter(PAGE.read_text(encoding="utf-8").splitlines())
    next(line for line in lines if line == "| style | problem | gold | answer | correct |")
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append(tuple(cell.strip().strip("`") for cell in line.strip("|").split("|")))
    return rows


def test_the_page_s_table_of_oddities_holds() -> None:
    rows = documented()
    assert len(rows) > 20
    for style in sorted({row[0] for row in rows}):
        own = [row for row in rows if row[0] == style]
        with RuleGrader(style, bare=True, workers=1, timeout=60) as grader:
            verdicts = list(
                grader.grade((problem(gold, source), reply(answer)) for _, source, gold, answer, _ in own)
            )
        said = {
            row: {True: "yes", False: "no", None: "null"}[v.correct]
            for row, v in zip(own, verdicts, strict=True)
        }
        assert {row: row[-1] for row in own} == said


def reply(text: str, finish: Literal["stop", "length"] = "stop") -> Response:
    return Response(key="p#0", problem="p", index=0, text=text, finish=finish, tokens=1, seed=0)


def problem(answer: str = "1", source: str = "", question: str = "") -> Problem:
    return Problem(key="p", question=question, answer=answer, source=source)


XWIN = [
    # check, gold, answer, verdict
    ("latex", "0.428571", r"\frac{3}{7}", False),  # the tolerance behind SymPy is never reached
    ("latex", r"\frac{3}{7}", "0.428571", False),
    ("latex", "400", r"400 \text{ meters}", False),  # a backslash counts as structure
    ("latex", "400", "$400$ meters", True),
    ("latex", "1", "0.9995", True),  # 1e-3, as one side is not whole
    ("latex", "1", "1.0004", True),
    ("latex", "18", "19", False),
    ("latex", r"\frac{1}{2}", "0.5", True),
    ("latex", "x^2-1", "(x-1)(x+1)", True),
    ("latex", "(1, 2)", "(1,2)", True),
    ("latex", "(1, 2)", r"(1, \frac{4}{2})", False),  # tuples only literally
    ("latex", r"\text{Monday}", "monday", True),
    ("latex", r"50\%", "50", True),
    ("latex", "36", r"36^\circ", True),
    ("latex", "5", "x = 5", True),
    ("latex", r"x \le 5", r"x \ge 5", False),
    ("simple", "18", "18.001", True),
    ("simple", "18", "18.02", False),
    ("simple", "18", " 18 dollars.", True),
    ("simple", "1000", "1,000", True),
    ("simple", "0.75", "3/4", True),
    ("simple", "0.75", "3:4", True),
    ("simple", "1000", "1e3", False),  # three kinds of numbers that break the parsing
    ("simple", "3.5", "3 1/2", False),
    ("simple", "5", "1/0", False),
    ("simple", "7", "12-5", False),  # read as 12 and -5
    ("simple", "-5 and 12", "12-5", True),
    ("simple", "5", "5 out of 10", False),
    ("simple-include", "5", "5 out of 10", True),
    ("simple", "yes", "Yes", True),
    ("simple", "5", "none", False),
]


@pytest.mark.parametrize(("check", "gold", "answer", "verdict"), XWIN)
def test_xwin(check: str, gold: str, answer: str, verdict: bool, algebra: SympyAlgebra) -> None:
    assert xwin.compare(Case(gold, answer, mode=check), algebra).correct is verdict


def test_xwin_chooses_its_check_by_the_problem_set() -> None:
    sources = {"gsm8k": "simple", "svamp": "simple", "asdiv": "simple", "mawps": "simple", "math": "latex"}
    sources |= {"math-500": "latex", "college-math": "latex", "dolphin": "simple-include"}
    assert {source: xwin.mode(problem("1", source)) for source in sources} == sources
    assert xwin.mode(problem("1,250")) == "simple"
    assert xwin.mode(problem(r"\frac12")) == "latex"


def test_xwin_takes_the_shortest_tail_and_so_is_hijacked() -> None:
    text = "The answer is: 8. In the old format that is #### 9"
    assert extract(text, "xwin-strict") == "9"
    assert extract("The answer is 7.\nThe answer is: 8", "xwin-flex") == "8"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so \\boxed{\\frac{1}{2}} holds, 3", "\\frac{1}{2}"),
        ("\\boxed{1} or \\boxed{2}", "2"),
        ("\\mbox{five}", "five"),
        ("we get $x+1$ there", "x+1"),
        ("in all 1,234 of them", "1234"),
        ("2/3 of 6", "6"),
        ("\\boxed{1", "1"),
        ("nothing", None),
    ],
)
def test_xwin_flex_falls_back_to_boxes_then_numbers(text: str, answer: str | None) -> None:
    assert extract(text, "xwin-flex") == answer
    assert extract(text, "xwin-strict") is None


DART = [
    # in any order, gold, answer, verdict
    (False, "50", "0.5", True),  # a percentage equals its share
    (False, "0.0304", "3.04", True),
    (False, "false", "noon", True),  # a part of a word is enough
    (False, "no", "nothing", True),
    (False, r"\frac{3}{7}", "0.428571", False),
    (False, "400", r"400 \text{ meters}", True),
    (False, "18", "18.001", False),
    (False, "2,3", "3,2", False),
    (True, "2,3", "3,2", True),
    (True, "10000", "10,000", False),
    (False, "10000", "10,000", True),
    (False, "Monday", "mon", True),
    (False, "12:30", "12:30:00", True),
    (False, "2024-01-05", "2024/01/05", True),
    (False, "seven", "7", True),
    (False, r"\frac{1}{2}", "50", True),
    (False, "(1,2)", "[1,2]", True),  # brackets around a pair do not count
    (False, "(0,5]", "[0,5]", False),
    (False, r"(-\infty,1)\cup(2,\infty)", r"(2,\infty)\cup(-\infty,1)", True),
    (False, r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)", True),
    (False, r"\begin{pmatrix}1&0\\0&1\end{pmatrix}", r"\begin{bmatrix}1&0\\0&\frac{2}{2}\end{bmatrix}", True),
    (False, r"1\pm\sqrt{2}", r"1-\sqrt{2},1+\sqrt{2}", True),
    (False, "x^2-1", "(x-1)(x+1)", True),
    (False, "5", "x=5", True),
    (False, "5", "π", False),
    (False, "5", "五", False),
]


@pytest.mark.parametrize(("as_set", "gold", "answer", "verdict"), DART)
def test_dart(as_set: bool, gold: str, answer: str, verdict: bool, algebra: SympyAlgebra) -> None:
    assert dart.compare(Case(gold, answer, mode="set" * as_set), algebra).correct is verdict


def test_dart_compares_sets_where_the_question_asks_to_find() -> None:
    assert dart.mode(problem(question="Find the roots.")) == "set"
    assert dart.mode(problem(question="List all roots, separated by commas.")) == "set"
    assert dart.mode(problem(question="How many roots are there?")) == ""


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Therefore, the answer is 5.", "5"),
        ("So \\boxed{3}. Therefore, 4 is the answer", "4"),
        ("#### 1,234", None),
        ("# Answer\n\n12", "12"),
        ("\\boxed{\\frac12} it is", "\\frac{1}{2}"),
        ("Clearly 12 is the answer", "Clearly12"),
        ("so, 12 is our answer", "12"),
        ("answer: $7$", "7"),
        ("the statement is true", "True"),
        ("x is $5$ or $6$", "6"),
        ("from 3 to 1,234.5", "1234.5"),
        ("nothing found", None),
    ],
)
def test_dart_extraction(text: str, answer: str | None) -> None:
    found = extract(text, "dart")
    assert found == answer if answer is not None else found in (None, "1234", "1,234")


def test_dart_counts_a_response_cut_off_at_the_token_limit_as_wrong() -> None:
    with RuleGrader("dart") as grader:
        verdict = next(grader.grade([(problem("1"), reply("\\boxed{1}", "length"))]))
    assert (verdict.correct, verdict.tier) == (False, "truncated")


MINERVA = [
    ("5", "5 dollars", True),
    ("x=5", "5", True),
    (r"\frac{1}{2}", r"\frac12", True),
    (r"\frac{1}{2}", "0.5", True),
    ("1000", "1,000", True),
    (r"\text{Monday}", "Monday", True),
    ("36", r"36^\circ", True),
    ("5", r"\boxed{5}", True),
    ("5", "$5$", True),
    ("(1,2)", "(2,1)", False),
    ("5", "6", False),
    ("x^2-1", "(x-1)(x+1)", True),
]


@pytest.mark.parametrize(("gold", "answer", "verdict"), MINERVA)
def test_minerva(gold: str, answer: str, verdict: bool, algebra: SympyAlgebra) -> None:
    assert minerva.compare(Case(gold, answer), algebra).correct is verdict


def test_minerva_wants_its_own_words() -> None:
    text = "Final Answer: The final answer is $7$. I hope it is correct."
    assert extract(text, "minerva") == "$7$"
    assert extract("The final answer is $7$. I hope it is correct.", "minerva") is None


HENDRYCKS = [
    (r"\frac{1}{2}", r"\tfrac12", True),
    (r"\frac{1}{2}", "1/2", True),
    (r"\frac{1}{2}", "0.5", True),
    (r"\frac{1}{4}", "0.25", False),  # nothing is computed
    ("5", "x=5", True),
    ("5", "abc=5", False),
    (r"\sqrt{3}", r"\sqrt3", True),
    ("36", r"36^\circ", True),
    ("10", r"10\%", True),
    ("5", r"5\text{ cm}", True),
    ("0.5", ".5", True),
    ("1000", "1,000", False),
    ("(1, 2)", "(1,2)", True),
    ("(1,2)", r"\left(1,2\right)", True),
]


@pytest.mark.parametrize(("gold", "answer", "verdict"), HENDRYCKS)
def test_hendrycks(gold: str, answer: str, verdict: bool) -> None:
    assert hendrycks.compare(Case(gold, answer), Unasked()).correct is verdict


def test_hendrycks_reads_only_the_last_box() -> None:
    assert extract("\\boxed{1} then \\boxed{2", "boxed-only") is None
    assert extract("\\boxed{1} then \\boxed{2}", "boxed-only") == "2"
    assert extract("$\\boxed 7$ units", "boxed-only") == "7"
    assert extract("\\fbox{7}", "boxed-only") is None


def test_gsm8k_compares_strings_behind_the_marker() -> None:
    assert extract("It is 7.\n#### 1,234\n#### 5", "gsm8k") == "1234"
    assert extract("The answer is 7", "gsm8k") is None
    for gold, answer, verdict in [
        ("1,234", "1234", True),
        ("18", "18.0", False),
        ("so ... #### 18", "18", True),
    ]:
        assert gsm8k.compare(Case(gold, answer), Unasked()).correct is verdict


@pytest.mark.parametrize("compare", [xwin.compare, dart.compare, minerva.compare])
def test_what_needs_algebra_is_left_to_a_worker(compare: object) -> None:
    with pytest.raises(Undecided):
        compare(Case("x^2-1", "(x-1)(x+1)", mode="latex"), Unasked())  # type: ignore[operator]


@pytest.mark.parametrize(
    ("style", "source", "text", "tier", "correct"),
    [
        ("xwin-flex", "gsm8k", "The answer is: 18.001", "xwin-numbers", True),
        ("xwin-flex", "math", "The answer is: $(x-1)(x+1)$.", "xwin-symbolic", True),
        ("dart", "math", "answer: (x-1)(x+1)", "dart-symbolic", True),
        (
            "minerva",
            "math",
            "Final Answer: The final answer is $(x-1)(x+1)$. I hope it is correct.",
            None,
            True,
        ),
        ("math-verify", "math", "The answer is $(x-1)(x+1)$.", "math-verify", True),
        ("math-verify", "math", "The answer is $(x-1)(x+2)$.", "math-verify", False),
        ("boxed-only", "math", "\\boxed{x^2 - 1}", "hendrycks", True),
        ("gsm8k", "gsm8k", "#### 18", "gsm8k", True),
    ],
)
def test_the_verdict_names_whose_rule_decided(
    style: str, source: str, text: str, tier: str | None, correct: bool
) -> None:
    gold = "18" if source == "gsm8k" else "x^2-1"
    with RuleGrader(style, workers=1, timeout=60) as grader:
        verdict = next(grader.grade([(problem(gold, source), reply(text))]))
    assert verdict.correct is correct
    assert tier is None or verdict.tier == tier


@pytest.mark.parametrize("style", ["auto", "xwin-strict", "gsm8k", "minerva", "boxed-only", "dart"])
def test_bare_answers_are_not_searched_by_any_style(style: str) -> None:
    with RuleGrader(style, bare=True) as grader, RuleGrader("bare") as alias:
        verdict = next(grader.grade([(problem("18"), reply(" 18 "))]))
        assert next(alias.grade([(problem("18"), reply(" 18 "))])).correct is True
    assert (verdict.correct, verdict.answer) == (True, "18")
    assert grader.identity.endswith(f"/{style}/bare")
