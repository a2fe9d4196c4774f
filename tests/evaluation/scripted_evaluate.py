"""`upwell evaluate` with a scripted model, that can be killed at any moment: python scripted_evaluate.py OUT.

Environment: SCRIPT_PAUSE, seconds per response at most.
"""

from __future__ import annotations

import os
import random
import sys
import time

from benches import XWIN, guess

from upwell.engines.base import Request
from upwell.engines.scripted import ScriptedEngine
from upwell.evaluation import EvaluateSettings
from upwell.evaluation.stage import evaluate


def settings(out: str) -> EvaluateSettings:
    both = ("gsm8k-originals", "gsm8k-perturbed")
    return EvaluateSettings(suite="robust", sets=both, out=out, samples=30, workers=1, cache=False)


def main() -> None:
    pause = float(os.environ.get("SCRIPT_PAUSE", "0"))

    def reply(request: Request) -> str:
        time.sleep(random.random() * pause)
        return guess(request)

    evaluate([XWIN], settings(sys.argv[1]), engines={XWIN: ScriptedEngine(reply)})


if __name__ == "__main__":
    main()
