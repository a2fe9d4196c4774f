"""What `compare` and `flipped` say of simulated models whose difference is known.

    python bench/comparison.py [--trials 1000] [--seed 0]

Model A's chances of a right response come from a beta distribution; B has the same ones (then 5 % of the
comparisons may find a difference), or A's to the power 0.7 (then 95 % of the intervals should hold the true
difference). For flips a tenth of the problems get another chance in B: of the flips that are called sure at
most 5 % may be false.
"""

from __future__ import annotations

import argparse

import numpy as np

from upwell.metrics import compare, pass_at_k
from upwell.metrics.pairing import flipped

SHAPES = {
    "beta(1, 1)": (1, 1),
    "ceiling, beta(8, 0.3)": (8, 0.3),
    "floor, beta(0.3, 8)": (0.3, 8),
    "beta(0.1, 0.1)": (0.1, 0.1),
}


def differences(trials: int, rng: np.random.Generator) -> None:
    print(
        "| difficulty | problems | samples | k | found where there is none | holds the true difference | mean width |"
    )
    print("|---" * 7 + "|")
    for name, (a, b) in SHAPES.items():
        for problems in (30, 100, 500):
            for n, k in ((1, 1), (8, 1), (64, 1), (8, 8), (64, 16)):
                many = rng.beta(a, b, 1_000_000)
                truth = float(((1 - many) ** k - (1 - many**0.7) ** k).mean())
                false = held = width = 0.0
                for _ in range(trials):
                    p = rng.beta(a, b, problems)
                    first, same, other = (pass_at_k(n, rng.binomial(n, q), k) for q in (p, p, p**0.7))
                    false += compare(first, same).p_value < 0.05
                    found = compare(first, other)
                    held += found.low <= truth <= found.high
                    width += found.high - found.low
                print(
                    f"| {name} | {problems} | {n} | {k} | {false / trials:.1%} | {held / trials:.1%} | "
                    f"{100 * width / trials:.1f} points |"
                )


def flips(trials: int, rng: np.random.Generator) -> None:
    print(
        "\n| problems | samples | sure flips that are false | true changes found | gained by chance: seen, expected |"
    )
    print("|---" * 5 + "|")
    for problems in (100, 1319):
        for samples in (8, 16, 64, 256):
            n, false, found, gained, expected = np.full(problems, samples), 0.0, 0.0, 0, 0.0
            for _ in range(trials):
                p = rng.beta(0.5, 0.7, problems)
                changed = rng.random(problems) < 0.1
                other = np.where(changed, rng.beta(0.5, 0.7, problems), p)
                first = rng.binomial(n, p)
                sure = np.array(flipped(n, first, n, rng.binomial(n, other)).sure)
                false += (sure & ~changed).sum() / max(sure.sum(), 1)
                found += (sure & changed).sum() / max(changed.sum(), 1)
                same = flipped(n, first, n, rng.binomial(n, p))
                gained, expected = gained + same.gained, expected + same.gained_by_chance
            print(
                f"| {problems} | {samples} | {false / trials:.1%} | {found / trials:.1%} | "
                f"{gained / trials:.1f}, {expected / trials:.1f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    differences(args.trials, np.random.default_rng(args.seed))
    flips(max(args.trials // 10, 1), np.random.default_rng([args.seed, 1]))


if __name__ == "__main__":
    main()
