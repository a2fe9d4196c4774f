"""The inside of the engine, in its event loop: which request goes where and when, and what becomes of each call.

Every request that comes in leaves as exactly one reply: it is queued, in a call, waiting to be asked again, or
answered, and never in two of these places. A call takes requests along only when it starts, and gives each of them
back or answers it when it ends.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import deque
from collections.abc import Callable, Coroutine, Iterable

import msgspec

from upwell.engines.base import NO_USAGE, Reply, Request, Usage
from upwell.engines.server.calls import ONE_CALL, Away, Call, Item, Lost, Outcome, alike, reply_of
from upwell.engines.server.faults import Doomed, Refusal, Retry, judge_status
from upwell.engines.server.pacing import MOST, Meter
from upwell.engines.server.remote import Remote
from upwell.engines.server.transport import Dropped, TooLarge, Transport, Unreachable
from upwell.engines.server.wire import Answer, Malformed, body_of, parse, path_of
from upwell.engines.settings import EngineSettings
from upwell.errors import EngineError

MOST_FAULTS = 8
"""Calls of a request that may go wrong by its own doing; then it is answered with an error."""
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.25, 30.0
"""Seconds before a request is asked again; doubled with each fault, and shortened by up to half at random."""
_FLUSH_SECONDS = 0.002
"""Replies are handed over in batches of so long: waking the other thread costs as much as a call does."""
_FEW_CALLS = 8
"""With so few in flight, a reply is handed over at once."""
_INTRODUCTION_SECONDS, _INTRODUCTION_PAUSE = 10.0, 0.5
"""Seconds that a list of models may take, and between tries."""
_TICK_SECONDS = 0.25
_HOPELESS = 20
"""Different prompts given up in a row, without an answer between, after which it is the server and not they."""
_GROUP = 64
"""Requests with one prompt that an endpoint takes at once."""
_ABOUT_CHOICES = re.compile(r"\bn\b|\bchoices?\b|best_of", re.IGNORECASE)
"""A refusal that is about several responses in one call, not about the request."""


class Dispatch:
    """Requests in, replies out, calls between. All methods run in the event loop's thread.

    Args:
        remotes: the endpoints.
        settings: of the engine.
        deliver: told of replies, in batches; of an error, after which nothing comes any more.
        say: told what the user should know.
    """

    def __init__(
        self,
        remotes: list[Remote],
        settings: EngineSettings,
        deliver: Callable[[list[Reply] | BaseException], None],
        say: Callable[[str], None],
    ) -> None:
        self._remotes = remotes
        self._settings = settings
        self._most = settings.max_concurrency or MOST * len(remotes)
        self._deliver = deliver
        self._say = say
        self._queue: deque[Item] = deque()
        self._calls: set[Call] = set()
        self._replies: list[Reply] = []
        self._flushing = False
        self._dry = False
        self._timer: asyncio.TimerHandle | None = None
        self._held: dict[Remote, deque[Item]] = {remote: deque() for remote in remotes}
        self._calls_meter = Meter(settings.requests_per_minute)
        self._tokens_meter = Meter(settings.tokens_per_minute)
        self._completions, self._answers = 0, 0
        self._hopeless: set[int] = set()
        """Prompts that were given up since the last answer."""
        self._owed = 0
        self._patient = 0.0
        self._over = asyncio.Event()
        self._transport: Transport | None = None
        self._loop: asyncio.AbstractEventLoop

    # From the other thread, by `call_soon_threadsafe`.

    def accept(self, requests: Iterable[Request], dry: bool) -> None:
        """Take requests in; `dry`: these are the last."""
        items = [Item(request, self._settings.choices_per_call) for request in requests]
        self._queue.extend(items)
        self._owed += len(items)
        self._dry = dry
        self._pump()

    @property
    def room(self) -> int:
        """Requests that are worth having here: those in flight, and as many again, so that a limit may grow."""
        calls = sum(remote.pace.limit for remote in self._remotes if remote.doomed is None)
        return 2 * max(calls, 1) * self._settings.choices_per_call

    def stop(self) -> None:
        """Drop everything."""
        self._over.set()

    async def run(self) -> None:
        """Work until `stop`, or until nothing can be served any more."""
        self._loop = asyncio.get_running_loop()
        for remote in self._remotes:
            remote.reset()
        async with Transport() as transport:
            self._transport = transport
            around = [self._loop.create_task(self._guarded(self._watch()))]
            around += [
                self._loop.create_task(self._guarded(self._introduce(remote)))
                for remote in self._remotes
                if not remote.known
            ]
            self._pump()
            await self._over.wait()
            self._transport = None
            if self._timer is not None:
                self._timer.cancel()
            for call in self._calls:
                call.remote.pace.end(call.ticket, self._loop.time())
            tasks = around + [call.task for call in self._calls if call.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        """Run a task whose errors end everything: they are the caller's to see."""
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  handed to the caller's thread, raised there
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._over.is_set():
            self._flush()
            self._deliver(error)
            self._over.set()

    # Out.

    def _pump(self) -> None:
        """Start calls while there are requests and room for them."""
        if self._transport is None or self._over.is_set():
            return
        now = self._loop.time()
        while len(self._calls) < self._most and (remote := self._choose(now)) is not None:
            wait = max(self._calls_meter.wait(now), self._tokens_meter.wait(now))
            if wait > 0:
                self._wake_in(wait)
                return
            items = self._take(remote)
            if not items:
                return
            self._start(remote, items, now)
        waits = [remote.quiet_for(now) for remote in self._remotes]
        if quiet := [wait for wait in waits if wait is not None]:
            self._wake_in(min(quiet))

    def _choose(self, now: float) -> Remote | None:
        """Who makes the next call: of those for whom there is something to do, the one of whose calls the largest
        share is free."""
        free = [(remote.free(now) / remote.pace.limit, at) for at, remote in enumerate(self._remotes)]
        for share, at in sorted(free, reverse=True):
            if share > 0 and self._supply(self._remotes[at]):
                return self._remotes[at]
        return None

    def _supply(self, remote: Remote) -> bool:
        """See that an endpoint has requests of its own: neighbours with one prompt, which is in the cache there.

        At the end, one that would stand idle takes half of what another has not begun.
        """
        held, queue = self._held[remote], self._queue
        if not held and queue:
            held.append(queue.popleft())
        if held:
            while queue and len(held) < _GROUP and alike(queue[0].request, held[-1].request):
                held.append(queue.popleft())
        else:
            most = max(self._held.values(), key=len)
            for _ in range((len(most) + 1) // 2):
                held.appendleft(most.pop())
        return bool(held)

    def _take(self, remote: Remote) -> list[Item]:
        """The requests of the next call; none where more that belong to them are about to come in."""
        held = self._held[remote]
        first = held[0]
        most = min(first.most, remote.choices)
        if most == 1:
            return [held.popleft()]
        count = 1
        while count < min(most, len(held)) and alike(held[count].request, first.request):
            count += 1
        if count < most and count == len(held) and not (self._queue or self._dry) and self._calls:
            return []
        return [held.popleft() for _ in range(count)]

    def _release(self, remote: Remote) -> None:
        """What an endpoint has not begun goes to others."""
        held = self._held[remote]
        self._queue.extendleft(reversed(held))
        held.clear()

    def _start(self, remote: Remote, items: list[Item], now: float) -> None:
        request = items[0].request
        cost = 0.0
        if self._settings.tokens_per_minute is not None:
            mean = self._completions / self._answers if self._answers else request.sampling.max_tokens
            cost = len(request.prompt) / 4 + mean * len(items)
            self._tokens_meter.spend(cost, now)
        self._calls_meter.spend(1, now)
        call = Call(remote, items, remote.pace.begin(now), self._patient, cost)
        if remote.down_since is not None:
            remote.probe = call.ticket
        self._calls.add(call)
        call.task = self._loop.create_task(self._carry(call))

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._pump)

    async def _carry(self, call: Call) -> None:
        try:
            try:
                outcome = await self._ask(call)
            except asyncio.CancelledError:
                if not call.cut or self._over.is_set():
                    raise
                outcome = Lost(f"no answer within {self._settings.request_timeout:g} s", timed_out=True)
            self._calls.discard(call)
            self._settle(call, outcome)
            self._pump()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  handed to the caller's thread, raised there
            self._fail(error)

    async def _ask(self, call: Call) -> Outcome:
        """Make the call."""
        assert self._transport is not None
        remote, request, choices = call.remote, call.items[0].request, len(call.items)
        logprobs = self._settings.logprobs
        body = body_of(request, remote.model, dialect=remote.dialect, choices=choices, logprobs=logprobs)
        try:
            fetched = await self._transport.fetch(remote.address(path_of(request)), msgspec.json.encode(body))
            if fetched.status != 200:
                return judge_status(
                    fetched.status, fetched.headers, fetched.payload, secret=remote.endpoint.key
                )
            remote.heed(fetched.headers, self._loop.time())
            return parse(fetched.payload, choices, dialect=remote.dialect)
        except Unreachable as error:
            return Away(str(error))
        except Dropped as error:
            return Lost(str(error))
        except TooLarge as error:
            return Lost(str(error), spoken=True)
        except Malformed as error:
            return Lost(str(error), error.usage, spoken=True)

    # Back.

    def _settle(self, call: Call, outcome: Outcome) -> None:
        """Answer the requests of a call that ended, or queue them again."""
        now, remote = self._loop.time(), call.remote
        used = outcome.usage if isinstance(outcome, Answer | Lost) else NO_USAGE
        remote.pace.end(call.ticket, now, used.completion_tokens if isinstance(outcome, Answer) else None)
        self._tokens_meter.correct(used.tokens - call.cost)
        match outcome:
            case Answer():
                self._answered(call, now)
                self._answer(call.items, outcome)
            case Refusal(message):
                self._answered(call, now)
                self._refuse(call, message)
            case Doomed():
                self._doom(remote, outcome)
                self._again(call.items)
            case Away(why):
                self._faulted(call, why, now, unreachable=True)
                self._again(call.items)
            case Retry(message, wait, busy, own):
                if busy:
                    remote.pace.overloaded(call.ticket, now)
                if own:
                    self._answered(call, now)
                    remote.leave_alone(wait, now)
                else:
                    self._faulted(call, message, now, unreachable=False)
                    remote.too_much(wait, now)
                self._lose(call, Lost(message), own=own)
            case Lost(why, timed_out=timed_out, spoken=spoken):
                if timed_out:
                    remote.pace.overloaded(call.ticket, now)
                if spoken:
                    self._answered(call, now)
                else:
                    self._faulted(call, why, now, unreachable=False)
                self._lose(call, outcome)

    def _answer(self, items: list[Item], answer: Answer) -> None:
        """Reply with the choices of a call; what it did not give is asked for again, by itself."""
        got = answer.choices
        self._hopeless.clear()
        self._completions += answer.usage.completion_tokens
        self._answers += len(got)
        items[0].wasted += Usage(completion_tokens=answer.surplus_tokens)
        for at, (item, choice) in enumerate(zip(items, got, strict=False)):
            # The call and its prompt are on the first of its replies.
            call = answer.usage if at == 0 else NO_USAGE
            self._reply(reply_of(item, choice, call, seeded=len(items) == 1))
        missing = items[len(got) :]
        for item in missing:
            item.most = len(missing)
        self._again(missing)

    def _refuse(self, call: Call, message: str) -> None:
        items, remote = call.items, call.remote
        if len(items) > 1 and _ABOUT_CHOICES.search(message):
            if remote.choices > 1:  # the first of the calls that were out together
                self._say(f"{remote.endpoint.shown} gives one response per call: {message}")
            remote.choices = 1
            items[0].wasted += ONE_CALL
            self._again(items)
            return
        items[0].wasted += ONE_CALL
        for item in items:
            self._reply(Reply(key=item.request.key, error=message, wasted=item.wasted))

    def _lose(self, call: Call, lost: Lost, *, own: bool = True) -> None:
        """Count a call that brought nothing, and ask its requests again in a while, but not without end."""
        call.items[0].wasted += lost.usage
        if not own:
            self._again(call.items)
            return
        for item in call.items:
            item.faults += 1
            if item.faults >= MOST_FAULTS:
                why = f"{item.faults} calls went wrong, the last: {lost.why}"
                self._reply(Reply(key=item.request.key, error=why, wasted=item.wasted))
                self._hopeless.add(hash(item.request.prompt))
            else:
                pause = min(_FIRST_BACKOFF * 2 ** (item.faults - 1), _LONGEST_BACKOFF)
                self._loop.call_later(pause * random.uniform(0.5, 1), self._again_and_pump, item)

        if len(self._hopeless) >= _HOPELESS:
            where = call.remote.endpoint.shown
            self._fail(
                EngineError(
                    f"{where} answers nothing any more: {len(self._hopeless)} prompts in a row went wrong, "
                    f"the last with: {lost.why}",
                    "look at the server's log; what was answered is kept, and the same command goes on from there",
                )
            )

    def _again_and_pump(self, item: Item) -> None:
        self._again([item])
        self._pump()

    def _again(self, items: list[Item]) -> None:
        """Back to the head of the queue, in their order."""
        self._queue.extendleft(reversed(items))

    def _reply(self, reply: Reply) -> None:
        self._owed -= 1
        self._replies.append(reply)
        if not self._flushing:
            self._flushing = True
            self._loop.call_later(_FLUSH_SECONDS if len(self._calls) > _FEW_CALLS else 0, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._replies and not self._over.is_set():
            self._deliver(self._replies)
            self._replies = []

    # Endpoints that come and go.

    def _answered(self, call: Call, now: float) -> None:
        if call.remote.answered(now):
            self._say(f"{call.remote.endpoint.shown} answers again")

    def _faulted(self, call: Call, why: str, now: float, *, unreachable: bool) -> None:
        remote = call.remote
        probe = remote.probe is call.ticket
        if probe:
            remote.probe = None
        if remote.faulted(why, now, probe=probe, unreachable=unreachable):
            self._say(f"{remote.endpoint.shown} is down: {why}")
            self._release(remote)

    def _doom(self, remote: Remote, doomed: Doomed) -> None:
        if remote.doomed is None:
            remote.doomed = doomed
            self._say(f"{remote.endpoint.shown} is left out: {doomed.message}")
            self._release(remote)
        if all(remote.doomed is not None for remote in self._remotes):
            self._fail(EngineError(f"{remote.endpoint.shown}: {doomed.message}", doomed.hint))

    async def _introduce(self, remote: Remote) -> None:
        """Ask an endpoint what it serves, until it can say or has no such list."""
        assert self._transport is not None
        while True:
            try:
                async with asyncio.timeout(_INTRODUCTION_SECONDS):
                    fetched = await self._transport.fetch(remote.models)
            except (Unreachable, Dropped, TimeoutError) as error:
                trouble = str(error) or f"no list of models within {_INTRODUCTION_SECONDS:.0f} s"
            except TooLarge:
                remote.introduce(None)
                break
            else:
                if fetched.status == 200:
                    remote.introduce(fetched.payload)
                    break
                verdict = judge_status(
                    fetched.status, fetched.headers, fetched.payload, secret=remote.endpoint.key
                )
                if fetched.status in (401, 407) and isinstance(verdict, Doomed):
                    self._doom(remote, verdict)
                    return
                if not isinstance(verdict, Retry):
                    remote.introduce(None)  # it has no such list, or shows it to nobody
                    break
                trouble = verdict.message
            if remote.trouble != trouble:
                self._say(f"waiting for {remote.endpoint.shown}: {trouble}")
            remote.trouble = trouble
            await asyncio.sleep(_INTRODUCTION_PAUSE)
        self._pump()

    async def _watch(self) -> None:
        """Cut calls that hang, and end everything when there has been nobody to call for too long.

        Time is counted here in ticks: while this thread does not run, be it the machine's or our own fault, no
        call is blamed for it.
        """
        settings = self._settings
        tick = min(_TICK_SECONDS, settings.request_timeout / 4, settings.patience / 4)
        before, gone = self._loop.time(), 0.0
        while True:
            await asyncio.sleep(tick)
            now = self._loop.time()
            step, before = min(now - before, 2 * tick), now
            self._patient += step
            for call in list(self._calls):
                if self._patient - call.began > settings.request_timeout and not call.cut and call.task:
                    call.cut = True
                    call.task.cancel()
            gone = gone + step if self._owed and all(remote.absent for remote in self._remotes) else 0.0
            # A call that is out may yet be answered, and one that hangs is cut above.
            if gone > settings.patience and not self._calls:
                self._fail(_nobody(self._remotes, settings.patience))


def _nobody(remotes: list[Remote], seconds: float) -> EngineError:
    who = remotes[0].endpoint.shown if len(remotes) == 1 else f"all {len(remotes)} servers"
    troubles = "; ".join(dict.fromkeys(remote.trouble for remote in remotes if remote.trouble))
    return EngineError(
        f"{who} could not be reached for {seconds:g} s: {troubles or 'no answer'}",
        "start it and run the same command again: what was answered is kept; --patience SECONDS waits longer",
    )
