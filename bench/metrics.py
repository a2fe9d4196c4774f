"""Time and memory of every metric, slice and interval of a large run.

    python bench/metrics.py [--problems 5000] [--samples 256] [--seed 0] [--plain]

The run is simulated: difficulties from one beta distribution, wrong answers with a long tail, 5 % silence,
five levels and seven subjects. Every response has a score and a soundness, every problem a chance of a
guess; `--plain` leaves these three out. Collecting rows into a table is timed by itself.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from upwell.metrics import Outcomes, Row, Slot, summarise

TAIL = 120
"""Wrong answers of a problem."""


def simulate(
    problems: int, samples: int, seed: int, plain: bool
) -> tuple[list[Slot], list[tuple[list[int], list[float]]]]:
    """Slots, and per problem the answers (0 is right, -1 silence) and scores of its draws."""
    rng = np.random.default_rng(seed)
    slots, drawn = [], []
    for i in range(problems):
        right = rng.beta(0.6, 0.8)
        wrong = rng.random(TAIL) ** rng.uniform(1, 6)
        shares = np.r_[right * 0.95, wrong / wrong.sum() * (1 - right) * 0.95, 0.05]
        answers = rng.choice(TAIL + 2, samples, p=shares / shares.sum())
        answers[answers == TAIL + 1] = -1
        scores = rng.standard_normal(samples) + (answers == 0) * rng.normal(1, 0.7) - 6
        drawn.append((answers.tolist(), scores.tolist()))
        slots.append(
            Slot(
                key=str(i), gold=f"g{i % 300}", kind="integer", level=str(i % 5 + 1), subject=f"subject {i % 7}",
                guess=None if plain else 0.1 * float(rng.random()),
            )
        )  # fmt: skip
    return slots, drawn


def rows(drawn: list[tuple[list[int], list[float]]], plain: bool) -> Iterator[Row]:
    for i, (answers, scores) in enumerate(drawn):
        gold = f"g{i % 300}"
        for j, (answer, score) in enumerate(zip(answers, scores, strict=True)):
            more: dict[str, Any] = {} if plain else {"score": score, "sound": ("yes", "no", "none")[j % 3]}
            vote = None if answer < 0 else gold if answer == 0 else f"{i % 50} {answer * 7 % 1000}"
            yield Row(problem=str(i), index=j, correct=answer == 0, vote=vote, tokens=100 + j, **more)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--problems", type=int, default=5_000)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="no scores, no soundness, no guesses")
    args = parser.parse_args()
    slots, drawn = simulate(args.problems, args.samples, args.seed, args.plain)
    wall, busy = time.monotonic(), time.process_time()
    outcomes = Outcomes.collect(slots, rows(drawn, args.plain))
    print(f"collected  {time.monotonic() - wall:6.2f} s  {time.process_time() - busy:6.2f} CPU-s")
    del drawn
    before, wall, busy = peak(), time.monotonic(), time.process_time()
    metrics = summarise(outcomes, seed=args.seed)
    spent = time.monotonic() - wall, time.process_time() - busy
    print(f"summarised {spent[0]:6.2f} s  {spent[1]:6.2f} CPU-s  peak {peak():.0f} MiB, {before:.0f} before")
    parts = {metric.slice for metric in metrics}
    print(
        f"{len(metrics)} metrics over {args.problems} problems x {args.samples} samples, {len(parts)} slices"
    )
    print(f"{'':18}{'k':>5}  value            population             these problems  note")
    for m in metrics:
        if m.slice is None and m.k in (None, 16, args.samples) and m.value is not None:
            print(
                f"{m.name:18}{m.k or '':>5}  {m.value:.4f}  {m.low:.4f} .. {m.high:.4f}  "
                f"{m.low_fixed:.4f} .. {m.high_fixed:.4f}  {m.note or ''}"
            )


if __name__ == "__main__":
    main()
