"""Fixtures of the measuring tests."""

from __future__ import annotations

from pathlib import Path

import pytest

import upwell.measurement.grading
import upwell.metrics


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Verdicts that tests remember are not the user's."""
    monkeypatch.setattr(upwell.measurement.grading, "cache_file", lambda: tmp_path / "verdicts.sqlite")


@pytest.fixture
def without_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Summaries without intervals, which take most of the time of a measurement of sixteen responses."""
    monkeypatch.setattr(upwell.metrics, "summarise", lambda outcomes: [])
