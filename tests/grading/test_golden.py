"""The golden table: a changed verdict shows as a failed row, and as a diff of the table when it was meant."""

from __future__ import annotations

import json
from pathlib import Path

from upwell.grading import RuleGrader
from upwell.records import Problem, Response

TABLE = Path(__file__).parents[1] / "golden" / "answers.jsonl"


def test_golden_table() -> None:
    rows = [json.loads(line) for line in TABLE.read_text(encoding="utf-8").splitlines()]
    assert len(rows) > 300
    pairs = [
        (
            Problem(key=str(number), question="", answer=row["gold"]),
            Response(
                key=f"{number}#0", problem="", index=0, text=row["answer"], finish="stop", tokens=1, seed=0
            ),
        )
        for number, row in enumerate(rows)
    ]
    with RuleGrader("bare", workers=1, timeout=60) as grader:
        verdicts = list(grader.grade(pairs))
    changed = [
        f"{row['why']}: {row['gold']!r} and {row['answer']!r}: {verdict.correct} ({verdict.tier}), not {row['correct']}"
        for row, verdict in zip(rows, verdicts, strict=True)
        if bool(verdict.correct) is not row["correct"] or verdict.tier != row["tier"]
    ]
    assert not changed, "\n".join(changed)
