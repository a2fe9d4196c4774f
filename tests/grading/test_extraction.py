"""Where the answer in a response is found, style by style."""

from __future__ import annotations

import time

import pytest

from upwell.errors import UsageError
from upwell.grading import extract, styles
from upwell.grading.style import STYLES

AUTO = [
    ("So it is \\boxed{12}.", "12"),
    ("First \\boxed{3}, but wait: \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
    ("\\boxed{(1, 2)} and \\boxed{(3, 4)}", "(1, 2), (3, 4)"),
    ("$x = \\boxed{-1}$ or $x = \\boxed{4}$", "-1, 4"),
    ("\\boxed{8} and then \\boxed{9}", "9"),
    ("\\fbox{7}", "7"),
    ("\\boxed 7", "7"),
    ("The answer is 42.", "42"),
    ("The answer is: $18$ dollars.", "$18$"),
    ("The final answer is $\\frac{3}{4}$. I hope it is correct.", "$\\frac{3}{4}$"),
    ("**Answer:** 17", "17"),
    ("Answer: 3.5 hours\nThanks for reading!", "3.5 hours"),
    ("Mr. Li has 4. The answer is Mr. Li.", "Mr. Li"),
    ("so he pays 5.\nA: 5", "5"),
    ("text #### 72", "72"),
    ("text\n# Answer\n\n2000", "2000"),
    ('{"reasoning": "2 + 2 = 4", "answer": "4"}', "4"),
    ("She has 3 cats and 12 dogs, 15 animals in all.", "15"),
    ("Hence $x \\le 5$ as wanted", "$x \\le 5$"),
    ("所以，答案是 36。", "36"),
    ("I think it is not A, so it must be B", "B"),
    ("La respuesta es 14.", "14"),
    ("\u202eThe answer is\u200b 6", "\u200b 6"),
]


@pytest.mark.parametrize(("text", "answer"), AUTO)
def test_auto_finds_the_final_answer(text: str, answer: str) -> None:
    assert extract(text) == answer.strip()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n ",
        "I do not know.",
        "We computed 12, so the answer is \\boxed{1",
        "We need \\boxed{\\frac{1}{",
        "The final answer is $\\frac{",
        "write the result in \\boxed{} please",
    ],
)
def test_no_answer_or_one_cut_off_is_none(text: str) -> None:
    assert extract(text) is None


def test_a_complete_box_stands_before_one_that_was_cut_off() -> None:
    assert extract("\\boxed{5}. Let me check again: \\boxed{5") == "5"


def test_text_behind_the_answer_does_not_hijack_it() -> None:
    assert extract("The answer is: 8. (In the other script this would be #### 9)") == "8"


def test_a_final_statement_behind_an_intermediate_box_wins() -> None:
    text = "Interest: \\boxed{255}. In all 10,455. Final Answer: The final answer is $10,455$. I hope it is correct."
    assert extract(text) == "$10,455$"


def test_boxed_takes_only_boxes() -> None:
    assert extract("The answer is 7", "boxed") is None
    assert extract("\\boxed{7} so the answer is 8", "boxed") == "7"


def test_last_number() -> None:
    assert extract("from 3 to 1,234.5 and on", "last-number") == "1,234.5"
    assert extract("nothing", "last-number") is None


def test_bare_is_the_whole_text() -> None:
    assert extract(" 3 apples ", "bare") == "3 apples"


def test_an_unknown_style_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no grading style `boxd`") as error:
        extract("1", "boxd")
    assert "auto" in str(error.value.hint)


MEGABYTES = 10_000_000
LONG = {
    "words": "so we see that " * (MEGABYTES // 15),
    "numbers": "12 " * (MEGABYTES // 3),
    "open boxes": "\\boxed{" * (MEGABYTES // 7),
    "boxes": "\\boxed{1}" * (MEGABYTES // 9),
    "braces": "{" * MEGABYTES,
    "dollars": "$" * MEGABYTES,
    "answers": "answer " * (MEGABYTES // 7),
    "answer is": "The answer is " * (MEGABYTES // 14),
    "markers": "####" * (MEGABYTES // 4),
    "backslashes": "\\" * MEGABYTES,
    "spaces": " " * MEGABYTES,
    "newlines": "\n" * MEGABYTES,
    "full-width": "答案是" * (MEGABYTES // 9),
    "A:": "A: \n" * (MEGABYTES // 4),
    "brackets": "\\(" * (MEGABYTES // 2),
    "digits": "1" * MEGABYTES,
    "grouped": "1," * (MEGABYTES // 2),
    "thousands": "123," * (MEGABYTES // 4),
    "empty markers": "#### " * (MEGABYTES // 5),
    "bare boxes": "\\boxed " * (MEGABYTES // 7),
    "dart's words": "herefore is the answer is the statement " * (MEGABYTES // 40),
    "minerva's words": "Final Answer: The final answer is " * (MEGABYTES // 34),
    "minus signs": "-" * MEGABYTES,
    "fractions": "\\frac{1}{" * (MEGABYTES // 9),
    "formulas": "$x$" * (MEGABYTES // 3),
    "right to left": "\u202e" * (MEGABYTES // 3),
    "NULs": "\0" * MEGABYTES,
}


DISTINCT = {STYLES[name].extract: name for name in styles()}.values()


@pytest.mark.parametrize("name", LONG)
def test_ten_megabytes_take_no_time(name: str) -> None:
    for style in DISTINCT:
        start = time.process_time()
        extract(LONG[name], style)
        extract(LONG[name] + "\\boxed{7}", style)
        assert time.process_time() - start < 2.0, style
