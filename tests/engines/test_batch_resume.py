"""Batches over several sessions: what was handed in is collected, what was paid for is used, whenever we died."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from batch_server import MODEL, QUICK, BatchServer, batch_engine, requests, right

from upwell.engines.base import Reply, Request
from upwell.engines.batch.api import Api, Transient
from upwell.errors import EngineError
from upwell.records import Response
from upwell.runs import Run


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upwell.engines.batch.api._FIRST_PAUSE", 0.01)
    monkeypatch.setattr("upwell.engines.batch.api._SHOWS_AFTER", 0.5)


def hand_in(server: BatchServer, folder: Path, asked: list[Request]) -> None:
    """A session that dies once its batches are with the provider, which takes its time."""
    server.seconds = 3600.0

    def gone() -> Iterator[Request]:
        yield from asked
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(batch_engine(server, folder).generate(gone()))
    server.seconds = 0.0


def test_a_session_that_asks_for_less_loses_nothing_of_what_was_paid(tmp_path: Path) -> None:
    """As when a cap lets through only a few at first, or --limit was lowered for once."""
    with BatchServer() as server:
        hand_in(server, tmp_path, requests(24))
        assert len(server.batches) == 3
        few = [requests(24)[n] for n in (3, 9, 10)]
        right(list(batch_engine(server, tmp_path).generate(few)), few)
        rest = [request for n, request in enumerate(requests(24)) if n not in (3, 9, 10)]
        right(list(batch_engine(server, tmp_path).generate(rest)), rest)
        assert len(server.batches) == 3 and set(server.served.values()) == {1}


def test_a_source_that_decides_by_the_replies_loses_nothing_of_what_was_paid(tmp_path: Path) -> None:
    answered: list[Reply] = []

    def hesitant() -> Iterator[Request | None]:
        for number, request in enumerate(requests(30)):
            while len(answered) < number:
                yield None
            yield request

    with BatchServer() as server:
        hand_in(server, tmp_path, requests(24))
        for reply in batch_engine(server, tmp_path).generate(hesitant()):
            answered.append(reply)
        right(answered, requests(30))
        assert set(server.served.values()) == {1} and len(server.served) == 30


@pytest.mark.parametrize("taken", [1, 5, 8, 13])
def test_replies_that_were_not_stored_come_again_from_the_files(tmp_path: Path, taken: int) -> None:
    with BatchServer() as server:
        stored: list[Reply] = []
        with closing(batch_engine(server, tmp_path).generate(requests(24))) as going:  # type: ignore[type-var]
            for reply in going:
                if len(stored) == taken - 1:
                    break  # taken, but not stored: the generator never went on
                stored.append(reply)
        keys = {reply.key for reply in stored}
        owed = [request for request in requests(24) if request.key not in keys]
        right(stored + list(batch_engine(server, tmp_path).generate(owed)), requests(24))
        assert len(server.batches) == 3 and set(server.served.values()) == {1}


def test_a_request_with_another_body_is_not_answered_by_an_old_batch(tmp_path: Path) -> None:
    with BatchServer() as server:
        hand_in(server, tmp_path, requests(8))
        changed = [
            Request(**{f: getattr(r, f) for f in r.__struct_fields__} | {"seed": r.seed + 100})
            for r in requests(8)
        ]
        right(list(batch_engine(server, tmp_path).generate(changed)), changed)
        right(list(batch_engine(server, tmp_path).generate(requests(8))), requests(8))
        assert len(server.batches) == 2


def test_a_failure_that_was_given_is_asked_anew_next_time(tmp_path: Path) -> None:
    broken = True

    with BatchServer(spoil=lambda custom_id: "missing" if broken else None) as server:
        replies = list(batch_engine(server, tmp_path).generate(requests(8)))
        assert all(reply.error for reply in replies) and len(server.batches) == 3
        broken = False
        right(list(batch_engine(server, tmp_path).generate(requests(8))), requests(8))


def test_an_empty_account_ends_the_run_and_the_rest_is_had_once_it_is_filled(tmp_path: Path) -> None:
    poor = True

    def spoil(custom_id: str) -> str | None:
        return "quota" if poor and int(custom_id, 16) % 2 else None

    with BatchServer(spoil=spoil) as server:
        stored: list[Reply] = []
        with pytest.raises(EngineError, match="pay first") as caught:
            for reply in batch_engine(server, tmp_path).generate(requests(8)):
                stored.append(reply)
        assert caught.value.hint and "money" in caught.value.hint
        assert stored and not any(reply.error for reply in stored), "what was answered is had first"
        poor = False
        keys = {reply.key for reply in stored}
        owed = [request for request in requests(8) if request.key not in keys]
        right(stored + list(batch_engine(server, tmp_path).generate(owed)), requests(8))
        assert set(server.served.values()) == {1}


def test_a_batch_that_the_provider_has_lost_is_named_with_the_way_out(tmp_path: Path) -> None:
    with BatchServer() as server:
        hand_in(server, tmp_path, requests(8))
        server.batches.clear()
        with pytest.raises(EngineError, match="batches/batch_1") as caught:
            list(batch_engine(server, tmp_path).generate(requests(8)))
        assert caught.value.hint is not None
        subprocess.run(caught.value.hint.partition(": ")[2], shell=True, check=True)
        right(list(batch_engine(server, tmp_path).generate(requests(8))), requests(8))


def sampling(out: Path, problems: Path, server: BatchServer) -> list[str]:
    return [
        sys.executable, "-c", "from upwell.cli import main; main()", "sample", "--problems", str(problems),
        "--samples", "10", "--prompt", "plain", "--model", f"batch:{server.url}#{MODEL}", "--batch-rows", "16",
        "--poll-seconds", "0.1", "--max-tokens", "64", "--out", str(out),
    ]  # fmt: skip


KILLS = [
    ("upload", 1, 0.0), ("create", 1, 0.0), ("create", 2, 0.0), ("create", 1, 0.02), ("upload", 1, 0.02),
    ("create", 1, 0.0), ("upload", 1, 0.0), ("create", 1, 0.01), ("poll", 2, 0.0), ("poll", 1, 0.01),
    ("download", 1, 0.0), ("download", 1, 0.005), ("download", 2, 0.0), ("download", 1, 0.02), ("download", 1, 0.01),
    ("download", 2, 0.02),
]  # fmt: skip
"""After which step, its how manieth, and how many seconds later. With 0 the provider has done it, and the child is
dead before it hears of that. Steps that hand in come first: all is handed in before the first batch is done."""


def killed(command: list[str], server: BatchServer, step: str, count: int, pause: float) -> bool:
    """Run the command until it is killed. Returns whether it was; else it had ended.

    From the step on nothing more is answered, so that a machine's speed does not decide whether the child outlives the
    pause: what it asks for meanwhile is done, and it never hears of that.
    """
    left, children, told = count, list[subprocess.Popen[bytes]](), threading.Lock()

    def after(done: str) -> None:
        nonlocal left
        with told:
            late = left <= 0
            left -= done == step
            struck = not late and left <= 0
        if struck and pause:
            threading.Timer(pause, children[0].kill).start()
        elif struck:
            children[0].kill()
        if late or (struck and not pause):
            children[0].wait()

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
        children.append(child)
        server.after = after
        _, said = child.communicate()
    server.after = lambda step: None
    assert child.returncode in (-signal.SIGKILL, 0), said.decode()
    return child.returncode != 0


def test_killed_at_every_step_and_finished(tmp_path: Path) -> None:
    rows = [{"id": f"p{n}", "question": f"{n} + {n}?", "answer": str(2 * n)} for n in range(48)]
    problems, out = tmp_path / "sums.jsonl", tmp_path / "run"
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    draw = random.Random(3)
    with BatchServer(seconds=0.05) as server:
        command = sampling(out, problems, server)
        for step, count, pause in KILLS:
            struck = killed(command, server, step, count, pause and pause * draw.uniform(0.5, 1.5))
            assert struck, f"it ended before {step} {count}: {server.steps}"
        assert subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
        run = Run.read(out)
        assert len(run.keys("responses")) == run.count("responses") == 480, "none lost, none twice"
        assert run.count("failures") == 0 and run.summary is not None
        assert len(server.served) == 480 and set(server.served.values()) == {1}, "no row is paid twice"
        names = [batch["metadata"]["upwell"] for batch in server.batches.values()]
        assert len(names) == len(set(names)), "no batch is handed in twice"
        assert all(row.tokens for row in run.rows("responses", Response))


def test_while_it_cannot_be_told_whether_a_batch_was_made_none_is_made_anew(tmp_path: Path) -> None:
    count = Counter[str]()

    def faulty(what: str) -> str | None:
        count[what] += 1
        if what == "list":
            return "400"
        return "drop-after" if (what, count[what]) == ("create", 1) else None

    with BatchServer(fault=faulty) as server:
        for _ in range(2):
            with pytest.raises(EngineError, match="HTTP 400"):
                list(batch_engine(server, tmp_path).generate(requests(8)))
        server.fault = lambda step: None
        right(list(batch_engine(server, tmp_path).generate(requests(8))), requests(8))
        assert len(server.batches) == 1


def test_a_batch_that_comes_to_be_after_its_maker_died_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider may still be at a call whose sender is dead, and the command may be run again at once."""
    count = Counter[str]()

    def once(_: Api, make: Callable[[], str], *rest: object, **named: object) -> str:
        try:
            return make()
        except Transient:
            raise KeyboardInterrupt from None

    def faulty(what: str) -> str | None:
        count[what] += 1
        return "drop-late" if (what, count[what]) == ("create", 1) else None

    with BatchServer(fault=faulty, late=0.3) as server:
        with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
            dying.setattr(Api, "once", once)
            list(batch_engine(server, tmp_path).generate(requests(8)))
        patient = batch_engine(server, tmp_path, replace(QUICK, poll_seconds=1.0))
        right(list(patient.generate(requests(8))), requests(8))
        time.sleep(server.late)
        assert len(server.batches) == 1


def test_patience_is_counted_from_the_first_failure(tmp_path: Path) -> None:
    """One upload alone may take longer than a provider may be gone."""
    count = Counter[str]()

    def slow(what: str) -> str | None:
        count[what] += 1
        if (what, count[what]) == ("upload", 1):
            time.sleep(0.6)
            return "500"
        return None

    with BatchServer(fault=slow) as server:
        hasty = replace(QUICK, patience=0.5)
        right(list(batch_engine(server, tmp_path, hasty).generate(requests(8))), requests(8))
