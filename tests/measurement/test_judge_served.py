"""A judge behind a server: several votes in a call, faults, and a cap."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fault_server import MODEL, FaultServer

from upwell.errors import BudgetSpent
from upwell.measurement import GradeSettings, grade
from upwell.records import Judgement, Verdict, Waste
from upwell.runs import Run

RESPONSES, VOTES = 20, 4


def vote(seed: int, prompt: str) -> str:
    return "It was checked.\nVerdict: " + random.Random(f"{seed} {prompt}").choice(["correct", "incorrect"])


def server(**changes: Any) -> FaultServer:
    return FaultServer(say=vote, longest=4000, **changes)


def judged(tmp_path: Path, served: FaultServer, **changes: Any) -> Run:
    """The run of a file of open answers, judged by the server."""
    path = tmp_path / "open.jsonl"
    lines = [{"id": f"r{n}", "question": "Why?", "text": f"Because of {n}."} for n in range(RESPONSES)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    given: dict[str, Any] = dict(
        judge=f"server:{served.url}#{MODEL}", field=("response=text",), workers=1, out=str(tmp_path / "run"),
        votes=VOTES, judge_tokens=16, choices_per_call=VOTES, price="1,2", request_timeout=0.5,
    )  # fmt: skip
    return Run.read(grade(str(path), GradeSettings(**given | changes)))


def votes_in(run: Run) -> list[Judgement]:
    """All votes, after checking that each is there once and its verdict decides as the majority has it."""
    rows = list(run.rows("judgements", Judgement))
    assert Counter(row.key for row in rows) == Counter(
        f"r{n}#{v}" for n in range(RESPONSES) for v in range(VOTES)
    )
    for verdict in run.rows("verdicts", Verdict):
        right = sum(row.correct is True for row in rows if row.response == verdict.key)
        wrong = sum(row.correct is False for row in rows if row.response == verdict.key)
        assert verdict.correct == (None if right == wrong else right > wrong)
    assert run.count("verdicts") == RESPONSES
    return rows


def test_votes_of_one_call_are_different_draws_and_share_the_prompt(tmp_path: Path) -> None:
    with server() as served:
        run = judged(tmp_path, served)
        assert served.calls == RESPONSES and {body["n"] for body in served.bodies} == {VOTES}
    rows = votes_in(run)
    unlike = {row.response for row in rows if row.correct} & {row.response for row in rows if not row.correct}
    assert len(unlike) > RESPONSES / 2
    assert sum(row.prompt_tokens is not None for row in rows) == RESPONSES, "a prompt is paid once a call"
    prompts, written = sum(row.prompt_tokens or 0 for row in rows), 5 * RESPONSES * VOTES
    assert run.summary is not None and run.summary["counts"]["failed"] == 0
    spending = run.summary["spending"]
    assert (spending["prompt_tokens"], spending["completion_tokens"]) == (prompts, written)
    assert spending["usd"] == pytest.approx((prompts + 2 * written) / 1e6)


@pytest.mark.parametrize("choices", [1, VOTES])
@pytest.mark.usefixtures("without_metrics")
def test_a_faulty_server_costs_no_vote_and_doubles_none(tmp_path: Path, choices: int) -> None:
    faults = ["500", "drop-after", "half", "hang", "many", "few"]
    if choices == 1:
        faults.remove("few")  # none of one: no reply at all

    def fault(number: int, body: dict[str, Any]) -> str | None:
        return faults[number // 3 % len(faults)] if number % 3 == 1 else None

    with server(fault=fault) as served:
        run = judged(tmp_path, served, choices_per_call=choices)
        assert served.calls > RESPONSES * VOTES // choices
    rows = votes_in(run)
    assert all(row.correct is not None for row in rows), "what broke off is no vote"
    assert sum(row.calls for row in run.rows("waste", Waste)) >= 5


@pytest.mark.usefixtures("without_metrics")
def test_a_cap_stops_judging_and_a_higher_one_asks_only_for_the_rest(tmp_path: Path) -> None:
    with server() as served:
        with pytest.raises(BudgetSpent, match="--max-usd"):
            judged(tmp_path, served, max_usd=0.002)
        half = Run.read(tmp_path / "run")
        kept = half.count("judgements")
        assert half.summary is None and 0 < kept < RESPONSES * VOTES
        assert sum(row.usd or 0 for row in half.rows("judgements", Judgement)) <= 0.002
        run = judged(tmp_path, served, max_usd=1.0)
        assert sum(body.get("n", 1) for body in served.bodies) == RESPONSES * VOTES, "no vote is paid twice"
    votes_in(run)
