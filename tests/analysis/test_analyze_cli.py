"""`upwell analyze` from the command line: what it prints, leaves and refuses."""

from __future__ import annotations

import csv
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_runs import Said, problem, write_graded

from upwell.cli import main

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")
Upwell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def upwell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Upwell]:
    """The command, run here: exit code, stdout, stderr."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["upwell", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def graded(tmp_path: Path) -> str:
    """Eight problems, of which every other one is answered rightly by three of four responses."""
    asked = [
        (
            problem(number),
            [
                Said(
                    correct=bool(number % 2) and index < 3,
                    answer=str(number + 1) if index < 3 else "0",
                    score=0.5,
                )
                for index in range(4)
            ],
        )
        for number in range(8)
    ]
    return str(write_graded(tmp_path / "graded", asked))


def test_conclusions_and_fits_are_printed_and_the_run_is_left(
    upwell: Upwell, graded: str, tmp_path: Path
) -> None:
    out = tmp_path / "selection"
    code, said, _ = upwell("analyze", "selection", graded, "--out", str(out))
    assert code == 0
    assert "graded: from PassRatio 37.5 %" in said and f"run: {out}" in said
    assert "selection: fits" in said and "best by score" in said
    with (out / "points.csv").open(encoding="utf-8") as file:
        assert {row["selector"] for row in csv.DictReader(file)} >= {"random", "oracle", "majority"}
    code, shown, _ = upwell("show", str(out))
    assert code == 0 and "graded: from PassRatio 37.5 %" in shown


def test_names_from_runs_do_not_reach_the_terminal_raw(upwell: Upwell, graded: str, tmp_path: Path) -> None:
    strange = tmp_path / "\x1b[31m[red]x"
    Path(graded).rename(strange)
    code, said, _ = upwell("analyze", "selection", str(strange), "--out", str(tmp_path / "out"))
    assert code == 0 and "\x1b" not in said and "[red]x" in said


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["stepps", "RUN"], "no analysis `stepps`", "upwell analyze steps RUN"),
        (["steps"], "nothing to analyse", "upwell analyze steps RUN"),
        (["steps", "nowhere"], "no run at", None),
        (
            ["steps", "RUN", "--parameters", "7e9"],
            "--parameters does nothing for steps",
            "leave --parameters out",
        ),
        (["errors", "RUN", "--votes", "5"], "--votes does nothing without a judge", "add --judge MODEL"),
        (["selection", "RUN", "--bootstrap", "3"], "bootstrap is 3", None),
    ],
)
def test_wrong_use_is_refused_and_leaves_no_run(
    upwell: Upwell, graded: str, tmp_path: Path, arguments: list[str], message: str, hint: str | None
) -> None:
    out = tmp_path / "out"
    told = [graded if argument == "RUN" else argument for argument in arguments]
    code, said, error = upwell("analyze", *told, "--out", str(out))
    assert code == 2 and not said
    assert message in error and (hint is None or hint in error)
    assert not out.exists()
