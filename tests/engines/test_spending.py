"""What replies cost, and that a cap is a cap."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

from upwell.engines.base import Reply, Request, Sampling, Usage
from upwell.engines.endpoint import Endpoint
from upwell.engines.opening import Model
from upwell.engines.scripted import ScriptedEngine
from upwell.engines.settings import EngineSettings
from upwell.engines.spending import FREE, PRICES, Metered, Price, Spent, price_of
from upwell.errors import BudgetSpent, EngineError, UsageError

PRICE = Price(prompt=1.0, cached=0.25, completion=4.0)
HOT = Sampling(max_tokens=100)


def requests(count: int) -> Iterator[Request]:
    for number in range(count):
        yield Request(key=str(number), prompt="x" * 250, add_special_tokens=False, seed=number, sampling=HOT)


class Wide:
    """Takes `width` requests before it answers any, as a server with many slots does; each takes its own tokens."""

    identity = "wide"

    def __init__(self, width: int, most: int = 100) -> None:
        self.width, self.most, self.held = width, most, 0
        self.draw = random.Random(5)

    def generate(self, source: Any) -> Iterator[Reply]:
        source = iter(source)
        while held := list(islice(source, self.width)):
            self.held = max(self.held, len(held))
            for request in held:
                yield Reply(
                    key=request.key, text="t", tokens=self.draw.randint(1, self.most), prompt_tokens=100
                )

    def close(self) -> None: ...


def spent_by(metered: Metered, count: int, price: Price = PRICE) -> tuple[list[Reply], float, bool]:
    replies: list[Reply] = []
    try:
        for reply in metered.generate(requests(count)):
            replies.append(reply)
    except BudgetSpent as error:
        assert error.exit_code == 3 and error.hint and "same command" in error.hint
        return replies, sum(price.usd(r.usage) for r in replies), True
    return replies, sum(price.usd(r.usage) for r in replies), False


def test_a_price_is_per_million_tokens() -> None:
    usage = Usage(prompt_tokens=1000, cached_tokens=400, completion_tokens=2000)
    assert PRICE.usd(usage) == pytest.approx((600 * 1.0 + 400 * 0.25 + 2000 * 4.0) / 1e6)
    assert Price(prompt=1.0, completion=4.0).usd(usage) == pytest.approx((1000 + 8000) / 1e6)


@pytest.mark.parametrize("width", [1, 7, 64, 1000])
@pytest.mark.parametrize("limit", [0.003, 0.01, 0.05])
def test_a_cap_in_dollars_is_nearly_reached_and_not_passed(width: int, limit: float) -> None:
    wide = Wide(width)
    settings = EngineSettings(max_usd=limit)
    replies, usd, over = spent_by(Metered(wide, price=PRICE, settings=settings), 10_000)
    assert over and len({r.key for r in replies}) == len(replies)
    most_of_one = PRICE.usd(Usage(prompt_tokens=100, completion_tokens=100))
    # 2 standard errors are kept for those in flight, so it is passed seldom, and then by less than one response.
    assert usd <= limit + most_of_one
    assert usd > limit - 2.5 * most_of_one


def test_a_cap_in_tokens() -> None:
    settings = EngineSettings(max_total_tokens=20_000)
    replies, _, over = spent_by(Metered(Wide(32), price=None, settings=settings), 10_000)
    taken = sum(r.usage.tokens for r in replies)
    assert over and 19_500 < taken <= 20_200


@pytest.mark.parametrize("cap", [{"max_usd": 1.0}, {"max_total_tokens": 10**6}])
def test_a_cap_on_what_is_not_counted_ends_the_run_when_all_in_flight_are_answered(
    cap: dict[str, Any],
) -> None:
    class Silent(Wide):
        def generate(self, source: Any) -> Iterator[Reply]:
            for reply in super().generate(source):
                yield msgspec.structs.replace(reply, tokens=None) if reply.key == "9" else reply

    replies: list[Reply] = []
    with pytest.raises(EngineError, match="cannot be held: wide does not say") as ended:
        for reply in Metered(Silent(8), price=PRICE, settings=EngineSettings(**cap)).generate(requests(100)):
            replies.append(reply)
    flag = "--" + next(iter(cap)).replace("_", "-")
    assert flag in ended.value.message and f"leave {flag} out" in (ended.value.hint or "")
    assert [reply.key for reply in replies] == [str(n) for n in range(16)]
    free = Metered(Silent(8), price=PRICE, settings=EngineSettings())
    assert len(list(free.generate(requests(100)))) == 100


def test_a_cap_that_is_not_reached_changes_nothing() -> None:
    settings = EngineSettings(max_usd=1.0, max_total_tokens=10**9)
    replies, _, over = spent_by(Metered(Wide(16), price=PRICE, settings=settings), 100)
    assert not over and [r.key for r in replies] == [str(n) for n in range(100)]


def test_what_earlier_sessions_spent_counts() -> None:
    settings = EngineSettings(max_usd=0.01)
    before = Spent(usd=0.0099)
    replies, _, over = spent_by(Metered(Wide(4), price=PRICE, settings=settings, spent=before), 100)
    assert over and not replies


def test_calls_for_nothing_are_spent_too() -> None:
    wasted = Usage(calls=3, prompt_tokens=300, completion_tokens=30)

    def failing(request: Request) -> Reply:
        return Reply(key=request.key, error="no", wasted=wasted)

    settings = EngineSettings(max_total_tokens=3300)
    replies, _, over = spent_by(Metered(ScriptedEngine(failing), price=None, settings=settings), 100)
    assert over and len(replies) == 10, "330 tokens each"


def test_a_source_that_has_nothing_for_now_passes_through() -> None:
    def source() -> Iterator[Request | None]:
        yield None
        yield from requests(3)
        yield None

    metered = Metered(ScriptedEngine(lambda r: "a b"), price=PRICE, settings=EngineSettings(max_usd=1.0))
    assert len(list(metered.generate(source()))) == 3


def model(name: str, kind: str = "server", url: str = "https://api.example.com/v1") -> Model:
    return Model(name=name, kind=kind, identity=name, settings=EngineSettings(), endpoints=(Endpoint(url),))


def test_where_a_price_comes_from(tmp_path: Path) -> None:
    assert price_of(model("gpt-4o-mini"), EngineSettings()) == PRICES["gpt-4o-mini"]
    assert price_of(model("openai/gpt-4o-mini"), EngineSettings()) == PRICES["gpt-4o-mini"]
    assert price_of(model("who-knows"), EngineSettings()) is None
    assert price_of(model("m", url="http://127.0.0.1:1/v1"), EngineSettings()) == FREE
    assert price_of(model("m"), EngineSettings(price="1,0.5,2")) == Price(prompt=1, cached=0.5, completion=2)
    table = tmp_path / "prices.json"
    table.write_text('{"m": [0.5, 1.5], "gpt-4o-mini": [9, 9]}')
    own = EngineSettings(prices=str(table))
    assert price_of(model("m"), own) == Price(prompt=0.5, completion=1.5)
    assert price_of(model("gpt-4o-mini"), own) == Price(prompt=9, completion=9)
    assert price_of(model("gpt-4o"), own) == PRICES["gpt-4o"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"price": "cheap"}, "not numbers"),
        ({"price": "1"}, "two or three numbers"),
        ({"price": "1,-2"}, "two or three numbers, 0 or more"),
        ({"price": "nan,1"}, "two or three numbers, 0 or more"),
        ({"prices": "nowhere.json"}, "cannot read `nowhere.json`"),
        ({"max_usd": 5.0}, "has no price in the table"),
    ],
)
def test_a_price_that_is_none(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        price_of(model("who-knows"), EngineSettings(**changes))
    assert caught.value.hint


def test_a_file_of_prices_that_is_none(tmp_path: Path) -> None:
    for bad in ("[1]", '{"m": 1}', '{"m": [1]}', "{"):
        (tmp_path / "p.json").write_text(bad)
        with pytest.raises(UsageError, match=r"p\.json"):
            price_of(model("m"), EngineSettings(prices=str(tmp_path / "p.json")))
