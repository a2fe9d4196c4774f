"""OpenAI's GSM8K script: the number behind `#### `, compared as a string."""

from __future__ import annotations

import re

from upwell.grading.cases import Algebra, Case, Decision

_MARKED = re.compile(r"#### (-?[0-9.,]+)")
_TAIL = 4_000


def extract(text: str) -> str | None:
    """The first `#### 1,234`, without separators."""
    found = _MARKED.search(text)
    if found is None:
        return None
    cut = _MARKED.match(text, found.start(), found.start() + _TAIL)  # a number of megabytes is none
    return cut[1].replace(",", "") if cut else None


def compare(case: Case, algebra: Algebra) -> Decision:
    """Whether the two strings are the same; a gold answer without `####` is its number."""
    gold = extract(case.gold) or case.gold.strip().replace(",", "")
    answer = extract(case.answer) or case.answer.strip().replace(",", "")
    return Decision(answer == gold, "gsm8k")
