"""An OpenAI-compatible server on loopback that answers well, slowly, wrongly or not at all, as it is told.

In this process (`FaultServer`, in a thread) for tests, or in one of its own (`serving`) for benches. Written on bare
asyncio, because half the faults are things that a web framework would not do, and so that a client under test, not the
server, is what is measured.

    python fault_server.py --latency 0.1 --knee 64
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

MODEL = "tiny"
LONGEST_PROMPT = 256
"""Characters; a longer prompt is refused with 400, as beyond the context."""

FAULTS = (
    "429", "429-after", "500", "503", "drip", "drop", "drop-after", "half", "garbage", "few", "many", "duplicate",
    "hang",
)  # fmt: skip
"""What may go wrong with one call and is mended by asking again. Besides, for single tests: `502`, `redirect`, `huge`,
`deep`, `unauthorized`, `quota`, `filter`, `limits`, `unknown-finish`, `uncounted` (no usage), `single`
(refused is what asks for more than one response)."""
_AFTER = 0.05
"""Seconds of a Retry-After."""


def babble(seed: int, prompt: str) -> str:
    """Words that follow from seed and prompt, as a model's would."""
    draw = random.Random(f"{seed} {prompt}")
    words = ["so", "the", "train", "leaves", "at", "7", "and", "costs", "42"]
    return " ".join(draw.choice(words) for _ in range(draw.randint(5, 40)))


def babbled(request: Any) -> str:
    """The same for a `Request`; one with too long a prompt fails."""
    if len(request.prompt) > LONGEST_PROMPT:
        raise ValueError(f"the prompt has {len(request.prompt)} characters")
    return babble(request.seed, request.prompt)


@dataclass
class FaultServer:
    """Answers `/v1/completions`, `/v1/chat/completions` and `/v1/models`.

    Args:
        fault: given the number of the call (from 0) and its body, the name of what goes wrong, or None.
        latency: seconds that a call takes.
        knee: calls in flight beyond which it gets slower, so that the throughput grows no more.
        fall: 1: beyond the knee the throughput stays; above: it falls.
        owner: what it says it is.
    """

    fault: Callable[[int, dict[str, Any]], str | None] = lambda number, body: None
    latency: float = 0.0
    knee: int | None = None
    fall: float = 1.0
    owner: str = "upwell-tests"
    say: Callable[[int, str], str] = babble
    """The text that a seed and a prompt get."""
    longest: int = LONGEST_PROMPT
    """Characters of a prompt, beyond which it is refused with 400."""
    calls: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    served: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Good responses that were sent whole, by prompt and seed."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    log: list[tuple[float, int]] = field(default_factory=list)
    """Time and calls in flight when each call came in, with `knee`."""
    model: str = MODEL
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> FaultServer:
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.vanish()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def listen(self) -> None:
        """Be there, at the same port as before."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def vanish(self) -> None:
        """Be gone: close the port and every connection, answering nothing."""
        asyncio.run_coroutine_threadsafe(self._vanish(), self._loop).result()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), "127.0.0.1", self.port, reuse_address=True, backlog=4096
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _vanish(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self._open):
            connection.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.in_flight = 0

    def begin(self, connection: Connection, path: str, head: dict[str, str], payload: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(connection, path, head, payload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, connection: Connection, path: str, head: dict[str, str], payload: bytes) -> None:
        if path.endswith("/health"):
            connection.send(200, b"{}")
            return
        if path.endswith("/models"):
            listing = {
                "object": "list",
                "data": [{"id": self.model, "object": "model", "owned_by": self.owner}],
            }
            connection.send(200, json.dumps(listing).encode())
            return
        number, self.calls = self.calls, self.calls + 1
        body = json.loads(payload)
        self.bodies.append(body)
        self.heads.append(head)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self._wait()
            await self._send(connection, body, self.fault(number, body), head)
        finally:
            self.in_flight -= 1

    async def _wait(self) -> None:
        seconds = self.latency
        if self.knee is not None:
            self.log.append((asyncio.get_running_loop().time(), self.in_flight))
            seconds *= max(1.0, self.in_flight / self.knee) ** self.fall
        if seconds:
            await asyncio.sleep(seconds)

    async def _send(
        self, connection: Connection, body: dict[str, Any], fault: str | None, head: dict[str, str]
    ) -> None:
        prompt = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        if len(prompt) > self.longest:
            connection.send(
                400, _error(f"the prompt has {len(prompt)} characters: 400", "context_length_exceeded")
            )
            return
        count = body.get("n", 1)
        if fault in _STATUS and not (fault == "single" and count == 1):
            status, said, code, more = _STATUS[fault]
            said = said.replace("KEY", head.get("authorization", ""))
            connection.send(status, _error(said, code), more)
            return
        if fault == "drop":
            connection.transport.abort()
            return
        if fault == "hang":
            await asyncio.sleep(3600)
        shown = {"few": count - 1, "many": count + 2}.get(fault or "", count)
        reply = completion(body, prompt, shown, same=fault == "duplicate", say=self.say)
        if fault == "unknown-finish":
            reply["choices"][0]["finish_reason"] = "abort"
        if fault == "uncounted":
            del reply["usage"]
        sent = json.dumps(reply).encode()
        if fault == "drop-after":  # the work is done and paid for
            connection.transport.abort()
        elif fault == "half":
            connection.send(200, sent[: len(sent) // 2])
        elif fault == "garbage":
            connection.send(200, b"<html>Bad gateway \xff</html>")
        elif fault == "huge":
            connection.send(200, b'{"choices": [' + b" " * (100 << 20) + b"]}")
        elif fault == "deep":
            connection.send(200, b'{"choices": ' + b"[" * 200_000 + b"]" * 200_000 + b"}")
        elif fault == "drip":
            await connection.drip(sent)
        else:
            if fault is None:
                self.served.update({(prompt, body["seed"]): 1})
            more = {"limits": _LIMITS}.get(fault or "", "")
            connection.send(200, sent, more)


_LIMITS = f"x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: {int(_AFTER * 1000)}ms\r\n"
_STATUS = {
    "429": (429, "slow down", "rate_limit_exceeded", ""),
    "429-after": (429, "slow down", "rate_limit_exceeded", f"Retry-After: {_AFTER}\r\n"),
    "500": (500, "something broke", "server_error", ""),
    "502": (502, "bad gateway", "bad_gateway", ""),
    "503": (503, "loading", "unavailable", ""),
    "redirect": (302, "over there", "moved", "Location: http://127.0.0.1:9/v1/completions\r\n"),
    "unauthorized": (401, "the key KEY is wrong", "invalid_api_key", ""),
    "quota": (429, "no money left", "insufficient_quota", ""),
    "single": (400, "n must be 1", "invalid_value", ""),
    "filter": (400, "that is not to be spoken of", "content_filter", ""),
}


def completion(
    body: dict[str, Any],
    prompt: str,
    count: int,
    *,
    same: bool = False,
    say: Callable[[int, str], str] = babble,
) -> dict[str, Any]:
    """A reply's JSON with `count` choices; `same`: all of the first index."""
    choices, words = [], 0
    for index in range(count):
        text, finish, tokens = _spoken(say(body["seed"] + index, prompt), body)
        words += tokens
        choice: dict[str, Any] = {"index": 0 if same else index, "finish_reason": finish}
        choices.append(choice | ({"text": text} if "prompt" in body else {"message": {"content": text}}))
    if same:
        choices += choices
    usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": words}
    return {"object": "completion", "model": body["model"], "choices": choices, "usage": usage}


def _spoken(text: str, body: dict[str, Any]) -> tuple[str, str, int]:
    """The text with stop strings and the token limit honoured, how it ended, and its words as tokens."""
    cuts = [at for stop in body.get("stop", ()) if (at := text.find(stop)) >= 0]
    text = text[: min(cuts)] if cuts else text
    words, most = text.split(), body["max_tokens"]
    if len(words) > most:
        return " ".join(words[:most]), "length", most
    return text, "stop", len(words)


def _error(message: str, code: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "error", "code": code}}).encode()


_JSON = "Content-Type: application/json\r\n"


class Connection(asyncio.Protocol):
    """One client, one call after the other."""

    transport: asyncio.Transport

    def __init__(self, server: Any) -> None:
        self.server = server
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server._open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.server._open.discard(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            first, *lines = self.buffer[:end].decode("latin-1").split("\r\n")
            head = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = int(head.get("content-length", 0))
            if len(self.buffer) < end + 4 + length:
                return
            payload, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            self.server.begin(self, first.split(" ")[1].partition("?")[0], head, payload)

    def send(self, status: int, payload: bytes, more: str = "") -> None:
        if not self.transport.is_closing():
            head = f"HTTP/1.1 {status} .\r\nContent-Length: {len(payload)}\r\n{_JSON}{more}\r\n"
            self.transport.write(head.encode() + payload)

    async def drip(self, payload: bytes) -> None:
        """Send a byte now and then, for ever."""
        self.transport.write(b"HTTP/1.1 200 .\r\nContent-Length: 1000000\r\n\r\n")
        while not self.transport.is_closing():
            self.transport.write(b" ")
            await asyncio.sleep(0.05)


class Instant:
    """Always the same answer, at once, without looking at the call: what a client can do is then what is measured."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        body = {"model": MODEL, "seed": 1, "max_tokens": 64, "messages": []}
        reply = completion(body, "What is 2 + 2? Please reason step by step.", 1) | {
            "id": "cmpl-1",
            "created": 1,
        }
        reply["object"] = "chat.completion"
        reply["choices"][0]["message"]["role"] = "assistant"
        reply["usage"]["total_tokens"] = 50
        self._reply = json.dumps(reply).encode()
        self._models = json.dumps({"data": [{"id": MODEL, "owned_by": "upwell-tests"}]}).encode()

    def begin(self, connection: Connection, path: str, head: dict[str, str], payload: bytes) -> None:
        connection.send(200, self._models if path.endswith("/models") else self._reply)


@dataclass(frozen=True)
class Served:
    """A server in a process of its own."""

    url: str
    model: str
    process: subprocess.Popen[str]

    def cpu_seconds(self) -> float:
        """CPU that it has used."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[Served]:
    """A server in a process of its own: by default one that answers at once, in words that follow from the prompt."""
    process = subprocess.Popen(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdin is not None
    try:
        yield Served(process.stdout.readline().strip(), MODEL, process)
    finally:
        process.stdin.close()  # it ends with its standard input
        process.wait(10)
        process.stdout.close()


async def _alone(protocol: Callable[[], asyncio.Protocol]) -> None:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instant", action="store_true")
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--knee", type=int)
    parser.add_argument("--fall", type=float, default=1.0)
    asked = parser.parse_args()
    if asked.instant:
        instant = Instant()
        asyncio.run(_alone(lambda: Connection(instant)))
        return
    with FaultServer(latency=asked.latency, knee=asked.knee, fall=asked.fall) as server:
        server.bodies = server.heads = Forgetful()
        server.served = Forgetful()
        print(server.url, flush=True)
        sys.stdin.read()


class Forgetful(list):  # type: ignore[type-arg]
    """A log of a long run that keeps nothing."""

    def append(self, item: object) -> None: ...

    def update(self, item: object) -> None: ...


if __name__ == "__main__":
    main()
