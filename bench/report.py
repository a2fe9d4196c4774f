"""A page on a large run: how long it takes to build, its memory and size, and how long it takes to open in Chromium.

    python bench/report.py                      # 5,000 problems x 256 responses, made up, in a temporary folder
    python bench/report.py --problems 500 --keep runs/big

Then the same run served: how long until the address answers, memory, and one problem with all its responses.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS / "report"), str(TESTS)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=5000)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--keep", type=Path, help="folder for the run; it is used again where it is there")
    parser.add_argument("--part", choices=("build", "serve"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="bench-report-"))
    if asked.part:
        {"build": _build, "serve": _serve}[asked.part](folder)
        return
    try:
        _make(folder / "run", asked.problems, asked.samples)
        for part in ("build", "serve"):  # each in a process of its own, for its memory
            command = [sys.executable, __file__, "--keep", str(folder), "--part", part]
            subprocess.run(command, check=True)
        _open(folder / "report.html")
    finally:
        if asked.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def _make(path: Path, problems: int, samples: int) -> None:
    from fabricated import write_run

    begun = time.monotonic()
    if not (path / "summary.json").exists():
        write_run(path, problems=problems, samples=samples)
    size = (path / "responses.jsonl").stat().st_size
    print(
        f"run: {problems * samples:,} responses, {size / 1e6:.0f} MB, there after {time.monotonic() - begun:.0f} s",
        flush=True,
    )


def _build(folder: Path) -> None:
    from upwell.report import build

    begun = time.monotonic()
    files = build([folder / "run"], folder / "report.html")
    print(
        f"build: {time.monotonic() - begun:.1f} s, peak {_peak():.0f} MB, page {files.html.stat().st_size / 1e6:.2f} MB, "
        f"{len(files.pngs)} PNGs",
        flush=True,
    )


def _serve(folder: Path) -> None:
    from upwell.records import Problem
    from upwell.report import serve
    from upwell.runs import Run

    begun = time.monotonic()
    server = serve([folder / "run"])
    ready = time.monotonic() - begun
    threading.Thread(target=server.serve_forever, daemon=True).start()
    key = next(iter(Run.read(folder / "run").rows("problems", Problem))).key
    for what in (
        "",
        f"responses?run=0&problem={urllib.parse.quote(key, safe='')}",
        "search?run=0&text=nowhere",
    ):
        begun = time.monotonic()
        with urllib.request.urlopen(server.address + what) as answer:
            body = answer.read()
        held = f", {len(json.loads(body)['responses'])} responses" if what.startswith("responses") else ""
        name = what.partition("?")[0] or "page"
        print(f"serve: {name} {len(body) / 1e6:.2f} MB{held} in {time.monotonic() - begun:.2f} s", flush=True)
    print(f"serve: ready after {ready:.1f} s, peak {_peak():.0f} MB", flush=True)
    server.shutdown()


def _open(page: Path) -> None:
    from browser import Browser

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        print("open: not measured, there is no chromium")
        return
    with Browser(executable, Path(tempfile.mkdtemp(prefix="bench-profile-"))) as browser:
        for size in (1440, 390):
            browser.window(size, 900)
            begun = time.monotonic()
            browser.open(page)
            browser.wait_for("document.querySelectorAll('.problem').length > 0")
            opened = time.monotonic() - begun
            begun = time.monotonic()
            browser.evaluate("document.querySelector('.problem button').click()")
            browser.wait_for("document.querySelector('.response') !== null")
            print(
                f"open: {opened:.2f} s to the list at {size} pixels, {time.monotonic() - begun:.2f} s more to the first "
                f"responses; {browser.evaluate('document.querySelectorAll(`*`).length'):,} elements",
                flush=True,
            )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()
