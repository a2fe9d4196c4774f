"""Deciding whether an answer is right: once per distinct pair, remembered, with workers for what is hard."""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from typing import NamedTuple

from upwell.grading import gate
from upwell.grading.cache import Entry, VerdictCache
from upwell.grading.cases import MAX_CHARS, Case, Unasked, Undecided
from upwell.grading.equality import Decision, accepts
from upwell.grading.notation import spelled
from upwell.grading.pool import SymbolicPool
from upwell.grading.style import Style
from upwell.grading.worker import Outcome, Task

_MEMORY = 400_000
"""Distinct pairs remembered in memory."""
_LONG_ANSWER = 400
"""Answers longer than this are not remembered there."""
_CHEAP = re.compile(r"[-+$\d.,% ]{1,40}")
"""Answers that are compared faster than the cache is asked."""
_DEAR = 0.0002
"""Seconds of comparing from which a decision is worth keeping in the cache."""
_MAX_TROUBLES = 8
"""Answers that may each kill a worker beside the same gold answer before no more are tried beside it."""
_PLAIN = re.compile(r"([-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)(?:\s?(\\?%)|[\s/-][A-Za-z /.]*)?\.?")
_UNASKED = Unasked()


class Limits(NamedTuple):
    """What symbolic work may cost: processes, CPU seconds per comparison, MiB of address space per process."""

    workers: int
    seconds: float
    memory_mb: int


class Pending:
    """A pair that a worker is deciding, shared by all responses that wait for it."""

    __slots__ = ("decision", "trouble")

    def __init__(self, decision: Decision | None = None, trouble: str | None = None) -> None:
        self.decision = decision
        self.trouble = trouble


Known = Decision | Pending


class Judge:
    """Decides cases by one style's comparison.

    Args:
        style: Whose comparison.
        identical: Whether an answer spelled like the gold answer is accepted as such.
        limits: Of symbolic work.
        cache: Decisions of other runs, if they are to be used.
    """

    def __init__(self, style: Style, identical: bool, limits: Limits, cache: VerdictCache | None) -> None:
        self._style = style
        self._identical = identical
        self._limits = limits
        self._cache = cache
        self._pool: SymbolicPool | None = None
        self._memory: dict[Case, Known] = {}
        self._backlog: deque[tuple[Case, Pending]] = deque()
        self._jobs: dict[int, tuple[Case, Pending]] = {}
        self._troubled: dict[str, str] = {}
        self._troubled_golds: Counter[str] = Counter()
        self._next_job = 0
        ours = style.grader == "upwell"
        self._worker_tier = "symbolic" if ours else style.grader + "-symbolic" * (style.compare is not None)

    def decide(self, case: Case) -> Known:
        """The decision, at once or when a worker has made it."""
        known = self._memory.get(case)
        if known is not None:
            return known
        found = self._first_decision(case)
        if len(case.answer) <= _LONG_ANSWER:
            if len(self._memory) >= _MEMORY:
                for old in list(self._memory)[: _MEMORY // 4]:
                    del self._memory[old]
            self._memory[case] = found
        return found

    def progress(self, seconds: float) -> None:
        """Take in what the workers have decided, waiting up to `seconds` for it."""
        if self._pool is not None and self._jobs:
            for outcome in self._pool.results(seconds):
                self._settle(outcome)
            self._feed(self._pool)

    def flush(self) -> None:
        """Write decisions that the cache still holds back."""
        if self._cache is not None:
            self._cache.flush()

    def close(self) -> None:
        """End the workers and let go of the cache; used again, both come back."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        if self._cache is not None:
            self._cache.close()
        self._backlog.clear()
        self._jobs.clear()
        self._memory = {case: known for case, known in self._memory.items() if isinstance(known, Decision)}

    # -- one case

    def _first_decision(self, case: Case) -> Known:
        key = None
        if self._cache is not None and not (_CHEAP.fullmatch(case.answer) and _CHEAP.fullmatch(case.gold)):
            key = self._cache.key(*case)
            entry = self._cache.get(key)
            if entry is not None and entry.holds_under(self._limits.seconds, self._limits.memory_mb):
                return _recalled(entry)
        start = time.perf_counter()
        try:
            found = self._compare(case)
        except Exception:  # noqa: BLE001  a fault in the rules must cost one verdict, not a run of a million
            return Pending(Decision(None, ""), "crash")
        if found.correct is None:
            return self._ask(case)
        if key is not None and self._cache is not None and time.perf_counter() - start > _DEAR:
            self._cache.put(key, Entry(found.correct, found.tier))
        return found

    def _compare(self, case: Case) -> Decision:
        """The decision of the cheap rules; `correct` is None where only a worker can tell."""
        if self._style.compare is not None:
            try:
                return self._style.compare(case, _UNASKED)
            except Undecided:
                # What can only explode is never asked about, and wrong.
                asked = gate.is_bounded(case.gold) and gate.is_bounded(case.answer)
                return Decision(None if asked else False, self._worker_tier)
        if self._style.grader == "math-verify":
            return Decision(None if len(case.answer) <= MAX_CHARS else False, self._worker_tier)
        return accepts(case.gold, case.answer, case.tolerance, identical=self._identical)

    # -- workers

    def _ask(self, case: Case) -> Pending:
        trouble = self._known_trouble(case)
        if trouble is not None:
            return Pending(Decision(None, self._worker_tier), trouble)
        if self._pool is None:
            self._pool = SymbolicPool(*self._limits)
        pending = Pending()
        self._backlog.append((case, pending))
        self._feed(self._pool)
        return pending

    def _feed(self, pool: SymbolicPool) -> None:
        """Give the workers what they can take soon; the rest waits here, where trouble still spares it."""
        while self._backlog and pool.waiting < 2 * self._limits.workers:
            case, pending = self._backlog.popleft()
            trouble = self._known_trouble(case)
            if trouble is not None:
                pending.decision, pending.trouble = Decision(None, self._worker_tier), trouble
                continue
            self._jobs[self._next_job] = (case, pending)
            pool.submit(self._task(case))
            self._next_job += 1

    def _task(self, case: Case) -> Task:
        gold, answer, grader = case.gold, case.answer, self._style.grader
        if grader == "upwell":
            gold, answer, grader = spelled(gold), spelled(answer), "math-verify"
        elif grader == "math-verify":
            gold, answer = _as_latex(gold), _as_latex(answer)
        return Task(self._next_job, grader, case.mode, gold, answer)

    def _known_trouble(self, case: Case) -> str | None:
        """Why there is no point in asking: the answer killed a worker, or others did beside this gold answer."""
        if case.answer in self._troubled:
            return self._troubled[case.answer]
        if self._troubled_golds[case.gold] >= _MAX_TROUBLES:
            return "timeout"
        if self._cache is not None:
            entry = self._cache.get(self._cache.key(case.answer))
            if entry is not None and entry.holds_under(self._limits.seconds, self._limits.memory_mb):
                return entry.trouble
        return None

    def _settle(self, outcome: Outcome) -> None:
        case, pending = self._jobs.pop(outcome.id)
        pending.decision = Decision(outcome.equal, self._worker_tier)
        pending.trouble = {"": None, "stalled": "timeout"}.get(outcome.trouble, outcome.trouble)
        if outcome.trouble == "no worker":
            return
        if pending.trouble is not None:
            self._troubled[case.answer] = pending.trouble
            self._troubled_golds[case.gold] += 1
        if self._cache is not None and outcome.trouble != "stalled":
            entry = Entry(
                outcome.equal,
                self._worker_tier,
                pending.trouble,
                self._limits.seconds,
                self._limits.memory_mb,
            )
            self._cache.put(self._cache.key(*case), entry)
            if entry.trouble is not None:
                self._cache.put(self._cache.key(case.answer), entry)


def _as_latex(text: str) -> str:
    """What math-verify's LaTeX grammar is given, the worker's dollar signs being around it.

    Of a plain number only the number: that is what its expression grammar, which runs Python, would find.
    """
    text = text.replace("\\$", "").replace("$", "").strip()
    plain = _PLAIN.fullmatch(text)
    return plain[1].replace(",", "") + (plain[2] or "") if plain else text


def is_settled(known: Known) -> bool:
    """Whether there is a decision."""
    return isinstance(known, Decision) or known.decision is not None


def settled(known: Known) -> tuple[Decision, str | None]:
    """The decision that is there, and the trouble that left it open, if any."""
    if isinstance(known, Decision):
        return known, None
    assert known.decision is not None
    return known.decision, known.trouble


def _recalled(entry: Entry) -> Known:
    decision = Decision(entry.correct, entry.tier)
    return decision if entry.trouble is None else Pending(decision, entry.trouble)
