"""kill -9 of `upwell train` at any moment: the same command goes on, to the very weights of a run left alone.

The log of the kills: `pytest -s tests/training/test_train_kill.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from killed_training import start
from training_runs import example_run, examples, seeds, template_of, texts

from upwell.records import Step
from upwell.runs import Run

STEPS = 12
PATIENCE = 120


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, examples for it, and a run that nobody disturbed."""
    room = tmp_path_factory.mktemp("kills")
    base = seeds(room, ["qwen2"])["qwen2"]
    template = template_of(base, "qwen2.5-math")
    example_run(room / "examples", template, examples(template, texts(60)))
    process = start(command(room, "alone"), room / "alone.log")
    process.join(PATIENCE)
    assert process.exitcode == 0, (room / "alone.log").read_text()
    return room


def command(room: Path, out: str, *more: str) -> list[str]:
    return [
        "train", str(room / "examples"), "--recipe", "qwen2.5-math-1.5b", "--base", str(room / "qwen2"),
        "--out", str(room / out), "--max-length", "256", "--batch-size", "2", "--rows-per-device", "1",
        "--max-steps", str(STEPS), "--save-every", "3", "--learning-rate", "1e-3", "--precision", "float32",
        "--max-truncated", "0.1", *more,
    ]  # fmt: skip


def weights(run: Path) -> str:
    return hashlib.sha256((run / "model/model.safetensors").read_bytes()).hexdigest()


def losses(run: Path) -> list[tuple[object, ...]]:
    """The loss table but for what a clock says."""
    return [
        (row.key, row.step, row.epoch, row.loss, row.learning_rate, row.gradient_norm, row.tokens)
        for row in Run.read(run).rows("steps", Step)
    ]


def same(run: Path, alone: Path) -> None:
    assert weights(run) == weights(alone), "the weights are others"
    assert losses(run) == losses(alone) and [row[1] for row in losses(run)] == [*range(1, STEPS + 1)]
    left = {path.name for path in run.iterdir()}
    assert left == {
        ".lock", "manifest.json", "model", "preflight.json", "rejects.jsonl", "steps.jsonl", "summary.json", "tokens",
    }  # fmt: skip
    assert (run / "rejects.jsonl").read_bytes() == (alone / "rejects.jsonl").read_bytes()
    summary = Run.read(run).summary
    assert summary is not None and summary["counts"]["steps"] == STEPS


def moments(run: Path) -> dict[str, Callable[[], bool]]:
    """When to kill: what is then on disk."""
    tokens, checkpoints = run / "tokens", run / "checkpoints"

    def taken(count: int) -> Callable[[], bool]:
        return lambda: (
            (run / "steps.jsonl").exists() and (run / "steps.jsonl").read_bytes().count(b"\n") >= count
        )

    def half(number: int) -> Callable[[], bool]:
        folder = checkpoints / f"checkpoint-{number}"
        return lambda: folder.exists() and any(folder.iterdir()) and not (folder / "whole").exists()

    return {
        "tokenising": (tokens / "pieces.arrow").exists,
        "packing": (tokens / "packing").exists,
        "pre-flight": (tokens / "facts.json").exists,
        "before the first checkpoint": taken(2),
        "saving the first checkpoint": half(3),
        "between checkpoints": taken(5),
        "saving the second checkpoint": half(6),
        "after the second checkpoint": (checkpoints / "checkpoint-6/whole").exists,
        "saving the last checkpoint": half(9),
        "leaving the weights": (run / ".trained").exists,
        "writing the model": (run / ".model").exists,
        "after the model": (run / "model").exists,
    }


def test_a_killed_training_goes_on_to_the_same_weights(room: Path) -> None:
    run, log = room / "killed", room / "killed.log"
    dice = random.Random(7)
    for name, come in moments(run).items():
        process = start(command(room, "killed"), log)
        deadline = time.monotonic() + PATIENCE
        while process.is_alive() and not come() and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(dice.random() * 0.03)
        alive = process.is_alive()
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        there = sorted(path.name for path in run.glob("checkpoints/*"))
        print(f"{name}: {'killed' if alive else 'had ended'}, {len(losses(run))} steps, {there}")
        assert alive or name == "after the model", log.read_text()
    process = start(command(room, "killed"), log)
    process.join(PATIENCE)
    assert process.exitcode == 0, log.read_text()
    same(run, room / "alone")


def test_an_interrupted_training_says_so_and_goes_on(room: Path) -> None:
    run, log = room / "interrupted", room / "interrupted.log"
    for number, signal_ in ((2, signal.SIGINT), (5, signal.SIGTERM)):
        log.unlink(missing_ok=True)
        process = start(command(room, "interrupted"), log)
        deadline = time.monotonic() + PATIENCE
        while process.is_alive() and not (
            ((run / "steps.jsonl").exists() and len(losses(run)) >= number) or time.monotonic() > deadline
        ):
            time.sleep(0.002)
        os.kill(process.pid or 0, signal_)
        process.join(PATIENCE)
        said = log.read_text()
        assert process.exitcode == 130, said
        assert "error: interrupted; what was finished is kept" in said and "Traceback" not in said
        assert "hint: run the same command again to go on" in said
    process = start(command(room, "interrupted"), log)
    process.join(PATIENCE)
    assert process.exitcode == 0, log.read_text()
    same(run, room / "alone")


def stopped(room: Path, out: str, steps: int) -> Path:
    """A run that was killed behind a number of steps."""
    run = room / out
    process = start(command(room, out), room / f"{out}.log")
    deadline = time.monotonic() + PATIENCE
    while process.is_alive() and time.monotonic() < deadline:
        if (run / f"checkpoints/checkpoint-{steps}/whole").exists():
            break
        time.sleep(0.002)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    return run


def test_a_checkpoint_that_is_half_is_not_gone_on_with(room: Path) -> None:
    """The newest without its marker and with a file cut short: the one before it is taken."""
    run = stopped(room, "half", 6)
    newest = run / "checkpoints/checkpoint-6"
    (newest / "whole").unlink()
    os.truncate(newest / "model.safetensors", 100)
    (newest / "optimizer.pt").unlink()
    shutil.rmtree(run / "checkpoints/checkpoint-9", ignore_errors=True)
    process = start(command(room, "half"), room / "half.log")
    process.join(PATIENCE)
    assert process.exitcode == 0, (room / "half.log").read_text()
    same(run, room / "alone")


def test_losses_that_a_power_loss_took_come_back_from_the_checkpoint(room: Path) -> None:
    run = stopped(room, "power", 6)
    table = run / "steps.jsonl"
    lines = table.read_bytes().split(b"\n")
    table.write_bytes(b"\n".join(lines[:4]) + b"\n" + lines[4][:20])
    process = start(command(room, "power"), room / "power.log")
    process.join(PATIENCE)
    assert process.exitcode == 0, (room / "power.log").read_text()
    same(run, room / "alone")


def test_adapters_go_on_to_the_same_weights(room: Path) -> None:
    more = ("--method", "lora")
    alone, killed = room / "lora-alone", room / "lora-killed"
    process = start(command(room, "lora-alone", *more), room / "lora.log")
    process.join(PATIENCE)
    assert process.exitcode == 0, (room / "lora.log").read_text()
    process = start(command(room, "lora-killed", *more), room / "lora.log")
    deadline = time.monotonic() + PATIENCE
    while process.is_alive() and not (killed / "checkpoints/checkpoint-3/whole").exists():
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert (killed / "checkpoints").exists(), "it ended before it was killed"
    process = start(command(room, "lora-killed", *more), room / "lora.log")
    process.join(PATIENCE)
    assert process.exitcode == 0, (room / "lora.log").read_text()
    same(killed, alone)
