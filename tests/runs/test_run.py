"""Opening, resuming, refusing, finishing: what a user sees of a run directory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_table import keys, make

from upwell.errors import StorageError, UsageError
from upwell.records import Response
from upwell.runs import Run, digest_file


def opened(path: Path, **changes: Any) -> Run:
    arguments: dict[str, Any] = {
        "verb": "measure",
        "settings": {"temperature": 0.7, "samples": 4, "threads": 2},
        "fingerprint": {"sampling": {"temperature": 0.7, "stop": ("\n\n",)}, "model": "tiny"},
        "amounts": {"samples": 4, "limit": 10},
        "command": ["upwell", "measure"],
    }
    return Run.open(path, **(arguments | changes))


def snapshot(path: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in path.iterdir() if entry.name != ".lock"}


def test_the_manifest_is_there_before_the_first_row(tmp_path: Path) -> None:
    with opened(
        tmp_path / "a" / "b",
        inputs=[{"name": "gsm8k", "digest": "00"}],
        identity={"model": {"name": "tiny"}, "engine": "scripted"},
    ) as run:
        manifest = json.loads((run.path / "manifest.json").read_text())
        assert manifest == run.manifest
        assert manifest["fingerprint"]["sampling"]["stop"] == ["\n\n"]
        assert manifest["model"] == {"name": "tiny"}
        assert manifest["inputs"][0]["name"] == "gsm8k"
        wanted = {
            "format",
            "verb",
            "settings",
            "amounts",
            "command",
            "code",
            "packages",
            "python",
            "machine",
            "started",
        }
        assert wanted <= manifest.keys()


def test_nothing_secret_is_written(tmp_path: Path) -> None:
    url = "https://me:hunter2@host:8000/v1?api_key=hunter2"
    with opened(
        tmp_path,
        settings={"url": url, "api_key": "hunter2", "api_key_env": "MY_KEY", "max_tokens": 5},
        fingerprint={"url": url},
        identity={"engine": f"server:{url}"},
        inputs=[{"name": url}],
        command=[
            "upwell",
            "measure",
            "--url",
            url,
            f"--url={url}",
            "--api-key",
            "hunter2",
            "--token=hunter2",
        ],
    ) as run:
        text = (tmp_path / "manifest.json").read_text()
        assert "hunter2" not in text
        assert run.manifest["settings"] == {
            "url": "https://host:8000/v1",
            "api_key": "***",
            "api_key_env": "MY_KEY",
            "max_tokens": 5,
        }


@pytest.mark.parametrize("name", ["mit Leerzeichen", "данные 数学 é", "a'b\"c$d", "x" * 200])
def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    with opened(tmp_path / name) as run:
        run.append("responses", [make(0)])
        run.finish({})
    assert Run.read(tmp_path / name).count("responses") == 1


def test_resume_is_plan_minus_done(tmp_path: Path) -> None:
    plan = range(6)
    with opened(tmp_path) as run:
        run.append("responses", [make(0), make(4)])
    with opened(tmp_path) as run:
        done = run.keys("responses")
        run.append("responses", [make(i) for i in plan if f"p#{i}" not in done])
        run.finish({"counts": {"responses": 6}})
    assert sorted(row.index for row in Run.read(tmp_path).rows("responses", Response)) == list(plan)
    assert [session["command"] for session in Run.read(tmp_path).manifest["sessions"]] == [
        ["upwell", "measure"]
    ] * 2


def test_a_changed_fingerprint_is_refused_by_name(tmp_path: Path) -> None:
    opened(tmp_path).close()
    before = snapshot(tmp_path)
    with pytest.raises(UsageError) as caught:
        opened(tmp_path, fingerprint={"sampling": {"temperature": 0.9, "stop": ("\n\n",)}, "top_k": 5})
    message = caught.value.message
    assert "sampling.temperature 0.7 -> 0.9" in message
    assert "model tiny -> (not set)" in message
    assert "top_k (not set) -> 5" in message
    assert "stop" not in message
    assert "--out" in (caught.value.hint or "")
    assert snapshot(tmp_path) == before
    opened(tmp_path).close()  # the refusal gave the lock back


def test_another_verb_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(UsageError, match="`upwell measure`, not `upwell grade`"):
        opened(tmp_path, verb="grade")


def test_settings_of_speed_may_change_and_are_recorded(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with opened(
        tmp_path, settings={"temperature": 0.7, "samples": 4, "threads": 8}, identity={"engine": "b"}
    ) as run:
        run.append("responses", [make(0)])
    manifest = Run.read(tmp_path).manifest
    assert manifest["settings"]["threads"] == 8
    assert manifest["sessions"][1]["engine"] == "b"


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        (4, 8, True),
        (4, 4, True),
        (4, 3, False),
        (4, None, True),
        (None, None, True),
        (None, 4, False),
    ],
)
def test_amounts_may_only_be_raised(tmp_path: Path, old: int | None, new: int | None, allowed: bool) -> None:
    opened(tmp_path, amounts={"limit": old}).close()
    if not allowed:
        with pytest.raises(UsageError, match="cannot lower limit") as caught:
            opened(tmp_path, amounts={"limit": new})
        assert "--limit" in (caught.value.hint or "")
        return
    with opened(tmp_path, amounts={"limit": new}) as run:
        run.append("responses", [make(0)])
    assert Run.read(tmp_path).manifest["amounts"] == {"limit": new}


def test_a_finished_run_stays_finished_until_a_row_comes(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append("responses", [make(0)])
        assert run.summary is None
        run.finish({"metrics": [{"value": np.float64(0.5)}], "n": np.int64(3)})
        assert run.summary == {"metrics": [{"value": 0.5}], "n": 3}
    before = snapshot(tmp_path)

    with opened(tmp_path, amounts={"samples": 8, "limit": 10}) as run:
        assert run.keys("responses") == keys(0)
        run.append("responses", [])
        assert run.manifest["amounts"]["samples"] == 8
    assert snapshot(tmp_path) == before, "opening changes nothing"

    with opened(tmp_path, amounts={"samples": 8, "limit": 10}) as run:
        run.append("responses", [make(1)])
        assert Run.read(tmp_path).summary is None
        assert Run.read(tmp_path).manifest["amounts"]["samples"] == 8
        run.finish({"metrics": []})
        run.append("responses", [make(2)])
        assert run.summary is None, "a row after finish takes it back"


def test_a_finish_without_new_rows_records_the_raised_amount(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.finish({})
    with opened(tmp_path, amounts={"samples": 4, "limit": None}) as run:
        run.finish({"notes": ["all"]})
    assert Run.read(tmp_path).manifest["amounts"]["limit"] is None
    assert Run.read(tmp_path).summary == {"notes": ["all"]}


def test_a_torn_row_of_a_finished_run_is_never_passed_over(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append("responses", [make(0), make(1)])
        run.finish({})
    table = tmp_path / "responses.jsonl"
    table.write_bytes(table.read_bytes()[:-5])
    with pytest.raises(UsageError, match="cut short, though the run was finished"):
        Run.read(tmp_path).rows("responses", Response)
    with opened(tmp_path) as run:
        assert run.keys("responses") == keys(0)
        assert run.summary is None


def test_a_summary_that_json_cannot_hold_is_refused_by_name(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        with pytest.raises(ValueError, match=r"metrics\[0\]\.value is nan"):
            run.finish({"metrics": [{"value": float("nan")}]})
        assert run.summary is None


def hold_open(path: Path) -> subprocess.Popen[bytes]:
    """Another process that has the run open."""
    script = (
        "import sys, time; from test_run import *\n"
        "run = opened(Path(sys.argv[1])); print('open', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, cwd=Path(__file__).parent
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"open\n"
    return holder


def test_of_two_writers_one_is_refused(tmp_path: Path) -> None:
    holder = hold_open(tmp_path)
    try:
        with pytest.raises(UsageError) as caught:
            opened(tmp_path)
        assert f"{holder.pid} on {os.uname().nodename}" in caught.value.message
        assert f"kill {holder.pid}" in (caught.value.hint or "")
        assert Run.read(tmp_path).count("responses") == 0, "readers are let in"
        inode = (tmp_path / ".lock").stat().st_ino
    finally:
        holder.kill()
        holder.communicate()
    with opened(tmp_path), pytest.raises(UsageError, match="in this process"):
        opened(tmp_path)
    assert (tmp_path / ".lock").stat().st_ino == inode
    opened(tmp_path).close()


def test_a_forked_worker_does_not_keep_the_lock_of_a_killed_driver(tmp_path: Path) -> None:
    script = (
        "import os, sys, time; from test_run import *\n"
        "run = opened(Path(sys.argv[1])); run.append('responses', [make(0)]); worker = os.fork()\n"
        "if worker: print(worker, flush=True)\n"
        "time.sleep(60)"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parent
    )
    assert driver.stdout is not None
    worker = int(driver.stdout.readline())
    try:
        deadline = time.monotonic() + 10
        while any("responses.jsonl" in target for target in _open_files(worker)):
            assert time.monotonic() < deadline, "the worker still has the table open"
        driver.kill()
        driver.wait()
        opened(tmp_path).close()
    finally:
        os.kill(worker, signal.SIGKILL)
        driver.kill()
        driver.communicate()


def _open_files(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    targets = []
    for fd in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # closed in between
            targets.append(os.readlink(f"{folder}/{fd}"))
    return targets


def test_a_run_open_for_reading_writes_nothing(tmp_path: Path) -> None:
    opened(tmp_path).close()
    run = Run.read(tmp_path)
    for write in (lambda: run.append("responses", [make(0)]), lambda: run.finish({}), run.unfinish):
        with pytest.raises(RuntimeError, match="not open for writing"):
            write()


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"not a run directory.*chapter\.tex"):
        opened(folder)
    assert [entry.name for entry in folder.iterdir()] == ["chapter.tex"]
    with pytest.raises(UsageError, match="is a file"):
        opened(folder / "chapter.tex")
    for path in (folder, tmp_path / "nowhere", folder / "chapter.tex"):
        with pytest.raises(UsageError, match="no run at"):
            Run.read(path)


def test_a_folder_left_by_a_kill_before_the_manifest_is_a_new_run(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("1 host\n")
    (tmp_path / ".manifest.json.tmp").write_text('{"form')
    with opened(tmp_path) as run:
        assert run.manifest["verb"] == "measure"
    assert not (tmp_path / ".manifest.json.tmp").exists()


# Root may write anywhere that permissions forbid, so these are places where nobody can.
@pytest.mark.parametrize("path", ["/proc/run", "/dev/null/run", "/sys/kernel/run", "x" * 300])
def test_an_unwritable_out_is_a_clear_error(path: str) -> None:
    with pytest.raises(StorageError, match="cannot write") as caught:
        opened(Path(path))
    assert "--out" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is damaged"),
        ('{"format": 1, "verb"', "is damaged"),
        ("[1]", "is damaged"),
        ('{"format": 2}', "has format 2"),
        ('{"format": 1, "verb": "measure"}', "`settings` is missing"),
        ('{"format": 1, "verb": "\\ud800"}', "is damaged"),
    ],
)
def test_a_damaged_manifest_is_an_error_not_a_new_run(tmp_path: Path, text: str, reason: str) -> None:
    opened(tmp_path).close()
    (tmp_path / "manifest.json").write_text(text)
    for look in (Run.read, opened):
        with pytest.raises(UsageError, match=reason):
            look(tmp_path)
    assert (tmp_path / "manifest.json").read_text() == text


def test_a_table_is_named_as_input_of_another_run(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append("responses", [make(0), make(1)])
        reference = run.reference("responses")
    assert reference == {
        "name": str(tmp_path),
        "table": "responses",
        "rows": 2,
        "digest": digest_file(tmp_path / "responses.jsonl"),
    }
