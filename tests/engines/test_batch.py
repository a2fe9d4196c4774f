"""Batches: nothing lost, nothing handed in twice, whatever breaks and whenever we die."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from batch_server import MODEL, BatchServer
from fault_server import babble

from upwell.engines.base import Reply, Request, Sampling
from upwell.engines.batch import BatchEngine
from upwell.engines.endpoint import Endpoint
from upwell.engines.server.wire import seed_of
from upwell.engines.settings import EngineSettings
from upwell.errors import EngineError
from upwell.records import Response
from upwell.runs import Run

QUICK = EngineSettings(batch_rows=8, poll_seconds=0.02, patience=10.0, request_timeout=5.0)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upwell.engines.batch.api._FIRST_PAUSE", 0.01)


def requests(count: int, **changes: Any) -> list[Request]:
    given: dict[str, Any] = dict(add_special_tokens=True, sampling=Sampling(max_tokens=64)) | changes
    return [
        Request(key=f"{n // 4}#{n % 4}", prompt=f"prompt {n // 4}", seed=n, **given) for n in range(count)
    ]


def engine(
    server: BatchServer, folder: Path, settings: EngineSettings = QUICK, **changes: Any
) -> BatchEngine:
    return BatchEngine(Endpoint(server.url, "the-key"), MODEL, settings=settings, folder=folder, **changes)


def right(replies: list[Reply], asked: list[Request]) -> None:
    assert Counter(reply.key for reply in replies) == Counter(request.key for request in asked)
    wanted = {request.key: babble(seed_of(request.seed), request.prompt) for request in asked}
    assert {reply.key: reply.text for reply in replies} == wanted


def test_rows_are_split_over_batches_and_matched_by_id(tmp_path: Path) -> None:
    said: list[str] = []
    with BatchServer() as server:
        right(list(engine(server, tmp_path, say=said.append).generate(requests(50))), requests(50))
        assert len(server.batches) == 7 and set(server.served.values()) == {1}
        assert server.keys == {"Bearer the-key"}
    assert any("handed in: 8 requests" in line for line in said) and any("completed" in line for line in said)
    assert not any("the-key" in path.read_text() for path in tmp_path.iterdir())


def test_a_file_is_split_by_size_too(tmp_path: Path) -> None:
    settings = EngineSettings(batch_rows=1000, batch_mb=0.001, poll_seconds=0.02)
    with BatchServer() as server:
        assert len(list(engine(server, tmp_path, settings).generate(requests(40)))) == 40
        assert len(server.batches) > 5
        sizes = [len(content) for name, content in server.files.values() if name.startswith("upwell-")]
        assert max(sizes) < 1400


def test_chat_and_plain_requests_go_to_their_own_paths(tmp_path: Path) -> None:
    mixed = [r for pair in zip(requests(8), requests(8, chat=True), strict=True) for r in pair]
    mixed = [
        Request(**{f: getattr(r, f) for f in r.__struct_fields__} | {"key": str(n)})
        for n, r in enumerate(mixed)
    ]
    with BatchServer() as server:
        assert len(list(engine(server, tmp_path).generate(mixed))) == 16
        assert {b["endpoint"] for b in server.batches.values()} == {"/v1/completions", "/v1/chat/completions"}


@pytest.mark.parametrize("step", ["upload", "create", "poll", "download"])
@pytest.mark.parametrize("fault", ["500", "drop", "drop-after"])
def test_a_call_that_breaks_is_made_again_but_what_was_done_is_not_done_twice(
    tmp_path: Path, step: str, fault: str
) -> None:
    count = Counter[str]()

    def faulty(what: str) -> str | None:
        count[what] += 1
        return fault if what == step and count[what] % 3 == 1 else None

    with BatchServer(fault=faulty) as server:
        right(list(engine(server, tmp_path).generate(requests(40))), requests(40))
        assert len(server.batches) == 5, "each part is handed in once"
        assert set(server.served.values()) == {1}, "nothing is paid twice"
        inputs = [name for name, _ in server.files.values() if name.startswith("upwell-")]
        assert len(inputs) == len(set(inputs)) == 5


@pytest.mark.parametrize("spoilt", ["error", "missing", "torn", "status-500"])
def test_a_row_without_an_answer_is_asked_again(tmp_path: Path, spoilt: str) -> None:
    seen = Counter[str]()

    def spoil(custom_id: str) -> str | None:
        seen[custom_id] += 1
        return spoilt if seen[custom_id] == 1 and int(custom_id, 16) % 3 == 0 else None

    with BatchServer(spoil=spoil) as server:
        replies = list(engine(server, tmp_path).generate(requests(40)))
        right(replies, requests(40))
        assert set(server.served.values()) == {1} and max(seen.values()) == 2
    assert sum(reply.wasted.calls for reply in replies) == (
        sum(n - 1 for n in seen.values()) if spoilt == "status-500" else 0
    )


def test_a_row_that_never_has_an_answer_is_given_up(tmp_path: Path) -> None:
    first: list[str] = []

    def spoil(custom_id: str) -> str | None:
        first[:] = first or [custom_id]
        return "missing" if custom_id == first[0] else None

    with BatchServer(spoil=spoil) as server:
        replies = list(engine(server, tmp_path).generate(requests(10)))
    errors = [reply.error for reply in replies if reply.error]
    assert len(replies) == 10 and errors == ["came back without an answer 3 times"]


def test_what_an_expired_batch_has_done_is_used_and_the_rest_asked_again(tmp_path: Path) -> None:
    with BatchServer(ends=lambda number: "expired" if number <= 2 else "completed") as server:
        right(list(engine(server, tmp_path).generate(requests(16))), requests(16))
        assert set(server.served.values()) == {1}


def test_a_failed_batch_says_why_and_is_handed_in_anew_next_time(tmp_path: Path) -> None:
    with BatchServer(ends=lambda number: "failed" if number == 1 else "completed") as server:
        with pytest.raises(EngineError, match="line 1 is not to our taste") as caught:
            list(engine(server, tmp_path).generate(requests(4)))
        assert caught.value.hint and "same command again" in caught.value.hint
        right(list(engine(server, tmp_path).generate(requests(4))), requests(4))


def test_a_provider_that_is_gone_ends_the_run_resumably(tmp_path: Path) -> None:
    settings = EngineSettings(batch_rows=8, poll_seconds=0.02, patience=0.3, request_timeout=1.0)
    with BatchServer(fault=lambda step: "500" if step == "poll" else None) as server:
        with pytest.raises(EngineError, match="could not be reached"):
            list(engine(server, tmp_path, settings).generate(requests(16)))
        server.fault = lambda step: None
        right(list(engine(server, tmp_path).generate(requests(16))), requests(16))
        assert len(server.batches) == 2, "what was handed in is collected, not handed in again"


def test_another_run_in_the_same_account_is_not_taken_for_ours(tmp_path: Path) -> None:
    with BatchServer() as server:
        right(list(engine(server, tmp_path / "one").generate(requests(8))), requests(8))
        right(list(engine(server, tmp_path / "two").generate(requests(8))), requests(8))
        assert len(server.batches) == 2


def test_settled_parts_are_not_looked_at_again(tmp_path: Path) -> None:
    with BatchServer() as server:
        list(engine(server, tmp_path).generate(requests(24)))
        steps = Counter(server.steps)
        assert list(engine(server, tmp_path).generate([])) == []
        assert server.steps == steps
        states = [json.loads(path.read_text())["state"] for path in tmp_path.glob("0*.json")]
        assert states == ["settled"] * 3


def upwell(out: Path, problems: Path, server: BatchServer) -> list[str]:
    return [
        sys.executable, "-c", "from upwell.cli import main; main()", "sample", "--problems", str(problems),
        "--samples", "10", "--prompt", "plain", "--model", f"batch:{server.url}#{MODEL}", "--batch-rows", "16",
        "--poll-seconds", "0.02", "--max-tokens", "64", "--out", str(out),
    ]  # fmt: skip


def died(command: list[str], server: BatchServer, step: str, pause: float) -> None:
    """Run the command and kill it right after the provider has done a step, recorded or not."""
    before, late = server.steps[step], time.monotonic() + 60
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
        while server.steps[step] == before and child.poll() is None:
            assert time.monotonic() < late, f"no {step} within a minute"
            time.sleep(0.001)
        time.sleep(pause)
        child.kill()
        _, said = child.communicate()
    assert child.returncode in (-signal.SIGKILL, 0), said.decode()


def test_killed_at_every_step_and_finished(tmp_path: Path) -> None:
    rows = [{"id": f"p{n}", "question": f"{n} + {n}?", "answer": str(2 * n)} for n in range(12)]
    problems = tmp_path / "sums.jsonl"
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, draw = tmp_path / "run", random.Random(3)
    with BatchServer(seconds=0.2) as server:
        command = upwell(out, problems, server)
        kills = 0
        for number in range(14):
            if out.exists() and (out / "summary.json").exists():
                break
            died(
                command,
                server,
                ("upload", "create", "poll", "download")[number % 4],
                draw.choice([0, 0.002, 0.01]),
            )
            kills += 1
        assert kills >= 8, "too quick to be killed often"
        assert subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
        run = Run.read(out)
        assert len(run.keys("responses")) == run.count("responses") == 120
        assert run.count("failures") == 0 and run.summary is not None
        assert sum(server.served.values()) == 120 and set(server.served.values()) == {1}, (
            "no row is paid twice"
        )
        names = [batch["metadata"]["upwell"] for batch in server.batches.values()]
        assert len(names) == len(set(names)), "no batch is handed in twice"
        assert {row.tokens for row in run.rows("responses", Response)} - {None}
    assert os.listdir(out / "batches")
