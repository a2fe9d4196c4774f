"""Accuracy against cost: tokens, FLOPs and dollars, the frontier, a rung against samples, refusals."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from made_runs import Said, fit, problem, summary_of, write_graded, write_ladder

from upwell.analysis import AnalyzeSettings, analyze
from upwell.analysis.compute import mark_frontier
from upwell.analysis.sizes import counted
from upwell.errors import UsageError


def asked(right: int, n: int = 8, problems: int = 20, **marks: Any) -> list[Any]:
    """Every problem with `right` right responses of n; every wrong answer is another."""
    marks = {"prompt_tokens": 10, "tokens": 10} | marks
    return [
        (
            problem(i),
            [
                Said(correct=j < right, answer=str(i + 1) if j < right else f"{i}{j}.5", **marks)
                for j in range(n)
            ],
        )
        for i in range(problems)
    ]


def settings(folder: Path, **more: Any) -> AnalyzeSettings:
    return AnalyzeSettings(out=str(folder / "out"), bootstrap=50, **more)


def test_costs_of_one_run(tmp_path: Path) -> None:
    run = write_graded(tmp_path / "run", asked(4, usd=0.01))
    out = analyze("compute", [str(run)], settings(tmp_path, parameters=1e6))
    rows = {(row["selector"], row["k"]): row for row in summary_of(out)["points"]}
    assert rows["pass@k", 1]["value"] == 0.5 and rows["pass@k", 1]["tokens"] == 20
    row = rows["majority", 4]
    assert row["tokens"] == 50 and row["flops"] == 2e6 * 50 and row["usd"] == pytest.approx(0.04)
    assert row["frontier"] and row["low"] < row["value"] < row["high"]
    # Two votes are worth one: the second is paid for nothing.
    assert not rows["majority", 2]["frontier"]
    gain = fit(out, selector="majority", parameter="gain from 4 to 8 responses")
    assert gain["tokens"] == 40 and gain["low"] < gain["value"] < gain["high"]


def test_without_a_checkpoint_costs_are_tokens(tmp_path: Path) -> None:
    out = analyze("compute", [str(write_graded(tmp_path / "run", asked(4)))], settings(tmp_path))
    found = summary_of(out)
    assert all(row["flops"] is None and row["usd"] is None and row["tokens"] for row in found["points"])
    assert any("--parameters 7e9" in note for note in found["notes"])


def test_a_rung_against_votes(tmp_path: Path) -> None:
    lad = write_ladder(tmp_path / "lad", [(0, 0, asked(4)), (10, 3000, asked(6))])
    out = analyze("compute", [str(lad)], settings(tmp_path))
    rows = {(row["run"], row["selector"], row["k"]): row for row in summary_of(out)["points"]}
    assert rows["10-s1", "pass@k", 1]["trained_tokens"] == 3000
    under, over = (rows["base", "majority", k]["value"] for k in (2, 4))
    assert under < 0.75 < over
    votes = fit(
        out, run="base to 10-s1", parameter="votes of the lower rung that match one response of the upper"
    )
    assert votes["value"] == pytest.approx(2 * 2 ** ((0.75 - under) / (over - under)), rel=1e-6)
    questions = fit(out, run="base to 10-s1", parameter="questions from which the upper rung is cheaper")
    # Training on a token is three forward passes; a question saves the votes less the one response.
    assert questions["value"] == pytest.approx(3 * 3000 / (10 + votes["value"] * 10 - 20), rel=1e-6)
    assert any(
        "training the rung is cheaper than voting from" in line for line in summary_of(out)["conclusions"]
    )


@pytest.mark.parametrize(
    ("upper", "marks", "says"),
    [
        (4, {}, "is no better than one of base"),
        (6, {"tokens": 400}, "more samples win at any number of questions"),
    ],
)
def test_when_samples_win(tmp_path: Path, upper: int, marks: dict[str, Any], says: str) -> None:
    lad = write_ladder(tmp_path / "lad", [(0, 0, asked(4)), (10, 3000, asked(upper, **marks))])
    assert says in " ".join(summary_of(analyze("compute", [str(lad)], settings(tmp_path)))["conclusions"])


def test_when_no_number_of_samples_is_enough(tmp_path: Path) -> None:
    weak = [
        (one, [Said(correct=j == 0, answer="1" if j == 0 else "7", prompt_tokens=10) for j in range(8)])
        for one, _ in asked(1)
    ]
    lad = write_ladder(tmp_path / "lad", [(0, 0, weak), (10, 3000, asked(6)), (20, 9000, asked(7))])
    out = analyze("compute", [str(lad)], settings(tmp_path))
    said = " ".join(summary_of(out)["conclusions"])
    assert "no majority of up to 8 responses of base is as often right" in said and "10-s1 to 20-s1: " in said
    row = fit(
        out, run="base to 10-s1", parameter="votes of the lower rung that match one response of the upper"
    )
    assert row["value"] is None and row["note"] == "no number is enough"


def test_runs_are_set_against_each_other_on_shared_problems(tmp_path: Path) -> None:
    one, two = (write_graded(tmp_path / str(count), asked(4, problems=count)) for count in (5, 9))
    found = summary_of(analyze("compute", [str(one), str(two)], settings(tmp_path)))
    assert {row["problems"] for row in found["points"]} == {5}
    assert any("over the 5 problems that all runs share, of 9" in note for note in found["notes"])
    other = write_graded(tmp_path / "other", [(problem(999), [Said()] * 2)])
    with pytest.raises(UsageError, match="share no problem"):
        analyze("compute", [str(one), str(other)], settings(tmp_path))


def test_uncounted_tokens_are_refused(tmp_path: Path) -> None:
    run = write_graded(tmp_path / "run", asked(4, problems=3, tokens=None))
    with pytest.raises(UsageError, match="3 of 3 problems of"):
        analyze("compute", [str(run)], settings(tmp_path))


def test_the_frontier_is_what_nothing_beats() -> None:
    points: list[dict[str, Any]] = [
        {"selector": "majority", "tokens": cost, "value": value}
        for cost, value in ((10, 0.5), (20, 0.5), (20, 0.6), (30, 0.55), (40, 0.7))
    ]
    mark_frontier(points, "tokens")
    assert [point["frontier"] for point in points] == [True, False, True, False, True]


def write_weights(path: Path, shapes: dict[str, list[int]]) -> None:
    begin, header = 0, {}
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, begin + size]}
        begin += size
    told = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(told)) + told + bytes(begin))


def test_parameters_are_counted_in_the_checkpoint(tmp_path: Path) -> None:
    layers = {"model.embed_tokens.weight": [100, 8], "model.layers.0.mlp.weight": [8, 32]}
    write_weights(tmp_path / "a.safetensors", layers)
    assert counted(tmp_path) == 800 + 256  # tied: the embedding is the output layer too
    write_weights(tmp_path / "b.safetensors", {"lm_head.weight": [100, 8]})
    assert counted(tmp_path) == 800 + 256
    run = write_graded(tmp_path / "run", asked(4), model=str(tmp_path))
    found = summary_of(analyze("compute", [str(run)], settings(tmp_path)))
    assert found["points"][0]["flops"] == 2 * 1056 * 20
    (tmp_path / "b.safetensors").write_bytes(b"short")
    assert counted(tmp_path) is None and counted(tmp_path / "none") is None
