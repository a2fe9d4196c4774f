"""Small benchmark folders and a scripted model for the evaluating tests. The questions are made up here."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from upwell.engines.base import Request
from upwell.engines.scripted import ScriptedEngine

XWIN = "Xwin-LM/Xwin-Math-7B-V1.1"
DART = "hkust-nlp/dart-math-mistral-7b-uniform"

WORD_PROBLEMS = [
    ("Ada bakes 48 rolls and sells half of them. How many rolls does Ada have left?",
     "She sells 48/2=<<48/2=24>>24 rolls.\nShe has 48-24=<<48-24=24>>24 left.\n#### 24"),
    ("A farmer has 37 hens and buys 15 more. Each hen costs $9. What is the flock worth in dollars?",
     "There are 37 + 15 = <<37+15=52>>52 hens.\nThey are worth 52 * 9 = $<<52*9=468>>468.\n#### 468"),
    ("Tom reads 33 pages on one evening and 41 on the next. The book has 200 pages. How many are left?",
     "He has read 33+41=<<33+41=74>>74 pages.\nThere are 200-74=<<200-74=126>>126 left.\n#### 126"),
    ("A ticket costs $14 and a drink $6. What do 13 people pay who each take both?",
     "Each pays 14+6=$<<14+6=20>>20.\nTogether that is 20*13=$<<20*13=260>>260.\n#### 260"),
]  # fmt: skip
COMPETITION = [
    ("What is $1+1$?", "It is $\\boxed{2}$.", "Level 1", "Prealgebra"),
    ("Compute $2^5$.", "We get $\\boxed{32}$.", "Level 2", "Algebra"),
    ("Find the roots of $x^2-3x+2$.", "They are $\\boxed{1, 2}$.", "Level 2", "Algebra"),
]


def write_bench(folder: Path) -> Path:
    """A data folder with `gsm8k`, `math`, `theoremqa` and `olympiadbench`, and nothing else."""
    rows: dict[str, list[dict[str, object]]] = {
        "gsm8k/test.jsonl": [{"question": q, "answer": a} for q, a in WORD_PROBLEMS],
        "math/test.jsonl": [
            {"problem": p, "solution": s, "level": level, "type": kind} for p, s, level, kind in COMPETITION
        ],
    }
    for name, lines in rows.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    tables = {
        "theoremqa/theoremqa.json": [
            {"Question": "How long?", "Answer": 50.0, "Answer_type": "float", "field": "Physics"},
            {"Question": "Is it so?", "Answer": True, "Answer_type": "bool", "field": "Mathematics"},
        ],
        "olympiadbench/OE_TO_maths_en_COMP.json": [
            {"question": "How far?", "final_answer": ["20"], "error": "0.5", "subfield": "Algebra"}
        ],
    }
    for name, table in tables.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(table), encoding="utf-8")
    return folder


class Model:
    """A scripted engine that keeps what it was asked."""

    def __init__(self, say: Callable[[Request], str] | None = None, identity: str = "scripted") -> None:
        self.asked: list[Request] = []
        self._say = say or guess
        self.engine = ScriptedEngine(self._reply, identity)

    def _reply(self, request: Request) -> str:
        self.asked.append(request)
        return self._say(request)


def guess(request: Request) -> str:
    """An answer that follows from the request's seed."""
    return f"So it is.\nThe answer is: {random.Random(request.seed).randrange(60)}"


def knows(answers: dict[str, str]) -> Callable[[Request], str]:
    """Answers by a piece of the question; what it does not know it says so."""

    def say(request: Request) -> str:
        known = [answer for piece, answer in answers.items() if piece in request.prompt]
        return f"The answer is: {known[0]}" if known else "I do not know."

    return say
