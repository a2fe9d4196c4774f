"""The rule grader: responses in, verdicts out, in order and in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple

from upwell.errors import UsageError
from upwell.grading import gate
from upwell.grading.equality import Decision, accepts, canonical, is_undecided
from upwell.grading.extraction import extract, styles
from upwell.grading.notation import spelled
from upwell.grading.pool import SymbolicPool
from upwell.records import Problem, Response, Verdict

GRADER_VERSION = 1
"""Raised with every change that can change a verdict."""

_WINDOW = 4_096
"""Verdicts that may wait behind one that a worker is still deciding."""
_MEMORY = 400_000
"""Distinct (gold, answer) pairs remembered."""
_LONG_ANSWER = 400
"""Answers longer than this are graded each time rather than remembered."""
_MERGED = 40
"""Most answers that `same` compares symbolically, and most that it compares each of them with."""


class _Case(NamedTuple):
    """What a verdict depends on."""

    gold: str
    answer: str
    tolerance: float | None


class _Pending:
    """A pair that a worker is deciding, shared by all responses that wait for it."""

    def __init__(self) -> None:
        self.decision: Decision | None = None
        self.trouble: str | None = None


class RuleGrader:
    """Grades by rules: extract the answer, compare it tier by tier, ask a symbolic worker last.

    Verdicts come in the order of the pairs. A distinct (gold, answer) is graded once and remembered. Use as
    a context manager, or call `close`, to end the worker processes (which start only when a pair needs one).

    Args:
        style: Where in a response the answer is looked for; one of `upwell.grading.styles()`.
        workers: Most worker processes; by default one per core.
        timeout: Seconds of CPU time that one symbolic comparison may take before its worker is killed; four times
            as long on the clock.
        memory_mb: Address space of one worker in MiB.
        identical: Whether an answer spelled like the gold answer is accepted as such. Off in self-checks.
    """

    def __init__(
        self,
        style: str = "auto",
        *,
        workers: int | None = None,
        timeout: float = 5.0,
        memory_mb: int = 1024,
        identical: bool = True,
    ) -> None:
        if style not in styles():
            raise UsageError(f"no extraction style `{style}`", f"one of {', '.join(styles())}")
        if timeout <= 0 or memory_mb < 256 or (workers is not None and workers < 1):
            raise UsageError(
                f"no such grader limits: workers {workers}, timeout {timeout} s, memory {memory_mb} MiB",
                "workers >= 1, timeout > 0, memory_mb >= 256",
            )
        self.style = style
        self.identity = f"upwell-rules/{GRADER_VERSION}/{style}" + ("" if identical else "/not-identical")
        self._identical = identical
        self._limits = (workers or len(os.sched_getaffinity(0)), timeout, memory_mb)
        self._pool: SymbolicPool | None = None
        self._memory: dict[_Case, Decision | _Pending] = {}
        self._jobs: dict[int, tuple[_Case, _Pending]] = {}
        self._troubled: dict[str, str] = {}
        self._next_job = 0

    def __enter__(self) -> RuleGrader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes. The grader can be used again; new ones are started when needed."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        self._jobs.clear()
        self._memory = {case: known for case, known in self._memory.items() if isinstance(known, Decision)}

    def grade(self, pairs: Iterable[tuple[Problem, Response]]) -> Iterator[Verdict]:
        """One verdict per pair, in order. At most a few thousand are held back at a time."""
        waiting: deque[tuple[str, str, Decision | _Pending]] = deque()
        for problem, response in pairs:
            answer = extract(response.text, self.style)
            if answer is None:
                known: Decision | _Pending = Decision(False, "none")
            else:
                known = self._decide(_Case(problem.answer, answer, problem.tolerance))
            waiting.append((response.key, answer or "", known))
            self._progress(0.0)
            while waiting and (_is_settled(waiting[0][2]) or len(waiting) > _WINDOW):
                if _is_settled(waiting[0][2]):
                    yield _verdict(*waiting.popleft())
                else:
                    self._progress(1.0)
        while waiting:
            while not _is_settled(waiting[0][2]):
                self._progress(1.0)
            yield _verdict(*waiting.popleft())

    def same(self, answers: Sequence[str]) -> list[int]:
        """Labels of the classes of equal answers, for votes: equal answers share a label, whatever the order.

        Canonical forms first; answers that have none are then compared by the symbolic workers.
        """
        keys = {answer: canonical(answer) for answer in answers}
        classes = {name: answer for answer, name in sorted(keys.items(), reverse=True)}
        merged = self._merged(classes)
        labels: dict[str, int] = {}
        return [labels.setdefault(merged.get(keys[a], keys[a]), len(labels)) for a in answers]

    def _merged(self, classes: dict[str, str]) -> dict[str, str]:
        """For each canonical form whose value only SymPy may know, the first other form that it equals.

        Args:
            classes: An answer for each canonical form.
        """
        odd = [name for name in sorted(classes) if is_undecided(classes[name]) and gate.admits(classes[name])]
        leaders = [name for name in sorted(classes) if name not in odd][:_MERGED] if odd else []
        merged: dict[str, str] = {}
        for name in odd[:_MERGED]:
            for leader in leaders:
                pending = self._decide(_Case(classes[leader], classes[name], None))
                while not _is_settled(pending):
                    self._progress(1.0)
                if _settled(pending)[0].correct:
                    merged[name] = leader
                    break
            else:
                leaders.append(name)
        return merged

    def _decide(self, case: _Case) -> Decision | _Pending:
        known = self._memory.get(case)
        if known is not None:
            return known
        found: Decision | _Pending = self._accepts(case)
        if isinstance(found, Decision) and found.correct is None:
            found = self._ask(case)
        if len(case.answer) <= _LONG_ANSWER:
            if len(self._memory) >= _MEMORY:
                for old in list(self._memory)[: _MEMORY // 4]:
                    del self._memory[old]
            self._memory[case] = found
        return found

    def _accepts(self, case: _Case) -> Decision | _Pending:
        try:
            return accepts(*case, identical=self._identical)
        except Exception:  # noqa: BLE001  a fault in the rules must cost one verdict, not a run of a million
            pending = _Pending()
            pending.decision, pending.trouble = Decision(None, ""), "crash"
            return pending

    def _ask(self, case: _Case) -> _Pending:
        pending = _Pending()
        if case.answer in self._troubled:
            pending.decision, pending.trouble = Decision(None, "symbolic"), self._troubled[case.answer]
            return pending
        if self._pool is None:
            self._pool = SymbolicPool(*self._limits)
        self._jobs[self._next_job] = (case, pending)
        self._pool.submit(self._next_job, spelled(case.gold), spelled(case.answer))
        self._next_job += 1
        return pending

    def _progress(self, seconds: float) -> None:
        """Take in what the workers have decided, waiting up to `seconds` for it."""
        if self._pool is None or not self._jobs:
            return
        for outcome in self._pool.results(seconds):
            case, pending = self._jobs.pop(outcome.id)
            pending.decision = Decision(outcome.equal, "symbolic")
            if outcome.trouble:
                pending.trouble = outcome.trouble
                self._troubled[case.answer] = outcome.trouble


def _is_settled(known: Decision | _Pending) -> bool:
    return isinstance(known, Decision) or known.decision is not None


def _settled(known: Decision | _Pending) -> tuple[Decision, str | None]:
    if isinstance(known, Decision):
        return known, None
    assert known.decision is not None
    return known.decision, known.trouble


def _verdict(key: str, answer: str, known: Decision | _Pending) -> Verdict:
    decision, trouble = _settled(known)
    return Verdict(
        key=key, correct=decision.correct, answer=answer or None, tier=decision.tier, trouble=trouble
    )
