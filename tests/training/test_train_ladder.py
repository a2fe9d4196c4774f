"""A ladder: rungs by one rule, each measured, one table, and a page of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from seed_checkpoints import make

from upwell.curation.curate import curate
from upwell.curation.settings import CurateSettings
from upwell.errors import UsageError
from upwell.report import build
from upwell.runs import Run
from upwell.training import TrainSettings
from upwell.training.ladder import train_ladder

SEED = 7


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("llama2", tmp_path_factory.mktemp("base") / "llama2")


def rows(count: int) -> list[dict[str, str]]:
    return [
        {
            "question": f"What is {n} and {n + 1} together?", "answer": str(2 * n + 1),
            "solution": f"{n} + {n + 1} = {2 * n + 1}",
        }
        for n in range(10, 10 + count)
    ]  # fmt: skip


def examples(folder: Path, ladder: str | None) -> str:
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(24)))
    settings = CurateSettings(out=str(folder / "set"), prompt="xwin-math", ladder=ladder)
    return str(curate([str(data)], settings))


def settings(folder: Path, base: Path, **more: object) -> TrainSettings:
    problems = folder / "problems.jsonl"
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows(3)))
    given = {
        "recipe": "xwin-llama2-7b", "base": str(base), "out": str(folder / "ladder"), "ladder": True, "epochs": 1,
        "batch_size": 2, "max_length": 256, "problems": str(problems), "samples": 2, "max_tokens": 4,
        "preflight": "no-overfit",
    }  # fmt: skip
    return TrainSettings(**given | more)  # type: ignore[arg-type]


def test_every_rung_and_seed_has_its_row_and_a_second_run_does_nothing(tmp_path: Path, base: Path) -> None:
    wanted = settings(tmp_path, base, seeds=(SEED, SEED + 1))
    path = train_ladder(examples(tmp_path, "12,24"), wanted)
    table = (Run.read(path).summary or {})["ladder"]
    assert [(row["examples"], row["seed"]) for row in table] == [
        (0, None),
        (12, 7),
        (12, 8),
        (24, 7),
        (24, 8),
    ]
    for row in table[1:]:
        own = Run.read(path / "rungs" / f"{row['examples']}-s{row['seed']}")
        assert (own.summary or {})["counts"]["examples"] == row["examples"] and own.manifest["settings"][
            "seed"
        ] == row["seed"]
        assert row["metrics"]["pass_ratio"]["samples"] == 6 and "pass_ratio" in row["against_base"]
    assert len({row["digest"] for row in table[1:]}) == 4
    with (path / "ladder.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [row["examples"] for row in written] == ["0", "12", "12", "24", "24"]
    assert float(written[3]["pass_ratio"]) == table[3]["metrics"]["pass_ratio"]["value"]
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*.safetensors")}
    train_ladder(str(tmp_path / "set"), wanted)
    assert before == {file: file.stat().st_mtime_ns for file in path.rglob("*.safetensors")}

    made = build([path], tmp_path / "page.html", pngs=False)
    page = made.html.read_text()
    assert "What each rung of the ladder does" in page and "24 examples, seed 8" in page
    assert any(file.name == "page-ladder-ladder.csv" for file in made.tables)


def test_the_same_steps_are_those_of_the_largest_rung(tmp_path: Path, base: Path) -> None:
    path = train_ladder(examples(tmp_path, "12,24"), settings(tmp_path, base, same="steps", problems=None))
    table = (Run.read(path).summary or {})["ladder"]
    assert table[1]["steps"] == table[2]["steps"] > 1 and "metrics" not in table[1]
    with pytest.raises(UsageError, match="were not measured"):
        build([path], tmp_path / "page.html")


def test_examples_without_a_ladder_are_refused_before_anything_is_measured(
    tmp_path: Path, base: Path
) -> None:
    with pytest.raises(UsageError, match="have no ladder"):
        train_ladder(examples(tmp_path, None), settings(tmp_path, base))
    assert not (tmp_path / "ladder").exists()


def test_seeds_without_a_ladder_are_refused(tmp_path: Path, base: Path) -> None:
    with pytest.raises(UsageError, match="--seeds does nothing without --ladder"):
        settings(tmp_path, base, ladder=False, seeds=(1,))
