"""A writer that is meant to be killed: `python killed_writer.py RUN ROWS SEED PAUSE`.

Makes the rows that are owed in batches of random size and, after each `append`, acknowledges the keys on
stdout. What a row holds follows from its key, so that a reader can tell a damaged one.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from upwell.records import Response
from upwell.runs import Run

SETTINGS: dict[str, Any] = {"verb": "measure", "settings": {}, "fingerprint": {"temperature": 0.7}}


def response(index: int) -> Response:
    """Row `index`: mostly short, now and then long enough for a kill to fall inside its `write`."""
    draw = random.Random(index)
    length = 500_000 if draw.random() < 0.004 else draw.randrange(300)
    text = f'{index} "\\é\n' * (length // 8 + 1)
    return Response(
        key=f"p#{index}", problem="p", index=index, text=text, finish="stop", tokens=length, seed=index
    )


def write_owed(path: str, rows: int, seed: int, pause: float, acknowledge: Callable[[str], object]) -> None:
    draw = random.Random(seed)
    with Run.open(path, **SETTINGS, command=["killed_writer"]) as run:
        acknowledge("open\n")
        done = run.keys("responses")
        owed = [index for index in range(rows) if f"p#{index}" not in done]
        while owed:
            size = draw.randint(1, 64)
            batch, owed = owed[:size], owed[size:]
            run.append("responses", [response(index) for index in batch])
            acknowledge("".join(f"{index}\n" for index in batch))
            time.sleep(draw.random() * pause)
        run.finish({"metrics": []})


if __name__ == "__main__":
    write_owed(
        sys.argv[1],
        int(sys.argv[2]),
        int(sys.argv[3]),
        float(sys.argv[4]),
        lambda text: os.write(1, text.encode()),
    )
