"""The layouts of other programs' output files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from upwell.measurement.dumps.lines import ABSENT, at


class Format(NamedTuple):
    """The layout of a program's output."""

    name: str
    marks: tuple[str, ...]
    """Fields by which its lines are known."""
    fields: Mapping[str, str]
    copies: str | None = None
    """A field whose values tell apart lines that repeat the same samples; the first value's lines count."""


FORMATS = (
    Format(
        "lm-evaluation-harness samples", ("doc_id", "resps", "target"),
        {"gold": "target", "response": "resps", "problem": "doc_id", "question": "doc.question"},
        "filter",
    ),
    Format(
        "inspect log", ("epoch", "target", "output.choices"),
        {"gold": "target", "response": "output.choices.message.content", "problem": "id", "question": "input",
         "finish": "output.choices.stop_reason"},
    ),
    Format(
        "NeMo-Skills", ("expected_answer", "generation"),
        {"gold": "expected_answer", "response": "generation", "problem": "problem", "question": "problem"},
    ),
    Format(
        "DART-Math", ("query", "ref_ans", "resp"),
        {"gold": "ref_ans", "response": "resp", "problem": "query", "question": "query", "finish": "finish_reason",
         "correct": "correct"},
    ),
    Format(
        "Qwen2.5-Math", ("idx", "gt", "code"),
        {"gold": "gt", "response": "code", "problem": "idx", "question": "question", "correct": "score"},
    ),
    Format(
        "OpenAI batch output", ("custom_id", "response.body"),
        {"response": "response.body.choices.message.content", "problem": "custom_id",
         "finish": "response.body.choices.finish_reason"},
    ),
)  # fmt: skip


def known(line: Mapping[str, Any]) -> Format | None:
    return next(
        (one for one in FORMATS if all(at(line, mark.split(".")) is not ABSENT for mark in one.marks)), None
    )
