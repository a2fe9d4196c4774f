"""Sets from the Hugging Face hub, through the `datasets` package where it is installed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from upwell.problems.cards import Card

Rows = list[tuple[int, dict[str, Any]]]


class Unavailable(Exception):
    """The hub cannot give the set; the message says why."""


def read(card: Card, split: str) -> Iterator[tuple[str, Rows]]:
    """The rows of a split with the name of each part, such as `hub:openai/gsm8k/main/test`.

    Data files only: `datasets` 4 and later run no code from a repository, and older ones are refused.
    `HF_HUB_OFFLINE=1` keeps it to what is in the local cache.

    Raises:
        Unavailable: No known repository, no usable `datasets`, or no connection.
    """
    if card.hub is None:
        raise Unavailable("no repository of it is known")
    try:
        import datasets
    except ImportError:
        raise Unavailable("the package `datasets` is not installed (pip install datasets)") from None
    if int(datasets.__version__.partition(".")[0]) < 4:
        raise Unavailable(
            f"`datasets` {datasets.__version__} can run code from a repository; 4 or later is needed"
        )
    for config in card.hub.configs:
        for part in card.hub.splits.get(split, ()):
            try:
                rows = datasets.load_dataset(card.hub.repo, config, split=part)
                if "Picture" in rows.column_names:  # decoding images needs another package
                    rows = rows.remove_columns("Picture")
                listed = [(number, dict(row)) for number, row in enumerate(rows, 1)]
            except Exception as error:  # whatever the network and three libraries raise
                reason = (str(error).strip().splitlines() or [""])[0]
                raise Unavailable(f"{card.hub.repo}: {type(error).__name__}: {reason[:200]}") from error
            yield "/".join(["hub:" + card.hub.repo, *([config] if config else []), part]), listed


def digest(rows: Rows) -> str:
    """SHA-256 over rows as canonical JSON: what a hub set has in place of a file's checksum."""
    hashed = hashlib.sha256()
    for _, row in rows:
        hashed.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
    return hashed.hexdigest()
