"""Fixtures of the synthesis tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted_teacher import seeds


@pytest.fixture
def seed_file(tmp_path: Path) -> str:
    """Twenty seed questions that the scripted teacher can solve."""
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in seeds(20)))
    return str(path)
