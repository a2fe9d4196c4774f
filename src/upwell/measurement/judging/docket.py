"""What comes before a judge, and what is made of the votes.

Rules first (table `verdicts-rules`), then the judge on what they could not decide and on a random sample of what they
did (`verdicts-judge`); last, one row per response in `verdicts`: the rules' verdict where there is one, or the judge's.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator
from statistics import median
from typing import Any, NamedTuple

import msgspec

from upwell.grading import kind as answer_kind
from upwell.grading import soundness
from upwell.measurement.judging import asking, figures
from upwell.measurement.judging.asking import Kind, Question, Vote
from upwell.measurement.judging.panel import Panel
from upwell.measurement.summary import joined
from upwell.records import Problem, Response, Verdict
from upwell.runs import Run

RULES, JUDGE, FILE = "verdicts-rules", "verdicts-judge", "verdicts-file"
NO_MAXIMUM = "no maximum"
_OF_TEXTS = ("truncated", "no_answer", "mean_tokens")
"""Metrics that do not ask what is right."""
_PROSE = 8
"""Words from which a reference that holds no formula the rules can read is prose: a proof, an explanation."""
_BATCH = 256


class Place(msgspec.Struct, frozen=True):
    """What decides how a response comes before the judge: its text stays on disk."""

    key: str
    problem: str
    points: float | None = None


class _Asked(msgspec.Struct, frozen=True):
    key: str
    answer: str
    points: float | None = None


class Docket(NamedTuple):
    """The responses that a judge is asked about."""

    kinds: dict[str, Kind]
    """How, by key."""
    audited: frozenset[str]
    """Those that the rules have decided: the random sample on which the two are compared."""
    problems: dict[str, Problem]
    """Of these responses."""


def settled(problem: Problem, text: str, verdict: Verdict) -> Verdict:
    """The rules' verdict, taken back where they had nothing to go by: no reference, or one in prose.

    What is spelled like a prose reference is right all the same, and an empty response is wrong.
    """
    if not text.strip():
        return msgspec.structs.replace(verdict, correct=False, tier="none", trouble=None)
    if verdict.correct and problem.answer.strip():
        return verdict
    if problem.answer.strip() and not _is_prose(problem.answer):
        return verdict
    return msgspec.structs.replace(verdict, correct=None, tier="", trouble="no reference")


def judge(run: Run, panel: Panel, audit: int) -> tuple[dict[str, Any], int]:
    """Ask the judge what is owed, and write `verdicts-judge` and `verdicts`.

    Args:
        run: Holds problems, responses and the rules' verdicts.
        panel: The judge.
        audit: Responses that the rules decided that it is asked about too.

    Returns:
        The entry `judge` of `summary.json`, and how many votes are owed still as their calls failed. A response that
        such a vote is owed on has no verdict yet.

    Raises:
        UsageError: A problem that comes before the judge has no question.
    """
    docket = _docket(run, panel.seed, audit)

    def questions(rows: Iterator[Response]) -> Iterator[Question]:
        for row in rows:
            if row.key in docket.kinds:
                yield asking.question(docket.problems[row.problem], row, docket.kinds[row.key], panel.seed)

    failed = panel.poll(run, docket.kinds, questions(run.rows("responses", Response)))
    votes = panel.votes_in(run)
    judged = {
        place.key: majority(place.key, votes[place.key], docket.problems[place.problem].points)
        for place in run.rows("responses", Place)
        if len(votes.get(place.key, ())) == panel.votes and place.key in docket.kinds
    }
    known = run.keys(JUDGE)
    run.append(JUDGE, [verdict for key, verdict in judged.items() if key not in known])
    _compose(run, docket, judged)
    return _figures(run, panel, docket, judged, votes, failed), failed


def told_apart(summary: dict[str, Any]) -> None:
    """Take out of a summary what says nothing: shares of right responses where not one is known to be right or wrong,
    as where points are given and their maximum is not known."""
    counts = summary["counts"]
    if counts["undecided"] == counts["responses"]:
        summary["metrics"] = [metric for metric in summary["metrics"] if metric["name"] in _OF_TEXTS]
    if unknown := counts["by_trouble"].get(NO_MAXIMUM, 0):
        which = f"{unknown:,} of {counts['responses']:,} responses"
        summary["notes"].append(
            f"{which} have points of an unknown maximum: whether they are right is not known"
        )


def majority(key: str, votes: list[Vote], most: float | None) -> Verdict:
    """What the votes come to: the more frequent verdict, or the median of the points. Unreadable ones do not count."""
    verdict = Verdict(key=key, correct=None, tier="judge")
    points = [vote.points for vote in votes if vote.points is not None]
    right = sum(vote.correct is True for vote in votes)
    wrong = sum(vote.correct is False for vote in votes)
    if points:
        given = float(median(points))
        if most is None:
            return msgspec.structs.replace(verdict, points=given, trouble=NO_MAXIMUM)
        return msgspec.structs.replace(verdict, points=given, correct=given >= most)
    if right == wrong:
        return msgspec.structs.replace(verdict, trouble="judge tie" if right else "judge unreadable")
    return msgspec.structs.replace(verdict, correct=right > wrong)


def _docket(run: Run, seed: int, audit: int) -> Docket:
    exam = any(place.points is not None for place in run.rows("responses", Place))
    asked = {problem.key: problem for problem in run.rows("problems", _Asked)}
    kinds: dict[str, Kind] = {}
    of: dict[str, str] = {}
    decided: list[tuple[bytes, str, str]] = []
    for place, verdict in joined(run, Place, RULES):
        problem = asked[place.problem]
        if exam or problem.points is not None:
            kinds[place.key] = "points"
        elif verdict.correct is None:
            kinds[place.key] = "reference" if problem.answer.strip() else "open"
        elif problem.answer.strip():
            # The first in the order of their hashes: a larger audit adds to a smaller one.
            order = hashlib.blake2b(f"{seed}\x1f{place.key}".encode(), digest_size=8).digest()
            decided.append((order, place.key, place.problem))
            continue
        else:
            continue
        of[place.key] = place.problem
    sample = heapq.nsmallest(audit, decided)
    kinds |= {key: "reference" for _, key, _ in sample}
    of |= {key: problem for _, key, problem in sample}
    needed = set(of.values())
    problems = {problem.key: problem for problem in run.rows("problems", Problem) if problem.key in needed}
    asking.check_questions(problems.values())
    return Docket(kinds, frozenset(key for _, key, _ in sample), problems)


def _compose(run: Run, docket: Docket, judged: dict[str, Verdict]) -> None:
    """Write the verdicts that are known now, one per response."""
    have = run.keys("verdicts")
    batch: list[Verdict] = []
    for response, ruled in joined(run, Response, RULES):
        if response.key in have:
            continue
        verdict = ruled
        if response.key in docket.kinds and response.key not in docket.audited:
            found = judged.get(response.key)
            if found is None:
                continue
            if ruled.correct is None:
                sound = None
                if found.correct:
                    sound = "none" if response.bare else soundness(response.text)
                verdict = msgspec.structs.replace(found, answer=ruled.answer, sound=sound)
            else:
                verdict = msgspec.structs.replace(ruled, points=found.points)
        batch.append(verdict)
        if len(batch) >= _BATCH:
            run.append("verdicts", batch)
            batch = []
    run.append("verdicts", batch)


def _figures(
    run: Run,
    panel: Panel,
    docket: Docket,
    judged: dict[str, Verdict],
    votes: dict[str, list[Vote]],
    failed: int,
) -> dict[str, Any]:
    """The entry `judge` of `summary.json`."""
    against = []
    rules = {
        v.key: v.correct for v in run.rows(RULES, Verdict) if v.key in docket.audited and v.key in judged
    }
    theirs = {v.key: v.correct for v in run.rows(FILE, Verdict) if v.key in judged}
    for name, reference in (("rules", rules), ("file", theirs)):
        pairs = [
            (correct, judged[key].correct)
            for key, correct in reference.items()
            if correct is not None and docket.kinds[key] != "points"
        ]
        if pairs:
            against.append({"reference": name, **figures.against(pairs)})
    points = [
        (place.problem, place.points, given)
        for place in run.rows("responses", Place)
        if place.points is not None
        and place.key in judged
        and (given := judged[place.key].points) is not None
    ]
    settled = [verdict for key, verdict in judged.items() if key not in docket.audited]
    return {
        "model": panel.identity,
        "audited": len(rules),
        "judged": len(settled),
        "right": sum(verdict.correct is True for verdict in settled),
        "wrong": sum(verdict.correct is False for verdict in settled),
        "undecided": dict(Counter(verdict.trouble for verdict in settled if verdict.correct is None)),
        **figures.of_votes({key: votes[key] for key in judged}, panel.votes),
        "failed": failed,
        "against": against,
        "points": figures.of_points(points) if points else None,
    }


def _is_prose(answer: str) -> bool:
    return len(answer.split()) >= _PROSE and answer_kind(answer) in ("text", "unreadable")
