"""How the report writes things: untrusted text made harmless to read, numbers with their units."""

from __future__ import annotations

import re
from datetime import UTC, datetime

THIN = "\u202f"
"""Narrow no-break space, between a number and its unit."""
MISSING = "—"

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def visible(value: object) -> str:
    """A value as text that cannot reorder, hide or cut what stands around it.

    Control characters and marks that change the writing direction become their code point in brackets
    (⟨U+202E⟩), lone surrogates become U+FFFD. Line breaks and tabs stay.
    """
    text = str(value).replace("\r\n", "\n")
    return _CONTROL.sub(_picture, text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    return "\ufffd" if 0xD800 <= code <= 0xDFFF else f"⟨U+{code:04X}⟩"


def brief(value: object, longest: int = 80) -> str:
    """`visible` on one line, cut to so many characters: for names in headings, captions and labels."""
    text = " ".join(visible(str(value)[: 4 * longest]).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def percent(share: float | None) -> str:
    """A share in [0, 1] as per cent with one decimal; a dash where there is none."""
    return MISSING if share is None else f"{number(100 * share)}{THIN}%"


def number(value: float) -> str:
    """One decimal, with a true minus sign and never a minus zero."""
    text = f"{value:.1f}"
    return "0.0" if text == "-0.0" else text.replace("-", "\u2212")


def interval(low: float | None, high: float | None) -> str:
    """An interval of shares as per cent; empty where there is none."""
    return "" if low is None or high is None else f"{span(100 * low, 100 * high)}{THIN}%"


def span(low: float | None, high: float | None) -> str:
    """Two numbers with a dash between; empty where there is none."""
    if low is None or high is None:
        return ""
    return f"{number(low)}{' to ' if low < 0 else '–'}{number(high)}"


def count(amount: int) -> str:
    """A whole number with separators of thousands."""
    return f"{amount:,}"


def counted(amount: int, noun: str) -> str:
    """`1 problem`, `2 problems`."""
    return f"{count(amount)} {noun}" if amount == 1 else f"{count(amount)} {noun}s"


def duration(seconds: float) -> str:
    """Seconds as the two largest units that say something: `7 min 12 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def moment(iso: object) -> str:
    """An ISO time as `2026-11-23 21:04 UTC`; what is no ISO time is shown as it stands."""
    try:
        time = datetime.fromisoformat(str(iso))
    except ValueError:
        return visible(iso)
    if time.tzinfo is not None:
        time = time.astimezone(UTC)
    return f"{time:%Y-%m-%d %H:%M}" + (" UTC" if time.tzinfo else "")
