"""The seam between Upwell and whatever writes responses: requests in, replies out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

import msgspec


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
    """The rendered prompt."""
    add_special_tokens: bool
    """Whether the tokenizer adds its own (such as BOS); False where `prompt` holds them as text,
    as a rendered chat template does."""
    seed: int
    """0 <= seed < 2**63. With the model, prompt and sampling, it fixes the response."""
    sampling: Sampling


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The one answer to one request: either a text or an error."""

    key: str
    text: str = ""
    finish: Literal["stop", "length"] = "stop"
    tokens: int = 0
    """Tokens generated, the end-of-sequence token included."""
    prompt_tokens: int = 0
    logprob: float | None = None
    """Mean log-probability per generated token at temperature 1, where the engine knows it."""
    error: str | None = None
    """Why there is no text; None means that there is one."""


class Engine(Protocol):
    """Where responses come from.

    `generate` pulls requests only as capacity frees, gives exactly one reply per request in any
    order, retries what is transient, answers what cannot be served with an error reply, and raises
    `EngineError` only when nothing can be served any more. Neighbouring requests with the same
    prompt may share work, so send the draws of one problem together.
    """

    identity: str
    """What produced the replies: engine, model, revision, dtype. Free of secrets and machine paths."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Reply]: ...

    def close(self) -> None: ...
