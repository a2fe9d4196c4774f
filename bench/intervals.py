"""What the 95 % intervals really cover: simulated models whose true rates are known.

    python bench/intervals.py [--trials 2000] [--only pass|votes|scores|weighted|chance] [--cells] [--quick]

It is counted how often each interval held the truth: the mean over the whole population of problems, and
the mean over exactly the problems drawn. A cell is *inner* where at least five problems are expected on
each side (bar: 93 to 97 %), else *outer* (bar: at least 93 %). With 2,000 trials a coverage is known to
0.5 points (one standard error), so each cell is also asked whether it lies outside by more than 2.6 of them.
pass@k and pass^k are simulated for every beta shape, number of problems and number of samples; votes and
scores, which cost more, on the corners and in the middle of that grid.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np

from simulated import Cell, Line, chance_lines, pass_lines, score_lines, shapes, vote_lines, weighted_lines

PROBLEMS, SAMPLES = (30, 100, 300, 1319), (8, 64, 256)
CORNERS = [(30, 8), (30, 256), (300, 64), (1319, 8), (1319, 256)]


def grouped(lines: list[Line]) -> Iterator[str]:
    """One row per metric, problems and samples, k = n apart from smaller k: over the shapes and those k."""
    groups: dict[tuple[str, int, int, bool], list[Line]] = defaultdict(list)
    for line in lines:
        groups[line.metric, line.cell.problems, line.cell.samples, line.k == line.cell.samples].append(line)
    order = list(dict.fromkeys(line.metric for line in lines))
    yield (
        f"{'metric':16}{'probl':>6}{'smpl':>5}{'k':>5}{'cells':>6} | {'population: covered':22}{'width':>7} | "
        f"{'fixed: covered':22}{'width':>7}"
    )
    for (metric, problems, samples, whole), mine in sorted(
        groups.items(), key=lambda item: (order.index(item[0][0]), *item[0][1:])
    ):
        parts = []
        for which in range(2):
            seen = [line.covered[which] for line in mine]
            widths = np.mean([line.width[which] for line in mine])
            parts.append(f"{min(seen):.3f} {np.mean(seen):.3f} {max(seen):.3f}   {widths:9.4f}")
        k = "= n" if whole else "< n"
        yield f"{metric:16}{problems:6}{samples:5}{k:>5}{len(mine):6} | {parts[0]} | {parts[1]}"


def bars(lines: list[Line]) -> Iterator[str]:
    yield f"{'metric':16}{'family':7}{'interval':11}{'place':6}{'cells':>6}{'met':>5}{'beyond':>8}   min  mean   max"
    for metric in dict.fromkeys(line.metric for line in lines):
        for beta, which, inner in itertools.product((True, False), (0, 1), (True, False)):
            mine = [one for one in lines if (one.metric, one.cell.beta, one.inner) == (metric, beta, inner)]
            if mine:
                seen = [line.covered[which] for line in mine]
                met = sum(not line.misses(which) for line in mine)
                beyond = sum(line.misses(which, 2.6) for line in mine)
                yield (
                    f"{metric:16}{'beta' if beta else 'other':7}{('population', 'fixed')[which]:11}"
                    f"{'inner' if inner else 'outer':6}{len(mine):6}{met:5}{beyond:8} "
                    f"{min(seen):.3f} {np.mean(seen):.3f} {max(seen):.3f}"
                )


HEAD = (
    f"{'shape':18}{'probl':>6}{'smpl':>5} {'metric':15}{'k':>4}{'rare':>8}"
    f"{'popul':>8}{'width':>8}{'fixed':>8}{'width':>8}"
)
GRID = list(itertools.product(PROBLEMS, SAMPLES))
KINDS: dict[
    str, tuple[Callable[[Cell, np.random.Generator, int], Iterator[Line]], list[tuple[int, int]], int, float]
] = {
    # What simulates it, on which (problems, samples), over how many shapes, with what share of the trials.
    "pass": (pass_lines, GRID, 12, 1.0),
    "votes": (vote_lines, CORNERS, 10, 1.0),
    "scores": (score_lines, CORNERS, 10, 1.0),
    "weighted": (weighted_lines, [(60, 16)], 4, 0.25),
    "chance": (chance_lines, [(60, 16), (300, 16)], 2, 0.25),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--trials", type=int, default=200, help="simulated runs per cell (2000 for the record)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(KINDS))
    parser.add_argument("--cells", action="store_true", help="print every cell")
    parser.add_argument("--quick", action="store_true", help="few cells")
    args = parser.parse_args()
    lines: list[Line] = []
    began, busy = time.monotonic(), time.process_time()
    for kind, (simulate, grid, many, part) in KINDS.items():
        if args.only not in (None, kind):
            continue
        some = list(shapes())[:many][:: 4 if args.quick else 1]
        # Problems turn fastest, so that the pool of a shape and a number of samples is made once.
        places = sorted(grid[:2] if args.quick else grid, key=lambda place: (place[1], place[0]))
        cells = [
            Cell(name, *place, draw, beta)
            for name, draw, beta in some
            for place in places
            if beta or place in CORNERS
        ]
        for done, cell in enumerate(cells, 1):
            rng = np.random.default_rng([args.seed, done])
            for line in simulate(cell, rng, max(int(args.trials * part), 2)):
                lines.append(line)
                if args.cells:
                    print(HEAD + "\n" + str(line) if len(lines) == 1 else line)
            print(f"{kind}: {done}/{len(cells)}, {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(*grouped(lines), sep="\n")
    missed = [line for line in lines if any(line.misses(which, 2.6) for which in range(2))]
    print("\nEvery cell that lies outside its bar by more than 2.6 standard errors:", HEAD, *missed, sep="\n")
    print("\nOutside as measured, and by more than 2.6 standard errors:", *bars(lines), sep="\n")
    print(f"\n{len(lines)} lines, {time.monotonic() - began:.0f} s, {time.process_time() - busy:.0f} CPU-s")


if __name__ == "__main__":
    main()
