"""The tables of docs/training.md, made from the data. `python tests/training/recipe_tables.py` writes them anew."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from upwell.training.corpora import CORPORA
from upwell.training.published import PUBLISHED, compared
from upwell.training.recipes import RECIPES
from upwell.training.shapes import SHAPES

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def _table(head: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(_written(cell) for cell in line) + " |" for line in lines)


def _written(cell: Any) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return str(cell).replace("|", "\\|") if not isinstance(cell, int) else f"{cell:,}"


def recipes() -> str:
    head = (
        "recipe", "base", "prompt", "EOS", "rows", "batch", "rate", "warm-up", "epochs", "hardware (paper)",
        "data (also)",
    )  # fmt: skip
    return _table(
        head,
        (
            (
                f"`{r.name}`", r.base.value, f"`{r.prompt.value}`", f"`{r.eos.value}`", r.max_length.value,
                r.batch_size.value, r.learning_rate.value, r.warmup_ratio.value, r.epochs.value,
                f"{r.hardware.value} ({_written(r.hardware.paper)})",
                f"`{r.data.value}`" + (f" ({', '.join(r.other_data)})" if r.other_data else ""),
            )
            for r in RECIPES.values()
        ),
    )  # fmt: skip


def values(name: str) -> str:
    return _table(
        ("name", "value", "paper", "source", "where it stands, or why"),
        ((f"`{n}`", f"`{v.value}`", v.paper, v.source, v.why) for n, v in RECIPES[name].values()),
    )


def differences(first: str, second: str) -> str:
    """What the second recipe says otherwise."""
    other = dict(RECIPES[first].values())
    return _table(
        ("name", "value", "paper", "source", "where it stands, or why"),
        (
            (f"`{n}`", f"`{v.value}`", v.paper, v.source, v.why)
            for n, v in RECIPES[second].values()
            if (v.value, v.paper) != (other[n].value, other[n].paper)
        ),
    )


def data() -> str:
    return _table(
        ("data recipe", "examples", "parts", "question", "solution", "what it is", "whose tokens"),
        (
            (
                f"`{c.name}`", c.rows, ", ".join(f"{n:,} {of}" for of, n in c.of) or None, c.question, c.solution,
                c.source, c.tokens_source,
            )
            for c in CORPORA.values()
        ),
    )  # fmt: skip


def shapes() -> str:
    return _table(
        ("base", "hidden", "layers", "heads / kv", "intermediate", "vocabulary", "tied", "parameters", "published"),
        (
            (
                s.name, s.hidden, s.layers, f"{s.heads} / {s.kv_heads}", s.intermediate, s.vocab, s.tied,
                s.parameters, s.published,
            )
            for s in SHAPES.values()
        ),
    )  # fmt: skip


def published() -> str:
    rows = []
    for run in PUBLISHED:
        for name in run.recipes:
            for found in compared(name):
                for reading in ("packed", "padded"):
                    if reading in found:
                        got = found[reading]
                        rows.append(
                            (
                                found["said"], f"`{name}`", reading, f"{found['gpu_hours']:,.0f}",
                                f"{got['gpu_hours']:,.0f} ({got['difference']:+.0%})", f"{got['implied_mfu']:.2f}",
                                f"{got['implied_with_recomputation']:.2f}",
                            )
                        )  # fmt: skip
    head = (
        "published", "recipe", "read as", "GPU-hours", "planner, MFU 0.40", "implied MFU", "with recomputation",
    )  # fmt: skip
    return _table(head, rows)


TABLES = {
    "recipes": recipes,
    "values xwin-llama2-7b": lambda: values("xwin-llama2-7b"),
    "values dart-mistral-7b": lambda: values("dart-mistral-7b"),
    "values smollm2-135m": lambda: values("smollm2-135m"),
    "values qwen2.5-math-1.5b": lambda: differences("smollm2-135m", "qwen2.5-math-1.5b"),
    "data": data,
    "shapes": shapes,
    "published": published,
}


def filled(page: str) -> str:
    """The page with every marked table made anew."""
    for name, make in TABLES.items():
        before, mark, rest = page.partition(f"<!-- table: {name} -->\n")
        _, end, after = rest.partition("\n<!-- end -->")
        assert mark and end, f"{PAGE.name} lacks the marks of {name!r}"
        page = before + mark + make() + end + after
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
