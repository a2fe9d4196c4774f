"""The hub as a source, with a stand-in for the `datasets` package."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from upwell import problems
from upwell.errors import UsageError


class Rows(list[dict[str, Any]]):
    column_names = ("Question", "Answer", "Picture")

    def remove_columns(self, name: str) -> Rows:
        return Rows({key: value for key, value in row.items() if key != name} for row in self)


def stand_in(monkeypatch: pytest.MonkeyPatch, load: Any, version: str = "5.2.0") -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def load_dataset(*args: Any, **kwargs: Any) -> Any:
        calls.append((*args, kwargs))
        return load(*args, **kwargs)

    module = SimpleNamespace(__version__=version, load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", module)
    return calls


def test_splits_are_joined_and_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load(repo: str, config: str | None, *, split: str) -> Rows:
        return Rows([{"Body": f"{split} has 2 figs.", "Question": "How many?", "Answer": "2.0", "Type": "A"}])

    calls = stand_in(monkeypatch, load)
    found = problems.load("svamp", data_dir=tmp_path)
    assert calls == [("ChilleD/SVAMP", None, {"split": "train"}), ("ChilleD/SVAMP", None, {"split": "test"})]
    assert len(found) == 2
    assert [file["name"] for file in found.files] == ["hub:ChilleD/SVAMP/train", "hub:ChilleD/SVAMP/test"]
    assert any("2 rows, 1,000 published" in note for note in found.notes)


def test_images_are_not_decoded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(
        monkeypatch,
        lambda *a, **k: Rows(
            [{"Question": "Q", "Answer": "3", "Answer_type": "integer", "Picture": object()}]
        ),
    )
    assert problems.load("theoremqa", data_dir=tmp_path).problems[0].answer == "3"


def test_no_connection_is_a_plain_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load(*args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("Couldn't reach the Hub\nlong trace")

    stand_in(monkeypatch, load)
    with pytest.raises(UsageError) as caught:
        problems.load("gsm8k", data_dir=tmp_path)
    assert "openai/gsm8k: ConnectionError: Couldn't reach the Hub" in caught.value.message
    assert "long trace" not in str(caught.value)


def test_a_datasets_that_could_run_scripts_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = stand_in(monkeypatch, lambda *a, **k: Rows(), version="2.14.1")
    with pytest.raises(UsageError, match="4 or later is needed"):
        problems.load("gsm8k", data_dir=tmp_path)
    assert not calls


def test_files_in_the_folder_come_before_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = stand_in(monkeypatch, lambda *a, **k: Rows())
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k/test.jsonl").write_text('{"question": "Q", "answer": "#### 1"}')
    assert len(problems.load("gsm8k", data_dir=tmp_path)) == 1
    assert not calls
