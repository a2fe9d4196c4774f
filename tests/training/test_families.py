"""Every recipe as its user meets it: curate a file, train, measure what was trained; answers come by heart, and end."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from seed_checkpoints import FAMILIES
from training_runs import seeds

from upwell.cli import main
from upwell.records import Example, Response
from upwell.runs import Run

QUESTIONS = (
    ("What is 6 times 7?", "Six sevens make 42.\nThe answer is: 42", "42"),
    ("Ben has 3 books and buys 5 more. How many has he?", "He has 3 + 5 = 8 books.\nThe answer is: 8", "8"),
    ("A box holds 12 eggs. How many eggs are in 5 boxes?", "It is 5 * 12 = 60.\nThe answer is: 60", "60"),
)
pytestmark = [
    pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens"),
]

RECIPES = {
    "xwin-llama2-7b": "llama2", "xwin-mistral-7b": "mistral", "dart-llama3-8b": "llama3", "dart-dsmath-7b": "deepseek",
    "qwen2.5-math-1.5b": "qwen2", "smollm2-135m": "gemma",
}  # fmt: skip
"""Recipe: the family of its base here. The last one for a base of another family than its own."""

Upwell = Callable[..., str]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return seeds(tmp_path_factory.mktemp("bases"), FAMILIES)


@pytest.fixture
def upwell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Upwell]:
    """The command in this process; gives what it says."""
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["upwell", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        assert not left.value.code, err
        return out + err

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize(("recipe", "family"), RECIPES.items())
def test_curate_train_measure(
    upwell: Upwell, bases: dict[str, Path], tmp_path: Path, recipe: str, family: str
) -> None:
    data, base = tmp_path / "data.jsonl", bases[family]
    rows = [dict(zip(("question", "solution", "answer"), row, strict=True)) for row in QUESTIONS]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompt = json.loads(upwell("train", "--plan", "--recipe", recipe, "--json"))["recipe"]["prompt"]
    upwell("curate", data, "--prompt", prompt, "--model", base, "--out", tmp_path / "examples")
    said = upwell(
        "train", tmp_path / "examples", "--recipe", recipe, "--base", base, "--out", tmp_path / "trained",
        "--max-length", 1024, "--batch-size", 1, "--learning-rate", 0.01, "--max-steps", 40,
        "--precision", "float32", "--preflight", "no-overfit",
        *(("--attention", "eager") if family == "gemma" else ()),  # transformers has no other for Gemma 2 on a CPU
    )  # fmt: skip
    assert "nats off the same alone" in said and "40 steps over 3 examples" in said
    steps = (tmp_path / "trained/steps.jsonl").read_text().splitlines()
    assert len(steps) == 40 and json.loads(steps[-1])["loss"] < 0.1
    upwell(
        "measure", "--problems", data, "--model", tmp_path / "trained/model", "--out", tmp_path / "measured",
        "--samples", 1, "--temperature", 0, "--max-tokens", 60,
    )  # fmt: skip
    run = Run.read(tmp_path / "measured")
    assert run.manifest["prompt"]["name"] == prompt, "it is not asked as it was trained"
    learnt = {
        row.question: row.completion for row in Run.read(tmp_path / "examples").rows("examples", Example)
    }
    found = list(run.rows("responses", Response))
    assert len(found) == len(QUESTIONS)
    assert {row.text.strip() for row in found} == {text.strip() for text in learnt.values()}
    assert {row.finish for row in found} == {"stop"}, "it did not learn to end"
    metrics = {(row["name"], row["k"]): row["value"] for row in (run.summary or {})["metrics"]}
    assert metrics["pass@k", 1] == 1.0
