"""How many parameters the model behind a run has, counted in its checkpoint where that is at hand."""

from __future__ import annotations

import json
import math
import re
import struct
from pathlib import Path

from upwell.analysis.graded import Source
from upwell.engines.checkpoints import DEFAULT_MODEL, resolve
from upwell.errors import UpwellError

_LOOKED_UP = re.compile(r"(?:embed_tokens|wte|word_embeddings|tok_embeddings)\.weight$")
"""Embeddings of the input, which no token is multiplied with, unless they are the output layer too."""
_OUTPUT = re.compile(r"(?:lm_head|embed_out|output)\.weight$")
_MOST_HEADER = 100_000_000


def parameters_of(source: Source) -> int | None:
    """Parameters that a token is multiplied with; None where the checkpoint is not at hand. Nothing is downloaded."""
    if source.rung is not None and source.rung.model is not None:
        return counted(source.rung.model)
    model = source.run.manifest["settings"].get("model")
    if not isinstance(model, str):
        return None
    if model.lower() == DEFAULT_MODEL:
        try:
            return counted(resolve(model).folder)
        except UpwellError:
            return None
    folder = Path(model).expanduser()
    if (folder / "model" / "config.json").is_file():
        folder = folder / "model"  # a run of `train`
    return counted(folder)


def counted(folder: Path) -> int | None:
    """Parameters by the headers of the safetensors files of a folder; None where there are none or one is damaged."""
    try:
        files = sorted(folder.glob("*.safetensors"))
        shapes = {name: shape for file in files for name, shape in _shapes(file)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return None
    untied = any(map(_OUTPUT.search, shapes))
    kept = (shape for name, shape in shapes.items() if not (untied and _LOOKED_UP.search(name)))
    return sum(math.prod(shape) for shape in kept) or None


def _shapes(file: Path) -> list[tuple[str, list[int]]]:
    with file.open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        if size > _MOST_HEADER:
            raise ValueError(f"a header of {size} bytes")
        header = json.loads(stream.read(size))
    return [(name, entry["shape"]) for name, entry in header.items() if name != "__metadata__"]
