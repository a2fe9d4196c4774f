"""The provider's files and batches over HTTP: plain calls that are repeated where that does no harm."""

from __future__ import annotations

import contextlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from upwell.engines.endpoint import Endpoint
from upwell.engines.server.faults import Doomed, Refusal, judge_status, shown
from upwell.errors import EngineError

T = TypeVar("T")

_LARGEST_JSON = 64 << 20
_CHUNK = 1 << 20
_PAGE = 100
_MOST_PAGES = 1000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_BOUNDARY = "upwell-7d1f0c9a5b"


class Transient(Exception):
    """A call that may go well later; whether it was carried out is not known.

    Args:
        why: what happened.
        wait: seconds that the server asks to be left alone.
    """

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


class Batch(msgspec.Struct, frozen=True):
    """What the provider says of a batch."""

    id: str
    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    metadata: dict[str, str] | None = None
    request_counts: dict[str, int] | None = None
    errors: dict[str, Any] | None = None


class _File(msgspec.Struct, frozen=True):
    id: str
    filename: str = ""


class _Page(msgspec.Struct, frozen=True):
    data: list[msgspec.Raw]
    has_more: bool = False


class Api:
    """Files and batches at one endpoint.

    Args:
        endpoint: where, and with which key; it travels in the Authorization header only.
        timeout: seconds that one call may take.
        patience: seconds that the server may be gone.
    """

    def __init__(self, endpoint: Endpoint, timeout: float, patience: float) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._patience = patience
        self._opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))

    def upload(self, path: Path, name: str) -> str:
        """Send a file. Returns its id. Raises `Transient` where it may have arrived or not."""
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        ).encode()
        tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
        size = len(head) + path.stat().st_size + len(tail)

        def parts() -> Iterator[bytes]:
            yield head
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
            yield tail

        kind = f"multipart/form-data; boundary={_BOUNDARY}"
        return self._decoded(self._call("POST", "files", parts(), kind, size), _File).id

    def create(self, file_id: str, url: str, name: str) -> Batch:
        """Submit a file. Raises `Transient` where it may have been submitted or not."""
        body = msgspec.json.encode(
            {
                "input_file_id": file_id,
                "endpoint": url,
                "completion_window": "24h",
                "metadata": {"upwell": name},
            }
        )
        return self._decoded(self._call("POST", "batches", body, "application/json"), Batch)

    def find_file(self, name: str) -> str | None:
        """The id of an uploaded file of this name."""
        for raw in self._listed("files?purpose=batch&"):
            file = msgspec.json.decode(raw, type=_File)
            if file.filename == name:
                return file.id
        return None

    def find_batch(self, name: str) -> Batch | None:
        """The batch that was created under this name."""
        for raw in self._listed("batches?"):
            batch = msgspec.json.decode(raw, type=Batch)
            if (batch.metadata or {}).get("upwell") == name:
                return batch
        return None

    def batch(self, batch_id: str) -> Batch:
        """How far a batch is."""
        return self.patiently(lambda: self._decoded(self._call("GET", f"batches/{batch_id}"), Batch))

    def download(self, file_id: str, target: Path) -> None:
        """Fetch a file's content; it is there whole or not at all."""
        aside = target.with_suffix(".part")

        def fetch() -> None:
            with self._opened("GET", f"files/{file_id}/content") as answer, aside.open("wb") as file:
                try:
                    while chunk := answer.read(_CHUNK):
                        file.write(chunk)
                except (OSError, http.client.HTTPException) as error:
                    raise Transient(_why(error)) from None
                if answer.length:
                    raise Transient("the connection ended in the middle of a file")
                file.flush()
                os.fsync(file.fileno())

        self.patiently(fetch)
        aside.replace(target)

    def patiently(self, call: Callable[[], T]) -> T:
        """Repeat a call that does no harm until it goes well.

        Raises:
            EngineError: it has not for as long as patience lasts, or never will.
        """
        begun, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            try:
                return call()
            except Transient as error:
                if time.monotonic() - begun > self._patience:
                    raise EngineError(
                        f"{self._endpoint.shown} could not be reached for {self._patience:g} s: {error}",
                        "run the same command again later: batches go on by themselves and are collected then",
                    ) from None
                time.sleep(max(error.wait, pause))
                pause = min(2 * pause, _LONGEST_PAUSE, self._patience / 4)

    def once(self, make: Callable[[], T], find: Callable[[], T | None], *, sought: bool) -> T:
        """Do what may be done only once.

        Args:
            make: does it; after `Transient` it may have been done or not.
            find: looks whether it was.
            sought: look first, because an earlier process may have done it.
        """
        first = not sought

        def attempt() -> T:
            nonlocal first
            if not first and (found := find()) is not None:
                return found
            first = False
            return make()

        return self.patiently(attempt)

    def _listed(self, path: str) -> Iterator[msgspec.Raw]:
        after = ""
        for _ in range(_MOST_PAGES):
            where = f"{path}limit={_PAGE}" + (f"&after={after}" if after else "")
            page = self._decoded(self._call("GET", where), _Page)
            yield from page.data
            if not page.has_more or not page.data:
                return
            after = msgspec.json.decode(page.data[-1], type=_File).id

    def _decoded(self, payload: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(payload, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Transient(f"not what was asked for: {shown(str(error))}") from None

    def _call(
        self, method: str, path: str, data: Any = None, kind: str | None = None, size: int | None = None
    ) -> bytes:
        with self._opened(method, path, data, kind, size) as answer:
            try:
                payload: bytes = answer.read(_LARGEST_JSON + 1)
            except (OSError, http.client.HTTPException) as error:
                raise Transient(_why(error)) from None
        if len(payload) > _LARGEST_JSON:
            raise Transient("the reply is larger than 64 MiB")
        return payload

    @contextlib.contextmanager
    def _opened(
        self, method: str, path: str, data: Any = None, kind: str | None = None, size: int | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer of status 200.

        Raises:
            Transient: none came, or one of a status that may pass.
            EngineError: the server will not serve us, or refuses this.
        """
        path, _, query = path.partition("?")
        url = self._endpoint.at(path)
        if query:
            url += ("&" if "?" in url else "?") + query
        request = urllib.request.Request(url, data=data, method=method)
        if kind is not None:
            request.add_header("Content-Type", kind)
        if size is not None:
            request.add_header("Content-Length", str(size))
        if self._endpoint.key is not None:
            request.add_header("Authorization", f"Bearer {self._endpoint.key}")
        try:
            answer = self._opener.open(request, timeout=self._timeout)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error, path) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Transient(_why(error)) from None
        with answer:
            yield answer

    def _refused(self, error: urllib.error.HTTPError, path: str) -> Exception:
        try:
            payload = error.read(1 << 16)
        except (OSError, http.client.HTTPException):
            payload = b""
        judged = judge_status(error.code, dict(error.headers), payload, secret=self._endpoint.key)
        where = f"{self._endpoint.shown}/{path}"
        if isinstance(judged, Doomed):
            return EngineError(f"{where}: {judged.message}", judged.hint)
        if isinstance(judged, Refusal):
            return EngineError(f"{where}: {judged.message}", "see what the provider says of its batch limits")
        return Transient(judged.message, judged.wait)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """Not followed: the key would go with it."""


def _why(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    return shown(str(getattr(cause, "strerror", None) or cause) or type(cause).__name__)
