"""The reference study: its rules, its control, and all of it in a toy form, killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import verdicts
import world
from tiny_models import make_checkpoint

FOLDER = Path(__file__).parents[2] / "studies" / "elicitation"


@pytest.mark.parametrize(
    ("low", "high", "sign", "verdict"),
    [
        (0.01, 0.2, 1, "holds"),
        (-0.2, -0.01, 1, "fails"),
        (-0.01, 0.015, 1, "fails"),  # no more than two points can be in it
        (-0.01, 0.03, 1, "cannot be told"),
        (-0.2, -0.01, -1, "holds"),
        (0.01, 0.2, -1, "fails"),
    ],
)
def test_a_change(low: float, high: float, sign: int, verdict: str) -> None:
    assert verdicts.changed(low, high, sign) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.04, 0.05, "holds"),
        (0.01, 0.04, "holds"),  # a difference, but none that matters
        (0.01, 0.09, "fails"),
        (-0.09, -0.01, "fails"),
        (-0.2, 0.2, "cannot be told"),
    ],
)
def test_being_alike(low: float, high: float, verdict: str) -> None:
    assert verdicts.alike(low, high, 0.05) == verdict


def test_lessons_are_right_and_held_out_templates_are() -> None:
    lessons = list(world.problems(300, "a", held_out=False))
    exam = list(world.problems(100, "a", held_out=True))
    assert not {row["question"] for row in lessons} & {row["question"] for row in exam}
    for row in [*lessons, *exam]:
        *lines, last = row["solution"].splitlines()
        assert last == f"#### {row['answer']}"
        assert lines[-1].endswith(f"={row['answer']}")
        for line in lines:
            said, result = line.split("=")
            left, sign, right = next(said.partition(sign) for sign in "+-*" if sign in said)
            value = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}[
                sign
            ]
            assert int(result) == value


def test_the_corpus_is_wrong_as_often_as_it_says() -> None:
    steps = [
        line.split("=")
        for row in world.problems(1000, "b", held_out=False, noise=world.NOISE)
        for line in row["solution"].splitlines()[:-1]
    ]
    wrong = sum(int(result) != eval(said) for said, result in steps) / len(steps)
    assert wrong == pytest.approx(world.NOISE, abs=0.03)
    assert list(world.problems(5, "c", held_out=True)) == list(world.problems(5, "c", held_out=True))


@pytest.mark.skipif("UPWELL_DATA" not in os.environ, reason="UPWELL_DATA has no benchmark files")
def test_the_whole_study_killed_on_the_way(tmp_path: Path) -> None:
    model = make_checkpoint("llama", tmp_path / "model", max_position_embeddings=1024, initializer_range=0.02)
    out = tmp_path / "study"
    command = [
        sys.executable,
        str(FOLDER / "run.py"),
        "--form",
        "toy",
        "--model",
        str(model),
        "--out",
        str(out),
    ]
    said = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True).stdout
    assert "upwell train" in said
    assert not out.exists()
    first = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while len(steps(out)) < 2:
        assert first.poll() is None
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    done = steps(out)
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr[-2000:]
    ended = [row["out"] for row in steps(out) if row["code"] == 0]
    assert len(ended) == len(set(ended)), "a finished step ran again"
    assert steps(out)[: len(done)] == done
    page = (out / "elicitation.md").read_text(encoding="utf-8")
    assert "**cannot be told**" in page  # three problems tell nothing
    assert "| 16 (seed 42) |" in page
    assert "$ upwell analyze leakage" in page
    for picture in out.glob("elicitation-*.png"):
        assert f"]({picture.name})" in page
    other = subprocess.run(
        [*command[:-4], "--out", str(out), "--form", "reduced"], capture_output=True, text=True
    )
    assert other.returncode == 1
    assert "in another form" in other.stderr


def steps(out: Path) -> list[dict[str, object]]:
    log = out / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_a_ladder_that_is_none_is_refused(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(FOLDER / "run.py"), "--real-ladder", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert "is no finished ladder" in ran.stderr
