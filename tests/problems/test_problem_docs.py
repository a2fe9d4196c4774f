"""The table of sets in docs/problems.md is the one that the cards make."""

from __future__ import annotations

from pathlib import Path

from upwell import problems
from upwell.problems.cards import Card

PAGE = Path(__file__).parents[2] / "docs" / "problems.md"
BEGIN, END = "<!-- sets: begin -->", "<!-- sets: end -->"


def sizes(card: Card, split: str) -> str:
    known = sorted({file.rows for file in card.files_of(split) if file.rows is not None})
    published = card.published.get(split)
    if not known:
        return f"{split} {published:,} published" if published is not None else f"{split} unknown"
    return f"{split} {known[0]:,}" + (
        f" of {published:,} published" if published not in (None, *known) else ""
    )


def section(card: Card) -> str:
    lines = [f"### `{card.name}`", "", f"{card.title}.", ""]
    lines.append(f"- source: <{card.url}>" + (f"; these very files: <{card.copy}>" if card.copy else ""))
    lines.append(f"- licence: {card.licence}")
    lines.append(f"- rows: {', '.join(sizes(card, split) for split in card.splits)}")
    lines.append(f"- format: {card.format}")
    if card.hub:
        configs = ", ".join(config for config in card.hub.configs if config)
        lines.append(f"- hub: `{card.hub.repo}`" + (f" ({configs})" if configs else ""))
    lines += [f"- {remark}" for remark in card.remarks]
    lines += [f"- `{file.path}`: {file.sha256 or 'checksum not known'}" for file in card.files]
    return "\n".join(lines)


def test_the_page_shows_the_cards_as_they_are() -> None:
    expected = "\n\n".join(map(section, problems.cards()))
    text = PAGE.read_text(encoding="utf-8")
    shown = text.partition(BEGIN)[2].partition(END)[0].strip()
    assert shown == expected, f"docs/problems.md is stale; between the marks belongs:\n\n{expected}"
