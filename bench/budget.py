"""Caps on spending against a priced server: by how much they are passed, and how much of them is left.

    python bench/budget.py

Each line is one run of `upwell sample` with `--max-usd` through the server engine, against a server in another process
whose responses differ in length. "In flight" is what all requests in flight would cost at the mean price of a response.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engines"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--caps", default="0.01,0.05,0.25")
    parser.add_argument("--in-flight", default="1,16,128")
    asked = parser.parse_args()
    from fault_server import serving

    from upwell.errors import BudgetSpent
    from upwell.measurement import SampleSettings, sample
    from upwell.measurement.spending import spending_of
    from upwell.runs import Run

    columns = ("cap", "in flight", "responses", "spent", "overshoot", "one response", "in flight costs")
    print("".join(f"{column:>16}" for column in columns))
    for cap in map(float, asked.caps.split(",")):
        for width in map(int, asked.in_flight.split(",")):
            with tempfile.TemporaryDirectory() as folder, serving() as server:
                file = Path(folder) / "problems.jsonl"
                rows = [
                    {"id": str(n), "question": f"What is {n} + {n}?", "answer": str(2 * n)}
                    for n in range(1000)
                ]
                file.write_text("".join(json.dumps(row) + "\n" for row in rows))
                settings = SampleSettings(
                    problems=str(file), model=f"server:{server.url}#{server.model}", out=str(Path(folder) / "run"),
                    samples=64, max_concurrency=width, price="2,8", max_usd=cap,
                )  # fmt: skip
                try:
                    sample(settings)
                    stopped = False
                except BudgetSpent:
                    stopped = True
                run = Run.read(folder + "/run")
                spent, count = spending_of(run)["usd"], run.count("responses")
                one = spent / max(1, count)
                cells = (
                    f"{cap:.2f}", width, f"{count:,}", f"{spent:.5f}", f"{spent - cap:+.5f}", f"{one:.6f}", 
                    f"{one * width:.5f}",
                )  # fmt: skip
                told = "".join(f"{cell:>16}" for cell in cells)
                print(told + ("" if stopped else "  not stopped"), flush=True)


if __name__ == "__main__":
    main()
