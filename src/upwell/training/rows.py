"""The rows that are trained on: examples as tokens, packed or one by one, on disk for every session and process."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from upwell.measurement.watch import Watch
from upwell.records import Example, Reject
from upwell.runs import Run
from upwell.runs.storage import storage_error, write_atomically
from upwell.training.checkpoints import TOKENS, sync_tree
from upwell.training.encoding import Encoder

TOO_LONG = "longer than a row"
_FACTS = "facts.json"
_BATCH = 2048
_LONG = 20_000
"""Examples that take so long to pack that it is said."""


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows hold, in numbers."""

    rows: int
    examples: int
    tokens: int
    """Of the examples, prompts and all; padding not counted."""
    learnt: int
    """Of these, completions and ends of sequence."""
    longest: int = 0
    """Tokens of the longest of them."""
    too_long: int
    """Examples that were left out because they are longer than a row."""
    unusable: int
    """Examples that were left out for another reason."""
    reasons: dict[str, int] = {}
    """Of these, how many for which."""
    seams: int
    """Examples whose prompt and completion would have grown together in tokens."""

    @property
    def share_too_long(self) -> float:
        seen = self.examples + self.too_long + self.unusable
        return self.too_long / seen if seen else 0.0


def make_rows(
    run: Run, examples: Iterable[Example], count: int, encoder: Encoder, *, max_length: int, packed: bool, seed: int,
    watch: Watch,
) -> Rows:  # fmt: skip
    """Tokenise and pack into RUN/tokens, or take what an earlier session left there whole.

    Whole examples only: one that is longer than a row, or cannot be learnt, becomes a row of the table `rejects`.

    Raises:
        StorageError: the disk does not take them.

    Args:
        run: open for writing.
        examples: in order.
        count: how many, for the progress.
        max_length: tokens of a row.
        packed: whether several examples share a row (best fit, decreasing), else each has one of its own.
        seed: of the order in which examples are packed.
    """
    folder = run.path / TOKENS
    try:
        return msgspec.json.decode((folder / _FACTS).read_bytes(), type=Rows)
    except (OSError, msgspec.DecodeError):
        shutil.rmtree(folder, ignore_errors=True)  # what a killed session left half
        (run.path / "rejects.jsonl").unlink(missing_ok=True)
    try:
        folder.mkdir()
        facts, reasons = _write(run, folder / "pieces.arrow", examples, count, encoder, max_length, watch)
        if packed and facts["examples"] >= _LONG:
            watch.say(f"packing {facts['examples']:,} examples")
        rows = _pack(folder, max_length, seed, packed=packed) if facts["examples"] else 0
        (folder / "pieces.arrow").unlink()
        sync_tree(folder)
    except OSError as error:
        raise storage_error(folder, error) from None
    found = Rows(rows=rows, seams=encoder.seams, reasons=reasons, **facts)
    write_atomically(folder / _FACTS, msgspec.json.encode(found))
    return found


def open_rows(folder: Path) -> Any:
    """The rows as a `datasets.Dataset` with `input_ids`, `labels` and, where packed, `seq_lengths`."""
    import datasets

    return datasets.load_from_disk(str(folder / "rows"))


def _write(
    run: Run, path: Path, examples: Iterable[Example], count: int, encoder: Encoder, max_length: int, watch: Watch
) -> tuple[dict[str, int], dict[str, int]]:  # fmt: skip
    import pyarrow as pa

    numbers = pa.list_(pa.int32())
    schema = pa.schema([("input_ids", numbers), ("labels", numbers)])
    facts = dict.fromkeys(("examples", "tokens", "learnt", "longest", "too_long", "unusable"), 0)
    reasons: Counter[str] = Counter()
    watch.begin("tokenising", count)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        pieces = encoder.pieces(examples)
        while batch := list(islice(pieces, _BATCH)):
            good, bad = [], []
            for piece in batch:
                trouble = piece.trouble or (TOO_LONG if len(piece.ids) > max_length else None)
                if trouble is None:
                    good.append(piece)
                    facts["tokens"] += len(piece.ids)
                    facts["learnt"] += len(piece.ids) - piece.prompt
                    facts["longest"] = max(facts["longest"], len(piece.ids))
                elif trouble == TOO_LONG:
                    facts["too_long"] += 1
                    told = f"{TOO_LONG}: {len(piece.ids):,} tokens"
                    bad.append(Reject(key=piece.key, step="train", reason=told))
                else:
                    facts["unusable"] += 1
                    reasons[trouble] += 1
                    bad.append(Reject(key=piece.key, step="train", reason=trouble))
            facts["examples"] += len(good)
            columns = [
                pa.array([piece.ids for piece in good], numbers),
                pa.array([piece.labels for piece in good], numbers),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            run.append("rejects", bad)
            watch.advance(len(batch), tokens=sum(len(piece.ids) for piece in batch))
    watch.end()
    return facts, dict(reasons)


def _pack(folder: Path, max_length: int, seed: int, *, packed: bool) -> int:
    import datasets
    from trl import pack_dataset

    from upwell.engines.embedded.loading import quiet

    with quiet(), _silent(datasets):
        rows = datasets.Dataset.from_file(str(folder / "pieces.arrow"))
        if packed:
            # In another order than they came in, so that neighbours (of one question) do not share a row.
            aside = folder / "packing"
            aside.mkdir()
            mixed = rows.shuffle(seed=seed, indices_cache_file_name=str(aside / "order.arrow"))
            cached = {"cache_file_name": str(aside / "packed.arrow")}
            rows = pack_dataset(mixed, max_length, "bfd", map_kwargs=cached)
        rows.save_to_disk(str(folder / "rows"))
        count = len(rows)
        del rows
        shutil.rmtree(folder / "packing", ignore_errors=True)
    return count


class _silent:
    """Hold back the progress bars of datasets."""

    def __init__(self, datasets: Any) -> None:
        self._datasets = datasets

    def __enter__(self) -> None:
        self._was = self._datasets.is_progress_bar_enabled()
        self._datasets.disable_progress_bars()

    def __exit__(self, *_: object) -> None:
        if self._was:
            self._datasets.enable_progress_bars()


def examples_of(source: Run, rung: int | None) -> Iterator[Example]:
    """The examples of a finished run of `curate`, or of one rung of its ladder."""
    for example in source.rows("examples", Example):
        if rung is None or (example.rung is not None and example.rung <= rung):
            yield example
