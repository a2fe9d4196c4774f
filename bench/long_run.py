"""A long run through one server: memory and rows per second as the run grows.

    python bench/long_run.py                  # 100,000 responses from an instant server in another process
    python bench/long_run.py --responses 20000

The whole path is run: requests rendered, sent over loopback, parsed, and written to a run directory. Memory is that of
this process (resident, MiB); the server's is not in it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engines"))


class Meter:
    """A watch that notes memory and time at given numbers of rows."""

    def __init__(self, marks: list[int]) -> None:
        self.marks, self.rows = marks, 0
        self.begun = 0.0

    def say(self, line: str) -> None:
        print(line, file=sys.stderr)

    def begin(self, what: str, total: int, done: int = 0) -> None:
        self.begun, self.rows = time.monotonic(), done

    def advance(self, rows: int = 1, *, tokens: int = 0, usd: float = 0.0) -> None:
        self.rows += rows
        if self.marks and self.rows >= self.marks[0]:
            mark = self.marks.pop(0)
            seconds = time.monotonic() - self.begun
            print(f"{mark:>10,} rows  {resident():8.1f} MiB  {mark / seconds:8,.0f} rows/s", flush=True)

    def end(self) -> None: ...


def resident() -> float:
    """MiB of this process in memory now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1]) / 1024
    return float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--responses", type=int, default=100_000)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--max-concurrency", type=int, default=256)
    asked = parser.parse_args()
    from fault_server import serving

    from upwell.measurement import SampleSettings, sample
    from upwell.runs import Run

    problems = max(1, asked.responses // asked.samples)
    total = problems * asked.samples
    marks = sorted({total // 100, total // 10, total // 4, total // 2, total})
    with tempfile.TemporaryDirectory() as folder, serving() as server:
        file = Path(folder) / "problems.jsonl"
        file.write_text(
            "".join(
                json.dumps(
                    {"id": str(n), "question": f"What is {n} + {n}? " + "word " * 20, "answer": str(2 * n)}
                )
                + "\n"
                for n in range(problems)
            )
        )
        before = resident()
        begun = time.process_time()
        out = sample(
            SampleSettings(
                problems=str(file),
                model=f"server:{server.url}#{server.model}",
                out=str(Path(folder) / "run"),
                samples=asked.samples,
                max_concurrency=asked.max_concurrency,
            ),
            watch=Meter(marks),
        )
        cpu = time.process_time() - begun
        run = Run.read(out)
        keys = run.keys("responses")
        print(
            f"before: {before:.1f} MiB; CPU of this process {cpu:.1f} s, {total / cpu:,.0f} rows per CPU-second"
        )
        print(f"rows owed {total - len(keys)}, duplicated {run.count('responses') - len(keys)}")


if __name__ == "__main__":
    main()
