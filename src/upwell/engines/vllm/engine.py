"""Starts `vllm serve` from another environment, waits until it answers, and hands the requests to the server engine."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from upwell.engines.base import Reply, Request
from upwell.engines.checkpoints import Checkpoint
from upwell.engines.endpoint import Endpoint
from upwell.engines.server import ServerEngine
from upwell.engines.settings import EngineSettings
from upwell.engines.vllm.keeper import GRACE_SECONDS
from upwell.errors import EngineError, UsageError

LOG = "vllm.log"
_READY_SECONDS = 1800.0
"""A large model is read from a slow disk and compiled for; one that hangs longer than this will not come."""
_SAY_SECONDS = 15.0
_SHOWN_LINES = 20
_STARTS = 3
"""Times that it is started in one run: a server that dies of what it is asked dies again."""
_STOP_SECONDS = 30.0
_PATIENCE = 5.0
"""Seconds that the server engine waits for one that has died, before it is started again here."""


class VllmEngine:
    """Draws from a vLLM server that lives as long as this engine, on this machine's loopback.

    Args:
        checkpoint: what it serves.
        settings: `vllm_python`, `vllm_arg`, and how it is called.
        folder: where its log goes; a temporary folder if None.
        say: told what happens while it starts.

    Raises:
        UsageError: there is no vLLM.
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
        self._checkpoint = checkpoint
        self._settings = settings
        self._say = say
        self._python = _python_of(settings.vllm_python)
        self._log = (folder or Path(tempfile.mkdtemp(prefix="upwell-vllm-"))) / LOG
        self._key = secrets.token_urlsafe(24)
        self._keeper: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._start()

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Reply]:
        """One reply per request. Should vLLM die on the way, it is started again, and what was in flight asked again.

        Raises:
            EngineError: it dies again and again; the message has the end of its log.
        """
        rest = _Remembered(iter(requests))
        while True:
            try:
                for reply in self._server.generate(rest):
                    rest.answered(reply)
                    yield reply
                return
            except EngineError:
                if not self._has_died():
                    raise
                if self._starts >= _STARTS:
                    raise self._failed("vLLM died") from None
                self._say(f"vLLM died; starting it again: {_last_line(self._log)}")
                self._start()
                rest.again()

    def close(self) -> None:
        """Stop the server and all its processes. A second call does nothing."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        assert keeper.stdin is not None
        keeper.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            keeper.wait(_STOP_SECONDS)
        if keeper.poll() is None:
            keeper.kill()
            keeper.wait()

    def _has_died(self) -> bool:
        """Whether the server's processes have ended; its keeper takes some seconds to see to all of them."""
        if self._keeper is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._keeper.wait(1.5 * GRACE_SECONDS)
        return self._keeper is not None and self._keeper.poll() is not None

    def _start(self) -> None:
        self.close()
        self._starts += 1
        port = _free_port()
        name = self._checkpoint.name
        command = [self._python, "-m", "vllm.entrypoints.cli.main", "serve", str(self._checkpoint.folder)]
        command += flags(name, port, self._settings)
        self._say(f"starting vLLM: {shlex.join(['vllm', 'serve', name, *command[5:]])}")
        environment = (
            os.environ
            | {
                "VLLM_API_KEY": self._key,  # not on the command line, where every user of the machine could read it
                "VLLM_NO_USAGE_STATS": "1",
                "DO_NOT_TRACK": "1",
            }
        )
        with self._log.open("ab") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-m", "upwell.engines.vllm.keeper", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
            )
        try:
            self._await_ready(port)
        except BaseException:
            self.close()
            raise
        # It is ours: where it is gone, it is started again, which no patience of its client's would bring about.
        called = replace(self._settings, dialect="vllm", patience=min(self._settings.patience, _PATIENCE))
        self._server = ServerEngine(
            [Endpoint(f"http://127.0.0.1:{port}/v1", self._key)], name, settings=called, say=self._say
        )

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
                self._say(f"vLLM is starting, {now - begun:.0f} s: {_last_line(self._log)}")
            time.sleep(0.25)
        self._say(f"vLLM is ready after {time.monotonic() - begun:.0f} s")

    def _failed(self, what: str) -> EngineError:
        tail = "\n".join(f"  {line}" for line in _lines(self._log)[-_SHOWN_LINES:])
        return EngineError(
            f"{what}; the end of {self._log}:\n{tail}",
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


def vllm_identity(checkpoint: Checkpoint, settings: EngineSettings) -> str:
    """What produces the replies: vLLM, the weights, the dtype."""
    return f"vllm {checkpoint.name}@{checkpoint.digest[:12]}/{settings.dtype}"


def flags(name: str, port: int, settings: EngineSettings) -> list[str]:
    """The arguments of `vllm serve`: ours, each replaced by the user's where that has one of the same name."""
    ours = [
        "--host=127.0.0.1",
        f"--port={port}",
        f"--served-model-name={name}",
        f"--dtype={settings.dtype}",
        "--enable-prefix-caching",
        # Else a model's generation_config.json would change how tokens are drawn.
        "--generation-config=vllm",
        *([f"--tensor-parallel-size={gpus}"] if (gpus := visible_gpus()) > 1 else []),
    ]
    theirs = {_flag(argument) for argument in settings.vllm_arg}
    theirs |= {flag.replace("--no-", "--", 1) for flag in theirs if flag.startswith("--no-")}
    fixed = {"--host", "--port", "--served-model-name", "--api-key"}
    if taken := sorted(theirs & fixed):
        raise UsageError(f"--vllm-arg={taken[0]} is ours to choose", f"leave --vllm-arg={taken[0]} out")
    return [argument for argument in ours if _flag(argument) not in theirs] + list(settings.vllm_arg)


def visible_gpus() -> int:
    """How many GPUs vLLM would see."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return len([part for part in named.split(",") if part.strip() not in ("", "-1")])
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def _flag(argument: str) -> str:
    return argument.partition("=")[0].partition(" ")[0].replace("_", "-")


def _python_of(named: str | None) -> str:
    """The interpreter that has vLLM.

    Raises:
        UsageError: there is none.
    """
    hint = "install vLLM in an environment of its own, then --vllm-python ENVIRONMENT/bin/python"
    if named is not None:
        found = shutil.which(os.path.expanduser(named))
        if found is None:
            raise UsageError(f"--vllm-python: no program `{named}`", hint)
        return found
    program = shutil.which("vllm")
    if program is None:
        raise UsageError("there is no `vllm` on the PATH", hint)
    with contextlib.suppress(OSError, UnicodeDecodeError), open(program, encoding="utf-8") as script:
        first = script.readline()
        if first.startswith("#!") and Path(first[2:].strip()).exists():
            return first[2:].strip()
    raise UsageError(f"`{program}` does not say which Python runs it", hint)


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


def _lines(log: Path) -> Sequence[str]:
    """The lines of a log that say something."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - (1 << 16)))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.rstrip()[:300] for line in text.splitlines() if any(c.isalnum() for c in line)]


def _last_line(log: Path) -> str:
    return next(reversed(_lines(log)), "")[:160]
