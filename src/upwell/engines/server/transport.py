"""HTTP to one server: a call out, its whole reply back, bounded; or one of two ways in which there is none."""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import TracebackType

import aiohttp
import msgspec
from yarl import URL

from upwell.engines.endpoint import Endpoint
from upwell.engines.server.faults import shown

LARGEST_REPLY = 64 << 20
"""Bytes of one reply; a longer one is not read on."""
_LARGEST_PLAIN_BODY = 1 << 20
"""aiohttp wants larger bodies as files."""
_CONNECT_SECONDS = 30.0
_IDLE_SECONDS = 4.0
"""uvicorn, under vLLM and SGLang, closes idle connections after 5: a call on one that it is closing is lost."""


class Unreachable(Exception):
    """No connection came about, so no call was made."""


class Dropped(Exception):
    """The connection broke, or what came over it was no HTTP, after the call had gone out."""


class TooLarge(Exception):
    """The reply is larger than `LARGEST_REPLY`, or compressed though nobody asked for that."""


class Fetched(msgspec.Struct, frozen=True):
    """A whole reply."""

    status: int
    headers: Mapping[str, str]
    payload: bytes


class Transport:
    """Connections to servers, reused. Enter it in the event loop that uses it.

    A key travels in the Authorization header only; redirects are not followed, cookies not kept, and neither
    proxies nor credentials are taken from the environment.
    """

    async def __aenter__(self) -> Transport:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            auto_decompress=False,
            trust_env=False,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "upwell"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def fetch(self, address: Address, body: bytes | None = None) -> Fetched:
        """POST a JSON body, or GET without one.

        Raises:
            Unreachable, Dropped, TooLarge: there is no reply to speak of.
        """
        data = body if body is None or len(body) < _LARGEST_PLAIN_BODY else io.BytesIO(body)
        try:
            async with self._session.request(
                "GET" if body is None else "POST",
                address.url,
                data=data,
                headers=address.headers,
                allow_redirects=False,
            ) as response:
                return Fetched(response.status, response.headers, await _whole(response))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unreachable(_why(error)) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Dropped(_why(error)) from None


class Address:
    """Where a kind of call goes, and the headers that it carries: made once, used for every call."""

    def __init__(self, endpoint: Endpoint, path: str) -> None:
        url = URL(endpoint.at(path))
        self.headers = {"Content-Type": "application/json"}
        if endpoint.key is not None:
            self.headers["Authorization"] = f"Bearer {endpoint.key}"
        elif url.user is not None:
            self.headers["Authorization"] = aiohttp.BasicAuth(url.user, url.password or "", "utf-8").encode()
        self.url = url.with_user(None)


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """The body, unless there is too much of it."""
    length = response.content_length
    if response.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
        response.close()
        raise TooLarge("the reply is compressed, which was not asked for")
    if length is not None and length <= LARGEST_REPLY:
        return await response.read()
    parts, size = [], 0
    if length is None:
        async for part in response.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > LARGEST_REPLY:
                break
        else:
            return b"".join(parts)
    response.close()  # not released: the rest of it is still coming
    raise TooLarge(f"the reply is larger than {LARGEST_REPLY >> 20} MiB")


def _why(error: Exception) -> str:
    """What went wrong with a connection, in a few words and without its address."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection without a reply"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"no connection within {_CONNECT_SECONDS:.0f} s"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    said = getattr(cause, "strerror", None) or str(cause) or type(error).__name__
    return shown(str(said))
