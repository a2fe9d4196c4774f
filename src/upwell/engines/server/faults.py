"""What a status other than 200 means: an answer about this request, a fault to sit out, or the end."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from upwell.runs.secrets import HIDDEN, scrub_text

LONGEST_WAIT = 60.0
"""Seconds that a server may ask to be left alone; one that asks for an hour is asked again after this."""
_LONGEST_MESSAGE = 300
_TRANSIENT = frozenset({408, 409, 425, 429})
_BUSY = frozenset({408, 429, 503, 504, 529})
_AWAY = frozenset({429, 502, 503, 529})
"""Whatever was asked: 502 is what a gateway says while the server behind it starts."""
_NO_QUOTA = ("insufficient_quota", "billing_hard_limit", "billing_not_active")
_NO_MODEL = ("model_not_found", "model_not_exist")
_FILTERED = ("content_filter", "content_policy", "moderation", "responsibleai")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


class Refusal(msgspec.Struct, frozen=True):
    """The server will not serve this request, however often it is asked."""

    message: str


class Retry(msgspec.Struct, frozen=True):
    """The server cannot serve it now."""

    message: str
    wait: float = 0.0
    """Seconds that it asks to be left alone; 0 where it does not say."""
    busy: bool = False
    """Whether it is a sign of too many calls at once."""
    own: bool = True
    """Whether it may be this request's own doing, so that it is not asked again without end."""


class Doomed(msgspec.Struct, frozen=True):
    """The server will serve no request of ours."""

    message: str
    hint: str


def judge_status(
    status: int, headers: Mapping[str, str], payload: bytes, *, secret: str | None = None
) -> Refusal | Retry | Doomed:
    """What to make of a reply whose status is not 200.

    Args:
        status: of HTTP.
        headers: its headers, in any case.
        payload: its body, whatever it is.
        secret: the key, in case the server repeats it.
    """
    said, codes = _said(payload, secret)
    message = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    named = " ".join(codes).lower()
    if status in (401, 407):
        return Doomed(
            message, "name the environment variable that holds a valid key: --key-env OPENAI_API_KEY"
        )
    if status == 402 or any(word in named for word in _NO_QUOTA):
        return Doomed(message, "put money on the account, or name another key: --key-env OPENAI_API_KEY")
    if any(word in named for word in _FILTERED):
        return Refusal(message)
    if status == 403:
        return Doomed(
            message, "name the environment variable of a key that may do this: --key-env OPENAI_API_KEY"
        )
    if status in (404, 405) or any(word in named for word in _NO_MODEL):
        return Doomed(
            message, "ask the server what it serves: curl URL/v1/models; then --model server:URL/v1#NAME"
        )
    if status in _TRANSIENT or status >= 500:
        return Retry(message, wait_of(headers) or 0.0, busy=status in _BUSY, own=status not in _AWAY)
    if 300 <= status < 400:
        return Doomed(
            f"{message}: it points elsewhere, and a redirect is not followed because the key would go with it",
            "put the address that it points to into --model server:URL#NAME",
        )
    return Refusal(message)


def wait_of(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that a server asks to be left alone, at most `LONGEST_WAIT`; None where it does not.

    Read are Retry-After (seconds or a date), retry-after-ms, and x-ratelimit-reset-* where the
    x-ratelimit-remaining-* beside it is 0.
    """
    now = time.time() if now is None else now
    low = {name.lower(): value for name, value in headers.items()}
    waits: list[float | None] = []
    if (millis := _number(low.get("retry-after-ms"))) is not None:
        waits.append(millis / 1000)
    elif (after := low.get("retry-after")) is not None:
        waits.append(_after(after, now))
    for name, value in low.items():
        if name.startswith("x-ratelimit-remaining") and (left := _number(value)) is not None and left <= 0:
            waits.append(_duration(low.get(name.replace("remaining", "reset")), now))
    known = [wait for wait in waits if wait is not None]
    return min(max(known), LONGEST_WAIT) if known and max(known) > 0 else None


def _after(value: str, now: float) -> float | None:
    """Seconds of a Retry-After."""
    if (seconds := _number(value)) is not None:
        return seconds
    try:
        return parsedate_to_datetime(value).timestamp() - now
    except (ValueError, TypeError, OverflowError):
        return None


def _duration(value: str | None, now: float) -> float | None:
    """Seconds of `1s`, `6m0s`, `20ms`, a plain number, or a time since 1970 in seconds or milliseconds."""
    if value is None:
        return None
    number = _number(value)
    if number is not None:
        if number > 1e11:
            return number / 1000 - now
        return number - now if number > 1e8 else number
    parts = _DURATION.fullmatch(value.strip())
    if parts is None or not any(parts.groups()):
        return None
    hours, minutes, seconds, millis = (float(part or 0) for part in parts.groups())
    return hours * 3600 + minutes * 60 + seconds + millis / 1000


def _number(value: str | None) -> float | None:
    """A plain decimal number of sane length, or None."""
    return float(value) if value is not None and re.fullmatch(r"\s*\d{1,15}(\.\d{1,9})?\s*", value) else None


def _said(payload: bytes, secret: str | None) -> tuple[str, list[str]]:
    """What the server says is wrong, fit to be written down, and its names for it."""
    text = payload[: 1 << 16].decode("utf-8", "replace")
    codes: list[str] = []
    try:
        value: Any = msgspec.json.decode(payload) if len(payload) <= 1 << 20 else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    if isinstance(value, dict):
        error = value.get("error", value)
        inner = error if isinstance(error, dict) else {"message": error}
        said = inner.get("message") or inner.get("detail")
        text = said if isinstance(said, str) else text
        codes = [code for name in ("code", "type", "status") if isinstance(code := inner.get(name), str)]
    return shown(text, secret), codes


def shown(text: str, secret: str | None = None) -> str:
    """Another program's text as part of a message of ours: one line, short, printable, without keys."""
    if secret:
        text = text.replace(secret, HIDDEN)
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 8 * _LONGEST_MESSAGE]).split())
    line = scrub_text(line)
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 3] + "..."
