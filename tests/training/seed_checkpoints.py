"""Small random checkpoints of every seed family, each with its own kind of tokenizer, trained here in a second.

Architecture, special tokens, splitting of digits and spaces and the files' settings are the published ones; size,
weights and vocabulary are not. `FAMILIES` names them, `make` writes one into a folder.

What the originals have and these have too:

- `llama2`, `mistral`: pieces start with `▁` for the space before them, so `"ASSISTANT: "` ends in a lone `▁` that
  `"ASSISTANT: The"` has not; unknown characters, newlines too, become bytes; no padding token; no chat template.
- `llama3`: digits in groups of up to three from the left, all 1,110 of them pieces; no padding token; no template.
- `deepseek`: padding is the end token; the model has more rows than the tokenizer has tokens; no template.
- `qwen2`: no begin token, though its config names one; padding is the end token `<|endoftext|>`, while a turn of
  ChatML ends in `<|im_end|>`; a system message is put in where there is none; more rows than tokens, as deepseek.
- `gemma`: no space is put before the first word, newlines are pieces; its template writes `<bos>` itself, refuses a
  system message and calls the assistant `model`.

As transformers loads them, `llama2` and `mistral` differ in two things: a text that starts with a space comes back
from `llama2` without it, and `mistral` puts a `▁` after a special token within a text too.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHATML = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}{%- endif -%}"
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
GEMMA_CHAT = (
    "{{- bos_token -}}{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{- raise_exception('System role not supported') -}}{%- endif -%}"
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{- raise_exception('Roles must alternate: user, assistant, user') -}}{%- endif -%}"
    "{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}"
    "{{- '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}"
)

# The text that the tokenizers are trained on

_NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ines", "Jonas")
_THINGS = (
    "apples", "books", "pencils", "marbles", "stickers", "cookies", "tickets", "bottles", "flowers", "stamps",
)  # fmt: skip
_PLACES = ("market", "school", "library", "garden", "station", "kitchen", "factory", "museum")
_WORD_PROBLEMS = (
    (
        "{name} has {a} {thing} and buys {b} more at the {place}. How many {thing} does {name} have now?",
        "{name} starts with {a} {thing} and adds {b}, so the total is {a} + {b} = <<{a}+{b}={sum}>>{sum}.",
        "{sum}",
    ),
    (
        "There are {a} boxes in the {place}. Each box holds {b} {thing}. How many {thing} are there in total?",
        "Since every box holds {b} {thing}, we multiply: {a} * {b} = <<{a}*{b}={product}>>{product} {thing}.",
        "{product}",
    ),
    (
        "At the {place}, {name} sells {a} {thing} for ${b} each and then spends ${a} on paper. How much money is left?",
        "First find what was earned: {a} * {b} = {product} dollars. Then subtract: {product} - {a} = {rest} dollars.",
        "{rest}",
    ),
    (
        "{name} walks {a} kilometers every day for {b} days and rests on the weekend. What distance is that?",
        "The distance per day is {a} kilometers, so after {b} days it is {a} \\times {b} = {product} kilometers.",
        "{product}",
    ),
)  # fmt: skip
_EXERCISES = (
    (
        "Solve the equation $x + {a} = {sum}$ for the real number $x$.",
        "Subtracting ${a}$ from both sides, we get $x = {sum} - {a} = {b}$.",
        "{b}",
    ),
    (
        "Let $f(x) = {a}x + {b}$ be a function. Compute the value of $f(1)$.",
        "Substituting $x = 1$ gives $f(1) = {a} \\cdot 1 + {b} = {sum}$.",
        "{sum}",
    ),
    (
        "Find the area of a rectangle whose sides have length ${a}$ and width ${b}$.",
        "The area of the rectangle is the product of its sides, which is ${a} \\times {b} = {product}$ square units.",
        "{product}",
    ),
    (
        "What is the probability that a number chosen from the first ${sum}$ positive integers is at most ${a}$?",
        "Exactly ${a}$ of the ${sum}$ integers satisfy this; hence the probability is $\\frac{{{a}}}{{{sum}}}$.",
        "\\frac{{{a}}}{{{sum}}}",
    ),
    (
        "Prove or compute: the sum of the angles of a triangle with $\\sqrt{{{a}}}$ on one side, divided by the prime.",
        "Because the polynomial has degree two, its roots are $\\pm\\sqrt{{{a}}}$, and their product is $-{a}$.",
        "-{a}",
    ),
)  # fmt: skip
_FRAMES = (
    "Question: {question}\nAnswer: {solution}\n#### {answer}\n\n",
    "USER: {question}\nASSISTANT: {solution} The answer is: {answer}\n",
    "Instruction:\n{question}\n\nResponse: Let us think step by step. {solution}\nThe final answer is {answer}.\n\n",
    "User: {question}\nPlease reason step by step, and put your final answer within \\boxed{{}}.\n\n"
    "Assistant: {solution} Thus the answer is $\\boxed{{{answer}}}$.\n\n",
)


@functools.cache
def _texts() -> tuple[str, ...]:
    """Some hundred problems with solutions, the same ones every time."""
    dice = random.Random("seed checkpoints")
    problems = _WORD_PROBLEMS + _EXERCISES
    texts = []
    for (question, solution, answer), frame, _ in itertools.product(problems, _FRAMES, range(12)):
        a, b = dice.randint(2, 99), dice.randint(2, 999)
        slots = {
            "a": a, "b": b, "sum": a + b, "product": a * b, "rest": a * b - a, "name": dice.choice(_NAMES),
            "thing": dice.choice(_THINGS), "place": dice.choice(_PLACES),
        }  # fmt: skip
        parts = (part.format(**slots) for part in (question, solution, answer))
        texts.append(frame.format(**dict(zip(("question", "solution", "answer"), parts, strict=True))))
    table = "".join(f"{n:<8}{n * n:<12}{n**3}\n" for n in range(1, 40))  # runs of spaces become pieces
    return (*texts, table)


# Tokenizers

_ASCII = [chr(code) for code in range(0x21, 0x7F)]
_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN2_SPLIT = _LLAMA3_SPLIT.replace("{1,3}", "")
_DEEPSEEK_SPLITS = (
    r"[\r\n]", r"\s?[\p{Lu}\p{Ll}\p{Lt}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", r"[一-龥ࠀ-一가-퟿]+",
)  # fmt: skip
_LLAMA3_SPECIAL = (
    "<|begin_of_text|>", "<|end_of_text|>", *(f"<|reserved_special_token_{i}|>" for i in range(4)),
    "<|start_header_id|>", "<|end_header_id|>", "<|reserved_special_token_4|>", "<|eot_id|>",
)  # fmt: skip
_GEMMA_SPECIAL = (
    "<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<unused{i}>" for i in range(4)),
    "<start_of_turn>", "<end_of_turn>",
)  # fmt: skip
_GEMMA_NEWLINES = tuple("\n" * n for n in range(1, 5))

Merges = list[tuple[str, str]]


def _trained(
    texts: Iterable[str], pieces: int, alphabet: list[str], split: Any, normalizer: Any = None
) -> tuple[list[str], Merges]:
    """The pieces of a byte-pair encoding, single characters first, and its merges."""
    from tokenizers import Tokenizer, models, trainers

    learner = Tokenizer(models.BPE())
    if normalizer is not None:
        learner.normalizer = normalizer
    learner.pre_tokenizer = split
    trainer = trainers.BpeTrainer(
        vocab_size=pieces, min_frequency=2, initial_alphabet=alphabet, show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    model = json.loads(learner.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), [(left, right) for left, right in model["merges"]]


def _spaced(first: tuple[str, ...], normalizer: Any) -> tuple[dict[str, int], Merges]:
    """Vocabulary in SentencePiece's manner: `first`, 256 bytes, pieces with `▁` for a space, digits alone."""
    from tokenizers import Regex, pre_tokenizers

    # Words keep the space before them; digits do not, and stay single; nothing learns across a line.
    words = Regex(r"▁?\p{L}+|▁?[^\p{L}\p{N}▁]+|\p{N}|▁+")
    pieces, merges = _trained(
        (line for text in _texts() for line in text.splitlines() if line),
        500,
        ["▁", *_ASCII, *"×÷°≤≥√π"],
        pre_tokenizers.Split(words, "isolated"),
        normalizer,
    )
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces.sort(key=lambda piece: len(piece) == 1)  # as SentencePiece has them: single characters last
    return {piece: i for i, piece in enumerate([*first, *fallback, *pieces])}, merges


def _bos_first(tokenizer: Any, bos: str) -> Any:
    from tokenizers import processors

    return processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )


def _add(tokenizer: Any, tokens: Iterable[str], *, special: bool = True) -> None:
    from tokenizers import AddedToken

    add = tokenizer.add_special_tokens if special else tokenizer.add_tokens
    add([AddedToken(token, normalized=False, special=special) for token in tokens])


@functools.cache
def _llama2_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers

    special = ("<unk>", "<s>", "</s>")
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    vocab, merges = _spaced(special, normalizer)
    made = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizer
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    _add(made, special)
    made.post_processor = _bos_first(made, "<s>")
    return made


@functools.cache
def _gemma_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    normalizer = normalizers.Replace(" ", "▁")
    vocab, merges = _spaced(_GEMMA_SPECIAL + _GEMMA_NEWLINES, normalizer)
    made = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    _add(made, _GEMMA_SPECIAL)
    _add(made, _GEMMA_NEWLINES, special=False)
    made.post_processor = _bos_first(made, "<bos>")
    return made


def _byte_level(splits: list[Any], special: tuple[str, ...], *, numbers: bool = False) -> Any:
    """A byte-level tokenizer; with `numbers`, every one of up to three digits is a piece."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    pieces, merges = _trained(
        _texts(), 700, pre_tokenizers.ByteLevel.alphabet(), pre_tokenizers.Sequence([digits, *splits, last])
    )
    if numbers:
        for count in (2, 3):
            made_of = ["".join(number) for number in itertools.product("0123456789", repeat=count)]
            pieces += made_of
            merges += [(number[:-1], number[-1]) for number in made_of]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    made = Tokenizer(models.BPE(vocab, merges, ignore_merges=numbers))
    made.pre_tokenizer = pre_tokenizers.Sequence([*splits, last])
    made.decoder = decoders.ByteLevel()
    _add(made, special)
    return made


@functools.cache
def _llama3_tokenizer() -> Any:
    from tokenizers import Regex, pre_tokenizers, processors

    splits = [pre_tokenizers.Split(Regex(_LLAMA3_SPLIT), "isolated")]
    made = _byte_level(splits, _LLAMA3_SPECIAL, numbers=True)
    made.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), _bos_first(made, "<|begin_of_text|>")]
    )
    return made


@functools.cache
def _deepseek_tokenizer() -> Any:
    from tokenizers import Regex, pre_tokenizers

    splits = [pre_tokenizers.Split(Regex(split), "isolated") for split in _DEEPSEEK_SPLITS]
    splits.append(pre_tokenizers.Digits(individual_digits=True))
    made = _byte_level(splits, ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"))
    made.post_processor = _bos_first(made, "<｜begin▁of▁sentence｜>")
    return made


@functools.cache
def _qwen2_tokenizer() -> Any:
    from tokenizers import Regex, normalizers, pre_tokenizers, processors

    splits = [pre_tokenizers.Split(Regex(_QWEN2_SPLIT), "isolated")]
    made = _byte_level(splits, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    made.normalizer = normalizers.NFC()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    return made


# Families


@dataclass(frozen=True)
class _Family:
    """What sets a family apart."""

    config: str
    """Its class of configuration in transformers."""
    shape: dict[str, Any]
    """What the configuration says beside the sizes."""
    tokenizer: Callable[[], Any]
    settings: dict[str, Any]
    """Of tokenizer_config.json."""
    named: tuple[tuple[str, str], ...] = ()
    """Tokens that the configuration names beside, or unlike, the begin and the end of the tokenizer."""
    multiple: int = 1
    """The model's rows are rounded up to it."""


_SENTENCEPIECE = {
    "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": False,
    "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": None,
    "clean_up_tokenization_spaces": False,
}  # fmt: skip
_FAMILIES = {
    "llama2": _Family("LlamaConfig", {"rms_norm_eps": 1e-5}, _llama2_tokenizer, _SENTENCEPIECE),
    "mistral": _Family(
        "MistralConfig", {"rms_norm_eps": 1e-5, "sliding_window": 4096}, _llama2_tokenizer, _SENTENCEPIECE
    ),
    "llama3": _Family(
        "LlamaConfig",
        {"rms_norm_eps": 1e-5, "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}},
        _llama3_tokenizer,
        {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>",
            "eos_token": "<|end_of_text|>", "clean_up_tokenization_spaces": True,
            "model_input_names": ["input_ids", "attention_mask"],
        },
    ),
    "deepseek": _Family(
        "LlamaConfig",
        {"rms_norm_eps": 1e-6},
        _deepseek_tokenizer,
        {
            "tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True, "add_eos_token": False, "legacy": True,
            "bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>",
            "pad_token": "<｜end▁of▁sentence｜>", "unk_token": None, "clean_up_tokenization_spaces": False,
        },
        multiple=128,
    ),
    "qwen2": _Family(
        "Qwen2Config",
        {"rms_norm_eps": 1e-6, "tie_word_embeddings": True, "use_sliding_window": False},
        _qwen2_tokenizer,
        {
            "tokenizer_class": "Qwen2Tokenizer", "add_prefix_space": False, "add_bos_token": False,
            "bos_token": None, "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "unk_token": None,
            "additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "errors": "replace",
            "clean_up_tokenization_spaces": False, "chat_template": CHATML,
        },
        named=(("bos", "<|endoftext|>"),),
        multiple=128,
    ),
    "gemma": _Family(
        "Gemma2Config",
        {
            "rms_norm_eps": 1e-6, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 4096,
            "tie_word_embeddings": True, "hidden_activation": "gelu_pytorch_tanh",
        },
        _gemma_tokenizer,
        {
            "tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "add_eos_token": False,
            "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>",
            "additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"],
            "clean_up_tokenization_spaces": False, "chat_template": GEMMA_CHAT,
        },
        named=(("pad", "<pad>"),),
    ),
}  # fmt: skip
FAMILIES = tuple(_FAMILIES)


def make(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a random checkpoint of the family (a name out of `FAMILIES`) into a folder, and return the folder.

    The same seed writes the same bytes; the process's own random state stays as it was.
    """
    import torch
    import transformers

    kind = _FAMILIES[family]
    tokenizer = kind.tokenizer()
    named = {"bos": kind.settings["bos_token"], "eos": kind.settings["eos_token"]} | dict(kind.named)
    ids = {"pad_token_id": None} | {
        f"{which}_token_id": tokenizer.token_to_id(token) for which, token in named.items()
    }
    config = getattr(transformers, kind.config)(
        vocab_size=-(-tokenizer.get_vocab_size() // kind.multiple) * kind.multiple,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.125,  # 1 / sqrt(64): with the usual 0.02, all next tokens would be about as likely
        **({"tie_word_embeddings": False} | kind.shape | ids),
    )
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stderr(io.StringIO()), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for name, weight in model.named_parameters():
            if name.endswith(".bias"):  # left at zero, a bias that got lost would not be missed
                torch.nn.init.normal_(weight, std=config.initializer_range)
        model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    added = {i: _written(token) for i, token in sorted(tokenizer.get_added_tokens_decoder().items())}
    settings = {"added_tokens_decoder": added, "model_max_length": 2048} | kind.settings
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )
    return folder


def _written(token: Any) -> dict[str, Any]:
    names = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    return {name: getattr(token, name) for name in names}
