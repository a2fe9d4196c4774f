"""A long run of synthesis with an instant teacher: drafts per second and memory as the run grows, and how fast it resumes.

    python bench/synthesis.py                    # a million drafts: about 20 minutes on one core
    python bench/synthesis.py --count 100000

The whole path is run: prompts written, replies read strictly and graded against themselves, rows written. Memory is that of
this process (resident, MiB).
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "synthesis"), str(Path(__file__).parent)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seeds", type=int, default=7_473)
    parser.add_argument("--out", default=None, help="keep the run here")
    asked = parser.parse_args()

    from scripted_teacher import Teacher, seeds

    from long_run import Meter, resident
    from upwell.synthesis.settings import SynthesisSettings
    from upwell.synthesis.stages import synthesize

    folder = Path(asked.out or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "seeds.jsonl"
    rows = {row["question"]: row for row in seeds(2 * asked.seeds)}
    file.write_text("".join(json.dumps(row) + "\n" for row in itertools.islice(rows.values(), asked.seeds)))
    settings = SynthesisSettings(
        seeds=str(file), like="gsm8k", count=asked.count, price="1,2", max_tokens=400, out=str(folder / "run")
    )
    marks = [mark for mark in (1_000, 10_000, 100_000, 300_000, 1_000_000) if mark <= asked.count]
    teacher = Teacher(bad=0.1)
    teacher.calls = _Counted()  # type: ignore[assignment]
    teacher.faults = _Forgotten()
    try:
        synthesize(settings, engine=teacher.engine, watch=Meter(marks))
        size = sum(path.stat().st_size for path in (folder / "run").glob("*.jsonl")) / 2**20
        print(
            f"{teacher.calls.count:,} calls; {size:,.0f} MiB on disk; {resident():.1f} MiB of memory at the end"
        )  # type: ignore[attr-defined]
        start = time.monotonic()
        more = SynthesisSettings(
            seeds=str(file),
            like="gsm8k",
            count=asked.count + 1,
            price="1,2",
            max_tokens=400,
            out=str(folder / "run"),
        )
        before = teacher.calls.count  # type: ignore[attr-defined]
        synthesize(more, engine=teacher.engine, watch=Meter([]))
        print(
            f"resumed for one draft more in {time.monotonic() - start:.1f} s with "
            f"{teacher.calls.count - before} calls; {resident():.1f} MiB"  # type: ignore[attr-defined]
        )
    finally:
        if asked.out is None:
            shutil.rmtree(folder)


class _Counted:
    """A list that only counts: the teacher's own notes are not what is measured."""

    def __init__(self) -> None:
        self.count = 0

    def append(self, _: object) -> None:
        self.count += 1


class _Forgotten(dict[str, str]):
    def __setitem__(self, key: str, value: str) -> None: ...


if __name__ == "__main__":
    main()
