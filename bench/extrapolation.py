"""How often the 95 % intervals of extrapolated pass@k hold: simulated models whose true pass@k is known.

    python bench/extrapolation.py [--trials 500] [--seed 0] [--draws 64] [--k 1024] [--keep FILE] [--only TEXT]

Each problem's chance of a right response is drawn from a known distribution, 64 responses are drawn, and
`extrapolate` is asked for pass@1024 with its defaults. One line per distribution and number of problems:
how often the interval held the mean over the whole population of problems (bar: 93 to 97 % where the
distribution is one of those fitted, at least 85 % elsewhere), how often among the answered, how often its
sister held the mean over exactly the problems drawn, the median width, how many were refused, and in how
many trials an answer was given that does not hold. Then pass@256 of published curves from their points up
to k = 16. With 500 trials a coverage near 95 % is known to one point. With `--keep` finished blocks of
trials are kept in a file and not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.special import expit

from upwell.metrics.extrapolation import extrapolate, extrapolate_curve
from upwell.metrics.outcomes import Floats

BLOCK = 50
PROBLEMS = (100, 300, 1319)
CURVES = {
    "base, T = 1.0": (0.204, 0.436, 0.782, 0.982),
    "instruct, T = 1.0": (0.424, 0.676, 0.866, 0.982),
    "RL, T = 1.0": (0.516, 0.700, 0.850, 0.980),
    "RL, T = 1.6": (0.492, 0.712, 0.854, 0.980),
}
"""pass@1, @4, @16 and @256 of DeepSeekMath-7B on MATH500, read off figure 2 of arXiv 2407.13690 (give or take 0.1)."""
Draw = Callable[[np.random.Generator, int], Floats]


def shapes() -> Iterator[tuple[str, str, Draw]]:
    """Kind, name, and how to draw the chances of so many problems."""
    for a, b in ((0.1, 1), (0.3, 1), (0.5, 0.5), (1, 1)):
        yield "fitted", f"beta({a}, {b})", lambda rng, size, a=a, b=b: rng.beta(a, b, size)
    for never, a, b in ((0.1, 0.5, 1), (0.1, 1, 1), (0.2, 1, 2)):
        yield (
            "fitted",
            f"{never:.0%} never, beta({a}, {b})",
            lambda rng, size, never=never, a=a, b=b: rng.beta(a, b, size) * (rng.random(size) >= never),
        )
    for mean, deviation in ((-4, 2), (-2, 2), (0, 3)):
        yield (
            "fitted too",
            f"logit-normal({mean}, {deviation})",
            lambda rng, size, m=mean, s=deviation: expit(m + s * rng.standard_normal(size)),
        )
    for at, share in (
        ((0.01, 0.2, 0.9), (0.4, 0.3, 0.3)),
        ((0.002, 0.1, 0.8), (0.2, 0.4, 0.4)),
        ((0.0, 0.1, 0.8), (0.2, 0.4, 0.4)),
        ((0.03, 0.3, 0.9), (0.3, 0.4, 0.3)),
    ):
        yield (
            "not fitted",
            f"points {at}",
            lambda rng, size, at=at, share=share: rng.choice(at, size, p=share),
        )
    yield "not fitted", "three random points", lambda rng, size: rng.choice(_AT, size, p=_SHARE)
    yield (
        "not fitted",
        "two betas",
        lambda rng, size: np.where(rng.random(size) < 0.5, rng.beta(0.5, 8, size), rng.beta(5, 2, size)),
    )
    yield "not fitted", "Kumaraswamy(0.4, 2)", lambda rng, size: (1 - rng.random(size) ** 0.5) ** 2.5
    yield (
        "not fitted",
        "logit-Student(-1.5, 1.5)",
        lambda rng, size: expit(-1.5 + 1.5 * rng.standard_t(4, size)),
    )
    yield (
        "not fitted",
        "beta and a clump near 0.0025",
        lambda rng, size: np.where(
            rng.random(size) < 0.8, rng.beta(2, 2, size), expit(-6 + rng.standard_normal(size))
        ),
    )


_AT, _SHARE = np.zeros(3), np.ones(3) / 3


def new_points(seed: int) -> None:
    """Other three random points for every trial."""
    rng = np.random.default_rng([seed, 7])
    _AT[:] = expit(rng.normal(-1.5, 2.5, 3))
    _SHARE[:] = rng.dirichlet([2, 2, 2])


def block(name: str, draw: Draw, problems: int, number: int, args: argparse.Namespace) -> list[list[float]]:
    """`BLOCK` trials: interval, whether refused, truth; interval for these problems, and truth."""
    rng = np.random.default_rng([args.seed, number, problems, *name.encode()])
    rows = []
    n = np.full(problems, args.draws)

    def solved(chance: Floats) -> Floats:
        return 1 - (1 - chance) ** args.k

    truth = 0.0
    if name != "three random points":
        truth = float(solved(draw(np.random.default_rng(123), 4_000_000)).mean())
    for trial in range(BLOCK):
        if name == "three random points":
            new_points(number * BLOCK + trial)
            truth = float(_SHARE @ solved(_AT))
        chance = draw(rng, problems)
        found = extrapolate(n, rng.binomial(n, chance), args.k)
        fixed = (found.low_fixed, found.high_fixed)
        if fixed[0] is None:
            fixed = (found.low, found.high)
        rows.append([found.low, found.high, found.value is None, truth, *fixed, float(solved(chance).mean())])
    return rows


def line(kind: str, name: str, problems: int, rows: list[list[float]]) -> str:
    low, high, refused, truth, low_fixed, high_fixed, here = np.array(rows, np.float64).T
    held, answered = (low <= truth) & (truth <= high), refused == 0
    among = f"{held[answered].mean():6.1%}" if answered.any() else "     -"
    width = f"{100 * np.median((high - low)[answered]):5.1f}" if answered.any() else "    -"
    true = f"{truth[0]:.3f}" if np.ptp(truth) == 0 else "  -  "
    return (
        f"| {kind:10} | {name:29} | {problems:5} | {true} | {held.mean():6.1%} | {among} | "
        f"{((low_fixed <= here) & (here <= high_fixed)).mean():6.1%} | {100 * np.median(high - low):5.1f} | {width} | "
        f"{(~answered).mean():6.1%} | {(answered & ~held).mean():6.1%} | {len(rows):5} |"
    )


HEAD = (
    "| kind       | difficulty                    | probl | truth | covers | of answered | these problems | "
    "median width, points | of answered | refused | wrong answers | trials |\n" + "|---" * 12 + "|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--trials", type=int, default=50, help="per cell, in blocks of 50 (500 for the record)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--k", type=int, default=1024)
    parser.add_argument("--keep", type=Path, help="file of finished blocks, to go on from")
    parser.add_argument("--only", default="", help="distributions whose name has this in it")
    args = parser.parse_args()
    kept: dict[str, list[list[float]]] = {}
    if args.keep and args.keep.exists():
        kept = {row["cell"]: row["rows"] for row in map(json.loads, args.keep.read_text().splitlines())}
    cells = [(*shape, problems) for shape in shapes() if args.only in shape[1] for problems in PROBLEMS]
    begun, run = time.process_time(), 0
    # Blocks before cells, so that what there is when stopped is spread evenly.
    for number in range(-(-args.trials // BLOCK)):
        for _, name, draw, problems in cells:
            cell = json.dumps([name, problems, number, args.seed, args.draws, args.k])
            if cell in kept:
                continue
            kept[cell] = block(name, draw, problems, number, args)
            run += BLOCK
            if args.keep:
                with args.keep.open("a") as file:
                    file.write(json.dumps({"cell": cell, "rows": kept[cell]}) + "\n")
        spent = time.process_time() - begun
        print(
            f"block {number + 1}: {spent:.0f} CPU-seconds, {spent / max(run, 1):.3f} a trial", file=sys.stderr
        )
    print(HEAD)
    for kind, name, _, problems in cells:
        rows = []
        for number in range(-(-args.trials // BLOCK)):
            rows += kept[json.dumps([name, problems, number, args.seed, args.draws, args.k])]
        print(line(kind, name, problems, rows))
    print(
        "\n| published curve, MATH500 | pass@1 | pass@4 | pass@16 | predicted pass@256 | 95 % | published | |"
    )
    print("|---" * 8 + "|")
    for name, (*points, published) in CURVES.items():
        found = extrapolate_curve((1, 4, 16), points, 500, 256)
        said = "refused" if found.value is None else f"{found.value:.1%}"
        verdict = "hit" if found.low <= published <= found.high else "missed"
        shown = " | ".join(f"{point:.1%}" for point in points)
        print(
            f"| {name} | {shown} | {said} | {found.low:.1%} to {found.high:.1%} | {published:.1%} | {verdict} |"
        )


if __name__ == "__main__":
    main()
