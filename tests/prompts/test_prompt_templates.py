"""Templates by name: published formats to the character, digests, stops, few-shot examples."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from upwell import prompts
from upwell.errors import UsageError
from upwell.prompts import fewshot
from upwell.records import Problem, problem_id

PLAIN = ["plain", "boxed", "xwin-math", "alpaca", "deepseek-math", "metamath", "qwen2.5-math"]
QUESTION = "What is {x} + {question}?"
CHAT = prompts.Chat(template="<s>{{ messages[0].content }}</s>")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain", f"Question: {QUESTION}\nAnswer:"),
        (
            "boxed",
            f"{QUESTION}\nPlease reason step by step, and put your final answer within \\boxed{{}}.\n\n",
        ),
        (
            "xwin-math",
            "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
            "helpful, detailed, and polite answers to the user's questions. USER: "
            f"{QUESTION} Give your solution in detail. In the end, write your final answer in the format of "
            "'The answer is: <ANSWER>.'. ASSISTANT: ",
        ),
        (
            "alpaca",
            "Below is an instruction that describes a task. Write a response that appropriately completes "
            f"the request.\n\n### Instruction:\n{QUESTION}\n\n### Response:\n",
        ),
        (
            "deepseek-math",
            f"User: {QUESTION}\nPlease reason step by step, and put your final answer within \\boxed{{}}.\n\n"
            "Assistant:",
        ),
        (
            "metamath",
            "Below is an instruction that describes a task. Write a response that appropriately completes "
            f"the request.\n\n### Instruction:\n{QUESTION}\n\n### Response: Let's think step by step.",
        ),
        (
            "qwen2.5-math",
            "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
            f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n",
        ),
    ],
)
def test_formats_to_the_character(name: str, text: str) -> None:
    template = prompts.get(name)
    assert template.render(QUESTION) == text
    assert template.add_special_tokens


@pytest.mark.parametrize("name", PLAIN)
def test_stops_leave_a_legitimate_solution_alone(name: str) -> None:
    solution = (
        "The question asks for two things. Question 2 is easier.\nIn response: the user: pays 3.\n\n"
        "USERS pay 4.\nInstruction by instruction, we get\n\n#### 7\nThe answer is: 7."
    )
    assert not [stop for stop in prompts.get(name).stop if stop in solution]


def test_the_chat_prompts_put_the_question_into_the_models_template() -> None:
    asked, bare = prompts.get("chat", chat=CHAT), prompts.get("chat-plain", chat=CHAT)
    assert bare.render("6*7?") == "<s>6*7?</s>"
    assert asked.render("6*7?").startswith("<s>6*7?\nPlease reason step by step")
    assert not asked.add_special_tokens and asked.stop == ()
    assert asked.digest != bare.digest


def test_every_template_has_its_own_digest_and_source() -> None:
    made = [prompts.get(name, chat=CHAT, examples=train) for name in prompts.names()]
    assert len({template.digest for template in made}) == len(made) == 11
    assert all(template.source for template in made)
    assert [prompts.get(template.name, chat=CHAT, examples=train).digest for template in made] == [
        template.digest for template in made
    ]


@pytest.mark.parametrize("changed", [{"template": "{{ messages[0].content }}"}, {"eos_token": "</s>"}])
def test_the_digest_follows_the_chat_template(changed: dict[str, str]) -> None:
    other = prompts.Chat(**{"template": CHAT.template, **changed})
    assert prompts.get("chat", chat=other).digest != prompts.get("chat", chat=CHAT).digest


def test_a_model_without_a_chat_template_is_told_what_to_do() -> None:
    for chat in (None, prompts.Chat(template="  ", where="tiny-base")):
        with pytest.raises(UsageError, match="has none") as caught:
            prompts.get("chat", chat=chat)
        assert caught.value.hint == "--prompt plain"


def test_an_unknown_prompt_is_answered_with_the_likely_one() -> None:
    with pytest.raises(UsageError, match="no prompt `alpacca`") as caught:
        prompts.get("alpacca")
    assert caught.value.hint == "--prompt alpaca"


def train(name: str) -> Sequence[Problem]:
    """Made-up train splits that hold what the few-shot prompts look for."""
    if name == "gsm8k":
        return [
            Problem(
                key=key,
                question=f"Question {number}?",
                answer=str(number),
                solution=f"1+{number - 1} = <<1+{number - 1}={number}>>{number}\n#### {number}",
            )
            for number, key in enumerate(fewshot.GSM8K_EXAMPLES, 1)
        ]
    return [
        Problem(
            key=problem_id("math", "train", question),
            question=question,
            answer="1",
            solution=solution,
            level=level,
            subject=subject,
        )
        for level, subject in fewshot.MATH_STRATA
        for question, solution in (
            (f"{subject} one?", "So \\boxed{1}."),
            (f"{subject} two?", "So \\boxed{1}."),
            (f"{subject} long?", "long " * 200 + "\\boxed{1}"),
        )
    ]


def test_gsm8k_8shot_shows_eight_worked_examples() -> None:
    template = prompts.get("gsm8k-8shot", examples=train)
    text = template.render("And now?")
    assert text.count("Question:") == 9 and text.endswith("\n\nQuestion: And now?\nAnswer:")
    assert "Answer: 1+2 = 3\n#### 3\n\nQuestion:" in text  # calculator marks are gone
    assert "<<" not in text
    assert template.examples == fewshot.GSM8K_EXAMPLES
    assert template.stop == ("\nQuestion:",)
    assert "\nQuestion:" not in "1+2 = 3\n#### 3"


def test_math_4shot_takes_a_short_problem_of_each_kind() -> None:
    template = prompts.get("math-4shot", examples=train)
    text = template.render("And now?")
    assert text.count("Problem:") == 5 and text.endswith("Problem:\nAnd now?\n\nSolution:\n")
    assert len(template.examples) == 4 and "long long" not in text
    assert [key == min(key, other) for key, other in zip(template.examples, _pairs(), strict=True)] == [
        True
    ] * 4


def _pairs() -> list[str]:
    return [
        min(problem_id("math", "train", f"{subject} {word}?") for word in ("one", "two"))
        for _, subject in fewshot.MATH_STRATA
    ]


def test_the_digest_follows_the_examples() -> None:
    def other(name: str) -> Sequence[Problem]:
        changed = json.dumps([problem.solution for problem in train(name)]).replace("1+", "0+1+")
        return [
            Problem(key=problem.key, question=problem.question, answer=problem.answer, solution=solution)
            for problem, solution in zip(train(name), json.loads(changed), strict=True)
        ]

    digests = {prompts.get("gsm8k-8shot", examples=load).digest for load in (train, other)}
    assert len(digests) == 2


def test_few_shot_without_the_train_file_says_what_is_missing() -> None:
    with pytest.raises(UsageError, match="train split of gsm8k") as caught:
        prompts.get("gsm8k-8shot")
    assert "export UPWELL_DATA=" in (caught.value.hint or "")
    with pytest.raises(
        UsageError, match=r"lacks the few-shot example `gsm8k/train/0052676c78284fec` \(8 of 8"
    ):
        prompts.get("gsm8k-8shot", examples=lambda name: [])
    with pytest.raises(UsageError, match="level 2 in Algebra"):
        prompts.get("math-4shot", examples=lambda name: [])


def test_the_gsm8k_examples_are_in_the_real_train_split() -> None:
    path = Path(os.environ.get("UPWELL_DATA", "")) / "gsm8k" / "train.jsonl"
    if not os.environ.get("UPWELL_DATA") or not path.is_file():
        pytest.skip("gsm8k/train.jsonl is not in UPWELL_DATA")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    real = {
        problem_id("gsm8k", "train", row["question"]): Problem(
            key=problem_id("gsm8k", "train", row["question"]),
            question=row["question"],
            answer="",
            solution=row["answer"],
        )
        for row in rows
    }
    template = prompts.get("gsm8k-8shot", examples=lambda name: list(real.values()))
    steps = [len((real[key].solution or "").splitlines()) - 1 for key in template.examples]
    assert steps == [2, 2, 3, 3, 4, 4, 5, 6]
    assert template.render("Q").count("#### ") == 8
