"""kill -9 of `upwell synthesize` at random moments: nothing lost, nothing twice, no call for a reply that is there.

The log of the kills: `pytest -s tests/synthesis/test_synthesis_kill.py`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from scripted_teacher import Teacher

from upwell.records import Draft, Reject, Response
from upwell.runs import Run
from upwell.synthesis.settings import SynthesisSettings
from upwell.synthesis.stages import synthesize

KILLS = 20
COUNT = 1200
TABLES = ("replies", "drafts", "rejects")


def whole_keys(path: Path) -> list[str]:
    """The keys of the whole rows of a table."""
    if not path.exists():
        return []
    return [json.loads(line)["key"] for line in path.read_bytes().split(b"\n")[:-1]]


def test_a_killed_run_goes_on_where_it_was(seed_file: str, tmp_path: Path) -> None:
    out, log = tmp_path / "run", tmp_path / "calls.log"
    command = [
        sys.executable, str(Path(__file__).with_name("scripted_teacher.py")), "synthesize", "--seeds", seed_file,
        "--like", "gsm8k", "--count", str(COUNT), "--price", "1,2", "--max-tokens", "400", "--solutions", "2",
        "--resolve",
        "--out", str(out),
    ]  # fmt: skip
    environment = os.environ | {"SCRIPT_LOG": str(log), "SCRIPT_PAUSE": "0.001"}
    draw = random.Random(3)
    for number in range(KILLS):
        had = set(whole_keys(out / "replies.jsonl"))
        asked = len(log.read_text().splitlines()) if log.exists() else 0
        child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while child.poll() is None and time.monotonic() < deadline:
            if len(whole_keys(out / "replies.jsonl")) > len(had):
                break
            time.sleep(0.02)
        time.sleep(draw.random() * 0.25)
        child.kill()
        _, errors = child.communicate()
        assert child.returncode == -9, f"it ended before it was killed: {errors.decode()}"
        rows = {table: len(whole_keys(out / f"{table}.jsonl")) for table in TABLES}
        since = log.read_text().splitlines()[asked:]
        print(f"kill {number:2d}: {rows}, {len(since)} calls")
        assert rows["replies"] >= len(had)
        assert not (out / "summary.json").exists()
        if number % 4 == 3:
            for table in TABLES:
                path = out / f"{table}.jsonl"
                if path.exists() and (data := path.read_bytes()):
                    line = data.splitlines(keepends=True)[0]
                    path.write_bytes(data[: data.rfind(b"\n") + 1] + line[: draw.randrange(1, len(line))])
        assert not had.intersection(since), "a call was made for a reply that was there"
    done = subprocess.run(command, env=environment | {"SCRIPT_PAUSE": "0"}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    calls = log.read_text().splitlines()
    twice = len(calls) - len(set(calls))
    print(f"{len(calls)} calls, {twice} of them for replies that a kill took away before they were written")
    assert twice <= KILLS
    run = Run.read(out)
    assert run.count("drafts") == COUNT == len(run.keys("drafts"))
    alone = Run.read(
        synthesize(
            SynthesisSettings(
                seeds=seed_file, like="gsm8k", count=COUNT, price="1,2", max_tokens=400, solutions=2,
                resolve=True,
                out=str(tmp_path / "alone"),
            ),
            engine=Teacher(bad=0.3).engine,
        )
    )  # fmt: skip
    for table, kind in (("replies", Response), ("drafts", Draft), ("rejects", Reject)):
        rows_ = [sorted(one.rows(table, kind), key=lambda row: row.key) for one in (run, alone)]
        assert rows_[0] == rows_[1], table
    assert run.summary is not None and alone.summary is not None
    for name in ("counts", "per_draft", "rejects"):
        assert run.summary[name] == alone.summary[name], name


def test_what_is_on_disk_is_not_asked_for_again(seed_file: str, tmp_path: Path) -> None:
    """The rows of the replies alone are enough: all the rest is made from them, without a call."""
    out = tmp_path / "run"
    settings = SynthesisSettings(seeds=seed_file, like="gsm8k", count=30, max_tokens=400, out=str(out))
    synthesize(settings, engine=Teacher().engine)
    before = sorted(Run.read(out).rows("drafts", Draft), key=lambda row: row.key)
    for name in ("drafts.jsonl", "rejects.jsonl", "summary.json"):
        (out / name).unlink()
    teacher = Teacher()
    synthesize(settings, engine=teacher.engine)
    assert not teacher.calls
    assert sorted(Run.read(out).rows("drafts", Draft), key=lambda row: row.key) == before
