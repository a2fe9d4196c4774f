"""The same page, served: every response is read from its run when it is asked for.

The standard library's server is enough: one reader on this machine, a handful of requests, and nothing to install.
"""

from __future__ import annotations

import json
import secrets
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from upwell.errors import UsageError
from upwell.records import Problem, Response, Verdict
from upwell.report.embedding import responses_of
from upwell.report.reading import LONGEST_TEXT, ProblemView, Shown
from upwell.runs import Run

LOOPBACK = "127.0.0.1"
_LONGEST_SEARCH = 200
_MOST_FOUND = 100_000


class _Key(msgspec.Struct, gc=False):
    key: str


@dataclass(frozen=True, eq=False)
class Shelf:
    """A run whose rows are found by problem: where each begins in its file, eight bytes a row."""

    run: Run
    problems: dict[str, Problem]
    responses: dict[str, array[int]]
    verdicts: dict[str, array[int]]

    @classmethod
    def of(cls, path: Path) -> Shelf:
        """Read where the rows of a run begin; no text is kept."""
        run = Run.read(path)
        problems = {problem.key: problem for problem in run.rows("problems", Problem)}
        places = [_places(path / f"{table}.jsonl", problems.keys()) for table in ("responses", "verdicts")]
        return cls(run, problems, *places)

    def held(self, problem: str) -> dict[str, Any]:
        """All responses to a problem with their verdicts, as the page shows them."""
        verdicts = {
            verdict.key: verdict for verdict in self._rows("verdicts", self.verdicts.get(problem), Verdict)
        }
        responses = self._rows("responses", self.responses.get(problem), Response)
        shown = [Shown(response, verdicts.get(response.key)) for response in responses]
        shown.sort(key=lambda one: one.response.index)
        return responses_of(ProblemView(self.problems[problem], shown=shown), LONGEST_TEXT)

    def with_text(self, text: str) -> Iterator[str]:
        """Keys of the problems to which some response holds the text, whatever its case."""
        wanted, seen = text.lower(), set[str]()
        for response in self.run.rows("responses", Response):
            if response.problem not in seen and wanted in response.text.lower():
                seen.add(response.problem)
                yield response.problem

    def _rows(self, table: str, places: array[int] | None, kind: type[Any]) -> Iterator[Any]:
        decoder = msgspec.json.Decoder(kind)
        with (self.run.path / f"{table}.jsonl").open("rb") as file:
            for place in places or ():
                file.seek(place)
                yield decoder.decode(file.readline())


def _places(path: Path, known: Any) -> dict[str, array[int]]:
    found: dict[str, array[int]] = {key: array("q") for key in known}
    decoder, place = msgspec.json.Decoder(_Key), 0
    if not path.exists():
        return found
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):  # a torn line is no row
                problem = decoder.decode(line).key.rpartition("#")[0]
                if problem in found:
                    found[problem].append(place)
            place += len(line)
    return found


class Server(ThreadingHTTPServer):
    """Serves one page to this machine, under an address that nobody can guess."""

    daemon_threads = True

    def __init__(self, page: bytes, shelves: list[Shelf], port: int = 0) -> None:
        """
        Args:
            page: HTML of the report, made to be served.
            shelves: the runs, in the page's order.
            port: 0 for any that is free.

        Raises:
            UsageError: the port is taken.
        """
        self.page, self.shelves, self.token = page, shelves, secrets.token_urlsafe(16)
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise UsageError(
                f"cannot serve on port {port}: {error.strerror}", "--port 0 takes a free one"
            ) from None

    @property
    def address(self) -> str:
        """What to open."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that goes away is no error of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """Answer with the page, the responses to a problem, or the problems whose responses hold a text."""
        asked = urlsplit(self.path)
        host = self.headers.get("Host", "")
        # A page elsewhere may have a name resolve to this machine, but not send another Host.
        if host not in (f"{LOOPBACK}:{self.server.server_port}", f"localhost:{self.server.server_port}"):
            return self._say(403, "this page is for this machine alone")
        _, token, *rest = asked.path.split("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()) or len(rest) != 1:
            return self._say(404, "no such page; open the whole address that upwell printed")
        query = {name: values[-1] for name, values in parse_qs(asked.query).items()}
        if rest[0] == "":
            return self._send(200, self.server.page, "text/html; charset=utf-8")
        shelf = self._shelf(query)
        if rest[0] not in ("responses", "search") or shelf is None:
            return self._say(404, "no such page")
        if rest[0] == "responses":
            if query.get("problem") not in shelf.problems:
                return self._say(404, "no such problem")
            return self._json(shelf.held(query["problem"]))
        text = query.get("text", "").strip()[:_LONGEST_SEARCH]
        found = (
            [key for key, _ in zip(shelf.with_text(text), range(_MOST_FOUND), strict=False)] if text else []
        )
        return self._json({"problems": found})

    def _shelf(self, query: dict[str, str]) -> Shelf | None:
        number = query.get("run", "")
        fits = (
            number.isascii()
            and number.isdigit()
            and len(number) < 5
            and int(number) < len(self.server.shelves)
        )
        return self.server.shelves[int(number)] if fits else None

    def _json(self, content: object) -> None:
        self._send(200, json.dumps(content, ensure_ascii=True, allow_nan=False).encode(), "application/json")

    def _say(self, status: int, text: str) -> None:
        self._send(status, f"{text}\n".encode(), "text/plain; charset=utf-8")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"), ("X-Frame-Options", "DENY"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the address holds the token."""
