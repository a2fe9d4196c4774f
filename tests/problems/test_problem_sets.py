"""What holds of every set: limits, digests, self-check texts, answers as text."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from upwell import problems
from upwell.errors import UsageError
from upwell.problems.answers import after_hashes, last_boxed, text_of, without_dollars, without_unit
from upwell.records import Problem


@pytest.fixture
def sorted_set(tmp_path: Path) -> str:
    """A file whose rows are sorted by level, as benchmark files often are."""
    rows = [{"question": f"What is {i}?", "answer": i, "level": i // 100} for i in range(1000)]
    path = tmp_path / "sorted.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_a_larger_limit_adds_to_a_smaller_one(sorted_set: str) -> None:
    chosen = {limit: problems.load(sorted_set, limit=limit).problems for limit in (1, 10, 100, 999)}
    assert [len(part) for part in chosen.values()] == [1, 10, 100, 999]
    assert chosen[10] == chosen[999][:10]
    assert chosen[100] == chosen[999][:100]
    assert problems.load(sorted_set, limit=100, seed=7).problems == chosen[100]


def test_a_limit_samples_every_part_of_a_sorted_file(sorted_set: str) -> None:
    levels = [problem.level for problem in problems.load(sorted_set, limit=100)]
    # 100 of 1,000 without replacement: each of ten levels gets 10 +- 3 (one standard deviation).
    assert all(1 <= levels.count(str(level)) <= 22 for level in range(10))


def test_the_limit_is_told_and_the_digest_follows_the_problems(sorted_set: str) -> None:
    whole, part = problems.load(sorted_set), problems.load(sorted_set, limit=10)
    assert (len(part), part.total) == (10, 1000)
    assert any("10 of 1,000 problems" in note for note in part.notes)
    assert not any("limit" in note for note in problems.load(sorted_set, limit=5000).notes)
    assert whole.digest != part.digest == problems.load(sorted_set, limit=10).digest
    assert whole.files == part.files


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused(sorted_set: str, limit: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        problems.load(sorted_set, limit=limit)


def test_self_check_texts() -> None:
    plain = Problem(key="a", question="q", answer="\\frac{1}{2}")
    assert problems.self_check_texts(plain) == ["The answer is: \\frac{1}{2}", "\\boxed{\\frac{1}{2}}"]
    for solution in ("so\n#### 5", "hence \\boxed{5}."):
        assert problems.self_check_texts(Problem(key="a", question="q", answer="5", solution=solution)) == [
            solution
        ]
    unmarked = Problem(key="a", question="q", answer="5", solution="clearly five")
    assert problems.self_check_texts(unmarked)[0] == "The answer is: 5"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (145.0, "145"),
        (0.5, "0.5"),
        (Decimal("0.10"), "0.1"),
        (Decimal("1E+16"), "10000000000000000"),
        (12345678901234567890123, "12345678901234567890123"),
        (-0.0, "0"),
        (1e-7, "0.0000001"),
        (Decimal("1e999"), "1E+999"),
        (float("nan"), None),
        (None, None),
        (True, "True"),
        ([Decimal("0.333"), 2], "[0.333, 2]"),
        (" x ", "x"),
        ("\ud800", "?"),
    ],
)
def test_cells_become_text_without_losing_a_digit(value: object, text: str | None) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{1} and \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"$\boxed 7$.", "7"),
        (r"\fbox{ B }", "B"),
        (r"\boxed{1\\}", "1\\\\"),
        (r"\boxed{never closed", None),
        (r"\boxed", None),
        (r"\boxedX{1}", None),
        ("none", None),
    ],
)
def test_last_boxed(text: str, content: str | None) -> None:
    assert last_boxed(text) == content


def test_small_readers_of_golds() -> None:
    assert after_hashes("a #### 1\n#### 1,234,567") == "1234567"
    assert after_hashes("#### 1,2") == "1,2"
    assert after_hashes("none") is None
    assert without_dollars("$1$, $2$") == "1, 2"
    assert without_dollars("$h=4$.") == "h=4"
    assert without_dollars("$$\nx\n$$") == "x"
    assert without_dollars("$x=0$ or $x=2$") == "$x=0$ or $x=2$"
    assert without_dollars("$221,$8$") == "221,8"
    assert without_dollars("\\$ 5") == "\\$ 5"
    assert without_unit("9 (apples)") == "9"
    assert without_unit("-(1/3)") == "-(1/3)"
    assert without_unit("5:45") == "5:45"
