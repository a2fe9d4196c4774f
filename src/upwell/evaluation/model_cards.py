"""How known models want to be asked: prompt, stop strings, end of sequence, by the name of the model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about the models of a family."""

    family: str
    pattern: str
    """Regular expression that the whole name of a model matches, its owner and revision left off; case does not
    matter."""
    prompt: str
    """Prompt template (`upwell.prompts`). Its own stop strings hold too."""
    eos: str
    """Token that ends a response, which is also a stop string: some models spell it out."""
    stop: tuple[str, ...] = ()
    """Stop strings besides."""
    quirks: tuple[str, ...] = ()
    """What differs from what one would expect, and from what the model's own code does."""
    source: str

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop strings besides those of the template."""
        return tuple(filter(None, (self.eos, *self.stop)))


_BARE_WORDS = (
    "the models' own code also stops at bare words such as `Question` and `Response`, which cuts solutions that use "
    "them: here only headings at the start of a line end a response"
)
_ADDS_BOS = "the tokenizer puts {bos} in front"
_DART_BREAK = (
    "the prompt ends in a line break, as paper and model cards print it; the released generator strips it off"
)
_DART = "https://github.com/hkust-nlp/dart-math and the model cards of hkust-nlp/dart-math-*"


def _dart(base: str, pattern: str, bos: str, eos: str, *quirks: str) -> ModelCard:
    return ModelCard(
        family=f"dart-math on {base}",
        pattern=rf"dart-math-{pattern}-(uniform|prop2diff)",
        prompt="alpaca",
        eos=eos,
        quirks=(_ADDS_BOS.format(bos=bos), _DART_BREAK, *quirks),
        source=_DART,
    )


_DEEPSEEK_BOS, _DEEPSEEK_EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"

MODEL_CARDS = (
    ModelCard(
        family="Xwin-Math",
        pattern=r"xwin-math-(7b|13b|70b)-v1\.[01]",
        prompt="xwin-math",
        eos="</s>",
        quirks=(
            _ADDS_BOS.format(bos="<s>"),
            "the prompt ends in a space, which is a token of its own: do not strip it",
            _BARE_WORDS,
        ),
        source="https://github.com/Xwin-LM/Xwin-LM/tree/main/Xwin-Math",
    ),
    _dart("Mistral-7B", "mistral-7b", "<s>", "</s>"),
    _dart(
        "DeepSeekMath-7B",
        "dsmath-7b",
        _DEEPSEEK_BOS,
        _DEEPSEEK_EOS,
        "asked in Alpaca, not in DeepSeekMath's own format",
    ),
    _dart(
        "Llama-3",
        "llama3-(8b|70b)",
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "ends with <|end_of_text|>, not with the <|eot_id|> of Llama-3-Instruct",
    ),
    ModelCard(
        family="DeepSeekMath",
        pattern=r"deepseek-math-7b-(rl|instruct)",
        prompt="deepseek-math",
        eos=_DEEPSEEK_EOS,
        quirks=(
            _ADDS_BOS.format(bos=_DEEPSEEK_BOS),
            "dart-math's `--prompt_template cot` can fall back to Alpaca for it without a word; here the card is shown",
        ),
        source="https://huggingface.co/deepseek-ai/deepseek-math-7b-rl",
    ),
    ModelCard(
        family="MetaMath",
        pattern=r"metamath-((7b|13b|70b)-v1\.0|mistral-7b|llemma-7b)",
        prompt="metamath",
        eos="</s>",
        quirks=(_ADDS_BOS.format(bos="<s>"), _BARE_WORDS),
        source="https://github.com/meta-math/MetaMath, eval_gsm8k.py",
    ),
    ModelCard(
        family="Qwen2.5-Math",
        pattern=r"qwen2\.5-math-(1\.5b|7b|72b)-instruct",
        prompt="qwen2.5-math",
        eos="<|im_end|>",
        quirks=(
            "the tokenizer puts nothing in front",
            "the instruction is the system's, not the user's",
        ),
        source="https://github.com/QwenLM/Qwen2.5-Math, evaluation/utils.py",
    ),
    ModelCard(
        family="Qwen2.5-Math base",
        pattern=r"qwen2\.5-math-(1\.5b|7b|72b)",
        prompt="qwen2.5-math",
        eos="<|endoftext|>",
        stop=("<|im_end|>",),
        quirks=(
            "the tokenizer puts nothing in front",
            "a base model: it ends with <|endoftext|>, and asked like the Instruct models it may go on into further "
            "turns",
        ),
        source="https://github.com/QwenLM/Qwen2.5-Math, evaluation/utils.py",
    ),
    ModelCard(
        family="SmolLM2",
        pattern=r"smollm2-(135m|360m|1\.7b)-instruct",
        prompt="chat",
        eos="<|im_end|>",
        quirks=("its chat template brings in a system message of its own",),
        source="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
)
"""Every card. No two match the same name."""


def bare_name(model: str) -> str:
    """The name of a model as cards and published figures know it: without kind, address, owner, folder and revision."""
    kind, colon, rest = model.partition(":")
    if colon and kind in ("server", "batch"):
        model = rest.rpartition("#")[2]
    elif colon and kind == "vllm":
        model = rest
    model = re.sub(
        r"[/\\\\]model[/\\\\]?$", "", model
    )  # the checkpoint of a training run goes by the run's name
    parts = [part for part in re.split(r"[/\\]", model) if part]
    cached = [part for part in parts if part.startswith("models--")]  # the hub's cache: models--OWNER--NAME
    return (cached[-1] if cached else parts[-1] if parts else "").rpartition("--")[2].partition("@")[0]


def card_of_training(told: Mapping[str, Any]) -> ModelCard:
    """The card of a model that was trained here, from what its checkpoint says (`Checkpoint.training`)."""
    return ModelCard(
        family=f"trained by `{told.get('recipe')}` from {told.get('base')}",
        pattern="",
        prompt=told["prompt"],
        eos=told.get("eos") or "",
        source="upwell.json in its checkpoint",
    )


def card_of(model: str) -> ModelCard | None:
    """The card of a model, by its name; None where it is not known."""
    name = bare_name(model)
    return next((card for card in MODEL_CARDS if re.fullmatch(card.pattern, name, re.IGNORECASE)), None)
