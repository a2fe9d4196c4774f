"""Verdicts over runs: nothing dear is decided twice, nothing that goes wrong with the file stops a run."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from upwell.grading import RuleGrader, cache_file, judge, pool
from upwell.grading.cache import MAX_ROWS, Entry, VerdictCache
from upwell.records import Problem, Response

HARD = r"\int_0^1 f(x) dx"
FAKE = """
import os, sys
from upwell.grading import worker
def compare(task):
    with open("asked", "a") as file:
        file.write(task.answer + "\\n")
    if "hang" in task.answer:
        while True: pass
    if "crash" in task.answer:
        os.kill(os.getpid(), 9)
    return task.gold == task.answer
worker.serve(sys.stdin.buffer, sys.stdout.buffer, compare, float(sys.argv[1]))
"""


@pytest.fixture
def fake_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Workers that note what they are asked; the note."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pool, "worker_command", lambda s, _: [sys.executable, "-c", FAKE, str(s)])
    return tmp_path / "asked"


def graded(answers: list[str], gold: str = HARD, **settings: object) -> list[tuple[bool | None, str | None]]:
    problem = Problem(key="p", question="", answer=gold)
    with RuleGrader(bare=True, workers=1, **settings) as grader:  # type: ignore[arg-type]
        replies = [
            Response(key=f"p#{i}", problem="p", index=i, text=a, finish="stop", tokens=1, seed=0)
            for i, a in enumerate(answers)
        ]
        return [(v.correct, v.trouble) for v in grader.grade((problem, reply) for reply in replies)]


def test_a_worker_decides_once_over_all_runs(fake_workers: Path, tmp_path: Path) -> None:
    answers = [r"\int_0^1 g(x) dx", r"\int_0^1 h(x) dx", r"\int_0^1 g(x) dx"]
    first = graded(answers, cache=tmp_path / "cache.sqlite")
    asked = fake_workers.read_text()
    assert len(asked.splitlines()) == 2
    assert graded(answers, cache=tmp_path / "cache.sqlite") == first == [(False, None)] * 3
    assert fake_workers.read_text() == asked
    graded(answers)  # without a file, nothing is known from before
    assert len(fake_workers.read_text().splitlines()) == 4


def test_an_answer_that_killed_a_worker_is_tried_again_only_under_larger_limits(
    fake_workers: Path, tmp_path: Path
) -> None:
    file = tmp_path / "cache.sqlite"
    answers = [r"\int hang", r"\int crash"]
    failed = [(None, "timeout"), (None, "crash")]
    assert graded(answers, cache=file, timeout=1.0) == failed
    assert graded(answers, cache=file, timeout=1.0) == failed
    assert graded(answers, gold=r"\int_0^2 f(x) dx", cache=file, timeout=1.0) == failed  # beside any gold
    assert graded(answers, cache=file, timeout=0.5, memory_mb=512) == failed
    assert len(fake_workers.read_text().splitlines()) == 2
    assert graded(answers, cache=file, timeout=2.0) == failed
    assert len(fake_workers.read_text().splitlines()) == 4


def test_one_gold_answer_cannot_kill_workers_for_ever(
    fake_workers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "_MAX_TROUBLES", 2)
    answers = [f"\\int hang_{number}" for number in range(12)]
    assert graded(answers, timeout=0.3) == [(None, "timeout")] * 12
    assert len(fake_workers.read_text().splitlines()) <= 2 + 2  # one at work, one in line


def test_dear_decisions_of_the_rules_are_kept_and_cheap_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cache.sqlite"
    monkeypatch.setattr(judge, "_DEAR", 0.0)
    answers = ["(x-1)(x+1)", "17", "x^2 - 1"]
    first = graded(answers, gold="x^2-1", cache=file)
    calls: list[object] = []
    accepts = judge.accepts
    monkeypatch.setattr(judge, "accepts", lambda *a, **k: calls.append(a[1]) or accepts(*a, **k))
    assert graded(answers, gold="x^2-1", cache=file) == first
    assert calls == []
    graded(["17", "18"], gold="17", cache=file)
    assert calls == ["17", "18"]


def test_styles_and_tolerances_do_not_share_decisions(tmp_path: Path) -> None:
    ours, theirs = (VerdictCache(tmp_path / "c", name) for name in ("2/upwell", "2/dart"))
    ours.put(ours.key("1", "2", None), Entry(True, "x"))
    ours.close()
    assert ours.get(ours.key("1", "2", None)) == Entry(True, "x")
    assert theirs.get(theirs.key("1", "2", None)) is None
    assert ours.get(ours.key("1", "2", 0.5)) is None
    assert ours.get(ours.key("12", "", None)) is None
    ours.close()
    theirs.close()


def test_answers_are_not_readable_in_the_file(fake_workers: Path, tmp_path: Path) -> None:
    graded([r"\int secret"], cache=tmp_path / "c")
    assert b"secret" not in b"".join(path.read_bytes() for path in tmp_path.glob("c*"))


@pytest.mark.parametrize("broken", ["text", "folder", "unwritable", "torn"])
def test_a_file_that_cannot_be_used_costs_one_notice_and_no_verdict(
    broken: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "_DEAR", 0.0)
    file = tmp_path / "cache.sqlite"
    if broken == "text":
        file.write_text("not a database " * 100)
    elif broken == "folder":
        file.mkdir()
    elif broken == "unwritable":
        file = Path("/proc/nowhere/cache.sqlite")
    else:
        graded(["(x-1)(x+1)"], gold="x^2-1", cache=file)
        content = bytearray(file.read_bytes())
        content[4096:] = b"\xff" * (len(content) - 4096)
        file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert graded(["(x-1)(x+1)", "x-1"], gold="x^2-1", cache=file) == [(True, None), (False, None)]
    assert len(caplog.records) == 1
    assert str(file) in caplog.text


def test_the_file_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from upwell.grading import cache as module

    assert MAX_ROWS >= 100_000
    monkeypatch.setattr(module, "MAX_ROWS", 300)
    cache = VerdictCache(tmp_path / "c", "x")
    for number in range(2_000):
        cache.put(cache.key(number), Entry(True, "t"))
    cache.flush()
    assert cache.get(cache.key(1_999)) is not None
    assert cache.get(cache.key(0)) is None
    cache.close()
    with sqlite3.connect(tmp_path / "c") as connection:
        assert connection.execute("SELECT count(*) FROM verdicts").fetchone()[0] <= 300
    connection.close()


WRITER = """
import sys
from pathlib import Path
from upwell.grading.cache import Entry, VerdictCache
cache = VerdictCache(Path(sys.argv[1]), "x")
print("ready", flush=True)
number = 0
while number < int(sys.argv[3]):
    cache.put(cache.key(sys.argv[2], number), Entry(number % 2 == 0, "t"))
    number += 1
    if number % 50 == 0: cache.flush()
cache.close()
"""


def writer(file: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(file), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_write_at_once_and_one_may_be_killed(tmp_path: Path) -> None:
    file = tmp_path / "c"
    whole, killed = writer(file, "a", 2_000), writer(file, "b", 10**9)
    assert killed.stdout is not None
    killed.stdout.readline()
    give_up = time.monotonic() + 60
    cache = VerdictCache(file, "x")
    while cache.get(cache.key("b", 100)) is None and time.monotonic() < give_up:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert whole.wait(60) == 0
    for process in (whole, killed):
        assert process.stdout is not None
        process.stdout.close()
    for number in range(0, 2_000, 37):
        assert cache.get(cache.key("a", number)) == Entry(number % 2 == 0, "t")
    assert cache.get(cache.key("b", 100)) == Entry(True, "t")
    cache.close()
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_the_usual_file_lies_in_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UPWELL_CACHE", str(tmp_path))
    assert cache_file().parent == tmp_path
    assert os.listdir(tmp_path) == []
