"""Which benchmark texts a row might be: those whose rarer words and word pairs it has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from upwell.curation.contamination.entries import Entry, Ids, Longs, Vocabulary

_COMMON = 0.02
"""Share of the benchmark texts from which a word or pair is too common to look anything up by."""


class Index:
    """Benchmark texts by what their skeletons have that few others have.

    One sparse product answers for a thousand rows at once: rows by features times features by texts, each feature
    weighted by its share of the text's features, gives the share of every text that every row covers.
    """

    def __init__(self, entries: Sequence[Entry], vocabulary: Vocabulary) -> None:
        self._size = len(vocabulary.ids) + 1
        rows, keys = self._features([entry.views.skeleton for entry in entries])
        self._known, column, counts = np.unique(keys, return_inverse=True, return_counts=True)
        rare = counts <= max(_COMMON * len(entries), 20)
        weights = np.where(rare, np.log2((len(entries) + 1) / counts), 0.0)[column]
        total = np.bincount(rows, weights, len(entries))
        kept = weights > 0
        shares = weights[kept] / total[rows[kept]]
        self._total = total
        shape = (len(self._known), len(entries))
        self._shares = sparse.csr_array((shares.astype(np.float32), (column[kept], rows[kept])), shape=shape)

    def _features(self, views: Sequence[Ids]) -> tuple[Longs, Longs]:
        """The distinct words and pairs of each text: text number, feature number."""
        lengths = np.array([len(view) for view in views], np.int64)
        owner = np.repeat(np.arange(len(views)), lengths)
        words = np.concatenate([*views, np.zeros(0, np.int32)]).astype(np.int64)
        pairs = words[:-1] * self._size + words[1:]
        whole = (owner[:-1] == owner[1:]) & (words[:-1] > 0) & (words[1:] > 0)
        singles = words > 0
        both = np.stack(
            [np.r_[owner[singles], owner[:-1][whole]], np.r_[words[singles], pairs[whole] + self._size]]
        )
        order = np.lexsort((both[1], both[0]))
        both = both[:, order]
        new = np.r_[True, (both[:, 1:] != both[:, :-1]).any(axis=0)][: both.shape[1]]
        return both[0, new], both[1, new]

    def nominate(self, views: Sequence[Ids], least: float, most: int) -> list[dict[int, float]]:
        """Per text up to `most` entries of which it covers a share of at least `least`, best first, with that share."""
        found: list[dict[int, float]] = [{} for _ in views]
        if not len(self._known):
            return found
        rows, keys = self._features(views)
        place = np.minimum(np.searchsorted(self._known, keys), len(self._known) - 1)
        hit = self._known[place] == keys
        ones = np.ones(int(hit.sum()), np.float32)
        has = sparse.csr_array((ones, (rows[hit], place[hit])), shape=(len(views), len(self._known)))
        covered = sparse.coo_array(has @ self._shares)
        near = covered.data >= least
        text, entry, share = covered.row[near], covered.col[near], covered.data[near]
        # By what is shared and by how much of the text it is: short texts are in many a row as a whole.
        order = np.lexsort((entry, -share * share * self._total[entry], text))
        text, entry, share = text[order], entry[order], share[order]
        rank = np.arange(len(text)) - np.searchsorted(text, text)
        for i in np.flatnonzero(rank < most):
            found[text[i]][int(entry[i])] = float(share[i])
        return found
