"""A real teacher, small and on this machine: `xwin` on GSM8K train seeds through a llama.cpp server with SmolLM2-135M.

    UPWELL_DATA=... python bench/teacher.py                    # 50 seeds, one try each, into runs/teacher-xwin
    UPWELL_DATA=... python bench/teacher.py --tries 10 --method rephrase

The run directory resumes. What is shown is the yield: a teacher of 135M parameters mostly fails, and by which reasons is
what is looked at.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engines"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=50)
    parser.add_argument("--method", default="xwin")
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--seeds", default="gsm8k")
    parser.add_argument("--out", default=None)
    asked = parser.parse_args()
    import llamacpp

    out = asked.out or f"runs/teacher-{asked.method}"
    start = time.monotonic()
    with llamacpp.serving(parallel=asked.parallel, context=1536) as url:
        done = subprocess.run(
            [
                sys.executable, "-c", "from upwell.cli import main; main()", "synthesize", "--method", asked.method,
                "--seeds", asked.seeds, "--limit", str(asked.tries), "--count", str(asked.tries),
                "--max-tries", str(asked.tries), "--teacher", f"server:{url}#{llamacpp.MODEL}",
                "--max-tokens", str(asked.max_tokens), "--max-concurrency", str(asked.parallel), "--out", out,
            ],
            check=False,
        )  # fmt: skip
    print(
        f"exit code {done.returncode} after {time.monotonic() - start:,.0f} s; look closer: upwell show {out}"
    )


if __name__ == "__main__":
    main()
