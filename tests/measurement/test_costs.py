"""What a run costs stands in its rows; caps and dry runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from arithmetic import PROBLEMS, write_problems

from upwell.engines.base import Reply, Request, Usage
from upwell.engines.scripted import ScriptedEngine
from upwell.errors import BudgetSpent
from upwell.measurement import MeasureSettings, SampleSettings, measure, sample
from upwell.measurement.stages import dry_run
from upwell.records import Response, Waste
from upwell.runs import Run


def test_a_run_stops_at_its_cap_and_goes_on_with_a_higher_one(tmp_path: Path) -> None:
    problems = write_problems(tmp_path / "sums.jsonl")
    asked: list[str] = []

    def pupil(request: Request) -> Reply:
        asked.append(request.key)
        wasted = Usage(calls=1, prompt_tokens=20) if request.key.endswith("#1") else Usage()
        return Reply(key=request.key, text="The answer is 4", tokens=10, prompt_tokens=20, wasted=wasted)

    def run(most: int) -> Path:
        settings = SampleSettings(
            problems=str(problems), out=str(tmp_path / "run"), samples=20, max_tokens=10, prompt="plain",
            max_total_tokens=most,
        )  # fmt: skip
        return sample(settings, engine=ScriptedEngine(pupil))

    with pytest.raises(BudgetSpent, match="--max-total-tokens 1000"):
        run(1000)
    half = Run.read(tmp_path / "run")
    assert half.summary is None and 28 <= half.count("responses") <= 33
    run(10_000)
    done = Run.read(tmp_path / "run")
    assert sorted(asked) == sorted(r.key for r in done.rows("responses", Response)), "nothing was asked twice"
    assert [(w.calls, w.prompt_tokens) for w in done.rows("waste", Waste)] == [(1, 20)] * len(PROBLEMS)
    assert done.summary is not None
    spending = done.summary["spending"]
    count = 20 * len(PROBLEMS)
    assert spending["completion_tokens"] == 10 * count
    assert spending["prompt_tokens"] == 20 * (count + len(PROBLEMS))
    assert spending["wasted"] == {"calls": len(PROBLEMS), "tokens": 20 * len(PROBLEMS), "usd": None}


def test_what_nobody_counted_is_in_no_sum_and_no_mean(tmp_path: Path) -> None:
    def pupil(request: Request) -> Reply:
        known = {"0": 10, "1": 30}.get(request.key[-1])
        return Reply(key=request.key, text="The answer is 4", tokens=known, prompt_tokens=20)

    settings = MeasureSettings(
        problems=str(write_problems(tmp_path / "sums.jsonl")), out=str(tmp_path / "run"), samples=3, prompt="plain",
    )  # fmt: skip
    run = Run.read(measure(settings, engine=ScriptedEngine(pupil)))
    assert [row.tokens for row in run.rows("responses", Response)] == [10, 30, None] * len(PROBLEMS)
    found = dry_run(settings, engine=ScriptedEngine(pupil))
    assert found.completion_tokens.expected == 20 * 12 and "from 8 responses" in found.notes[0]
    assert run.summary is not None
    (mean,) = (m for m in run.summary["metrics"] if (m["name"], m["slice"]) == ("mean_tokens", None))
    assert (mean["value"], mean["samples"]) == (20, 8) and "of unknown length: 4" in mean["note"]
    assert any("mean tokens are over 8 of 12 responses" in note for note in run.summary["notes"])
    assert run.summary["counts"]["tokens"] is None
    assert run.summary["spending"]["completion_tokens"] == 160 and run.summary["spending"]["uncounted"] == 4


def test_a_dry_run_draws_a_few_keeps_them_and_prices_the_rest(tmp_path: Path) -> None:
    rows = [{"id": f"p{n}", "question": f"{n} + 1?", "answer": str(n + 1)} for n in range(100)]
    problems = tmp_path / "sums.jsonl"
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked: list[str] = []

    def pupil(request: Request) -> Reply:
        asked.append(request.key)
        return Reply(key=request.key, text="5", tokens=90 + len(asked) % 2 * 20, prompt_tokens=30)

    settings = MeasureSettings(
        problems=str(problems), out=str(tmp_path / "run"), samples=8, prompt="plain", dry_run=True
    )
    found = dry_run(settings, engine=ScriptedEngine(pupil))
    assert len(asked) == found.drawn == 16 and found.responses == 800
    assert found.prompt_tokens.expected == found.prompt_tokens.low == 24_000
    assert found.completion_tokens.expected == 80_000
    assert 70_000 < found.completion_tokens.low < 80_000 < found.completion_tokens.high < 90_000
    assert found.usd is None and any("--price" in note for note in found.notes)
    assert dry_run(settings, engine=ScriptedEngine(pupil)).drawn == 16, "a second one draws nothing"
    measure(
        MeasureSettings(problems=str(problems), out=str(tmp_path / "run"), samples=8, prompt="plain"),
        engine=ScriptedEngine(pupil),
    )
    assert len(asked) == len(set(asked)) == 800
