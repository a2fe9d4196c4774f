"""From a graded run to its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from upwell.grading import RuleGrader, canonical, kind
from upwell.measurement.watch import Watch
from upwell.records import Problem, Verdict
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
    source: Run,
    target: Run,
    grader: RuleGrader,
    watch: Watch,
    notes: Iterable[str],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """The content of `summary.json`: every metric of the verdicts in `target` on the responses in `source`."""
    from upwell.metrics import Outcomes, Row, Slot, summarise

    problems = list(source.rows("problems", Problem))
    votes, troubles, tiers = _votes(target, problems, grader, watch)
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
        for facts, verdict in _joined(source, target)
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
            "undecided": sum(troubles.values()),
            "by_tier": dict(sorted(tiers.items())),
            "by_trouble": dict(sorted(troubles.items())),
            "tokens": int(outcomes.tokens.sum()),
        },
        "notes": [*notes, *outcomes.notes],
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }


def _joined(source: Run, target: Run) -> Iterator[tuple[_Facts, Verdict]]:
    """Responses with their verdicts. Both tables are written in one order, so no index is built unless
    somebody edited them."""
    verdicts = target.rows("verdicts", Verdict)
    waiting: dict[str, Verdict] = {}
    for facts in source.rows("responses", _Facts):
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
    target: Run, problems: list[Problem], grader: RuleGrader, watch: Watch
) -> tuple[dict[str, dict[str, str]], Counter[str], Counter[str]]:
    """For each problem, what each distinct answer votes for: one name per class of equal answers.

    The name of a class is the gold answer's canonical form if that is in it, so that chance can be
    found by joining names between problems; else the first of its canonical forms.
    """
    given: dict[str, dict[str, str]] = {problem.key: {} for problem in problems}
    troubles: Counter[str] = Counter()
    tiers: Counter[str] = Counter()
    for verdict in target.rows("verdicts", Verdict):
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
