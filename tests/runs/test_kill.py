"""kill -9 at random moments: no acknowledged row is lost, no row is there twice, nothing is left over.

The log of the kills: `pytest -s tests/runs/test_kill.py`.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

from killed_writer import response, write_owed

from upwell.records import Response
from upwell.runs import Run
from upwell.runs.table import encode_rows

KILLS = 20
ROWS = 12_000


def test_twenty_kills_lose_and_repeat_nothing(tmp_path: Path) -> None:
    path, draw = tmp_path / "run", random.Random(20)
    acknowledged: set[str] = set()
    open_kills = 0
    for kill in range(1, KILLS + 1):
        acked, opened = _write_until_killed(path, kill, draw)
        acknowledged |= acked
        open_kills += opened
        if by_hand := (path / "responses.jsonl").exists() and kill % 3 == 0:
            _tear(path / "responses.jsonl", draw)
        found, torn = _survivors(path)
        lost = acknowledged - found
        print(
            f"kill {kill:2d}: {'writing' if opened else 'starting'}; acknowledged {len(acknowledged):5d},"
            f" found {len(found):5d}, torn bytes {torn}{' (by hand)' if by_hand else ''}, lost {len(lost)}"
        )
        assert not lost
        assert len(found) < ROWS, "the writer ended before it was killed: raise ROWS"
        assert not (path / "summary.json").exists()
    assert open_kills >= KILLS // 2, "too few kills fell into the writing"

    write_owed(str(path), ROWS, seed=0, pause=0, acknowledge=len)

    run = Run.read(path)
    rows = list(run.rows("responses", Response))
    assert sorted(row.index for row in rows) == list(range(ROWS))
    assert all(row == response(row.index) for row in rows)
    assert run.summary == {"metrics": []}
    assert sorted(entry.name for entry in path.iterdir() if not entry.name.endswith(".tmp")) == [
        ".lock", "manifest.json", "responses.jsonl", "summary.json",
    ]  # fmt: skip


def _write_until_killed(path: Path, seed: int, draw: random.Random) -> tuple[set[str], bool]:
    """Start the writer and kill it; the keys it acknowledged, and whether it had come to open the run."""
    script = Path(__file__).with_name("killed_writer.py")
    child = subprocess.Popen(
        [sys.executable, str(script), str(path), str(ROWS), str(seed), "0.006"], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    lines: list[bytes] = []
    started = threading.Event()

    def listen() -> None:
        for line in child.stdout or ():
            lines.append(line)
            started.set()
        started.set()

    listener = threading.Thread(target=listen)
    listener.start()
    if draw.random() < 0.8:  # else into its start: manifest, cut of the tail
        started.wait(30)
    time.sleep(draw.random() * 0.15)
    child.kill()
    listener.join()
    child.stdout.close()
    assert child.wait() == -9
    whole = [line[:-1].decode() for line in lines if line.endswith(b"\n")]
    return {f"p#{index}" for index in whole if index != "open"}, "open" in whole


def _tear(table: Path, draw: random.Random) -> None:
    """Leave what a power loss leaves: the beginning of a row. A kill rarely falls inside a `write`."""
    line = encode_rows([response(ROWS)])
    with table.open("ab") as file:
        file.write(line[: draw.randrange(1, len(line))])


def _survivors(path: Path) -> tuple[set[str], int]:
    """The keys a reader finds, each row checked, and the bytes of the torn line after them."""
    if not (path / "manifest.json").exists():
        return set(), 0
    run = Run.read(path)
    keys = set()
    for row in run.rows("responses", Response):
        assert row == response(row.index)
        assert row.key not in keys
        keys.add(row.key)
    table = path / "responses.jsonl"
    data = table.read_bytes() if table.exists() else b""
    return keys, len(data) - (data.rfind(b"\n") + 1)
