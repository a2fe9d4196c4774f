"""Symbolic workers: limits, replacement, and no process left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from upwell.grading import RuleGrader, pool
from upwell.grading.pool import SymbolicPool, worker_command
from upwell.grading.worker import Outcome, Task
from upwell.records import Problem, Response

FAKE = """
import os, resource, sys, time
from upwell.grading import worker
def compare(task):
    gold, answer = task.gold, task.answer
    if answer == "hang":
        while True: pass
    if answer == "sleep":
        time.sleep(1000)
    if answer == "crash":
        os.kill(os.getpid(), 9)
    if answer == "eat":
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        return bool(bytearray(2 << 30))
    if answer == "bug":
        raise KeyError("a fault in the library")
    return gold == answer
worker.serve(sys.stdin.buffer, sys.stdout.buffer, compare, 30.0)
"""


def fake(*_: object) -> list[str]:
    return [sys.executable, "-c", FAKE]


def outcomes(pool: SymbolicPool, pairs: list[tuple[str, str]]) -> dict[int, Outcome]:
    for number, (gold, answer) in enumerate(pairs):
        pool.submit(Task(number, "math-verify", "", gold, answer))
    found: dict[int, Outcome] = {}
    give_up = time.monotonic() + 60
    while len(found) < len(pairs) and time.monotonic() < give_up:
        for outcome in pool.results(1.0):
            assert outcome.id not in found
            found[outcome.id] = outcome
    return found


@pytest.mark.parametrize("answer", ["hang", "sleep"])
def test_a_hung_comparison_is_killed_and_the_rest_goes_on(answer: str) -> None:
    workers = SymbolicPool(1, 0.5, 1024, fake())
    try:
        found = outcomes(workers, [("a", "a"), ("a", answer), ("a", "a"), ("a", "b")])
    finally:
        workers.close()
    assert [found[i].equal for i in range(4)] == [True, None, True, False]
    assert found[1].trouble == "stalled"


def test_a_crash_and_spent_memory_cost_one_comparison_each() -> None:
    workers = SymbolicPool(2, 20, 1024, fake())
    try:
        found = outcomes(
            workers, [("a", "crash"), ("a", "a"), ("a", "eat"), ("a", "a"), ("a", "bug"), ("b", "b")]
        )
    finally:
        workers.close()
    assert [found[i].trouble for i in range(6)] == ["crash", "", "memory", "", "", ""]
    assert [found[i].equal for i in (1, 3, 4, 5)] == [True, True, False, True]


def test_workers_that_cannot_start_are_given_up() -> None:
    workers = SymbolicPool(2, 5, 1024, [sys.executable, "-c", "raise SystemExit(1)"])
    try:
        found = outcomes(workers, [("a", "a"), ("b", "b")])
    finally:
        workers.close()
    assert {outcome.trouble for outcome in found.values()} == {"no worker"}


def response(text: str, number: int) -> tuple[Problem, Response]:
    problem = Problem(key=f"p{number}", question="", answer="\\int f")
    return problem, Response(
        key=f"p{number}#0",
        problem=f"p{number}",
        index=0,
        text=f"\\boxed{{{text}}}",
        finish="stop",
        tokens=1,
        seed=0,
    )


def test_an_answer_that_killed_a_worker_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    program = FAKE.replace('answer == "hang"', '"hang" in answer').replace('"sleep"', '"none"')
    monkeypatch.setattr(pool, "worker_command", lambda *_: [sys.executable, "-c", program])
    texts = ["\\int hang", "1", "\\int hang", "\\int g", "\\int hang"]
    with RuleGrader(workers=1, timeout=0.5) as grader:
        start = time.monotonic()
        verdicts = list(grader.grade(response(text, number) for number, text in enumerate(texts)))
        verdicts += grader.grade([response("\\int hang", 9)])
        seconds = time.monotonic() - start
    assert [v.key for v in verdicts] == [f"p{i}#0" for i in (0, 1, 2, 3, 4, 9)]
    assert [v.correct for v in verdicts] == [None, False, None, False, None, None]
    assert [v.trouble for v in verdicts] == ["timeout", None, "timeout", None, "timeout", "timeout"]
    assert {v.tier for v in verdicts} == {"symbolic"}
    assert seconds < 20


def test_no_worker_starts_without_need(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with RuleGrader() as grader:
        for gold, text in [
            ("7", "\\sqrt{49}"),
            ("x+1", "1 + x"),
            ("(1,2)", "(1, 3)"),
            ("Ann", "\\text{Bob}"),
        ]:
            problem = Problem(key="p", question="", answer=gold)
            reply = Response(
                key="p#0", problem="p", index=0, text=f"\\boxed{{{text}}}", finish="stop", tokens=1, seed=0
            )
            assert next(grader.grade([(problem, reply)])).trouble is None


def test_the_real_worker_compares_and_obeys_its_limits() -> None:
    workers = SymbolicPool(1, 60, 1024)
    try:
        found = outcomes(
            workers, [("\\int_0^1 2x \\, dx", "1"), ("x^2", "x^3"), ("\\int_0^1 x dx", "\\int_0^1 t dt")]
        )
    finally:
        workers.close()
    assert [found[i].trouble for i in range(3)] == ["", "", ""]
    assert found[1].equal is False
    assert found[2].equal is True


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize("state", ["idle", "hang", "sleep"])
def test_workers_die_with_a_parent_that_was_killed(state: str) -> None:
    program = f"""
import sys, time
from upwell.grading.pool import SymbolicPool
from upwell.grading.worker import Task
if __name__ == "__main__":
    pool = SymbolicPool(1, 1000, 1024, {worker_command(1000, 1024)!r} if {state!r} == "idle" else
        [sys.executable, "-c", {WATCHED!r}])
    pool.submit(Task(0, "math-verify", "", "x", {state!r}))
    list(pool.results(0.1))
    while not pool._workers[0].ready: list(pool.results(0.1))
    print(pool._workers[0].process.pid, flush=True)
    while True: list(pool.results(0.1))
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert alive(worker)
    time.sleep(0.3)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    give_up = time.monotonic() + 10
    while alive(worker) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not alive(worker)
    assert os.getpid() != worker


WATCHED = """
import sys, time
from upwell.grading import worker
def compare(task):
    if task.answer == "hang":
        while True: pass
    time.sleep(1000)
worker.comparisons = lambda: compare
worker.main(1000.0, 1024)
"""


def test_an_unguarded_script_may_use_the_grader(tmp_path: object) -> None:
    """Workers must not run the user's script again, as spawned multiprocessing children do."""
    script = f"{tmp_path}/study.py"
    with open(script, "w") as file:
        file.write(
            "print('once', flush=True)\n"
            "from upwell.grading.pool import SymbolicPool\n"
            "from upwell.grading.worker import Task\n"
            "pool = SymbolicPool(1, 60, 1024)\n"
            "pool.submit(Task(0, 'math-verify', '', '\\\\int_0^1 x dx', '\\\\int_0^1 t dt'))\n"
            "found = []\n"
            "while not found: found = list(pool.results(1.0))\n"
            "print(found[0].equal)\n"
            "pool.close()\n"
        )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["once", "True"], done.stderr
