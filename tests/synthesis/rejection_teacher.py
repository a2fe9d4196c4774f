"""A teacher whose every response follows from its seed, and engines that answer late, in any order, many at once."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from upwell.engines.base import NOT_NOW_SECONDS, Reply, Request
from upwell.problems import ProblemSet
from upwell.synthesis.rejection import plan, rejection
from upwell.synthesis.settings import SynthesisSettings


def write_questions(path: Path, chances: list[float], levels: list[str] | None = None) -> Path:
    """Questions `q0`, `q1`, ...: what a question asks says how likely it is to be solved."""
    rows = [
        {"id": f"q{i}", "question": f"Chance {chance}? ({i})", "answer": str(100 + i)}
        | ({"level": levels[i]} if levels else {})
        for i, chance in enumerate(chances)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


OPEN = "open"
"""Level of questions that `hide_answers` takes the reference answer from: files have to have them."""


def hide_answers() -> Callable[..., ProblemSet]:
    """What loads questions, as if those of the level `OPEN` had no reference answer."""
    load = plan.questions

    def hidden(settings: SynthesisSettings, *, graded: bool) -> ProblemSet:
        found = load(settings, graded=graded)
        problems = tuple(
            msgspec.structs.replace(one, answer="" if one.level == OPEN else one.answer) for one in found
        )
        return dataclasses.replace(found, problems=problems)

    return hidden


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
        note: Told of each request as it goes out: from then on it is paid for.
    """

    identity = "crowd"

    def __init__(
        self,
        say: Callable[[Request], str | Reply] = said,
        *,
        flight: int = 32,
        seed: int = 0,
        threads: bool = False,
        note: Callable[[Request], object] = lambda request: None,
    ) -> None:
        self.asked: list[Request] = []
        self._say, self._flight, self._threads = say, flight, threads
        self._draw, self._note = random.Random(seed), note

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
                self._note(request)
                out.append(request)
            if not out:
                if dry:
                    return
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


def main() -> None:
    """`python rejection_teacher.py SETTINGS LOG PAUSE`: a run with a slow crowd that notes each call in a file."""
    plan.questions = hide_answers()
    settings, log, pause = SynthesisSettings(**json.loads(sys.argv[1])), sys.argv[2], float(sys.argv[3])
    calls = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def slowly(request: Request) -> str:
        time.sleep(random.random() * pause)
        return said(request)

    def note(request: Request) -> None:
        os.write(calls, f"{request.key}\n".encode())

    rejection(settings, engine=Crowd(slowly, seed=os.getpid(), threads=True, note=note))


if __name__ == "__main__":
    main()
