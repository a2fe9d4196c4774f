"""The page of commands: made from the data, and every command one that the tool takes."""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from cyclopts import App, Parameter
from reproduce_tables import (
    CALLS_PER_DRAFT,
    DART,
    DAYS,
    DRAFT_RUNS,
    GPUS,
    PAGE,
    RAW,
    ROWS,
    WANTED,
    XWIN,
    figures,
    filled,
    planned,
    said_hours,
)

from upwell.cli import VERBS
from upwell.evaluation.settings import EvaluateSettings
from upwell.synthesis.settings import SynthesisSettings
from upwell.training.corpora import CORPORA
from upwell.training.recipes import RECIPES


def commands() -> list[list[str]]:
    """Every command of the page, without `upwell`."""
    blocks = re.findall(r"```console\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    assert lines and all(line.startswith("$ upwell ") for line in lines)
    return [shlex.split(line.removeprefix("$ upwell ")) for line in lines]


COMMANDS = commands()


@pytest.fixture
def app() -> Iterator[App]:
    handler = signal.getsignal(signal.SIGTERM)
    made = App(name="upwell", default_parameter=Parameter(negative_iterable=()))
    for verb, (where, _) in VERBS.items():
        made.command(where, name=verb)
    yield made
    signal.signal(signal.SIGTERM, handler)


def bound(app: App, command: list[str]) -> dict[str, Any]:
    """What the tool makes of a command, settings checked."""
    _, found, _ = app.parse_args(command, exit_on_error=False, print_error=False)
    return dict(found.arguments)


def value_of(command: list[str], flag: str) -> str | None:
    return command[command.index(flag) + 1] if flag in command else None


def test_the_page_is_what_the_data_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page) == page, "python tests/training/reproduce_tables.py"


@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(command[:3]) for command in COMMANDS])
def test_the_tool_takes_every_command(app: App, command: list[str]) -> None:
    found = bound(app, command)
    settings = found["settings"]
    if command[0] == "train":
        recipe = RECIPES[settings.recipe]
        data = value_of(command, "--data") or command[1].rpartition("/")[2]
        assert data in {recipe.data.value, *recipe.other_data}
        assert settings.plan or settings.data is None, "the examples are those of the run"


def test_what_a_command_reads_an_earlier_one_writes() -> None:
    written: set[str] = set()
    for command in COMMANDS:
        read = re.findall(r"runs/[\w./-]+?(?=/model\b|\s|$)", " ".join(command))
        out = value_of(command, "--out")
        assert out not in written, "each run is written by one command"
        assert {run for run in read if run != out} <= written, command
        if out is not None:
            written.add(out)


def test_the_settings_are_the_papers(app: App) -> None:
    drawn = [bound(app, command)["settings"] for command in COMMANDS if command[0] == "synthesize"]
    assert all(isinstance(settings, SynthesisSettings) for settings in drawn)
    for settings in drawn:
        if settings.method == "xwin":
            assert settings.heat == 1.0 and settings.verification and settings.solutions == 1
        else:
            assert (settings.heat, settings.nucleus, settings.max_tokens) == (1.6, 0.95, 2048)
            assert settings.prompt == "deepseek-math" and settings.give_up == 0
    rejected = [(s.policy, s.k_uniform, s.k_hardest) for s in drawn if s.method == "rejection"]
    assert rejected == [("uniform", 192, 192), ("uniform", 40, 192), ("prop2diff", 40, 192)] * 2
    asked = [bound(app, command)["settings"] for command in COMMANDS if command[0] == "evaluate"]
    assert all(isinstance(s, EvaluateSettings) and s.samples == 0 and s.max_tokens == 2048 for s in asked)


def test_every_row_of_the_main_tables_is_there() -> None:
    assert [(row.called, row.ending) for row in XWIN] == [
        *((f"Xwin-Math-{base}", ending)
          for base in ("7B", "Mistral-7B", "Llemma-7B", "13B", "70B") for ending in ("gsm8k", "math")),
        ("Xwin-Math-7B-V1.1", "v1.1"), ("Xwin-Math-70B-V1.1", "v1.1"),
    ]  # fmt: skip
    assert [row.called for row in DART] == [
        f"{base} {kind}"
        for base in ("Mistral-7B", "Llama3-8B", "DSMath-7B", "Llama3-70B")
        for kind in ("Uniform", "Prop2Diff")
    ]
    assert len({row.name for row in ROWS}) == len(ROWS) == 20
    for row in ROWS:
        sets = row.suites[0][1] or ("math", "gsm8k", "theoremqa", "average")
        assert None not in figures(row, sets)
        assert planned(row)["fits"]


def test_drafts_add_up_to_the_papers_sets() -> None:
    for data in ("xwin-gsm8k-960k", "xwin-math-480k", "xwin-v1.1-7b", "xwin-v1.1-70b"):
        made: dict[str, int] = {}
        for run in DRAFT_RUNS[data]:
            seeds, count = WANTED[run]
            made[seeds] = made.get(seeds, 0) + count
        parts = {name.split("-")[0].lower(): rows for name, rows in CORPORA[data].of}
        assert made == parts
    assert CALLS_PER_DRAFT * (960_000 + 480_000) == 2_880_000  # A3: about 2.9 M for 1.44 M


def test_hours_are_the_papers() -> None:
    said = {row.name: said_hours(row) for row in ROWS if said_hours(row) is not None}
    assert said == {
        "xwin-llama2-70b-gsm8k": 1900,  # A4
        "dart-mistral-7b-prop2diff": 72,  # B3: 3 h per epoch on 8, 3 epochs
        "dart-llama3-8b-prop2diff": 24,
        "dart-dsmath-7b-prop2diff": 72,
        "dart-llama3-70b-prop2diff": 192,  # 6 h on 32
    }
    per_hour = RAW / (DAYS * 24 * GPUS)
    assert per_hour == pytest.approx(39_000, rel=0.01)  # B1.1
