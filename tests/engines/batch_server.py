"""A provider's batch API on loopback, with a memory longer than its clients' lives, and the faults of real ones."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fault_server import LONGEST_PROMPT, MODEL, babble, completion

from upwell.engines.base import Reply, Request, Sampling
from upwell.engines.batch import BatchEngine
from upwell.engines.endpoint import Endpoint
from upwell.engines.server.wire import seed_of
from upwell.engines.settings import EngineSettings

Fault = Callable[[str], str | None]


@dataclass
class BatchServer:
    """Files and batches; answers in words that follow from seed and prompt.

    Args:
        fault: given a step (`upload`, `create`, `poll`, `download`), what goes wrong with this call of it: `500`,
            `401`, `404`, `drop` (before the work), `drop-after` (after it), `drop-late` (the work is done `late`
            seconds after), `half` a reply, or None.
        spoil: given a custom id, what is wrong with its row: `error`, `missing`, `torn`, `status-500`, `quota`, or
            None.
        ends: how a batch ends, by its number from 1: `completed`, `expired` (half of it is done), `failed`, `busy`
            (it fails because too much is queued).
        seconds: how long a batch takes.
        after: told of each step when it is done and nobody has heard of it yet.
        more: bytes put before and after what comes out of every batch.
    """

    fault: Fault = lambda step: None
    spoil: Fault = lambda custom_id: None
    ends: Callable[[int], str] = lambda number: "completed"
    seconds: float = 0.0
    late: float = 0.1
    after: Callable[[str], None] = lambda step: None
    more: tuple[bytes, bytes] = (b"", b"")
    page: int = 3
    """Entries of a page of a listing, so that listings have pages."""
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    served: Counter[str] = field(default_factory=Counter)
    """Times that each custom id was answered well, and so was paid."""
    steps: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    foreign: list[dict[str, Any]] = field(default_factory=list)
    """What else the listing of batches holds."""

    def __enter__(self) -> BatchServer:
        self._lock = threading.Lock()
        outer = self

        class Handler(_Handler):
            server_state = outer

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def upload(self, name: str, content: bytes) -> dict[str, Any]:
        with self._lock:
            file_id = f"file-{len(self.files) + 1}"
            self.files[file_id] = (name, content)
            return {"id": file_id, "filename": name, "purpose": "batch"}

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            number = len(self.batches) + 1
            batch = {
                "id": f"batch_{number}", "object": "batch", "status": "validating", "number": number,
                "input_file_id": asked["input_file_id"], "endpoint": asked["endpoint"],
                "metadata": asked.get("metadata"), "created": time.monotonic(),
            }  # fmt: skip
            self.batches[batch["id"]] = batch
            return batch

    def look(self, batch_id: str) -> dict[str, Any]:
        with self._lock:
            batch = self.batches[batch_id]
            if batch["status"] in ("validating", "in_progress"):
                batch["status"] = "in_progress"
                if time.monotonic() - batch["created"] >= self.seconds:
                    self._work(batch)
            return batch

    def _work(self, batch: dict[str, Any]) -> None:
        batch["status"] = end = self.ends(batch["number"])
        if end in ("failed", "busy"):
            code = "token_limit_exceeded" if end == "busy" else "invalid_json_line"
            batch["errors"] = {"data": [{"code": code, "message": "line 1 is not to our taste"}]}
            batch["status"] = "failed"
            return
        rows = [json.loads(line) for line in self.files[batch["input_file_id"]][1].splitlines()]
        done = rows[: len(rows) // 2] if end in ("expired", "cancelled") else rows
        good, bad = b"", b""
        for row in done:
            line, error = self._serve(row)
            good, bad = good + line, bad + error
        before, behind = self.more
        for kind, content in (("output", before + good + behind), ("error", bad)):
            if content:
                file_id = f"file-{kind}-{batch['number']}"
                self.files[file_id] = (f"{kind}.jsonl", content)
                batch[f"{kind}_file_id"] = file_id
        batch["request_counts"] = {"total": len(rows), "completed": len(done), "failed": 0}

    def _serve(self, row: dict[str, Any]) -> tuple[bytes, bytes]:
        custom_id, body = row["custom_id"], row["body"]
        prompt = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        fault = self.spoil(custom_id)
        if fault == "missing":
            return b"", b""
        if fault == "error":
            return b"", _row(custom_id, None, {"code": "batch_expired", "message": "too late"})
        if fault == "status-500":
            return b"", _row(custom_id, {"status_code": 500, "body": {"error": {"message": "broke"}}}, None)
        if fault == "quota":
            said = {"error": {"message": "pay first", "code": "insufficient_quota"}}
            return b"", _row(custom_id, {"status_code": 429, "body": said}, None)
        if len(prompt) > LONGEST_PROMPT:
            said = {"error": {"message": f"{len(prompt)} characters are too many: 400", "code": "context"}}
            return b"", _row(custom_id, {"status_code": 400, "body": said}, None)
        line = _row(custom_id, {"status_code": 200, "body": completion(body, prompt, 1)}, None)
        if fault == "torn":
            return line[: len(line) // 2] + b"\n", b""
        self.served[custom_id] += 1
        return line, b""


def _row(custom_id: str, response: Any, error: Any) -> bytes:
    return (
        json.dumps({"id": "r", "custom_id": custom_id, "response": response, "error": error}).encode() + b"\n"
    )


class _Handler(BaseHTTPRequestHandler):
    server_state: BatchServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.partition("?")[0].endswith("/files"):
            name = re.search(rb'filename="([^"]+)"', content)
            assert name is not None
            start = content.index(b"\r\n\r\n", content.index(b'name="file"')) + 4
            rows = content[start : content.rindex(b"\r\n--")]
            self._do("upload", lambda: self.server_state.upload(name[1].decode(), rows))
        else:
            self._do("create", lambda: self.server_state.create(json.loads(content)))

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        state = self.server_state
        if path.endswith("/content"):
            self._do("download", lambda: state.files[path.split("/")[-2]][1])
        elif path.endswith("/files"):
            self._do(
                "list",
                lambda: self._paged([{"id": i, "filename": f[0]} for i, f in state.files.items()], query),
            )
        elif path.endswith("/batches"):
            self._do("list", lambda: self._paged([*state.batches.values(), *state.foreign], query))
        else:
            self._do("poll", lambda: state.look(path.split("/")[-1]))

    def _paged(self, entries: list[dict[str, Any]], query: str) -> dict[str, Any]:
        entries = entries[::-1]  # the newest first, as providers do
        after = re.search(r"after=([^&]+)", query)
        start = next((i + 1 for i, e in enumerate(entries) if after and e["id"] == after[1]), 0)
        some = entries[start : start + self.server_state.page]
        return {"data": some, "has_more": start + self.server_state.page < len(entries)}

    def _do(self, step: str, work: Callable[[], Any]) -> None:
        state = self.server_state
        state.steps[step] += 1
        state.keys.add(self.headers.get("Authorization", ""))
        fault = state.fault(step)
        if fault in ("drop", "drop-late"):
            self.close_connection = True
            if fault == "drop-late":
                threading.Timer(state.late, work).start()
            return
        if fault is not None and fault.isdigit():
            self._send(int(fault), b'{"error": {"message": "broke"}}')
            return
        try:
            made = work()
        except KeyError:
            self._send(404, b'{"error": {"message": "there is none"}}')
            return
        state.after(step)
        if fault == "drop-after":
            self.close_connection = True
            return
        payload = made if isinstance(made, bytes) else json.dumps(made).encode()
        self._send(200, payload, len(payload) // 2 if fault == "half" else None)

    def _send(self, status: int, payload: bytes, most: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        with contextlib.suppress(OSError):  # the client may be dead
            self.wfile.write(payload[:most])
        self.close_connection = self.close_connection or most is not None


QUICK = EngineSettings(batch_rows=8, poll_seconds=0.02, patience=10.0, request_timeout=5.0)


def requests(count: int, **changes: Any) -> list[Request]:
    given: dict[str, Any] = dict(add_special_tokens=True, sampling=Sampling(max_tokens=64)) | changes
    return [
        Request(key=f"{n // 4}#{n % 4}", prompt=f"prompt {n // 4}", seed=n, **given) for n in range(count)
    ]


def batch_engine(
    server: BatchServer, folder: Path, settings: EngineSettings = QUICK, **changes: Any
) -> BatchEngine:
    return BatchEngine(Endpoint(server.url, "the-key"), MODEL, settings=settings, folder=folder, **changes)


def right(replies: list[Reply], asked: list[Request]) -> None:
    assert Counter(reply.key for reply in replies) == Counter(request.key for request in asked)
    wanted = {request.key: babble(seed_of(request.seed), request.prompt) for request in asked}
    assert {reply.key: reply.text for reply in replies} == wanted


__all__ = ["MODEL", "QUICK", "BatchServer", "batch_engine", "requests", "right"]
