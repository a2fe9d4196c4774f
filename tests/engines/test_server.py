"""The server engine against a server that does everything wrong that a server can do."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fault_server import FAULTS, MODEL, FaultServer, babble

from upwell.engines.base import Reply, Request, Sampling
from upwell.engines.endpoint import Endpoint
from upwell.engines.server import ServerEngine, server_identity
from upwell.engines.server.wire import parse, seed_of
from upwell.engines.settings import EngineSettings
from upwell.errors import EngineError, UsageError

QUICK = EngineSettings(request_timeout=1.0, patience=20.0)


def requests(count: int, per_prompt: int = 8, **changes: Any) -> list[Request]:
    given: dict[str, Any] = dict(add_special_tokens=True, sampling=Sampling(max_tokens=64)) | changes
    return [
        Request(
            key=f"{n // per_prompt}#{n % per_prompt}", prompt=f"prompt {n // per_prompt}", seed=n, **given
        )
        for n in range(count)
    ]


def engine(*servers: FaultServer, settings: EngineSettings = QUICK, **changes: Any) -> ServerEngine:
    return ServerEngine([Endpoint(server.url) for server in servers], MODEL, settings=settings, **changes)


def right(replies: list[Reply], asked: list[Request]) -> None:
    """Every request has exactly one reply, and it is its own."""
    assert Counter(reply.key for reply in replies) == Counter(request.key for request in asked)
    wanted = {request.key: babble(seed_of(request.seed), request.prompt) for request in asked}
    assert {reply.key: reply.text for reply in replies} == wanted


def now_and_then(name: str, every: int = 7) -> Callable[[int, Any], str | None]:
    return lambda number, body: name if number % every == 3 else None


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("choices", [1, 4])
def test_a_fault_loses_nothing_and_repeats_nothing(fault: str, choices: int) -> None:
    asked = requests(120)
    settings = EngineSettings(request_timeout=0.4, patience=20.0, choices_per_call=choices)
    with FaultServer(fault=now_and_then(fault), latency=0.002) as server:
        replies = list(engine(server, settings=settings).generate(asked))
        assert Counter(reply.key for reply in replies) == Counter(request.key for request in asked)
        assert not [reply.error for reply in replies if reply.error]
        if choices == 1 and fault not in ("many", "duplicate", "few"):
            right(replies, asked)
        wasted = sum(reply.wasted.calls for reply in replies)
        spoilt = server.calls - sum(server.served.values())
        if fault in ("few", "many", "duplicate"):
            assert wasted <= spoilt, "what they gave of use was used"
        else:
            assert wasted == spoilt > 0, "every call for nothing is counted, and no other"


def test_tokens_of_calls_for_nothing_are_counted_where_they_are_told() -> None:
    with FaultServer(fault=now_and_then("unknown-finish")) as server:
        replies = list(engine(server).generate(requests(30)))
    wasted = [reply.wasted for reply in replies if reply.wasted.calls]
    assert wasted and all(
        w.prompt_tokens == 2 * w.calls and w.completion_tokens >= 5 * w.calls for w in wasted
    )


def test_what_always_goes_wrong_is_answered_with_an_error_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upwell.engines.server.dispatch._FIRST_BACKOFF", 0.01)

    def fault(number: int, body: dict[str, Any]) -> str | None:
        return "500" if body["prompt"] == "prompt 1" else None

    asked = requests(9, per_prompt=3)
    with FaultServer(fault=fault) as server:
        found = {reply.key: reply for reply in engine(server, settings=EngineSettings()).generate(asked)}
    assert len(found) == 9
    for key, reply in found.items():
        if key.startswith("1#"):
            assert reply.error is not None and "8 calls went wrong" in reply.error and "500" in reply.error
            assert reply.wasted.calls == 8
        else:
            assert reply.error is None


def test_a_server_that_spoils_everything_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upwell.engines.server.dispatch._FIRST_BACKOFF", 0.001)
    with (
        FaultServer(fault=lambda number, body: "500") as server,
        pytest.raises(EngineError, match="20 prompts in a row went wrong") as caught,
    ):
        list(engine(server).generate(requests(400)))
    assert "something broke" in str(caught.value)


@pytest.mark.parametrize("fault", ["filter", "huge", "deep"])
def test_one_bad_reply_does_no_harm(fault: str) -> None:
    asked = requests(24)
    with FaultServer(fault=lambda number, body: fault if number == 5 else None) as server:
        replies = list(engine(server, settings=EngineSettings(patience=20)).generate(asked))
    assert len(replies) == 24
    errors = [reply.error for reply in replies if reply.error]
    if fault == "filter":
        assert len(errors) == 1 and "not to be spoken of" in errors[0], "a refusal is an answer"
    else:
        assert not errors, "a malformed reply is asked for again"


def test_a_restart_in_the_middle_is_survived() -> None:
    asked = requests(600)
    said: list[str] = []
    with FaultServer(latency=0.005) as server:
        replies = []
        for number, reply in enumerate(engine(server, say=said.append).generate(asked)):
            replies.append(reply)
            if number == 200:
                server.vanish()
                threading.Timer(0.7, server.listen).start()
        right(replies, asked)
    assert any("is down" in line for line in said) and any("answers again" in line for line in said)


def test_a_server_that_is_gone_for_good_ends_the_run_with_what_is_there() -> None:
    asked = requests(600)
    replies = []
    with (
        FaultServer(latency=0.005) as server,
        pytest.raises(EngineError, match="could not be reached") as caught,
    ):
        settings = EngineSettings(patience=0.8)
        for number, reply in enumerate(engine(server, settings=settings).generate(asked)):
            replies.append(reply)
            if number == 200:
                server.vanish()
    assert 200 < len(replies) < 600 and len({reply.key for reply in replies}) == len(replies)
    assert caught.value.hint and "same command again" in caught.value.hint


def test_a_server_that_is_not_there_yet_is_waited_for() -> None:
    asked = requests(8)
    with FaultServer() as server:
        server.vanish()
        threading.Timer(0.5, server.listen).start()
        right(list(engine(server).generate(asked)), asked)
        server.vanish()
        with pytest.raises(EngineError, match=r"could not be reached for 0\.5 s"):
            list(engine(server, settings=EngineSettings(patience=0.5)).generate(asked))


def test_a_gateway_whose_server_restarts_uses_no_attempts_up() -> None:
    """A minute of 502 is no fault of the requests that met it."""
    asked = requests(200)
    down = False
    with FaultServer(fault=lambda number, body: "502" if down else None, latency=0.005) as server:
        replies = []
        for number, reply in enumerate(engine(server).generate(asked)):
            replies.append(reply)
            if number == 60:
                down = True

                def back() -> None:
                    nonlocal down
                    down = False

                threading.Timer(2.0, back).start()
        right(replies, asked)
        met = sum(reply.wasted.calls for reply in replies)
        assert 8 <= met < 60, "it is probed, not stormed"


def test_patience_does_not_end_while_a_call_is_being_answered() -> None:
    """The first response after a restart may take longer than anybody's patience."""
    asked = requests(4, per_prompt=1)
    with FaultServer() as server:
        subject = engine(server, settings=EngineSettings(patience=1.2))
        right(list(subject.generate(asked)), asked)  # it is known now
        server.vanish()
        server.latency = 2.5
        threading.Timer(0.3, server.listen).start()
        right(list(subject.generate(asked)), asked)


def test_one_of_two_servers_dies_and_its_work_goes_to_the_other() -> None:
    asked = requests(800)
    with FaultServer(latency=0.004) as first, FaultServer(latency=0.004) as second:
        replies = []
        for number, reply in enumerate(engine(first, second).generate(asked)):
            replies.append(reply)
            if number == 150:
                first.vanish()
        right(replies, asked)
        assert first.calls > 30 and second.calls > 500


def test_the_faster_of_two_servers_gets_more() -> None:
    with FaultServer(latency=0.05, knee=4) as slow, FaultServer(latency=0.05, knee=24) as fast:
        replies = list(engine(slow, fast).generate(requests(1000)))
        assert len(replies) == 1000 and fast.calls > 1.5 * slow.calls


def test_draws_of_one_prompt_go_to_one_server() -> None:
    with FaultServer(latency=0.01) as first, FaultServer(latency=0.01) as second:
        settings = EngineSettings(max_concurrency=32)
        list(engine(first, second, settings=settings).generate(requests(400, per_prompt=8)))
        both = {body["prompt"] for body in first.bodies} & {body["prompt"] for body in second.bodies}
        assert first.calls and second.calls and len(both) < 25, "most of 50 prompts are at one of them"


def test_several_responses_in_one_call_share_the_prompt() -> None:
    asked = requests(96, per_prompt=8)
    settings = EngineSettings(choices_per_call=8)
    with FaultServer() as server:
        replies = list(engine(server, settings=settings).generate(asked))
        assert server.calls == 12 and {body["n"] for body in server.bodies} == {8}
    assert len({reply.key for reply in replies}) == 96 and not any(reply.seeded for reply in replies)
    assert sum(reply.prompt_tokens for reply in replies) == 2 * 12, "a prompt is paid once a call"
    assert all(reply.tokens for reply in replies)


def test_a_server_that_gives_one_response_per_call_is_asked_so() -> None:
    said: list[str] = []
    asked = requests(24, per_prompt=4)
    with FaultServer(fault=lambda number, body: "single", latency=0.05) as server:
        subject = engine(server, settings=EngineSettings(choices_per_call=4), say=said.append)
        replies = list(subject.generate(asked))
        refused = sum("n" in body for body in server.bodies)
        assert 1 < refused <= 6 and server.calls == refused + 24
    assert sorted(reply.key for reply in replies) == sorted(request.key for request in asked)
    assert not any(reply.error for reply in replies) and all(reply.seeded for reply in replies)
    assert sum(reply.wasted.calls for reply in replies) == refused
    assert len(said) == 1 and "gives one response per call: HTTP 400: n must be 1" in said[0]


def test_tokens_of_several_responses_where_only_the_first_ones_are_told() -> None:
    """As llama.cpp does: a sum taken from it would be a fraction of what was drawn."""
    texts = ["a" * 29, "b" * 59, "c" * 14]
    choices = [{"index": i, "text": text, "finish_reason": "stop"} for i, text in enumerate(texts)]
    payload = json.dumps(
        {"choices": choices, "usage": {"prompt_tokens": 5, "completion_tokens": 10}}
    ).encode()
    its = parse(payload, 3, dialect="llamacpp")
    assert [choice.tokens for choice in its.choices] == [10, 20, 5] and its.usage.completion_tokens == 35
    others = parse(payload, 3)
    assert sum(choice.tokens or 0 for choice in others.choices) == others.usage.completion_tokens == 10


@pytest.mark.parametrize(
    ("text", "usage", "tokens"),
    [
        ("words", {"prompt_tokens": 3, "completion_tokens": 2}, 2),
        ("words", None, None),
        ("words", {"prompt_tokens": 3}, None),
        ("words", {"prompt_tokens": 3, "completion_tokens": None}, None),
        ("words", {"prompt_tokens": 0, "completion_tokens": 0}, None),
        ("", {"prompt_tokens": 3, "completion_tokens": 0}, 0),
    ],
)
def test_tokens_that_nobody_counted_are_not_none_at_all(
    text: str, usage: dict[str, int | None] | None, tokens: int | None
) -> None:
    choice = {"index": 0, "text": text, "finish_reason": "stop"}
    (found,) = parse(json.dumps({"choices": [choice], "usage": usage}).encode()).choices
    assert found.tokens == tokens


def test_a_server_that_counts_nothing_is_served_by_all_the_same() -> None:
    asked = requests(24, per_prompt=4)
    for choices in (1, 4):
        with FaultServer(fault=lambda number, body: "uncounted") as server:
            replies = list(engine(server, settings=EngineSettings(choices_per_call=choices)).generate(asked))
        assert {reply.tokens for reply in replies} == {None} and not any(reply.error for reply in replies)
        assert {reply.usage.tokens for reply in replies} == {0}


def test_a_redirect_is_not_followed_and_the_key_stays_in_its_header() -> None:
    with FaultServer(fault=lambda number, body: "redirect") as server:
        endpoint = Endpoint(server.url, "the-secret")
        subject = ServerEngine([endpoint], MODEL, settings=QUICK)
        with pytest.raises(EngineError, match="points elsewhere") as caught:
            list(subject.generate(requests(4)))
        assert "the-secret" not in str(caught.value)
        assert all(head["authorization"] == "Bearer the-secret" for head in server.heads)
        assert not any("the-secret" in str(body) for body in server.bodies)


@pytest.mark.parametrize(("fault", "hint"), [("unauthorized", "--key-env"), ("quota", "money")])
def test_a_server_that_refuses_us_ends_the_run(fault: str, hint: str) -> None:
    said: list[str] = []
    with FaultServer(fault=lambda number, body: fault) as server:
        subject = ServerEngine([Endpoint(server.url, "the-secret")], MODEL, settings=QUICK, say=said.append)
        with pytest.raises(EngineError) as caught:
            list(subject.generate(requests(4)))
    assert caught.value.hint and hint in caught.value.hint
    assert "the-secret" not in str(caught.value) + "".join(said)


def test_a_model_that_is_not_served_is_named_with_what_is() -> None:
    with FaultServer() as server:
        server.model = "org/other"
        with pytest.raises(UsageError, match="serves no `tiny`, but `org/other`") as caught:
            list(engine(server).generate(requests(4)))
    assert caught.value.hint is not None and caught.value.hint.endswith("#org/other")


def test_chat_is_left_to_the_server() -> None:
    with FaultServer() as server:
        asked = requests(4, chat=True)
        right(list(engine(server).generate(asked)), asked)
        assert all(body["messages"] == [{"role": "user", "content": "prompt 0"}] for body in server.bodies)
        assert not any("prompt" in body for body in server.bodies)


@pytest.mark.parametrize("owner", ["vllm", "llamacpp", "sglang", "someone"])
def test_samplers_that_a_server_has_of_its_own_are_switched_off(owner: str) -> None:
    with FaultServer(owner=owner) as server:
        list(engine(server).generate(requests(1)))
        (body,) = server.bodies
    if owner == "someone":
        assert not {"top_k", "min_p", "repetition_penalty"} & body.keys(), "a strict provider refuses them"
    else:
        assert body["top_k"] in (0, -1) and body["min_p"] == 0
        assert body.get("repeat_penalty", body.get("repetition_penalty")) == 1


def test_calls_per_minute_are_kept() -> None:
    settings = EngineSettings(requests_per_minute=1200)
    with FaultServer() as server:
        begun = time.monotonic()
        assert len(list(engine(server, settings=settings).generate(requests(24)))) == 24
        assert time.monotonic() - begun >= 23 / 20 - 0.05


def test_tokens_per_minute_are_kept() -> None:
    settings = EngineSettings(tokens_per_minute=60 * 300)
    with FaultServer() as server:
        begun = time.monotonic()
        replies = list(engine(server, settings=settings).generate(requests(24)))
        taken = sum(reply.usage.tokens for reply in replies)
        last = max(reply.usage.tokens for reply in replies)
        assert time.monotonic() - begun >= (taken - 2 * last) / 300


def test_rate_limit_headers_are_heeded() -> None:
    with FaultServer(fault=lambda number, body: "limits") as server:
        settings = EngineSettings(max_concurrency=1)
        begun = time.monotonic()
        assert len(list(engine(server, settings=settings).generate(requests(8)))) == 8
        assert time.monotonic() - begun >= 7 * 0.05, "it asked for 50 ms after each call"


def test_no_more_calls_than_allowed_are_in_flight() -> None:
    with FaultServer(latency=0.005) as server:
        list(engine(server, settings=EngineSettings(max_concurrency=6)).generate(requests(200)))
        assert 4 <= server.most_in_flight <= 6


def test_the_bound_is_over_all_servers() -> None:
    with FaultServer(latency=0.01) as first, FaultServer(latency=0.01) as second:
        most = 0

        def counted(number: int, body: dict[str, Any]) -> None:
            nonlocal most
            most = max(most, first.in_flight + second.in_flight)

        first.fault = second.fault = counted
        list(engine(first, second, settings=EngineSettings(max_concurrency=3)).generate(requests(120)))
        assert most == 3


@pytest.mark.parametrize("fall", [1.0, 1.5])
def test_a_server_that_slows_down_is_not_driven_far_past_its_knee(fall: float) -> None:
    with FaultServer(latency=0.1, knee=24, fall=fall) as server:
        list(engine(server).generate(requests(700)))
        assert 16 <= server.most_in_flight <= 3 * 24


def test_an_identity_has_no_address_and_says_who_applies_the_template() -> None:
    plain = server_identity("org/m", EngineSettings())
    assert "org/m" in plain and "http" not in plain
    assert server_identity("org/m", EngineSettings(chat_template="/models/mine")) != plain
    assert "/models" not in server_identity("/models/mine", EngineSettings(chat_template="/models/mine"))


def test_it_runs_where_an_event_loop_runs_already() -> None:
    import asyncio

    async def notebook() -> list[Reply]:
        with FaultServer() as server:
            return list(engine(server).generate(requests(16)))

    assert len(asyncio.run(notebook())) == 16


def test_an_answer_that_comes_late_to_a_slow_caller_is_not_cut() -> None:
    """Time in which the caller, not the server, was busy blames no call."""
    settings = EngineSettings(request_timeout=0.5, max_concurrency=4)
    with FaultServer(latency=0.05) as server:
        replies: Iterator[Reply] = engine(server, settings=settings).generate(requests(12))
        got = []
        for reply in replies:
            got.append(reply)
            time.sleep(0.2)
        assert len(got) == 12 and sum(reply.wasted.calls for reply in got) == 0
