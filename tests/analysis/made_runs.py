"""Graded runs, and a ladder, made up for the tests of analyses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from upwell.records import Problem, Response, Verdict, draw_key
from upwell.runs import Run


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A response with its verdict."""

    text: str = ""
    correct: bool | None = False
    answer: str | None = "1"
    finish: Any = "stop"
    tokens: int | None = 10
    prompt_tokens: int | None = None
    usd: float | None = None
    score: float | None = None
    logprob: float | None = None
    bare: bool = False


def problem(number: int, *, question: str = "", solution: str | None = None) -> Problem:
    return Problem(
        key=f"made/test/{number:05d}", question=question or f"What is {number} + 1?", answer=str(number + 1),
        solution=solution, source="made", split="test",
    )  # fmt: skip


def write_graded(
    path: Path,
    asked: Sequence[tuple[Problem, Sequence[Said]]],
    *,
    verb: str = "measure",
    finished: bool = True,
    model: str = "model",
) -> Path:
    """A run with these problems and responses."""
    with Run.open(
        path, verb=verb, settings={"model": model}, fingerprint={"made": len(asked)},
        identity={"model": {"name": model}},
    ) as run:  # fmt: skip
        run.append("problems", [one for one, _ in asked])
        responses, verdicts = [], []
        for one, said in asked:
            for index, what in enumerate(said):
                key = draw_key(one.key, index)
                responses.append(
                    Response(
                        key=key, problem=one.key, index=index, text=what.text, finish=what.finish, tokens=what.tokens,
                        prompt_tokens=what.prompt_tokens, usd=what.usd, score=what.score, logprob=what.logprob,
                        bare=what.bare,
                    )
                )  # fmt: skip
                verdicts.append(Verdict(key=key, correct=what.correct, answer=what.answer, tier="numeric"))
        run.append("responses", responses)
        run.append("verdicts", verdicts)
        if finished:
            run.finish({"metrics": [], "counts": {}, "notes": []})
    return path


def write_ladder(
    path: Path, rungs: Sequence[tuple[int, int, Sequence[tuple[Problem, Sequence[Said]]]]]
) -> Path:
    """A ladder: examples, trained tokens and what each measured run holds; the first is the base."""
    rows = []
    with Run.open(path, verb="train", settings={}, fingerprint={"ladder": "epochs"}) as run:
        for number, (examples, tokens, asked) in enumerate(rungs):
            name = "base" if not number else f"{examples}-s1"
            write_graded(path / "measured" / name / "sampled", asked)
            row: dict[str, Any] = {"rung": number, "examples": examples, "seed": 1 if number else None}
            rows.append(row | ({"trained_tokens": tokens} if number else {}))
        run.finish({"ladder": rows, "same": "epochs", "problems": "made"})
    return path


def summary_of(path: Path) -> dict[str, Any]:
    return Run.read(path).summary or {}


def fit(path: Path, **wanted: str) -> dict[str, Any]:
    """The one row of the fits that has these entries."""
    rows = [
        row for row in summary_of(path)["fits"] if all(row.get(key) == value for key, value in wanted.items())
    ]
    assert len(rows) == 1, (wanted, rows)
    return dict(rows[0])
