"""Fixtures of the measuring tests."""

from __future__ import annotations

import pytest

import upwell.metrics


@pytest.fixture
def without_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Summaries without intervals, which take most of the time of a measurement of sixteen responses."""
    monkeypatch.setattr(upwell.metrics, "summarise", lambda outcomes: [])
