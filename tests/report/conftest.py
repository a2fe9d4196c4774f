"""A browser for the pages, and a page that most tests can share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser
from fabricated import write_run

from upwell.report import ReportFiles, build


@pytest.fixture(scope="session")
def plain_report(tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    """The report of one ordinary run of 30 problems x 16 samples."""
    folder = tmp_path_factory.mktemp("plain")
    run = write_run(folder / "base", problems=30, samples=16)
    return build([run], folder / "report.html")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One headless Chromium for the session."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        reason = "no `chromium` on PATH: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with Browser(executable, tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a test writes its report."""
    return tmp_path / "report.html"
