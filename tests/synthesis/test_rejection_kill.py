"""kill -9 of a run at random moments: no response is lost or paid twice, and the drafts are those of a run in peace.

The log of the kills: `pytest -s tests/synthesis/test_rejection_kill.py`.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rejection_teacher import OPEN, Crowd, hide_answers, write_questions

from upwell.records import Draft, Response, Verdict
from upwell.runs import Run
from upwell.synthesis.rejection import plan, rejection
from upwell.synthesis.settings import SynthesisSettings

KILLS = 5
CHANCES = [1.0, 0.8, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.0, 0.6]
SCRIPT = Path(__file__).with_name("rejection_teacher.py")


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def killed(asked: dict[str, Any], log: Path, draw: random.Random) -> None:
    """Start the run and kill it soon after it has made a few calls."""
    enough = lines(log) + draw.randrange(35, 90)
    child = subprocess.Popen(
        [sys.executable, str(SCRIPT), json.dumps(asked), str(log), "0.004"], stderr=subprocess.PIPE
    )
    late = time.monotonic() + 60
    while lines(log) < enough:
        assert time.monotonic() < late and child.poll() is None, "no calls are made"
        time.sleep(0.002)
    child.kill()
    _, errors = child.communicate()
    assert child.returncode == -signal.SIGKILL, errors.decode()


def test_kills_change_nothing(tmp_path: Path) -> None:
    questions, log, draw = (
        write_questions(tmp_path / "q.jsonl", CHANCES),
        tmp_path / "calls.log",
        random.Random(5),
    )
    common: dict[str, Any] = dict(
        method="rejection", seeds=str(questions), policy="prop2diff", k_hardest=24, probes=8, max_trials=150,
        workers=1, cache=False,
    )  # fmt: skip
    out = tmp_path / "killed"
    asked = common | {"out": str(out)}
    for number in range(1, KILLS + 1):
        have = Run.read(out).keys("responses") if (out / "manifest.json").exists() else set()
        called = lines(log)
        killed(asked, log, draw)
        calls = log.read_text().splitlines()
        assert not have & set(calls[called:]), "what there was is paid for once more"
        rows = [lines(out / f"{table}.jsonl") for table in ("responses", "verdicts")]
        lost = len(calls) - rows[0]
        print(
            f"kill {number}: {len(calls)} calls, {rows[0]} responses, {rows[1]} verdicts, {lost} lost in flight"
        )
        assert not (out / "summary.json").exists()
        if number % 2:  # what a power loss leaves behind
            table = out / f"{('responses', 'verdicts')[number // 2 % 2]}.jsonl"
            table.write_bytes(table.read_bytes() + table.read_bytes().splitlines(keepends=True)[0][:25])
    last = Crowd(seed=99)
    rejection(SynthesisSettings(**asked), engine=last)
    calls = log.read_text().splitlines() + last.keys
    plain = rejection(SynthesisSettings(**common, out=str(tmp_path / "plain")), engine=Crowd(flight=3))
    found, expected = Run.read(out), Run.read(plain)
    assert found.count("responses") == len(found.keys("responses")) == found.count("verdicts")
    assert len(calls) - found.count("responses") <= KILLS * 32, "only what was in flight is paid twice"
    drafts = {row.key: row for row in found.rows("drafts", Draft)}
    assert drafts == {row.key: row for row in expected.rows("drafts", Draft)}
    texts = {row.key: row.text for row in found.rows("responses", Response)}
    both = {row.key: row.text for row in expected.rows("responses", Response) if row.key in texts}
    assert both.items() <= texts.items()
    right = {row.key for row in found.rows("verdicts", Verdict) if row.correct}
    assert drafts.keys() <= right
    assert found.summary is not None and expected.summary is not None
    for name in ("met", "capped", "given_up", "target", "kept", "needed", "fail_rates"):
        assert found.summary["rejection"][name] == expected.summary["rejection"][name]


def test_kills_between_vote_and_end_change_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "questions", hide_answers())
    file, log, draw = tmp_path / "q.jsonl", tmp_path / "calls.log", random.Random(2)
    write_questions(file, [0.7, 0.5, 0.6, 0.55, 0.4], [OPEN] * 5)
    common: dict[str, Any] = dict(
        method="rejection", seeds=str(file), k_uniform=40, max_trials=120, probes=12, majority=True, workers=1,
        cache=False,
    )  # fmt: skip
    out = tmp_path / "killed"
    for _ in range(2):
        killed(common | {"out": str(out)}, log, draw)
    rejection(SynthesisSettings(**common, out=str(out)), engine=Crowd(seed=1))
    plain = rejection(SynthesisSettings(**common, out=str(tmp_path / "plain")), engine=Crowd(flight=3))
    tables = [{row.key: row for row in Run.read(run).rows("drafts", Draft)} for run in (out, plain)]
    assert tables[0] == tables[1] and tables[0]
