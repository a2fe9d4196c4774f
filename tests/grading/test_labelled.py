"""Accuracy on labelled answer pairs that others wrote (a folder named by UPWELL_GRADING_CASES)."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from upwell.grading import RuleGrader
from upwell.records import Problem, Response

FOLDER = os.environ.get("UPWELL_GRADING_CASES", "")
CASES = Path(FOLDER) / "dev.jsonl"


@pytest.mark.skipif(
    not FOLDER or not CASES.exists(), reason="UPWELL_GRADING_CASES names no folder with dev.jsonl"
)
def test_accuracy_on_labelled_pairs() -> None:
    with CASES.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    counts: Counter[str] = Counter()
    for style, field in (("auto", "response"), ("bare", "prediction")):
        own = [row for row in rows if field in row]
        with RuleGrader(style, workers=2, timeout=60) as grader:
            verdicts = list(
                grader.grade(
                    (
                        Problem(key=row["id"], question="", answer=row["gold"]),
                        Response(
                            key=row["id"],
                            problem="",
                            index=0,
                            text=row[field],
                            finish="stop",
                            tokens=1,
                            seed=0,
                        ),
                    )
                    for row in own
                )
            )
        assert [verdict.key for verdict in verdicts] == [row["id"] for row in own]
        for row, verdict in zip(own, verdicts, strict=True):
            right = bool(verdict.correct) is row["label"]
            counts["right" if right else "false positive" if verdict.correct else "false negative"] += 1
            counts["null"] += verdict.correct is None
    assert counts["right"] / len(rows) >= 0.997
    assert counts["false positive"] <= 4
    assert counts["null"] <= 2
