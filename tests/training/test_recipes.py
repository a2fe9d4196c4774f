"""Every value of every recipe against what is known of it, and what is not known kept apart."""

from __future__ import annotations

from typing import Any

import pytest
from recipe_tables import PAGE, filled

from upwell import prompts
from upwell.errors import UsageError
from upwell.training.corpora import CORPORA, TEMPLATE_TOKENS, corpus_of
from upwell.training.hardware import find_hardware
from upwell.training.recipes import RECIPES, find_recipe
from upwell.training.settings import METHODS
from upwell.training.shapes import SHAPES

XWIN = {
    "prompt": ("A4", "xwin-math"),
    "eos": ("A4 silent", None),
    "loss_on": ("A4: not found", None),
    "max_length": ("A4", 2048),
    "packing": ("A4: not found", None),
    "batch_size": ("A4: not found", None),
    "learning_rate": ("A4", 2e-5),
    "schedule": ("A4", "cosine"),
    "warmup_ratio": ("A4", 0.04),
    "epochs": ("A4", 3),
    "optimizer": ("A4", "adam"),
    "adam_betas": ("A4: not found", None),
    "adam_epsilon": ("A4 silent", None),
    "weight_decay": ("A4: not found", None),
    "max_grad_norm": ("A4 silent", None),
    "method": ("A4: not found", None),
    "lora_rank": ("A4: not found", None),
    "precision": ("A4: not found", None),
    "attention": ("A4 silent", None),
    "compile": ("A4 silent", None),
    "sharding": ("A4 silent", None),
    "checkpointing": ("A4 silent", None),
    "hardware": ("A4", "8xH100"),
    "seed": ("A4 silent", None),
    "data": ("A2.4", "xwin-gsm8k-960k"),
}
"""Name: section of the notes on the papers, and what the paper gives (None: nothing)."""
DART = {
    "prompt": ("B3", "alpaca"),
    "eos": ("B3: learnt, its text not named", None),
    "loss_on": ("B3", "completion"),
    "max_length": ("B3", 4096),
    "packing": ("B3", True),
    "batch_size": ("B3", 64),
    "learning_rate": ("B3", 1e-5),
    "schedule": ("B3", "cosine"),
    "warmup_ratio": ("B3", 0.03),
    "epochs": ("B3", 3),
    "optimizer": ("B3", "adam"),
    "adam_betas": ("B3 silent", None),
    "adam_epsilon": ("B3 silent", None),
    "weight_decay": ("B3", 0.0),
    "max_grad_norm": ("B3 silent", None),
    "method": ("B3: not said in so many words", None),
    "lora_rank": ("B3 silent", None),
    "precision": ("B3", "bfloat16"),
    "attention": ("B3", "flash_attention_2"),
    "compile": ("B3", True),
    "sharding": ("B3", "zero3"),
    "checkpointing": ("B3", True),
    "hardware": ("B3", "8xA100"),
    "seed": ("B3", 42),
    "data": ("B2", "dart-hard"),
}
OURS = {name: ("none", None) for name in XWIN}
FACTS: dict[str, dict[str, tuple[str, Any]]] = {
    "xwin-llama2-7b": XWIN | {"base": ("A4", "meta-llama/Llama-2-7b-hf")},
    "xwin-llama2-13b": XWIN | {"base": ("A4", "meta-llama/Llama-2-13b-hf")},
    "xwin-llama2-70b": XWIN | {"base": ("A4", "meta-llama/Llama-2-70b-hf")},
    "xwin-mistral-7b": XWIN | {"base": ("A4", "mistralai/Mistral-7B-v0.1"), "learning_rate": ("A4", 2e-6)},
    "xwin-llemma-7b": XWIN | {"base": ("A4", "EleutherAI/llemma_7b")},
    "dart-mistral-7b": DART | {"base": ("B3", "mistralai/Mistral-7B-v0.1")},
    "dart-llama3-8b": DART
    | {"base": ("B3", "meta-llama/Meta-Llama-3-8B"), "learning_rate": ("B3", 5e-5), "epochs": ("B3", 1)},
    "dart-dsmath-7b": DART | {"base": ("B3", "deepseek-ai/deepseek-math-7b-base"), "learning_rate": ("B3", 5e-5)},
    "dart-llama3-70b": DART
    | {
        "base": ("B3", "meta-llama/Meta-Llama-3-70B"), "learning_rate": ("B3", 2e-5), "epochs": ("B3", 1),
        "hardware": ("B3", "32xA100"),
    },
    "smollm2-135m": OURS | {"base": ("none", None)},
    "qwen2.5-math-1.5b": OURS | {"base": ("none", None)},
}  # fmt: skip
EOS = {
    "xwin-llama2-7b": "</s>", "xwin-llama2-13b": "</s>", "xwin-llama2-70b": "</s>", "xwin-mistral-7b": "</s>",
    "xwin-llemma-7b": "</s>", "dart-mistral-7b": "</s>", "dart-llama3-8b": "<|end_of_text|>",
    "dart-dsmath-7b": "<｜end▁of▁sentence｜>", "dart-llama3-70b": "<|end_of_text|>",
    "smollm2-135m": "<|im_end|>", "qwen2.5-math-1.5b": "<|im_end|>",
}  # fmt: skip
DEPARTS = {
    "xwin-llama2-70b": {"hardware"},
    "dart-mistral-7b": {"hardware", "sharding"},
    "dart-llama3-8b": {"hardware", "sharding"},
    "dart-dsmath-7b": {"hardware", "sharding"},
    "dart-llama3-70b": {"hardware", "sharding"},
}
"""Values that are ours although the paper gives one."""
LINES = [(recipe, name, *fact) for recipe, facts in FACTS.items() for name, fact in facts.items()]


def test_every_recipe_and_every_value_has_its_fact() -> None:
    assert list(FACTS) == list(RECIPES)
    assert all({name for name, _ in r.values()} == set(FACTS[r.name]) for r in RECIPES.values())


@pytest.mark.parametrize(("recipe", "name", "section", "fact"), LINES)
def test_value_is_the_papers_or_says_why_it_is_ours(recipe: str, name: str, section: str, fact: Any) -> None:
    value = dict(find_recipe(recipe).values())[name]
    assert value.paper == fact and type(value.paper) is type(fact), section
    assert value.why.strip(), "a source or a reason"
    if fact is None:
        assert value.source in ("ours", "code")
        assert value.value is not None
    elif name in DEPARTS.get(recipe, ()):
        assert value.source == "ours" and value.value != fact
    else:
        assert value.source == "paper" and value.value == fact


def test_only_dart_has_code_to_read_values_from() -> None:
    coded = {(r.name, name) for r in RECIPES.values() for name, value in r.values() if value.source == "code"}
    assert {name.partition("-")[0] for name, _ in coded} == {"dart"}
    assert {name for _, name in coded} == {"adam_betas", "adam_epsilon", "max_grad_norm", "method"}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_names_in_recipes_are_names_of_other_rooms(recipe: Any) -> None:
    assert recipe.prompt.value in prompts.names() and recipe.prompt.value in TEMPLATE_TOKENS
    assert recipe.base.value in SHAPES
    assert {recipe.data.value, *recipe.other_data} <= set(CORPORA)
    assert recipe.method.value in METHODS and recipe.sharding.value in ("none", "fsdp2", "zero3")
    assert recipe.eos.value == EOS[recipe.name]
    assert find_hardware(recipe.hardware.value).devices >= 1


def test_data_recipes_tell_the_specialists_from_the_mixed_models() -> None:
    rows = {name: (corpus.rows, dict(corpus.of)) for name, corpus in CORPORA.items()}
    gsm8k, math = "GSM8K-like", "MATH-like"
    assert rows == {
        "xwin-gsm8k-960k": (960_000, {gsm8k: 960_000}),  # A2.4
        "xwin-math-480k": (480_000, {math: 480_000}),  # A2.4
        "xwin-mix-480k": (480_000, {gsm8k: 240_000, math: 240_000}),  # A2.6
        "xwin-v1.1-7b": (2_880_000, {gsm8k: 1_920_000, math: 960_000}),  # A2.5
        "xwin-v1.1-70b": (1_440_000, {gsm8k: 960_000, math: 480_000}),  # A2.5
        "dart-uniform": (590_705, {}),  # B2
        "dart-hard": (585_392, {"MATH": 521_936, "GSM8K": 63_456}),  # B2
        "gsm8k-train": (7_473, {}),  # A5
    }
    assert RECIPES["xwin-llama2-7b"].other_data[-1] == "xwin-v1.1-7b"
    assert RECIPES["xwin-llama2-70b"].other_data[-1] == "xwin-v1.1-70b"


def test_tokens_of_the_dart_sets_are_the_published() -> None:
    hard, uniform = CORPORA["dart-hard"], CORPORA["dart-uniform"]
    millions = [round(c.rows * each / 1e6, 1) for c in (hard, uniform) for each in (c.solution, c.question)]
    assert millions == [281.2, 56.5, 161.7, 40.5]  # B2: 281.2, 56.5, 161.8 (273.8 is rounded), 40.5


def test_darts_batch_is_four_times_ours_in_tokens() -> None:
    xwin, dart = RECIPES["xwin-llama2-7b"], RECIPES["dart-mistral-7b"]
    assert dart.batch_size.value * dart.max_length.value == 262_144
    assert xwin.batch_size.value * xwin.max_length.value == 65_536


@pytest.mark.parametrize(
    ("name", "hint"),
    [("xwin-lama2-7b", "xwin-llama2-7b"), ("dart-llama3", "dart-llama3"), ("zzz", "xwin-llama2-7b")],
)
def test_wrong_recipe_names_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        find_recipe(name)
    assert name in error.value.message and (error.value.hint or "").startswith(f"--recipe {hint}")


def test_wrong_data_names_the_nearest() -> None:
    with pytest.raises(UsageError) as error:
        corpus_of("dart-hrd")
    assert error.value.hint == "--data dart-hard"


def test_the_page_holds_the_data() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page) == page, "python tests/training/recipe_tables.py"
