"""A teacher whose every response follows from its seed, and engines that answer late, in any order, many at once."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from upwell.engines.base import NOT_NOW_SECONDS, Reply, Request


def write_questions(path: Path, chances: list[float], levels: list[str] | None = None) -> Path:
    """Questions `q0`, `q1`, ...: what a question asks says how likely it is to be solved."""
    rows = [
        {"id": f"q{i}", "question": f"Chance {chance}? ({i})", "answer": str(100 + i)}
        | ({"level": levels[i]} if levels else {})
        for i, chance in enumerate(chances)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def is_right(seed: int, chance: float) -> bool:
    return random.Random(seed).random() < chance


def said(request: Request) -> str:
    """Right with the chance that the question names, as the seed decides."""
    chance = float(request.prompt.split("Chance ")[1].split("?")[0])
    number = int(request.key.split("#")[0].removeprefix("q"))
    wrong = 900 + request.seed % 7
    return f"Let me see. The answer is: {100 + number if is_right(request.seed, chance) else wrong}"


class Crowd:
    """An engine with many requests in flight, whose replies come in any order; it notes what it was asked.

    Args:
        say: What a response says.
        flight: Requests in flight at most.
        seed: Of the order of replies.
        threads: Whether the source is pulled in a thread of its own, as some engines do.
        ahead: Pulled at once at most before replies are given.
    """

    identity = "crowd"

    def __init__(
        self,
        say: Callable[[Request], str | Reply] = said,
        *,
        flight: int = 32,
        seed: int = 0,
        threads: bool = False,
    ) -> None:
        self.asked: list[Request] = []
        self.idle = 0
        self.most = 0
        self._say, self._flight, self._threads = say, flight, threads
        self._draw = random.Random(seed)

    @property
    def keys(self) -> list[str]:
        return [request.key for request in self.asked]

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Reply]:
        source, dry = iter(requests), False
        out: list[Request] = []
        while True:
            while not dry and len(out) < self._flight:
                request, dry = self._pull(source)
                if request is None:
                    break
                self.asked.append(request)
                out.append(request)
            self.most = max(self.most, len(out))
            if not out:
                if dry:
                    return
                self.idle += 1
                time.sleep(NOT_NOW_SECONDS)
                continue
            for _ in range(self._draw.randint(1, len(out))):
                at = self._draw.randrange(len(out))
                out[at], out[-1] = out[-1], out[at]
                yield self._reply(out.pop())

    def close(self) -> None: ...

    def _pull(self, source: Iterator[Any]) -> tuple[Request | None, bool]:
        if not self._threads:
            got = next(source, self)
        else:
            box: list[Any] = []
            puller = threading.Thread(target=lambda: box.append(next(source, self)))
            puller.start()
            puller.join()
            got = box[0]
        return (None, True) if got is self else (got, False)

    def _reply(self, request: Request) -> Reply:
        made = self._say(request)
        if isinstance(made, Reply):
            return made
        return Reply(key=request.key, text=made, tokens=len(made.split()), prompt_tokens=7)
