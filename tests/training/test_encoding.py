"""From text to tokens: what is masked, what is learnt, and how it ends, with every family's kind of tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from seed_checkpoints import FAMILIES
from training_runs import PROMPTS, examples, seeds, template_of, texts, tokenizer_of

from upwell import prompts
from upwell.errors import UsageError
from upwell.records import Example
from upwell.training.encoding import MASKED, Encoder, Piece, end_of_sequence
from upwell.training.recipes import find_recipe

ENDS = {
    "llama2": "</s>", "mistral": "</s>", "llama3": "<|end_of_text|>", "deepseek": "<｜end▁of▁sentence｜>",
    "qwen2": "<|im_end|>", "gemma": "<end_of_turn>",
}  # fmt: skip
BEGINS = {"llama2": "<s>", "mistral": "<s>", "llama3": "<|begin_of_text|>", "gemma": "<bos>"}
SPECIAL = {
    "llama2": "<s>", "mistral": "</s>", "llama3": "<|eot_id|>", "deepseek": "<｜end▁of▁sentence｜>",
    "qwen2": "<|im_start|>", "gemma": "<start_of_turn>",
}  # fmt: skip
SOLUTIONS = (
    "The answer is: 42",
    "First, 6 * 7 = 42.\n\nThen $\\frac{84}{2} = 42$ , which 's done.\nThe answer is: 42\n",
    "\n\nStep 1: 1234567 + 1 = 1234568.",
    "  two spaces before, café √2 ≤ π 数学 \U0001f600\ttab",
    "#### 42",
    "7",
)
ALL_PROMPTS = [
    (family, name)
    for family in FAMILIES
    for name in ("xwin-math", "alpaca", "deepseek-math", "boxed", "plain", "qwen2.5-math")
    if name != "qwen2.5-math" or family == "qwen2"
] + [(family, name) for family in ("qwen2", "gemma") for name in ("chat", "chat-plain")]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return seeds(tmp_path_factory.mktemp("bases"), FAMILIES)


@pytest.fixture(scope="module")
def tokenizers(bases: dict[str, Path]) -> dict[str, Any]:
    return {family: tokenizer_of(base) for family, base in bases.items()}


def encoded(
    tokenizer: Any, family: str, template: prompts.Template, rows: list[Example]
) -> tuple[Encoder, list[Piece]]:
    eos = tokenizer.convert_tokens_to_ids(ENDS[family])
    encoder = Encoder(tokenizer, eos, add_special_tokens=template.add_special_tokens)
    return encoder, list(encoder.pieces(rows))


@pytest.mark.parametrize(("family", "name"), ALL_PROMPTS)
def test_prompt_is_masked_and_completion_is_learnt_to_its_end(
    bases: dict[str, Path], tokenizers: dict[str, Any], family: str, name: str
) -> None:
    tokenizer, template = tokenizers[family], template_of(bases[family], name)
    pairs = [*((f"What is {n} * 7?", solution) for n, solution in enumerate(SOLUTIONS)), *texts(20)]
    rows = list(examples(template, pairs))
    _, pieces = encoded(tokenizer, family, template, rows)
    eos = tokenizer.convert_tokens_to_ids(ENDS[family])
    assert [piece.key for piece in pieces] == [row.key for row in rows]
    for row, piece in zip(rows, pieces, strict=True):
        assert piece.trouble is None
        prompt = tokenizer(row.prompt, add_special_tokens=template.add_special_tokens)["input_ids"]
        assert piece.ids[: piece.prompt] == prompt, "the prompt is not what evaluation feeds"
        assert piece.labels[: piece.prompt] == [MASKED] * piece.prompt
        learnt = piece.labels[piece.prompt :]
        assert learnt == piece.ids[piece.prompt :] and len(piece.labels) == len(piece.ids)
        assert learnt[-1] == eos and learnt.count(eos) == 1, "not exactly one end"
        whole = tokenizer(row.prompt + row.completion, add_special_tokens=template.add_special_tokens)
        shown = tokenizer.decode(piece.ids[:-1], skip_special_tokens=False)
        assert shown == tokenizer.decode(whole["input_ids"], skip_special_tokens=False)
        assert shown.endswith(row.prompt.split("\n")[-1] + row.completion)
        # What evaluation makes of a response: the tokens behind the prompt, as text.
        assert tokenizer.decode(learnt, skip_special_tokens=True).strip() == row.completion.strip()
        if family in BEGINS:
            begin = tokenizer.convert_tokens_to_ids(BEGINS[family])
            assert piece.ids[0] == begin and piece.ids.count(begin) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_the_whole_text_s_where_nothing_grows_together(
    bases: dict[str, Path], tokenizers: dict[str, Any], family: str
) -> None:
    """A seam is only where the one tokenisation cannot be cut at the prompt's end."""
    tokenizer, template = tokenizers[family], template_of(bases[family], PROMPTS[family])
    for row in examples(template, texts(20)):
        encoder, (piece,) = encoded(tokenizer, family, template, [row])
        whole = tokenizer(row.prompt + row.completion, add_special_tokens=template.add_special_tokens)
        assert (piece.ids[:-1] == whole["input_ids"]) is (encoder.seams == 0)


@pytest.mark.parametrize("family", ["llama2", "mistral"])
def test_prompt_that_ends_in_a_space_keeps_its_tokens(
    bases: dict[str, Path], tokenizers: dict[str, Any], family: str
) -> None:
    """`ASSISTANT: ` ends in a lone `▁`, which `ASSISTANT: The` would swallow: what evaluation feeds stays."""
    tokenizer, template = tokenizers[family], template_of(bases[family], "xwin-math")
    (row,) = examples(template, [("What is 6 * 7?", "The answer is: 42")])
    assert row.prompt.endswith("ASSISTANT: ")
    encoder, (piece,) = encoded(tokenizer, family, template, [row])
    names = tokenizer.convert_ids_to_tokens(piece.ids)
    assert encoder.seams == 1 and names[piece.prompt - 1] == "▁"
    first = names[piece.prompt]
    assert not first.startswith("▁") and "The".startswith(first), "a second space would be learnt"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("place", ["{}42", "It is {}, 42.", "42{}"])
def test_special_token_in_a_completion_is_turned_down(
    bases: dict[str, Path], tokenizers: dict[str, Any], family: str, place: str
) -> None:
    template = template_of(bases[family], PROMPTS[family])
    for token in {SPECIAL[family], ENDS[family]}:
        _, (piece, other) = encoded(
            tokenizers[family],
            family,
            template,
            list(examples(template, [("Q?", place.format(token)), ("Q?", "42")])),
        )
        assert piece.trouble == f"special token `{token}` in the completion" and other.trouble is None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("completion", ["", " ", "\n"])
def test_empty_completion_is_turned_down(
    bases: dict[str, Path], tokenizers: dict[str, Any], family: str, completion: str
) -> None:
    template = template_of(bases[family], PROMPTS[family])
    row = Example(key="a", prompt=template.render("Q?"), completion=completion, problem="a")
    _, (piece,) = encoded(tokenizers[family], family, template, [row])
    assert piece.trouble == "empty completion"


def test_a_long_text_is_no_cause_for_a_remark(
    bases: dict[str, Path], tokenizers: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    from transformers.utils import logging

    template = template_of(bases["qwen2"], "chat")
    logging.enable_propagation()
    try:
        _, (piece,) = encoded(
            tokenizers["qwen2"], "qwen2", template, list(examples(template, [("Q?", "It is 1. " * 900)]))
        )
    finally:
        logging.disable_propagation()
    assert len(piece.ids) > tokenizers["qwen2"].model_max_length and not caplog.records


def test_prompt_without_a_token_is_turned_down(bases: dict[str, Path], tokenizers: dict[str, Any]) -> None:
    """Nothing would be masked, and the first token has nothing to be told from."""
    template = template_of(bases["qwen2"], "plain")
    _, (piece,) = encoded(
        tokenizers["qwen2"], "qwen2", template, [Example(key="a", prompt="", completion="42", problem="a")]
    )
    assert piece.trouble == "empty prompt"


@pytest.mark.parametrize("family", ["deepseek", "qwen2"])
def test_end_is_learnt_where_it_is_the_padding_too(
    bases: dict[str, Path], tokenizers: dict[str, Any], family: str
) -> None:
    """Labels are by position, never by id, also in a padded batch."""
    from upwell.training.trainer import collator

    tokenizer, template = tokenizers[family], template_of(bases[family], "alpaca")
    pad = tokenizer.pad_token_id
    encoder = Encoder(tokenizer, pad, add_special_tokens=True)
    pieces = list(encoder.pieces(examples(template, texts(6))))
    for pad_to in (None, 256):
        batch = collator(pad, packed=False, pad_to=pad_to)(
            [{"input_ids": piece.ids, "labels": piece.labels} for piece in pieces]
        )
        for piece, ids, labels in zip(pieces, batch["input_ids"], batch["labels"], strict=True):
            length = len(piece.ids)
            assert labels[:length].tolist() == piece.labels and labels[length - 1] == pad
            assert set(labels[length:].tolist()) <= {MASKED} and set(ids[length:].tolist()) <= {pad}


def test_tokenizer_that_ends_every_prompt_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer.from_file(str(bases["llama2"] / "tokenizer.json"))
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
    with pytest.raises(UsageError, match="puts `</s>` behind every prompt") as refused:
        Encoder(tokenizer, 2, add_special_tokens=True)
    assert "add_eos_token" in str(refused.value)
    Encoder(tokenizer, 2, add_special_tokens=False)  # in a chat template, nothing is added


@pytest.mark.parametrize(
    ("recipe", "family", "token"),
    [
        ("xwin-llama2-7b", "llama2", "</s>"), ("xwin-mistral-7b", "mistral", "</s>"),
        ("dart-mistral-7b", "mistral", "</s>"), ("dart-llama3-8b", "llama3", "<|end_of_text|>"),
        ("dart-dsmath-7b", "deepseek", "<｜end▁of▁sentence｜>"), ("qwen2.5-math-1.5b", "qwen2", "<|im_end|>"),
    ],
)  # fmt: skip
def test_end_of_each_recipe(tokenizers: dict[str, Any], recipe: str, family: str, token: str) -> None:
    tokenizer = tokenizers[family]
    assert end_of_sequence(find_recipe(recipe), tokenizer, own_base=True) == (
        token,
        tokenizer.convert_tokens_to_ids(token),
    )


def test_end_that_the_tokenizer_does_not_know(tokenizers: dict[str, Any]) -> None:
    recipe = find_recipe("qwen2.5-math-1.5b")
    text, found = end_of_sequence(recipe, tokenizers["llama2"], own_base=False)
    assert (text, found) == ("</s>", tokenizers["llama2"].eos_token_id)  # another base: its own end
    with pytest.raises(UsageError, match=r"no token `<\|im_end\|>`") as refused:
        end_of_sequence(recipe, tokenizers["llama2"], own_base=True)
    assert refused.value.hint


def test_base_without_any_end_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    """Neither the recipe's nor one of its own; an `unk` that stands for whatever is not there is none."""
    base = tmp_path / "llama3"
    shutil.copytree(bases["llama3"], base)
    settings = json.loads((base / "tokenizer_config.json").read_text())
    told = settings | {"eos_token": None, "unk_token": "<|reserved_special_token_0|>"}
    (base / "tokenizer_config.json").write_text(json.dumps(told))
    with pytest.raises(UsageError, match="and no end of sequence of its own") as refused:
        end_of_sequence(find_recipe("xwin-llama2-7b"), tokenizer_of(base), own_base=False)
    assert "eos_token" in str(refused.value.hint)
