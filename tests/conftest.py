"""Fixtures that several rooms share."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

from tiny_models import make_checkpoint

# A machine that is shared is slow for reasons that no test is about.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LLaMA of two layers with a byte-level tokenizer and a chat template."""
    return make_checkpoint("llama", tmp_path_factory.mktemp("tiny") / "llama")
