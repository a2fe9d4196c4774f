"""The served page: every response of a run on demand, for this machine and who knows the address alone."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser import Browser
from fabricated import write_run

from upwell.errors import UsageError
from upwell.records import Response
from upwell.report import serve
from upwell.report.serving import Server
from upwell.runs import Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    room = tmp_path_factory.mktemp("served")
    return [write_run(room / name, problems=12, samples=16) for name in ("base", "tuned")]


@pytest.fixture(scope="module")
def server(runs: list[Path]) -> Iterator[Server]:
    server = serve(runs)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def get(server: Server, path: str, **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read(), answer.msg
    connection.close()
    return found


def asked(server: Server, what: str) -> Any:
    status, body, _ = get(server, f"/{server.token}/{what}")
    assert status == 200, body
    return json.loads(body)


def test_every_response_can_be_had(server: Server, runs: list[Path]) -> None:
    for number, path in enumerate(runs):
        by_problem: dict[str, list[Response]] = {}
        for response in Run.read(path).rows("responses", Response):
            by_problem.setdefault(response.problem, []).append(response)
        for key, responses in by_problem.items():
            held = asked(server, f"responses?run={number}&problem={quote(key, safe='')}")["responses"]
            wanted = sorted(responses, key=lambda one: one.index)
            assert [(one["index"], one["tokens"]) for one in held] == [
                (one.index, one.tokens) for one in wanted
            ]
            assert all(one["graded"] for one in held)


def test_the_page_holds_no_response_and_may_ask_its_own_server_alone(
    server: Server, runs: list[Path]
) -> None:
    status, page, headers = get(server, f"/{server.token}/")
    assert status == 200 and b'id="chunk-' not in page
    assert b"connect-src &#39;self&#39;" in page and headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"


def test_search_finds_problems_by_what_was_answered(server: Server, runs: list[Path]) -> None:
    first = next(iter(Run.read(runs[0]).rows("responses", Response)))
    text = first.text[-20:]
    found = asked(server, f"search?run=0&text={quote(text.upper())}")["problems"]
    assert first.problem in found
    assert asked(server, "search?run=0&text=no-such-words-anywhere")["problems"] == []
    assert asked(server, "search?run=0&text=")["problems"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/", "/wrong/", "/{token}", "/{token}/../../etc/passwd", "/{token}/manifest.json", "/{token}/responses",
        "/{token}/responses?run=9&problem=x", "/{token}/responses?run=-1&problem=x",
        "/{token}/responses?run=0&problem=x",
        "/{token}/responses?run=%C2%B2&problem=x", "/%F0%9F%92%A9/", "/{token}/search?run=1e3&text=a",
    ],
)  # fmt: skip
def test_nothing_else_is_served(server: Server, path: str) -> None:
    status, body, _ = get(server, path.replace("{token}", server.token))
    assert status == 404 and server.token.encode() not in body


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_another_name_for_this_machine_is_refused(server: Server, host: str) -> None:
    status, body, _ = get(server, f"/{server.token}/", Host=host)
    assert status == 403 and b"<html" not in body


def test_it_listens_on_loopback_alone_and_a_taken_port_is_told(server: Server, runs: list[Path]) -> None:
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(UsageError, match="cannot serve on port"):
        serve(runs, server.server_port)


def test_a_reader_opens_filters_and_compares(server: Server, runs: list[Path], browser: Browser) -> None:
    browser.window(1100, 900)
    browser.complaints.clear()
    browser.requests.clear()
    browser.visit(server.address)
    browser.evaluate("document.querySelector('.problem button').click()")
    browser.wait_for("document.querySelector('.response') !== null")
    assert browser.evaluate("document.querySelector('.choices [aria-pressed=true]') !== null")
    browser.evaluate(
        "(() => { const s = document.querySelector('[aria-label=\"Side by side with\"]');"
        " s.value = '1'; s.dispatchEvent(new Event('change')); })()"
    )
    browser.wait_for("document.querySelectorAll('.column').length === 2")
    assert browser.evaluate("document.querySelectorAll('.column .response').length") > 16
    assert not browser.complaints
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
