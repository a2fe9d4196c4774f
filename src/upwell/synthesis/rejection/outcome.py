"""What comes of the draws: drafts of questions that are through, rejects, and the summary."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import msgspec
import numpy as np

from upwell.engines.spending import Spent
from upwell.measurement.spending import spending_of
from upwell.measurement.summary import total_seconds
from upwell.records import Draft, Reject, Response, Verdict
from upwell.runs import Run
from upwell.synthesis.rejection.ledger import (
    CAPPED,
    GIVEN_UP,
    MET,
    NO_MAJORITY,
    UNANSWERED,
    Ledger,
)
from upwell.synthesis.rejection.plan import Plan
from upwell.synthesis.rejection.pool import Place
from upwell.synthesis.rejection.targets import NO_END, chance_to_reach

STEP = "rejection"
_BATCH = 256
"""Rows written at once."""
_STATES = {
    "met": MET,
    "capped": CAPPED,
    "given_up": GIVEN_UP,
    "unanswered": UNANSWERED,
    "no_majority": NO_MAJORITY,
}
_BINS = 10
"""Of the distribution of fail rates."""


class Outcome:
    """The tables and the summary of a run."""

    def __init__(self, run: Run, plan: Plan, ledger: Ledger) -> None:
        self._run, self._plan, self._ledger = run, plan, ledger

    def write_drafts(self) -> None:
        """Write the drafts that are owed: of every question that is through, the right ones that count."""
        run, plan, ledger = self._run, self._plan, self._ledger
        have = run.keys("drafts")
        if len(have) == int(ledger.kept[ledger.state != 0].sum()):
            return
        batch: list[Draft] = []
        for response in run.rows("responses", Response):
            number = plan.numbers[response.problem]
            if ledger.keeps(number, response.index) and response.key not in have:
                batch.append(self._draft(number, response))
                if len(batch) >= _BATCH:
                    run.append("drafts", batch)
                    batch = []
        run.append("drafts", batch)

    def _draft(self, number: int, response: Response) -> Draft:
        plan = self._plan
        problem = plan.problems[number]
        voted = not plan.set.problems[number].answer
        return Draft(
            key=response.key,
            method="rejection",
            question=problem.question,
            answer=problem.answer,
            solution=response.text,
            parents=(problem.key,),
            source=problem.source,
            split=problem.split,
            level=problem.level,
            subject=problem.subject,
            teacher=plan.teacher,
            prompt=plan.template.digest[:12],
            replies=(response.key,),
            prompt_tokens=response.prompt_tokens or 0,
            completion_tokens=response.tokens or 0,
            usd=response.usd,
            fail_rate=self._ledger.fail_rate(number),
            agreement=self._ledger.agreement(number) if voted else None,
        )

    def write_rejects(self) -> None:
        """Name every question that has fewer right solutions than are wanted of it."""
        run = self._run
        told = {(row.key, row.reason) for row in run.rows("rejects", Reject)}
        rows = []
        for number, problem in enumerate(self._plan.problems):
            reason = self._reason(number)
            if reason is not None and (problem.key, reason) not in told:
                rows.append(Reject(key=problem.key, step=STEP, reason=reason, rejected=problem.question))
        run.append("rejects", rows)
        have = run.keys("problems")
        run.append("problems", [one for one in self._plan.problems if one.key not in have])

    def _reason(self, number: int) -> str | None:
        ledger, policy = self._ledger, self._plan.policy
        state, drawn = ledger.state[number], int(ledger.stop[number])
        kept, target = int(ledger.kept[number]), int(ledger.target[number])
        if state == UNANSWERED:
            return f"unanswered: none of the first {drawn:,} draws got a response, see failures.jsonl"
        if state == NO_MAJORITY:
            return f"no majority: none of the first {policy.probes:,} responses has an answer"
        if policy.name == "vanilla":
            return f"none right: 0 of {drawn:,}" if not kept else None
        if state == CAPPED:
            return f"capped: {kept:,} of {target:,} right after {drawn:,} draws, the most there may be"
        if state == GIVEN_UP:
            goal = target if kept else 1
            chance = chance_to_reach(drawn, kept, goal, policy.most)
            return (
                f"given up: {kept:,} of {target:,} right after {drawn:,} draws; the chance of {goal:,} "
                f"within {policy.most:,} is {chance:.2g}, below {policy.give_up:g}"
            )
        return None

    def summary(self) -> dict[str, Any]:
        """The content of `summary.json`."""
        run, plan, ledger = self._run, self._plan, self._ledger
        troubles: Counter[str] = Counter()
        for verdict in run.rows("verdicts", Verdict):
            if verdict.correct is None:
                troubles[verdict.trouble or "unknown"] += 1
        drawn = ledger.settled - ledger.missing
        notes = [
            *plan.notes,
            "drawing stops when there are enough right ones, so shares of right ones are of different numbers of "
            "draws, and lean a little upwards: `upwell measure` measures",
        ]
        spending = spending_of(run)
        if plan.pool is not None:
            free = taken_from_pool(run, ledger, plan.numbers)
            spending["from_pool"] = {"tokens": free.tokens, "usd": free.usd or None}
            notes.append("tokens and dollars of the spending include what the pool's responses took")
        return {
            "metrics": self._metrics(),
            "counts": {
                "problems": len(plan.problems),
                "responses": int(drawn.sum()),
                "correct": int(ledger.right.sum()),
                "drafts": run.count("drafts"),
                "failed": int(ledger.missing.sum()),
                "undecided": sum(troubles.values()),
                "by_trouble": dict(sorted(troubles.items())),
            },
            "rejection": self._told(),
            "spending": spending,
            "notes": notes,
            "seconds": total_seconds(run),
        }

    def _metrics(self) -> list[Any]:
        """PassRatio and pass@k over all draws; not the rest, for which every answer would have to be compared."""
        from upwell.metrics import Outcomes, Slot, summarise  # scipy.stats takes a second to load

        ledger = self._ledger
        n = ledger.settled - ledger.missing
        chosen = np.flatnonzero(n)
        if not len(chosen):
            return []
        outcomes = Outcomes.from_counts(n[chosen], ledger.right[chosen])
        problems = [self._plan.problems[number] for number in chosen]
        slots = tuple(
            Slot(key=one.key, source=one.source, level=one.level, subject=one.subject) for one in problems
        )
        outcomes = dataclasses.replace(outcomes, slots=slots, unanswered=len(n) - len(chosen))
        return [
            msgspec.to_builtins(metric)
            for metric in summarise(outcomes)
            if metric.name in ("pass_ratio", "pass@k")
        ]

    def _told(self) -> dict[str, Any]:
        ledger, policy, plan = self._ledger, self._plan.policy, self._plan
        every = np.arange(len(plan.problems))
        groups: dict[tuple[str, str], list[int]] = {}
        for number, problem in enumerate(plan.problems):
            groups.setdefault((problem.source, problem.level or ""), []).append(number)
        rates = [rate for number in every if (rate := ledger.fail_rate(int(number))) is not None]
        return {
            "policy": policy.name,
            "scale": plan.settings.scale if policy.by_difficulty else None,
            **self._row(every),
            "fail_rates": np.histogram(rates, bins=_BINS, range=(0, 1))[0].tolist(),
            "levels": [
                {"source": source, "level": level or None, **self._row(np.array(members))}
                for (source, level), members in sorted(groups.items())
            ],
        }

    def _row(self, chosen: Any) -> dict[str, Any]:
        """What came of some questions."""
        ledger = self._ledger
        target, kept = ledger.target[chosen], ledger.kept[chosen]
        wanted = int(target.sum()) if self._plan.policy.k != NO_END else None
        rates = [rate for number in chosen if (rate := ledger.fail_rate(int(number))) is not None]
        drawn = int((ledger.settled - ledger.missing)[chosen].sum())
        return {
            "questions": len(chosen),
            **{name: int((ledger.state[chosen] == state).sum()) for name, state in _STATES.items()},
            "target": wanted,
            "kept": int(kept.sum()),
            "achieved": float(kept.sum() / wanted) if wanted else None,
            "covered": int((kept > 0).sum()),
            "draws": drawn,
            "new_draws": int(np.maximum(ledger.asked - ledger.given, 0)[chosen].sum()),
            "needed": int(np.maximum(ledger.stop, self._plan.policy.probes)[chosen].sum()),
            "fail_rate": float(np.mean(rates)) if rates else None,
        }


def taken_from_pool(run: Run, ledger: Ledger, numbers: dict[str, int]) -> Spent:
    """What the responses took that were copied from a pool."""
    tokens, usd = 0, 0.0
    for place in run.rows("responses", Place):
        if place.index < ledger.given[numbers[place.problem]]:
            tokens += (place.tokens or 0) + (place.prompt_tokens or 0)
            usd += place.usd or 0.0
    return Spent(tokens=tokens, usd=usd)
