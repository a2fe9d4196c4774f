"""From a graded run to its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import msgspec

from upwell.errors import UsageError
from upwell.grading import RuleGrader, canonical, guess_rate, kind
from upwell.measurement.settings import Grading
from upwell.measurement.spending import spending_of
from upwell.measurement.watch import Watch
from upwell.records import Lap, Verdict
from upwell.runs import Run

if TYPE_CHECKING:
    from upwell.metrics import Metric, Outcomes

_GUESSED = 20_000
"""Problems for which the guess baseline is worked out at most: it takes milliseconds for each."""


class _Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """What the metrics need of a response: its text stays on disk."""

    key: str
    problem: str
    index: int
    finish: Literal["stop", "length"] | None = None
    tokens: int | None = None
    logprob: float | None = None
    score: float | None = None


class _Asked(msgspec.Struct, frozen=True):
    """What the metrics need of a problem."""

    key: str
    answer: str
    question: str = ""
    source: str = ""
    level: str | None = None
    subject: str | None = None


class Tally:
    """What is counted while the rows go by, besides the metrics."""

    def __init__(self) -> None:
        self.tiers: Counter[str] = Counter()
        self.troubles: Counter[str] = Counter()
        self.responses = self.ends = self.lengths = self.scored = self.likely = self.checked = 0

    def add(self, facts: _Facts, verdict: Verdict) -> None:
        self.responses += 1
        self.ends += facts.finish is not None
        self.lengths += facts.tokens is not None
        self.scored += facts.score is not None
        self.likely += facts.logprob is not None
        self.checked += verdict.sound is not None or not verdict.correct
        self.tiers[verdict.tier or "none"] += 1
        if verdict.correct is None:
            self.troubles[verdict.trouble or "unknown"] += 1


def summary_of(
    run: Run, grader: RuleGrader, settings: Grading, watch: Watch, notes: Iterable[str], failed: int
) -> dict[str, Any]:
    """The content of `summary.json`: every metric of a run's verdicts.

    Args:
        run: Holds problems, responses and verdicts.
        grader: Merges equal answers into one vote.
        settings: What to work out besides: extrapolated pass@k, and by what a verifier chooses.
        watch: Told of the progress.
        notes: What a reader should know of the problems and draws.
        failed: Draws that are owed still.
    """
    from upwell.metrics import summarise

    outcomes, tally, found = outcomes_of(run, grader, watch, score=getattr(settings, "score", None))
    watch.say("computing the metrics and their intervals")
    metrics = [metric for metric in summarise(outcomes) if metric.name not in _unknown(tally)]
    metrics += [_extrapolated(outcomes, k, watch) for k in settings.extrapolate]
    return {
        "metrics": [msgspec.to_builtins(metric) for metric in metrics],
        "counts": {
            "problems": len(outcomes.slots) + outcomes.unanswered,
            "responses": int(outcomes.n.sum()),
            "correct": int(outcomes.c.sum()),
            "failed": failed,
            "undecided": sum(tally.troubles.values()),
            "by_tier": dict(sorted(tally.tiers.items())),
            "by_trouble": dict(sorted(tally.troubles.items())),
            "tokens": int(outcomes.tokens.sum()) if tally.lengths == tally.responses else None,
        },
        "spending": spending_of(run),
        "notes": [*notes, *found, *_left_out(outcomes.unanswered), *outcomes.notes],
        "seconds": total_seconds(run),
    }


def outcomes_of(
    run: Run, grader: RuleGrader, watch: Watch, *, score: str | None = None, guess: bool = True
) -> tuple[Outcomes, Tally, list[str]]:
    """The table that every metric of a run is computed from, with what was counted on the way, and notes.

    Args:
        run: Holds problems, responses and verdicts.
        grader: Merges equal answers into one vote.
        watch: Told of the progress.
        score: `logprob` for mean log-probabilities as a verifier's scores; else the responses' own scores, and
            where there are none but all have a log-probability, that.
        guess: Also work out what guesses would score.

    Raises:
        UsageError: `score` is `logprob`, but a response has none.
    """
    from upwell.metrics import Outcomes, Row, Slot

    tally = Tally()
    votes = _votes(run, grader, watch, tally)
    notes: list[str] = []
    by_likelihood = score == "logprob" or (not tally.scored and tally.likely == tally.responses > 0)
    if by_likelihood:
        if tally.likely < tally.responses:
            raise UsageError(
                f"{tally.responses - tally.likely:,} of {tally.responses:,} responses of `{run.path}` have no "
                "log-probability to choose by",
                "sample with --logprobs, or leave --score logprob out",
            )
        notes.append("best_of@k and weighted_maj@k choose by mean log-probability")
    if 0 < tally.scored < tally.responses:
        notes.append(
            f"only {tally.scored:,} of {tally.responses:,} responses have a score: nothing chooses by it"
        )
    if 0 < tally.lengths < tally.responses:
        notes.append(
            f"mean tokens are over {tally.lengths:,} of {tally.responses:,} responses: "
            "nobody counted those of the others"
        )
    by_score = tally.scored == tally.responses > 0 and not by_likelihood
    looked = tally.checked == tally.responses

    def rows() -> Iterator[Row]:
        for facts, verdict in joined(run, _Facts):
            chosen_by = facts.logprob if by_likelihood else facts.score if by_score else None
            yield Row(
                problem=facts.problem,
                index=facts.index,
                correct=verdict.correct,
                vote=None if verdict.answer is None else votes(facts.problem, verdict.answer),
                truncated=facts.finish == "length",
                tokens=facts.tokens,
                score=chosen_by,
                sound=(verdict.sound or "none") if looked else None,
            )

    return Outcomes.collect(_slots(run, watch, notes, Slot, guess), rows()), tally, notes


def total_seconds(run: Run) -> dict[str, float]:
    """Seconds that each part has taken, all sessions together. Of a killed session the last ones are missing."""
    spent: Counter[str] = Counter()
    for lap in run.rows("laps", Lap):
        spent[lap.part] += lap.seconds  # type: ignore[assignment]
    return {part: round(seconds, 3) for part, seconds in spent.items()}


def _unknown(tally: Tally) -> set[str]:
    """Metrics that cannot be given: how responses ended has to be known of all, their length of some."""
    unknown = {"truncated": tally.ends < tally.responses, "mean_tokens": not tally.lengths}
    return {name for name, absent in unknown.items() if absent}


def _extrapolated(outcomes: Outcomes, k: int, watch: Watch) -> Metric:
    from upwell.metrics import Metric, extrapolate

    watch.say(f"extrapolating to pass@{k:,}")
    found = extrapolate(outcomes.n, outcomes.c, k)
    return Metric(
        name="pass@k_extrapolated",
        k=k,
        value=found.value,
        low=found.low if found.value is not None else None,
        high=found.high if found.value is not None else None,
        low_fixed=found.low_fixed if found.value is not None else None,
        high_fixed=found.high_fixed if found.value is not None else None,
        problems=found.problems,
        samples=found.samples,
        note=found.refused or f"{found.family}, weighed by held-out problems",
    )


def _left_out(unanswered: int) -> list[str]:
    return [f"{unanswered:,} problems have no response and are in no number"] if unanswered else []


def _slots(run: Run, watch: Watch, notes: list[str], make: Callable[..., Any], guess: bool) -> list[Any]:
    """The problems as the metrics see them."""
    count = run.count("problems")
    guessed = guess and count <= _GUESSED
    slots = []
    watch.begin("working out the guess baseline" if guessed else "reading the problems", count)
    asked = False
    for problem in run.rows("problems", _Asked):
        asked |= bool(problem.question)
        slots.append(
            make(
                key=problem.key,
                gold=_canonical(problem.answer),
                kind=kind(problem.answer),
                source=problem.source,
                level=problem.level,
                subject=problem.subject,
                guess=guess_rate(problem.question, problem.answer) if guessed and problem.question else None,
            )
        )
        watch.advance()
    watch.end()
    if guess and asked and not guessed:
        notes.append(f"guess_pass@k is worked out for up to {_GUESSED:,} problems; there are {count:,}")
    return slots


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


Facts = TypeVar("Facts", bound=_Keyed)


def joined(run: Run, kind: type[Facts], table: str = "verdicts") -> Iterator[tuple[Facts, Verdict]]:
    """Responses, as rows of a kind, with their verdicts in a table. Both are written in one order, so no index is
    built unless somebody edited them."""
    verdicts = run.rows(table, Verdict)
    waiting: dict[str, Verdict] = {}
    for facts in run.rows("responses", kind):
        verdict = waiting.pop(facts.key, None) if waiting else None
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


@lru_cache(maxsize=200_000)
def _canonical(answer: str) -> str:
    return canonical(answer)


def _votes(run: Run, grader: RuleGrader, watch: Watch, tally: Tally) -> Callable[[str, str], str]:
    """What an answer to a problem votes for: one name per class of equal answers.

    The name of a class is the gold answer's canonical form if that is in it, so that chance can be
    found by joining names between problems; else the first of its canonical forms.
    """
    # Most problems of a large file have one distinct answer: a string then, not a dictionary of its own.
    given: dict[str, str | dict[str, str]] = {}
    for facts, verdict in joined(run, _Facts):
        tally.add(facts, verdict)
        if verdict.answer is None:
            continue
        known = given.setdefault(facts.problem, verdict.answer)
        if isinstance(known, dict):
            known.setdefault(verdict.answer, "")
        elif known != verdict.answer:
            given[facts.problem] = {known: "", verdict.answer: ""}
    several = {problem: answers for problem, answers in given.items() if isinstance(answers, dict)}
    del given
    watch.begin("merging equal answers", len(several))
    for problem in run.rows("problems", _Asked):
        answers = several.get(problem.key)
        if answers is None:
            continue
        gold = _canonical(problem.answer)
        ordered = sorted(answers)
        members: dict[int, list[str]] = {}
        for answer, label in zip(ordered, grader.same(ordered), strict=True):
            members.setdefault(label, []).append(answer)
        for equal in members.values():
            names = {_canonical(answer) for answer in equal}
            name = gold if gold in names else min(names)
            answers.update(dict.fromkeys(equal, name))
        watch.advance()
    watch.end()

    def vote(problem: str, answer: str) -> str:
        answers = several.get(problem)
        return _canonical(answer) if answers is None else answers[answer]

    return vote
