"""What replies cost, and the caps that a run's spending is held to, whatever the engine."""

from __future__ import annotations

import math
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from upwell.engines.base import Engine, Reply, Request, Usage
from upwell.engines.opening import Model
from upwell.engines.settings import BATCH, EMBEDDED, VLLM, EngineSettings
from upwell.errors import BudgetSpent, EngineError, UsageError

_MILLION = 1e6
_KNOWN_AFTER = 8
"""Replies after which the next ones are priced by their mean; before, by the most that one can take."""
_CHARACTERS_PER_TOKEN = 2.5
"""Fewer than any common tokenizer makes of prose with formulas, so that a prompt is not priced too low."""


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars per million tokens."""

    prompt: float
    completion: float
    cached: float | None = None
    """Of prompt tokens read from a cache; None: as the others."""

    def usd(self, usage: Usage) -> float:
        """What so many tokens cost."""
        cached = self.prompt if self.cached is None else self.cached
        fresh = usage.prompt_tokens - usage.cached_tokens
        return (
            fresh * self.prompt + usage.cached_tokens * cached + usage.completion_tokens * self.completion
        ) / _MILLION


FREE = Price(prompt=0.0, completion=0.0)

PRICES_AS_OF = "2026-11"
PRICES = {
    name: Price(prompt=prompt, cached=cached, completion=completion)
    for name, prompt, cached, completion in (
        # openai.com/api/pricing
        ("gpt-4.1", 2.0, 0.5, 8.0),
        ("gpt-4.1-mini", 0.4, 0.1, 1.6),
        ("gpt-4.1-nano", 0.1, 0.025, 0.4),
        ("gpt-4o", 2.5, 1.25, 10.0),
        ("gpt-4o-mini", 0.15, 0.075, 0.6),
        ("gpt-5", 1.25, 0.125, 10.0),
        ("gpt-5-mini", 0.25, 0.025, 2.0),
        ("gpt-5-nano", 0.05, 0.005, 0.4),
        ("gpt-5.4", 2.5, 0.25, 15.0),
        ("gpt-5.4-mini", 0.75, 0.075, 4.5),
        ("gpt-5.4-nano", 0.2, 0.02, 1.25),
        # api-docs.deepseek.com/quick_start/pricing
        ("deepseek-v4-flash", 0.3, 0.006, 1.2),
        ("deepseek-v4-pro", 1.32, 0.044, 3.96),
        # ai.google.dev/gemini-api/docs/pricing
        ("gemini-2.5-flash", 0.3, 0.03, 2.5),
        ("gemini-2.5-flash-lite", 0.1, 0.01, 0.4),
        ("gemini-2.5-pro", 1.25, 0.125, 10.0),
    )
}
"""List prices as providers published them in `PRICES_AS_OF`, by the name that the server uses. They change: what a
run is charged is on the provider's bill, and `--price` overrides."""


def price_of(model: Model, settings: EngineSettings) -> Price | None:
    """What the model's tokens cost; None where nobody has said.

    What runs on this machine is free unless `--price` says otherwise.

    Raises:
        UsageError: `--price` or `--prices` is malformed; or there is a cap in dollars and no price.
    """
    if settings.price is not None:
        return _written(settings.price)
    table = PRICES | (_from_file(settings.prices) if settings.prices is not None else {})
    price = table.get(model.name) or table.get(model.name.rpartition("/")[2])
    if price is None and (model.kind in (EMBEDDED, VLLM) or (model.kind != BATCH and model.local)):
        price = FREE
    if settings.max_usd is not None and price in (None, FREE):
        known = "costs nothing here" if price is FREE else "has no price in the table"
        raise UsageError(
            f"--max-usd needs a price, and `{model.name}` {known}",
            "--price 0.15,0.60 (dollars per million prompt and completion tokens), or use --max-total-tokens",
        )
    return price


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has taken so far, calls for nothing included."""

    tokens: int = 0
    """Prompt and completion tokens."""
    usd: float = 0.0


class Metered:
    """An engine whose replies are counted, and whose source stops before a cap is passed.

    A request is let through while what is spent and what the requests in flight will probably take (their
    mean and two standard errors; before anything is known, the most that they can take) leaves room for one
    more. When there is none, those in flight are awaited and what they really took is counted; only if one
    more response could then pass the cap is the budget spent. So spending ends just under the cap, and can
    pass it by no more than what was in flight. A cap on what is not counted would be none: a reply without a count
    of its tokens ends the run.

    Args:
        engine: the engine; closed with this one.
        price: what its tokens cost, for a cap in dollars.
        settings: the caps.
        spent: what the run's earlier sessions took.
    """

    def __init__(
        self, engine: Engine, *, price: Price | None, settings: EngineSettings, spent: Spent | None = None
    ) -> None:
        self.identity = engine.identity
        spent = spent or Spent()
        self._engine = engine
        self._caps: list[_Cap] = []
        if settings.max_usd is not None:
            if price is None:
                raise UsageError("--max-usd needs a price", "--price 0.15,0.60")
            self._caps.append(_Cap("--max-usd", "${:,.4f}", settings.max_usd, spent.usd, price))
        if settings.max_total_tokens is not None:
            cap = _Cap(
                "--max-total-tokens", "{:,.0f} tokens", settings.max_total_tokens, spent.tokens, _PER_TOKEN
            )
            self._caps.append(cap)

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Reply]:
        """As the engine's own.

        Raises:
            BudgetSpent: requests are left that a cap does not allow; all others have been answered.
            EngineError: a reply came without a count of its tokens; all that were in flight have been answered.
        """
        if not self._caps:
            yield from self._engine.generate(requests)
            return
        gate = _Gate(iter(requests), self._caps)
        while gate.next is not _NO_MORE:
            if gate.uncounted:
                flag = self._caps[0].flag
                raise EngineError(
                    f"{flag} cannot be held: {self.identity} does not say how many tokens its replies take",
                    f"everything answered is kept; leave {flag} out and run the same command again to go on",
                )
            if gate.refused_by() is not None:
                # Nothing is in flight: what is spent is known.
                raise self._over(gate)
            with closing(_generator(self._engine.generate(gate))) as replies:
                for reply in replies:
                    gate.count(reply)
                    yield reply

    def close(self) -> None:
        self._engine.close()

    def _over(self, gate: _Gate) -> BudgetSpent:
        cap = gate.refused_by()
        assert cap is not None
        one = cap.unit.format(cap.reserve(1, gate.next))
        return BudgetSpent(
            f"{cap.flag} {cap.limit:g}: the run has taken {cap.unit.format(cap.spent)}, "
            f"and one more response may take {one}",
            f"everything answered is kept; raise {cap.flag} and run the same command again to go on",
        )


_PER_TOKEN = Price(prompt=_MILLION, completion=_MILLION)
"""Counts tokens as if each cost a dollar."""
_NO_MORE = object()


class _Cap:
    """One limit, what has been spent of it, and what a response takes."""

    def __init__(self, flag: str, unit: str, limit: float, spent: float, price: Price) -> None:
        self.flag, self.unit, self.limit, self.spent = flag, unit, limit, spent
        self._price = price
        self._replies = 0
        self._mean = self._squares = 0.0

    def count(self, reply: Reply) -> None:
        took = self._price.usd(reply.usage)
        self.spent += took
        self._replies += 1
        off = took - self._mean
        self._mean += off / self._replies
        self._squares += off * (took - self._mean)

    def reserve(self, in_flight: int, request: object) -> float:
        """What so many requests in flight will take at most, as far as can be told."""
        if self._replies >= _KNOWN_AFTER:
            deviation = math.sqrt(self._squares / (self._replies - 1))
            return in_flight * self._mean + 2 * deviation * math.sqrt(in_flight)
        assert isinstance(request, Request)
        prompt = math.ceil(len(request.prompt) / _CHARACTERS_PER_TOKEN)
        most = Usage(prompt_tokens=prompt, completion_tokens=request.sampling.max_tokens)
        return in_flight * self._price.usd(most)


class _Gate:
    """The source, as far as the caps let it through; iterated once for each filling of the engine."""

    def __init__(self, source: Iterator[Request | None], caps: list[_Cap]) -> None:
        self._source = source
        self._caps = caps
        self._in_flight = 0
        self._lock = threading.Lock()  # an engine may pull from threads of its own
        self.uncounted = False
        """Whether a reply came without a count of its tokens."""
        self.next: object = None
        """The request that is to go through next; `None` where that is not known yet, `_NO_MORE` at the end."""

    def __iter__(self) -> Iterator[Request | None]:
        while True:
            if self.next is None:
                self.next = next(self._source, _NO_MORE)
            if self.next is _NO_MORE:
                return
            if self.next is None:
                yield None
                continue
            if self.uncounted or self.refused_by() is not None:
                return
            request, self.next = self.next, None
            assert isinstance(request, Request)
            with self._lock:
                self._in_flight += 1
            yield request

    def refused_by(self) -> _Cap | None:
        """The cap that does not let `next` through, if one does not."""
        if not isinstance(self.next, Request):
            return None
        with self._lock:
            for cap in self._caps:
                if cap.spent + cap.reserve(self._in_flight + 1, self.next) > cap.limit:
                    return cap
        return None

    def count(self, reply: Reply) -> None:
        with self._lock:
            self._in_flight -= 1
            self.uncounted |= reply.tokens is None
            for cap in self._caps:
                cap.count(reply)


def _generator(replies: Iterator[Reply]) -> Generator[Reply, None, None]:
    yield from replies


def _written(text: str) -> Price:
    example = "--price 0.15,0.60 (dollars per million prompt and completion tokens)"
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--price is `{text}`, which is not numbers", example) from None
    return _checked(numbers, f"--price {text}", example)


def _from_file(path: str) -> dict[str, Price]:
    example = 'a file like {"my-model": [0.15, 0.60], "other": [2.0, 0.5, 8.0]}'
    try:
        table = msgspec.json.decode(Path(path).read_bytes(), type=dict[str, list[float]])
    except OSError as error:
        raise UsageError(f"--prices: cannot read `{path}`: {error.strerror}", example) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--prices: `{path}` is not prices by model: {error}", example) from None
    return {name: _checked(numbers, f"{path}: {name}", example) for name, numbers in table.items()}


def _checked(numbers: list[float], where: str, example: str) -> Price:
    if len(numbers) not in (2, 3) or not all(0 <= number < math.inf for number in numbers):
        raise UsageError(f"{where}: a price is two or three numbers, 0 or more, not {numbers}", example)
    cached = numbers[1] if len(numbers) == 3 else None
    return Price(prompt=numbers[0], cached=cached, completion=numbers[-1])
