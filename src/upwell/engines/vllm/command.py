"""What vLLM is started with: which Python, which arguments, and the name for what then answers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from upwell.engines.checkpoints import Checkpoint
from upwell.engines.settings import EngineSettings
from upwell.errors import UsageError

_OURS_ALONE = {
    "--host": "it listens on this machine alone",
    "--port": "a free one is taken",
    "--served-model-name": "it is the checkpoint's",
    "--model": "say --model vllm:CHECKPOINT",
    "--api-key": "it gets a new one each time",
    "--hf-token": "export HF_TOKEN, which is not written down",
}
"""Arguments that cannot be the user's, and why."""
_SHAPING = frozenset({
    "--dtype", "--quantization", "--kv-cache-dtype", "--generation-config", "--override-generation-config",
    "--tokenizer", "--tokenizer-revision", "--revision", "--hf-overrides", "--rope-scaling", "--rope-theta",
    "--model-impl", "--logits-processors", "--enable-lora", "--lora-modules", "--calculate-kv-scales",
    "--load-format",
})  # fmt: skip
"""Arguments that change what a response means, not only how fast it comes: part of the identity."""
_SHORT = {"-q": "--quantization", "-tp": "--tensor-parallel-size"}


def vllm_identity(checkpoint: Checkpoint, settings: EngineSettings) -> str:
    """What produces the replies: vLLM, the weights, the dtype, and arguments of the user's that shape responses.

    Raises:
        UsageError: an argument of the user's is none, or is not the user's to choose.
    """
    shaping = sorted(
        f"{name}{equals}{_without_folders(value)}"
        for name, equals, value in _theirs(settings)
        if _setting(name) in _SHAPING
    )
    return " ".join([f"vllm {checkpoint.name}@{checkpoint.digest[:12]}/{settings.dtype}", *shaping])


def command_of(python: str, checkpoint: Checkpoint, port: int, settings: EngineSettings) -> list[str]:
    """What starts it: five words, then our arguments, each replaced by the user's where there is one of the same name.

    Raises:
        UsageError: an argument of the user's is none, or is not the user's to choose.
    """
    gpus = _dividing(visible_gpus(), checkpoint)
    ours = [
        "--host=127.0.0.1",
        f"--port={port}",
        f"--served-model-name={checkpoint.name}",
        f"--dtype={settings.dtype}",
        # The model's own context, or as much of it as there is memory for; else it does not start where that is less.
        "--max-model-len=auto",
        "--enable-prefix-caching",
        # Else a model's generation_config.json would change how tokens are drawn.
        "--generation-config=vllm",
        # A line for each of a million calls would bury what its log has to say.
        "--disable-uvicorn-access-log",
        *([f"--tensor-parallel-size={gpus}"] if gpus > 1 else []),
    ]
    theirs = _theirs(settings)
    replaced = {_setting(name) for name, _, _ in theirs}
    kept = [argument for argument in ours if argument.partition("=")[0] not in replaced]
    serve = [python, "-m", "vllm.entrypoints.cli.main", "serve", str(checkpoint.folder)]
    return serve + kept + ["".join(argument) for argument in theirs]


def visible_gpus() -> int:
    """How many GPUs vLLM would see."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return len([part for part in named.split(",") if part.strip() not in ("", "-1")])
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def python_of(named: str | None) -> str:
    """The interpreter that has vLLM.

    Args:
        named: by the user; by default that of the `vllm` on the PATH.

    Raises:
        UsageError: there is none.
    """
    hint = "install vLLM in an environment of its own, then --vllm-python ENVIRONMENT/bin/python"
    if named is not None:
        found = shutil.which(os.path.expanduser(named))
        if found is None:
            raise UsageError(f"--vllm-python: no program `{named}`", hint)
        return found
    program = shutil.which("vllm")
    if program is None:
        raise UsageError("there is no `vllm` on the PATH", hint)
    first = ""
    with contextlib.suppress(OSError, UnicodeDecodeError), open(program, encoding="utf-8") as script:
        first = script.readline(4096)
    # A path too long for the first line is left out of it by pip; the interpreter is then beside the program.
    beside = Path(program).resolve().with_name("python")
    candidates = [Path(first[2:].strip()) if first.startswith("#!") else beside, beside]
    for candidate in candidates:
        if candidate.name.startswith("python") and candidate.exists():
            return str(candidate)
    raise UsageError(f"`{program}` does not say which Python runs it", hint)


def _theirs(settings: EngineSettings) -> list[tuple[str, str, str]]:
    """The user's arguments: name, `=` or nothing, value.

    Raises:
        UsageError: one is none, or is not the user's to choose.
    """
    found = []
    for argument in settings.vllm_arg:
        parts = re.fullmatch(r"(--?[A-Za-z][\w.-]*)(?:(?:=|\s+)(.*))?", argument.strip(), re.DOTALL)
        if parts is None:
            raise UsageError(
                f"--vllm-arg is `{argument[:80]}`, but has to be an argument of `vllm serve`",
                "--vllm-arg=--max-model-len=4096",
            )
        outer, dot, inner = parts[1].partition(".")  # --hf-overrides.max_position_embeddings=8192
        outer = outer.replace("_", "-")
        name, value = _SHORT.get(outer, outer) + dot + inner, parts[2]
        if name in _OURS_ALONE:
            raise UsageError(f"--vllm-arg={name} is not to be set: {_OURS_ALONE[name]}", f"leave {name} out")
        found.append((name, "" if value is None else "=", value or ""))
    return found


def _setting(name: str) -> str:
    """What an argument sets: `--no-enable-x` sets `--enable-x`, `--x.y` a part of `--x`."""
    return name.partition(".")[0].replace("--no-", "--", 1)


def _without_folders(value: str) -> str:
    """A path by its last part, so that no machine path gets into a record."""
    return Path(value).name if value.startswith(("/", "~", "./", "../")) else value


def _dividing(gpus: int, checkpoint: Checkpoint) -> int:
    """The most of these GPUs that the model's attention heads can be shared out to: vLLM refuses others."""
    try:
        config: dict[str, Any] = json.loads((checkpoint.folder / "config.json").read_text(encoding="utf-8"))
        config = config.get("text_config", config)
        heads = config["num_attention_heads"]
        kv = config.get("num_key_value_heads") or heads
        fitting = [n for n in range(1, gpus + 1) if heads % n == 0 and (kv % n == 0 or n % kv == 0)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return gpus  # a model that says it in another way: vLLM will say what it thinks of it
    return max(fitting, default=gpus)
