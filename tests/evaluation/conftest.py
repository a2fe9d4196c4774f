"""Fixtures of the evaluating tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from benches import write_bench

import upwell.measurement.grading
from upwell.problems import hub
from upwell.problems.cards import Card


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Verdicts that tests remember are not the user's."""
    monkeypatch.setattr(upwell.measurement.grading, "cache_file", lambda: tmp_path / "verdicts.sqlite")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A small data folder as $UPWELL_DATA, and no hub."""

    def unavailable(card: Card, split: str) -> Iterator[object]:
        raise hub.Unavailable("no network in this test")

    monkeypatch.setattr(hub, "read", unavailable)
    folder = write_bench(tmp_path / "bench")
    monkeypatch.setenv("UPWELL_DATA", str(folder))
    return folder
