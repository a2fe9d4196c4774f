"""What may be handed to a symbolic worker: short, well-formed formulas that cannot only explode."""

from __future__ import annotations

import re

MAX_CHARS = 600
_MAX_NESTING = 12
_MAX_ROWS = 12
_COMMANDS = re.compile(r"\\[A-Za-z]+")
_FORMULA = re.compile(
    r"\\(?:frac|sqrt|sum|prod|int|lim|log|ln|sin|cos|tan|binom|pi|cdot|begin|d?frac|le|ge|in|cup)|[=^_]"
)
_WORD = re.compile(r"[A-Za-z]{4,}")
_LONG_NUMBER = re.compile(r"\d{40}")
_TOWER = re.compile(r"\^\s*\{[^{}]*\^\s*\{?[^{}]*\^")
_LARGE_POWER = re.compile(r"\^\s*\{?\s*[-+]?\(?\d{4,}")
_LARGE_FACTORIAL = re.compile(r"\d{4,}\s*!|!\s*!|\)\s*!")
_LARGE_LIMIT = re.compile(r"(?:\^\s*\{?\s*\d{4,}|\^\s*\{?\s*10\s*\^)")
_HEAVY = re.compile(
    r"\\(?:int|iint|oint|lim|prod)\b.*\\(?:int|iint|oint|lim|prod)\b|\\lim\b.*\^.*\^|\\int\b.*\^.*\^.*\^",
    re.S,
)
_BINOMIAL = re.compile(r"\\d?binom\s*\{?[^{}]{0,40}(?:\d{4,}|\^)")


def admits(answer: str) -> bool:
    """Whether the answer looks like a formula that SymPy can be asked about within its limits."""
    if len(answer) > MAX_CHARS or not answer.strip():
        return False
    if not (_FORMULA.search(answer) or (answer.strip("-+.,$ ").isalnum() and not _WORD.search(answer))):
        return False
    return len(_WORD.findall(_COMMANDS.sub(" ", answer))) <= 2 and is_bounded(answer)


def is_bounded(answer: str) -> bool:
    """Whether the answer is short and holds no tower, bomb or nesting that could only explode."""
    if len(answer) > MAX_CHARS or not _is_balanced(answer):
        return False
    return not any(pattern.search(answer) for pattern in _EXPLOSIVE)


_EXPLOSIVE = (_LONG_NUMBER, _TOWER, _LARGE_POWER, _LARGE_FACTORIAL, _LARGE_LIMIT, _HEAVY, _BINOMIAL)


def _is_balanced(text: str) -> bool:
    depth = deepest = 0
    escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == "{":
            depth += 1
            deepest = max(deepest, depth)
        elif character == "}":
            depth -= 1
            if depth < 0:
                return False
    return (
        depth == 0 and deepest <= _MAX_NESTING and text.count("\\\\") <= _MAX_ROWS and text.count("(") <= 60
    )
