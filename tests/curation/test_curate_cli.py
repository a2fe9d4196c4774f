"""The verbs as their user meets them: help at once, exit codes, streams; and kill -9 anywhere, then the same again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import killed_curation
import pytest
from test_inputs import curated, draft, jsonl, make_run

from upwell.cli import main
from upwell.records import Example, Reject
from upwell.runs import Run

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Upwell = Callable[..., Done]


@pytest.fixture
def upwell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Upwell]:
    """The command, in this process: a new one takes seconds to begin."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["upwell", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        return Done(int(left.value.code or 0), *capsys.readouterr())

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize("verb", ["curate", "export"])
def test_help_is_light_and_names_every_setting(verb: str) -> None:
    import dataclasses

    from upwell.curation.settings import CurateSettings, ExportSettings

    code = (
        "import atexit, sys; from upwell.cli import main\n"
        "atexit.register(lambda: print(*{n.split('.')[0] for n in sys.modules}, file=sys.stderr))\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, verb, "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert not {"numpy", "pyarrow", "torch", "sympy", "datasets", "transformers"} & set(done.stderr.split())
    for field in dataclasses.fields({"curate": CurateSettings, "export": ExportSettings}[verb]):
        assert f"--{field.name.replace('_', '-')}" in done.stdout


def test_a_ladder_is_curated_and_exported_from_the_command_line(tmp_path: Path, upwell: Upwell) -> None:
    rows = [{"query": f"{n} + {n}?", "response": f"{n} + {n} = {2 * n}\n#### {2 * n}"} for n in range(1, 65)]
    path = jsonl(tmp_path / "rows.jsonl", rows)
    run, out = tmp_path / "run", tmp_path / "train.jsonl"
    fields = ["--field", "question=query", "--field", "solution=response"]
    done = upwell("curate", path, *fields, "--ladder", "allx2^-3..0", "--final-answer", "boxed", "--out", run)
    assert done.returncode == 0, done.stderr
    assert "nothing was decontaminated" in done.stderr and "nothing was decontaminated" not in done.stdout
    assert "rung 1" in done.stdout and "64 examples, 0 rejected" in done.stdout
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["inputs"][0]["digest"] and manifest["settings"]["seed"] == 0
    assert manifest["settings"]["inputs"] == [str(path)]
    again = upwell(
        "curate", path, *fields, "--ladder", "allx2^-3..0", "--final-answer", "boxed", "--out", run
    )
    assert again.returncode == 0 and "finished already" in again.stderr
    done = upwell("export", run, "--to", out, "--rung", 2)
    assert done.returncode == 0 and done.stdout.strip() == str(out)
    (first, *_), count = out.read_text().splitlines(), len(out.read_text().splitlines())
    assert count == 16 and json.loads(first)["messages"][1]["content"].endswith("}$.")


def test_bad_commands_end_with_2_and_a_hint(tmp_path: Path, upwell: Upwell) -> None:
    for arguments, says in (
        (["curate", "--out", tmp_path / "x"], "no input"),
        (["curate", tmp_path / "no.jsonl", "--out", tmp_path / "x"], "no run, file or problem set"),
        (["export", tmp_path, "--to", tmp_path / "x"], "no run at"),
    ):
        done = upwell(*arguments)
        assert done.returncode == 2 and says in done.stderr and "hint: " in done.stderr, done.stderr
        assert (
            "Traceback" not in done.stderr
            and not (tmp_path / "x").exists() | (tmp_path / "x/manifest.json").exists()
        )


def test_rungs_that_are_missing_and_empty_results_end_with_1(tmp_path: Path, upwell: Upwell) -> None:
    path = jsonl(tmp_path / "rows.jsonl", [{"question": f"{n}?", "solution": f"{n}"} for n in range(10)])
    done = upwell("curate", path, "--ladder", "5,20", "--out", tmp_path / "short")
    assert done.returncode == 1 and "1 of 2 rungs are missing: 20 rows asked for, 10 left" in done.stderr
    done = upwell("curate", path, "--min-words", "5", "--out", tmp_path / "none")
    assert done.returncode == 1 and "no row is left" in done.stderr


# kill -9


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drafts = [draft(f"d{n}", question=f"Number {n // 3}?", solution=f"{n} + 1 = {n + 1 + (n % 7 == 0)}. Done {n}.")
              for n in range(3000)]  # fmt: skip
    return make_run(tmp_path_factory.mktemp("killed") / "in", "synthesize", drafts=drafts)


@pytest.fixture(scope="module")
def whole(source: Path) -> Iterator[Run]:
    yield curated(source, out=source.parent / "whole", **killed_curation.SETTINGS)


@pytest.mark.parametrize("point", ["read", "per-problem", "torn", "finishing"])
def test_killed_anywhere_and_run_again_it_is_the_same(
    point: str, source: Path, whole: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    script = Path(killed_curation.__file__)
    died = subprocess.run([sys.executable, str(script), point, str(source), str(out)], timeout=60)
    assert died.returncode == -signal.SIGKILL
    assert Run.read(out).summary is None  # nothing that looks finished
    again = curated(source, out=out, **killed_curation.SETTINGS)
    for table in ("examples.jsonl", "rejects.jsonl", "summary.json"):
        assert (again.path / table).read_bytes() == (whole.path / table).read_bytes(), table
    assert (
        whole.count("examples") > 1500 and len(set(whole.keys("rejects"))) + whole.count("examples") == 3000
    )
    assert {path.name for path in out.iterdir()} == {
        "manifest.json", "examples.jsonl", "rejects.jsonl", "summary.json", ".lock"
    }  # fmt: skip


def test_every_row_is_an_example_or_a_reject_and_never_both(whole: Run) -> None:
    kept = {one.key for one in whole.rows("examples", Example)}
    gone = [one.key for one in whole.rows("rejects", Reject)]
    assert len(gone) == len(set(gone)) and not kept & set(gone)
    assert kept | set(gone) == {f"d{n}" for n in range(3000)}
