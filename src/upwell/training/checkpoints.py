"""Checkpoints of a training under way: which is the last whole one, and the model that a finished one leaves."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

from upwell.engines.checkpoints import TRAINING
from upwell.runs.storage import sync_folder, write_atomically

CHECKPOINTS, MODEL, TRAINED = "checkpoints", "model", ".trained"
"""Folders of a run: of checkpoints while it trains, of the finished model, of what the trainer gave at its end."""
_WHOLE = "whole"
"""File that a checkpoint has once everything of it is written. The trainer itself leaves half ones when killed."""
_PREFIX = "checkpoint-"


def mark_whole(folder: Path) -> None:
    """Say that a checkpoint is complete, after seeing it onto the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file, contextlib.suppress(OSError):
                _sync(file.fileno())
    sync_folder(folder)
    write_atomically(folder / _WHOLE, b"")


def last_whole(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder; half ones are removed."""
    whole: list[tuple[int, Path]] = []
    for path in folder.glob(f"{_PREFIX}*") if folder.is_dir() else ():
        number = path.name.removeprefix(_PREFIX)
        if (path / _WHOLE).exists() and number.isdecimal():
            whole.append((int(number), path))
        else:
            shutil.rmtree(path, ignore_errors=True)
    return max(whole)[1] if whole else None


def finish_model(
    trained: Path, model: Path, *, base: Path, dtype: Any, adapter: bool, tokenizer: Any, eos: int, card: dict[str, Any]
) -> None:  # fmt: skip
    """Make the checkpoint that is evaluated: weights in the base's dtype, adapters merged, told where to stop.

    Args:
        trained: what the trainer wrote, whole.
        model: folder to make; put in place at once.
        base: folder of the base model.
        dtype: torch dtype of the weights.
        adapter: whether `trained` holds adapters only.
        tokenizer: of the base.
        eos: id of the token that was learnt as the end of a completion.
        card: what `upwell.json` in it says: how the model was trained and wants to be asked.
    """
    from transformers import AutoModelForCausalLM, GenerationConfig

    from upwell.engines.embedded.loading import quiet

    aside = model.with_name(f".{model.name}")
    shutil.rmtree(aside, ignore_errors=True)
    with quiet():
        source = base if adapter else trained
        made = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
        if adapter:
            from peft import PeftModel

            made = PeftModel.from_pretrained(made, str(trained)).merge_and_unload()
        made.config.eos_token_id = eos
        # Its own alone: the base's may hold others that training did not teach, and settings of sampling.
        made.generation_config = GenerationConfig(eos_token_id=eos, bos_token_id=made.config.bos_token_id)
        made.save_pretrained(aside, safe_serialization=True)
        tokenizer.save_pretrained(aside)
    write_atomically(aside / TRAINING, json.dumps(card, indent=1, ensure_ascii=False).encode() + b"\n")
    sync_folder(aside)
    aside.rename(model)


def _sync(descriptor: int) -> None:
    import os

    os.fsync(descriptor)
