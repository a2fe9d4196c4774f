"""Every console block of the documentation runs, on small and scripted models (running_blocks.py says how)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from running_blocks import LEFT_OUT, PAGES, ROOT, commands


@pytest.mark.skipif("UPWELL_DATA" not in os.environ, reason="UPWELL_DATA has no benchmark files")
def test_blocks_run(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("running_blocks.py")), str(tmp_path / "reader")],
        capture_output=True, text=True, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert len(re.findall("^ran: ", ran.stdout, re.MULTILINE)) > 60


def test_no_page_is_forgotten() -> None:
    pages = {str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md") if any(commands(page))}
    assert pages | {"README.md"} == set(PAGES)


def test_what_is_left_out_is_there() -> None:
    told = [f"{page}: {command}" for page in PAGES for command in commands(ROOT / page)]
    assert all(any(re.search(pattern, command) for command in told) for pattern, _ in LEFT_OUT)
