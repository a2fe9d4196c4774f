"""The rows that the page holds: an index of all problems, and chunks of responses opened on demand.

The index is read when the page opens, so it has questions and tallies only. Responses lie in chunks that
are packed apart and unpacked when a problem of theirs is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from upwell.report.reading import LONGEST_TEXT, ProblemView, RunView, Shown
from upwell.report.text import visible

_CHUNK_CHARACTERS = 200_000
"""Text in one chunk, about: small enough to unpack unnoticed, large enough to pack well."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Responses to some problems of one run, ready to be packed."""

    run: int
    problems: tuple[str, ...]
    content: dict[str, Any]


def chunks(runs: Sequence[RunView]) -> Iterator[Chunk]:
    """The responses of all runs, in chunks of about equal size."""
    for number, run in enumerate(runs):
        content: dict[str, Any] = {}
        size = 0
        for view in run.problems:
            entry = responses_of(view, run.longest_text)
            content[view.problem.key] = entry
            size += sum(len(r["text"]) for r in entry["responses"]) + len(entry["solution"] or "")
            if size >= _CHUNK_CHARACTERS:
                yield Chunk(number, tuple(content), content)
                content, size = {}, 0
        if content:
            yield Chunk(number, tuple(content), content)


def index(runs: Sequence[RunView], plan: Sequence[Chunk]) -> dict[str, Any]:
    """All problems once, and for each run its tallies: [problem, correct, incorrect, undecided, chunk]."""
    places = {(chunk.run, key): number for number, chunk in enumerate(plan) for key in chunk.problems}
    numbers: dict[str, int] = {}
    problems: list[dict[str, Any]] = []
    described = []
    for run_number, run in enumerate(runs):
        rows = []
        for view in run.problems:
            problem = view.problem
            if problem.key not in numbers:
                numbers[problem.key] = len(problems)
                problems.append(_problem(view))
            tally = view.tally
            counts = (tally.correct, tally.incorrect, tally.undecided)
            rows.append([numbers[problem.key], *counts, places.get((run_number, problem.key), 0)])
        described.append({"name": visible(run.name), "sampled": run.shown_per_problem, "rows": rows})
    return {"problems": problems, "runs": described}


def _problem(view: ProblemView) -> dict[str, Any]:
    problem = view.problem
    tags = [f"{name} {value}" if name == "level" else value for name, value in _tags(view)]
    return {
        "key": problem.key,
        "shown_key": visible(problem.key),
        "question": _clipped(problem.question, LONGEST_TEXT)[0],
        "answer": _clipped(problem.answer, 500)[0],
        "tags": [visible(tag) for tag in tags],
    }


def _tags(view: ProblemView) -> list[tuple[str, str]]:
    found = (("level", view.problem.level), ("subject", view.problem.subject))
    return [(name, value) for name, value in found if value]


def responses_of(view: ProblemView, longest: int) -> dict[str, Any]:
    """What is shown of a problem: its worked solution and the responses, texts cut at `longest` characters."""
    solution = view.problem.solution
    return {
        "solution": None if solution is None else _clipped(solution, LONGEST_TEXT)[0],
        "responses": [_response(shown, longest) for shown in view.shown],
    }


def _response(shown: Shown, longest: int) -> dict[str, Any]:
    response, verdict = shown.response, shown.verdict
    text, whole = _clipped(response.text, longest)
    entry: dict[str, Any] = {
        "index": response.index,
        "text": text,
        "finish": response.finish,
        "tokens": response.tokens,
        "score": response.score,
        "sound": verdict.sound if verdict else None,
        "graded": verdict is not None,
        "correct": verdict.correct if verdict else None,
        "answer": None if verdict is None or verdict.answer is None else _clipped(verdict.answer, 500)[0],
        "tier": visible(verdict.tier) if verdict else "",
        "trouble": visible(verdict.trouble) if verdict and verdict.trouble else "",
    }
    return entry if whole is None else {**entry, "whole": whole}


def _clipped(text: str, longest: int) -> tuple[str, int | None]:
    """(text to show, characters of the whole where it was cut)."""
    if len(text) <= longest:
        return visible(text), None
    return visible(text[:longest]) + " …", len(text)
