"""Near duplicates among a million rows: MinHash nominates, the true Jaccard similarity decides.

What is compared are the runs of words of the normalised text, numbers and all: a problem with other numbers is another
problem. Rows are nominated by equal bands of their MinHash signatures, and linked only if the sets of their word runs
really are that similar. Linked rows are one cluster, however long the chain, and the best of a cluster stays.

Memory holds keys, qualities and band hashes (about 250 bytes a row); the sets themselves, 4 bytes a word, lie in a
temporary file. No text is kept.
"""

from __future__ import annotations

import math
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from upwell.curation.contamination.streaming import chunked, in_order
from upwell.curation.text import read
from upwell.errors import UsageError

WORDS = 3
"""Words of a run."""
_MISSED = 0.005
"""Share of the pairs just at the threshold that no band may nominate."""
_HASHES = 128
"""Most hash functions of a signature."""
_EVERY, _BEFORE = 16, 8
"""Of a band's equals up to so many are compared each with each; of more, each with so many before it."""
_PAIRS = 20_000
"""Pairs that are compared at once."""
_AT_ONCE = 4_000_000
"""Word runs that are read at once, and those of one pair more."""

Longs = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Runs = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]
Progress = Callable[[str, int], None]
"""What is being done (`reading`, `comparing`) and how many rows or bands are through."""


class Duplicate(NamedTuple):
    """A row that goes, and the row of its cluster that stays."""

    loser: str
    winner: str
    similarity: float
    """Jaccard similarity of the two, which can be under the threshold where a third row links them."""


def near_duplicates(
    rows: Iterable[tuple[str, str, float]],
    threshold: float = 0.8,
    *,
    workers: int = 1,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Iterator[Duplicate]:
    """The rows to leave out so that of each cluster of near duplicates one is left, in the order of the rows.

    The best of a cluster stays, of equals the first. A text without a word is no duplicate of anything.

    Args:
        rows: Key, text and quality (more is better) of each; read once.
        threshold: Jaccard similarity of the sets of three-word runs from which two rows are linked, 0.3 to 1. Of
            pairs just at it 99.5 % are found, of more similar ones more.
        workers: Processes that read the rows.
        folder: Where the temporary file lies; by default where the system has them.
        progress: Called now and then.

    Raises:
        UsageError: The threshold is out of its range.
        UpwellError: A worker died.
    """
    if not 0.3 <= threshold <= 1:
        raise UsageError(f"the threshold of near duplicates is {threshold}, but has to be 0.3 to 1", "0.8")
    report = progress or _silent
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        keys: list[str] = []
        qualities: list[float] = []
        lengths: list[Longs] = []
        bands: list[Hashes] = []

        def texts() -> Iterator[tuple[str]]:
            for key, text, quality in rows:
                keys.append(key)
                qualities.append(quality)
                yield (text,)

        read_rows = 0
        for signed in in_order(_signed, _shape(threshold), chunked(texts()), workers):
            signed.runs.tofile(file)
            lengths.append(signed.lengths)
            bands.append(signed.bands)
            read_rows += len(signed.lengths)
            report("reading", read_rows)
        if not keys:
            return
        file.flush()
        sets = _Sets(file.name, np.concatenate(lengths))
        clusters = _Clusters(len(keys))
        for number, column in enumerate(_columns(bands)):
            for pairs in _nominated(column, sets.lengths):
                _link(clusters, pairs, sets, threshold)
            report("comparing", number + 1)
        yield from _losers(clusters, keys, np.array(qualities), sets)


class _Signed(NamedTuple):
    """What is kept of a chunk of rows."""

    lengths: Longs
    """Distinct runs per row."""
    runs: Runs
    """They, row after row, sorted."""
    bands: Hashes
    """Row by band; the first column is a hash of the whole set."""


class _Shape(NamedTuple):
    """Bands of a signature and hash functions of a band; no bands where only equal sets are looked for."""

    bands: int
    rows: int


def _shape(threshold: float) -> _Shape:
    """The longest bands, so the fewest false nominations, that miss no more than `_MISSED` at the threshold."""
    if threshold == 1:
        return _Shape(0, 0)
    best = _Shape(0, 0)
    for rows in range(1, _HASHES):
        bands = max(math.ceil(math.log(_MISSED) / math.log1p(-(threshold**rows))), 1)
        if bands * rows <= _HASHES:
            best = _Shape(bands, rows)
    return best


def _signed(shape: _Shape, chunk: list[tuple[str]]) -> _Signed:
    """The sets of runs of some texts, and the bands of their signatures."""
    sizes, words = [], []
    for (text,) in chunk:
        hashes = [_hash(word) for word in read(text).words]
        # Padding keeps runs within their row and gives texts of one or two words a run of their own.
        words += [*hashes, *[0] * (WORDS - 1)] if hashes else []
        sizes.append(len(hashes))
    each = np.array(sizes, np.int64)
    padded = np.where(each > 0, each + WORDS - 1, 0)
    runs = _runs(np.array(words, np.uint64))
    owner = np.repeat(np.arange(len(each)), each)
    # Of each row the runs that begin with a word of it; those that begin in the padding fall away.
    starts = np.cumsum(padded) - padded
    runs = runs[np.arange(len(owner)) - np.repeat(np.cumsum(each) - each, each) + np.repeat(starts, each)]
    order = np.lexsort((runs, owner))
    owner, runs = owner[order], runs[order]
    first = np.r_[True, (owner[1:] != owner[:-1]) | (runs[1:] != runs[:-1])][: len(owner)]
    owner, runs = owner[first], runs[first]
    lengths = np.bincount(owner, minlength=len(each)).astype(np.int64)
    return _Signed(lengths, runs, _bands(runs, lengths, shape))


@lru_cache(maxsize=1 << 16)
def _hash(word: str) -> int:
    return zlib.crc32(word.encode(errors="replace")) + 1


def _mixed(values: Hashes) -> Hashes:
    """Every bit of the result depends on every bit of the value (the finaliser of MurmurHash3)."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def _runs(words: Hashes) -> Runs:
    """A hash of the `WORDS` words from each place on."""
    if len(words) < WORDS:
        return np.zeros(0, np.uint32)
    runs = np.zeros(len(words) - WORDS + 1, np.uint64)
    for at in range(WORDS):
        runs = _mixed(runs + words[at : at + len(runs)])
    return (runs >> np.uint64(32)).astype(np.uint32)


def _bands(runs: Runs, lengths: Longs, shape: _Shape) -> Hashes:
    full = np.flatnonzero(lengths)
    bands = np.zeros((len(lengths), shape.bands + 1), np.uint64)
    if not len(full):
        return bands
    starts = (np.cumsum(lengths) - lengths)[full]
    spread = _mixed(runs.astype(np.uint64))
    bands[full, 0] = np.add.reduceat(spread, starts)
    functions = np.random.default_rng(1).integers(1 << 63, size=(2, shape.bands, shape.rows), dtype=np.uint64)
    for band in range(shape.bands):
        for row in range(shape.rows):
            factor, offset = functions[0, band, row] | np.uint64(1), functions[1, band, row]
            least = np.minimum.reduceat((spread * factor + offset) >> np.uint64(32), starts)
            bands[full, band + 1] = _mixed(bands[full, band + 1] + least + np.uint64(1))
    return bands


def _columns(chunks: list[Hashes]) -> Iterator[Hashes]:
    """Band after band over all rows; the chunks are given up."""
    table = np.concatenate(chunks)
    chunks.clear()
    for number in range(table.shape[1]):
        yield np.ascontiguousarray(table[:, number])


def _nominated(column: Hashes, lengths: Longs) -> Iterator[Longs]:
    """Pairs of rows with equal bands, the earlier row first, some thousands at a time."""
    order = np.argsort(column, kind="stable")
    order = order[lengths[order] > 0]
    same = np.flatnonzero(np.r_[True, column[order[1:]] != column[order[:-1]]][: len(order)])
    sizes = np.diff(np.r_[same, len(order)])
    place = np.arange(len(order)) - np.repeat(same, sizes)
    reach = np.where(np.repeat(sizes, sizes) <= _EVERY, _EVERY, _BEFORE)
    for back in range(1, _EVERY):
        later = np.flatnonzero((place >= back) & (back <= reach))
        for at in range(0, len(later), _PAIRS):
            some = later[at : at + _PAIRS]
            yield np.stack([order[some - back], order[some]], axis=1)


class _Sets:
    """The sets of runs, in a file."""

    def __init__(self, file: str, lengths: Longs) -> None:
        self.lengths = lengths
        self._starts = np.cumsum(lengths) - lengths
        total = int(lengths.sum())
        # A mapping counts as cache, not as memory of the process: the system takes its pages back when it has to.
        self._runs = np.memmap(file, np.uint32, "r", shape=(total,)) if total else None

    def similarities(self, pairs: Longs) -> Floats:
        """The Jaccard similarity of each pair."""
        # Cut so that a few very long texts are not read at once.
        ends = np.cumsum(self.lengths[pairs].sum(axis=1))
        cuts = np.searchsorted(ends, np.arange(_AT_ONCE, int(ends[-1]) if len(ends) else 0, _AT_ONCE))
        return np.concatenate([self._similarities(part) for part in np.split(pairs, np.unique(cuts))])

    def _similarities(self, pairs: Longs) -> Floats:
        if self._runs is None or not len(pairs):
            return np.zeros(len(pairs))
        rows = pairs.ravel()
        sizes = self.lengths[rows]
        ends = np.cumsum(sizes)
        places = np.arange(int(ends[-1])) + np.repeat(self._starts[rows] - (ends - sizes), sizes)
        pair = np.repeat(np.arange(len(rows)) // 2, sizes).astype(np.uint64)
        values = np.sort((pair << np.uint64(32)) | self._runs[places])
        twice = (values[1:][values[1:] == values[:-1]] >> np.uint64(32)).astype(np.int64)
        shared = np.bincount(twice, minlength=len(pairs))
        return np.asarray(shared / (sizes[::2] + sizes[1::2] - shared))


class _Clusters:
    """Union-find over rows."""

    def __init__(self, size: int) -> None:
        self.parent = np.arange(size)

    def roots(self, rows: Longs) -> Longs:
        found = self.parent[rows]
        while not np.array_equal(above := self.parent[found], found):
            found = above
        self.parent[rows] = found
        return found

    def join(self, one: int, other: int) -> None:
        a, b = self._root(one), self._root(other)
        self.parent[max(a, b)] = min(a, b)

    def _root(self, row: int) -> int:
        while (above := int(self.parent[row])) != row:
            self.parent[row] = self.parent[above]
            row = above
        return row


def _link(clusters: _Clusters, pairs: Longs, sets: _Sets, threshold: float) -> None:
    """Join those pairs, not joined yet, that are similar enough."""
    apart = clusters.roots(pairs[:, 0]) != clusters.roots(pairs[:, 1])
    pairs = pairs[apart]
    for one, other in pairs[sets.similarities(pairs) >= threshold].tolist():
        clusters.join(one, other)


def _losers(clusters: _Clusters, keys: list[str], qualities: Floats, sets: _Sets) -> Iterator[Duplicate]:
    rows = np.arange(len(keys))
    roots = clusters.roots(rows)
    order = np.lexsort((rows, -qualities, roots))
    first = np.r_[True, roots[order][1:] != roots[order][:-1]]
    winner = np.zeros(len(keys), np.int64)
    winner[roots[order][first]] = order[first]
    winner = winner[roots]
    losing = np.flatnonzero(winner != rows)
    for at in range(0, len(losing), _PAIRS):
        some = losing[at : at + _PAIRS]
        similar = sets.similarities(np.stack([winner[some], some], axis=1))
        for row, score in zip(some.tolist(), similar.tolist(), strict=True):
            yield Duplicate(keys[row], keys[winner[row]], score)


def _silent(_what: str, _done: int) -> None:
    """Nobody wants to know."""
