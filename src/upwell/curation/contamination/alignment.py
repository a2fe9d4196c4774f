"""Two texts laid side by side: the part of one that is nearest to the other, what they share in order, what was
replaced in both alike."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from upwell.curation.contamination.entries import Floats, Ids

_TABLE, _FACTOR = 65_521, 40_503
_REPLACED = 3
"""Most words that are taken to stand for one thing (`chocolate chip cookies`)."""
_ALIKE = 0.6
"""Share of a thing's replacements that have to be the same."""


def densest(ours: Ids, theirs: Ids, weights: Floats, width: int) -> slice:
    """Where in a long text the word pairs of another are densest: `width` words of it."""
    # A table by remainder takes one pair in a thousand for another, and a tenth of the time of an exact look-up.
    wanted = np.zeros(_TABLE, np.bool_)
    wanted[(theirs[:-1] * np.int64(_FACTOR) + theirs[1:]) % _TABLE] = True
    hits = wanted[(ours[:-1] * np.int64(_FACTOR) + ours[1:]) % _TABLE] * (weights[:-1] + weights[1:])
    sums = np.concatenate(([0.0], np.cumsum(hits)))
    begin = int(np.argmax(sums[width - 1 :] - sums[: len(sums) - width + 1]))
    return slice(begin, begin + width)


def runs(theirs: Ids, ours: Ids) -> tuple[Ids, Ids]:
    """Per word of theirs the length of the longest common piece that ends there, and where in ours it ends."""
    lengths, ends = np.zeros(len(theirs), np.int32), np.zeros(len(theirs), np.int32)
    row = np.zeros(len(ours) + 1, np.int32)
    for at, word in enumerate(theirs.tolist()):
        row[1:] = (row[:-1] + 1) * (ours == word)
        ends[at] = row[1:].argmax()
        lengths[at] = row[1 + ends[at]]
    return lengths, ends


def heaviest(theirs: Ids, ours: Ids, weights: Floats) -> float:
    """Weight of the heaviest common subsequence."""
    row = np.zeros(len(ours) + 1)
    for word, weight in zip(theirs.tolist(), weights.tolist(), strict=True):
        np.maximum(row[1:], row[:-1] + weight * (ours == word), out=row[1:])
        np.maximum.accumulate(row, out=row)
    return float(row[-1])


def agreeing(theirs: Ids, ours: Ids) -> int:
    """Words of theirs that ours has in the same order, counting those that ours replaces alike throughout.

    Replaced alike is a word, or up to three, in whose place the other text has the same words at least twice, and
    nearly wherever it has others: `cookies` by `muffins`, all through a problem.
    """
    path = _aligned(theirs, ours)
    replaced: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    before = (-1, -1)
    for place in [*path, (len(theirs), len(ours))]:
        old, new = (
            tuple(text[b + 1 : p].tolist()) for text, b, p in zip((theirs, ours), before, place, strict=True)
        )
        if 0 < len(old) <= _REPLACED and 0 < len(new) <= _REPLACED:
            replaced.append((old, new))
        before = place
    times = Counter(old for old, _ in replaced)
    alike = Counter(replaced).items()
    return len(path) + sum(
        count * len(old) for (old, _), count in alike if count >= 2 and count >= _ALIKE * times[old]
    )


def common(theirs: Ids, ours: Ids) -> int:
    """Words that both have in the same order: Hyyrö's bit-parallel longest common subsequence, one addition of large
    integers per word."""
    places: dict[int, int] = {}
    for at, word in enumerate(theirs.tolist()):
        places[word] = places.get(word, 0) | 1 << at
    full = free = (1 << len(theirs)) - 1
    for word in ours.tolist():
        if place := places.get(word):
            used = free & place
            free = ((free + used) | (free - used)) & full
    return len(theirs) - free.bit_count()


def _aligned(theirs: Ids, ours: Ids) -> list[tuple[int, int]]:
    """Places of a longest common subsequence in both."""
    table: npt.NDArray[np.int16] = np.zeros((len(theirs) + 1, len(ours) + 1), np.int16)
    for at, word in enumerate(theirs.tolist()):
        longest = np.maximum(table[at, 1:], table[at, :-1] + (ours == word))
        table[at + 1, 1:] = np.maximum.accumulate(longest)
    path: list[tuple[int, int]] = []
    i, j = len(theirs), len(ours)
    while i and j:
        if table[i, j] == table[i - 1, j]:
            i -= 1
        elif table[i, j] == table[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            path.append((i, j))
    return path[::-1]
