"""From what `--model` says to an engine: first what it is, without loading anything, then the engine itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from upwell.engines.base import Engine
from upwell.engines.checkpoints import Checkpoint, chat_source, resolve
from upwell.engines.endpoint import Endpoint, parse_endpoints
from upwell.engines.settings import BATCH, EMBEDDED, SERVER, VLLM, EngineSettings
from upwell.errors import UsageError

_AHEAD = 1024
"""Requests that a replica holds where `--slots` does not say how many it works on: twice the 512 slots that an embedded
engine takes at most by itself, so that it never waits for the driver."""


def _quiet(line: str) -> None: ...


@dataclass(frozen=True)
class Model:
    """A model that responses can be drawn from, before anything of it is loaded."""

    name: str
    """For records: a folder by its last part, a server's by what it calls the model."""
    kind: str
    """`embedded`, `server`, `vllm` or `batch`."""
    identity: str
    """What decides what a response means: engine, weights, dtype; no address, no machine path."""
    settings: EngineSettings
    checkpoint: Checkpoint | None = None
    """The weights, where they are here."""
    chat: Checkpoint | None = None
    """Whose chat template is applied here; None where the server applies its own."""
    endpoints: tuple[Endpoint, ...] = ()

    @property
    def chat_by_server(self) -> bool:
        """Whether the server puts the chat template around a question."""
        return self.chat is None

    def entry(self) -> dict[str, Any]:
        """What a manifest says of the model."""
        told: dict[str, Any] = {"name": self.name}
        if self.checkpoint is not None:
            told |= {"digest": self.checkpoint.digest, "revision": self.checkpoint.revision}
        if self.endpoints:
            told |= {"servers": [endpoint.shown for endpoint in self.endpoints]}
            told |= {"chat_template": "server" if self.chat is None else self.chat.name}
        return told

    @property
    def local(self) -> bool:
        """Whether calls go to this machine alone, so that they cost nothing."""
        return all(endpoint.local for endpoint in self.endpoints)

    def open(self, *, folder: Path | None = None, say: Callable[[str], None] = _quiet) -> Engine:
        """Load the model or reach its server.

        Args:
            folder: where an engine may keep files of its own (batch files, a server's log): the run directory.
            say: told in a line what was decided.

        Raises:
            UsageError, MissingExtra: the model, the settings or this machine do not allow it.
            EngineError: the server is not to be had.
        """
        if self.settings.ray is not None:
            return self._replicated(say)
        if self.kind == SERVER:
            from upwell.engines.server.engine import ServerEngine

            return ServerEngine(self.endpoints, self.name, settings=self.settings, say=say)
        if self.kind == BATCH:
            from upwell.engines.batch import BatchEngine

            if folder is None:
                raise UsageError(
                    f"a batch of `{self.name}` needs a run directory to keep its files in", "give --out"
                )
            return BatchEngine(
                self.endpoints[0], self.name, settings=self.settings, folder=folder / "batches", say=say
            )
        assert self.checkpoint is not None
        if self.kind == VLLM:
            from upwell.engines.vllm import VllmEngine

            return VllmEngine(self.checkpoint, settings=self.settings, folder=folder, say=say)
        from upwell.engines.embedded.engine import EmbeddedEngine

        settings = self.settings
        return EmbeddedEngine(
            self.checkpoint,
            dtype=settings.dtype,
            device=settings.device,
            slots=settings.slots,
            memory_gb=settings.memory_gb,
            threads=settings.threads,
            logprobs=settings.logprobs,
            say=say,
        )

    def _replicated(self, say: Callable[[str], None]) -> Engine:
        from upwell.engines.ray import RayEngine

        settings = self.settings
        assert settings.ray is not None
        alone = replace(settings, ray=None, replicas=None, gpus_per_replica=None, cpus_per_replica=None)
        key = os.environ.get(settings.key_env) if settings.key_env else None
        held = settings.slots if self.kind == EMBEDDED else settings.max_concurrency
        return RayEngine(
            partial(_replica, self, alone),
            identity=self.identity,
            address=settings.ray,
            replicas=settings.replicas or 1,
            gpus=settings.gpus_per_replica or 0.0,
            cpus=settings.cpus_per_replica or float(settings.threads or 1),
            ahead=2 * held if held else _AHEAD,
            secrets={settings.key_env: key} if settings.key_env and key else {},
            say=say,
        )


def find_model(
    name: str, settings: EngineSettings, *, say: Callable[[str], None] = _quiet, flag: str = "--model"
) -> Model:
    """What `--model` says, or another flag that names a model.

    Args:
        name: `server:URL[,URL]#NAME`, `vllm:CHECKPOINT`, `batch:URL#NAME`, or a checkpoint to be run here
            (see `upwell.engines.checkpoints.resolve`).
        settings: how it is to be run or reached.
        say: told what takes long.
        flag: what the name was said with, for errors.

    Raises:
        UsageError: it is not there, the name is malformed, or a setting does nothing for this kind of model.
    """
    try:
        return _find(name, settings, say)
    except UsageError as error:
        if flag != "--model":
            error.message = error.message.replace("--model", flag)
            error.hint = error.hint and error.hint.replace("--model", flag)
        raise


def _find(name: str, settings: EngineSettings, say: Callable[[str], None]) -> Model:
    kind, colon, rest = name.partition(":")
    if kind in ("http", "https"):
        # The address is not repeated: it may hold a password.
        raise UsageError("--model is an address, and not said to be a server", f"--model {SERVER}:URL#NAME")
    if not colon or kind not in (SERVER, VLLM, BATCH):
        settings.check_used(EMBEDDED, name)
        checkpoint = resolve(name, say=say)
        from upwell.engines.embedded.loading import identity as embedded_identity

        return Model(
            name=checkpoint.name,
            kind=EMBEDDED,
            identity=embedded_identity(checkpoint, settings.dtype, settings.device),
            settings=settings,
            checkpoint=checkpoint,
            chat=checkpoint,
        )
    if kind == VLLM:
        settings.check_used(VLLM, name)
        from upwell.engines.vllm import vllm_identity

        checkpoint = resolve(rest, say=say)
        return Model(
            name=checkpoint.name,
            kind=VLLM,
            identity=vllm_identity(checkpoint, settings),
            settings=settings,
            checkpoint=checkpoint,
            chat=checkpoint,  # rendered here, so that both engines see the same tokens
        )
    endpoints, served = parse_endpoints(rest, settings.key_env)
    settings.check_used(kind, f"{kind}:{served}")
    if kind == BATCH and len(endpoints) > 1:
        raise UsageError("a batch goes to one server, but --model names several", "--model batch:URL#NAME")
    chat = None if settings.chat_template == "server" else chat_source(settings.chat_template, say=say)
    return Model(
        name=served,
        kind=kind,
        identity=_remote_identity(kind, served, settings),
        settings=settings,
        chat=chat,
        endpoints=endpoints,
    )


def _remote_identity(kind: str, served: str, settings: EngineSettings) -> str:
    if kind == SERVER:
        from upwell.engines.server import server_identity

        return server_identity(served, settings)
    from upwell.engines.batch import batch_identity

    return batch_identity(served, settings)


def _replica(model: Model, settings: EngineSettings) -> Engine:
    """Made inside a worker: the key comes from the worker's own environment, not with the model."""
    key = os.environ.get(settings.key_env) if settings.key_env else None
    endpoints = tuple(replace(endpoint, key=key) for endpoint in model.endpoints)
    return replace(model, settings=settings, endpoints=endpoints).open()
