"""The small seed checkpoints are what they say: architecture, special tokens, and each tokenizer's own manners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from seed_checkpoints import FAMILIES, make

from upwell.engines.checkpoints import resolve

TEXTS = (
    "USER: What is 12 + 345?\nASSISTANT: ",
    "Let $x = \\frac{3}{4}$.\n\n  Then $4x = 3$ , and it 's done.\n",
    "café √2 ≤ π ∀ 数学 \U0001f600\ttab",
)
SPACED = ("llama2", "mistral", "gemma")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    room = tmp_path_factory.mktemp("seeds")
    return {family: make(family, room / family) for family in FAMILIES}


@pytest.fixture(scope="module")
def tokenizers(seeds: dict[str, Path]) -> dict[str, Any]:
    return {family: resolve(str(folder)).tokenizer() for family, folder in seeds.items()}


@pytest.mark.parametrize(
    ("family", "architecture", "bias", "tied", "room"),
    [
        ("llama2", "LlamaForCausalLM", False, False, 1),
        ("mistral", "MistralForCausalLM", False, False, 1),
        ("llama3", "LlamaForCausalLM", False, False, 1),
        ("deepseek", "LlamaForCausalLM", False, False, 128),
        ("qwen2", "Qwen2ForCausalLM", True, True, 128),
        ("gemma", "Gemma2ForCausalLM", False, True, 1),
    ],
)
def test_architecture(
    seeds: dict[str, Path],
    tokenizers: dict[str, Any],
    family: str,
    architecture: str,
    bias: bool,
    tied: bool,
    room: int,
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(seeds[family], local_files_only=True)
    assert type(model).__name__ == architecture and model.dtype == torch.float32
    biased = {
        name.split(".")[-2]
        for name, weight in model.named_parameters()
        if name.endswith("bias") and weight.any()
    }
    assert biased == ({"q_proj", "k_proj", "v_proj"} if bias else set())
    assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied
    rows, tokens = model.config.vocab_size, len(tokenizers[family])
    assert rows % room == 0 and 0 <= rows - tokens < room and 500 < tokens < 2000
    if family == "llama3":
        assert model.config.rope_parameters["rope_theta"] == 500_000
    with torch.no_grad():
        logits = model(**tokenizers[family](TEXTS[0], return_tensors="pt")).logits
    assert torch.isfinite(logits).all() and logits.std() > 0.3


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_text_comes_back(tokenizers: dict[str, Any], family: str, text: str) -> None:
    tokenizer = tokenizers[family]
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


@pytest.mark.parametrize(
    ("family", "added", "bos", "eos", "pad", "unk"),
    [
        ("llama2", ["<s>"], "<s>", "</s>", None, "<unk>"),
        ("mistral", ["<s>"], "<s>", "</s>", None, "<unk>"),
        ("llama3", ["<|begin_of_text|>"], "<|begin_of_text|>", "<|end_of_text|>", None, None),
        (
            "deepseek", ["<｜begin▁of▁sentence｜>"], "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>",
            "<｜end▁of▁sentence｜>", None,
        ),
        ("qwen2", [], None, "<|endoftext|>", "<|endoftext|>", None),
        ("gemma", ["<bos>"], "<bos>", "<eos>", "<pad>", "<unk>"),
    ],
)  # fmt: skip
def test_special_tokens(
    seeds: dict[str, Path],
    tokenizers: dict[str, Any],
    family: str,
    added: list[str],
    bos: str | None,
    eos: str,
    pad: str | None,
    unk: str | None,
) -> None:
    from transformers import AutoConfig, GenerationConfig

    tokenizer = tokenizers[family]
    assert (tokenizer.bos_token, tokenizer.eos_token) == (bos, eos)
    assert (tokenizer.pad_token, tokenizer.unk_token) == (pad, unk)
    bare = tokenizer("The answer", add_special_tokens=False).input_ids
    assert tokenizer("The answer").input_ids == tokenizer.convert_tokens_to_ids(added) + bare
    assert tokenizer.encode(eos, add_special_tokens=False) == [tokenizer.eos_token_id]
    config = AutoConfig.from_pretrained(seeds[family])
    assert config.eos_token_id == tokenizer.eos_token_id
    assert GenerationConfig.from_pretrained(seeds[family]).eos_token_id == tokenizer.eos_token_id
    # Qwen's configuration names a begin token all the same.
    assert config.bos_token_id == (tokenizer.bos_token_id if bos else tokenizer.eos_token_id)
    assert resolve(str(seeds[family])).special_token("eos_token") == eos


@pytest.mark.parametrize("family", FAMILIES)
def test_digits(tokenizers: dict[str, Any], family: str) -> None:
    numbers = ["1", "12", "123", "1234", "12345", "9070"]
    if family == "llama3":
        parts = [["1"], ["12"], ["123"], ["123", "4"], ["123", "45"], ["907", "0"]]
    else:
        parts = [list(number) for number in numbers]
    assert [tokenizers[family].tokenize(f"={number}")[1:] for number in numbers] == parts


@pytest.mark.parametrize("family", SPACED)
def test_a_space_before_a_word_is_part_of_it(tokenizers: dict[str, Any], family: str) -> None:
    """So the tokens of a prompt that ends in a space are not the first tokens of prompt and response."""
    tokenizer, prompt = tokenizers[family], "USER: Why?\nASSISTANT: "
    alone = tokenizer.tokenize(prompt)
    assert alone[-2:] == [":", "▁"]
    assert tokenizer.tokenize(prompt + "The sum") == [*alone[:-1], "▁The", "▁sum"]
    assert tokenizer.tokenize(prompt + "42") == [*alone, "4", "2"]
    # Tokenized apart and joined, the ids are others than tokenized together, and the text has a space too many
    # where one is put before the first word.
    joined = tokenizer(prompt).input_ids + tokenizer("The sum", add_special_tokens=False).input_ids
    assert joined != tokenizer(prompt + "The sum").input_ids
    space = "" if family == "gemma" else " "
    assert tokenizer.decode(joined, skip_special_tokens=True) == prompt + space + "The sum"


def test_newlines(tokenizers: dict[str, Any]) -> None:
    assert tokenizers["llama2"].tokenize("a\nb")[1:] == ["<0x0A>", "b"]
    assert tokenizers["gemma"].tokenize("a\n\nb") == ["a", "\n\n", "b"]
    assert tokenizers["llama3"].tokenize("a.\n\nb") == ["a", ".ĊĊ", "b"]


def test_chat_templates(seeds: dict[str, Path], tokenizers: dict[str, Any]) -> None:
    from jinja2 import TemplateError

    turns = [{"role": "user", "content": "Add. "}, {"role": "assistant", "content": "5"}]
    system = {"role": "system", "content": "Be brief."}
    having = {family for family in FAMILIES if resolve(str(seeds[family])).chat_template()}
    assert having == {"qwen2", "gemma"} == {f for f in FAMILIES if tokenizers[f].chat_template}

    def said(family: str, turns: list[dict[str, str]], prompt: bool = False) -> Any:
        return tokenizers[family].apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)

    chatml = "<|im_start|>user\nAdd. <|im_end|>\n<|im_start|>assistant\n"
    start = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    assert said("qwen2", turns) == start + chatml + "5<|im_end|>\n"
    assert said("qwen2", turns[:1], prompt=True) == start + chatml
    assert (
        said("qwen2", [system, *turns[:1]], prompt=True)
        == start.replace("You are a helpful assistant.", "Be brief.") + chatml
    )
    gemma = "<bos><start_of_turn>user\nAdd.<end_of_turn>\n<start_of_turn>model\n"
    assert said("gemma", turns) == gemma + "5<end_of_turn>\n"
    assert said("gemma", turns[:1], prompt=True) == gemma
    with pytest.raises(TemplateError, match="System role"):
        said("gemma", [system, *turns])


def test_a_seed_decides_every_byte(seeds: dict[str, Path], tmp_path: Path) -> None:
    import torch

    before = torch.get_rng_state()
    again, other = make("llama2", tmp_path / "again"), make("llama2", tmp_path / "other", seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    files = sorted(path.name for path in again.iterdir())
    assert files == [
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    for name in files:
        assert (again / name).read_bytes() == (seeds["llama2"] / name).read_bytes()
    same = [name for name in files if (other / name).read_bytes() == (again / name).read_bytes()]
    assert same == [name for name in files if name != "model.safetensors"]
