"""Reasoning against calculation, as a model judges it: what was asked, how far it can be trusted, and what follows."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from upwell.analysis.bootstrap import between, percent, percentiles, ratio_interval, resampled_sums
from upwell.analysis.found import Found, Row
from upwell.analysis.graded import Source, Text
from upwell.analysis.mistakes import mistake
from upwell.analysis.settings import AnalyzeSettings
from upwell.analysis.stepping import equations
from upwell.measurement.judging import asking, figures
from upwell.measurement.judging.panel import Panel
from upwell.measurement.settings import JudgeSettings
from upwell.measurement.summary import joined
from upwell.measurement.watch import Watch
from upwell.records import Problem, Response
from upwell.runs import Run

KINDS = ("calculation", "reasoning", "none")
_UNFIT = ("repetition", "truncation", "format")
"""Classes that no judge is asked about: what is wrong in them is how they end."""
_CALCULATION, _REASONING = ("arithmetic", "quantity"), ("missing", "other")
"""What the rules' classes come to in the judge's two."""
_RIGHT = "right"
"""Instead of a class, that nothing is wrong."""
_WRONG_PER_RIGHT = 4
"""For so many wrong responses a right one is judged too."""


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A response that the judge is asked about."""

    key: str
    """`<run>|<response key>`."""
    problem: int
    rule: str
    """Its class by the rules, or `right`."""
    text: str


@dataclass(frozen=True, eq=False)
class _Cases:
    """Those of one run."""

    source: Source
    problems: list[Problem]
    cases: list[_Case]
    unfit: int
    """Wrong responses that no judge is asked about."""
    said: dict[str, asking.Mistake | None] = field(default_factory=dict)
    """What the votes come to, by key; None where they are tied, or none can be read."""


class Jury:
    """A judge, and the responses of several runs that it is asked about.

    Raises:
        UsageError: there is no such model, or the problems have no questions.
    """

    def __init__(self, sources: Sequence[Source], settings: AnalyzeSettings, watch: Watch) -> None:
        assert settings.judge is not None
        self._settings = settings
        self.panel = Panel(
            "mistake",
            settings.judge,
            JudgeSettings(
                judge=settings.judge, votes=settings.votes, judge_tokens=settings.judge_tokens,
                judge_seed=settings.seed, key_env=settings.key_env, price=settings.price, max_usd=settings.max_usd,
            ),
            watch,
        )  # fmt: skip
        self._runs = [_drawn(source, settings, watch) for source in sources]
        for run in self._runs:
            asking.check_questions(run.problems)

    def poll(self, run: Run) -> int:
        """Ask for the votes that are owed, into the analysis's own run; how many are owed still."""
        keys = [case.key for one in self._runs for case in one.cases]
        owed = self.panel.poll(run, keys, self._questions())
        votes = self.panel.votes_in(run)
        for one in self._runs:
            for case in one.cases:
                one.said[case.key] = _majority(votes.get(case.key, []))
        self._votes = {key: votes[key] for key in keys if key in votes}
        return owed

    def _questions(self) -> Iterator[asking.Question]:
        for one in self._runs:
            for case in one.cases:
                response = Response(
                    key=case.key, problem=one.problems[case.problem].key, index=0, text=case.text
                )
                yield asking.question(one.problems[case.problem], response, "mistake", self._settings.seed)

    def tell(self, found: Found) -> None:
        """Shares of each run, their change from the first, and how far the judge agrees with itself and the rules."""
        for one in self._runs:
            _shares(one, found)
        for one in self._runs[1:]:
            _change(self._runs[0], one, self._settings, found)
        self._agreement(found)

    def _agreement(self, found: Found) -> None:
        itself = figures.of_votes(self._votes, self._settings.votes)
        cases = [(case, one.said[case.key]) for one in self._runs for case in one.cases]
        right = [said for case, said in cases if case.rule == _RIGHT]
        pairs = [
            (case.rule in _CALCULATION, None if said in (None, "none") else said == "calculation")
            for case, said in cases
            if case.rule in (*_CALCULATION, *_REASONING)
        ]
        rules = figures.against(pairs)
        alarms, cast = sum(said in ("calculation", "reasoning") for said in right), itself["cast"]
        for parameter, value, samples in (
            ("votes that cannot be read", itself["unreadable"], cast),
            ("two votes on a response agree", itself["pairs_agree"], cast),
            ("agrees with the rules' classes", rules["accuracy"], len(pairs)),
            ("the same beyond chance (Cohen's kappa)", rules["kappa"], len(pairs)),
            ("finds a mistake in right responses", alarms / len(right) if right else None, len(right)),
        ):
            row: Row = {"run": "judge", "parameter": parameter, "value": value, "samples": samples}
            if parameter.startswith("agrees"):
                row |= {"low": rules["low"], "high": rules["high"]}
            found.fits.append(row)
        kappa = "" if rules["kappa"] is None else f" (Cohen's kappa {rules['kappa']:.2f})"
        found.conclusions.append(
            f"judge {self.panel.identity}: two of its votes on a response agree in {percent(itself['pairs_agree'])}, "
            f"{percent(itself['unreadable'])} cannot be read; it agrees with the rules (arithmetic and quantity as "
            f"calculation, missing and other as reasoning) on {percent(rules['accuracy'])} of "
            f"{len(pairs) - rules['undecided']} responses that it decided{kappa}; in {alarms} of {len(right)} right "
            "responses it finds a mistake all the same."
        )
        found.notes.append(
            "the judge sees the reference answer and solution; it is asked about no response that was cut off, goes "
            "round in circles, or has no answer. With a kappa near 0 its shares are no evidence"
        )


def _drawn(source: Source, settings: AnalyzeSettings, watch: Watch) -> _Cases:
    """Wrong and right responses by the order of their hashes, so that a larger sample holds a smaller one."""
    problems = sorted(source.run.rows("problems", Problem), key=lambda problem: problem.key)
    number = {problem.key: i for i, problem in enumerate(problems)}
    gold = [equations(problem.solution or "") for problem in problems]
    held: dict[bool, list[tuple[int, _Case]]] = {True: [], False: []}
    most = {False: settings.judged, True: -(-settings.judged // _WRONG_PER_RIGHT)}
    unfit = 0
    watch.begin(f"{source.name}: drawing what is judged", source.run.count("responses"))
    for response, verdict in joined(source.run, Text):
        watch.advance()
        if verdict.correct is None or response.bare:
            continue
        at, rule = number[response.problem], _RIGHT
        if not verdict.correct:
            rule = mistake(response.text, response.finish, verdict.answer, problems[at].question, gold[at])
        if rule in _UNFIT:
            unfit += 1
            continue
        key = f"{source.name}|{response.key}"
        rank = -int.from_bytes(
            hashlib.blake2b(f"{settings.seed}/{key}".encode(), digest_size=8).digest(), "big"
        )
        kept = held[verdict.correct]
        if len(kept) == most[verdict.correct] and rank < kept[0][0]:
            continue
        case = _Case(key=key, problem=at, rule=rule, text=response.text)
        (heapq.heappush if len(kept) < most[verdict.correct] else heapq.heapreplace)(kept, (rank, case))
    watch.end()
    cases = [case for kind in (False, True) for _, case in sorted(held[kind], key=lambda one: -one[0])]
    return _Cases(source, problems, cases, unfit)


def _majority(votes: Sequence[asking.Vote]) -> asking.Mistake | None:
    cast = [vote.mistake for vote in votes if vote.mistake is not None]
    counts = sorted(((cast.count(kind), kind) for kind in set(cast)), reverse=True)
    if not counts or (len(counts) > 1 and counts[0][0] == counts[1][0]):
        return None
    return counts[0][1]


def _counts(one: _Cases) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """`(calculation, reasoning, none, not decided; problems)`: wrong responses that were judged."""
    table = np.zeros((4, len(one.problems)))
    for case in one.cases:
        if case.rule != _RIGHT:
            said = one.said[case.key]
            table[3 if said is None else KINDS.index(said), case.problem] += 1
    return table


def _shares(one: _Cases, found: Found) -> None:
    counts, name = _counts(one), one.source.name
    judged = counts.sum(axis=0)
    if not judged.any():
        found.conclusions.append(f"{name}: no wrong response that a judge could be asked about.")
        return
    told = []
    for row, kind in zip(counts, (*KINDS, "not decided"), strict=True):
        value, low, high = ratio_interval(row, judged)
        found.points.append({
            "run": name, "class": kind, "of": "wrong responses judged", "count": int(row.sum()), "value": value,
            "low": low, "high": high, "problems": int(np.count_nonzero(judged)), "samples": int(judged.sum()),
        })  # fmt: skip
        told.append(f"{percent(value)} {between(low, high)} {kind}")
    found.conclusions.append(
        f"{name}: of {int(judged.sum()):,} wrong responses that were judged the first mistake is, by the judge: "
        f"{'; '.join(told)}. {one.unfit:,} wrong responses end in a way that leaves nothing to judge."
    )


def _change(first: _Cases, one: _Cases, settings: AnalyzeSettings, found: Found) -> None:
    """How the share of calculation among the two kinds of mistakes moves."""
    keys = sorted({p.key for p in first.problems} | {p.key for p in one.problems})
    number = {key: i for i, key in enumerate(keys)}
    held = np.zeros((2, 2, len(keys)))
    for table, run in zip(held, (first, one), strict=True):
        table[:, [number[p.key] for p in run.problems]] = _counts(run)[:2]
    if not held.sum(axis=(1, 2)).all():
        return
    drawn = resampled_sums(held.reshape(-1, len(keys)), settings.bootstrap, settings.seed).reshape(-1, 2, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = drawn[:, :, 0] / drawn.sum(axis=2)
    now = held.sum(axis=2)[:, 0] / held.sum(axis=(1, 2))
    low, high = percentiles(shares[:, 1] - shares[:, 0])
    found.fits.append({
        "run": one.source.name, "against": first.source.name, "class": "calculation",
        "parameter": "share of the mistakes that the judge named, above the first run's",
        "value": float(now[1] - now[0]), "low": low, "high": high, "problems": len(keys), "samples": int(held.sum()),
    })  # fmt: skip
    if low is not None and high is not None:
        found.conclusions.append(
            f"from {first.source.name} to {one.source.name} the share of calculation among the mistakes that the judge "
            f"named moves by {100 * (now[1] - now[0]):+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})."
        )
