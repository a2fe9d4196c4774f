"""A real llama.cpp server: what it is asked for is what it does."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import llamacpp
import pytest

from upwell.engines.base import Reply, Request, Sampling
from upwell.engines.endpoint import Endpoint
from upwell.engines.server import ServerEngine
from upwell.engines.settings import EngineSettings
from upwell.records import Response
from upwell.runs import Run


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with llamacpp.serving(parallel=2) as served:
        yield served


def asked(count: int, sampling: Sampling, prompt: str = "The", chat: bool = False) -> list[Request]:
    return [
        Request(
            key=str(n), prompt=prompt, add_special_tokens=False, chat=chat, seed=7919 * n, sampling=sampling
        )
        for n in range(count)
    ]


def replies(url: str, requests: list[Request], **changes: object) -> list[Reply]:
    settings = dataclasses.replace(EngineSettings(max_concurrency=4), **changes)  # type: ignore[arg-type]
    found = list(ServerEngine([Endpoint(url)], llamacpp.MODEL, settings=settings).generate(requests))
    assert not [reply.error for reply in found if reply.error]
    return found


def test_its_own_samplers_are_off(url: str) -> None:
    """Left to itself, it keeps the 40 likeliest tokens and those of a twentieth of the best one's probability."""
    hot = asked(80, Sampling(temperature=2.0, max_tokens=1))
    ours = {reply.text for reply in replies(url, hot)}
    its = {reply.text for reply in replies(url, hot, dialect="openai")}
    assert len(ours) > 60 and len(its) < 30


def test_several_choices_of_one_call_are_different_draws(url: str) -> None:
    """A server that gave each choice the same seed would give the same text n times over."""
    hot = asked(8, Sampling(temperature=1.0, max_tokens=12))
    found = replies(url, hot, choices_per_call=2)
    assert len({reply.text for reply in found}) >= 7 and not any(reply.seeded for reply in found)
    assert sum(reply.tokens for reply in found) > 6 * 12, (
        "almost all are as long as they may be, and all count"
    )


def test_log_probabilities_are_those_of_the_model(url: str) -> None:
    for chat in (False, True):
        greedy = asked(1, Sampling(temperature=0, max_tokens=8), "Count from 1 to 9: 1, 2, 3,", chat)
        (sure,) = replies(url, greedy, logprobs=True)
        assert sure.logprob is not None and -3 < sure.logprob < 0 and sure.tokens == 8


def test_measuring_through_a_server_from_the_command_line(url: str, tmp_path: Path) -> None:
    problems = tmp_path / "sums.jsonl"
    rows = [{"id": str(n), "question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(3)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [
        sys.executable, "-c", "from upwell.cli import main; main()", "measure", "--problems", str(problems),
        "--model", f"server:{url}#{llamacpp.MODEL}", "--samples", "4", "--max-tokens", "24", "--max-concurrency", "2",
        "--price", "1,2", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "PassRatio" in done.stdout and "spent: $" in done.stdout
    run = Run.read(tmp_path / "run")
    drawn = list(run.rows("responses", Response))
    assert len(drawn) == 12 and all(row.tokens and row.prompt_tokens and row.usd for row in drawn)
    model = run.manifest["model"]
    assert model["name"] == llamacpp.MODEL and model["chat_template"] == "server"
    assert run.manifest["settings"]["model"] == f"server:{url}#{llamacpp.MODEL}"
