"""How fast rows go into a run directory, and what it takes to reopen and resume a big one.

    python bench/store.py                      # a million responses, about 650 MB in a temporary folder
    python bench/store.py --rows 100000 --folder /big/disk

Prints rows appended per second (one `append` per 1, 64 and 1024 rows), then the seconds and the peak
memory that a fresh process needs to open the run again, find the keys that are done, and append one owed
row. Beside each stands a naive peer, on a smaller stated count: `json.dumps` and one open-append-close per
row, and `json.loads` of every line into a set of keys. Ratios above 1 are in Upwell's favour; the peer's
reopening is timed on the same smaller table for both sides.

Bars: 20,000 rows/s at 64 rows per append; 20 s and 1 GiB to reopen a million. Exit status 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from upwell.records import Response, draw_key, draw_seed, problem_id
from upwell.runs import Run

BATCHES = (1, 64, 1024)
SAMPLES = 64
TEXT = (
    "Let's think step by step. She buys {a} boxes of {b} pencils, so she has {a} * {b} = {c} pencils.\n"
    "After giving {b} of them to her brother, {d} pencils remain. Each pencil costs \\$0.50, so what "
    "remains is worth {d} / 2 dollars.\nTherefore the value of the pencils — rounded down — is ${e}$.\n"
    "The answer is: \\boxed{{{e}}}"
)
RUN: dict[str, Any] = {
    "verb": "measure",
    "settings": {},
    "fingerprint": {"temperature": 0.7},
    "command": ["bench/store.py"],
}


def responses(start: int, stop: int) -> Iterator[Response]:
    """Responses of realistic shape, about 650 bytes a line."""
    for number in range(start, stop):
        a, b = number % 97 + 2, number % 13 + 3
        c, d = a * b, a * b - b
        problem = problem_id("gsm8k", "test", f"question {number // SAMPLES}")
        yield Response(
            key=draw_key(problem, number % SAMPLES),
            problem=problem,
            index=number % SAMPLES,
            text=TEXT.format(a=a, b=b, c=c, d=d, e=d // 2) + " " * (number % 200),
            finish="stop",
            tokens=120,
            seed=draw_seed(0, problem, number % SAMPLES),
            logprob=-0.25 - number % 100 / 1000,
        )


def append_ours(path: Path, rows: Iterable[Response], batch: int) -> None:
    rows = list(rows)
    with Run.open(path, **RUN) as run:
        for start in range(0, len(rows), batch):
            run.append("responses", rows[start : start + batch])


def append_naively(path: Path, rows: Iterable[dict[str, object]]) -> None:
    path.mkdir(parents=True)
    for row in rows:
        with open(path / "responses.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")


def resume_ours(path: Path) -> int:
    with Run.open(path, **RUN) as run:
        done = run.keys("responses")
        owed = next(row for row in responses(len(done), len(done) + 1) if row.key not in done)
        run.append("responses", [owed])
    return len(done)


def resume_naively(path: Path) -> int:
    with open(path / "responses.jsonl") as file:
        done = {row["key"] for row in [json.loads(line) for line in file]}
    owed = next(row for row in responses(len(done), len(done) + 1) if row.key not in done)
    with open(path / "responses.jsonl", "a") as file:
        file.write(json.dumps(msgspec.structs.asdict(owed)) + "\n")
    return len(done)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_fresh_process(side: str, path: Path) -> tuple[float, float, int]:
    """Seconds, peak memory in MiB and keys found, of a new process that resumes; imports not counted."""
    done = subprocess.run(
        [sys.executable, __file__, "--resume", side, str(path)], check=True, capture_output=True, text=True
    )
    took, kibibytes, found = done.stdout.split()
    return float(took), float(kibibytes) / 1024, int(found)


def resume_and_print(side: str, path: Path) -> None:
    started = time.perf_counter()
    found = (resume_ours if side == "ours" else resume_naively)(path)
    took = time.perf_counter() - started
    print(took, peak_kibibytes(), found)


def peak_kibibytes() -> int:
    """The peak resident memory of this process. (`ru_maxrss` would begin at its parent's, through vfork.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def bench_append(folder: Path, rows: int, peer_rows: int) -> float:
    """Rows per second at 64 rows per append."""
    sample = list(responses(0, rows))
    plain = [msgspec.structs.asdict(row) for row in sample[:peer_rows]]
    naive = peer_rows / seconds(lambda: append_naively(folder / "naive-append", plain))
    print(f"append, naive peer      {naive:12,.0f} rows/s  ({peer_rows:,} rows, one open and write each)")
    rates = {}
    for batch in BATCHES:
        count = min(rows, 20_000 * batch)
        path = folder / f"append-{batch}"
        rates[batch] = count / seconds(lambda p=path, n=count, b=batch: append_ours(p, sample[:n], b))
        print(
            f"append, batch {batch:5d}     {rates[batch]:12,.0f} rows/s  ({count:,} rows)"
            f"  {rates[batch] / naive:6.1f} x the peer"
        )
    return rates[64]


def bench_resume(folder: Path, rows: int, peer_rows: int) -> tuple[float, float]:
    """Seconds and MiB to reopen and resume `rows` responses."""
    for count, path in ((peer_rows, folder / "small"), (rows, folder / "big")):
        with Run.open(path, **RUN) as run:
            for start in range(0, count, 10_000):
                run.append("responses", responses(start, min(start + 10_000, count)))
    size = (folder / "big" / "responses.jsonl").stat().st_size
    small = in_fresh_process("ours", folder / "small")
    naive = in_fresh_process("naive", folder / "small")
    print(
        f"resume {peer_rows:,} rows: naive peer {naive[0]:.2f} s, {naive[1]:,.0f} MiB;"
        f" upwell {small[0]:.2f} s, {small[1]:,.0f} MiB; {naive[0] / small[0]:.1f} x faster,"
        f" {naive[1] / small[1]:.1f} x less memory"
    )
    took, memory, found = in_fresh_process("ours", folder / "big")
    assert found == rows
    print(
        f"resume {rows:,} rows ({size / 2**20:,.0f} MiB, {size / rows:.0f} bytes a row):"
        f" {took:.2f} s, peak {memory:,.0f} MiB"
    )
    return took, memory


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="responses of the run that is reopened")
    parser.add_argument("--peer-rows", type=int, default=100_000, help="responses for the naive peer")
    parser.add_argument("--append-rows", type=int, default=200_000, help="most rows appended per batch size")
    parser.add_argument("--folder", type=Path, help="where to write, by default the temporary folder")
    parser.add_argument("--resume", nargs=2, metavar=("SIDE", "RUN"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.resume:
        resume_and_print(arguments.resume[0], Path(arguments.resume[1]))
        return 0
    peer_rows = min(arguments.peer_rows, arguments.rows)
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="bench-store-") as folder:
        rate = bench_append(Path(folder), arguments.append_rows, min(peer_rows, arguments.append_rows))
        took, memory = bench_resume(Path(folder), arguments.rows, peer_rows)
    missed = [
        bar
        for bar, met in {
            "20,000 rows/s at batch 64": rate >= 20_000,
            "20 s to resume": took <= 20 or arguments.rows > 1_000_000,
            "1 GiB to resume": memory <= 1024 or arguments.rows > 1_000_000,
        }.items()
        if not met
    ]
    print("missed: " + ", ".join(missed) if missed else "every bar met")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
