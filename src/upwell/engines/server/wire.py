"""What is said to an OpenAI-compatible server and what it says back: pure functions over JSON, no I/O.

Everything a server sends is untrusted: replies are decoded into structs with types and ranges, and what does not
fit is `Malformed`. Which statuses are an answer, a fault to sit out or the end, says `faults.py`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec

from upwell.engines.base import Request, Sampling, Usage
from upwell.engines.settings import EngineSettings

SEEDS = 2**31 - 1
"""Seeds on the wire are 1 to this: some servers take 32 bits, some signed, and to some 0 means none."""

_LLAMACPP_OFF: dict[str, Any] = {
    "typical_p": 1.0,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    # Only these, and temperature first, as everywhere else: llama.cpp's own order cuts at top_p before it.
    "samplers": ["temperature", "top_k", "top_p", "min_p"],
}

_Finish = Literal["stop", "length", "filtered"]
_FINISH: dict[str, _Finish] = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "stop_sequence": "stop", "end_turn": "stop",
    "length": "length", "max_tokens": "length", "content_filter": "filtered",
}  # fmt: skip
"""What servers call the end of a response. vLLM's `abort` is not here: such a text broke off, and is asked again."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


_PATH_LIKE = re.compile(r"[/.~\\]|[A-Za-z]:[/\\]")


class Malformed(Exception):
    """A reply of status 200 that is no reply: half of one, of other types, or without choices.

    Args:
        why: what is wrong with it, in one line.
        usage: what the call took, where that much could be read.
    """

    def __init__(self, why: str, usage: Usage = Usage(calls=1)) -> None:  # noqa: B008  frozen
        super().__init__(why)
        self.usage = usage


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One response out of a call."""

    index: int
    text: str
    finish: _Finish
    tokens: int | None
    """Tokens generated; None where the server does not say."""
    logprob: float | None
    """Mean log-probability per generated token, in nats; None where it was not asked for or given."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a call gave."""

    choices: tuple[Choice, ...]
    """By index, each index once; not necessarily as many as were asked for."""
    usage: Usage
    """Of the call as a whole, `calls` being 1; tokens are 0 where the server does not say."""
    surplus: int = 0
    """Choices that were dropped: a second one of an index, or an index beyond what was asked for."""
    surplus_tokens: int = 0
    """What those took of the call's completion tokens."""


def server_identity(model: str, settings: EngineSettings) -> str:
    """What produced a server's replies: the model by its name there, and who applied the chat template.

    No URL is in it: a server may move to another port within a run. Of a name that is a path, the last part.
    """
    template = settings.chat_template
    by = "the server" if template == "server" else base_name(template)
    return f"server {base_name(model)} template by {by}"


def base_name(name: str) -> str:
    """A name free of machine paths: the last part of what is one; `owner/name` and the like stay."""
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1] if _PATH_LIKE.match(name) else name


def path_of(request: Request) -> str:
    """The path under a server's base URL that serves this request."""
    return "chat/completions" if request.chat else "completions"


def seed_of(seed: int) -> int:
    """A seed of 63 bits as one that every server takes: 1 to `SEEDS`, from all of its bits, the same each time.

    2**31 - 1 is prime, so the remainder mixes all bits; 256 draws of one prompt, whose seeds are hashes, share one
    with a chance of 1 in 65,000.
    """
    return seed % SEEDS + 1


def body_of(
    request: Request, model: str, *, dialect: str, choices: int = 1, logprobs: bool = False
) -> dict[str, Any]:
    """The JSON body of a call.

    Args:
        request: what is asked for; with `choices` above 1, one of requests that differ in key and seed only.
        model: what the server calls the model.
        dialect: `openai`, `vllm`, `sglang` or `llamacpp`: `auto` is found out before.
        choices: responses asked for in this call.
        logprobs: also ask for the log-probability of each token.
    """
    sampling = request.sampling
    body: dict[str, Any] = {"model": model}
    if request.chat:
        body["messages"] = [{"role": "user", "content": request.prompt}]
    else:
        body["prompt"] = request.prompt
        if dialect in ("vllm", "sglang"):
            body["add_special_tokens"] = request.add_special_tokens
    body["temperature"] = sampling.temperature
    body["top_p"] = sampling.top_p
    body["max_tokens"] = sampling.max_tokens
    body["seed"] = seed_of(request.seed)
    body |= _cuts(sampling, dialect)
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if choices > 1:
        body["n"] = choices
    if logprobs:
        # Plain completions take a number of alternatives; 1, because to llama.cpp 0 means none at all.
        body["logprobs"] = True if request.chat else 1
    return body


def _cuts(sampling: Sampling, dialect: str) -> dict[str, Any]:
    """What shapes the distribution beside temperature and top_p: explicit, also where it is off.

    Left out, llama.cpp takes 40 and 0.05 for top_k and min_p, and vLLM and SGLang what the model's
    generation_config says; every number would be of another distribution than the run's settings.
    """
    off = -1 if dialect == "sglang" else 0  # SGLang refuses a top_k of 0
    cuts = {"top_k": sampling.top_k or off, "min_p": sampling.min_p}
    if dialect == "llamacpp":
        return cuts | _LLAMACPP_OFF
    if dialect in ("vllm", "sglang"):
        return cuts | {"repetition_penalty": 1.0}
    # Not OpenAI's: a strict provider refuses them, which is right only where the user asked for them.
    return {name: value for name, value in cuts.items() if value}


class _Token(msgspec.Struct):
    logprob: float


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None
    token_logprobs: list[float | None] | None = None

    def values(self) -> list[float]:
        if self.content is not None:
            return [token.logprob for token in self.content]
        return [value for value in self.token_logprobs or () if value is not None]


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    finish_reason: str
    index: int = 0
    text: str | None = None
    message: _Message | None = None
    logprobs: _Logprobs | None = None


class _Details(msgspec.Struct):
    cached_tokens: _Count | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: _Count = 0
    completion_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class _OnlyUsage(msgspec.Struct):
    usage: _Usage | None = None


_completion = msgspec.json.Decoder(_Completion)
_only_usage = msgspec.json.Decoder(_OnlyUsage)


def parse(payload: bytes, choices: int = 1, *, dialect: str = "openai") -> Answer:
    """The responses in a reply of status 200, chat or plain.

    Where a call drew several responses, the server tells only their tokens together. Each one's are then the
    number of its log-probabilities where it has them, or else a share of the total by length of text. llama.cpp
    tells only those of the first: the others' are then as many, by length of text.

    Args:
        payload: the body.
        choices: how many were asked for.
        dialect: of the server.

    Raises:
        Malformed: half JSON, other types, no choice at all, an end of unknown name.
    """
    try:
        found = _completion.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # the last: a million brackets
        raise Malformed(f"no completion: {str(error)[:200]}", _usage_within(payload)) from None
    usage = _usage_of(found.usage)
    for choice in found.choices:
        if choice.finish_reason not in _FINISH:
            raise Malformed(f"a choice ended by `{choice.finish_reason[:40]}`", usage)
        if choice.text is None and choice.message is None:
            raise Malformed("a choice without a text", usage)
    total = found.usage.completion_tokens if found.usage is not None else None
    if not total and any(map(_text, found.choices)):
        total = None  # some servers say 0 for "not counted"
    first_only = dialect == "llamacpp" and len(found.choices) > 1
    counts = _tokens(found.choices, total, first_only)
    if first_only:
        usage = msgspec.structs.replace(usage, completion_tokens=sum(tokens or 0 for tokens in counts))
    kept: dict[int, Choice] = {}
    surplus_tokens = 0
    for choice, tokens in zip(found.choices, counts, strict=True):
        if 0 <= choice.index < choices and choice.index not in kept:
            kept[choice.index] = _choice(choice, tokens)
        else:
            surplus_tokens += tokens or 0
    if not kept:
        raise Malformed("no choices", usage)
    return Answer(
        choices=tuple(kept[index] for index in sorted(kept)),
        usage=usage,
        surplus=len(found.choices) - len(kept),
        surplus_tokens=surplus_tokens,
    )


def _choice(choice: _Choice, tokens: int | None) -> Choice:
    values = choice.logprobs.values() if choice.logprobs is not None else ()
    return Choice(
        index=choice.index,
        text=_text(choice),
        finish=_FINISH[choice.finish_reason],
        tokens=tokens,
        logprob=sum(values) / len(values) if values else None,
    )


def _text(choice: _Choice) -> str:
    """Its text; `"content": null` is an empty one."""
    return (choice.message.content if choice.message is not None else choice.text) or ""


def _tokens(choices: list[_Choice], total: int | None, first_only: bool) -> list[int | None]:
    """Tokens of each choice: see `parse`."""
    if len(choices) == 1 and total is not None:
        return [total]
    if all(choice.logprobs is not None for choice in choices):
        return [len(choice.logprobs.values()) for choice in choices if choice.logprobs is not None]
    if total is None:
        return [None] * len(choices)
    # Cut at cumulated lengths, so that the parts add up to the total. The 1 is for the end token.
    weights = [len(_text(choice)) + 1 for choice in choices]
    if first_only:
        return [round(weight * total / weights[0]) for weight in weights]
    whole, before, parts = sum(weights), 0, []
    for weight in weights:
        parts.append((before + weight) * total // whole - before * total // whole)
        before += weight
    return list(parts)


def _usage_of(usage: _Usage | None) -> Usage:
    if usage is None:
        return Usage(calls=1)
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details is not None else None
    return Usage(
        calls=1,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=min(cached or 0, usage.prompt_tokens),
        completion_tokens=usage.completion_tokens or 0,
    )


def _usage_within(payload: bytes) -> Usage:
    """What a reply that is otherwise none says that the call took."""
    try:
        return _usage_of(_only_usage.decode(payload).usage)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Usage(calls=1)
