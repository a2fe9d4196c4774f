"""Starts `vllm serve` from another environment, waits until it answers, and hands the requests to the server engine."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from upwell.engines.base import Reply, Request
from upwell.engines.checkpoints import Checkpoint
from upwell.engines.endpoint import Endpoint
from upwell.engines.settings import EngineSettings
from upwell.engines.vllm import keeper
from upwell.engines.vllm.command import command_of, python_of, vllm_identity
from upwell.engines.vllm.log import Log
from upwell.errors import EngineError
from upwell.runs.secrets import scrub_command

if TYPE_CHECKING:
    from upwell.engines.server.engine import ServerEngine

LOG = "vllm.log"
_READY_SECONDS = 1800.0
"""A large model is read from a slow disk and compiled for; one that hangs longer than this will not come."""
_SAY_SECONDS = 15.0
_STARTS = 3
"""Times that it is started by one engine: a server that dies of what it is asked dies again."""
_STOP_SECONDS = 3 * keeper.GRACE_SECONDS
_PATIENCE = 5.0
"""Seconds without a connection after which it is looked at: one that has died is started again, which no patience of
its client's would bring about; one that is there gets the patience of the settings."""


class VllmEngine:
    """Draws from a vLLM server that lives as long as this engine, on this machine's loopback.

    Args:
        checkpoint: what it serves.
        settings: `vllm_python`, `vllm_arg`, and how it is called.
        folder: where its log goes; a temporary folder if None.
        say: told what happens while it starts.

    Raises:
        UsageError: there is no vLLM, or `vllm_arg` has what is ours to choose.
        EngineError: it does not start; the message has the end of its log.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        settings: EngineSettings,
        folder: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.identity = vllm_identity(checkpoint, settings)
        self.endpoint: Endpoint
        """Where it is now, with the key to it."""
        self._checkpoint = checkpoint
        self._settings = settings
        self._say = say
        self._python = python_of(settings.vllm_python)
        self._path = (folder or Path(tempfile.mkdtemp(prefix="upwell-vllm-"))) / LOG
        self._key = secrets.token_urlsafe(24)
        self._keeper: subprocess.Popen[bytes] | None = None
        self._server: ServerEngine
        self._log: Log
        self._starts = 0
        self._start()

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Reply]:
        """One reply per request. Should vLLM die on the way, it is started again, and what was in flight asked again.

        Raises:
            EngineError: it dies again and again, or is there and does not answer; the message has the end of its log.
        """
        rest = _Remembered(iter(requests))
        silent_since: float | None = None
        while True:
            asked_at = time.monotonic()
            try:
                for reply in self._server.generate(rest):
                    rest.answered(reply)
                    silent_since = None
                    yield reply
                return
            except EngineError:
                if self._has_died():
                    if self._starts >= _STARTS:
                        raise self._failed(f"vLLM died, for the {self._starts}. time") from None
                    self._say(f"vLLM died; starting it again: {'; '.join(self._log.trouble()[:2])[:300]}")
                    self._start()
                    silent_since = None
                else:
                    silent_since = silent_since or asked_at
                    away = self._server.remotes[0].down_since is not None
                    if not away or time.monotonic() - silent_since > self._settings.patience:
                        raise
                rest.again()

    def close(self) -> None:
        """Stop the server and all its processes. A second call does nothing."""
        kept, self._keeper = self._keeper, None
        if kept is None:
            return
        assert kept.stdin is not None
        kept.stdin.close()
        kept.terminate()  # a process forked from us may hold the pipe open
        with contextlib.suppress(subprocess.TimeoutExpired):
            kept.wait(_STOP_SECONDS)
        if kept.poll() is None:
            kept.kill()
            kept.wait()

    def _has_died(self) -> bool:
        """Whether the server's processes have ended; its keeper takes some seconds to see to all of them."""
        if self._keeper is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._keeper.wait(1.5 * keeper.GRACE_SECONDS)
        return self._keeper is not None and self._keeper.poll() is not None

    def _start(self) -> None:
        self.close()
        self._starts += 1
        port = _free_port()
        name = self._checkpoint.name
        command = command_of(self._python, self._checkpoint, port, self._settings)
        self._say(f"starting vLLM: {shlex.join(['vllm', 'serve', name, *scrub_command(command[5:])])}")
        environment = {
            "VLLM_API_KEY": self._key,  # not on the command line, where every user of the machine could read it
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "PYTHONSAFEPATH": "1",  # else a folder `vllm` where we happen to stand would be taken for it
        }
        self._log = Log(self._path)
        with self._path.open("ab") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, keeper.__file__, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | environment,
                start_new_session=True,
            )
        try:
            self._await_ready(port)
        except BaseException:
            self.close()
            raise
        from upwell.engines.server.engine import ServerEngine

        self.endpoint = Endpoint(f"http://127.0.0.1:{port}/v1", self._key)
        called = replace(self._settings, dialect="vllm", patience=min(self._settings.patience, _PATIENCE))
        self._server = ServerEngine([self.endpoint], name, settings=called, say=self._say)

    def _await_ready(self, port: int) -> None:
        assert self._keeper is not None
        begun = told = time.monotonic()
        while not _healthy(port):
            if self._keeper.poll() is not None:
                raise self._failed("vLLM did not start")
            now = time.monotonic()
            if now - begun > _READY_SECONDS:
                raise self._failed(f"vLLM was not ready after {_READY_SECONDS:.0f} s")
            if now - told > _SAY_SECONDS:
                told = now
                self._say(f"vLLM is starting, {now - begun:.0f} s: {self._log.last()}")
            time.sleep(0.25)
        self._say(f"vLLM is ready after {time.monotonic() - begun:.0f} s")

    def _failed(self, what: str) -> EngineError:
        tail = "\n".join(f"  {line}" for line in self._log.trouble()) or "  (nothing)"
        return EngineError(
            f"{what}; out of the end of {self._path}:\n{tail}",
            "mend what it says; --vllm-arg=--max-model-len=4096 is one way to need less memory",
        )


class _Remembered:
    """The source, and what of it is not answered yet, so that it can be asked again."""

    def __init__(self, source: Iterator[Request | None]) -> None:
        self._source = source
        self._out: dict[str, Request] = {}
        self._owed: list[Request] = []

    def __iter__(self) -> Iterator[Request | None]:
        while self._owed:
            yield self._owed.pop()
        for request in self._source:
            if request is not None:
                self._out[request.key] = request
            yield request

    def answered(self, reply: Reply) -> None:
        self._out.pop(reply.key, None)

    def again(self) -> None:
        """Begin anew with all that is out."""
        self._owed = list(reversed(self._out.values()))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _healthy(port: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False
