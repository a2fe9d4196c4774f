"""Ladders: nested row by row, like the whole at every rung, the same again from the same seed."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_inputs import curated, draft, make_run

from upwell.curation import ladder
from upwell.errors import UsageError
from upwell.records import Draft, Example
from upwell.runs import Run

PAPER = [234, 467, 934, 1868, 3736, 7473]


def corpus(rows: int = 1000) -> list[Draft]:
    """Sources 3 to 1, MATH with 5 levels, solutions whose length follows the level."""
    made = []
    for n in range(rows):
        math = n % 4 == 0
        level = str(1 + n // 4 % 5) if math else None
        words = " ".join(f"word{i}." for i in range(5 * int(level or 1)))
        made.append(
            draft(
                f"d{n}",
                source="math" if math else "gsm8k",
                level=level,
                question=f"Number {n}?",
                solution=words,
            )
        )
    return made


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("ladder") / "in", "synthesize", drafts=corpus())


def rung_keys(run: Run, rung: int) -> list[str]:
    return [one.key for one in run.rows("examples", Example) if one.rung is not None and one.rung <= rung]


@pytest.mark.parametrize(
    ("spec", "total", "sizes"),
    [
        ("234,467,934", 7473, [234, 467, 934]),
        ("7500x2^0..7", 10**6, [7500, 15000, 30000, 60000, 120000, 240000, 480000, 960000]),
        ("0.94Kx2^0..3", 10**6, [940, 1880, 3760, 7520]),
        ("7473x2^-5..0", 7473, PAPER),
        ("allx2^-5..0", 7473, PAPER),
        ("1k,all", 7473, [1000, 7473]),
        ("10x3^2", 7473, [90]),
    ],
)  # fmt: skip
def test_sizes(spec: str, total: int, sizes: list[int]) -> None:
    assert [size for size, _ in ladder.rungs(ladder.parse(spec), None, total)] == sizes


@pytest.mark.parametrize(
    "spec",
    [
        *("", "many", "100,", "100,100", "0", "0.2", "7500x2", "7500x2^7..0", "allx2^1", "allk", "-5"),
        *("9x9^999", "1x0^-1", "allx0.1^-999..0", "9" * 400, "9" * 400 + "x10^-999", "5x2^0..999"),
    ],
)
def test_sizes_that_are_none(spec: str) -> None:
    with pytest.raises(UsageError) as error:
        ladder.parse(spec)
    assert "--ladder" in (error.value.hint or "")


def test_each_rung_holds_the_one_below_and_the_table_is_in_their_order(path: Path, tmp_path: Path) -> None:
    run = curated(path, out=tmp_path / "out", ladder="10,100,333,900")
    assert run.summary is not None
    every = [one.key for one in run.rows("examples", Example)]
    below: set[str] = set()
    for number, rung in enumerate(run.summary["ladder"]["rungs"], 1):
        keys = rung_keys(run, number)
        assert len(set(keys)) == len(keys) == rung["rows"]
        assert below < set(keys)
        assert keys == every[: len(keys)]  # so that `head` of the table is a rung
        below = set(keys)
    assert len(every) == 1000 and [one.rung for one in run.rows("examples", Example)][900:] == [None] * 100


def test_every_rung_has_the_proportions_of_the_whole(path: Path, tmp_path: Path) -> None:
    run = curated(path, out=tmp_path / "out", ladder="allx2^-4..0")
    rows = list(run.rows("examples", Example))
    whole = Counter((one.source, one.level) for one in rows)
    for rung in range(1, 6):
        held = [one for one in rows if one.rung is not None and one.rung <= rung]
        found = Counter((one.source, one.level) for one in held)
        for stratum, count in whole.items():
            # Without strata a rung of 62 would as often as not be off by 2 or more of its 47.
            assert abs(found[stratum] - count * len(held) / 1000) <= 2, (rung, stratum)


def test_a_ladder_by_tokens_counts_tokens(path: Path, tmp_path: Path) -> None:
    by_rows = curated(path, out=tmp_path / "rows", ladder="allx2^-3..0")
    run = curated(path, out=tmp_path / "tokens", ladder="1000,5000,all", ladder_by="tokens")
    assert run.summary is not None and by_rows.summary is not None
    told = run.summary["ladder"]["rungs"]
    longest = max(len(one.completion) for one in run.rows("examples", Example))
    for rung, most in zip(told, (1000, 5000, run.summary["tokens"]["completion"]), strict=True):
        assert most - longest < rung["tokens"] <= most
    assert told[-1]["rows"] == 1000
    assert set(rung_keys(run, 1)) < set(rung_keys(run, 2))


def test_the_seed_and_the_rows_decide_and_nothing_else(path: Path, tmp_path: Path) -> None:
    def rung(name: str, source: Path = path, **settings: Any) -> list[str]:
        return rung_keys(curated(source, out=tmp_path / name, ladder="50,1000", **settings), 1)

    shuffled = corpus()
    random.Random(4).shuffle(shuffled)
    elsewhere = make_run(tmp_path / "in", "synthesize", drafts=shuffled)
    assert rung("a") == rung("b") == rung("c", elsewhere)
    assert len(set(rung("d", seed=1)) & set(rung("a"))) < 20  # of 50; by chance 3 or so


def test_rungs_that_are_too_large_are_missing_and_said_to_be(path: Path, tmp_path: Path) -> None:
    run = curated(path, out=tmp_path / "out", ladder="500x2^0..3")
    assert run.summary is not None
    assert [rung["rows"] for rung in run.summary["ladder"]["rungs"]] == [500, 1000]
    assert run.summary["counts"]["failed"] == 2  # which the verb ends with 1 for
    assert any(
        "2 of 4 rungs are missing: 2,000 rows asked for, 1,000 left" in note for note in run.summary["notes"]
    )


def test_rungs_that_come_out_the_same_are_refused(tmp_path: Path) -> None:
    path = make_run(tmp_path / "in", "synthesize", drafts=corpus(4))
    with pytest.raises(UsageError, match="each must hold more") as error:
        curated(path, out=tmp_path / "out", ladder="allx2^-5..0")
    assert "--ladder" in (error.value.hint or "")


def test_copies_that_resampling_made_climb_the_ladder_as_rows_of_their_own(
    path: Path, tmp_path: Path
) -> None:
    run = curated(path, out=tmp_path / "out", ladder="allx2^-2..0", resample="sentences^2")
    rows = list(run.rows("examples", Example))
    assert len({one.key for one in rows}) == len(rows) == 1000 and any("*2" in one.key for one in rows)
    assert msgspec.json.encode(rows[0])  # a rung is plain data
