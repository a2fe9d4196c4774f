"""kill -9 of `upwell measure` at random moments: nothing is lost, nothing is there twice, the texts are the same.

The log of the kills: `pytest -s tests/measurement/test_measure_kill.py`.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arithmetic import write_problems
from scripted_upwell import said

from upwell.engines.scripted import ScriptedEngine
from upwell.measurement import MeasureSettings, measure
from upwell.records import Response, Verdict
from upwell.runs import Run

KILLS = 20
SAMPLES = 500
PROBLEMS = [{"id": f"p{i}", "question": f"{i} + 1?", "answer": str(i + 1)} for i in range(6)]
SCRIPTED = Path(__file__).with_name("scripted_upwell.py")
TABLES = ("problems", "responses", "verdicts")


@dataclass
class Killed:
    """A measurement that is started again and again, and killed in its work."""

    command: list[str]
    out: Path
    environment: dict[str, str]
    draw: random.Random

    def kill(self, number: int, *, start: float, work: float, into: str = "responses") -> dict[str, int]:
        """Start it, kill it at a random moment of its start or its work, and check what is left.

        Args:
            number: Of the kill, for the log.
            start: Seconds after the start in which one kill in five falls.
            work: Seconds after the first new row in which the others fall.
            into: The table whose first new row that is.

        Returns:
            Whole rows per table after the kill.
        """
        before = {table: self._bytes(table) for table in TABLES}
        child = subprocess.Popen(
            self.command, env=os.environ | self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        working = self.draw.random() < 0.8
        if working:
            self._await_rows(child, into, len(before[into]))
            time.sleep(self.draw.random() * work)
        else:
            time.sleep(self.draw.random() * start)
        child.kill()
        _, errors = child.communicate()
        assert child.returncode == -signal.SIGKILL, f"it ended before it was killed: {errors.decode()}"
        after = {table: self._bytes(table) for table in TABLES}
        rows = {table: data.count(b"\n") for table, data in after.items()}
        torn = {table: len(data) - len(whole(data)) for table, data in after.items()}
        print(
            f"kill {number:2d} while {'working' if working else 'starting'}:"
            f" responses {before['responses'].count(10):4d} -> {rows['responses']:4d},"
            f" verdicts {before['verdicts'].count(10):4d} -> {rows['verdicts']:4d}, torn bytes {sum(torn.values())}"
        )
        for table in TABLES:
            assert after[table].startswith(whole(before[table])), f"a row of {table} was changed or lost"
        assert not (self.out / "summary.json").exists()
        return rows

    def tear(self, table: str) -> None:
        """Leave what a power loss leaves: a kill seldom falls into a `write`."""
        path = self.out / f"{table}.jsonl"
        if path.exists() and (data := path.read_bytes()):
            line = data.splitlines(keepends=True)[0]
            path.write_bytes(whole(data) + line[: self.draw.randrange(1, len(line))])
            print(f"        a half row left behind in {table}")

    def finish(self) -> str:
        done = subprocess.run(
            self.command, env=os.environ | self.environment | {"SCRIPT_PAUSE": "0", "SCRIPT_GRADING_PAUSE": "0"},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _bytes(self, table: str) -> bytes:
        path = self.out / f"{table}.jsonl"
        return path.read_bytes() if path.exists() else b""

    def _await_rows(self, child: subprocess.Popen[bytes], table: str, before: int) -> None:
        late = time.monotonic() + 120
        while len(self._bytes(table)) <= before:
            assert time.monotonic() < late and child.poll() is None, "no rows come"
            time.sleep(0.002)


def whole(data: bytes) -> bytes:
    """The whole rows of a table."""
    return data[: data.rfind(b"\n") + 1]


def assert_same_run(run: Path, uninterrupted: Path, rows: int) -> None:
    """Exactly the owed rows, each the one that a run without kills has."""
    found, expected = Run.read(run), Run.read(uninterrupted)
    tables: tuple[tuple[str, Any], ...] = (("responses", Response), ("verdicts", Verdict))
    for table, kind in tables:
        assert found.count(table) == len(found.keys(table)) == rows
        there = {row.key: row for row in found.rows(table, kind)}
        assert there == {row.key: row for row in expected.rows(table, kind)}
    assert found.summary is not None and expected.summary is not None
    assert found.summary["metrics"] == expected.summary["metrics"]
    assert found.summary["counts"] == expected.summary["counts"]


def test_twenty_kills(tmp_path: Path) -> None:
    file, out = write_problems(tmp_path / "sums.jsonl", PROBLEMS), tmp_path / "killed"
    killed = Killed(
        command=[
            sys.executable, str(SCRIPTED), "measure", "--problems", str(file), "--samples", str(SAMPLES),
            "--max-tokens", "400", "--seed", "11", "--out", str(out),
        ],
        out=out,
        environment={"SCRIPT_PAUSE": "0.001", "SCRIPT_GRADING_PAUSE": "0.001"},
        draw=random.Random(20),
    )  # fmt: skip
    halves = {"responses": (1, KILLS // 2), "verdicts": (KILLS // 2 + 1, KILLS)}
    for into, (first, last) in halves.items():
        for number in range(first, last + 1):
            rows = killed.kill(number, start=0.5, work=0.2, into=into)
            if number % 3 == 0:
                killed.tear(("responses", "verdicts", "problems")[number // 3 % 3])
        assert 0 < rows[into] < len(PROBLEMS) * SAMPLES, f"the kills are to fall into the writing of {into}"
        killed.environment["SCRIPT_PAUSE"] = "0"
    assert "3,000 responses" in killed.finish()

    plain = measure(
        MeasureSettings(
            problems=str(file), samples=SAMPLES, max_tokens=400, seed=11, out=str(tmp_path / "plain")
        ),
        engine=ScriptedEngine(said),
    )
    assert_same_run(out, plain, len(PROBLEMS) * SAMPLES)


def test_two_kills_of_the_embedded_engine(tmp_path: Path, tiny_llama: Path) -> None:
    file, out = write_problems(tmp_path / "sums.jsonl", PROBLEMS[:3]), tmp_path / "killed"
    asked: dict[str, Any] = dict(
        problems=str(file), model=str(tiny_llama), samples=40, max_tokens=40, temperature=1.0, slots=6, threads=1,
        device="cpu", dtype="float32",
    )  # fmt: skip
    flags = [part for name, value in asked.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    killed = Killed(
        command=[
            sys.executable,
            "-c",
            "from upwell.cli import main; main()",
            "measure",
            *flags,
            "--out",
            str(out),
        ],
        out=out,
        environment={},
        draw=random.Random(4),
    )
    killed.draw.random = lambda: 0.5  # type: ignore[method-assign]  # both into the work
    for number in (1, 2):
        rows = killed.kill(number, start=0, work=0.2)
        assert 0 < rows["responses"] < 120
        killed.tear("responses")
    killed.finish()
    plain = measure(MeasureSettings(**asked, out=str(tmp_path / "plain")))
    assert_same_run(out, plain, 120)
    texts = [row.text for row in Run.read(out).rows("responses", Response)]
    assert len(set(texts)) > 100, "a constant model would prove little"


def test_two_writers_of_one_run_are_one_too_many(tmp_path: Path) -> None:
    file, out = write_problems(tmp_path / "sums.jsonl", PROBLEMS), tmp_path / "run"
    command = [
        sys.executable, str(SCRIPTED), "measure", "--problems", str(file), "--samples", "100", "--out", str(out),
    ]  # fmt: skip
    first = subprocess.Popen(command, env=os.environ | {"SCRIPT_PAUSE": "0.2"}, stderr=subprocess.DEVNULL)
    try:
        late = time.monotonic() + 60
        while not (out / "responses.jsonl").exists():
            assert time.monotonic() < late and first.poll() is None
            time.sleep(0.01)
        second = subprocess.run(command, capture_output=True, text=True)
    finally:
        first.kill()
        first.wait()
    assert second.returncode == 2 and str(first.pid) in second.stderr and "hint:" in second.stderr
    assert "Traceback" not in second.stderr
