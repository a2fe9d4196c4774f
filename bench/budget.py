"""Caps on spending against a priced server: by how much they are passed, and how much of them is left.

    python bench/budget.py

Each line is one run under `--max-usd` through the server engine with a fixed number of calls in flight, against a server in
another process whose responses differ in length. "most" is how many calls really were in flight at once; "in flight cost" is
that many responses at their mean price.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engines"))

from fault_server import MODEL, serving

from upwell.engines.base import Request, Sampling
from upwell.engines.endpoint import Endpoint
from upwell.engines.server.engine import ServerEngine
from upwell.engines.server.pacing import Fixed
from upwell.engines.settings import EngineSettings
from upwell.engines.spending import Metered, Price
from upwell.errors import BudgetSpent

PRICE = Price(prompt=2.0, completion=8.0)


def trial(cap: float, width: int) -> str:
    with serving("--latency", "0.05") as server:
        settings = EngineSettings(max_usd=cap)
        engine = ServerEngine(
            [Endpoint(server.url)], MODEL, settings=settings, pace=lambda most: Fixed(width)
        )
        requests = (
            Request(
                key=str(n),
                prompt=f"What is {n // 8} + 1?",
                add_special_tokens=True,
                seed=n,
                sampling=Sampling(max_tokens=64),
            )
            for n in range(100_000)
        )
        spent, count, most, end = 0.0, 0, 0, "not stopped"
        try:
            for reply in Metered(engine, price=PRICE, settings=settings).generate(requests):
                most = max(most, engine.remotes[0].pace.in_flight)
                spent += PRICE.usd(reply.usage)
                count += 1
        except BudgetSpent:
            end = "stopped"
        one = spent / max(1, count)
        cells = (
            f"{cap:.2f}",
            width,
            most,
            f"{count:,}",
            f"{spent:.5f}",
            f"{spent - cap:+.5f}",
            f"{one:.6f}",
            f"{one * most:.5f}",
        )
        return "".join(f"{cell:>15}" for cell in cells) + f"  {end}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--caps", default="0.01,0.05,0.25")
    parser.add_argument("--in-flight", default="1,16,128")
    asked = parser.parse_args()
    columns = ("cap", "allowed", "most", "responses", "spent", "overshoot", "one response", "in flight cost")
    print("".join(f"{column:>15}" for column in columns))
    for cap in map(float, asked.caps.split(",")):
        for width in map(int, asked.in_flight.split(",")):
            print(trial(cap, width), flush=True)


if __name__ == "__main__":
    main()
