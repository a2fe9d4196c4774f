"""The engine that calls OpenAI-compatible servers: what is said to them, how fast, and what becomes of faults.

`ServerEngine` is imported from here only when it is used: it brings aiohttp, which help and plans do without.
"""

from typing import Any

from upwell.engines.server.wire import server_identity

__all__ = ["ServerEngine", "server_identity"]


def __getattr__(name: str) -> Any:
    if name == "ServerEngine":
        from upwell.engines.server.engine import ServerEngine

        return ServerEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
