"""How many calls in flight a server gets: servers with a knee, in another process, through the whole engine.

    python bench/pacing.py

Up to the knee a call takes the latency; beyond it calls take longer, so that the throughput stays (fall 1) or falls. The
best throughput is knee / latency. "settled" is what the calls from the 500th on got of it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engines"))

from fault_server import MODEL, serving

from upwell.engines.base import Request, Sampling
from upwell.engines.endpoint import Endpoint
from upwell.engines.server.engine import ServerEngine
from upwell.engines.settings import EngineSettings


def trial(knee: int, fall: float, latency: float, count: int) -> str:
    with serving("--latency", str(latency), "--knee", str(knee), "--fall", str(fall)) as server:
        engine = ServerEngine([Endpoint(server.url)], MODEL, settings=EngineSettings())
        pace, most, ends = engine.remotes[0].pace, 0, []
        requests = (
            Request(
                key=str(n),
                prompt=f"p{n // 8}",
                add_special_tokens=True,
                seed=n,
                sampling=Sampling(max_tokens=64),
            )
            for n in range(count)
        )
        for _ in engine.generate(requests):
            ends.append(time.monotonic())
            most = max(most, pace.in_flight)
        late = ends[499 : int(0.95 * count)]  # the last ones end in an emptying pipeline
        rate = (len(late) - 1) / (late[-1] - late[0])
        return (
            f"{knee:6} {fall:5.1f} {latency:8.2f} {knee / latency:8.0f} {rate:8.0f} {100 * rate * latency / knee:7.0f} % "
            f"{pace.limit:6} {most:6} {most / knee:6.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--knees", default="8,64")
    asked = parser.parse_args()
    print(
        f"{'knee':>6} {'fall':>5} {'latency':>8} {'best/s':>8} {'got/s':>8} {'settled':>9} {'limit':>6} {'most':>6} {'/ knee':>6}"
    )
    for knee in map(int, asked.knees.split(",")):
        for fall in (1.0, 1.5):
            print(trial(knee, fall, 0.2, asked.requests if knee >= 32 else asked.requests // 2), flush=True)


if __name__ == "__main__":
    main()
