"""Where this machine keeps what can be made again: converted models, digests, verdicts."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$UPWELL_CACHE`, else `$XDG_CACHE_HOME/upwell`, else `~/.cache/upwell`. It need not exist yet."""
    if own := os.environ.get("UPWELL_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "upwell"
