"""What has been drawn of every question, what came of it, and where each question stops: a byte for each draw.

A question's draws are a sequence, numbered from 0, and it stops at the first place in it where its target is met,
its draws are used up, or it is given up. So what is kept depends on the sequence alone: not on the order in which
replies came, nor on how many were in flight, nor on kills.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from upwell.synthesis.rejection.targets import Policy

ASKED, ANSWERED, CUT, WRONG, RIGHT, MISSING = range(6)
"""Of a draw: nothing there yet; a response without a verdict; the same, cut at the token limit; what came of it;
it failed for good, or an earlier run has left it out."""
OPEN, MET, CAPPED, GIVEN_UP, UNANSWERED, NO_MAJORITY = range(6)
"""Of a question. Of a vanilla one, MET means that all its draws are made."""
_UNANSWERED_AFTER = 8
"""First draws of which none has a response, each tried several times, after which a question is left alone."""

Ints = npt.NDArray[np.int64]


class Ledger:
    """The draws of all questions. Not safe from several threads at once.

    Args:
        questions: How many there are.
        policy: What is wanted of each.
        polled: Questions, by number, whose answer has to be voted on before their draws can be judged.
    """

    def __init__(self, questions: int, policy: Policy, polled: Sequence[int] = ()) -> None:
        self.policy = policy
        self.draws = [bytearray() for _ in range(questions)]
        self.asked: Ints = np.zeros(questions, np.int64)
        self.settled: Ints = np.zeros(questions, np.int64)
        self.right: Ints = np.zeros(questions, np.int64)
        self.missing: Ints = np.zeros(questions, np.int64)
        self.target: Ints = np.zeros(questions, np.int64)
        """0 where it is not known yet; where `final` is not set, the least that it can be."""
        self.limit: Ints = np.full(questions, policy.probes or policy.most, np.int64)
        """Draws that may be asked for as things stand."""
        self.stop: Ints = np.zeros(questions, np.int64)
        """Draws gone through in order; of a question that is not open, all that count."""
        self.kept: Ints = np.zeros(questions, np.int64)
        """Right ones among them."""
        self.state = np.full(questions, OPEN, np.int8)
        self.given: Ints = np.zeros(questions, np.int64)
        """Draws of an earlier run, which cost nothing more."""
        self.safe: Ints = np.zeros(questions, np.int64)
        """Draws before which no question is given up: what is there already, or has drafts already."""
        self.polled = set(polled)
        self.open = questions
        self.final = not policy.over_max
        self.changes = 0
        """Counts whatever may change what is to be asked next."""
        self._begun = False
        self._unrated = questions

    # In.

    def ask(self, question: int) -> int:
        """Count one more draw as asked for; returns its number."""
        self.draws[question].append(ASKED)
        self.asked[question] += 1
        return int(self.asked[question]) - 1

    def restore(self, question: int, index: int, outcome: int) -> None:
        """Put down what an earlier session or run has of a draw; before `begin`."""
        row = self.draws[question]
        if index >= len(row):
            row.extend(bytes(index + 1 - len(row)))
            self.asked[question] = len(row)
        if row[index] == CUT and outcome == RIGHT:
            outcome = WRONG
        if row[index] < WRONG <= outcome:
            self._count(question, outcome)
        row[index] = outcome

    def settle(self, question: int, index: int, outcome: int) -> bool:
        """Put down what came of a draw. Returns whether that ended the question."""
        self.draws[question][index] = outcome
        self._count(question, outcome)
        self.changes += 1
        if not self._begun or self.state[question] != OPEN:
            return False
        self._go_on(question)
        return bool(self.state[question] != OPEN)

    def elect(self, question: int) -> None:
        """The question has an answer now: its draws can be judged."""
        self.polled.discard(question)

    def end(self, question: int, state: int) -> None:
        """Leave the question as it is."""
        if self.state[question] == OPEN:
            if self.policy.by_difficulty and not self.target[question]:
                self._unrated -= 1
            self.state[question] = state
            self.open -= 1
            self.changes += 1
            self._finalise()

    def begin(self) -> None:
        """All that was there has been put down: see what is met by it."""
        self._begun = True
        np.maximum(self.safe, self.given, out=self.safe)
        for question in np.flatnonzero(self.given).tolist():
            for index in range(int(self.given[question])):
                if self.draws[question][index] == ASKED:
                    self.restore(question, index, MISSING)
        for question in range(len(self.draws)):
            self._go_on(question)

    # Out.

    def owed(self) -> list[tuple[int, int]]:
        """Draws (question, index) below the highest ones that were asked for and have nothing yet."""
        return [
            (question, index)
            for question, row in enumerate(self.draws)
            if self.state[question] == OPEN and ASKED in row
            for index, outcome in enumerate(row)
            if outcome == ASKED
        ]

    def keeps(self, question: int, index: int) -> bool:
        """Whether the draw is one of the right ones that a question which is through keeps."""
        return bool(
            self.state[question] != OPEN
            and index < self.stop[question]
            and self.draws[question][index] == RIGHT
        )

    def fail_rate(self, question: int) -> float | None:
        """Share of wrong ones: where the target came from it that very one, else of the draws that count."""
        end = self.window(question) if self.policy.by_difficulty else int(self.stop[question])
        wrong, drawn = self._rate(question, end)
        return wrong / drawn if drawn else None

    def agreement(self, question: int) -> float | None:
        """Share of the first draws that give the answer, where they voted on it."""
        wrong, drawn = self._rate(question, self.policy.probes)
        return 1 - wrong / drawn if drawn else None

    def window(self, question: int) -> int:
        """First draws that the fail rate is taken from: all of an earlier run, but not fewer than the probes."""
        return max(self.policy.probes, int(self.given[question]))

    # Within.

    def _count(self, question: int, outcome: int) -> None:
        self.settled[question] += 1
        self.right[question] += outcome == RIGHT
        self.missing[question] += outcome == MISSING

    def _rate(self, question: int, end: int) -> tuple[int, int]:
        row = self.draws[question]
        wrong = row.count(WRONG, 0, end)
        return wrong, wrong + row.count(RIGHT, 0, end)

    def _go_on(self, question: int) -> None:
        """Fix the target if that can be done now, go through the draws in order, and set the limit."""
        if question in self.polled:
            return
        if not self.target[question] and not self._aim(question):
            return
        if self.final:
            self._walk(question)
        if self.state[question] == OPEN:
            horizon = self.policy.horizon(int(self.right[question]), int(self.target[question]))
            self.limit[question] = min(self.policy.most, max(horizon, int(self.safe[question])))

    def _aim(self, question: int) -> bool:
        if not self.policy.by_difficulty:
            self.target[question] = self.policy.k
            return True
        row, window = self.draws[question], self.window(question)
        if len(row) < window or any(outcome < WRONG for outcome in row[:window]):
            return False
        wrong, drawn = self._rate(question, window)
        if not drawn:
            self.stop[question] = window
            self.end(question, UNANSWERED)
            return False
        self._unrated -= 1
        self.target[question] = self.policy.target(wrong, drawn)
        self._finalise()
        return True

    def _finalise(self) -> None:
        """Where fail rates are over the highest: once all are known, so are the targets."""
        if self.final or self._unrated or not self._begun:
            return
        rates = {q: self._rate(q, self.window(q)) for q in np.flatnonzero(self.target).tolist()}
        hardest = max(rates.values(), key=lambda rate: rate[0] / rate[1], default=(1, 1))
        for question, (wrong, drawn) in rates.items():
            self.target[question] = self.policy.target(wrong, drawn, hardest)
        self.final = True
        self.changes += 1
        for question in rates:
            self._go_on(question)

    def _walk(self, question: int) -> None:
        if self.state[question] != OPEN:
            return
        row, n, kept = self.draws[question], int(self.stop[question]), int(self.kept[question])
        target, safe = int(self.target[question]), int(self.safe[question])
        most = self.policy.most
        horizon = self.policy.horizon(kept, target)
        state = OPEN
        while state == OPEN and n < len(row) and row[n] >= WRONG:
            if row[n] == RIGHT:
                kept += 1
                horizon = self.policy.horizon(kept, target)
            n += 1
            if kept == target:
                state = MET
            elif n >= most:
                state = MET if self.policy.name == "vanilla" else CAPPED
            elif n == _UNANSWERED_AFTER and row.count(MISSING, 0, n) == n:
                state = UNANSWERED
            elif n >= max(horizon, safe):
                state = GIVEN_UP
        self.stop[question], self.kept[question] = n, kept
        if state != OPEN:
            self.end(question, state)
