"""The verb as its user meets it: one JSON object, tables, refusals."""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from upwell.cli import main
from upwell.training.recipes import RECIPES

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Upwell = Callable[..., Done]


@pytest.fixture
def upwell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Upwell]:
    handler = signal.getsignal(signal.SIGTERM)

    def no_network(*_: object) -> None:
        raise AssertionError("a plan asks no network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["upwell", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        return Done(int(left.value.code or 0), *capsys.readouterr())

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize("recipe", RECIPES)
def test_json_is_one_object_with_recipe_paper_and_sources(upwell: Upwell, recipe: str) -> None:
    done = upwell("train", "--plan", "--recipe", recipe, "--json")
    assert done.returncode == 0 and not done.stderr and done.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(done.stdout)
    names = set(found["recipe"])
    assert {"learning_rate", "epochs", "warmup_ratio", "schedule", "max_length", "batch_size"} <= names
    assert names == set(found["paper"]) == set(found["sources"])
    assert None not in found["recipe"].values()
    assert all(
        entry["source"] in ("paper", "code", "ours") and entry["why"] for entry in found["sources"].values()
    )
    assert found["plans"][0]["hardware"] == "8xH100" and found["plans"][-1]["hardware"].startswith("here")
    for entry in found["plans"]:
        assert min(entry[name] for name in ("tokens_per_epoch", "steps", "model_flops", "hours")) > 0
        parts = dict(entry["memory"][0]["memory"])
        assert parts.pop("total") == pytest.approx(sum(parts.values()))


def test_what_the_paper_does_not_say_is_null_and_ours_beside_it(upwell: Upwell) -> None:
    found = json.loads(upwell("train", "--plan", "--recipe", "xwin-llama2-70b", "--json").stdout)
    assert found["paper"]["batch_size"] is None and found["recipe"]["batch_size"] == 32
    assert found["sources"]["batch_size"]["source"] == "ours"
    assert found["paper"]["learning_rate"] == found["recipe"]["learning_rate"] == 2e-5
    assert found["published"][0]["gpu_hours"] == 1900


def test_tables_show_value_source_and_reason(upwell: Upwell) -> None:
    shown = upwell("train", "--plan", "--recipe", "dart-llama3-8b", "--hardware", "8xA100").stdout
    for word in (
        "learning_rate",
        "5e-05",
        "zero3",
        "fsdp2",
        "paper",
        "code",
        "ours",
        "8xA100",
        "4 x 2",
        "dollars",
    ):
        assert word in shown
    assert "3 hours per epoch on 8 A100" in shown


def test_the_positional_and_what_training_needs_are_optional(upwell: Upwell) -> None:
    done = upwell(
        "train", "--plan", "--recipe", "smollm2-135m", "--base", "Qwen/Qwen2.5-Math-1.5B", "--out", "nowhere",
        "--method", "lora", "--examples", 100, "--json",
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (
        found["recipe"]["base"] == "Qwen/Qwen2.5-Math-1.5B" and found["model"]["parameters"] == 1_543_714_304
    )
    assert found["recipe"]["method"] == "lora" and found["sources"]["method"]["why"] == "said by --method"
    assert found["data"]["examples"] == 100


def test_training_wants_examples_and_a_run_directory(upwell: Upwell) -> None:
    done = upwell("train", "--recipe", "smollm2-135m", "--out", "runs/x")
    assert done.returncode == 2 and "there are no examples" in done.stderr and "--plan" in done.stderr
    done = upwell("train", "runs/set", "--recipe", "smollm2-135m", "--json")
    assert done.returncode == 2 and "--json does nothing without --plan" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--recipe", "xwin-lama2-7b"), "hint: --recipe xwin-llama2-7b"),
        (("--recipe", "smollm2-135m", "--data", "dart-hrd"), "hint: --data dart-hard"),
        (("--recipe", "smollm2-135m", "--hardware", "8xB100"), "hint: --hardware 8xH100"),
        (("--recipe", "smollm2-135m", "--mfu", "40"), "hint: --mfu 0.4"),
        (("--recipe", "smollm2-135m", "--base", "/nowhere"), "hint: --base "),
        (("/nowhere", "--recipe", "smollm2-135m"), "no run at `/nowhere`"),
        ((), "--recipe"),
    ],
)
def test_wrong_use_is_told_with_a_hint(upwell: Upwell, arguments: tuple[str, ...], told: str) -> None:
    done = upwell("train", *arguments, "--plan")
    assert done.returncode == 2 and not done.stdout
    assert told in done.stderr and "hint: " in done.stderr and "Traceback" not in done.stderr
