"""The documentation is in step with the code: its reference, its links, its commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from reference_pages import FOLDER, TABLES, pages
from running_blocks import commands

from upwell.curation.parquet import KINDS

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def told(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_reference_is_made_from_the_code() -> None:
    for name, text in pages().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, "python tests/docs/reference_pages.py"


def test_every_table_is_in_the_reference() -> None:
    assert {KINDS[name].__name__ for name in KINDS if name != "replies"} == {
        kind for kind, _ in TABLES.values()
    }


@pytest.mark.parametrize("page", PAGES, ids=told)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in _LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if re.match(r"https?:|mailto:|#", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve()
        assert found.exists(), f"{told(page)}: {target}"
        if anchor and found.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {
                re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
            }
            assert anchor in slugs, f"{told(page)}: {target}"


@pytest.mark.parametrize(
    ("page", "command"), sorted({(told(page), command) for page in PAGES for command in commands(page)})
)
def test_commands_parse(page: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags exist, values are in range, and settings do not exclude each other; nothing is run."""
    from upwell.cli import application

    monkeypatch.setenv("KEY", "x")
    application().parse_args(shlex.split(command), print_error=False, exit_on_error=False)
