"""Times of day, dates, weekdays and months: one form for each, whatever its spelling."""

from __future__ import annotations

import re

from upwell.grading.answers import Answer

MAX_CHARS = 60
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
           "november", "december")  # fmt: skip
_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ABBREVIATIONS = {name[:3]: name for name in (*_WEEKDAYS, *_MONTHS)} | {
    "tues": "tuesday", "weds": "wednesday", "thur": "thursday", "thurs": "thursday", "sept": "september",
}  # fmt: skip
_ZONES = "UTC|GMT|Z|[ECMPA][SD]?T|CES?T|BST|IST|JST|AEST"

_TIME = re.compile(
    r"(?:at )?(\d{1,2})(?:([:.])(\d{2})(?::(\d{2}))?)?\s*"
    r"(?:([ap])\.?\s?m\b\.?|(o'? ?clock\b))?(?: in the (morning|afternoon|evening)| at (night))?"
    rf"(?:\s*\(?((?-i:{_ZONES}))\)?)?",
    re.I,
)
_NAMED_TIME = re.compile(r"(?:12(?::00)? )?(noon|midday|midnight)", re.I)

_MONTH = rf"({'|'.join((*_MONTHS, *(name[:3] for name in _MONTHS), 'sept'))})\.?"
_WEEKDAY = rf"(?:(?:{'|'.join((*_WEEKDAYS, *(a for a, full in _ABBREVIATIONS.items() if full in _WEEKDAYS)))})\.?,? )?"
_DAY = r"(\d{1,2})(?:\s?(?:st|nd|rd|th))?"
_MONTH_FIRST = re.compile(rf"(?:on )?{_WEEKDAY}{_MONTH} (?:the )?{_DAY}(?:,? (\d{{4}}))?", re.I)
_DAY_FIRST = re.compile(rf"(?:on )?{_WEEKDAY}(?:the )?{_DAY} (?:of )?{_MONTH}(?:,? (\d{{4}}))?", re.I)
_MONTH_YEAR = re.compile(rf"(?:in )?{_MONTH},? (\d{{4}})", re.I)
_ISO = re.compile(r"(\d{4})([-/])(\d{2})\2(\d{2})")
_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")
_WORD = re.compile(r"(?:[Ii]n |[Oo]n )?([A-Z][A-Za-z]{2,8})\.?")
_FULL = re.compile(rf"(?:in|on) ({'|'.join((*_WEEKDAYS, *_MONTHS))})", re.I)


def moment(text: str) -> Answer | None:
    """The time of day, date, weekday or month that `text` is, or None.

    A time followed by a time zone is a text: zones are not converted. Dates in digits count only where day
    and month cannot be confused.
    """
    if len(text) > MAX_CHARS:
        return None
    return _time(text) or _date(text) or _name(text)


def time_of(answer: Answer) -> tuple[int, int, int]:
    """Hours, minutes and seconds of an answer of kind time."""
    hours, minutes, seconds = map(int, answer.text.split(":"))
    return hours, minutes, seconds


def _time(text: str) -> Answer | None:
    named = _NAMED_TIME.fullmatch(text)
    if named:
        return Answer("time", "0:00:00" if named[1].lower() == "midnight" else "12:00:00")
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    half = (match[5] or "").lower() or {"morning": "a", "afternoon": "p", "evening": "p", "night": "p"}.get(
        (match[7] or match[8] or "").lower()
    )
    if not (match[2] == ":" or half or match[6]):
        return None
    hours, minutes, seconds = int(match[1]), int(match[3] or 0), int(match[4] or 0)
    if hours > 24 or minutes > 59 or seconds > 59:
        return None
    if half:
        hours = hours % 12 + (12 if half == "p" else 0)
    clock = f"{hours % 24}:{minutes:02}:{seconds:02}"
    return Answer("text", f"{clock} {match[9].lower()}") if match[9] else Answer("time", clock)


def _date(text: str) -> Answer | None:
    if not any(c.isdigit() for c in text):
        return None
    if match := _MONTH_FIRST.fullmatch(text):
        return _dated(match[3], _number(match[1]), int(match[2]))
    if match := _DAY_FIRST.fullmatch(text):
        return _dated(match[3], _number(match[2]), int(match[1]))
    if match := _MONTH_YEAR.fullmatch(text):
        return Answer("date", f"{match[2]}-{_number(match[1]):02}")
    if match := _ISO.fullmatch(text):
        return _dated(match[1], int(match[3]), int(match[4]))
    if match := _SLASHED.fullmatch(text):
        first, second = int(match[1]), int(match[2])
        if (first > 12) != (second > 12):
            return _dated(match[3], min(first, second), max(first, second))
    return None


def _number(month: str) -> int:
    name = month.lower()
    return _MONTHS.index(_ABBREVIATIONS.get(name, name)) + 1


def _dated(year: str | None, month: int, day: int) -> Answer | None:
    if not (1 <= month <= 12 and 1 <= day <= _LENGTHS[month - 1]):
        return None
    return Answer("date", f"{year or '-'}-{month:02}-{day:02}")


def _name(text: str) -> Answer | None:
    """A weekday or month that is abbreviated (with a capital: sun is no day) or stands behind "in" or "on"."""
    full = _FULL.fullmatch(text)
    if full:
        return Answer("text", full[1].lower())
    match = _WORD.fullmatch(text)
    name = _ABBREVIATIONS.get(match[1].lower()) if match else None
    return Answer("text", name) if name else None
