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
from upwell.engines.vllm import VllmEngine, keeper, vllm_identity
from upwell.engines.vllm.command import command_of
from upwell.engines.vllm.log import Log
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
    (tmp_path / "vllm.log").write_text("ERROR of an earlier session\n")
    with pytest.raises(EngineError) as caught:
        made()
    shown = caught.value.message.splitlines()[1:]
    assert shown == [
        "  ValueError: the weights do not fit into memory (token ***)",
        "  RuntimeError: Engine core initialization failed. See root cause above.",
    ], "the cause, above a hundred frames"
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


@pytest.mark.parametrize("starting", [True, False])
@pytest.mark.parametrize("how", ["kill", "kill-group", "hangup"])
def test_it_ends_when_we_are_killed(
    python: str, tmp_path: Path, tiny_llama: Path, starting: bool, how: str
) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from upwell.engines.vllm import VllmEngine; from upwell.engines.settings import EngineSettings\n"
        "from upwell.engines.checkpoints import Checkpoint\n"
        f"engine = VllmEngine(Checkpoint('tiny', Path({str(tiny_llama)!r})),"
        f" settings=EngineSettings(vllm_python={python!r}), folder=Path({str(tmp_path)!r}))\n"
        "print('up', flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert driver.stdout is not None
    if starting:
        while not (tmp_path / "notes.jsonl").exists() or not notes(tmp_path):
            time.sleep(0.02)
    else:
        assert driver.stdout.readline() == "up\n"
    pids = notes(tmp_path)[0]["pids"]
    assert all(_runs(pid) for pid in pids)
    if how == "kill":
        os.kill(driver.pid, signal.SIGKILL)
    else:  # as a scheduler does, and a terminal that closes
        os.killpg(driver.pid, signal.SIGKILL if how == "kill-group" else signal.SIGHUP)
    driver.wait()
    driver.stdout.close()
    assert gone(pids)


def test_closing_ends_it_though_the_pipe_is_held_open(
    made: Callable[..., VllmEngine], tmp_path: Path
) -> None:
    engine = made()
    assert engine._keeper is not None and engine._keeper.stdin is not None
    held = os.dup(engine._keeper.stdin.fileno())  # as a worker that was forked from us
    try:
        engine.close()
        assert gone(notes(tmp_path)[0]["pids"])
    finally:
        os.close(held)


def test_it_ends_though_another_process_holds_our_pipe(tmp_path: Path) -> None:
    """As a worker that was forked from us: then the keeper never sees the end of its input."""
    code = (
        "import os, subprocess, sys, time\n"
        f"kept = subprocess.Popen([sys.executable, {keeper.__file__!r}, 'sleep', '600'], stdin=subprocess.PIPE)\n"
        "if os.fork() == 0: time.sleep(600)\n"
        f"children = open(f'/proc/{{kept.pid}}/task/{{kept.pid}}/children')\n"
        "while not (pid := children.read().strip()): children.seek(0)\n"
        "print(pid, flush=True); time.sleep(600)\n"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert driver.stdout is not None
    pid = int(driver.stdout.readline())
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    try:
        assert gone([pid])
    finally:
        os.killpg(driver.pid, signal.SIGKILL)  # the worker
        driver.stdout.close()


@pytest.mark.parametrize("code", [0, 3])
def test_the_keeper_ends_as_its_command_does(code: int) -> None:
    kept = subprocess.Popen(
        [sys.executable, keeper.__file__, sys.executable, "-c", f"raise SystemExit({code})"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert kept.stdin is not None and kept.stderr is not None
    assert (kept.wait(30), kept.stderr.read()) == (code, "")
    kept.stdin.close()
    kept.stderr.close()


def test_children_that_do_not_heed_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "GRACE_SECONDS", 0.5)
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {deaf!r}])"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None and child.stdout.readline()
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    assert len(children) == 1
    keeper.end_group(child)
    child.stdout.close()
    assert gone([child.pid, *map(int, children)])


def test_what_is_there_but_silent_is_waited_for(
    made: Callable[..., VllmEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "pause")
    monkeypatch.setattr("upwell.engines.vllm.engine._PATIENCE", 0.3)
    monkeypatch.setattr(keeper, "GRACE_SECONDS", 0.1)
    engine = made(max_concurrency=8, patience=60)
    keys = Counter(reply.key for reply in engine.generate(requests(120)))
    engine.close()
    assert keys == Counter(request.key for request in requests(120))
    assert len(notes(tmp_path)) == 1, "it was not started again"


def test_what_dies_of_everything_ends_the_run(
    made: Callable[..., VllmEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell.engines.vllm.engine._PATIENCE", 0.3)
    monkeypatch.setattr("upwell.engines.vllm.engine._STARTS", 1)
    monkeypatch.setenv("FAKE_VLLM", "die")
    engine = made(max_concurrency=8)
    taken: list[str] = []
    with pytest.raises(EngineError, match="vLLM died") as caught:
        taken += (reply.key for reply in engine.generate(requests(120)))
    assert "illegal memory access" in caught.value.message
    engine.close()
    assert gone(notes(tmp_path)[0]["pids"])


def test_the_log_tells_how_far_it_is_and_hides_keys(tmp_path: Path) -> None:
    path = tmp_path / "vllm.log"
    path.write_text("INFO of before\n")
    log = Log(path)
    assert log.last() == "nothing told yet" and log.trouble() == []
    with path.open("a") as file:
        file.write(
            "(APIServer pid=1) INFO 01-02 03:04:05 [a.py:1] loading\n"
            f"(Worker pid=2) INFO 01-02 03:04:06 [b.py:22] shards of hf_{'y' * 30} 3/7\n"
            "(APIServer pid=1) INFO 01-02 03:04:07 [a.py:1]  \n"
            "/x/y.py:138: FutureWarning: `z` is deprecated\n  z = w(v)\n"
        )
    assert log.last() == "shards of *** 3/7"
    assert log.trouble()[:2] == ["loading", "shards of *** 3/7"], "where nothing went wrong, what there is"
    with path.open("a") as file:
        file.write("serve: error: unrecognized arguments: --no-such\nINFO:     Shutting down\n")
    assert log.trouble() == ["serve: error: unrecognized arguments: --no-such"]


def flags(checkpoint: Checkpoint, *theirs: str, dtype: str = "auto") -> list[str]:
    return command_of("python", checkpoint, 1, EngineSettings(dtype=dtype, vllm_arg=theirs))[5:]


def test_flags_are_chosen_and_overridden(monkeypatch: pytest.MonkeyPatch, tiny_llama: Path) -> None:
    tiny = Checkpoint("tiny", tiny_llama)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    chosen = flags(tiny, dtype="bfloat16")
    assert {
        "--tensor-parallel-size=2", "--dtype=bfloat16", "--enable-prefix-caching", "--generation-config=vllm",
        "--served-model-name=tiny", "--host=127.0.0.1",
    } <= set(chosen)  # fmt: skip
    assert not any("trust" in flag or "key" in flag for flag in chosen)
    theirs = (
        "--tensor-parallel-size=1",
        "--no-enable-prefix-caching",
        "--max-model-len=4096",
        "--dtype=half",
    )
    changed = flags(tiny, *theirs)
    assert not {"--tensor-parallel-size=2", "--enable-prefix-caching", "--dtype=auto"} & set(changed)
    assert changed[-4:] == list(theirs)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not any("tensor" in flag for flag in flags(tiny))
    for ours in ("--port=9", "--served_model_name=x", "--api-key=x"):
        with pytest.raises(UsageError, match="is not to be set"):
            flags(tiny, ours)
    with pytest.raises(UsageError, match="argument of `vllm serve`"):
        flags(tiny, "max-model-len=4096")


@pytest.mark.parametrize(
    ("heads", "shared", "gpus", "used"),
    [(28, 4, 8, 4), (32, 8, 8, 8), (9, 3, 8, 3), (9, 3, 2, 1), (16, 2, 8, 8), (64, 8, 16, 16)],
)
def test_as_many_gpus_as_the_heads_can_be_divided_among(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heads: int, shared: int, gpus: int, used: int
) -> None:
    config = {"num_attention_heads": heads, "num_key_value_heads": shared}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus))))
    told = [flag for flag in flags(Checkpoint("m", tmp_path)) if "tensor" in flag]
    assert told == ([f"--tensor-parallel-size={used}"] if used > 1 else [])


def test_identity_has_what_changes_a_response_and_nothing_else(tiny_llama: Path) -> None:
    tiny = Checkpoint("tiny", tiny_llama)

    def identity(*theirs: str) -> str:
        return vllm_identity(tiny, EngineSettings(dtype="bfloat16", vllm_arg=theirs))

    plain = f"vllm tiny@{tiny.digest[:12]}/bfloat16"
    assert identity() == identity("--max-model-len=2048", "--enforce-eager", "-tp=2") == plain
    assert identity("--quantization=fp8", "--enforce-eager") == f"{plain} --quantization=fp8"


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
