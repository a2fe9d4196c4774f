"""Loading a checkpoint's weights, and proving on them that shared-prefix attention is the model's own."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Iterator
from typing import Any

import torch

from upwell.engines.checkpoints import Checkpoint, first_line
from upwell.engines.embedded.shared_prefix import SharedPrefixModel, route
from upwell.errors import UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_WIDE_SHARE = 0.25
"""Share of the memory that widened copies of the weights may take; a larger model is widened map by map as it runs."""
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.05}
"""Largest accepted relative distance (L2) between the logits of the two ways to run a model."""


def load_model(
    checkpoint: Checkpoint, dtype: str, device: str, *, attention: str | None = None
) -> tuple[Any, str]:
    """A model in evaluation mode with shared-prefix attention, or another, and the name of its dtype.

    Raises:
        UsageError: unknown dtype or device, or a checkpoint that transformers cannot load.
    """
    place, dtype = _placed(dtype, device)
    from transformers import AutoModelForCausalLM

    try:
        with quiet():
            model, loaded = AutoModelForCausalLM.from_pretrained(
                checkpoint.folder,
                dtype=DTYPES[dtype],
                attn_implementation=attention or route(),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
            model.eval().requires_grad_(False)
            model.to(place)
    except Exception as error:  # noqa: BLE001  a broken config or weight file raises anything at all
        raise UsageError(
            f"the model `{checkpoint.name}` in {checkpoint.folder} cannot be loaded on {place}: {first_line(error)}",
            "a folder needs config.json, tokenizer files and whole *.safetensors weights of a transformers causal LM",
        ) from None
    # transformers fills what the files lack with random numbers and goes on.
    lacking = sorted(map(str, [*loaded["missing_keys"], *loaded["mismatched_keys"]]))
    if lacking:
        raise UsageError(
            f"the weights of `{checkpoint.name}` in {checkpoint.folder} do not fit its config.json: "
            f"{len(lacking)} tensors are missing or of another shape, the first: {lacking[0]}",
            "download or save the checkpoint again",
        )
    if place.type == "cpu":
        # Weights mapped from the file can be evicted and read again under memory pressure: copy them once.
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()
    if dtype == "bfloat16" and not _multiplies_bfloat16(place):
        multiply_in_float32(model)
    return model, dtype


def multiply_in_float32(model: Any) -> None:
    """Let a bfloat16 model do its linear maps in float32, for a processor without bfloat16 units.

    Such a unit multiplies bfloat16 numbers, adds up in float32 and rounds once at the end. Widening the same numbers
    and rounding the result is that, in another order of adding, and several times as fast as PyTorch's own way.
    """
    linears = [module for module in model.modules() if type(module) is torch.nn.Linear]
    wide = sum(4 * linear.weight.numel() for linear in linears)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    for linear in linears:
        keep = wide <= _WIDE_SHARE * memory
        linear.forward = functools.partial(
            _linear_in_float32,
            linear.weight.data.float() if keep else linear.weight,
            None if linear.bias is None else linear.bias.data.float(),
        )


def _linear_in_float32(weight: torch.Tensor, bias: torch.Tensor | None, input: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.linear(input.float(), weight.float(), bias).to(input.dtype)


def identity(checkpoint: Checkpoint, dtype: str, device: str) -> str:
    """What an engine on this checkpoint calls itself, without loading the weights."""
    return f"embedded:{checkpoint.name}@{checkpoint.digest[:12]}/{_placed(dtype, device)[1]}"


def self_check(model: Any, name: str) -> tuple[int, int]:
    """Run a few tokens both ways and compare the logits.

    Returns:
        Bytes of keys and values that one token of one response takes, all layers together; and
        `usable_context`.

    Raises:
        UsageError: the model does not route its attention through transformers' attention interface,
            or attends in a way that shared prompts cannot reproduce.
    """
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    ids = [(7 * i + 3) % vocabulary for i in range(9)]
    device = next(model.parameters()).device
    ours, own = model.config._attn_implementation, "eager"
    try:
        model.set_attn_implementation(own)
        with torch.inference_mode():
            expected = (
                model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0, 4:].float()
            )
    finally:
        model.set_attn_implementation(ours)
    shared = SharedPrefixModel(model, slots=2, max_new=8)
    prefix = shared.prefill(ids[:5])
    for slot in (0, 1):
        shared.place(slot, prefix)
    got = [prefix.logits[0].float()]
    for token in ids[5:]:
        got.append(shared.step(torch.tensor([token, token], device=device))[1].float())
    distance = float((torch.stack(got) - expected).norm() / expected.norm())
    if not distance <= _TOLERANCE[model.dtype]:
        raise UsageError(
            f"the model `{name}` ({type(model).__name__}) attends in a way that the embedded engine does not "
            f"reproduce: its logits are {distance:.3g} off",
            "serve it with vLLM or SGLang instead",
        )
    return shared.token_bytes(), usable_context(model, shared.windows)


def usable_context(model: Any, windows: set[int | None]) -> int:
    """Tokens of prompt and response together up to which a response depends on nothing but itself.

    Two things shorten the model's own context. Position encodings that change with the longest sequence of a
    batch (dynamic, longrope) would let neighbours change a response, so they are used up to where they begin to
    change. A window or chunk that a model applies through its mask alone, which is not used here, does nothing
    up to its own size.

    Args:
        model: the model.
        windows: the `sliding_window`s that its layers handed to the attention.
    """
    config = model.config.get_text_config()
    bounds = [int(getattr(config, "max_position_embeddings", 0) or 1 << 20)]
    rope = getattr(config, "rope_parameters", None) or {}
    for part in [rope, *(value for value in rope.values() if isinstance(value, dict))]:
        if part.get("rope_type") in ("dynamic", "longrope"):
            original = part.get("original_max_position_embeddings")
            bounds.append(
                int(original or getattr(config, "original_max_position_embeddings", 0) or bounds[0])
            )
    if windows <= {None}:
        if getattr(config, "use_sliding_window", True):
            bounds.append(int(getattr(config, "sliding_window", 0) or bounds[0]))
        bounds.append(int(getattr(config, "attention_chunk_size", 0) or bounds[0]))
    return min(bounds)


def best_dtype() -> str:
    """The dtype that `auto` means on this machine."""
    return _placed("auto", "auto")[1]


def _placed(dtype: str, device: str) -> tuple[torch.device, str]:
    """The device and the dtype's name, with `auto` decided."""
    place = _device(device)
    if dtype == "auto":
        dtype = "bfloat16" if _multiplies_bfloat16(place) else "float32"
    if dtype not in DTYPES:
        raise UsageError(f"no dtype `{dtype}`", f"one of: auto, {', '.join(DTYPES)}")
    return place, dtype


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"no device `{name}`", "one of: auto, cpu, cuda, cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"the embedded engine does not run on `{name}`", "one of: auto, cpu, cuda, cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is visible here", "use --device cpu")
    return device


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 here: on a CPU without native instructions it is emulated."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    flags = ""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        flags = next((line for line in file if line.startswith(("flags", "Features"))), "")
    return any(flag in flags.split() for flag in ("avx512_bf16", "amx_bf16", "bf16"))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back the progress bars and remarks of transformers; errors still raise."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
