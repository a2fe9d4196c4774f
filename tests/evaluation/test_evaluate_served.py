"""Evaluating what is behind a server: one engine for all sets, the card by the served name, a judge beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fault_server import MODEL, FaultServer

from upwell.errors import UsageError
from upwell.evaluation import EvaluateSettings, evaluate
from upwell.evaluation.contestants import settings_for
from upwell.runs import Run


def given(tmp_path: Path, **changes: Any) -> EvaluateSettings:
    asked: dict[str, Any] = {
        "suite": "xwin", "out": str(tmp_path / "run"), "sets": ("gsm8k", "math"), "workers": 1, "cache": False,
        "max_tokens": 16,
    }  # fmt: skip
    return EvaluateSettings(**asked | changes)


def test_a_served_model(bench: Path, tmp_path: Path) -> None:
    with FaultServer(say=lambda seed, prompt: "The answer is: 2") as server:
        name = f"served=server:{server.url}#{MODEL}"
        out = evaluate([name], given(tmp_path, samples=2, price="1,2", max_concurrency=4))
    summary = Run.read(out).summary
    assert summary is not None and summary["counts"] == {"sets": 2, "failed": 0}
    assert [row["problems"] for row in summary["rows"]] == [4, 3]
    assert summary["rows"][1]["greedy"]["value"] == pytest.approx(1 / 3)
    manifest = Run.read(out / summary["rows"][0]["runs"]["sampled"]).manifest
    assert manifest["model"]["name"] == MODEL and manifest["settings"]["max_concurrency"] == 4


def test_settings_go_to_the_models_that_they_are_for(tmp_path: Path) -> None:
    settings = given(tmp_path, threads=2, max_concurrency=8, max_usd=3.0)
    assert settings_for("a/folder", settings) == {"threads": 2, "max_usd": 3.0}
    assert settings_for("server:http://127.0.0.1:1/v1#x", settings) == {"max_concurrency": 8, "max_usd": 3.0}


def test_a_setting_for_no_model_here_is_refused(bench: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--batch-rows does nothing"):
        evaluate(["server:http://127.0.0.1:1/v1#x", "a/folder"], given(tmp_path, threads=2, batch_rows=5))
