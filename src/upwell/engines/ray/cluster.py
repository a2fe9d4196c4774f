"""Being connected to a Ray cluster, or to a Ray of our own."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import upwell
from upwell.errors import MissingExtra, UsageError
from upwell.runs.secrets import scrub_text

_CONNECT_SECONDS = 10.0
_OBJECT_STORE = 100 * 2**20
"""Bytes of shared memory of a Ray that we start: what we send through it is small and passes at once."""


def imported() -> Any:
    """Ray, which is told to report to nobody.

    Raises:
        MissingExtra: it is not installed.
    """
    # Ray reports to its makers unless told not to, and warns of its own plans for environment variables.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise MissingExtra("--ray", "ray", "ray") from None
    return ray


def connect(ray: Any, address: str, cpus: int) -> bool:
    """Be connected to the cluster. Returns whether we did it, and are to undo it.

    Args:
        address: `local` for a Ray of our own on this machine, else a cluster's address, or `auto`.
        cpus: that a Ray of our own has at least.

    Raises:
        UsageError: there is no cluster at the address.
    """
    if ray.is_initialized():
        return False
    _keep_off_stdout(ray)
    if address == "local":
        ray.init(
            address="local",  # without it, RAY_ADDRESS or a cluster that was started here is joined
            num_cpus=max(cpus, len(os.sched_getaffinity(0))),
            object_store_memory=_OBJECT_STORE,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
        return True
    _check_reachable(address)
    try:
        # The package is shipped, so that nodes need not have this very version installed.
        ray.init(
            address=address,
            runtime_env={"py_modules": [str(Path(upwell.__file__).parent)]},
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise _no_cluster(address, error) from None
    return True


def _keep_off_stdout(ray: Any) -> None:
    """Have Ray say on stderr what goes wrong on its nodes, in a sentence: it prints a paragraph on stdout, where our
    data goes, and no setting of its own changes that. In a Ray without this function of its inside, nothing happens.
    """

    def tell(data: Mapping[str, Any], ignore_prefix: bool) -> None:
        for line in data["lines"]:
            sys.stderr.write(f"ray: {scrub_text(str(line).partition('. ')[0][:300])}\n")

    ray._private.worker.print_to_stdstream = tell


def _check_reachable(address: str) -> None:
    """See that somebody listens there: Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdigit()):
        return  # `auto`, or a name that Ray resolves
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise _no_cluster(address, error) from None


def _no_cluster(address: str, error: Exception) -> UsageError:
    first = next(iter(str(error).splitlines()), type(error).__name__)
    return UsageError(
        f"no Ray cluster at `{address}`: {first}", "--ray local, or start one: ray start --head"
    )
