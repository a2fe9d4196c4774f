"""Every example in docs/grading.md holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from upwell.grading import accepts, extract, styles

PAGE = Path(__file__).parents[2] / "docs" / "grading.md"
_CELL = re.compile(r"`([^`]*)`|([^|`]*)")


def tables() -> dict[tuple[str, ...], list[tuple[str, ...]]]:
    """The rows of the page's tables by their headings, code marks taken off."""
    found: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    heading: tuple[str, ...] | None = None
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = tuple(cell.strip().strip("`") for cell in line.strip().strip("|").split("|"))
        if not line.startswith("|"):
            heading = None
        elif heading is None:
            heading = cells
            found.setdefault(heading, [])
        elif not set(line) <= set("|-"):
            found[heading].append(cells)
    return found


EQUALITY = tables()["gold", "answer", "equal"]
EXTRACTION = tables()["response", "extracted"]


@pytest.mark.parametrize(("gold", "answer", "equal"), EQUALITY)
def test_equality_examples(gold: str, answer: str, equal: str) -> None:
    assert accepts(gold, answer).correct is {"yes": True, "no": False}[equal]


@pytest.mark.parametrize(("response", "answer"), EXTRACTION)
def test_extraction_examples(response: str, answer: str) -> None:
    assert (extract(response) or "") == answer


def test_the_page_names_every_style_and_its_examples_are_read() -> None:
    assert {"auto", *(row[0] for row in tables()["style", "rule"])} == set(styles())
    assert len(EQUALITY) > 50
    assert len(EXTRACTION) > 8
