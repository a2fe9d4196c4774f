"""The seam between Upwell and whatever writes responses: requests in, replies out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

import msgspec

NOT_NOW_SECONDS = 0.005
"""How long an idle engine waits before it asks a source again that had nothing for the moment."""


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are drawn. Part of what a response means, so part of a run's fingerprint."""

    temperature: float = 0.7
    """0 is greedy."""
    top_p: float = 1.0
    """Keep the smallest set of most likely tokens whose probability reaches this; 1 keeps all."""
    top_k: int = 0
    """Keep this many most likely tokens; 0 keeps all."""
    min_p: float = 0.0
    """Drop tokens less likely than this share of the most likely one; 0 keeps all."""
    max_tokens: int = 512
    """Most tokens that one response may have."""
    stop: tuple[str, ...] = ()
    """A response ends before the first of these strings; they are not part of its text."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One response wanted."""

    key: str
    """The caller's name for it; comes back in the reply."""
    prompt: str
    """The rendered prompt; or, with `chat`, what the user says."""
    add_special_tokens: bool
    """Whether the tokenizer adds its own (such as BOS); False where `prompt` holds them as text,
    as a rendered chat template does."""
    chat: bool = False
    """Whether the server is to put the model's chat template around `prompt`. Only engines that speak to
    a server can; the others answer such a request with an error reply."""
    seed: int
    """0 <= seed < 2**63. With the model, prompt and sampling, it fixes the response."""
    sampling: Sampling


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What calls took, as whoever served them counts it."""

    calls: int = 0
    """Calls counted in; 0 where only tokens are counted."""
    prompt_tokens: int = 0
    """Tokens of prompts, those read from a cache included."""
    cached_tokens: int = 0
    """How many of the prompt tokens were read from a cache."""
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


NO_USAGE = Usage()


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The one answer to one request: either a text or an error."""

    key: str
    text: str = ""
    finish: Literal["stop", "length"] = "stop"
    tokens: int | None = 0
    """Tokens generated, the end-of-sequence token included; None where whoever served it does not say."""
    prompt_tokens: int = 0
    """Tokens of the prompt that were read for this reply: 0 where another reply of the same call has them."""
    cached_tokens: int = 0
    """How many of `prompt_tokens` were read from a cache."""
    logprob: float | None = None
    """Mean log-probability per generated token at temperature 1, where the engine knows it."""
    seeded: bool = True
    """Whether the request's own seed drew it: not where one call drew several responses, or seeds are not taken."""
    wasted: Usage = NO_USAGE
    """Calls made for this request that gave nothing, with the tokens that they are known to have taken."""
    error: str | None = None
    """Why there is no text; None means that there is one."""

    @property
    def usage(self) -> Usage:
        """All that is known to have been taken for this reply, calls for nothing included."""
        own = Usage(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.tokens or 0,
        )
        return own + self.wasted


class Engine(Protocol):
    """Where responses come from.

    `generate` pulls requests only as capacity frees, gives exactly one reply per request in any
    order, retries what is transient, answers what cannot be served with an error reply, and raises
    `EngineError` only when nothing can be served any more. Neighbouring requests with the same
    prompt may share work, so send the draws of one problem together.

    The source may give `None`: no request now, ask again later. An engine with requests in flight goes
    on with those and asks again when one has ended; an engine with none waits `NOT_NOW_SECONDS` first.
    So a source can decide by the replies what to ask next, without the engine standing still.
    """

    identity: str
    """What produced the replies: engine, model, revision, dtype. Free of secrets and machine paths."""

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Reply]: ...

    def close(self) -> None: ...
