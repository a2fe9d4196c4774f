"""A verifier's scores: for each response the share of the votes that call it correct, without a reference.

Zhang et al. 2024, "Generative Verifiers" (arXiv 2408.15240), section 3: a verifier that writes its reasoning before its
verdict, sampled several times; the average of the verdicts is the score.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from upwell.measurement.judging import asking, figures
from upwell.measurement.judging.asking import Question
from upwell.measurement.judging.panel import Panel
from upwell.records import Problem, Response
from upwell.runs import Run


def score(source: Run, run: Run, verifier: Panel) -> tuple[dict[str, float], int]:
    """Scores in [0, 1] of the source's responses, by key, and how many votes are owed still as their calls failed.

    A vote that cannot be read counts as one that does not call the response correct. An empty response gets 0,
    unasked. A response of which a vote is owed has no score yet.

    Args:
        source: Holds the responses.
        run: Holds the problems and gets the votes.
        verifier: What is asked.

    Raises:
        UsageError: A problem has no question.
    """
    blank: list[str] = []
    responses: list[str] = []
    for row in source.rows("responses", Response):
        (responses if row.text.strip() else blank).append(row.key)
    asked = set(responses)
    problems = {problem.key: problem for problem in source.rows("problems", Problem)}
    asking.check_questions(problems.values())

    def questions(rows: Iterator[Response]) -> Iterator[Question]:
        for row in rows:
            if row.key in asked:
                yield asking.question(problems[row.problem], row, "score", verifier.seed)

    failed = verifier.poll(run, responses, questions(source.rows("responses", Response)))
    scores = dict.fromkeys(blank, 0.0)
    for key, votes in verifier.votes_in(run).items():
        if len(votes) == verifier.votes:
            scores[key] = sum(vote.correct is True for vote in votes) / verifier.votes
    return scores, failed


def scored(run: Run, verifier: Panel, failed: int) -> dict[str, Any]:
    """The entry `score` of `summary.json`."""
    return {
        "model": verifier.identity,
        **figures.of_votes(verifier.votes_in(run), verifier.votes),
        "failed": failed,
    }
