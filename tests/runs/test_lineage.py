"""From a row back to its seeds: which rows count as the same, and what is no table."""

from __future__ import annotations

from pathlib import Path

from upwell.records import Draft, Example
from upwell.runs import Run
from upwell.runs.lineage import ancestry


def drafts(path: Path, question: str) -> Run:
    with Run.open(path, verb="synthesize", settings={}, fingerprint={}) as run:
        run.append(
            "drafts", [Draft(key="seed/xwin-0", method="xwin", question=question, answer="1", solution="1")]
        )
        run.finish({})
    return Run.read(path)


def test_rows_of_one_key_but_other_content_are_all_told(tmp_path: Path) -> None:
    sources = [drafts(tmp_path / name, f"asked in {name}") for name in ("a", "b", "copy-of-b")]
    sources.append(drafts(tmp_path / "again", "asked in b"))
    with Run.open(
        tmp_path / "set", verb="curate", settings={}, fingerprint={},
        inputs=[source.reference("drafts") for source in sources],
    ) as run:  # fmt: skip
        example = Example(key="k", prompt="p", completion="c", problem="k", lineage=("seed/xwin-0",))
        run.append("examples", [example])
    (tmp_path / "set" / "My.rows.jsonl").write_text('{"key": "k"}\n')  # somebody's own file is no table
    found = [(one.table, one.row.get("question")) for one in ancestry(tmp_path / "set", "k")]
    assert found == [
        ("examples", None), ("drafts", "asked in a"), ("drafts", "asked in b"), ("drafts", "asked in copy-of-b"),
    ]  # fmt: skip
