"""Four problems and sixteen scripted responses whose every number can be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from upwell.engines.base import Reply, Request
from upwell.engines.scripted import ScriptedEngine

PROBLEMS = [
    {"id": "a", "question": "2 + 2?", "answer": "4", "level": "1", "subject": "Algebra"},
    {"id": "b", "question": "3 + 3?", "answer": "6", "level": "2", "subject": "Geometry"},
    {"id": "c", "question": "5 + 5?", "answer": "10", "level": "2", "subject": "Algebra"},
    {"id": "d", "question": "3 + 4?", "answer": "7", "level": "1", "subject": "Geometry"},
]
ANSWERS: dict[str, list[str | None]] = {
    "a": ["4", "4", "5", "4"],
    "b": ["6", "7", "7", "8"],
    "c": ["11", "11", None, "12"],
    "d": ["7", "7", "7", "7"],
}
"""What each draw answers; None rambles on until the token limit without an answer."""
LIMIT = 20
"""`max_tokens`: words, for the scripted engine. A response with an answer has four."""


def spoken(answer: str | None) -> str:
    return "I do not know. " * LIMIT if answer is None else f"The answer is: {answer}"


def write_problems(path: Path, rows: list[dict[str, Any]] = PROBLEMS) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Pupil:
    """A scripted engine that keeps the requests it was asked."""

    def __init__(
        self, say: Callable[[Request], str | Reply] | None = None, identity: str = "scripted"
    ) -> None:
        self.asked: list[Request] = []
        self._say = say or answer_sheet
        self.engine = ScriptedEngine(self._reply, identity)

    def _reply(self, request: Request) -> str | Reply:
        self.asked.append(request)
        return self._say(request)

    @property
    def keys(self) -> list[str]:
        return [request.key for request in self.asked]


def answer_sheet(request: Request) -> str:
    """The response of `ANSWERS`; beyond its end, the answers of a problem begin again."""
    problem, _, index = request.key.rpartition("#")
    answers = ANSWERS[problem]
    return spoken(answers[int(index) % len(answers)])
