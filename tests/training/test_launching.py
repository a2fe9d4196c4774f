"""Training in several processes: the same losses as in one, and nobody left behind when one of them is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from killed_training import start
from training_runs import example_run, examples, seeds, template_of, texts

from upwell.errors import UpwellError, UsageError
from upwell.measurement.watch import Silent
from upwell.records import Step
from upwell.runs import Run
from upwell.training import stage
from upwell.training.joining import follows
from upwell.training.processes import choose_sharding, count_processes
from upwell.training.recipes import chosen, find_recipe
from upwell.training.settings import TrainSettings
from upwell.training.trainer import Job, _arguments, _check_spread

STEPS, EVERY = 40, 4
PATIENCE = 600.0
LEFT = {".lock", "manifest.json", "model", "preflight.json", "steps.jsonl", "summary.json", "tokens"}
"""What a finished run holds."""


def settings(room: Path, out: str, **others: Any) -> TrainSettings:
    return TrainSettings(
        recipe="xwin-llama2-7b", base=str(room / "llama2"), out=str(room / out), batch_size=4, max_length=512,
        rows_per_device=1, max_steps=STEPS, save_every=EVERY, learning_rate=1e-4, precision="float32",
        preflight="no-overfit", **{"sharding": "none"} | others,
    )  # fmt: skip


def command(room: Path, out: str, *more: str) -> list[str]:
    """The same settings as flags."""
    told = msgspec.to_builtins(settings(room, out))
    default = msgspec.to_builtins(TrainSettings(recipe=""))
    flags = [
        text
        for name, value in told.items()
        if value != default[name]
        for text in ("--" + name.replace("_", "-"), str(value))
    ]
    return ["train", str(room / "examples"), *flags, *more]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, examples for it, and a run of one process."""
    room = tmp_path_factory.mktemp("launching")
    template = template_of(seeds(room, ["llama2"])["llama2"], "xwin-math")
    example_run(room / "examples", template, examples(template, texts(60)))
    stage.train(str(room / "examples"), settings(room, "alone"))
    return room


def steps(run: Path) -> list[Step]:
    return sorted(Run.read(run).rows("steps", Step), key=lambda row: row.step)


def alike(run: Path, alone: Path, *, left: set[str] = LEFT) -> None:
    """The same losses and weights as of one process, to the rounding of float32; and nothing left over."""
    from safetensors.torch import load_file

    got, wanted = steps(run), steps(alone)
    assert [row.step for row in got] == [row.step for row in wanted] == [*range(1, STEPS + 1)]
    for name in ("loss", "gradient_norm", "learning_rate"):
        assert [getattr(row, name) for row in got] == pytest.approx(
            [getattr(row, name) for row in wanted], rel=1e-4
        )
    assert [(row.tokens, row.learnt) for row in got] == [(row.tokens, row.learnt) for row in wanted]
    ours, theirs = (load_file(one / "model/model.safetensors") for one in (run, alone))
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) < 1e-5
    assert {path.name for path in run.iterdir()} == left


def wait_for(what: Callable[[], object], seconds: float = PATIENCE) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


def taken(run: Path, count: int) -> Callable[[], bool]:
    def check() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return (run / "steps.jsonl").read_bytes().count(b"\n") >= count
        return False

    return check


def children(process: int) -> list[int]:
    """All processes below one."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def killed_after(room: Path, out: str, count: int, *more: str) -> list[int]:
    """Begin a training, kill its driver once it has taken some steps; returns the processes that were below it."""
    process = start(command(room, out, *more), room / f"{out}.log")
    try:
        wait_for(lambda: taken(room / out, count)() or not process.is_alive())
        assert process.is_alive(), (room / f"{out}.log").read_text()
        assert process.pid is not None
        below = children(process.pid)
    finally:
        process.kill()
        process.join()
    return below


class Killer(Silent):
    """Kills a process below this one after some steps."""

    def __init__(self, after: int) -> None:
        self.left = after

    def advance(self, rows: int = 1, *, tokens: int | None = 0, usd: float = 0.0) -> None:
        self.left -= rows
        if self.left == 0:
            workers = [
                one for one in children(os.getpid())
                if b"upwell.training.launching" in Path(f"/proc/{one}/cmdline").read_bytes()
                and b"torch.distributed.run" not in Path(f"/proc/{one}/cmdline").read_bytes()
            ]  # fmt: skip
            assert len(workers) == 2
            os.kill(workers[1], signal.SIGKILL)


def test_two_processes_killed_and_gone_on_with_train_as_one(room: Path) -> None:
    run = room / "two"
    below = killed_after(room, "two", EVERY + 1, "--devices", "2")
    assert len(below) >= 3  # torchrun and its two
    wait_for(lambda: not any(map(alive, below)), 20)
    there = len(steps(run))
    assert EVERY < there < STEPS

    with pytest.raises(UpwellError, match=r"process [12] of 2 of the training was ended by SIGKILL") as gone:
        stage.train(str(room / "examples"), settings(room, "two", devices=2), watch=Killer(6 + EVERY))
    assert gone.value.exit_code == 1 and "same command" in str(gone.value)
    assert "processes.log" in gone.value.message and (run / "processes.log").exists()
    assert not children(os.getpid()) or not any(
        b"torch.distributed" in Path(f"/proc/{one}/cmdline").read_bytes() for one in children(os.getpid())
    )
    assert there < len(steps(run)) < STEPS

    # What remains is done by processes that the user starts: the first speaks, the other is silent.
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "upwell",
         *command(room, "two")],
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 2 and f"{STEPS} steps" in done.stdout
    alike(run, room / "alone")


def test_ray_trains_as_one_process_does_after_a_kill_too(room: Path) -> None:
    pytest.importorskip("ray.train")
    run = room / "ray"
    killed_after(room, "ray", EVERY + 1, "--devices", "2", "--ray", "local")
    assert EVERY < len(steps(run)) < STEPS and (run / ".ray").exists()
    process = start(command(room, "ray", "--devices", "2", "--ray", "local"), room / "again.log")
    process.join(PATIENCE)
    said = (room / "again.log").read_text()
    assert process.exitcode == 0, said
    assert "(pid=" not in said and "WARNING" not in said
    alike(run, room / "alone")


def test_a_checkpoint_that_outlives_its_driver_leaves_no_gap_in_the_losses(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes end a checkpoint after their driver is gone, and after the next one has looked for it."""
    launch, told_steps, looked = stage.launch, stage.told_steps, []

    def without_a_driver(job: Job, folder: Path, devices: int, ray: str | None, tell: Any) -> None:
        def told(event: dict[str, Any]) -> None:
            if event["step"] <= 2:
                tell(event)
            if event["step"] == EVERY + 1:
                raise KeyboardInterrupt

        launch(job, folder, devices, ray, told)

    def too_early(folder: Path) -> list[dict[str, Any]]:
        looked.append(folder)
        return told_steps(folder) if len(looked) > 1 else []

    monkeypatch.setattr(stage, "launch", without_a_driver)
    with pytest.raises(KeyboardInterrupt):
        stage.train(str(room / "examples"), settings(room, "outlived"))
    assert [row.step for row in steps(room / "outlived")] == [1, 2]
    monkeypatch.setattr(stage, "launch", launch)
    monkeypatch.setattr(stage, "told_steps", too_early)
    stage.train(str(room / "examples"), settings(room, "outlived"))
    alike(room / "outlived", room / "alone")


def a_job(room: Path, out: str, monkeypatch: pytest.MonkeyPatch, **others: Any) -> Job:
    """What the processes of a training would be told."""
    told: list[Job] = []

    def keep(job: Job, *_: object) -> None:
        told.append(job)
        raise UpwellError("enough")

    monkeypatch.setattr(stage, "launch", keep)
    with pytest.raises(UpwellError, match="enough"):
        stage.train(str(room / "examples"), settings(room, out, devices=2))
    return msgspec.structs.replace(told[0], **others)


def test_sharded_states_train_resume_and_are_saved_whole(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All weights, and adapters; on CPUs, where accelerate has to be talked into it (see sharded_on_cpu)."""
    from safetensors.torch import load_file

    described = {None: room / "full.json", 4: room / "adapters.json"}
    jobs = {
        rank: a_job(
            room, f"sharded-{rank}", monkeypatch,
            sharding="fsdp2", steps=EVERY + 2, save_every=2, lora_rank=rank,
        )
        for rank in described
    }  # fmt: skip
    for rank, path in described.items():
        path.write_bytes(msgspec.json.encode(jobs[rank]))
    reading, writing = os.pipe()  # at its end, processes take their driver for dead
    try:
        done = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
             str(Path(__file__).with_name("sharded_on_cpu.py")), *map(str, described.values())],
            stdin=reading, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
    finally:
        os.close(reading)
        os.close(writing)
    assert done.returncode == 0, done.stderr
    alone = steps(room / "alone")[0]
    for (rank, path), name in zip(described.items(), ("model", "adapter_model"), strict=True):
        parameters = msgspec.json.decode(path.with_suffix(".parameters").read_bytes(), type=dict[str, str])
        assert {value.split()[0] for value in parameters.values()} == {"torch.float32"}
        assert all("Shard(dim=0)" in value for value in parameters.values())
        events = [json.loads(line) for line in path.with_suffix(".told").read_text().splitlines()]
        assert [event["step"] for event in events] == [1, 2, 3, 4, 5, 6, 3, 4, 5, 6]
        assert events[0]["loss"] == pytest.approx(alone.loss, rel=1e-5)
        for again, before in zip(events[6:], events[2:6], strict=True):
            assert again | {"seconds": 0} == before | {"seconds": 0}
        trained = jobs[rank].trained
        first, second = (load_file(Path(trained + end) / f"{name}.safetensors") for end in ("-first", ""))
        assert first and all(bool((first[key] == second[key]).all()) for key in first)
        if rank is None:
            assert set(first) == set(load_file(room / "alone/model/model.safetensors"))


def test_arguments_of_sharding(tmp_path: Path, room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = a_job(room, "arguments", monkeypatch)

    def arguments(**others: Any) -> Any:
        return _arguments(msgspec.structs.replace(plain, checkpoints=str(tmp_path), **others))

    assert not arguments(checkpointing=False).gradient_checkpointing, "TRL's default came through"
    assert arguments(checkpointing=True).gradient_checkpointing
    sharded = arguments(sharding="fsdp2", checkpointing=True)
    plugin = sharded.fsdp_plugin_args
    assert (
        plugin["fsdp_version"] == 2 and plugin["activation_checkpointing"] and plugin["reshard_after_forward"]
    )
    assert plugin["state_dict_type"] == "SHARDED_STATE_DICT" and plugin["cpu_ram_efficient_loading"]
    assert not sharded.gradient_checkpointing, "activations would be recomputed twice"
    adapters = arguments(sharding="fsdp2", checkpointing=True, lora_rank=4)
    assert adapters.gradient_checkpointing and not adapters.fsdp_plugin_args["activation_checkpointing"]
    assert not arguments(sharding="fsdp2", checkpointing=False).fsdp_plugin_args["activation_checkpointing"]


def test_what_cannot_be_is_refused_before_anything_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = find_recipe("xwin-llama2-7b")

    def of(**others: Any) -> TrainSettings:
        return TrainSettings(recipe=recipe.name, **others)

    assert [count_processes(of(), gpus) for gpus in (0, 1, 8)] == [1, 1, 8]
    assert count_processes(of(devices=2), 0) == 2 and count_processes(of(devices=16, ray="auto"), 8) == 16
    with pytest.raises(UsageError, match="this machine has 1 GPUs"):
        count_processes(of(devices=2), 1)

    said: list[str] = []

    def sharding(devices: int, *, cpu: bool = False, **others: Any) -> str:
        asked = of(**others)
        return choose_sharding(chosen(asked), asked, devices, cpu=cpu, say=said.append)

    assert sharding(1) == "none" and not said and sharding(8) == "fsdp2"
    assert sharding(2, cpu=True) == "none" and "GPUs only" in said[0]
    assert sharding(8, sharding="none") == "none"
    for refused in ({"devices": 1}, {"devices": 2, "cpu": True}):
        with pytest.raises(UsageError, match="does nothing here"):
            sharding(sharding="fsdp2", **refused)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package `deepspeed`") as missing:
        sharding(8, sharding="zero3")
    assert "pip install deepspeed" in str(missing.value)
    with pytest.raises(UsageError, match="training with --ray needs the package"):
        count_processes(of(devices=2, ray="local"), 0)
    monkeypatch.undo()

    for name, value in {
        "RANK": "1",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "4",
        "MASTER_ADDR": "here",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert follows() and count_processes(of(), 8) == count_processes(of(devices=4), 2) == 4
    for wrong in (of(devices=2), of(devices=4, ray="auto")):
        with pytest.raises(UsageError, match="torchrun has started 4"):
            count_processes(wrong, 8)


def test_a_checkpoint_of_another_sharding_is_refused(tmp_path: Path) -> None:
    for folder, made in (("a", "none"), ("b/pytorch_model_fsdp_0", "fsdp2"), ("c/global_step4", "zero3")):
        (tmp_path / folder).mkdir(parents=True)
        for sharding in ("none", "fsdp2", "zero3"):
            told = (
                contextlib.nullcontext()
                if sharding == made
                else pytest.raises(UsageError, match=f"--sharding {made}")
            )
            with told:
                _check_spread(tmp_path / folder[0], sharding)
