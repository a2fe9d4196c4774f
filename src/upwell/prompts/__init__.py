r"""Prompt templates by name, each with a digest of everything that shapes its text.

    template = prompts.get("chat", chat=Chat(template=..., eos_token="<|im_end|>"))
    template.render("What is 6 * 7?")

Published formats are kept to the character; `source` says where each was read.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from upwell.errors import UsageError
from upwell.prompts import fewshot
from upwell.prompts.fewshot import LoadTrain

__all__ = ["Chat", "LoadTrain", "Template", "get", "names"]

_SLOT = "{question}"
BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
"""The usual zero-shot instruction of today's maths models (as in DeepSeekMath and Qwen2.5-Math)."""


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """A model's chat template with what it needs."""

    template: str
    """Jinja source, as in `tokenizer_config.json` or `chat_template.jinja`."""
    bos_token: str | None = None
    eos_token: str | None = None
    where: str = "the model"
    """Whose it is, for messages."""


@dataclass(frozen=True)
class Template:
    """How a question becomes what the model sees."""

    name: str
    digest: str
    """SHA-256 of the format with its stop strings, few-shot examples or chat template."""
    source: str
    """Where the format comes from."""
    stop: tuple[str, ...]
    """Stop strings that end a response of this format without cutting a legitimate one."""
    add_special_tokens: bool
    """Whether the tokenizer is to add its own (BOS): not where the text holds them already."""
    examples: tuple[str, ...] = ()
    """Keys of the few-shot examples."""
    chat: bool = False
    """Whether what `render` gives is what the user says, for a server to put its chat template around."""
    _write: Callable[[str], str] = field(default=str, repr=False, compare=False)

    def render(self, question: str) -> str:
        """The prompt for a question.

        Raises:
            UsageError: The model's chat template refuses or fails.
        """
        return self._write(question)


class _Format(msgspec.Struct, frozen=True, kw_only=True):
    """A format as declared; `{question}` stands for the question, other braces for themselves."""

    text: str
    source: str
    stop: tuple[str, ...] = ()
    chat: bool = False
    """Whether `text` is what the user says in the model's own chat template."""
    shots: str = ""
    """Train split that few-shot examples come from."""


_ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n{question}\n\n### Response:\n"
)
_VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user's questions. USER: {question} Give your solution in detail. "
    "In the end, write your final answer in the format of 'The answer is: <ANSWER>.'. ASSISTANT: "
)

_FORMATS: dict[str, _Format] = {
    "chat": _Format(
        text=f"{{question}}\n{BOXED}",
        source="the model's own chat template; the instruction is the one DeepSeekMath's README gives",
        chat=True,
    ),
    "chat-plain": _Format(
        text="{question}", source="the model's own chat template, the question and nothing else", chat=True
    ),
    "plain": _Format(
        text="Question: {question}\nAnswer:",
        source="Upwell; for models without a chat template",
        stop=("\nQuestion:",),
    ),
    "boxed": _Format(
        text=f"{{question}}\n{BOXED}\n\n",
        source="Upwell; the instruction is the one DeepSeekMath's README gives",
    ),
    "xwin-math": _Format(
        text=_VICUNA,
        source="https://github.com/Xwin-LM/Xwin-LM, Xwin-Math/eval/prompt/xwin-math.json",
        # Upstream also stops at the bare words "Question", "Response", "Instruction", which cuts
        # solutions that use them; only headings at the start of a line end a response here.
        stop=("</s>", "USER:", "ASSISTANT:", "\nQuestion:", "\nInstruction:", "\nResponse:"),
    ),
    "alpaca": _Format(
        text=_ALPACA,
        source="https://github.com/hkust-nlp/dart-math, dart_math/utils.py, template `alpaca`",
        stop=("\n### Instruction:", "\n### Response:"),
    ),
    "deepseek-math": _Format(
        text=f"User: {{question}}\n{BOXED}\n\nAssistant:",
        source="https://github.com/hkust-nlp/dart-math, dart_math/utils.py, template `deepseekmath`",
        stop=("\nUser:", "\nAssistant:"),
    ),
    "metamath": _Format(
        text=_ALPACA.removesuffix("\n") + " Let's think step by step.",
        source="https://github.com/meta-math/MetaMath, eval_gsm8k.py",
        # As above: upstream stops at bare words.
        stop=("USER:", "ASSISTANT:", "\nQuestion:", "\n### Instruction:", "\n### Response:"),
    ),
    "qwen2.5-math": _Format(
        text=f"<|im_start|>system\n{BOXED}<|im_end|>\n<|im_start|>user\n{{question}}<|im_end|>\n"
        "<|im_start|>assistant\n",
        source="https://github.com/QwenLM/Qwen2.5-Math, evaluation/utils.py, template `qwen25-math-cot`",
    ),
    "gsm8k-8shot": _Format(
        text="Question: {question}\nAnswer:",
        source="Upwell; eight worked examples of the GSM8K train split",
        stop=("\nQuestion:",),
        shots="gsm8k",
    ),
    "math-4shot": _Format(
        text="Problem:\n{question}\n\nSolution:\n",
        source="Upwell; four worked examples of the MATH train split",
        stop=("\nProblem:",),
        shots="math",
    ),
}


def names() -> list[str]:
    """Names of the templates."""
    return list(_FORMATS)


def get(
    name: str, *, chat: Chat | None = None, by_server: bool = False, examples: LoadTrain | None = None
) -> Template:
    """A template, ready to render.

    Args:
        name: One of `names()`.
        chat: The model's chat template, for `chat` and `chat-plain`.
        by_server: For these two, that a server applies its own; the prompt is then what the user says.
        examples: Gives the train problems of a set, for the few-shot templates.

    Raises:
        UsageError: Unknown name; `chat` for a model that has no chat template or a broken one; few-shot
            examples that are not to be had.
    """
    form = _FORMATS.get(name)
    if form is None:
        close = difflib.get_close_matches(name, names(), n=1)
        raise UsageError(f"no prompt `{name}`", f"--prompt {close[0] if close else '|'.join(names())}")
    before, _, after = form.text.partition(_SLOT)
    shaped: dict[str, object] = {"text": form.text, "stop": form.stop}
    keys: tuple[str, ...] = ()
    if form.chat and by_server:
        shaped["chat"] = "by the server"
        write = _text_writer(before, after)
    elif form.chat:
        write = _chat_writer(name, chat, before, after)
        assert chat is not None
        shaped["chat"] = [chat.template, chat.bos_token, chat.eos_token]
    else:
        shots, keys = _shots(form.shots, examples)
        shaped["shots"] = shots
        write = _text_writer(shots + before, after)
    digest = hashlib.sha256(json.dumps(shaped, sort_keys=True).encode()).hexdigest()
    return Template(
        name=name,
        digest=digest,
        source=form.source,
        stop=form.stop,
        add_special_tokens=not form.chat,
        examples=keys,
        chat=form.chat and by_server,
        _write=write,
    )


def _text_writer(before: str, after: str) -> Callable[[str], str]:
    def write(question: str) -> str:
        return before + question + after

    return write


def _chat_writer(name: str, chat: Chat | None, before: str, after: str) -> Callable[[str], str]:
    if chat is None or not chat.template.strip():
        where = chat.where if chat is not None else "the model"
        raise UsageError(f"prompt `{name}` needs a chat template, and {where} has none", "--prompt plain")
    from upwell.prompts.sandbox import compiled  # Jinja takes 50 ms to import

    speak = compiled(chat)

    def write(question: str) -> str:
        return speak(before + question + after)

    return write


def _shots(train: str, examples: LoadTrain | None) -> tuple[str, tuple[str, ...]]:
    if train == "gsm8k":
        chosen, shot = fewshot.gsm8k_examples(examples), fewshot.gsm8k_shot
    elif train == "math":
        chosen, shot = fewshot.math_examples(examples), fewshot.math_shot
    else:
        return "", ()
    return "".join(map(shot, chosen)), tuple(problem.key for problem in chosen)
