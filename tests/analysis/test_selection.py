"""Selectors: what each reaches of the distance, with interval, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_runs import Said, problem, summary_of, write_graded

from upwell.analysis import AnalyzeSettings, analyze
from upwell.errors import UsageError


def asked(right: int, n: int = 4, **marks: Any) -> list[Any]:
    """Problems of which every second has `right` right responses of n, the other n - 1; wrong answers agree."""
    rows = []
    for i in range(40):
        count = right if i % 2 else n - 1
        said = []
        for j in range(n):
            is_right = j < count
            said.append(
                Said(
                    correct=is_right, answer=str(i + 1) if is_right else "0",
                    **{name: (1.0 if is_right == good else 0.0) - (name == "logprob") for name, good in marks.items()},
                )
            )  # fmt: skip
        rows.append((problem(i), said))
    return rows


def run(path: Path, rows: list[Any]) -> tuple[dict[str, Any], dict[tuple[int, str], dict[str, Any]]]:
    out = analyze(
        "selection",
        [str(write_graded(path / "run", rows))],
        AnalyzeSettings(out=str(path / "out"), bootstrap=200),
    )
    found = summary_of(out)
    return found, {(row["k"], row["selector"]): row for row in found["points"]}


def test_each_selector_reaches_what_it_should(tmp_path: Path) -> None:
    found, rows = run(tmp_path, asked(1, score=True, logprob=False))
    assert rows[4, "random"]["value"] == pytest.approx(0.5) and rows[4, "oracle"]["value"] == 1.0
    assert rows[4, "majority"]["value"] == 0.5 and rows[4, "majority"]["reached"] == pytest.approx(0)
    perfect = rows[4, "best by score"]
    assert perfect["reached"] == pytest.approx(1) and perfect["reached_low"] == pytest.approx(1)
    assert rows[4, "best by log-probability"]["reached"] < -0.5
    assert {selector for _, selector in rows} == {
        "random", "oracle", "majority", "best by score", "vote weighted by score", "best by log-probability",
        "vote weighted by log-probability",
    }  # fmt: skip
    assert all(row["problems"] == 40 and row["samples"] == 160 for row in rows.values())
    text = " ".join(found["conclusions"])
    assert (
        "best by log-probability reaches -100.0 % (" in text
        and ", which is worse than a random choice" in text
    )
    assert "majority vote reaches 0.0 %" in text and "not told from a random choice" in text
    assert "best by score is better than majority vote: +50.0 points" in text


def test_majority_alone_where_nothing_scores(tmp_path: Path) -> None:
    found, rows = run(tmp_path, asked(2))
    assert {selector for _, selector in rows} == {"random", "oracle", "majority"}
    row = rows[4, "majority"]
    assert 0 < row["reached_low"] < row["reached"] < row["reached_high"] < 1
    assert any("neither scores nor log-probabilities" in note for note in found["notes"])


def test_no_distance_is_a_conclusion(tmp_path: Path) -> None:
    found, rows = run(tmp_path, [(problem(i), [Said()] * 2) for i in range(3)])
    assert rows[2, "majority"]["reached"] is None and "there is no distance" in found["conclusions"][0]


def test_verdicts_without_answers_cannot_vote(tmp_path: Path) -> None:
    rows = [(problem(i), [Said(correct=bool(j % 2), answer=None) for j in range(2)]) for i in range(3)]
    found, table = run(tmp_path, rows)
    assert (2, "majority") not in table and any("nobody can vote" in note for note in found["notes"])
    assert "nothing that the responses come with can select" in found["conclusions"][0]


def test_one_response_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 of 3 problems of"):
        run(tmp_path, [(problem(i), [Said()]) for i in range(3)])
