"""Grading beside drawing: a comparison that takes a worker seconds holds up no reply."""

from __future__ import annotations

import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator

import msgspec

from upwell.grading import RuleGrader, extract, soundness
from upwell.records import Problem, Response, Verdict

_HELD = 2_048
"""Responses that wait to be graded at most; then replies are taken no faster than they are graded."""
_PATIENCE = 2.0
"""Seconds that an error waits for a comparison to end before it goes on."""

Item = tuple[Problem, Response | None]
Told = Callable[[Verdict, bool], None]
"""Called with each verdict and whether the response was cut at the token limit."""
Elected = Callable[[Problem], None]
"""Called with a question that has been voted on: its answer is what most said, or empty where nobody said anything."""


class Poll:
    """What the first draws of a question without reference answer say."""

    def __init__(self) -> None:
        self.responses: list[Response] = []
        """With their answer as text: the rest is on disk."""
        self.sound: dict[str, str | None] = {}
        self.lacking = 0
        """Draws that failed for good."""


class Examiner:
    """Grades what it is given in a thread of its own, in order; `told` and `elected` are called in that thread.

    Args:
        grader: Used by that thread alone until `close`.
        probes: Draws of a question without reference answer that vote on it.
        told: Told of verdicts.
        elected: Told of votes, before the verdicts on those who voted.
    """

    def __init__(self, grader: RuleGrader, probes: int, told: Told, elected: Elected) -> None:
        self._grader = grader
        self._probes = probes
        self._told = told
        self._elected = elected
        self._polls: dict[str, Poll] = {}
        self._queue: queue.Queue[Item | threading.Event | None] = queue.Queue(_HELD)
        self._error: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def give(self, problem: Problem, response: Response | None) -> None:
        """Have a response graded; None: a draw of a question to vote on that failed for good."""
        self._put((problem, response))

    def flush(self) -> None:
        """Wait until everything given is graded, except what waits for a vote."""
        done = threading.Event()
        self._put(done)
        while not done.wait(0.2):
            self.check()

    def close(self) -> None:
        """Grade what was given, and end. A second call does nothing."""
        if self._thread.is_alive():
            self.flush()
            self._put(None)
            self._thread.join()
        self.check()

    def abandon(self) -> None:
        """End without grading what waits; it has no verdict then, and is owed one."""
        self._ended = True
        while self._thread.is_alive():
            try:
                self._queue.put(None, timeout=0.1)
                break
            except queue.Full:
                continue
        self._thread.join(_PATIENCE)

    def check(self) -> None:
        """Raise what ended the grading, if anything did."""
        if self._error is not None:
            raise self._error

    def _put(self, item: Item | threading.Event | None) -> None:
        while True:
            self.check()
            try:
                self._queue.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def _run(self) -> None:
        try:
            with self._grader:
                while not self._ended:
                    item = self._queue.get()
                    if item is None:
                        return
                    if isinstance(item, threading.Event):
                        item.set()
                    else:
                        self._grade(item)
        except BaseException as error:  # noqa: BLE001  handed to the caller's thread, raised there
            self._error = error

    def _grade(self, first: Item) -> None:
        """Grade an item and what is there behind it."""
        texts: deque[tuple[Response, str | None]] = deque()
        after: list[threading.Event] = []
        for verdict in self._grader.grade(self._pairs(first, texts, after)):
            response, sound = texts.popleft()
            if verdict.correct:
                verdict = msgspec.structs.replace(verdict, sound=sound or soundness(response.text))
            self._told(verdict, response.finish == "length")
        for event in after:
            event.set()

    def _pairs(
        self, item: Item, texts: deque[tuple[Response, str | None]], after: list[threading.Event]
    ) -> Iterator[tuple[Problem, Response]]:
        # Ends as soon as nothing waits: only then does the grader see to what its workers are still at.
        while not self._ended:
            for problem, response, sound in self._judgeable(item):
                texts.append((response, sound))
                yield problem, response
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                return
            if following is None:
                self._ended = True
                return
            if isinstance(following, threading.Event):
                after.append(following)
                return
            item = following

    def _judgeable(self, item: Item) -> Iterator[tuple[Problem, Response, str | None]]:
        """What can be graded by an item: itself, all voters of a question by the last of them, or nothing yet."""
        problem, response = item
        if problem.answer:
            if response is not None:
                yield problem, response, None
            return
        poll = self._polls.setdefault(problem.key, Poll())
        if response is None:
            poll.lacking += 1
        else:
            answer = self._answer(response)
            poll.sound[response.key] = soundness(response.text) if answer else None
            poll.responses.append(msgspec.structs.replace(response, text=answer, bare=True))
        if len(poll.responses) + poll.lacking < self._probes:
            return
        del self._polls[problem.key]
        problem = msgspec.structs.replace(problem, answer=self._vote(poll))
        self._elected(problem)
        if problem.answer:
            for voter in sorted(poll.responses, key=lambda one: one.index):
                yield problem, voter, poll.sound[voter.key] or "none"

    def _answer(self, response: Response) -> str:
        try:
            return extract(response.text, self._grader.style) or ""
        except Exception:  # noqa: BLE001  as in the grader: a fault in the rules costs one vote, not a run
            return ""

    def _vote(self, poll: Poll) -> str:
        """The answer that most give, of equal ones as the first wrote it; of as many votes, the one given first."""
        voters = sorted(poll.responses, key=lambda one: one.index)
        answers = [one.text for one in voters if one.text and one.finish != "length"]
        if not answers:
            return ""
        labels = self._grader.same(answers)
        most = Counter(labels).most_common(1)[0][0]
        return answers[labels.index(most)]
