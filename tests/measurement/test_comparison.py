"""Two graded runs side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from upwell.errors import UsageError
from upwell.measurement import GradeSettings, grade
from upwell.measurement.comparison import compare


def run_of(folder: Path, name: str, right: dict[str, int], samples: int = 8, questions: bool = False) -> str:
    """A graded run with so many right answers out of `samples` per problem."""
    lines = [
        {"q": f"{name}/{problem}" if questions else problem, "text": f"What is {problem}?", "gold": "1",
         "outs": ["1"] * count + ["2"] * (samples - count)}
        for problem, count in right.items()
    ]  # fmt: skip
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    field = ("gold=gold", "prediction=outs", "problem=q", "question=text")
    return str(grade(str(path), GradeSettings(field=field, out=str(folder / name), workers=1)))


def test_differences_are_over_the_shared_problems_and_flips_are_told_from_chance(tmp_path: Path) -> None:
    a = run_of(tmp_path, "a", {"p": 0, "q": 4, "r": 8, "s": 3, "only-a": 8})
    b = run_of(tmp_path, "b", {"p": 8, "q": 5, "r": 8, "s": 3, "only-b": 0, "also-b": 0})
    found = compare(a, b)
    assert (found.shared, found.only_first, found.only_second) == (4, 1, 2)
    by_name = {(line.name, line.k): line for line in found.lines}
    ratio = by_name["pass_ratio", None]
    assert (ratio.first, ratio.second) == (15 / 32, 24 / 32)
    assert ratio.difference.value == pytest.approx(9 / 32)
    assert (ratio.difference.better, ratio.difference.worse) == (2, 0)
    assert by_name["pass@k", 8].first == 0.75 and by_name["maj@k", 8].second == pytest.approx(
        (1 + 1 + 1 + 0) / 4
    )
    assert [(flip.key, flip.first, flip.second, flip.sure) for flip in found.flips] == [
        ("p", (0, 8), (8, 8), True),
        ("q", (4, 8), (5, 8), False),
    ]
    assert (found.gained, found.lost) == (1, 0)


def test_problems_named_differently_are_matched_by_question(tmp_path: Path) -> None:
    a = run_of(tmp_path, "a", {"p": 0, "q": 4}, questions=True)
    b = run_of(tmp_path, "b", {"q": 4, "p": 8}, questions=True)
    found = compare(a, b, ks=(1, 4))
    assert found.shared == 2 and "matched by question" in found.notes[0]
    assert found.flips[0].first == (0, 8) and found.flips[0].second == (8, 8)
    assert [(line.name, line.k) for line in found.lines] == [
        ("pass_ratio", None),
        ("pass@k", 4),
        ("maj@k", 4),
    ]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    a = run_of(tmp_path, "a", {"p": 0, "q": 4})
    b = run_of(tmp_path, "b", {"x": 0, "y": 4})
    with pytest.raises(UsageError, match="share 0 of 2 and 2 problems"):
        compare(a, b)
    with pytest.raises(UsageError, match="--k 9: every shared problem has 8"):
        compare(a, a, ks=(9,))
    with pytest.raises(UsageError, match="no run at"):
        compare(a, str(tmp_path / "none"))
