"""What is handed on: whole or not at all, as other programs read it, each rung holding the ones below."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_inputs import curated, draft, make_run

from upwell import prompts
from upwell.curation import export as exporting
from upwell.curation.export import export
from upwell.curation.settings import ExportSettings
from upwell.errors import StorageError, UsageError
from upwell.records import Example, Response
from upwell.runs import Run

ROWS = 48


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("export")
    drafts = [draft(f"d{n}", question=f"Number {n}?", source="math" if n % 3 else "gsm8k", level=str(n % 2),
                    teacher="server/1 | <b>x</b>", parents=(f"seed{n}",)) for n in range(ROWS)]  # fmt: skip
    drafts.append(draft("empty", solution="", answer=""))
    return curated(make_run(folder / "in", "synthesize", drafts=drafts), out=folder / "out", ladder="6,12,24")


def exported(run: Run, to: Path, **settings: Any) -> Path:
    return export(str(run.path), ExportSettings(to=str(to), **settings))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_prompt_completion_lines_are_the_examples(run: Run, tmp_path: Path) -> None:
    rows = lines(exported(run, tmp_path / "all.jsonl", format="prompt-completion"))
    assert rows == [
        {"key": one.key, "prompt": one.prompt, "completion": one.completion}
        for one in run.rows("examples", Example)
    ]
    assert len(rows) == ROWS


def test_a_rung_holds_the_rungs_below(run: Run, tmp_path: Path) -> None:
    below: set[str] = set()
    for rung, size in enumerate((6, 12, 24), 1):
        path = exported(run, tmp_path / f"{rung}.jsonl", rung=rung)
        keys = {row["key"] for row in lines(path)}
        assert len(keys) == size and below < keys
        below = keys


def test_messages_ask_the_question_alone_or_with_the_instruction_of_the_chat_prompt(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = lines(exported(run, tmp_path / "plain.jsonl", rung=1))[0]["messages"]
    one = next(iter(run.rows("examples", Example)))
    assert first == [
        {"role": "user", "content": one.question},
        {"role": "assistant", "content": one.completion.strip()},
    ]
    chatty = Run.read(run.path)
    chatty.manifest["prompt"]["name"] = "chat"
    monkeypatch.setattr(exporting.Run, "read", lambda path: chatty)
    asked = lines(exported(run, tmp_path / "chat.jsonl", rung=1))[0]["messages"][0]["content"]
    assert asked == f"{one.question}\n{prompts.BOXED}"


def test_parquet_has_every_column_and_row(run: Run, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(exported(run, tmp_path / "all.parquet", format="parquet"))
    rows = list(run.rows("examples", Example))
    assert table.column_names == list(Example.__struct_fields__) and len(table) == ROWS
    assert table.column("rung").to_pylist() == [one.rung for one in rows]
    assert [tuple(part) for part in table.column("lineage").to_pylist()] == [one.lineage for one in rows]


def test_any_table_goes_to_parquet(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    responses = [
        Response(key=f"p#{i}", problem="p", index=i, text="4", logprob=-0.5, finish="stop") for i in range(3)
    ]
    run = Run.read(make_run(tmp_path / "run", "sample", responses=responses))
    table = pq.read_table(exported(run, tmp_path / "r.parquet", format="parquet", table="responses"))
    assert (
        table.column("logprob").to_pylist() == [-0.5] * 3 and table.column("score").to_pylist() == [None] * 3
    )
    with pytest.raises(UsageError, match="its tables: responses"):
        exported(run, tmp_path / "x.jsonl")


def test_a_hub_folder_opens_with_datasets_rung_by_rung(run: Run, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder = exported(run, tmp_path / "hub", format="hub")
    datasets.disable_progress_bars()

    def opened(name: str) -> list[str]:
        found = datasets.load_dataset(str(folder), name, split="train", cache_dir=str(tmp_path / "cache"))
        return list(found["key"])

    assert opened("default") == [one.key for one in run.rows("examples", Example)]
    assert [len(opened(f"rung-{rung}")) for rung in (1, 2, 3)] == [6, 12, 24]
    assert set(opened("rung-1")) < set(opened("rung-2")) < set(opened("rung-3"))
    card = (folder / "README.md").read_text()
    steps = "| solution | 49 | 48 | no solution 1 |"
    for said in ("| gsm8k | 16 | MIT |", steps, "compared with any benchmark", "server/1 \\| &lt;b>x&lt;/b>"):
        assert said in card, card


@pytest.mark.skipif("UPWELL_DATA" not in os.environ, reason="needs the GSM8K train split under UPWELL_DATA")
def test_the_papers_ladder_of_gsm8k_opens_with_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    run = curated("gsm8k/train", out=tmp_path / "run", ladder="7473x2^-5..0")
    folder = exported(run, tmp_path / "hub", format="hub")
    below: set[str] = set()
    for rung, size in enumerate((234, 467, 934, 1868, 3736, 7473), 1):
        found = datasets.load_dataset(
            str(folder), f"rung-{rung}", split="train", cache_dir=str(tmp_path / "cache")
        )
        keys = set(found["key"])
        assert len(found) == len(keys) == size and below < keys
        below = keys


def test_a_hub_folder_of_one_rung_has_no_more(run: Run, tmp_path: Path) -> None:
    folder = exported(run, tmp_path / "hub", format="hub", rung=2)
    assert sorted(file.name for file in (folder / "data").iterdir()) == ["rung-01.parquet", "rung-02.parquet"]
    assert "rung-3" not in (folder / "README.md").read_text()


@pytest.mark.parametrize("form", ["chat", "parquet", "hub"])
def test_what_fails_half_way_leaves_nothing(
    form: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = list(run.rows("examples", Example))[:20]

    def breaking(*_: Any) -> Iterator[Example]:
        yield from some
        raise OSError(28, "No space left on device")

    half = Run.read(run.path)
    monkeypatch.setattr(half, "rows", breaking)
    monkeypatch.setattr(exporting.Run, "read", lambda path: half)
    with pytest.raises(StorageError, match="disk full"):
        exported(run, tmp_path / "out", format=form)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    (tmp_path / ".out.tmp").mkdir()  # what a killed export left
    (tmp_path / ".out.tmp" / "half").touch()
    exported(run, tmp_path / "out", format=form)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_exported_is_refused_with_a_hint(run: Run, tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished"
    with Run.open(unfinished, verb="curate", settings={}, fingerprint={}) as begun:
        begun.append("examples", [Example(key="k", prompt="p", completion="c", problem="k")])
    empty = tmp_path / "empty"
    Run.open(empty, verb="curate", settings={}, fingerprint={}).close()
    there = tmp_path / "there.jsonl"
    there.write_text("precious")
    bare = curated(make_run(tmp_path / "in", "synthesize", drafts=[draft("a")]), out=tmp_path / "bare")
    for path, settings, says, hint in (
        (unfinished, {"to": "x"}, "is not finished", "again"),
        (tmp_path / "nowhere", {"to": "x"}, "no run at", "--out"),
        (run.path, {"to": str(there)}, "is there already", "another --to"),
        (
            run.path,
            {"to": str(run.path)},
            "is there already",
            "another --to",
        ),  # and no hint to delete the run
        (run.path, {"to": str(tmp_path / "..")}, "is there already", "another --to"),
        (run.path, {"to": str(run.path / "train.jsonl")}, "pass for one of its tables", "outside of runs"),
        (empty, {"to": "x"}, "is not finished", "again"),
        (run.path, {"to": str(tmp_path / "x"), "rung": 4}, "has the rungs 1 to 3", "--rung 3"),
        (bare.path, {"to": str(tmp_path / "x"), "rung": 1}, "has no ladder", "--ladder"),
        (run.path, {"to": "x", "table": "moods", "format": "parquet"}, "no table `moods`", "examples"),
    ):
        with pytest.raises(UsageError) as error:
            export(str(path), ExportSettings(**settings))
        assert says in error.value.message and hint in (error.value.hint or ""), error.value
    assert there.read_text() == "precious"
    with pytest.raises(UsageError, match="is for examples"):
        ExportSettings(to="x", table="rejects")
    with pytest.raises(UsageError, match="--format is `csv`"):
        ExportSettings(to="x", format="csv")


def test_a_place_under_a_file_is_no_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(StorageError):
        exported(run, tmp_path / "file" / "train.jsonl")
    assert (tmp_path / "file").read_text() == "precious"


def test_what_a_teacher_said_goes_to_parquet(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    replies = [Response(key="s/xwin-0#0", problem="s/xwin-0", index=0, text="said", finish="stop")]
    made = make_run(tmp_path / "in", "synthesize", drafts=[draft("s/xwin-0")], replies=replies)
    path = exported(Run.read(made), tmp_path / "replies.parquet", table="replies", format="parquet")
    assert pq.read_table(path).column("text").to_pylist() == ["said"]
