"""Batches: nothing lost, nothing handed in twice, nothing paid twice, whatever breaks on the way."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from batch_server import QUICK, BatchServer, batch_engine, requests, right

from upwell.engines.base import Request
from upwell.engines.endpoint import Endpoint
from upwell.engines.settings import EngineSettings
from upwell.errors import EngineError, StorageError, UsageError


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upwell.engines.batch.api._FIRST_PAUSE", 0.01)
    monkeypatch.setattr("upwell.engines.batch.api._SHOWS_AFTER", 0.01)


def test_rows_are_split_over_batches_and_matched_by_id(tmp_path: Path) -> None:
    said: list[str] = []
    with BatchServer() as server:
        right(list(batch_engine(server, tmp_path, say=said.append).generate(requests(50))), requests(50))
        assert len(server.batches) == 7 and set(server.served.values()) == {1}
        assert server.keys == {"Bearer the-key"}
    assert any("handed in: 8 requests" in line for line in said) and any("completed" in line for line in said)
    assert not any("the-key" in path.read_text() for path in tmp_path.iterdir())


def test_a_file_is_split_by_size_too(tmp_path: Path) -> None:
    settings = EngineSettings(batch_rows=1000, batch_mb=0.001, poll_seconds=0.02)
    with BatchServer() as server:
        assert len(list(batch_engine(server, tmp_path, settings).generate(requests(40)))) == 40
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
        assert len(list(batch_engine(server, tmp_path).generate(mixed))) == 16
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
        right(list(batch_engine(server, tmp_path).generate(requests(40))), requests(40))
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
        replies = list(batch_engine(server, tmp_path).generate(requests(40)))
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
        replies = list(batch_engine(server, tmp_path).generate(requests(10)))
    errors = [reply.error for reply in replies if reply.error]
    assert len(replies) == 10 and errors == ["came back without an answer 3 times"]


def test_what_an_expired_batch_has_done_is_used_and_the_rest_asked_again(tmp_path: Path) -> None:
    with BatchServer(ends=lambda number: "expired" if number <= 2 else "completed") as server:
        right(list(batch_engine(server, tmp_path).generate(requests(16))), requests(16))
        assert set(server.served.values()) == {1}


def test_a_failed_batch_says_why_and_is_handed_in_anew_next_time(tmp_path: Path) -> None:
    with BatchServer(ends=lambda number: "failed" if number == 1 else "completed") as server:
        with pytest.raises(EngineError, match="line 1 is not to our taste") as caught:
            list(batch_engine(server, tmp_path).generate(requests(4)))
        assert caught.value.hint and "same command again" in caught.value.hint
        right(list(batch_engine(server, tmp_path).generate(requests(4))), requests(4))


def test_a_provider_that_is_gone_ends_the_run_resumably(tmp_path: Path) -> None:
    settings = EngineSettings(batch_rows=8, poll_seconds=0.02, patience=0.3, request_timeout=1.0)
    with BatchServer(fault=lambda step: "500" if step == "poll" else None) as server:
        with pytest.raises(EngineError, match="could not be reached"):
            list(batch_engine(server, tmp_path, settings).generate(requests(16)))
        server.fault = lambda step: None
        right(list(batch_engine(server, tmp_path).generate(requests(16))), requests(16))
        assert len(server.batches) == 2, "what was handed in is collected, not handed in again"


def test_another_run_in_the_same_account_is_not_taken_for_ours(tmp_path: Path) -> None:
    with BatchServer() as server:
        right(list(batch_engine(server, tmp_path / "one").generate(requests(8))), requests(8))
        right(list(batch_engine(server, tmp_path / "two").generate(requests(8))), requests(8))
        assert len(server.batches) == 2


def test_settled_parts_are_not_looked_at_again(tmp_path: Path) -> None:
    with BatchServer() as server:
        list(batch_engine(server, tmp_path).generate(requests(24)))
        steps = Counter(server.steps)
        assert list(batch_engine(server, tmp_path).generate([])) == []
        assert server.steps == steps
        states = [json.loads(path.read_text())["state"] for path in tmp_path.glob("0*.json")]
        assert states == ["settled"] * 3


def test_no_file_has_more_rows_than_it_may_whatever_is_asked_again(tmp_path: Path) -> None:
    seen = Counter[str]()

    def spoil(custom_id: str) -> str | None:
        seen[custom_id] += 1
        return "missing" if seen[custom_id] == 1 and int(custom_id, 16) % 4 else None

    with BatchServer(spoil=spoil) as server:
        right(list(batch_engine(server, tmp_path).generate(requests(100))), requests(100))
        rows = [content.count(b"\n") for name, content in server.files.values() if name.startswith("upwell-")]
        assert max(rows) == 8 and sum(rows) > 100


def test_what_no_one_asked_is_ignored_and_of_two_answers_the_first_counts(tmp_path: Path) -> None:
    noise = b'{"custom_id": "dead", "response": {"status_code": 200, "body": {}}}\n' * 20_000
    said: list[str] = []
    with BatchServer(more=(noise, b'{"custom_id": [1]}\n\xff\xfe\n' + b"[" * 100_000)) as server:
        engine = batch_engine(server, tmp_path, replace(QUICK, batch_rows=50), say=said.append)
        going = engine.generate(requests(50))
        right(list(going), requests(50))
        assert "batch 1: 20,000 lines of its output answer nothing that was asked" in said
        assert "batch 1: 3 lines of its output cannot be read" in said

        again = server.files["file-output-1"][1].splitlines(keepends=True)[20_000:20_050]
        changed = [line.replace(b'"text": "', b'"text": "wrong ') for line in again]
        assert changed != again
        server.more = (b"", b"".join(changed))
        right(list(batch_engine(server, tmp_path, say=said.append).generate(requests(50)[:8])), requests(8))
        assert any(line.startswith("batch 2: 8 lines of its output answer") for line in said)


def test_the_same_request_twice_at_once_has_two_replies(tmp_path: Path) -> None:
    with BatchServer() as server:
        replies = list(batch_engine(server, tmp_path).generate(requests(6) + requests(6) + requests(6)))
    assert Counter(reply.key for reply in replies) == Counter(request.key for request in requests(6) * 3)
    assert len({(reply.key, reply.text) for reply in replies}) == 6


def test_a_full_queue_at_the_provider_is_waited_out(tmp_path: Path) -> None:
    with BatchServer(
        ends=lambda number: "busy" if number in (2, 4, 5) else "completed", seconds=0.3
    ) as server:
        right(list(batch_engine(server, tmp_path).generate(requests(60))), requests(60))
        assert set(server.served.values()) == {1}
    with (
        BatchServer(ends=lambda number: "busy") as server,
        pytest.raises(EngineError, match="taste") as caught,
    ):
        list(batch_engine(server, tmp_path).generate(requests(8)))
    assert caught.value.hint and "--batch-rows" in caught.value.hint


def test_while_the_source_has_nothing_the_provider_is_not_asked_more_often(tmp_path: Path) -> None:
    settings = replace(QUICK, poll_seconds=0.15)
    answered: list[str] = []

    def hesitant() -> Iterator[Request | None]:
        for number, request in enumerate(requests(24)):
            while len(answered) < number - 7:
                yield None
            yield request

    begun = time.monotonic()
    with BatchServer(seconds=0.4) as server:
        for reply in batch_engine(server, tmp_path, settings).generate(hesitant()):
            answered.append(reply.key)
        rounds = (time.monotonic() - begun) / settings.poll_seconds
        assert len(answered) == 24
        assert server.steps["poll"] <= (rounds + 1) * 4, "up to four batches are looked at in each round"


def test_a_batch_that_is_created_after_the_call_broke_is_not_created_again(tmp_path: Path) -> None:
    count = Counter[str]()

    def faulty(what: str) -> str | None:
        count[what] += 1
        return "drop-late" if (what, count[what]) == ("create", 1) else None

    with BatchServer(fault=faulty, late=0.15) as server:
        settings = replace(QUICK, poll_seconds=1.0)  # also how long such a call is waited for
        right(list(batch_engine(server, tmp_path, settings).generate(requests(8))), requests(8))
        assert len(server.batches) == 1


def test_other_programs_batches_are_passed_over(tmp_path: Path) -> None:
    count = Counter[str]()

    def faulty(what: str) -> str | None:
        count[what] += 1
        return "drop-after" if what == "create" and count[what] == 1 else None

    with BatchServer(fault=faulty) as server:
        server.foreign = [
            {"id": "b1", "metadata": {"upwell": 5}, "status": None},
            {"id": "b2", "metadata": "none", "request_counts": "many", "errors": []},
            {"id": "b3", "metadata": None, "input_file_id": ["x"]},
        ]
        right(list(batch_engine(server, tmp_path).generate(requests(8))), requests(8))
        assert len(server.batches) == 1


def test_a_download_that_breaks_off_is_made_again(tmp_path: Path) -> None:
    count = Counter[str]()

    def faulty(what: str) -> str | None:
        count[what] += 1
        return "half" if what == "download" and count[what] % 2 else None

    with BatchServer(fault=faulty) as server:
        right(list(batch_engine(server, tmp_path).generate(requests(24))), requests(24))
        assert set(server.served.values()) == {1} and count["download"] == 6


def test_an_output_without_end_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upwell.engines.batch.api._LARGEST_ROW", 20)
    with BatchServer() as server, pytest.raises(EngineError, match="answers 8 requests"):
        list(batch_engine(server, tmp_path).generate(requests(8)))


def test_an_output_that_cannot_be_written_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "000001-output.part").mkdir(parents=True)
    with BatchServer() as server:
        with pytest.raises(StorageError, match=r"000001-output\.part"):
            list(batch_engine(server, tmp_path).generate(requests(8)))
        (tmp_path / "000001-output.part").rmdir()
        right(list(batch_engine(server, tmp_path).generate(requests(8))), requests(8))
        assert len(server.batches) == 1


@pytest.mark.parametrize(
    ("status", "hint"), [("401", "--key-env"), ("404", "--model server:URL#NAME")], ids=["key", "address"]
)
def test_a_provider_that_will_not_have_us_ends_the_run_with_a_hint(
    tmp_path: Path, status: str, hint: str
) -> None:
    with BatchServer(fault=lambda step: status) as server, pytest.raises(EngineError, match=status) as caught:
        list(batch_engine(server, tmp_path).generate(requests(4)))
    assert caught.value.hint and hint in caught.value.hint
    assert "the-key" not in str(caught.value)


def test_a_password_in_the_url_goes_into_a_header_and_nowhere_else(tmp_path: Path) -> None:
    from upwell.engines.batch import BatchEngine

    said: list[str] = []
    with BatchServer() as server:
        endpoint = Endpoint(server.url.replace("//", "//ada:love%40lace@") + "?token=hush")
        engine = BatchEngine(endpoint, "tiny", settings=QUICK, folder=tmp_path, say=said.append)
        right(list(engine.generate(requests(8))), requests(8))
        assert server.keys == {"Basic YWRhOmxvdmVAbGFjZQ=="}
        server.fault = lambda step: "500"
        with pytest.raises(EngineError) as caught:
            list(
                BatchEngine(
                    endpoint, "tiny", settings=replace(QUICK, patience=0.1), folder=tmp_path
                ).generate(requests(8))
            )
    written = [path.read_text() for path in tmp_path.iterdir() if path.is_file()]
    assert not [
        text
        for text in (*written, *said, str(caught.value), engine.identity)
        if "love" in text or "hush" in text
    ]


def test_two_at_once_in_one_folder_are_refused(tmp_path: Path) -> None:
    with BatchServer() as server:
        first = batch_engine(server, tmp_path).generate(requests(8))
        next(first)
        with pytest.raises(UsageError, match="already open for writing"):
            next(batch_engine(server, tmp_path).generate(requests(8)))
        assert len(list(first)) == 7
