"""How each model was or is to be trained: every value with its source and the reason for it.

The papers are Xwin-Math (arXiv 2403.04706) and DART-Math (arXiv 2407.13690) with their repositories. What they do not
give stays None under `paper`; the value beside it is then ours and says why.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, Literal, TypeVar

from upwell.errors import UsageError
from upwell.training.settings import TrainSettings

T = TypeVar("T")
Source = Literal["paper", "code", "ours"]


@dataclass(frozen=True)
class Sourced(Generic[T]):
    """A value and why it is that."""

    value: T
    source: Source
    """`paper`, `code` (its repository, or the library's default that it leaves alone), or `ours`."""
    why: str
    """Where it stands, or the reason for a choice of ours."""
    paper: T | None = None
    """What the paper gives, or None where it is silent."""


def _paper(value: T, where: str) -> Sourced[T]:
    return Sourced(value, "paper", where, value)


def _code(value: T, where: str) -> Sourced[T]:
    return Sourced(value, "code", where)


def _ours(value: T, because: str, paper: T | None = None) -> Sourced[T]:
    return Sourced(value, "ours", because, paper)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a base model becomes a trained one."""

    name: str
    base: Sourced[str]
    """Base model: a name on the hub, or of `upwell.engines.checkpoints`."""
    data: Sourced[str]
    """Data recipe (`upwell.training.corpora`)."""
    other_data: tuple[str, ...] = ()
    """Data recipes of other models trained the same way."""
    prompt: Sourced[str]
    """Prompt template (`upwell.prompts`), at training and at evaluation."""
    eos: Sourced[str]
    """Token that ends a completion, learnt like the rest of it."""
    loss_on: Sourced[str]
    """`completion`: solution and end of sequence, the prompt masked."""
    max_length: Sourced[int]
    """Tokens of a row."""
    packing: Sourced[bool]
    """Whether several whole examples share a row, none of them seeing another."""
    batch_size: Sourced[int]
    """Rows of one optimizer step, over all devices: packed rows of max_length where packing is on, else examples."""
    learning_rate: Sourced[float]
    """The highest."""
    schedule: Sourced[str]
    warmup_ratio: Sourced[float]
    """Share of all steps with a linearly rising rate."""
    epochs: Sourced[int]
    optimizer: Sourced[str]
    adam_betas: Sourced[tuple[float, float]]
    adam_epsilon: Sourced[float]
    weight_decay: Sourced[float]
    max_grad_norm: Sourced[float]
    """Gradients are scaled down to this norm."""
    method: Sourced[str]
    """`full` or `lora`."""
    lora_rank: Sourced[int]
    """Rank of the adapters on every linear map, where the method is lora."""
    precision: Sourced[str]
    """`bfloat16`: arithmetic in bfloat16, optimizer and master weights in float32; `auto`: that where the processor
    multiplies bfloat16 natively, float32 throughout elsewhere."""
    attention: Sourced[str]
    compile: Sourced[bool]
    """Whether torch.compile is used."""
    sharding: Sourced[str]
    """`none`, `fsdp2` or `zero3`: how weights, gradients and optimizer states are spread over devices."""
    checkpointing: Sourced[bool]
    """Whether activations are recomputed in the backward pass instead of kept."""
    hardware: Sourced[str]
    """Devices: the paper's under `paper`, what it maps to here as the value."""
    seed: Sourced[int]
    """Of the order of the examples."""

    def values(self) -> Iterator[tuple[str, Sourced[Any]]]:
        """Every value by name, in order."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Sourced):
                yield field.name, value


_AS_MANY = "as many devices, 3.2 times as fast; that the paper's A100 have 80 GB too is assumed"
_HF = "default of the trainer, which {} leaves alone"
_SILENT = "the paper does not say; "
_LORA = _ours(16, "used by --method lora only; the papers' models are not known to have adapters")
_TORCH_SHARDS = "part of PyTorch; spreads the same weights, gradients and states as ZeRO-3"

_ONE_LARGE_RUN = Recipe(
    name="xwin-llama2-7b",
    base=_paper("meta-llama/Llama-2-7b-hf", "training setup: LLaMA-2 7B, 13B, 70B, Mistral-7B and Llemma-7B"),
    data=_paper(
        "xwin-gsm8k-960k", "table 2: one specialist per benchmark; 960K GSM8K-like rows for this one"
    ),
    other_data=("xwin-math-480k", "xwin-mix-480k", "xwin-v1.1-7b"),
    prompt=_paper("xwin-math", "Vicuna-v1.1's system prompt, the same at test time"),
    eos=_ours("</s>", _SILENT + "the base tokenizer's own, which the released models' stop strings name too"),
    loss_on=_ours(
        "completion", _SILENT + "prompts repeat one preamble, and nobody asks the model for questions"
    ),
    max_length=_paper(2048, "training setup"),
    packing=_ours(True, _SILENT + "the loss per token is the same, and rows of 2,048 hold about 4 examples"),
    batch_size=_ours(
        32,
        _SILENT + "32 packed rows of 2,048 hold about 145 examples, near the 128 of the Vicuna recipe, "
        "whose prompt, rate, length and epochs the paper uses",
    ),
    learning_rate=_paper(2e-5, "2e-5, and 2e-6 for Mistral-7B"),
    schedule=_paper("cosine", "training setup"),
    warmup_ratio=_paper(0.04, "linear over 4 % of the steps"),
    epochs=_paper(3, "training setup"),
    optimizer=_paper("adam", "training setup; without decay, AdamW is the same"),
    adam_betas=_ours((0.9, 0.999), _SILENT + "Adam's own"),
    adam_epsilon=_ours(1e-8, _SILENT + "Adam's own"),
    weight_decay=_ours(0.0, _SILENT + "it says Adam, and DART-Math says 0"),
    max_grad_norm=_ours(1.0, _SILENT + "default of the trainer"),
    method=_ours("full", _SILENT + "what a million examples are worth; --method lora plans adapters instead"),
    lora_rank=_LORA,
    precision=_ours("bfloat16", _SILENT + "what H100 multiplies fastest with the range of float32"),
    attention=_ours("flash_attention_2", _SILENT + "takes packed rows without a mask of 2,048 x 2,048"),
    compile=_ours(False, _SILENT + "packed rows of varying pieces make it compile again and again"),
    sharding=_ours("fsdp2", _SILENT + _TORCH_SHARDS),
    checkpointing=_ours(True, _SILENT + "a third more arithmetic for a tenth of the activations"),
    hardware=_paper("8xH100", "training setup"),
    seed=_ours(42, _SILENT + "DART-Math's"),
)

_DART = Recipe(
    name="dart-mistral-7b",
    base=_paper("mistralai/Mistral-7B-v0.1", "training setup"),
    data=_paper("dart-hard", "DART-Math-Hard (Prop2Diff), the better of the two on average"),
    other_data=("dart-uniform",),
    prompt=_paper(
        "alpaca", "the code's form, with a space in `### Instruction:`; paper and cards print none"
    ),
    eos=_ours("</s>", "the base tokenizer's own; the paper says only that it is learnt"),
    loss_on=_paper("completion", "response tokens and the end of sequence; prompts masked"),
    max_length=_paper(4096, "rows are packed to it"),
    packing=_paper(
        True,
        "theirs fills greedily in order and lets positions run on; here best fit, whole examples, positions anew",
    ),
    batch_size=_paper(
        64, "64 packed rows of 4,096 = 262,144 tokens, 4 times those of the Xwin-Math recipes here"
    ),
    learning_rate=_paper(1e-5, "searched over 1e-6..1e-4 on MATH after one epoch of MMIQC"),
    schedule=_paper("cosine", "training setup"),
    warmup_ratio=_paper(0.03, "training setup: linear"),
    epochs=_paper(3, "3 for Mistral and DeepSeekMath, 1 for Llama3"),
    optimizer=_paper("adam", "training setup"),
    adam_betas=_code((0.9, 0.999), _HF.format("scripts/train-single-node.sh")),
    adam_epsilon=_code(1e-8, _HF.format("scripts/train-single-node.sh")),
    weight_decay=_paper(0.0, "training setup"),
    max_grad_norm=_code(1.0, _HF.format("scripts/train-single-node.sh")),
    method=_code("full", "pipeline/train.py trains all weights and knows no adapters"),
    lora_rank=_LORA,
    precision=_paper("bfloat16", "with TF32 for what stays in float32"),
    attention=_paper("flash_attention_2", "patched to keep packed pieces apart"),
    compile=_paper(True, "inductor"),
    sharding=_ours("fsdp2", _TORCH_SHARDS, paper="zero3"),
    checkpointing=_paper(True, "training setup"),
    hardware=_ours(
        "8xH100",
        _AS_MANY,
        paper="8xA100",
    ),
    seed=_paper(42, "scripts/train-single-node.sh, --shuffle_seed 42"),
)

_SMALL = replace(
    _ONE_LARGE_RUN,
    name="smollm2-135m",
    base=_ours("smollm2-135m-instruct", "comes in a package of the Python registry and trains on a CPU"),
    data=_ours("gsm8k-train", "small enough for a CPU: questions of a benchmark with human solutions"),
    other_data=(),
    prompt=_ours("chat", "the model's own chat template, which is what evaluation uses by default"),
    eos=_ours("<|im_end|>", "what its chat template ends a turn with, and its generation stops at"),
    loss_on=_ours("completion", "as in both papers' recipes here"),
    max_length=_ours(1024, "the longest row of GSM8K's train split has about 600 tokens with its template"),
    packing=_ours(True, "a row of 1,024 holds about 4 examples"),
    batch_size=_ours(
        8, "8 packed rows of 1,024 hold about 35 examples: 27 steps per epoch at the smallest, 934 rows"
    ),
    learning_rate=_ours(
        1e-4, "a tenth of its makers' SFT of the bare base (1e-3), because it is tuned already; not searched"
    ),
    schedule=_ours("cosine", "as in both papers"),
    warmup_ratio=_ours(0.04, "Xwin-Math's"),
    epochs=_ours(3, "as in both papers"),
    optimizer=_ours("adam", "as in both papers"),
    adam_betas=_ours((0.9, 0.999), "Adam's own"),
    adam_epsilon=_ours(1e-8, "Adam's own"),
    weight_decay=_ours(0.0, "DART-Math's"),
    max_grad_norm=_ours(1.0, "default of the trainer"),
    method=_ours("full", "all its states fit in 2.2 GB"),
    precision=_ours("auto", "a CPU without bfloat16 units trains many times faster in float32"),
    attention=_ours("sdpa", "runs on a CPU; packed pieces are kept apart by their mask"),
    compile=_ours(False, "takes minutes on a CPU, as long as a small run"),
    sharding=_ours("none", "fits one device"),
    checkpointing=_ours(False, "activations of one row take about 2 GB"),
    hardware=_ours("here", "two CPU cores are enough"),
    seed=_ours(42, "DART-Math's"),
)

_MODERN = replace(
    _SMALL,
    name="qwen2.5-math-1.5b",
    base=_ours(
        "Qwen/Qwen2.5-Math-1.5B", "the strongest open base of its size in mathematics that one GPU trains"
    ),
    data=_ours("dart-hard", "published, answer-checked, weighted towards hard questions"),
    other_data=("dart-uniform", "gsm8k-train"),
    prompt=_ours("qwen2.5-math", "what its makers evaluate it in"),
    eos=_ours("<|im_end|>", "what this prompt ends a turn with; the bare base stops at <|endoftext|>"),
    max_length=_ours(4096, "all that its positions allow, and DART-Math's"),
    packing=_ours(True, "a row of 4,096 holds about 6 examples"),
    batch_size=_ours(32, "32 packed rows of 4,096 = 131,072 tokens, half of DART-Math's: about 200 examples"),
    learning_rate=_ours(2e-5, "Xwin-Math's, and DART-Math's for Llama3-70B; not searched for this model"),
    warmup_ratio=_ours(0.03, "DART-Math's"),
    method=_ours("full", "its states take 25 GB: one GPU of 80 GB holds them"),
    precision=_ours("bfloat16", "what it was made in"),
    attention=_ours("flash_attention_2", "takes packed rows without a mask of 4,096 x 4,096"),
    compile=_ours(False, "packed rows of varying pieces make it compile again and again"),
    checkpointing=_ours(True, "a third more arithmetic; the vocabulary of 151,936 already fills memory"),
    hardware=_ours("1xH100", "one GPU is enough"),
)


def _xwin(name: str, base: str, **changed: Any) -> Recipe:
    return replace(_ONE_LARGE_RUN, name=name, base=_paper(base, _ONE_LARGE_RUN.base.why), **changed)


def _dart(name: str, base: str, rate: float, **changed: Any) -> Recipe:
    rated = _paper(rate, _DART.learning_rate.why)
    return replace(_DART, name=name, base=_paper(base, "training setup"), learning_rate=rated, **changed)


_ONE_EPOCH = _paper(1, _DART.epochs.why)
_LLAMA3_EOS = _ours("<|end_of_text|>", "the base tokenizer's own; the paper says only that it is learnt")
_SEVENTY_B = (
    "full fine-tuning of 70B takes 16 bytes a weight: 138 GB on each of 8 devices, 34 GB on each of 32"
)
RECIPES = {
    recipe.name: recipe
    for recipe in (
        _ONE_LARGE_RUN,
        _xwin("xwin-llama2-13b", "meta-llama/Llama-2-13b-hf"),
        _xwin(
            "xwin-llama2-70b", "meta-llama/Llama-2-70b-hf",
            other_data=("xwin-math-480k", "xwin-mix-480k", "xwin-v1.1-70b"),
            hardware=_ours("32xH100", f"{_SEVENTY_B}; how the paper fitted it is not said", paper="8xH100"),
        ),
        _xwin(
            "xwin-mistral-7b", "mistralai/Mistral-7B-v0.1", other_data=("xwin-math-480k",),
            learning_rate=_paper(2e-6, "a tenth of the others, for Mistral-7B only"),
        ),
        _xwin("xwin-llemma-7b", "EleutherAI/llemma_7b", other_data=("xwin-math-480k",)),
        _DART,
        _dart("dart-llama3-8b", "meta-llama/Meta-Llama-3-8B", 5e-5, epochs=_ONE_EPOCH, eos=_LLAMA3_EOS),
        _dart(
            "dart-dsmath-7b", "deepseek-ai/deepseek-math-7b-base", 5e-5,
            eos=_ours("<｜end▁of▁sentence｜>", _LLAMA3_EOS.why),
        ),
        _dart(
            "dart-llama3-70b", "meta-llama/Meta-Llama-3-70B", 2e-5, epochs=_ONE_EPOCH, eos=_LLAMA3_EOS,
            hardware=_ours("32xH100", _AS_MANY, paper="32xA100"),
        ),
        _SMALL,
        _MODERN,
    )
}  # fmt: skip


def find_recipe(name: str) -> Recipe:
    """A recipe by name.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.4)
        raise UsageError(
            f"no recipe `{name}`; there are {', '.join(RECIPES)}",
            f"--recipe {close[0] if close else next(iter(RECIPES))}",
        )
    return RECIPES[name]


_OVERRIDES = (
    "base", "data", "prompt", "method", "epochs", "learning_rate", "batch_size", "max_length", "precision", "attention",
    "sharding", "seed",
)  # fmt: skip
"""Values that a flag of the same name changes."""


def chosen(settings: TrainSettings) -> Recipe:
    """The recipe of the settings, with what their flags change of it.

    Raises:
        UsageError: there is no such recipe.
    """
    recipe = find_recipe(settings.recipe)
    said = {name: getattr(settings, name) for name in _OVERRIDES}
    if settings.rows is not None:
        said["packing"] = settings.rows == "packed"
    changed: dict[str, Any] = {}
    for name, value in said.items():
        old: Sourced[Any] = getattr(recipe, name)
        if value is not None and value != old.value:
            flag = "--rows" if name == "packing" else "--" + name.replace("_", "-")
            changed[name] = Sourced(value, "ours", f"said by {flag}", old.paper)
    return replace(recipe, **changed)
