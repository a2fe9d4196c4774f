"""Cards choose how a model is asked; the documentation shows the exact prompts."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from benches import DART, XWIN

from upwell import problems, prompts
from upwell.evaluation.model_cards import MODEL_CARDS, bare_name, card_of

DOCS = Path(__file__).parents[2] / "docs" / "evaluation.md"
QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips "
    "did Natalia sell altogether in April and May?"
)
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

SEEDS = [
    *((f"Xwin-LM/Xwin-Math-{size}-{version}", "xwin-math", "</s>")
      for size in ("7B", "13B", "70B") for version in ("V1.0", "V1.1")),
    *((f"hkust-nlp/dart-math-{base}-{kind}", "alpaca", eos)
      for base, eos in (("mistral-7b", "</s>"), ("llama3-8b", "<|end_of_text|>"), ("llama3-70b", "<|end_of_text|>"),
                        ("dsmath-7b", "<｜end▁of▁sentence｜>"))
      for kind in ("uniform", "prop2diff")),
    ("deepseek-ai/deepseek-math-7b-rl", "deepseek-math", "<｜end▁of▁sentence｜>"),
    ("meta-math/MetaMath-7B-V1.0", "metamath", "</s>"),
    ("meta-math/MetaMath-Mistral-7B", "metamath", "</s>"),
    ("Qwen/Qwen2.5-Math-7B-Instruct", "qwen2.5-math", "<|im_end|>"),
    ("Qwen/Qwen2.5-Math-1.5B", "qwen2.5-math", "<|endoftext|>"),
    ("smollm2-135m-instruct", "chat", "<|im_end|>"),
    ("HuggingFaceTB/SmolLM2-360M-Instruct", "chat", "<|im_end|>"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "prompt", "eos"), SEEDS)
def test_every_seed_model_has_its_card(name: str, prompt: str, eos: str) -> None:
    card = card_of(name)
    assert card is not None
    assert (card.prompt, card.eos) == (prompt, eos)
    matching = [one for one in MODEL_CARDS if re.fullmatch(one.pattern, bare_name(name), re.IGNORECASE)]
    assert matching == [card], "one card alone"
    assert card.prompt in prompts.names()


@pytest.mark.parametrize(
    "spelled",
    [
        XWIN,
        f"{XWIN}@main",
        "/models/Xwin-Math-7B-V1.1",
        "/models/xwin-math-7b-v1.1/",
        f"server:http://127.0.0.1:8000/v1#{XWIN}",
        f"vllm:{XWIN}",
        f"batch:https://host/v1#{XWIN}",
        "/cache/hub/models--Xwin-LM--Xwin-Math-7B-V1.1/snapshots/0123abcd",
        "Xwin-LM--Xwin-Math-7B-V1.1",
    ],
)
def test_a_model_is_known_however_it_is_reached(spelled: str) -> None:
    card = card_of(spelled)
    assert card is not None and card.prompt == "xwin-math"


@pytest.mark.parametrize(
    "stranger",
    [
        "Xwin-LM/Xwin-LM-7B-V0.1",
        "me/my-dart-math-mistral-7b-uniform-v2",
        "gpt-4",
        "runs/a/checkpoint-300",
        "",
    ],
)
def test_a_stranger_has_no_card_not_a_wrong_one(stranger: str) -> None:
    assert card_of(stranger) is None


@pytest.mark.parametrize(
    "name", [XWIN, DART, "deepseek-ai/deepseek-math-7b-rl", "meta-math/MetaMath-7B-V1.0"]
)
def test_no_card_stops_at_a_bare_word(name: str) -> None:
    card = card_of(name)
    assert card is not None
    solution = (
        "The Question is how many. Question 2 asks more.\nResponse times are 3 s. By the Instruction, USER and "
        "ASSISTANT each pay 4.\nThe answer is: 7."
    )
    assert not [stop for stop in (*card.stops, *prompts.get(card.prompt).stop) if stop in solution]


def shown() -> dict[str, str]:
    """Prompt by template, as the documentation has them: JSON strings, so that spaces at the end show."""
    text = DOCS.read_text(encoding="utf-8")
    return {
        name: json.loads(block)
        for name, block in re.findall(r"#### `([\w.-]+)`.*?```json\n(.*?)\n```", text, re.S)
    }


def test_the_documentation_shows_the_exact_prompts() -> None:
    found = shown()
    assert set(found) == {card.prompt for card in MODEL_CARDS}
    chat = prompts.Chat(template=SMOLLM2, eos_token="<|im_end|>")
    for name, text in found.items():
        assert prompts.get(name, chat=chat).render(QUESTION) == text


def test_the_shown_problem_is_one_of_gsm8k() -> None:
    if "UPWELL_DATA" not in os.environ:
        pytest.skip("UPWELL_DATA is not set: no benchmark files here")
    assert QUESTION in {problem.question for problem in problems.load("gsm8k", split="train")}


def test_the_documentation_names_every_family() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert not [card.family for card in MODEL_CARDS if card.family not in text]
