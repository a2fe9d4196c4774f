"""The `upwell` command with a scripted model: `python scripted_upwell.py measure --problems ... --out ...`.

Starts in half a second, as no torch is loaded, and draws as slowly as wanted, so that it can be killed at any
moment of its work. What a response says follows from its seed, as with a real model.

Environment: SCRIPT_PAUSE, seconds per response at most; SCRIPT_GRADING_PAUSE, seconds per verdict;
SCRIPT_FAIL, a regular expression of keys that get an error reply.
"""

from __future__ import annotations

import functools
import os
import random
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

from upwell.engines.base import Request
from upwell.engines.scripted import ScriptedEngine


def said(request: Request) -> str:
    """A text of a few to a few hundred words that ends in an answer from 0 to 9."""
    draw = random.Random(request.seed)
    return f"{'so é ' * draw.choice([1, 3, 100])}The answer is: {draw.randrange(10)}"


def engine() -> ScriptedEngine:
    pause, fail = float(os.environ.get("SCRIPT_PAUSE", "0")), os.environ.get("SCRIPT_FAIL")

    def reply(request: Request) -> str:
        time.sleep(random.random() * pause)
        if fail and re.search(fail, request.key):
            raise ConnectionError("the server hung up")
        return said(request)

    return ScriptedEngine(reply)


def main() -> None:
    from upwell.cli import main as upwell
    from upwell.grading import RuleGrader
    from upwell.measurement import stages

    stages.measure = functools.partial(stages.measure, engine=engine())
    stages.sample = functools.partial(stages.sample, engine=engine())
    if pause := float(os.environ.get("SCRIPT_GRADING_PAUSE", "0")):
        at_once = RuleGrader.grade

        def slowly(self: RuleGrader, pairs: Any) -> Iterator[Any]:
            for verdict in at_once(self, pairs):
                time.sleep(pause)
                yield verdict

        RuleGrader.grade = slowly  # type: ignore[method-assign]
        stages._BATCH = 16
    sys.argv[0] = "upwell"
    upwell()


if __name__ == "__main__":
    main()
