"""The verb that writes pages."""

from __future__ import annotations

import sys
from pathlib import Path


def report(*runs: Path, out: Path, png: bool = True) -> int:
    """Write one self-contained HTML page on finished runs.

    Parameters
    ----------
    runs
        Run directories, each finished; several are laid over one another. A ladder of trainings shows its measured
        rungs; runs of analyze show their conclusions and pictures.
    out
        The page. Its figures go beside it as PNG and CSV.
    png
        Write the PNGs too.
    """
    from upwell.report import build

    sys.stderr.write(f"reading {len(runs)} run{'s' * (len(runs) != 1)} and drawing the page\n")
    files = build(list(runs), out, pngs=png)
    sys.stdout.write(f"{files.html}\n")
    return 0
