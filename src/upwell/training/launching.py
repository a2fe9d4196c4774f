"""How the processes of a training are started: here, one a device with torchrun, or on a Ray cluster.

Only the driver writes into the run; processes tell it of their steps. They do not outlive it, whatever ends it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from upwell.engines.checkpoints import first_line
from upwell.errors import UpwellError, UsageError
from upwell.training.joining import lead, started
from upwell.training.trainer import Job, Tell, run_job

_POLL = 0.3
_LINES = 20
"""Lines of the log that are shown where nothing says what failed."""
_JOB, _TOLD, _LOG, _STORAGE = ".job.json", ".told.jsonl", "processes.log", ".ray"
"""What processes are told, what they tell, what they and torchrun print, and Ray's own folder; all gone at the end, but
for the log of processes that failed."""
_AGAIN = "run the same command again: it goes on at the last checkpoint"


def launch(job: Job, folder: Path, devices: int, ray: str | None, tell: Tell) -> None:
    """Run a job to its end in as many processes as there are devices; `tell` is called in this one.

    Args:
        folder: of the run, for what processes tell and for their log.
        ray: address of a Ray cluster to run on, or `local`.

    Raises:
        UpwellError: a process failed. What was checkpointed stays.
    """
    _tidy(folder, _JOB, _TOLD, _LOG, _STORAGE)  # a driver that was killed could not
    if ray is not None:
        _on_ray(job, folder, devices, ray, tell)
    elif started() is not None:
        lead(job)
        _run_with_others(job, tell)
    elif devices == 1:
        run_job(job, tell)
    else:
        _torchrun(job, folder, devices, tell)


def _run_with_others(job: Job, tell: Tell) -> None:
    """Run a job beside processes of the user's torchrun, which may die."""
    try:
        run_job(job, tell)
    except RuntimeError as error:
        if re.search("gloo|NCCL|onnection (closed|reset)", str(error)) is None:
            raise
        raise UpwellError(
            f"another process of the training is gone: {first_line(error)}",
            "see what it said; then run the same command again: it goes on at the last checkpoint",
        ) from None


def _tidy(folder: Path, *names: str) -> None:
    for path in (folder / name for name in names):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


# -- one machine -------------------------------------------------------------------------------------------------------


def _torchrun(job: Job, folder: Path, devices: int, tell: Tell) -> None:
    described, told, log = folder / _JOB, folder / _TOLD, folder / _LOG
    described.write_bytes(msgspec.json.encode(job))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}",
        "-m", "upwell.training.launching", str(described), str(told),
    ]  # fmt: skip
    environment = dict(os.environ)
    if job.cpu:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices)))
    failures: list[dict[str, Any]] = []
    with log.open("wb") as output:
        # Nothing is written to their stdin: it ends when this process does, and they with it (see `_worker`).
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            for event in _followed(told, process):
                if "failed" in event:
                    failures.append(event)
                else:
                    tell(event)
            code = process.wait()
        finally:
            _end(process)
            _tidy(folder, _JOB, _TOLD)
    if code:
        raise _failure(failures, log.read_text(encoding="utf-8", errors="replace"), devices, log)
    log.unlink()


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


def _end(process: subprocess.Popen[bytes]) -> None:
    """End torchrun and its processes, which close of themselves when their stdin does."""
    assert process.stdin is not None
    process.stdin.close()
    for end in (process.terminate, process.kill):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return
        end()
    process.wait()


def _failure(failures: list[dict[str, Any]], log: str, devices: int, path: Path) -> UpwellError:
    """The error to raise: of the process that failed first, in its own words where it had any."""
    where = f"what all of them printed is in `{path}`"
    killed = re.search(r"rank\s*: (\d+) .*\n\s*exitcode\s*: -\d+ \(pid: \d+\)\s*\((SIG(?!TERM)\w+)\)", log)
    if killed is not None:  # what the others then say is that it is gone
        rank, signal = int(killed[1]) + 1, killed[2]
        why = ", which the kernel sends where memory runs out" if signal == "SIGKILL" else ""
        return UpwellError(
            f"process {rank} of {devices} of the training was ended by {signal}{why}; {where}", _AGAIN
        )
    if failures:
        return _told_failure(failures[0], devices, where)
    last = "\n".join(log.splitlines()[-_LINES:])
    return UpwellError(f"the training's processes failed; the end of `{path}`:\n{last}", _AGAIN)


def _told_failure(event: dict[str, Any], devices: int, where: str) -> UpwellError:
    kind = UsageError if event["exit_code"] == UsageError.exit_code else UpwellError
    return kind(
        f"process {event['process'] + 1} of {devices} of the training failed: {event['failed']}; {where}",
        event["hint"] or _AGAIN,
    )


def run_telling(job: Job, process: int, tell: Tell) -> None:
    """Run a job in one of several processes, and tell what it fails with."""
    try:
        run_job(job, tell)
    except Exception as error:
        known = (
            error
            if isinstance(error, UpwellError)
            else UpwellError(f"{type(error).__name__}: {first_line(error)}")
        )
        tell(
            {
                "process": process,
                "failed": known.message,
                "hint": known.hint,
                "exit_code": known.exit_code,
            }
        )
        raise


def _worker(described: str, told: str) -> None:
    """What every process of torchrun does."""
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    job = msgspec.json.decode(Path(described).read_bytes(), type=Job)

    def tell(event: dict[str, Any]) -> None:
        with open(told, "ab") as file:
            file.write(json.dumps(event).encode() + b"\n")

    run_telling(job, int(os.environ["RANK"]), tell)


def _end_with_the_driver() -> None:
    """Its end of our stdin is closed when it ends or is killed; torchrun passes ours on."""
    while os.read(0, 1):
        pass
    os._exit(1)


# -- Ray ---------------------------------------------------------------------------------------------------------------


def _on_ray(job: Job, folder: Path, devices: int, address: str, tell: Tell) -> None:
    """Ray Train's workers, one a device. The run directory has to be one that all nodes see."""
    from upwell.engines.ray.cluster import connect, imported

    ray = imported()
    own = connect(ray, address, devices)
    failures: list[dict[str, Any]] = []
    steps = fitting = None
    try:
        _check_room(ray, job, devices)
        steps = ray.remote(num_cpus=0)(_Told).remote()
        # In a process of its own, which can be ended, and all that it has started with it.
        fitting = ray.remote(num_cpus=0, max_retries=0)(_fit).remote(
            msgspec.json.encode(job), devices, str((folder / _STORAGE).resolve()), steps
        )
        ended = False
        while not ended:
            ended = bool(ray.wait([fitting], timeout=_POLL)[0])
            for event in ray.get(steps.take.remote()):
                if "failed" in event:
                    failures.append(event)
                else:
                    tell(event)
        _raise_failure(ray, fitting, failures, devices)
    finally:
        for gone in (fitting,) if fitting is not None else ():
            ray.cancel(gone, force=True)
        if steps is not None:
            ray.kill(steps)
        if own:
            ray.shutdown()
        _tidy(folder, _STORAGE)


def _check_room(ray: Any, job: Job, devices: int) -> None:
    kind = "CPU" if job.cpu else "GPU"
    has = ray.cluster_resources().get(kind, 0)
    if has < devices:
        raise UsageError(
            f"--devices is {devices}, but the Ray cluster has {has:g} {kind}s",
            f"--devices {max(1, int(has))}",
        )


def _raise_failure(ray: Any, fitting: Any, failures: list[dict[str, Any]], devices: int) -> None:
    try:
        gone = ray.get(fitting)
    except ray.exceptions.RayError as error:
        raise UpwellError(f"the training on Ray failed: {first_line(error)}", _AGAIN) from None
    if gone is None:
        return
    if gone["dead"] or not failures:
        raise UpwellError(f"the training on Ray failed: {gone['dead'] or gone['said']}", _AGAIN)
    raise _told_failure(failures[0], devices, "Ray's logs have all of it")


class _Told:
    """Holds what the processes tell until the driver fetches it."""

    def __init__(self) -> None:
        self.held: list[dict[str, Any]] = []

    def add(self, event: dict[str, Any]) -> None:
        self.held.append(event)

    def take(self) -> list[dict[str, Any]]:
        held, self.held = self.held, []
        return held


def _fit(described: bytes, devices: int, storage: str, steps: Any) -> dict[str, str | None] | None:
    """Run Ray's trainer. Returns what went wrong: which process died, where one did, and what Ray said."""
    os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    job = msgspec.json.decode(described, type=Job)

    def work() -> None:
        rank = ray.train.get_context().get_world_rank()
        run_telling(job, rank, lambda event: ray.get(steps.add.remote(event)))

    trainer = TorchTrainer(
        work,
        scaling_config=ScalingConfig(num_workers=devices, use_gpu=not job.cpu),
        run_config=RunConfig(storage_path=storage, name="train"),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        dead = [
            f"process {rank + 1} of {devices} died: {first_line(cause)}"
            for rank, cause in sorted(getattr(error, "worker_failures", {}).items())
            if isinstance(cause, ray.exceptions.RayActorError)
        ]
        return {"dead": dead[0] if dead else None, "said": first_line(error)}
    return None


if __name__ == "__main__":
    _worker(*sys.argv[1:])
