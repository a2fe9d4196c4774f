"""The requests of one `generate`: which are gathered, which wait for which part, and which a part covers already."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from upwell.engines.batch.output import Output
from upwell.engines.batch.parts import Part, Parts
from upwell.engines.server.calls import Item


class Row(NamedTuple):
    """A request that is in no part yet."""

    custom_id: str
    item: Item
    url: str
    line: bytes


class Job:
    """Requests between source and reply.

    A part that an earlier session began covers requests that may be asked for now, later, or, having been
    answered then, never. It is kept until all have been: what was paid for is not asked again.

    Args:
        parts: the journal.
        rows: of one part at most.
        size: bytes of one part at most; a request that is larger has a part of its own.
    """

    def __init__(self, parts: Parts, rows: int, size: int) -> None:
        self._parts = parts
        self._rows, self._size = rows, size
        self.open = {part.number: part for part in parts.unsettled()}
        self.begun_before = set(self.open)
        """Their last step may have been taken unrecorded."""
        self.collected_before = {n for n, part in self.open.items() if part.state == "collected"}
        self._covered: dict[str, int] = {}
        """By custom id the last part that asks it, of those begun before; without what was asked for since."""
        for part in self.open.values():
            self._covered |= dict.fromkeys(parts.asked(part), part.number)
        self._unclaimed = Counter(self._covered.values())
        self._awaited: dict[int, dict[str, Item]] = {number: {} for number in self.open}
        self._waiting: set[str] = set()
        self._gathered: list[Row] = []
        self._gathered_size = 0
        self._outputs: dict[int, Output] = {}
        self.held: set[int] = set()
        """Parts for which the provider has no room until another has ended."""
        self.alone: set[int] = set()
        """Parts that were handed in while no other was out."""
        self.statuses: dict[int, str] = {}
        """What was last said of a part."""
        for part in list(self.open.values()):
            if part.state == "collected":
                self.settle_if_over(part)  # all that it lacks is asked by later parts

    @property
    def gathered(self) -> bool:
        """Whether there are requests that are in no part yet."""
        return bool(self._gathered)

    @property
    def full(self) -> bool:
        """Whether what was gathered makes a part."""
        return len(self._gathered) >= self._rows or self._gathered_size >= self._size

    @property
    def awaited(self) -> list[Part]:
        """Parts that a request waits for, the oldest first. Nothing is done for the others."""
        return [part for number, part in self.open.items() if self._awaited[number]]

    @property
    def out(self) -> int:
        """How many parts the provider has or is about to get."""
        return sum(part.state != "collected" for part in self.awaited)

    def knows(self, custom_id: str) -> bool:
        """Whether a request of this id waits already: then one like it, asked for a second time, needs its own."""
        return custom_id in self._waiting

    def claim(self, custom_id: str, item: Item) -> bool:
        """Let a request wait for the part that covers it. Returns whether one does."""
        self._waiting.add(custom_id)
        number = self._covered.pop(custom_id, None)
        if number is None:
            return False
        self._unclaimed[number] -= 1
        self._awaited[number][custom_id] = item
        return True

    def gather(self, row: Row) -> None:
        """Put a request into the next part."""
        self._gathered.append(row)
        self._gathered_size += len(row.line)

    def begin(self) -> None:
        """Make a part of what was gathered, or as much of it as fits; one for each path."""
        size = count = 0
        for row in self._gathered[: self._rows]:
            if count and size + len(row.line) > self._size:
                break
            size, count = size + len(row.line), count + 1
        taken, self._gathered = self._gathered[:count], self._gathered[count:]
        self._gathered_size -= size
        for url in dict.fromkeys(row.url for row in taken):
            rows = [row for row in taken if row.url == url]
            part = self._parts.new(url, [row.line for row in rows])
            self.open[part.number] = part
            self._awaited[part.number] = {row.custom_id: row.item for row in rows}

    def waiting(self, part: Part) -> dict[str, Item]:
        """The requests that wait for a part, by custom id."""
        return dict(self._awaited[part.number])

    def done(self, part: Part, custom_id: str) -> None:
        """A request waits for its part no more: its reply was taken, or it is to be gathered anew."""
        del self._awaited[part.number][custom_id]
        self._waiting.discard(custom_id)

    def output(self, part: Part) -> tuple[Output, bool]:
        """What came back of a collected part, and whether it is looked at for the first time."""
        first = part.number not in self._outputs
        if first:
            paths = (self._parts.output(part), self._parts.errors(part))
            self._outputs[part.number] = Output(paths, set(self._parts.asked(part)))
        return self._outputs[part.number], first

    def settle_if_over(self, part: Part) -> None:
        """Be done with a part of which nothing is owed any more."""
        if not self._awaited[part.number] and not self._unclaimed[part.number]:
            self._parts.settle(part)
            for kept in (self.open, self._awaited, self._outputs, self.statuses):
                kept.pop(part.number, None)
