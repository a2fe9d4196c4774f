"""The provider's files and batches over HTTP: plain calls that are repeated where that does no harm."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Annotated, Any, BinaryIO, TypeVar
from urllib.parse import quote, unquote, urlsplit

import msgspec

from upwell.engines.endpoint import Endpoint
from upwell.engines.server.faults import Doomed, Refusal, judge_status, shown
from upwell.errors import EngineError
from upwell.runs.storage import storage_error

T = TypeVar("T")

_LARGEST_JSON = 64 << 20
_LARGEST_ROW = 16 << 20
"""Bytes of output per request, on average, beyond which a download is broken off."""
_SLOWEST = 64 << 10
"""Bytes per second, on average, below which a download is cut and begun anew."""
_CHUNK = 1 << 20
_PAGE = 100
_MOST_PAGES = 1000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_SHOWS_AFTER = 3.0
"""Seconds after which what a broken call has made is taken to be in the provider's listings; fewer with a shorter
`poll_seconds`."""
_BOUNDARY = "upwell-7d1f0c9a5b"

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Transient(Exception):
    """A call that may go well later.

    Args:
        why: what happened.
        wait: seconds that the server asks to be left alone.
        doubtful: whether it may have been carried out nevertheless.
    """

    def __init__(self, why: str, wait: float = 0.0, *, doubtful: bool = True) -> None:
        super().__init__(why)
        self.wait = wait
        self.doubtful = doubtful


class Refused(Exception):
    """The provider will not do this, however often it is asked: too large a file, or something it has no more.

    Args:
        why: what it said.
        gone: whether what was asked about is not there.
    """

    def __init__(self, why: str, *, gone: bool) -> None:
        super().__init__(why)
        self.gone = gone


class Batch(msgspec.Struct, frozen=True):
    """What the provider says of a batch."""

    id: _Id
    status: str
    output_file_id: _Id | None = None
    error_file_id: _Id | None = None
    request_counts: Any = None
    errors: Any = None

    @property
    def progress(self) -> str:
        """Its status and counts, fit to be shown."""
        counts = self.request_counts if isinstance(self.request_counts, dict) else {}
        total, done, failed = (counts.get(name) for name in ("total", "completed", "failed"))
        if not (isinstance(total, int) and isinstance(done, int) and total):
            return shown(self.status)
        errors = f", {failed:,} failed" if isinstance(failed, int) and failed else ""
        return f"{shown(self.status)}, {done:,} of {total:,} done{errors}"

    @property
    def failure(self) -> tuple[str, str]:
        """Why it failed as a whole, fit to be shown, and the provider's name for that."""
        errors = self.errors.get("data") if isinstance(self.errors, dict) else None
        first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
        return shown(str(first.get("message") or "it does not say why")), str(first.get("code") or "")


class _File(msgspec.Struct, frozen=True):
    id: _Id


class _Page(msgspec.Struct, frozen=True):
    data: list[Any]
    has_more: bool | None = None


class Api:
    """Files and batches at one endpoint.

    Args:
        endpoint: where, and with which key; it travels in the Authorization header only.
        timeout: seconds that a call may take without a sign of life, and any but an upload or a download as a whole.
        patience: seconds that the server may be gone.
        poll: seconds between looks.
    """

    def __init__(self, endpoint: Endpoint, timeout: float, patience: float, poll: float) -> None:
        self._endpoint, self._authorization = _opened_by(endpoint)
        self._timeout = timeout
        self._patience = patience
        self._shows_after = min(_SHOWS_AFTER, poll)
        self._opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))

    def upload(self, path: Path, name: str) -> str:
        """Send a file. Returns its id.

        Raises:
            Transient: it may have arrived or not.
            Refused: the provider does not take it.
        """
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        ).encode()
        tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
        try:
            file = path.open("rb")
        except OSError as error:
            raise storage_error(path, error) from None

        def parts() -> Iterator[bytes]:
            yield head
            while chunk := file.read(_CHUNK):
                yield chunk
            yield tail

        with file:
            size = len(head) + os.fstat(file.fileno()).st_size + len(tail)
            kind = f"multipart/form-data; boundary={_BOUNDARY}"
            return self._decoded(self._call("POST", "files", parts(), kind, size), _File).id

    def create(self, file_id: str, url: str, name: str) -> str:
        """Submit a file. Returns the id of the batch.

        Raises:
            Transient: it may have been submitted or not.
            Refused: the provider does not take it.
        """
        body = msgspec.json.encode(
            {
                "input_file_id": file_id,
                "endpoint": url,
                "completion_window": "24h",
                "metadata": {"upwell": name},
            }
        )
        return self._decoded(self._call("POST", "batches", body, "application/json"), Batch).id

    def find_file(self, name: str) -> str | None:
        """The id of an uploaded file of this name."""
        return self._found("files?purpose=batch&", lambda entry: entry.get("filename") == name)

    def find_batch(self, name: str) -> str | None:
        """The id of the batch that was created under this name."""
        return self._found("batches?", lambda entry: _named(entry.get("metadata"), name))

    def batch(self, batch_id: str) -> Batch:
        """How far a batch is."""
        path = f"batches/{quote(batch_id, safe='')}"
        return self.patiently(lambda: self._decoded(self._call("GET", path), Batch))

    def download(self, file_id: str, target: Path, rows: int) -> None:
        """Fetch the file that answers so many requests; afterwards it is there whole or not at all.

        Raises:
            Refused: it is not there, or larger than any answer.
            StorageError: it cannot be written.
        """
        path, aside = f"files/{quote(file_id, safe='')}/content", target.with_suffix(".part")

        def fetch() -> None:
            with self._opened("GET", path) as answer, _written(aside) as file:
                size, begun = 0, time.monotonic()
                for chunk in _chunks(answer):
                    size += len(chunk)
                    if size > (rows + 1) * _LARGEST_ROW:
                        raise Refused(f"a file of {size >> 20} MiB answers {rows:,} requests", gone=False)
                    if time.monotonic() - begun > self._timeout + size / _SLOWEST:
                        raise Transient("a download was too slow")
                    try:
                        file.write(chunk)
                    except OSError as error:
                        raise storage_error(aside, error) from None

        self.patiently(fetch)
        try:
            aside.replace(target)
        except OSError as error:
            raise storage_error(target, error) from None

    def patiently(self, call: Callable[[], T]) -> T:
        """Repeat a call that does no harm until it goes well.

        Raises:
            EngineError: it has not for as long as patience lasts, or never will.
        """
        failing: float | None = None  # since when: one upload alone may take longer than patience
        pause = _FIRST_PAUSE
        while True:
            try:
                return call()
            except Transient as error:
                failing = failing or time.monotonic()
                if time.monotonic() - failing > self._patience:
                    raise EngineError(
                        f"{self._endpoint.shown} could not be reached for {self._patience:g} s: {error}",
                        "run the same command again later: batches go on by themselves and are collected then",
                    ) from None
                time.sleep(max(error.wait, pause))
                pause = min(2 * pause, _LONGEST_PAUSE, self._patience / 4)

    def once(self, make: Callable[[], T], find: Callable[[], T | None], *, begun: float | None) -> T:
        """Do what may be done only once.

        Args:
            make: does it.
            find: looks whether it was done.
            begun: seconds since an earlier process may have begun it, whose call the provider may still be at; None
                if none has.

        Raises:
            Refused: it will not be done.
            EngineError: the provider is gone, or does not say whether it was done.
        """
        wait = None if begun is None else max(0.0, self._shows_after - begun)

        def attempt() -> T:
            nonlocal wait
            if wait is not None:
                time.sleep(wait)
                wait = 0.0
                try:
                    if (found := find()) is not None:
                        return found
                except Refused as error:  # not a refusal to do it: it may be done
                    raise EngineError(
                        f"{error}: it is not known whether the last call was carried out",
                        "look at the provider's own page; if nothing was handed in, rm the newest batches/NUMBER.json",
                    ) from None
            wait = None
            try:
                return make()
            except Transient as error:
                if error.doubtful:
                    wait = self._shows_after
                raise

        return self.patiently(attempt)

    def _found(self, path: str, wanted: Callable[[dict[str, Any]], bool]) -> str | None:
        """The id of the first entry of a listing, the newest first, that is wanted."""
        seen: set[str] = set()
        after = ""
        for _ in range(_MOST_PAGES):
            where = f"{path}limit={_PAGE}" + (f"&after={quote(after, safe='')}" if after else "")
            page = self._decoded(self._call("GET", where), _Page)
            entries = [e for e in page.data if isinstance(e, dict) and isinstance(e.get("id"), str)]
            for entry in entries:
                if wanted(entry):
                    return str(entry["id"])
            if (
                not page.has_more or not entries or entries[-1]["id"] in seen
            ):  # the last: `after` is not honoured
                return None
            after = entries[-1]["id"]
            seen.add(after)
        raise EngineError(
            f"{self._endpoint.shown}/{path.partition('?')[0]} lists more than can be looked through",
            "delete old files and batches there",
        )

    def _decoded(self, payload: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(payload, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Transient(f"not what was asked for: {shown(str(error))}") from None

    def _call(
        self, method: str, path: str, data: Any = None, kind: str | None = None, size: int | None = None
    ) -> bytes:
        with self._opened(method, path, data, kind, size) as answer:
            payload, begun = bytearray(), time.monotonic()
            for chunk in _chunks(answer):
                payload += chunk
                if len(payload) > _LARGEST_JSON:
                    raise Transient("the reply is larger than 64 MiB")
                if time.monotonic() - begun > self._timeout:
                    raise Transient("the reply was too slow")
        return bytes(payload)

    @contextlib.contextmanager
    def _opened(
        self, method: str, path: str, data: Any = None, kind: str | None = None, size: int | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer of status 200.

        Raises:
            Transient: none came, or one of a status that may pass.
            Refused: the server will not do this.
            EngineError: the server will do nothing for us.
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
        if self._authorization is not None:
            request.add_header("Authorization", self._authorization)
        try:
            answer = self._opener.open(request, timeout=self._timeout)
        except urllib.error.HTTPError as error:
            with error:
                raise self._turned_down(error, path) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._lost(error) from None
        with answer:
            yield answer

    def _turned_down(self, error: urllib.error.HTTPError, path: str) -> Exception:
        try:
            payload = error.read(1 << 16)
        except (OSError, http.client.HTTPException):
            payload = b""
        judged = judge_status(error.code, dict(error.headers), payload, secret=self._endpoint.key)
        where = f"{self._endpoint.shown}/{path}"
        if isinstance(judged, Refusal) or (error.code == 404 and "/" in path):
            return Refused(f"{where}: {judged.message}", gone=error.code == 404)
        if isinstance(judged, Doomed):
            no_such = error.code in (404, 405)
            hint = "a server without a batch API is --model server:URL#NAME" if no_such else judged.hint
            return EngineError(f"{where}: {judged.message}", hint)
        return Transient(judged.message, judged.wait, doubtful=error.code != 429)

    def _lost(self, error: Exception) -> Transient:
        cause = getattr(error, "reason", error)
        said = str(getattr(cause, "strerror", None) or cause) or type(cause).__name__
        never_sent = isinstance(cause, (ConnectionRefusedError, socket.gaierror))
        return Transient(shown(said, self._endpoint.key), doubtful=not never_sent)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """Not followed: the key would go with it."""


def _opened_by(endpoint: Endpoint) -> tuple[Endpoint, str | None]:
    """The endpoint without user info in its URL, and the header that its key, or else that, makes."""
    parts = urlsplit(endpoint.url)
    user, at, host = parts.netloc.rpartition("@")
    header = None if endpoint.key is None else f"Bearer {endpoint.key}"
    if at and header is None:
        header = f"Basic {base64.b64encode(unquote(user).encode()).decode()}"
    return Endpoint(parts._replace(netloc=host).geturl(), endpoint.key), header


def _named(metadata: Any, name: str) -> bool:
    return isinstance(metadata, dict) and metadata.get("upwell") == name


def _chunks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body as it comes. Raises `Transient` where it breaks off."""
    try:
        while chunk := answer.read1(_CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise Transient(shown(str(error)) or type(error).__name__) from None
    if answer.length:
        raise Transient("the connection ended in the middle of a reply")


@contextlib.contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A file to write, on disk when it is left."""
    try:
        file = path.open("wb")
    except OSError as error:
        raise storage_error(path, error) from None
    with contextlib.closing(file):
        yield file
        try:
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(path, error) from None
