"""Batches of one run that several askers share: caps that let through a few at a time, a judge beside a verifier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from batch_server import MODEL, BatchServer
from fault_server import babble

from upwell.engines.base import Request, Sampling
from upwell.engines.batch import BatchEngine
from upwell.engines.batch.api import Api, Refused
from upwell.engines.endpoint import Endpoint
from upwell.engines.server.wire import seed_of
from upwell.engines.settings import EngineSettings
from upwell.engines.spending import Metered
from upwell.errors import EngineError

SETTINGS = EngineSettings(batch_rows=8, poll_seconds=0.02)
TOO_LONG = "x " * 200


def asked(count: int) -> list[Request]:
    return [
        Request(key=f"#{n}", prompt=f"prompt {n}", add_special_tokens=True, seed=n, sampling=Sampling())
        for n in range(count)
    ]


def opened(server: BatchServer, folder: Path, model: str = MODEL) -> BatchEngine:
    return BatchEngine(Endpoint(server.url), model, settings=SETTINGS, folder=folder)


def hand_in(engine: BatchEngine, requests: list[Request]) -> None:
    """A session that ends once three batches are with the provider."""

    def ending() -> Iterator[Request]:
        yield from requests
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(engine.generate(ending()))


def test_a_cap_that_lets_through_a_few_at_a_time_throws_nothing_away(tmp_path: Path) -> None:
    with BatchServer(seconds=3600) as server:
        hand_in(opened(server, tmp_path), asked(24))
        assert len(server.batches) == 3
        server.seconds = 0
        cap = EngineSettings(max_total_tokens=2000)  # less than three responses of 512 tokens at first
        replies = list(Metered(opened(server, tmp_path), price=None, settings=cap).generate(asked(24)))
        assert {r.key: r.text for r in replies} == {
            r.key: babble(seed_of(r.seed), r.prompt) for r in asked(24)
        }
        assert len(replies) == 24 and len(server.batches) == 3 and set(server.served.values()) == {1}


def test_two_models_in_one_folder_leave_each_others_batches_alone(tmp_path: Path) -> None:
    with BatchServer(seconds=3600) as server, BatchServer() as other:
        hand_in(opened(server, tmp_path), asked(24))
        assert len(list(opened(other, tmp_path, "verifier").generate(asked(24)))) == 24
        server.seconds = 0
        assert len(list(opened(server, tmp_path).generate(asked(24)))) == 24
        assert len(server.batches) == len(other.batches) == 3
        assert set(server.served.values()) == {1} == set(other.served.values())


def test_a_refusal_that_was_told_is_tried_again_and_what_was_answered_is_not(tmp_path: Path) -> None:
    bad: dict[str, Any] = dict(add_special_tokens=True, sampling=Sampling(), seed=1)
    mixed = [*asked(6), *(Request(key=f"bad{n}", prompt=TOO_LONG, **bad) for n in range(2))]
    with BatchServer() as server:
        with closing(opened(server, tmp_path).generate(mixed)) as going:  # type: ignore[type-var]
            next(going)
        replies = list(opened(server, tmp_path).generate(mixed))
        assert sorted(r.key for r in replies) == sorted(r.key for r in mixed)
        assert {r.key for r in replies if r.error} == {"bad0", "bad1"}
        assert set(server.served.values()) == {1} and len(server.served) == 6
        assert [b["request_counts"]["total"] for b in server.batches.values()] == [8, 2]


def test_a_file_that_is_turned_down_is_split_anew_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is larger than the provider takes: the same file again would be turned down for ever."""

    def turned_down(*_: object) -> str:
        raise Refused("HTTP 413: too large", gone=False)

    with BatchServer() as server:
        with monkeypatch.context() as patched:
            patched.setattr(Api, "upload", turned_down)
            with pytest.raises(EngineError, match="413") as caught:
                list(opened(server, tmp_path).generate(asked(8)))
        assert caught.value.hint and "--batch-mb" in caught.value.hint
        smaller = EngineSettings(batch_rows=4, poll_seconds=0.02)
        engine = BatchEngine(Endpoint(server.url), MODEL, settings=smaller, folder=tmp_path)
        assert len(list(engine.generate(asked(8)))) == 8
        assert len(server.batches) == 2 and set(server.served.values()) == {1}
