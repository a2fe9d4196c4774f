"""vLLM is started, is a server, and ends whatever happens to us; a stand-in plays its part."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_server import babble

from upwell.engines.base import Request, Sampling
from upwell.engines.checkpoints import Checkpoint
from upwell.engines.server.wire import seed_of
from upwell.engines.settings import EngineSettings
from upwell.engines.vllm import VllmEngine, vllm_identity
from upwell.engines.vllm.engine import flags
from upwell.errors import EngineError, UsageError

FAKE = Path(__file__).parent / "fake_vllm"


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An interpreter in whose environment `vllm` is the stand-in."""
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={FAKE} exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("FAKE_VLLM_NOTES", str(tmp_path / "notes.jsonl"))
    monkeypatch.delenv("FAKE_VLLM", raising=False)
    return str(script)


def notes(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "notes.jsonl").read_text().splitlines()]


def requests(count: int) -> list[Request]:
    return [
        Request(
            key=str(n),
            prompt=f"p{n // 8}",
            add_special_tokens=False,
            seed=n,
            sampling=Sampling(max_tokens=64),
        )
        for n in range(count)
    ]


def gone(pids: list[int]) -> bool:
    """Whether none of the processes runs any more, within some seconds."""
    late = time.monotonic() + 15
    while time.monotonic() < late:
        if not any(_runs(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def made(python: str, tmp_path: Path, tiny_llama: Path) -> Callable[..., VllmEngine]:
    def make(say: Callable[[str], None] = lambda line: None, **changes: Any) -> VllmEngine:
        settings = EngineSettings(vllm_python=python, **changes)
        return VllmEngine(Checkpoint("tiny", tiny_llama), settings=settings, folder=tmp_path, say=say)

    return make


def test_it_serves_and_ends(made: Callable[..., VllmEngine], tmp_path: Path) -> None:
    said: list[str] = []
    engine = made(said.append)
    found = {reply.key: reply.text for reply in engine.generate(requests(100))}
    assert found == {r.key: babble(seed_of(r.seed), r.prompt) for r in requests(100)}
    (note,) = notes(tmp_path)
    engine.close()
    engine.close()
    assert gone(note["pids"]), "its child too"
    assert note["flags"]["--generation-config"] == "vllm" and note["flags"]["--host"] == "127.0.0.1"
    assert any("ready after" in line for line in said) and not any(note["key"] in line for line in said)
    assert note["key"] not in (tmp_path / "vllm.log").read_text()


def test_what_does_not_start_shows_the_end_of_its_log(
    made: Callable[..., VllmEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "crash")
    with pytest.raises(EngineError, match="the weights do not fit into memory") as caught:
        made()
    assert caught.value.hint and "--vllm-arg" in caught.value.hint
    assert gone(notes(tmp_path)[0]["pids"])


def test_what_dies_is_started_again_and_nothing_is_lost(
    made: Callable[..., VllmEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "die")
    monkeypatch.setattr("upwell.engines.vllm.engine._PATIENCE", 0.5)
    said: list[str] = []
    engine = made(said.append, max_concurrency=8)
    keys = Counter(reply.key for reply in engine.generate(requests(120)))
    engine.close()
    assert keys == Counter(request.key for request in requests(120))
    assert len(notes(tmp_path)) == 2 and any("vLLM died; starting it again" in line for line in said)
    assert "illegal memory access" in (tmp_path / "vllm.log").read_text()


def test_an_error_of_ours_ends_it(made: Callable[..., VllmEngine], tmp_path: Path) -> None:
    engine = made()
    try:
        for _ in engine.generate(requests(50)):
            raise RuntimeError("ours")
    except RuntimeError:
        pass
    finally:
        engine.close()
    assert gone(notes(tmp_path)[0]["pids"])


def test_it_ends_when_we_are_killed(python: str, tmp_path: Path, tiny_llama: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from upwell.engines.vllm import VllmEngine; from upwell.engines.settings import EngineSettings\n"
        "from upwell.engines.checkpoints import Checkpoint\n"
        f"engine = VllmEngine(Checkpoint('tiny', Path({str(tiny_llama)!r})),"
        f" settings=EngineSettings(vllm_python={python!r}), folder=Path({str(tmp_path)!r}))\n"
        "print('up', flush=True); time.sleep(600)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None and driver.stdout.readline() == "up\n"
    pids = notes(tmp_path)[0]["pids"]
    assert all(_runs(pid) for pid in pids)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    assert gone(pids)


def test_flags_are_chosen_and_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    chosen = flags("m", 1, EngineSettings(dtype="bfloat16"))
    assert (
        "--tensor-parallel-size=4" in chosen
        and "--dtype=bfloat16" in chosen
        and "--enable-prefix-caching" in chosen
    )
    theirs = ("--tensor-parallel-size=2", "--no-enable-prefix-caching", "--max-model-len=4096")
    changed = flags("m", 1, EngineSettings(vllm_arg=theirs))
    assert "--tensor-parallel-size=4" not in changed and "--enable-prefix-caching" not in changed
    assert changed[-3:] == list(theirs)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not any("tensor-parallel" in flag for flag in flags("m", 1, EngineSettings()))
    with pytest.raises(UsageError, match="--port is ours to choose"):
        flags("m", 1, EngineSettings(vllm_arg=("--port=9",)))


def test_no_vllm_says_how_to_get_one(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checkpoint = Checkpoint("tiny", tiny_llama)
    with pytest.raises(UsageError, match="no program `/nowhere/python`"):
        VllmEngine(checkpoint, settings=EngineSettings(vllm_python="/nowhere/python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no `vllm` on the PATH") as caught:
        VllmEngine(checkpoint, settings=EngineSettings())
    assert caught.value.hint and "--vllm-python" in caught.value.hint
    assert vllm_identity(checkpoint, EngineSettings()).startswith("vllm tiny@")
