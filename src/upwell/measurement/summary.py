"""From a graded run to its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from upwell.grading import RuleGrader, canonical, kind
from upwell.measurement.watch import Watch
from upwell.records import Lap, Problem, Verdict
from upwell.runs import Run


class _Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """What the metrics need of a response: its text stays on disk."""

    key: str
    problem: str
    index: int
    finish: str
    tokens: int
    logprob: float | None = None


def summary_of(
    run: Run, grader: RuleGrader, watch: Watch, notes: Iterable[str], failed: int
) -> dict[str, Any]:
    """The content of `summary.json`: every metric of a run's verdicts.

    Args:
        run: Holds problems, responses and verdicts.
        grader: Merges equal answers into one vote.
        watch: Told of the progress.
        notes: What a reader should know of the problems and draws.
        failed: Draws that are owed still.
    """
    from upwell.metrics import Outcomes, Row, Slot, summarise

    problems = list(run.rows("problems", Problem))
    votes, troubles, tiers = _votes(run, problems, grader, watch)
    slots = [
        Slot(
            key=p.key,
            gold=canonical(p.answer),
            kind=kind(p.answer),
            source=p.source,
            level=p.level,
            subject=p.subject,
        )
        for p in problems
    ]
    rows = (
        Row(
            problem=facts.problem,
            index=facts.index,
            correct=verdict.correct,
            vote=None if verdict.answer is None else votes[facts.problem][verdict.answer],
            truncated=facts.finish == "length",
            tokens=facts.tokens,
        )
        for facts, verdict in _joined(run)
    )
    watch.say("computing the metrics and their intervals")
    outcomes = Outcomes.collect(slots, rows)
    metrics = summarise(outcomes)
    return {
        "metrics": [msgspec.to_builtins(metric) for metric in metrics],
        "counts": {
            "problems": len(problems),
            "responses": int(outcomes.n.sum()),
            "correct": int(outcomes.c.sum()),
            "failed": failed,
            "undecided": sum(troubles.values()),
            "by_tier": dict(sorted(tiers.items())),
            "by_trouble": dict(sorted(troubles.items())),
            "tokens": int(outcomes.tokens.sum()),
        },
        "notes": [*notes, *_left_out(outcomes.unanswered), *outcomes.notes],
        "seconds": total_seconds(run),
    }


def total_seconds(run: Run) -> dict[str, float]:
    """Seconds that each part has taken, all sessions together. Of a killed session the last ones are missing."""
    spent: Counter[str] = Counter()
    for lap in run.rows("laps", Lap):
        spent[lap.part] += lap.seconds  # type: ignore[assignment]
    return {part: round(seconds, 3) for part, seconds in spent.items()}


def _left_out(unanswered: int) -> list[str]:
    return [f"{unanswered:,} problems have no response and are in no number"] if unanswered else []


def _joined(run: Run) -> Iterator[tuple[_Facts, Verdict]]:
    """Responses with their verdicts. Both tables are written in one order, so no index is built unless
    somebody edited them."""
    verdicts = run.rows("verdicts", Verdict)
    waiting: dict[str, Verdict] = {}
    for facts in run.rows("responses", _Facts):
        verdict = waiting.pop(facts.key, None)
        while verdict is None:
            following = next(verdicts, None)
            if following is None:
                break
            if following.key == facts.key:
                verdict = following
            else:
                waiting[following.key] = following
        if verdict is not None:
            yield facts, verdict


def _votes(
    run: Run, problems: list[Problem], grader: RuleGrader, watch: Watch
) -> tuple[dict[str, dict[str, str]], Counter[str], Counter[str]]:
    """For each problem, what each distinct answer votes for: one name per class of equal answers.

    The name of a class is the gold answer's canonical form if that is in it, so that chance can be
    found by joining names between problems; else the first of its canonical forms.
    """
    given: dict[str, dict[str, str]] = {problem.key: {} for problem in problems}
    troubles: Counter[str] = Counter()
    tiers: Counter[str] = Counter()
    for verdict in run.rows("verdicts", Verdict):
        tiers[verdict.tier or "none"] += 1
        if verdict.correct is None:
            troubles[verdict.trouble or "unknown"] += 1
        if verdict.answer is not None:
            given[verdict.key.rpartition("#")[0]].setdefault(verdict.answer, "")
    watch.begin("merging equal answers", len(problems))
    for problem in problems:
        answers = sorted(given[problem.key])
        gold = canonical(problem.answer)
        members: dict[int, list[str]] = {}
        for answer, label in zip(answers, grader.same(answers), strict=True):
            members.setdefault(label, []).append(answer)
        for equal in members.values():
            names = {canonical(answer) for answer in equal}
            name = gold if gold in names else min(names)
            given[problem.key].update(dict.fromkeys(equal, name))
        watch.advance()
    watch.end()
    return given, troubles, tiers
