"""Checkpoints of a training under way: which is the last whole one, and the model that a finished one leaves."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from upwell.engines.checkpoints import TRAINING
from upwell.errors import StorageError
from upwell.runs.storage import storage_error, sync_folder, write_atomically

TOKENS, CHECKPOINTS, MODEL, TRAINED = "tokens", "checkpoints", "model", ".trained"
"""Folders of a run: of its rows, of checkpoints while it trains, of the finished model, of what the trainer gave."""
_WHOLE = "whole"
"""File that a checkpoint has once everything of it is written. The trainer itself leaves half ones when killed."""
_PREFIX = "checkpoint-"
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES})


def mark_whole(folder: Path) -> None:
    """Say that a checkpoint is complete, after seeing it onto the disk."""
    sync_tree(folder)
    write_atomically(folder / _WHOLE, b"")


def sync_tree(folder: Path) -> None:
    """Make all files in a folder safe from a power loss."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file, contextlib.suppress(OSError):  # not every file system can
                os.fsync(file.fileno())


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say what is wrong with the disk where torch or safetensors cannot write.

    Raises:
        StorageError: a file could not be written; what was whole before still is.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _DISK:
            raise storage_error(folder, error) from None
        raise
    except Exception as error:
        text = str(error)
        number = re.search(r"\(os error (\d+)\)", text)
        if type(error).__name__ == "SafetensorError" and number:
            code = int(number[1])
            raise storage_error(folder, OSError(code, os.strerror(code))) from None
        if isinstance(error, RuntimeError) and re.search(r"PytorchStreamWriter|unexpected pos", text):
            raise StorageError(  # torch does not say which of these it is
                f"a file in `{folder}` could not be written whole: the disk is full, or a quota or a limit of file "
                "sizes is reached",
                "make room, then run the same command again: it goes on at the last checkpoint",
            ) from None
        raise


def last_whole(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder; half ones are removed, so nothing may be training into it."""
    for path in _all(folder):
        if not _whole(path):
            shutil.rmtree(path, ignore_errors=True)
    return _newest(folder)


def _all(folder: Path) -> list[Path]:
    return list(folder.glob(f"{_PREFIX}*"))


def _whole(path: Path) -> bool:
    return (path / _WHOLE).exists() and path.name.removeprefix(_PREFIX).isdecimal()


def _newest(folder: Path) -> Path | None:
    whole = [path for path in _all(folder) if _whole(path)]
    return max(whole, key=lambda path: int(path.name.removeprefix(_PREFIX)), default=None)


def told_steps(folder: Path) -> list[dict[str, Any]]:
    """The steps that the newest whole checkpoint holds, as rows of the loss table.

    The table has them already, unless a power loss took its end, or what trained outlived what wrote it.
    """
    found = _newest(folder)
    if found is None:
        return []
    state = json.loads((found / "trainer_state.json").read_text(encoding="utf-8"))
    rows, seen = [], 0
    for entry in state["log_history"]:
        if "loss" not in entry:
            continue
        tokens = int(entry.get("num_tokens", seen))
        rows.append(
            {
                "key": f"step-{entry['step']:07d}",
                "step": entry["step"],
                "epoch": float(entry["epoch"]),
                "loss": float(entry["loss"]),
                "learning_rate": float(entry["learning_rate"]),
                "gradient_norm": entry.get("grad_norm"),
                "tokens": tokens - seen if tokens >= seen else tokens,  # each session counts from nothing
                **{name: entry[name] for name in ("learnt", "seconds") if name in entry},
            }
        )
        seen = tokens
    return rows


def forget(run: Path, *others: str) -> None:
    """Take away a run of which no step was taken, so that the folder is as good as new.

    Args:
        others: further files of the run.
    """
    for name in (TOKENS, CHECKPOINTS):
        shutil.rmtree(run / name, ignore_errors=True)
    for name in ("rejects.jsonl", *others, "manifest.json"):
        (run / name).unlink(missing_ok=True)


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
    with writing(aside), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of peft's on transformers
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
    sync_tree(aside)
    aside.rename(model)
    sync_folder(model.parent)
