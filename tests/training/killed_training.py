"""`upwell train` in a process that can be killed: forked from a server that has torch and TRL loaded already."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_LOADED = [
    "torch",
    "transformers",
    "trl.trainer.sft_trainer",
    "datasets",
    "upwell.cli",
    "upwell.training.stage",
]


def start(arguments: list[str], log: Path) -> BaseProcess:
    """Begin a command; what it says goes into a file."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(_LOADED)
    process: Any = server.Process(target=_run, args=(arguments, str(log)))
    process.start()
    return process  # type: ignore[no-any-return]


def _run(arguments: list[str], log: str) -> None:
    from tqdm import tqdm

    from upwell.cli import main

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    sys.argv = ["upwell", *arguments]
    tqdm.set_lock(threading.RLock())  # its own is shared with other processes, and a kill would leak it
    main()
