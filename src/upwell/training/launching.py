"""How the processes of a training are started: here, one a device with torchrun, or on a Ray cluster."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from upwell.engines.checkpoints import first_line
from upwell.errors import MissingExtra, UpwellError
from upwell.training.trainer import Job, Tell, run_job

_POLL = 0.3
_LINES = 20
"""Lines of a failed process's output that are shown."""


def launch(job: Job, folder: Path, devices: int, ray: str | None, tell: Tell) -> None:
    """Run a job to its end in as many processes as there are devices; `tell` is called in this one.

    Args:
        folder: of the run, for what processes tell and for their log.

    Raises:
        UpwellError: a process failed. What was checkpointed stays.
    """
    if ray is not None:
        _on_ray(job, devices, ray, tell)
    elif devices == 1:
        run_job(job, tell)
    else:
        _torchrun(job, folder, devices, tell)


def _torchrun(job: Job, folder: Path, devices: int, tell: Tell) -> None:
    """One process a device on this machine, ended with this one whatever happens to it."""
    described, told, log = folder / ".job.json", folder / ".steps.jsonl", folder / "processes.log"
    described.write_bytes(msgspec.json.encode(job))
    told.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}",
        "-m", "upwell.training.launching", str(described), str(told),
    ]  # fmt: skip
    environment = dict(os.environ)
    if job.cpu:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices)))
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
        )
        try:
            for event in _followed(told, process):
                tell(event)
            code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
    if code:
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:]
        raise UpwellError(
            f"the training processes ended with status {code}; the end of `{log}`:\n" + "\n".join(last),
            "run the same command again: it goes on at the last checkpoint",
        )
    for path in (described, told):
        path.unlink(missing_ok=True)


def _followed(path: Path, process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """Whole lines of a growing file, until the process has ended and all were read."""
    at, rest = 0, b""
    while True:
        ended = process.poll() is not None
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            file.seek(at)
            rest += file.read()
            at = file.tell()
        *lines, rest = rest.split(b"\n")
        for line in lines:
            yield json.loads(line)
        if ended:
            return
        time.sleep(_POLL)


def _on_ray(job: Job, devices: int, address: str, tell: Tell) -> None:
    """Ray Train's workers, one a device; checkpoints go to the run directory, which all nodes have to see."""
    try:
        import ray
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
    except ImportError as error:
        raise MissingExtra("training on Ray", first_line(error), "ray,train") from None

    class Steps:
        """Holds what the first worker tells until the driver fetches it."""

        def __init__(self) -> None:
            self.held: list[dict[str, Any]] = []

        def add(self, event: dict[str, Any]) -> None:
            self.held.append(event)

        def take(self) -> list[dict[str, Any]]:
            held, self.held = self.held, []
            return held

    own = not ray.is_initialized()
    if own:
        ray.init(
            address=None if address == "local" else address, log_to_driver=False, include_dashboard=False
        )
    try:
        steps: Any = ray.remote(num_cpus=0)(Steps).remote()

        def work(config: dict[str, Any]) -> None:
            run_job(msgspec.convert(config, Job), lambda event: ray.get(steps.add.remote(event)))

        trainer = TorchTrainer(
            work,
            train_loop_config=msgspec.to_builtins(job),
            scaling_config=ScalingConfig(num_workers=devices, use_gpu=not job.cpu),
            run_config=RunConfig(
                storage_path=str(Path(job.checkpoints).resolve().parent / ".ray"), name="train"
            ),
        )
        _fit(trainer, steps, tell)
    finally:
        if own:
            ray.shutdown()


def _fit(trainer: Any, steps: Any, tell: Tell) -> None:
    """Run Ray's trainer in a thread, and tell in this one what its workers say."""
    import threading

    import ray

    failed: list[Exception] = []

    def fit() -> None:
        try:
            trainer.fit()
        except Exception as error:  # noqa: BLE001  told below, in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    while True:
        thread.join(_POLL)
        ended = not thread.is_alive()
        for event in ray.get(steps.take.remote()):
            tell(event)
        if ended:
            break
    if failed:
        raise UpwellError(
            f"the training on Ray failed: {first_line(failed[0])}",
            "run the same command again: it goes on at the last checkpoint",
        )


def _worker(described: str, told: str) -> None:
    """What every process of torchrun does."""
    job = msgspec.json.decode(Path(described).read_bytes(), type=Job)

    def tell(event: dict[str, Any]) -> None:
        with open(told, "ab") as file:
            file.write(json.dumps(event).encode() + b"\n")

    run_job(job, tell)


if __name__ == "__main__":
    _worker(*sys.argv[1:])
