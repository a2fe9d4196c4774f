"""DART-Math's own numbers from a population of questions: fitted to Uniform, Prop2Diff predicted, the product run on it.

    python bench/dart.py                 fit, predict, and run the product's control on a quarter of the questions
    python bench/dart.py --share 1       ... on all 14,973 (minutes)
    python bench/dart.py --share 0       fit and predict only
    python bench/dart.py --of RUN        a real run of rejection: every question's solutions against its target

Data: arXiv 2407.13690, tables of the datasets and the figure of synthesis cost (read off, about +-0.1 point).

What the cost figure is of is not said. Adding n_max to a capped question's draws costs one draw for each question
that is not through, so the raw samples between two n_max, over their difference, count those questions; and they are
1 - r of 14,973, within 2 %, on all ten intervals of both policies. So r there is the share of *questions* that reach
their target, over GSM8K and MATH together; and the two policies' shares agree where k_u / n = k_p / (k_p + n), as they
must, with the paper's k_u = 40 and k_p = 192. The sets themselves miss 1.4 % (Uniform) of their rows, far less than
n_max = 8,192 would leave: they come from a pool with a larger n_max, which is fitted here.

Assumed: of MATH, the log odds of a right response are normal over the questions of a level, their mean quadratic in
the level, one spread for all; of GSM8K, a share is hopeless (the labels that do not parse or are wrong) and the others
have p ~ Beta(a, 1); a question gets at least so many draws, whatever its target (a first batch). Uniform alone does not
tell how easy the easy questions are: all of them have their 40. The share of right responses over 64 draws of each
question (733,114 of 958,272, the repository's notebook, no part of either set) does, and is used in the second fit.
"""

from __future__ import annotations

import argparse
import random
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.special import bdtr, bdtrc, expit, ndtri, pdtr, pdtrc

from upwell.engines.base import Request, Sampling
from upwell.records import Draft, Problem, Reject, Response
from upwell.runs import Run
from upwell.synthesis.rejection.asking import Asker
from upwell.synthesis.rejection.ledger import GIVEN_UP, MET, RIGHT, WRONG, Ledger
from upwell.synthesis.rejection.targets import Policy

NAMES = ("GSM8K", "L1", "L2", "L3", "L4", "L5")
COUNTS = np.array([7473, 565, 1349, 1592, 1690, 2304])
UNIFORM = np.array([39.93, 40.00, 40.00, 39.80, 39.54, 37.14])
HARD = np.array([8.49, 14.28, 33.52, 54.94, 79.59, 107.06])
HARD_TOTAL = 585_392
N_MAX = (256, 512, 1024, 2048, 4096, 8192)
SHARE = {
    "uniform": np.array([84.6, 87.1, 89.3, 91.0, 92.4, 93.6]) / 100,
    "prop2diff": np.array([77.9, 81.8, 84.5, 86.8, 89.0, 90.6]) / 100,
}
RAW = {
    "uniform": np.array([1.53, 2.06, 2.95, 4.45, 6.97, 11.24]),
    "prop2diff": np.array([2.39, 3.16, 4.43, 6.60, 10.27, 16.48]),
}
"""Millions."""
VANILLA = 733_114 / 958_272
POINTS = 400
"""Questions that stand for a level."""
_Q = (np.arange(POINTS) + 0.5) / POINTS

Floats = np.ndarray


@dataclass(frozen=True)
class Population:
    """Chances of a right response: values and weights per level, and what was fitted besides."""

    levels: tuple[tuple[Floats, Floats], ...]
    most: float
    """n_max of the pool that the sets come from."""
    floor: float
    """Draws that every question gets."""

    @classmethod
    def of(cls, x: Floats) -> Population:
        mean, slope, bend, spread, hopeless, ease, most, floor = x
        gone = expit(hopeless)
        levels = [(np.r_[0.0, _Q ** np.exp(-ease)], np.r_[gone, np.full(POINTS, (1 - gone) / POINTS)])]
        for level in range(1, 6):
            down = 3 - level
            odds = mean + slope * down + bend * down * down + np.exp(spread) * ndtri(_Q)
            levels.append((expit(odds), np.full(POINTS, 1 / POINTS)))
        return cls(tuple(levels), float(np.exp(most)), float(np.exp(floor)))

    def targets(self, policy: str) -> list[Floats]:
        """By the product's own rule, from the true fail rate (over the highest, 1 in this population: the same)."""
        rule = Policy(policy, 192 if policy == "prop2diff" else 40, 1 << 30, 0)
        fine = 1_000_000
        return [np.array([rule.target(round(fine * (1 - p)), fine) for p in ps]) for ps, _ in self.levels]

    def row(self, policy: str) -> Floats:
        """Mean right responses kept per level, with `most` draws at most."""
        pairs = zip(self.levels, self.targets(policy), strict=True)
        return np.array([w @ _kept_of_many(p, k, self.most) for (p, w), k in pairs])

    def curve(self, policy: str) -> tuple[Floats, Floats]:
        """Share of questions that reach their target, and raw samples in millions, at every `N_MAX`."""
        share, raw = np.zeros(len(N_MAX)), np.zeros(len(N_MAX))
        for count, (p, w), k in zip(COUNTS, self.levels, self.targets(policy), strict=True):
            down, up = int(self.floor), int(self.floor) + 1
            early = (up - self.floor) * _drawn(p, k, down) + (self.floor - down) * _drawn(p, k, up)
            for i, n in enumerate(N_MAX):
                share[i] += count * (w @ bdtrc(k - 1, n, p)) / COUNTS.sum()
                raw[i] += count * (w @ (_drawn(p, k, n) + self.floor - early)) / 1e6
        return share, raw

    @property
    def vanilla(self) -> float:
        means = np.array([w @ p for p, w in self.levels])
        return float(COUNTS @ means / COUNTS.sum())


def _kept(p: Floats, k: Floats, n: int) -> Floats:
    """Mean of min(k, right ones of n draws)."""
    reach = np.minimum(k, n + 1)  # beyond n nothing is cut off
    below = np.where(reach >= 2, bdtr(np.maximum(reach - 2, 0), n - 1, p), 0.0)
    return n * p * np.where(k > n, 1.0, below) + np.where(k > n, 0.0, k * bdtrc(np.minimum(k, n) - 1, n, p))


def _kept_of_many(p: Floats, k: Floats, n: float) -> Floats:
    """The same for n beyond what a binomial can be evaluated at."""
    below = np.where(k >= 2, pdtr(np.maximum(k - 2, 0), n * p), 0.0)
    return n * p * below + k * pdtrc(k - 1, n * p)


def _drawn(p: Floats, k: Floats, n: int) -> Floats:
    """Mean draws until k are right, n at most: as many right ones are kept as draws times p (Wald)."""
    return np.where(p > 1e-12, _kept(p, k, n) / np.maximum(p, 1e-12), n)


def fit(*, with_vanilla: bool) -> tuple[Population, Floats]:
    """The population that fits Uniform: six means, six shares, six raw totals (and the vanilla share)."""

    def residuals(x: Floats) -> Floats:
        made = Population.of(x)
        share, raw = made.curve("uniform")
        parts = [(made.row("uniform") - UNIFORM) / 0.05, (share - SHARE["uniform"]) / 0.002]
        parts.append((raw / RAW["uniform"] - 1) / 0.02)
        return np.concatenate([*parts, [(made.vanilla - VANILLA) / 0.002] if with_vanilla else []])

    start = np.array([3.7, 2.2, -0.57, 1.58, -6.3, 2.6 if with_vanilla else 1.0, 12.6, 4.1])
    x = least_squares(residuals, start, diff_step=1e-3, x_scale=0.3, max_nfev=40).x
    return Population.of(x), x


def show(title: str, made: Population, x: Floats, fitted: str) -> None:
    print(f"\n== {title}")
    print(
        "parameters  mean {:.2f}, slope {:.2f}, bend {:.2f}, spread {:.2f}; ".format(*x[:3], np.exp(x[3])),
        end="",
    )
    print(
        f"GSM8K hopeless {expit(x[4]):.2%}, a {np.exp(x[5]):.1f}; pool's n_max {made.most:,.0f}; floor {made.floor:.0f}"
    )
    print(
        "mean chance " + ", ".join(f"{n} {w @ p:.3f}" for n, (p, w) in zip(NAMES, made.levels, strict=True)),
        end="",
    )
    print(f"; all {made.vanilla:.4f} (notebook {VANILLA:.4f})")
    for policy, paper, how in (("uniform", UNIFORM, fitted), ("prop2diff", HARD, "predicted")):
        row = made.row(policy)
        print(f"{policy}, {how}: mean responses per question")
        print("  " + "".join(f"{name:>12}" for name in (*NAMES, "rows")))
        print("  " + "".join(f"{value:12.2f}" for value in row) + f"{row @ COUNTS:12,.0f}")
        print("  " + "".join(f"{value:12.2f}" for value in paper) + f"{paper @ COUNTS:12,.0f}  paper")
        print(
            "  "
            + "".join(f"{value:12.1%}" for value in row / paper - 1)
            + f"{row @ COUNTS / (paper @ COUNTS) - 1:12.1%}  error"
        )
        share, raw = made.curve(policy)
        print("  " + "".join(f"{n:>12,}" for n in N_MAX) + "  n_max")
        for name, values, theirs in (
            ("share %", 100 * share, 100 * SHARE[policy]),
            ("raw M", raw, RAW[policy]),
        ):
            print("  " + "".join(f"{value:12.2f}" for value in values) + f"  {name}")
            print("  " + "".join(f"{value:12.2f}" for value in theirs) + "  paper")
        steps, theirs = np.diff(raw), np.diff(RAW[policy])
        print(
            "  "
            + " " * 12
            + "".join(f"{value:12.1%}" for value in steps / theirs - 1)
            + "  error of the steps of raw"
        )


class Drawn:
    """What the product's control made of a population."""

    def __init__(self, policy: Policy, chances: Floats, flight: int, seed: int = 0) -> None:
        self.ledger = Ledger(len(chances), policy)
        self.ledger.begin()
        self.stood_still = 0
        draw, out = random.Random(seed), []
        asker = Asker(self.ledger, threading.Lock(), _request, lambda: None)
        chance = chances.tolist()
        begun = time.perf_counter()
        while True:
            while len(out) < flight:
                got = next(asker, _OVER)
                if got is None or got is _OVER:
                    break
                out.append(got.seed)
            if not out:
                if got is _OVER:
                    break
                raise AssertionError("nothing is in flight, and nothing is asked for")
            at = draw.randrange(len(out))
            out[at], out[-1] = out[-1], out[at]
            question, index = divmod(out.pop(), _DRAWS)
            self.ledger.settle(question, index, RIGHT if draw.random() < chance[question] else WRONG)
        self.seconds = time.perf_counter() - begun


_OVER, _DRAWS = object(), 1 << 20
_SAMPLING = Sampling()


def _request(question: int, index: int) -> Request:
    return Request(
        key="", prompt="", add_special_tokens=True, seed=question * _DRAWS + index, sampling=_SAMPLING
    )


def run(made: Population, share: float, most: int, flight: int) -> None:
    """The product's ledger and asker on questions drawn from the population, replies in any order."""
    rng = np.random.default_rng(1)
    counts = np.round(COUNTS * share).astype(int)
    chances = np.concatenate(
        [rng.choice(p, size=count, p=w) for count, (p, w) in zip(counts, made.levels, strict=True)]
    )
    level = np.repeat(np.arange(6), counts)
    print(
        f"\n== the product's control: {len(chances):,} questions, n_max {most}, {flight:,} in flight, graded at once"
    )
    print(
        "kept is over the sum of targets, share is of questions, raw is scaled to 14,973; spare was drawn too much"
    )
    for name, k, over_max, give_up in (
        ("uniform", 40, False, 0.0), ("uniform", 40, False, 0.01), ("uniform", 40, False, 0.1),
        ("prop2diff", 192, False, 0.0), ("prop2diff", 192, True, 0.0), ("prop2diff", 192, False, 0.01),
    ):  # fmt: skip
        probes = 64 if name == "prop2diff" else 0
        drawn = Drawn(Policy(name, k, most, probes, over_max, give_up), chances, flight)
        ledger = drawn.ledger
        assert (ledger.kept[ledger.state == MET] == ledger.target[ledger.state == MET]).all()
        raw, kept = ledger.asked.sum(), ledger.kept
        scale = "over max" if over_max else ""
        print(
            f"{name:9} {scale:8} give-up {give_up:<5g} kept {kept.sum() / ledger.target.sum():6.1%}  "
            f"share {(ledger.state == MET).mean():6.1%}  given up {(ledger.state == GIVEN_UP).mean():5.1%}  "
            f"covered {(kept > 0).mean():6.2%}  raw {raw * COUNTS.sum() / len(chances) / 1e6:5.2f} M  "
            f"spare {raw / np.maximum(ledger.stop, probes).sum() - 1:5.2%}  {drawn.seconds / raw * 1e6:.0f} us a draw"
        )
        print("          " + "".join(f"{kept[level == one].mean():9.2f}" for one in range(6)), flush=True)


def told(path: str) -> None:
    """A finished run, question by question."""
    run = Run.read(path)
    if (summary := run.summary) is None:
        raise SystemExit(f"{path} is not finished")
    drawn, kept, rates = Counter[str](), Counter[str](), dict[str, float | None]()
    for response in run.rows("responses", Response):
        drawn[response.problem] += 1
    for draft in run.rows("drafts", Draft):
        kept[draft.parents[0]] += 1
        rates[draft.parents[0]] = draft.fail_rate
    why = {reject.key: reject.reason for reject in run.rows("rejects", Reject)}
    print(f"{'question':48} {'draws':>6} {'kept':>5} {'target':>6} {'fail':>6}")
    for problem in run.rows("problems", Problem):
        key, reason = problem.key, why.get(problem.key, "")
        found = re.search(r"\d of ([\d,]+) right", reason)
        target = found[1] if found else kept[key]  # one that is not rejected has met it
        fail = rates.get(key)
        print(
            f"{key[-48:]:48} {drawn[key]:6} {kept[key]:5} {target:>6} {'' if fail is None else f'{fail:6.2f}'}  {reason[:40]}"
        )
    for name, value in summary["rejection"].items():
        if name != "levels":
            print(f"{name:12} {value}")
    print(f"spending     {summary['spending']}\nseconds      {summary['seconds']}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--of", help="a run of rejection")
    parser.add_argument(
        "--share", type=float, default=0.25, help="of the questions that the product is run on; 0: none"
    )
    parser.add_argument("--most", type=int, default=512, help="its n_max")
    parser.add_argument("--flight", type=int, default=2048, help="draws in flight")
    args = parser.parse_args()
    if args.of:
        return told(args.of)
    made, x = fit(with_vanilla=False)
    show("fitted to Uniform alone", made, x, "fitted")
    made, x = fit(with_vanilla=True)
    show("fitted to Uniform and the vanilla share of right responses", made, x, "fitted")
    if args.share:
        run(made, args.share, args.most, args.flight)


if __name__ == "__main__":
    main()
