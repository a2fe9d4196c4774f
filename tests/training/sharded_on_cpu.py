"""A process of torchrun that shards on CPUs what accelerate shards on GPUs only, and trains by each job twice.

accelerate asks whether devices are GPUs or the like before it takes the plugin for FSDP, and goes on without it
otherwise; the sharding itself runs over gloo. So it is given the plugin afterwards, in the same words.

The second training goes on at the checkpoint before the last; what the first left is `.trained-first`.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
from accelerate import state
from accelerate.utils import DistributedType
from torch import distributed

from upwell.training import trainer
from upwell.training.launching import _worker

_made = state.AcceleratorState.__init__


def _with_plugin(self: Any, *arguments: Any, fsdp_plugin: Any = None, **named: Any) -> None:
    _made(self, *arguments, fsdp_plugin=fsdp_plugin, **named)
    if fsdp_plugin is not None:
        if self._mixed_precision != "no":
            fsdp_plugin.set_mixed_precision(self._mixed_precision)
        self.distributed_type = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin
        state.PartialState._shared_state["distributed_type"] = DistributedType.FSDP


_make = trainer._trainer
_made_here: list[Any] = []


def _trainer(*arguments: Any) -> Any:
    """The trainer of a job, kept to be looked at."""
    _made_here.append(_make(*arguments))
    return _made_here[-1]


def main(*described: str) -> None:
    """Train by each of some descriptions; what is told goes beside it, and what became of the parameters."""
    state.AcceleratorState.__init__ = _with_plugin  # type: ignore[method-assign]
    trainer._trainer = _trainer
    for path in map(Path, described):
        job = msgspec.json.decode(path.read_bytes(), type=trainer.Job)
        _worker(str(path), str(path.with_suffix(".told")))
        if os.environ["RANK"] == "0":
            parameters = {
                name: f"{value.dtype} {getattr(value, 'placements', '')}"
                for name, value in _made_here[-1].model.named_parameters()
            }
            path.with_suffix(".parameters").write_bytes(msgspec.json.encode(parameters))
            Path(job.trained).rename(job.trained + "-first")
            last = max(Path(job.checkpoints).glob("checkpoint-*"), key=lambda one: int(one.name[11:]))
            shutil.rmtree(last)
        distributed.barrier()
        _worker(str(path), str(path.with_suffix(".told")))


if __name__ == "__main__":
    main(*sys.argv[1:])
