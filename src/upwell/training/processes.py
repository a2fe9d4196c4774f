"""How many processes train and how states are spread over them; what cannot be is refused before anything is begun."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from upwell.errors import MissingExtra, UsageError
from upwell.training.joining import started
from upwell.training.recipes import Recipe
from upwell.training.settings import TrainSettings

_OF_RAY = ("ray", "pandas", "pyarrow", "fsspec", "requests", "pydantic")
"""What `ray.train` imports."""


def count_processes(settings: TrainSettings, gpus: int) -> int:
    """Processes of a training, one a device.

    Args:
        gpus: of this machine; 0 where it trains on its CPU.

    Raises:
        UsageError: there are not so many devices, or they were counted twice; packages of Ray are missing.
    """
    asked, joined = settings.devices, started()
    for package in _OF_RAY if settings.ray is not None else ():
        if importlib.util.find_spec(package) is None:
            raise MissingExtra("training with --ray", package, "ray,train")
    if joined is not None and settings.ray is not None:
        raise UsageError(
            f"--ray {settings.ray} starts processes of its own, and torchrun has started {joined} already",
            f"upwell train ... --ray {settings.ray}, without torchrun; or torchrun without --ray",
        )
    if joined is not None:
        if asked not in (None, joined):
            raise UsageError(
                f"--devices is {asked}, but torchrun has started {joined} processes", "leave --devices out"
            )
        return joined
    if settings.ray is None and asked is not None and gpus and asked > gpus:
        raise UsageError(
            f"--devices is {asked}, but this machine has {gpus} GPUs",
            f"--devices {gpus}; for several machines --ray ADDRESS, or torchrun (docs/training.md)",
        )
    return asked or gpus or 1


def choose_sharding(
    recipe: Recipe, settings: TrainSettings, devices: int, *, cpu: bool, say: Callable[[str], None]
) -> str:
    """How states are spread: as the recipe or `--sharding` says, where that can be.

    Raises:
        UsageError: `--sharding` would have no effect, or its package is missing.
    """
    chosen, asked = recipe.sharding.value, settings.sharding
    if chosen == "none":
        return "none"
    if devices == 1 or cpu:
        why = "there is one device" if devices == 1 else "accelerate shards on GPUs only, and this is a CPU"
        if asked is not None:
            raise UsageError(f"--sharding {asked} does nothing here: {why}", "--sharding none")
        if devices > 1:
            say(f"every process holds all states: {why}")
        return "none"
    if chosen == "zero3" and importlib.util.find_spec("deepspeed") is None:
        raise UsageError(
            "--sharding zero3 needs the package `deepspeed`, which is not installed here",
            "pip install deepspeed, or --sharding fsdp2, which spreads the same states and is part of PyTorch",
        )
    return chosen
