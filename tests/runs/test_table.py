"""Rows on disk: torn, damaged, refused by a full disk, read while they are written."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from killed_writer import SETTINGS

from upwell.errors import StorageError, UpwellError, UsageError
from upwell.records import Failure, Problem, Response
from upwell.runs import Run
from upwell.runs import table as table_module


def make(index: int, text: str = "The answer is: 4", **more: object) -> Response:
    fields = {"problem": "p", "finish": "stop", "tokens": 5, "seed": index} | more
    return Response(key=f"p#{index}", index=index, text=text, **fields)  # type: ignore[arg-type]


def written(path: Path, rows: int) -> Path:
    """A run with that many responses; the path of its table."""
    with Run.open(path, **SETTINGS) as run:
        run.append("responses", [make(index) for index in range(rows)])
    return path / "responses.jsonl"


def keys(*indices: int) -> set[str]:
    return {f"p#{index}" for index in indices}


@pytest.mark.parametrize(
    "tail",
    [
        b'{"key":"p#3"',
        b'{"key":"p#3","problem":"p"}',
        b'{"key":"p#3","te\n',
        b"\0" * 70_000,
        b"{",
        b"\xff\xfe",
        b"\n",
    ],
    ids=["cut", "no newline", "cut, with newline", "zeros", "one byte", "not UTF-8", "empty line"],
)
def test_a_torn_last_line_is_cut_and_owed_again(tmp_path: Path, tail: bytes) -> None:
    table = written(tmp_path, 3)
    whole = table.read_bytes()
    table.write_bytes(whole + tail)

    reader = Run.read(tmp_path)
    assert [row.index for row in reader.rows("responses", Response)] == [0, 1, 2]
    assert reader.keys("responses") == keys(0, 1, 2)
    assert table.read_bytes() == whole + tail, "a reader writes nothing"

    with Run.open(tmp_path, **SETTINGS) as run:
        assert run.keys("responses") == keys(0, 1, 2)
        assert table.read_bytes() == whole
        run.append("responses", [make(3)])
    assert Run.read(tmp_path).keys("responses") == keys(0, 1, 2, 3)


def test_append_alone_never_glues_a_row_to_a_torn_one(tmp_path: Path) -> None:
    table = written(tmp_path, 1)
    table.write_bytes(table.read_bytes() + b'{"key":"p#9","probl')
    with Run.open(tmp_path, **SETTINGS) as run:
        run.append("responses", [make(1)])
    assert [row.index for row in Run.read(tmp_path).rows("responses", Response)] == [0, 1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"key":"p#1","problem":"p","te', "truncated"),
        (b"\0\0\0\0", "malformed"),
        (b"", "empty"),
        (b'{"key":"p#1"}{"key":"p#2"}', "malformed|missing"),
        (b'{"key":7}', "Expected `str`"),
        (b'{"text":"no key"}', "missing required field `key`"),
        (b'{"key":"p#1","text":"\xff"}', "utf-8"),
        (b'{"key":"p#1","logprob":NaN}', "malformed"),
        (b'{"key":"p#1","deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "recursion|unknown field"),
    ],
)
def test_a_damaged_line_in_the_middle_is_an_error_by_place(tmp_path: Path, line: bytes, reason: str) -> None:
    table = written(tmp_path, 3)
    lines = table.read_bytes().splitlines()
    table.write_bytes(b"\n".join([lines[0], line, lines[2], b""]))
    for look in (
        lambda run: run.keys("responses"),
        lambda run: list(run.rows("responses", Response)),
    ):
        with pytest.raises(UsageError, match=reason) as caught:
            look(Run.read(tmp_path))
        assert f"{table}:2`" in caught.value.message
        assert len(caught.value.message) < 400 + len(str(table))
        assert f"sed -i 2d {table}" in (caught.value.hint or "")
    with Run.open(tmp_path, **SETTINGS) as run, pytest.raises(UsageError):
        run.keys("responses")

    subprocess.run(["sed", "-i", "2d", table], check=True)  # the hint works
    assert Run.read(tmp_path).keys("responses") == keys(0, 2)


def test_a_row_of_another_kind_is_an_error_that_shows_no_control_characters(tmp_path: Path) -> None:
    table = written(tmp_path, 1)
    with table.open("ab") as file:
        file.write(b'{"key":"p#1","colour":"\x7f\x9b[31m"}\n'.replace(b"\x9b", b"\xc2\x9b"))
    with pytest.raises(UsageError, match="is not a Response") as caught:
        list(Run.read(tmp_path).rows("responses", Response))
    assert caught.value.message.isprintable()


def test_damage_beyond_the_first_chunk_is_named_by_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = written(tmp_path, 500)
    lines = table.read_bytes().splitlines(keepends=True)
    lines[400] = lines[400].replace(b'"index":400', b'"index":"x"')
    table.write_bytes(b"".join(lines))
    monkeypatch.setattr(table_module, "CHUNK", 1000)
    assert len(Run.read(tmp_path).keys("responses")) == 500
    with pytest.raises(UsageError, match=r"jsonl:401`"):
        list(Run.read(tmp_path).rows("responses", Response))


@pytest.mark.parametrize("chunk", [1, 7, 130, 1 << 20])
def test_chunk_borders_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    rows = [make(index, "é\n😀" * (index % 5) * 40) for index in range(40)]
    with Run.open(tmp_path, **SETTINGS) as run:
        run.append("responses", rows)
    monkeypatch.setattr(table_module, "CHUNK", chunk)
    reader = Run.read(tmp_path)
    assert list(reader.rows("responses", Response)) == rows
    assert reader.keys("responses") == {row.key for row in rows}
    assert reader.count("responses") == 40


def test_untrusted_text_survives(tmp_path: Path) -> None:
    texts = [
        "\0",
        "\ud800 alone",
        "\ud83d\ude00",
        "\u2028\r\n\t\x1b[31m",
        "</script>",
        '"\\',
        "\U0010ffff",
        "",
    ]
    with Run.open(tmp_path, **SETTINGS) as run:
        run.append("responses", [make(index, text) for index, text in enumerate(texts)])
        run.append("problems", [Problem(key="p", question="\udcff?", answer="4", parents=("a\udc80",))])
    kept = [row.text for row in Run.read(tmp_path).rows("responses", Response)]
    assert kept[1:3] == ["\ufffd alone", "😀"]
    assert kept[:1] + kept[3:] == texts[:1] + texts[3:]
    assert next(Run.read(tmp_path).rows("problems", Problem)).parents == ("a\ufffd",)
    assert (tmp_path / "responses.jsonl").read_bytes().count(b"\n") == len(texts)


@pytest.mark.parametrize("row", [make(1, logprob=float("nan")), make(1, logprob=-float("inf"))])
def test_a_number_that_json_cannot_hold_is_refused_whole(tmp_path: Path, row: Response) -> None:
    with Run.open(tmp_path, **SETTINGS) as run:
        with pytest.raises(UpwellError, match=r"p#1.*logprob"):
            run.append("responses", [make(0), row])
        assert run.keys("responses") == set()


def test_a_key_that_would_change_on_disk_is_refused(tmp_path: Path) -> None:
    with Run.open(tmp_path, **SETTINGS) as run, pytest.raises(UpwellError, match=r"ud800"):
        run.append("problems", [Problem(key="\ud800", question="?", answer="4")])


def test_key_comes_first_in_every_line(tmp_path: Path) -> None:
    assert all(line.startswith(b'{"key":"p#') for line in written(tmp_path, 5).read_bytes().splitlines())


def test_missing_and_empty_tables(tmp_path: Path) -> None:
    with Run.open(tmp_path, **SETTINGS) as run:
        run.append("responses", [])
        run.append("verdicts", iter(()))
        assert not run.exists("responses")
        (tmp_path / "responses.jsonl").touch()
        assert run.exists("responses")
        for table in ("responses", "failures"):
            assert run.keys(table) == set()
            assert list(run.rows(table, Response)) == []
            assert run.count(table) == 0
        with pytest.raises(ValueError, match="not a table name"):
            run.keys("../elsewhere")


def test_a_repeated_key_is_refused_except_for_failures(tmp_path: Path) -> None:
    with Run.open(tmp_path, **SETTINGS) as run:
        run.append("responses", [make(0), make(1), make(0)])
        run.append(
            "failures", [Failure(key="p#0", where="engine", message="timeout", attempt=n) for n in (1, 2)]
        )
        assert run.keys("failures") == keys(0)
        with pytest.raises(UsageError, match=r"jsonl:3` repeats the key `p#0`"):
            run.keys("responses")


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_stops_half_way_leaves_no_part_and_the_run_goes_on(tmp_path: Path) -> None:
    table = written(tmp_path, 10)
    whole = table.read_bytes()
    with Run.open(tmp_path, **SETTINGS) as run:
        run.append("responses", [make(10)])
        with file_size_limit(len(whole) + 500), pytest.raises(StorageError, match="size limit") as caught:
            run.append("responses", [make(index, "x" * 100) for index in range(11, 20)])
        assert str(table) in caught.value.message
        assert "same command again" in (caught.value.hint or "")
        assert run.keys("responses") == keys(*range(11))
        run.append("responses", [make(index) for index in range(11, 20)])
        with file_size_limit(10), pytest.raises(StorageError, match=r"summary\.json"):
            run.finish({"metrics": []})
        assert run.summary is None
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock", "manifest.json", "responses.jsonl"]
    assert [row.index for row in Run.read(tmp_path).rows("responses", Response)] == list(range(20))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a file system can be mounted only by root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_a_clear_error_and_loses_nothing(tiny_disk: Path) -> None:
    path, done = tiny_disk / "run", 0
    with Run.open(path, **SETTINGS) as run:
        with pytest.raises(StorageError, match="disk full") as caught:
            while True:
                run.append("responses", [make(done + step, "x" * 900) for step in range(3)])
                done += 3
        assert "free some space" in (caught.value.hint or "")
        with pytest.raises(StorageError, match="disk full"):
            run.finish({"notes": ["x" * 100_000]})
    assert done > 30
    table = path / "responses.jsonl"
    assert table.read_bytes().endswith(b"\n")
    assert [row.index for row in Run.read(path).rows("responses", Response)] == list(range(done))

    subprocess.run(["mount", "-o", "remount,size=256k", str(tiny_disk)], check=True)
    with Run.open(path, **SETTINGS) as run:
        assert len(run.keys("responses")) == done
        run.append("responses", [make(done)])
        run.finish({})
    assert Run.read(path).count("responses") == done + 1


def test_a_disk_too_full_to_begin_is_a_clear_error(tiny_disk: Path) -> None:
    (tiny_disk / "ballast").write_bytes(b"x" * 64 * 1024)
    with pytest.raises(StorageError, match="disk full"):
        Run.open(tiny_disk / "run", **SETTINGS)


def test_a_reader_beside_a_writer_sees_only_whole_rows(tmp_path: Path) -> None:
    path, stop = tmp_path / "run", tmp_path / "stop"
    script = (
        "import itertools, sys, time; from test_table import *\n"
        "with Run.open(sys.argv[1], **SETTINGS) as run:\n"
        "    for n in itertools.count(0, 20):\n"
        "        run.append('responses', [make(i, 'é' * (i % 700)) for i in range(n, n + 20)])\n"
        "        time.sleep(0.002)\n"
        "        if Path(sys.argv[2]).exists(): break\n"
        "    run.finish({})\n"
    )
    command = [sys.executable, "-c", script, str(path), str(stop)]
    writer = subprocess.Popen(command, cwd=Path(__file__).parent)
    stuck = threading.Timer(60, writer.kill)
    stuck.start()
    seen, grown = 0, 0
    try:
        while grown < 25:
            assert writer.poll() is None, "the writer ended by itself"
            if not (path / "manifest.json").exists():
                continue
            run = Run.read(path)
            indices = [row.index for row in run.rows("responses", Response)]
            assert indices == list(range(len(indices)))
            assert len(run.keys("responses")) >= len(indices) >= seen
            grown += len(indices) > seen
            seen = len(indices)
        stop.touch()
        assert writer.wait() == 0
    finally:
        stuck.cancel()
        writer.kill()
        writer.wait()
    assert Run.read(path).summary == {}
    assert Run.read(path).count("responses") >= seen
