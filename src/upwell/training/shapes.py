"""Shapes of the base models, so that a run can be planned without a checkpoint and without a network."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upwell.errors import UsageError

_HUB = "https://huggingface.co/{}/blob/main/config.json"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What decides the size and the arithmetic of a decoder with gated MLPs (LLaMA, Mistral, Qwen2)."""

    name: str
    """Name on the hub, or the folder it was read from."""
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocab: int
    tied: bool = False
    """Whether the output layer is the embedding."""
    qkv_bias: bool = False
    """Whether queries, keys and values have a bias (Qwen2)."""
    head_size: int | None = None
    """Where it is not hidden / heads."""
    published: int | None = None
    """Parameters as others count them: the weights of the published checkpoint."""
    source: str = ""
    """Where the shape was read."""

    @property
    def query_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * (self.head_size or self.hidden // self.heads)

    @property
    def kv_width(self) -> int:
        """Width of all key heads together; the same for values."""
        return self.kv_heads * (self.head_size or self.hidden // self.heads)

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of the linear maps of one layer: queries, keys, values, output, gate, up, down."""
        hidden, wide = self.hidden, self.intermediate
        return (
            (hidden, self.query_width), (hidden, self.kv_width), (hidden, self.kv_width), (self.query_width, hidden),
            (hidden, wide), (hidden, wide), (wide, hidden),
        )  # fmt: skip

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer, its two norms included."""
        bias = self.query_width + 2 * self.kv_width if self.qkv_bias else 0
        return sum(a * b for a, b in self.linears) + bias + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters; a tied output layer counts once."""
        embeddings = self.vocab * self.hidden * (1 if self.tied else 2)
        return self.layers * self.layer_parameters + embeddings + self.hidden

    @property
    def multiplied(self) -> int:
        """Parameters that every token is multiplied with: all but the embedding, which is looked up. A tied output
        layer is multiplied all the same."""
        return self.layers * sum(a * b for a, b in self.linears) + self.vocab * self.hidden

    def lora_parameters(self, rank: int) -> int:
        """Parameters of adapters of this rank on every linear map of every layer."""
        return self.layers * sum(rank * (a + b) for a, b in self.linears)


def _shape(name: str, hidden: int, layers: int, heads: int, intermediate: int, **rest: Any) -> Shape:
    usual: dict[str, Any] = {"kv_heads": heads, "vocab": 32_000, "source": _HUB.format(name)}
    return Shape(
        name=name, hidden=hidden, layers=layers, heads=heads, intermediate=intermediate, **usual | rest
    )


SHAPES = {
    shape.name: shape
    for shape in (
        _shape("meta-llama/Llama-2-7b-hf", 4096, 32, 32, 11_008, published=6_738_415_616),
        _shape("meta-llama/Llama-2-13b-hf", 5120, 40, 40, 13_824, published=13_015_864_320),
        _shape("meta-llama/Llama-2-70b-hf", 8192, 80, 64, 28_672, kv_heads=8, published=68_976_648_192),
        _shape("mistralai/Mistral-7B-v0.1", 4096, 32, 32, 14_336, kv_heads=8, published=7_241_732_096),
        # CodeLlama-7B's shape, from which Llemma was trained on.
        _shape("EleutherAI/llemma_7b", 4096, 32, 32, 11_008, vocab=32_016, published=6_738_546_688),
        _shape(
            "meta-llama/Meta-Llama-3-8B", 4096, 32, 32, 14_336, kv_heads=8, vocab=128_256, published=8_030_261_248
        ),
        _shape(
            "meta-llama/Meta-Llama-3-70B", 8192, 80, 64, 28_672, kv_heads=8, vocab=128_256, published=70_553_706_496
        ),
        _shape("deepseek-ai/deepseek-math-7b-base", 4096, 30, 32, 11_008, vocab=102_400, published=6_910_365_696),
        _shape(
            "smollm2-135m-instruct", 576, 30, 9, 1536, kv_heads=3, vocab=49_152, tied=True, published=134_515_008,
            source=_HUB.format("HuggingFaceTB/SmolLM2-135M-Instruct"),
        ),
        _shape(
            "Qwen/Qwen2.5-Math-1.5B", 1536, 28, 12, 8960, kv_heads=2, vocab=151_936, tied=True, qkv_bias=True,
            published=1_543_714_304,
        ),
    )
}  # fmt: skip
"""By base model. Read from the configs named in `source`; `published` as safetensors and GGUF indexes count them."""


def shape_of(base: str) -> Shape:
    """The shape of a base model: one that ships here, or a local folder's own.

    Raises:
        UsageError: neither, or the folder's config.json is not of a decoder that this can count.
    """
    if base in SHAPES:
        return SHAPES[base]
    folder = Path(base).expanduser()
    if not (folder / "config.json").is_file():
        close = difflib.get_close_matches(base, SHAPES, n=1)
        raise UsageError(
            f"no shape of `{base}`: it is no folder with a config.json here, and plans ask no network; shapes of "
            f"{', '.join(SHAPES)} are known",
            f"--base {close[0] if close else next(iter(SHAPES))}",
        )
    return _read(base, folder / "config.json")


_GATED = ("llama", "mistral", "qwen2", "qwen3", "gemma", "smollm3")


def _read(base: str, path: Path) -> Shape:
    hint = "--base smollm2-135m-instruct, or another LLaMA-, Mistral- or Qwen-like checkpoint"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind = config["model_type"]
        if kind not in _GATED:
            raise UsageError(
                f"`{path}` is of model type `{kind}`, whose parameters are not counted here", hint
            )
        shape = Shape(
            name=base,
            hidden=int(config["hidden_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            kv_heads=int(config.get("num_key_value_heads") or config["num_attention_heads"]),
            intermediate=int(config["intermediate_size"]),
            vocab=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", kind.startswith("gemma"))),
            qkv_bias=kind == "qwen2" or bool(config.get("attention_bias")),
            head_size=int(config["head_dim"]) if config.get("head_dim") else None,
            source=str(path),
        )
        if min(shape.hidden, shape.layers, shape.heads, shape.kv_heads, shape.intermediate, shape.vocab) < 1:
            raise ValueError("a size of it is below 1")
        return shape
    except KeyError as error:
        raise UsageError(f"`{path}` does not say {error}", hint) from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"`{path}` cannot be read as a model's config: {error}", hint) from None
