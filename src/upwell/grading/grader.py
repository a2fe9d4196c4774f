"""The rule grader: responses in, verdicts out, in order and in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from upwell.errors import UsageError
from upwell.grading import gate
from upwell.grading.cache import VerdictCache
from upwell.grading.cases import Case
from upwell.grading.equality import Decision, canonical, is_undecided
from upwell.grading.judge import Judge, Known, Limits, Pending, is_settled, settled
from upwell.grading.style import STYLES, style_named
from upwell.records import Problem, Response, Verdict

GRADER_VERSION = 2
"""Raised with every change that can change a verdict."""

_WINDOW = 4_096
"""Verdicts that may wait behind one that a worker is still deciding."""
_LOOK_EVERY = 16
"""Pairs between two looks at what the workers have decided."""
_MERGED = 40
"""Most answers that `same` compares symbolically, and most that it compares each of them with."""


class RuleGrader:
    """Grades by rules: extract the answer, compare it tier by tier, ask a symbolic worker last.

    Verdicts come in the order of the pairs. A distinct (gold, answer) is graded once and remembered. Use as
    a context manager, or call `close`, to end the worker processes (which start only when a pair needs one).

    Args:
        style: How the answer is found and compared; one of `upwell.grading.styles()`.
        bare: Whether each text is an answer and nothing else: no style looks for one in it. A response that is
            itself marked `bare` is one in any case.
        workers: Most worker processes; by default one per core.
        timeout: Seconds of CPU time that one symbolic comparison may take before its worker is killed; four times
            as long on the clock.
        memory_mb: Address space of one worker in MiB.
        identical: Whether an answer spelled like the gold answer is accepted as such. Off in self-checks.
        cache: File in which dear decisions are remembered across runs, such as `cache_file()`; None for this
            grader's memory only.
    """

    def __init__(
        self,
        style: str = "auto",
        *,
        bare: bool = False,
        workers: int | None = None,
        timeout: float = 5.0,
        memory_mb: int = 1024,
        identical: bool = True,
        cache: str | Path | None = None,
    ) -> None:
        if timeout <= 0 or memory_mb < 256 or (workers is not None and workers < 1):
            raise UsageError(
                f"no such grader limits: workers {workers}, timeout {timeout} s, memory {memory_mb} MiB",
                "workers >= 1, timeout > 0, memory_mb >= 256",
            )
        self.style = style
        self.bare = bare or style == "bare"
        self._style = style_named(style)
        suffix = "/bare" * (bare and style != "bare") + "/not-identical" * (not identical)
        self.identity = f"upwell-rules/{GRADER_VERSION}/{style}{suffix}"
        self._identical = identical
        self._limits = Limits(workers or len(os.sched_getaffinity(0)), timeout, memory_mb)
        self._cache = Path(cache) if cache is not None else None
        self._judge = self._new_judge(style)
        self._voting = self._judge if self._style.grader == "upwell" else self._new_judge("auto")

    def _new_judge(self, style: str) -> Judge:
        """A judge; styles with the same comparison share what the cache knows."""
        named = STYLES[style]
        decides = f"{GRADER_VERSION}/{named.grader}/{self._identical}"
        cache = VerdictCache(self._cache, decides) if self._cache is not None else None
        return Judge(named, self._identical, self._limits, cache)

    def __enter__(self) -> RuleGrader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes. The grader can be used again; new ones are started when needed."""
        self._judge.close()
        self._voting.close()

    def grade(self, pairs: Iterable[tuple[Problem, Response]]) -> Iterator[Verdict]:
        """One verdict per pair, in order. At most a few thousand are held back at a time."""
        judge = self._judge
        waiting: deque[tuple[str, str | None, Known]] = deque()
        problem: Problem | None = None
        mode = ""
        look = 0
        for asked, response in pairs:
            if asked is not problem:
                problem = asked
                mode = self._style.mode(problem) if self._style.mode is not None else ""
            answer, known = self._found(problem, response, mode)
            if not waiting and is_settled(known):
                yield _verdict(response.key, answer, known)
                continue
            waiting.append((response.key, answer, known))
            look += 1
            if look % _LOOK_EVERY == 0:
                judge.progress(0.0)
            while waiting and (is_settled(waiting[0][2]) or len(waiting) > _WINDOW):
                if is_settled(waiting[0][2]):
                    yield _verdict(*waiting.popleft())
                else:
                    judge.progress(1.0)
        while waiting:
            while not is_settled(waiting[0][2]):
                judge.progress(1.0)
            yield _verdict(*waiting.popleft())
        judge.flush()

    def _found(self, problem: Problem, response: Response, mode: str) -> tuple[str | None, Known]:
        """The answer in a response and what is known of it."""
        try:
            answer = response.text if self.bare or response.bare else self._style.extract(response.text)
        except Exception:  # noqa: BLE001  a fault in the rules must cost one verdict, not a run of a million
            return None, Pending(Decision(None, ""), "crash")
        answer = answer.strip() if answer is not None else ""
        if not answer:
            return None, Decision(False, "none")
        if self._style.truncated_is_wrong and response.finish == "length":
            return answer, Decision(False, "truncated")
        return answer, self._judge.decide(Case(problem.answer, answer, problem.tolerance, mode))

    def same(self, answers: Sequence[str]) -> list[int]:
        """Labels of the classes of equal answers, for votes: equal answers share a label, whatever the order.

        Canonical forms first; answers that have none are then compared by the symbolic workers. Votes are ours in
        every style.
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
                known = self._voting.decide(Case(classes[leader], classes[name]))
                while not is_settled(known):
                    self._voting.progress(1.0)
                decision = settled(known)[0]
                # What the rules only tolerate is not equal.
                if decision.correct and decision.tier == "symbolic":
                    merged[name] = leader
                    break
            else:
                leaders.append(name)
        return merged


def _verdict(key: str, answer: str | None, known: Known) -> Verdict:
    decision, trouble = settled(known)
    return Verdict(key=key, correct=decision.correct, answer=answer, tier=decision.tier, trouble=trouble)
