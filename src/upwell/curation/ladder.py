"""Nested ladders: one order of all rows, of which each rung is the first so many.

That every rung holds the ones below it, row by row, is then true by construction; that each looks like the whole comes
from the order, in which the rows of every source, level and subject are spread evenly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from upwell.curation.scratch import Spool, digest64, ranks, share
from upwell.errors import UsageError
from upwell.records import Draft

Positions = npt.NDArray[np.int64]

_FORMS = "--ladder 1000,2000,4000 or --ladder 7500x2^0..7 or --ladder allx2^-5..0"
_SIZE = re.compile(
    r"(?P<base>all|\d+(?:\.\d+)?)(?P<unit>[KkMm]?)(?:[x×](?P<factor>\d+(?:\.\d+)?)\^(?P<low>-?\d{1,3})(?:\.\.(?P<high>-?\d{1,3}))?)?"
)
_MOST = 1e15
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000}


@dataclass(frozen=True)
class Size:
    """How large a rung is to be."""

    amount: float
    of_all: bool = False
    """Whether `amount` is a share of what there is."""

    def of(self, total: int) -> int:
        """Rows, or tokens, where there are so many in all."""
        return round(self.amount * total) if self.of_all else round(self.amount)


def parse(spec: str) -> list[Size]:
    """The sizes that `--ladder` asks for.

    Raises:
        UsageError: It is malformed, or two sizes are the same.
    """
    sizes: list[Size] = []
    for entry in spec.replace(" ", "").split(","):
        found = _SIZE.fullmatch(entry)
        if found is None or (found["base"] == "all" and found["unit"]):
            raise UsageError(f"--ladder {spec}: `{entry}` is no size", _FORMS)
        of_all = found["base"] == "all"
        base = 1.0 if of_all else float(found["base"]) * _UNITS[found["unit"].lower()]
        low = int(found["low"] or 0)
        high = int(found["high"] or low)
        if high < low:
            raise UsageError(f"--ladder {spec}: {low}..{high} counts down", f"--ladder ...^{high}..{low}")
        factor = float(found["factor"] or 1)
        try:
            found_sizes = [Size(base * factor**exponent, of_all) for exponent in range(low, high + 1)]
        except ArithmeticError:  # a number to such a power is none that there is
            raise UsageError(f"--ladder {spec}: `{entry}` has a size that is no number", _FORMS) from None
        sizes += found_sizes
    if not all(size.amount <= _MOST for size in sizes):
        raise UsageError(f"--ladder {spec} has a rung of more rows than there can be", _FORMS)
    if any(size.of_all and size.amount > 1 for size in sizes):
        raise UsageError(f"--ladder {spec} asks for more than all rows", "--ladder allx2^-5..0")
    if any(not size.of_all and size.of(0) < 1 for size in sizes):
        raise UsageError(f"--ladder {spec} has a rung of no rows", _FORMS)
    if len(set(sizes)) < len(sizes):
        raise UsageError(f"--ladder {spec} names a size twice", _FORMS)
    return sizes


def stratum(draft: Draft) -> int:
    """What rungs are to have in the proportions of the whole: source, level and subject."""
    return digest64(draft.source, draft.level, draft.subject)


def order(rows: Spool, seed: int) -> Positions:
    """Positions of the rows in the order of the ladder.

    Of a stratum with n of N rows, the first m rows hold m * n / N, give or take one; the largest strata also take up
    what that leaves over or short in the others. Within a stratum the order is random. Only the seed and the rows
    decide, not their order in the input.
    """
    strata = rows.column(stratum)
    draws = rows.column(lambda draft: digest64(seed, "ladder", draft.key))
    places = ranks(strata, draws)
    kinds, kind, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    # Strata begin at different points, or all that have one row would come at the same place.
    begins = np.array([share(seed, "stratum", which) for which in kinds.tolist()])
    at = (places + begins[kind]) / sizes[kind]
    found: Positions = np.lexsort((draws, at))
    return found


def rungs(sizes: list[Size], tokens: Positions | None, rows: int) -> list[tuple[int, int | None]]:
    """What each rung asks for and how many rows, the first in the order, make it up; None where too few are there.

    Args:
        sizes: In any order; what comes back goes up.
        tokens: Of each row in the order, for a ladder by tokens: a rung is then as many rows as do not have more.
        rows: How many rows there are.

    Raises:
        UsageError: Two rungs come out the same.
    """
    ends = None if tokens is None else np.cumsum(tokens)
    total = rows if ends is None else int(ends[-1]) if rows else 0
    wanted = sorted(size.of(total) for size in sizes)
    found: list[tuple[int, int | None]] = []
    for size in wanted:
        if size > total:
            found.append((size, None))
        else:
            found.append((size, size if ends is None else int(np.searchsorted(ends, size, side="right"))))
    lengths = [length for _, length in found if length is not None]
    if any(length < 1 for length in lengths) or len(set(lengths)) < len(lengths):
        raise UsageError(
            f"of the {rows:,} rows that are left, rungs of the ladder hold {', '.join(map(str, lengths))}: "
            "each must hold more than the one below it",
            "--ladder with fewer or larger sizes, or --ladder allx2^-3..0",
        )
    return found
