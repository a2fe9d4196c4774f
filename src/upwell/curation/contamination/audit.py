"""What a check did, for a person to read: nearest pairs with their scores, and what other bounds would have done."""

from __future__ import annotations

import csv
import html
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import tee
from pathlib import Path

from upwell.curation.contamination.judging import Item, Match
from upwell.curation.contamination.reference import Reference
from upwell.curation.contamination.settings import METHODS, Settings

GRID = tuple(round(0.05 * step, 2) for step in range(8, 21))
"""Bounds for which an audit tells how many rows would go: 0.4 to 1."""
SHOWN = 500
"""Pairs that an audit shows unless told otherwise."""
_LONGEST = 3000
"""Characters that a page or table shows of a text."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A row and the benchmark text nearest to it, with both texts."""

    match: Match
    row: str
    """The text of the row that was compared."""
    benchmark: str
    """The benchmark text."""
    seeded: str = ""
    """The split that the row was made from, `train` or `test`; empty where that is not known."""

    @property
    def label(self) -> str:
        """`train-seeded`, `test-seeded`, or `unknown seed`."""
        return f"{self.seeded}-seeded" if self.seeded else "unknown seed"


@dataclass
class Audit:
    """Counts over all rows of a check, and the nearest pairs."""

    settings: Settings
    rows: int = 0
    removed: Counter[str] = field(default_factory=Counter)
    """Contaminated rows by method."""
    seeded: Counter[tuple[str, bool]] = field(default_factory=Counter)
    """Rows by the label of their split and whether they are contaminated."""
    would_remove: Counter[tuple[str, float]] = field(default_factory=Counter)
    """Rows by method and bound (`GRID`) that the method alone would remove, counted on the nearest pair of each."""
    pairs: list[Pair] = field(default_factory=list)
    """The nearest: contaminated ones first, surest first, then by how near they come to a bound."""

    @classmethod
    def of(
        cls, reference: Reference, rows: Iterable[tuple[Item, str]], *, workers: int = 1, shown: int = SHOWN
    ) -> Audit:
        """The audit of all rows, read once.

        Args:
            reference: What they are checked against.
            rows: Each with the split of the problem that it was made from: `train`, `test`, or empty.
            workers: Processes.
            shown: Pairs that are kept for showing.

        Raises:
            UpwellError: A worker died.
        """
        audit = cls(reference.settings)
        # Each match comes a few thousand rows after its row was read, and no more.
        ahead, behind = tee(rows)
        matches = reference.nearest((item for item, _ in ahead), workers=workers)
        for match, ((_, question, solution), seeded) in zip(matches, behind, strict=True):
            text = question if match.field == "question" else solution
            audit._add(Pair(match, text, reference.text(match), seeded))
            if len(audit.pairs) >= 4 * shown:
                audit._keep_nearest(shown)
        audit._keep_nearest(shown)
        return audit

    def _add(self, pair: Pair) -> None:
        match = pair.match
        self.rows += 1
        self.seeded[pair.label, match.method is not None] += 1
        if match.method is not None:
            self.removed[match.method] += 1
        for method in match.counting:
            self.would_remove.update((method, bound) for bound in GRID if match.removed_at(method, bound))
        if match.against:
            self.pairs.append(pair)

    def _keep_nearest(self, shown: int) -> None:
        self.pairs.sort(key=lambda pair: pair.match.rank(self.settings), reverse=True)
        del self.pairs[shown:]

    def write_csv(self, path: Path) -> None:
        """The pairs as a table. Cells that a spreadsheet would take for a formula begin with an apostrophe."""
        with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
            table = csv.writer(file)
            table.writerow(
                ["row", "seed", "removed by", "field", "against", "against field", *METHODS, *_TEXTS]
            )
            for pair in self.pairs:
                match = pair.match
                scores = [f"{match.scores[each]:.3f}" if each in match.scores else "" for each in METHODS]
                texts = [_cut(text) for text in (pair.row, pair.benchmark, match.span)]
                row = [match.key, pair.label, match.method or "", match.field, match.against]
                table.writerow([_cell(cell) for cell in [*row, match.against_field, *scores, *texts]])

    def write_html(self, path: Path) -> None:
        """Everything as one page without scripts that loads nothing."""
        with path.open("w", encoding="utf-8", errors="replace") as file:
            file.writelines(self._page())

    def _page(self) -> Iterator[str]:
        lost = self.removed.total()
        yield f"<!doctype html><html lang=en><meta charset=utf-8><title>Contamination</title><style>{_STYLE}</style>\n"
        yield f"<h1>Contamination</h1><p>{lost:,} of {self.rows:,} rows are removed.</p>\n"
        bounds = [
            [method, f"{self.settings.bound(method):g}", f"{self.removed[method]:,}"] for method in METHODS
        ]
        yield _table(["method", "bound", "rows removed"], bounds)
        labels = sorted({label for label, _ in self.seeded})
        counts = [[label, *(f"{self.seeded[label, bad]:,}" for bad in (True, False))] for label in labels]
        yield _table(["made from", "removed", "kept"], counts)
        yield "<h2>With other bounds</h2><p>Rows that a method alone would remove.</p>\n"
        grid = [[method, *(f"{self.would_remove[method, bound]:,}" for bound in GRID)] for method in METHODS]
        yield _table(["method", *(f"{bound:g}" for bound in GRID)], grid)
        yield f"<h2>Nearest pairs</h2><p>Of {self.rows:,} rows the nearest {len(self.pairs):,}.</p>\n"
        for pair in self.pairs:
            yield _shown(pair)


def _shown(pair: Pair) -> str:
    match = pair.match
    told = f"removed: {match.method}" if match.method else "kept"
    scores = ", ".join(
        f"{method} {score:.2f}" + ("" if method in match.counting else " (says too little)")
        for method, score in match.scores.items()
    )
    head = (
        f"{told} · {match.field} near {match.against_field} of {match.against} · {pair.label} · {match.key}"
    )
    texts = "".join(f"<td>{html.escape(_cut(text))}</td>" for text in (pair.row, pair.benchmark))
    piece = f"<p>shared: {html.escape(_cut(match.span))}</p>" if match.span else ""
    kind = "removed" if match.method else "kept"
    return (
        f"<section class={kind}><h3>{html.escape(head)}</h3><p>{html.escape(scores)}</p>"
        f"<table class=texts><tr><th>row<th>benchmark<tr>{texts}</table>{piece}</section>\n"
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    return f"<table><tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in head)}</tr>{''.join(lines)}</table>\n"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " …"


def _cell(text: str) -> str:
    """A cell that no spreadsheet computes. Spaces in front do not help: some programs skip them."""
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@") or text[:1] in ("\t", "\r", "\n") else text


_TEXTS = ("row text", "benchmark text", "shared")
_STYLE = """body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#222;
background:#fff}table{border-collapse:collapse;margin:.6em 0}td,th{border:1px solid #ccc;padding:.25em .6em;
text-align:left;vertical-align:top}.texts{table-layout:fixed;width:100%}.texts td{white-space:pre-wrap;
overflow-wrap:anywhere}section{margin:1.4em 0;padding-left:.8em;border-left:4px solid #aaa}
section.removed{border-color:#b3261e}h3{font-size:1em;margin:.2em 0;overflow-wrap:anywhere}
p{margin:.3em 0;overflow-wrap:anywhere}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}
td,th{border-color:#555}}"""
