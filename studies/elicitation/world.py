"""The control's world: word problems made by a program, and a model whose whole past is known.

A problem is a start and one to five events, each in one of several wordings; the sequence of these is its template. A
third of the templates, by a hash, is held out: nothing is ever trained on them. What the model is trained on first
(`corpus`) is what the web is to a language model: right about the format, and about each step of arithmetic only in
`1 - NOISE` of the cases. Lessons are right throughout.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from upwell.runs.storage import write_atomically

NOISE = 0.4
"""Share of the steps in the corpus whose result is wrong. What follows goes on from the wrong result."""
MOST_EVENTS = 5
HIGHEST = 60

_NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gia", "Hugo", "Ida", "Jon")
_THINGS = ("pens", "shells", "books", "coins", "cards", "stamps", "apples", "beads")
_WORDINGS = {
    "more": (
        "{name} finds {b} more.",
        "A friend brings {b} more {things}.",
        "Then {name} buys {b} {things}.",
    ),
    "less": ("{name} loses {b} of them.", "Then {b} {things} are given away.", "{name} sells {b}."),
    "times": (
        "Then there are {b} times as many.",
        "{name} trades them for {b} times as many.",
        "The number of {things} grows {b} times.",
    ),
}
_SIGN = {"more": "+", "less": "-", "times": "*"}


def problems(count: int, seed: str, *, held_out: bool, noise: float = 0.0) -> Iterator[dict[str, str]]:
    """`count` different problems with worked solutions, an equation a line and the answer as in GSM8K.

    Args:
        count: How many.
        seed: The same seed gives the same problems.
        held_out: From the templates that are held out, or from the others.
        noise: Share of the steps whose result is wrong.
    """
    draw = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < count:
        made = _problem(draw, held_out, noise)
        if made is not None and made["question"] not in seen:
            seen.add(made["question"])
            yield made


def _problem(draw: random.Random, held_out: bool, noise: float) -> dict[str, str] | None:
    name, things = draw.choice(_NAMES), draw.choice(_THINGS)
    start = value = said = draw.randint(2, 20)
    told, lines, template = [], [], []
    for _ in range(draw.randint(1, MOST_EVENTS)):
        kinds = [kind for kind in _WORDINGS if _possible(kind, value) and _possible(kind, said)]
        if not kinds:
            return None
        kind = draw.choice(kinds)
        b = draw.randint(*{"more": (1, 9), "less": (1, min(9, value - 1, said - 1)), "times": (2, 3)}[kind])
        wording = draw.randrange(len(_WORDINGS[kind]))
        template.append(f"{kind}{wording}")
        told.append(_WORDINGS[kind][wording].format(name=name, things=things, b=b))
        value, right = _after(kind, value, b), _after(kind, said, b)
        result = _mistaken(draw, right) if noise and draw.random() < noise else right
        lines.append(f"{said}{_SIGN[kind]}{b}={result}")
        said = result
    if (zlib.crc32(" ".join(template).encode()) % 3 == 0) != held_out:
        return None
    question = f"{name} has {start} {things}. {' '.join(told)} How many {things} are there now?"
    # A noisy solution ends in the answer that it reached: its reader is told no better.
    return {"question": question, "answer": str(said), "solution": "\n".join([*lines, f"#### {said}"])}


def _possible(kind: str, value: int) -> bool:
    return {"more": value <= HIGHEST - 9, "less": value > 2, "times": value <= HIGHEST // 3}[kind]


def _after(kind: str, value: int, b: int) -> int:
    return {"more": value + b, "less": value - b, "times": value * b}[kind]


def _mistaken(draw: random.Random, right: int) -> int:
    return draw.choice([n for n in range(max(2, right - 9), min(HIGHEST, right + 9) + 1) if n != right])


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A JSONL file, there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def newborn(folder: Path, corpus: Path, *, width: int, layers: int, seed: int = 0) -> None:
    """Write a LLaMA of random weights, with a tokenizer made from the corpus, into a folder.

    Args:
        folder: Its config.json, written last, says that it is whole.
        corpus: JSONL file of problems.
        width: Of the hidden states; the feed-forward layers are four times as wide.
        layers: How many.
        seed: Of the weights.
    """
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    backend: Any = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    signs = pre_tokenizers.Punctuation()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, signs, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    rows = (json.loads(line) for line in corpus.read_text().splitlines())
    trainer = trainers.BpeTrainer(
        vocab_size=480, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    backend.train_from_iterator(("Question: Answer: " + row["question"] for row in rows), trainer)
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", bos_token="<|im_start|>", pad_token="<|endoftext|>"
    )
    ids = {
        name: backend.token_to_id(token) for name, token in zip(("pad", "bos", "eos"), special, strict=True)
    }
    config = LlamaConfig(
        vocab_size=backend.get_vocab_size(),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        **{f"{name}_token_id": id for name, id in ids.items()},
    )
    torch.manual_seed(seed)
    with contextlib.redirect_stderr(io.StringIO()):
        tokenizer.save_pretrained(folder)
        LlamaForCausalLM(config).save_pretrained(folder)
