"""The `upwell` command with a scripted judge: `python scripted_judge.py grade FILE --judge scripted ...`.

Environment: SCRIPT_PAUSE, seconds per vote at most.
"""

from __future__ import annotations

import functools
import os
import random
import sys
import time

from upwell.engines.base import Request
from upwell.engines.scripted import ScriptedEngine


def main() -> None:
    from upwell.cli import main as upwell
    from upwell.measurement import grading

    pause = float(os.environ.get("SCRIPT_PAUSE", "0"))

    def reply(request: Request) -> str:
        draw = random.Random(request.seed)
        time.sleep(draw.random() * pause)
        return draw.choice(["Yes.\nVerdict: correct", "No.\nVerdict: incorrect", "Who knows."])

    grading.grade = functools.partial(grading.grade, judge=ScriptedEngine(reply))  # type: ignore[assignment]
    sys.argv[0] = "upwell"
    upwell()


if __name__ == "__main__":
    main()
