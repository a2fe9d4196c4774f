"""The command as its user meets it: help at once, errors that name the fix, exit codes, streams, interruptions."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPTED = Path(__file__).parents[1] / "measurement" / "scripted_upwell.py"
COMMAND = [sys.executable, "-c", "from upwell.cli import main; main()"]
HEAVY = {
    "torch", "numpy", "scipy", "sympy", "mpmath", "transformers", "aiohttp", "httpx", "requests", "urllib3", "altair",
    "pyarrow", "math_verify", "reasoning_gym", "jinja2", "antlr4",
}  # fmt: skip
ROWS = [
    {"id": "a", "question": "2 + 2?", "answer": "4", "level": "1"},
    {"id": "b", "question": "3 + 3?", "answer": "6", "level": "2"},
]


def upwell(
    *arguments: object, command: list[str] = COMMAND, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=240, cwd=cwd,
        stdin=subprocess.DEVNULL, env=os.environ | environment,
    )  # fmt: skip


def scripted(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return upwell(*arguments, command=[sys.executable, str(SCRIPTED)], **environment)


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


# Help


@pytest.mark.parametrize(
    "arguments", [["--help"], ["measure", "--help"], ["problems", "--help"], ["--version"], []]
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import atexit, sys; from upwell.cli import main\n"
        "atexit.register(lambda: print(*{n.split('.')[0] for n in sys.modules}, file=sys.stderr))\n"
        "main()"
    )
    done = upwell(*arguments, command=[sys.executable, "-c", code])
    assert done.returncode == 0 and done.stdout.strip()
    loaded = set(done.stderr.split())
    assert "upwell" in loaded and not loaded & HEAVY


def test_help_names_every_verb_and_every_setting() -> None:
    import dataclasses

    from upwell.cli import VERBS
    from upwell.measurement import MeasureSettings

    shown = upwell("--help").stdout
    assert all(verb in shown for verb in VERBS)
    shown = upwell("measure", "--help").stdout
    for field in dataclasses.fields(MeasureSettings):
        assert f"--{field.name.replace('_', '-')} " in shown
    assert "Sampling temperature; 0 is greedy" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("verb", "own"),
    [
        ("sample", ["--problems", "--out", "--samples", "--stop"]),
        ("measure", ["--problems", "--out", "--samples", "--style", "--plan"]),
        ("grade", ["--style", "--also", "--out", "--score", "--judge", "--votes"]),
    ],
)
def test_a_verbs_own_settings_come_before_those_of_any_model(verb: str, own: list[str]) -> None:
    from upwell.engines.settings import EngineSettings

    shown = re.findall(r"^│ (?:\* )?\s*(--[a-z-]+) ", upwell(verb, "--help").stdout, re.MULTILINE)
    model = [f"--{name.replace('_', '-')}" for name in EngineSettings.__annotations__]
    assert [flag for flag in shown if flag in own] == own
    assert shown[-len(model) :] == model


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["mesure"], "measure"), (["measure", "--problms", "x"], "--problems"),
        (["measure", "--problems", "x", "--out", "y", "--sample", "3"], "--samples"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_slip_is_met_with_what_was_meant(arguments: list[str], meant: str) -> None:
    done = upwell(*arguments)
    assert_refused(done)
    assert meant in done.stderr


# Wrong use


def assert_refused(done: subprocess.CompletedProcess[str], code: int = 2) -> None:
    """Refused in one paragraph: what is wrong, then a hint; nothing on stdout, no traceback."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr and 'File "' not in done.stderr
    talk, _, refusal = done.stderr.rpartition("error: ")
    assert "error:" not in talk
    lines = refusal.rstrip("\n").split("\n")
    assert lines[-1].startswith("hint: ") and len(lines[-1]) > 8, done.stderr
    assert all(lines) and len(lines) <= 3, "one paragraph"
    assert len(refusal) < 900


WRONG = {
    "no such problem set": (["--problems", "gsm9k"], "gsm8k"),
    "no such file": (["--problems", "nowhere.jsonl"], "nowhere.jsonl"),
    "wrong column": (["--field", "question=ask"], "its columns: id, question, answer, level"),
    "field is no pair": (["--field", "nonsense"], "FIELD=COLUMN"),
    "field of a named set": (["--problems", "gsm8k", "--field", "question=q"], "--field is for local files"),
    "split of a file": (["--split", "train"], "--split train does nothing"),
    "no weights": (["--model", "bare"], "no weights"),
    "no such model": (["--model", "nothing-here"], "no model `nothing-here`"),
    "pickled weights": (["--model", "pickled"], "pickle"),
    "corrupt line": (["--problems", "corrupt.jsonl"], "corrupt.jsonl:2"),
    "not UTF-8": (["--problems", "latin.jsonl"], "latin.jsonl:1"),
    "empty file": (["--problems", "empty.jsonl"], "holds no rows"),
    "no samples": (["--samples", "0"], "--samples is 0"),
    "no number of samples": (["--samples", "many"], "--samples"),
    "cold": (["--temperature", "-1"], "--temperature is -1"),
    "not a number": (["--temperature", "nan"], "--temperature is nan"),
    "no tokens": (["--max-tokens", "0"], "--max-tokens is 0"),
    "no problems": (["--limit", "0"], "--limit is 0"),
    "no slots": (["--slots", "0"], "--slots is 0"),
    "no memory": (["--memory-gb", "0"], "--memory-gb is 0"),
    "endless grading": (["--timeout", "inf"], "--timeout is inf"),
    "greedy and many": (["--temperature", "0"], "would be the same"),
    "no such prompt": (["--prompt", "nonsense"], "no prompt `nonsense`"),
    "no such style": (["--style", "nonsense"], "no grading style `nonsense`"),
    "out is a file": (["--out", "empty.jsonl"], "is a file"),
    "out is something else": (["--out", "bare"], "not a run directory"),
    "no out": (["--out"], "--out"),
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a hurried user points at."""
    folder = tmp_path_factory.mktemp("desk")
    good = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "sums.jsonl").write_text(good)
    (folder / "corrupt.jsonl").write_text(good.replace('{"id": "b"', '{"id": "b'))
    (folder / "latin.jsonl").write_bytes('{"question": "née?", "answer": "4"}\n'.encode("latin-1"))
    (folder / "empty.jsonl").write_text("")
    (folder / "bare").mkdir()
    (folder / "bare" / "config.json").write_text("{}")
    (folder / "pickled").mkdir()
    (folder / "pickled" / "config.json").write_text("{}")
    (folder / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (folder / "weights").mkdir()
    (folder / "weights" / "config.json").write_text("{}")
    (folder / "weights" / "model.safetensors").write_bytes(b"")
    return folder


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_refused_with_a_hint(case: str, desk: Path) -> None:
    arguments, said = WRONG[case]
    usual = {"--problems": "sums.jsonl", "--model": "weights", "--out": "run"}
    given = [p for flag, value in usual.items() if flag not in arguments for p in (flag, value)]
    done = upwell("measure", *given, *arguments, cwd=desk)
    assert_refused(done)
    assert said in done.stderr
    assert not (desk / "run").exists(), "nothing is begun"


def test_an_out_that_cannot_be_written(desk: Path) -> None:
    done = scripted(
        "measure", "--problems", desk / "sums.jsonl", "--samples", 1, "--out", desk / "sums.jsonl" / "below"
    )
    assert_refused(done, code=1)
    assert "cannot write" in done.stderr


def test_cuda_where_there_is_none(sums: Path, tiny_llama: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    done = upwell(
        "measure", "--problems", sums, "--model", tiny_llama, "--device", "cuda", "--out", sums.parent / "run"
    )
    assert_refused(done)
    assert "no CUDA device" in done.stderr and "--device cpu" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["problems", "show", "gsm8k/test/nothing"], "gsm8k"),
        (["problems", "show", "nonsense/key"], "does not begin with a known set"),
        (["problems", "check", "nonsense"], "no problem set or file `nonsense`"),
        (["problems", "check", "empty.jsonl"], "holds no rows"),
        (["problems", "check", "sums.jsonl", "--limit", "0"], "--limit"),
        (["grade", "bare"], "no run at"),
        (["report", "bare", "--out", "page.html"], "no run at"),
        (["report", "--out", "page.html"], "no run"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_other_verbs_refuse_with_a_hint_too(arguments: list[str], said: str, desk: Path) -> None:
    done = upwell(*arguments, cwd=desk)
    assert_refused(done)
    assert said in done.stderr


# What works


def test_measure_puts_data_on_stdout_and_talk_on_stderr(sums: Path) -> None:
    out = sums.parent / "run"
    done = scripted("measure", "--problems", sums, "--samples", 8, "--out", out, NO_COLOR="1", TERM="dumb")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(f"run: {out}")
    for said in ("PassRatio", "pass@8", "2 problems, 16 responses"):
        assert said in done.stdout
    assert "sampling: 16" in done.stderr and "sampling" not in done.stdout
    assert "\x1b" not in done.stdout + done.stderr and "\r" not in done.stderr
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["command"][:2] == ["upwell", "measure"]
    again = scripted("measure", "--problems", sums, "--samples", 8, "--out", out)
    assert again.returncode == 0 and again.stdout == done.stdout


@pytest.mark.parametrize("columns", ["60", "", "wide", "0"])
def test_any_width_will_do(sums: Path, columns: str) -> None:
    done = scripted(
        "measure",
        "--problems",
        sums,
        "--samples",
        2,
        "--out",
        sums.parent / "run",
        COLUMNS=columns,
        TERM="dumb",
    )
    assert done.returncode == 0, done.stderr
    most = 60 if columns == "60" else 110
    table = done.stdout.rpartition("run: ")[0].splitlines()
    assert max(len(line.rstrip()) for line in table) <= most
    assert "pass@2" in done.stdout and "%" in done.stdout


def test_a_terminal_gets_a_bar_and_a_pipe_does_not(sums: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, str(SCRIPTED), "measure", "--problems", str(sums), "--samples", "20", "--out",
             str(sums.parent / "run")],
            stdout=subprocess.PIPE, stderr=theirs, timeout=120,
            env=os.environ | {"SCRIPT_PAUSE": "0.02", "TERM": "xterm"},
        )  # fmt: skip
        os.set_blocking(ours, False)
        shown = os.read(ours, 1 << 20).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0 and b"\x1b" not in done.stdout
    assert "sampling" in shown and "\x1b[" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h"), "the cursor comes back"


def test_sample_then_grade(sums: Path) -> None:
    out = sums.parent / "drawn"
    drawn = scripted("sample", "--problems", sums, "--samples", 4, "--out", out)
    assert drawn.returncode == 0 and "8 responses in" in drawn.stdout
    graded = upwell("grade", out, "--style", "last-number")
    assert graded.returncode == 0 and graded.stdout.rstrip().endswith(f"run: {out}-last-number")


def test_failed_draws_end_with_1_and_the_next_run_makes_them(sums: Path) -> None:
    out = sums.parent / "run"
    flags = ["measure", "--problems", sums, "--samples", 3, "--out", out]
    done = scripted(*flags, SCRIPT_FAIL="a#[02]")
    assert done.returncode == 1, done.stderr
    assert "2 of 6 draws failed" in done.stderr and "failures.jsonl" in done.stderr
    assert "2 draws failed and are missing from every number" in " ".join(done.stdout.split())
    mended = scripted(*flags)
    assert mended.returncode == 0 and "6 responses" in mended.stdout
    assert "4 of 6 there already" in mended.stderr


def test_report_of_a_finished_run(sums: Path) -> None:
    pytest.importorskip("altair")
    out = sums.parent / "run"
    assert scripted("measure", "--problems", sums, "--samples", 4, "--out", out).returncode == 0
    page = sums.parent / "page.html"
    done = upwell("report", out, "--out", page, "--no-png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(page) and "</html>" in page.read_text()


def test_doctor_says_what_works() -> None:
    done = upwell("doctor")
    assert done.returncode == 0
    assert re.search(r"^ok +Python 3", done.stdout) and "symbolic grading" in done.stdout
    assert all(re.match(r"ok |missing | {9}", line) for line in done.stdout.splitlines())


def test_problems_lists_checks_and_shows(sums: Path, tiny_llama: Path) -> None:
    listed = upwell("problems", UPWELL_DATA="")
    assert listed.returncode == 0 and "gsm8k" in listed.stdout and "MIT" in listed.stdout
    checked = upwell("problems", "check", sums)
    assert checked.returncode == 0 and "100.00 %" in checked.stdout and "Traceback" not in checked.stderr
    odd = sums.with_name("odd.jsonl")
    odd.write_text(sums.read_text() + json.dumps({"question": "And you?", "answer": ""}) + "\n")
    faulty = upwell("problems", "check", odd)
    assert faulty.returncode == 1 and "empty answer" in faulty.stdout, "can stand before &&"
    mine = upwell("problems", "show", sums, "--model", tiny_llama, "--prompt", "plain")
    assert mine.returncode == 0 and any(row["question"] in mine.stdout for row in ROWS), mine.stderr
    renamed = upwell("problems", "show", sums, "--model", tiny_llama, "--field", "question=nothing")
    assert renamed.returncode == 2 and "nothing" in renamed.stderr and "Traceback" not in renamed.stderr
    made = pytest.importorskip("reasoning_gym") and "procedural:chain_sum"
    shown = upwell("problems", "show", made, "--model", tiny_llama)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("<|im_start|>user\n") and shown.stdout.endswith(
        "<|im_start|>assistant\n\n"
    )
    assert "prompt chat@" in shown.stderr


# Interruptions


def _interrupted(sums: Path, how: signal.Signals, *, group: bool) -> tuple[int, str, Path]:
    """Start a run of minutes, interrupt it in its work, and return its exit code, its talk and its folder."""
    out = sums.parent / "run"
    child = subprocess.Popen(
        [sys.executable, str(SCRIPTED), "measure", "--problems", str(sums), "--samples", "300", "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"SCRIPT_PAUSE": "0.1"},
    )  # fmt: skip
    try:
        late = time.monotonic() + 60
        while not (out / "responses.jsonl").exists():
            assert time.monotonic() < late and child.poll() is None
            time.sleep(0.01)
        time.sleep(0.2)
        (os.killpg if group else os.kill)(child.pid, how)
        stdout, stderr = child.communicate(timeout=30)
    finally:
        child.kill()
        child.wait()
    assert stdout == ""
    return child.returncode, stderr, out


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_ends_with_130_and_goes_on(sums: Path, how: signal.Signals) -> None:
    code, said, out = _interrupted(sums, how, group=how == signal.SIGINT)
    assert code == 130
    assert "error: interrupted" in said and "hint: run the same command again" in said
    assert "Traceback" not in said and not (out / "summary.json").exists()
    kept = (out / "responses.jsonl").read_bytes()
    assert kept.endswith(b"\n")
    report = upwell("report", out, "--out", out.parent / "page.html")
    assert_refused(report)
    assert not (out.parent / "page.html").exists(), "there is no report on an unfinished run"
    again = scripted("measure", "--problems", sums, "--samples", 300, "--out", out)
    assert again.returncode == 0 and "600 responses" in again.stdout
    assert (out / "responses.jsonl").read_bytes().startswith(kept)


def test_the_embedded_engine_is_interrupted_at_once(sums: Path, tiny_llama: Path) -> None:
    out = sums.parent / "run"
    table = out / "responses.jsonl"
    child = subprocess.Popen(
        [*COMMAND, "measure", "--problems", str(sums), "--model", str(tiny_llama), "--samples", "5000",
         "--max-tokens", "200", "--device", "cpu", "--threads", "2", "--slots", "8", "--out", str(out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        late = time.monotonic() + 120
        while not (table.exists() and table.stat().st_size):
            assert time.monotonic() < late and child.poll() is None
            time.sleep(0.02)
        os.killpg(child.pid, signal.SIGINT)
        _, said = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130 and "Traceback" not in said and "hint: run the same command again" in said
    assert table.read_bytes().endswith(b"\n")


def test_a_reader_that_goes_away_ends_a_command_quietly() -> None:
    child = subprocess.Popen([*COMMAND, "problems"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None and child.stderr is not None
    child.stdout.close()
    said = child.stderr.read()
    child.stderr.close()
    assert child.wait() in (1, 141) and said == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_for_the_output_is_told_as_such() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "upwell", "problems"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )  # fmt: skip
    assert done.returncode == 1 and "the output cannot be written: No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dead_worker_does_not_end_the_command() -> None:
    """Writing to a child that has died must be an error that can be handled, not the end of the process."""
    code = (
        "import subprocess, sys\n"
        "from upwell.measurement import grading\n"
        "def grade(*_, **__):\n"
        "    child = subprocess.Popen([sys.executable, '-c', ''], stdin=subprocess.PIPE)\n"
        "    child.wait()\n"
        "    try:\n"
        "        child.stdin.write(b'x' * 100_000), child.stdin.flush()\n"
        "    except BrokenPipeError:\n"
        "        print('survived', flush=True)\n"
        "    sys.stdout.flush(); import os; os._exit(0)\n"
        "grading.grade = grade\n"
        "from upwell.cli import main; main()"
    )
    done = upwell("grade", "x", command=[sys.executable, "-c", code])
    assert (done.returncode, done.stdout.strip()) == (0, "survived")


def test_grading_a_file_comparing_and_planning(desk: Path) -> None:
    """The verbs that read what is there already: tables on stdout, one line per fact."""
    for name, right in (("a", 1), ("b", 3)):
        lines = [{"q": i, "gold": "1", "outs": ["1"] * right + ["2"] * (4 - right)} for i in range(6)]
        (desk / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        fields = [x for f in ("gold=gold", "prediction=outs", "problem=q") for x in ("--field", f)]
        done = upwell(
            "grade", f"{name}.jsonl", *fields, "--also", "xwin-flex,minerva", "--no-cache", cwd=desk
        )
        assert done.returncode == 0, done.stderr
        assert "What each style reports" in done.stdout and "xwin-flex" in done.stdout
    done = upwell("compare", "a-auto", "b-auto", cwd=desk)
    assert done.returncode == 0 and "B - A" in done.stdout and "+50.0" in done.stdout, done.stderr
    found = json.loads(upwell("compare", "a-auto", "b-auto", "--json", cwd=desk).stdout)
    assert found["shared"] == 6 and found["lines"][0]["difference"]["value"] == pytest.approx(0.5)
    planned = upwell("measure", "--problems", "sums.jsonl", "--out", "none", "--plan", "0.2", cwd=desk)
    assert planned.returncode == 0 and "width" in planned.stdout, planned.stderr
    assert not (desk / "none").exists()
    refused = upwell("grade", "nowhere.jsonl", cwd=desk)
    assert_refused(refused)
    assert "nowhere.jsonl" in refused.stderr
