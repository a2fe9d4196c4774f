"""How a stage says what it is doing, without knowing whether anybody looks."""

from __future__ import annotations

from typing import Protocol


class Watch(Protocol):
    """Told of a stage's progress. Implementations must be cheap: `advance` is called for every row."""

    def say(self, line: str) -> None:
        """Something worth a line."""

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """A part of known length begins, `done` rows of it being there already."""

    def advance(self, rows: int = 1, *, tokens: int | None = 0, usd: float = 0.0) -> None:
        """Rows were finished, with that many tokens (None: not known), for so many dollars."""

    def end(self) -> None:
        """The part begun last is over."""


class Silent:
    """Says nothing."""

    def say(self, line: str) -> None: ...

    def begin(self, what: str, total: int, done: int = 0) -> None: ...

    def advance(self, rows: int = 1, *, tokens: int | None = 0, usd: float = 0.0) -> None: ...

    def end(self) -> None: ...
