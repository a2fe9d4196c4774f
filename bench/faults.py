"""Every fault that a server can have, 2,000 requests each, through the server engine.

    python bench/faults.py

One call in ten goes wrong in the named way; `restart` closes the port and every connection for a second in mid-run,
twice. Lost and duplicated are counted over the requests' keys; wasted are calls that gave nothing and were made again.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engines"))

from fault_server import FAULTS, MODEL, FaultServer, babble

from upwell.engines.base import Request, Sampling
from upwell.engines.endpoint import Endpoint
from upwell.engines.server.engine import ServerEngine
from upwell.engines.server.wire import seed_of
from upwell.engines.settings import EngineSettings
from upwell.errors import EngineError


def asked(count: int) -> Iterator[Request]:
    for n in range(count):
        yield Request(
            key=f"{n // 8}#{n % 8}", prompt=f"prompt {n // 8}", add_special_tokens=True, seed=n,
            sampling=Sampling(max_tokens=64),
        )  # fmt: skip


def trial(fault: str, count: int, choices: int) -> str:
    settings = EngineSettings(request_timeout=1.0, patience=3.0, choices_per_call=choices)
    wrong = fault if fault in FAULTS else None
    slow = {"slow past a knee": 32}.get(fault)
    with FaultServer(
        fault=lambda number, body: wrong if number % 10 == 7 else None, latency=0.005, knee=slow, fall=1.5
    ) as server:
        engine = ServerEngine([Endpoint(server.url)], MODEL, settings=settings)
        keys: Counter[str] = Counter()
        errors = wasted = amiss = 0
        begun, end = time.monotonic(), "finished"
        try:
            for number, reply in enumerate(engine.generate(asked(count))):
                keys[reply.key] += 1
                errors += reply.error is not None
                wasted += reply.wasted.calls
                prompt, seed = (
                    int(reply.key.split("#")[0]),
                    int(reply.key.split("#")[0]) * 8 + int(reply.key.split("#")[1]),
                )
                amiss += choices == 1 and reply.text != babble(seed_of(seed), f"prompt {prompt}")
                if fault == "restart" and number in (count // 3, 2 * count // 3):
                    server.vanish()
                    threading.Timer(1.0, server.listen).start()
                if fault == "gone for good" and number == count // 2:
                    server.vanish()
        except EngineError as error:
            end = f"ended: {error.message[:60]}"
        seconds = time.monotonic() - begun
        owed = count - len(keys)
        lost = 0 if end != "finished" else owed
        doubled = sum(keys.values()) - len(keys)
        return (
            f"{fault:18} {choices:3} {lost:5} {doubled:7} {amiss:6} {errors:6} {server.calls:7,} {wasted:7,} {seconds:8.1f}  "
            f"{end}{f', {owed:,} owed' if owed else ''}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000)
    given = parser.parse_args()
    print(
        f"{'fault':18} {'n':>3} {'lost':>5} {'doubled':>7} {'amiss':>6} {'errors':>6} {'calls':>7} {'wasted':>7} {'seconds':>8}"
    )
    for fault in ("none", *FAULTS, "restart", "slow past a knee", "gone for good"):
        for choices in (1, 4) if fault in ("few", "many", "duplicate", "half") else (1,):
            print(trial(fault, given.requests, choices), flush=True)


if __name__ == "__main__":
    main()
