"""Speed and accuracy of the grader beside math-verify, on the same pairs in one run.

    python bench/grading.py [--cases FOLDER] [--million] [--peer-seconds 60]

Workloads: (a) whole numbers; (b) the labelled pairs of `FOLDER/dev.jsonl` (or, without it, the golden table of the
tests); (c) repeated sampling: each gold of (b) with 64 answers drawn from its own pairs, most of them again and
again. Each is graded in one process and in one process per core. math-verify is given as many pairs as it gets
through in `--peer-seconds`. `--million` grades a million responses end to end and prints wall time and memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from upwell.grading import RuleGrader
from upwell.records import Problem, Response

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "answers.jsonl"
CORES = len(os.sched_getaffinity(0))


class Pair(NamedTuple):
    """A gold answer, what is graded, and the label."""

    gold: str
    text: str
    bare: bool
    label: bool


class Result(NamedTuple):
    """Pairs graded, seconds they took, verdicts that agree with the label."""

    pairs: int
    seconds: float
    right: int


Grade = Callable[[Sequence[Pair], float], Result]


def ours(pairs: Sequence[Pair], seconds: float, remember: bool = True) -> Result:
    """Grade with `RuleGrader`; without memory, each pair is decided as if it were the first of its kind."""
    right, start = 0, time.perf_counter()
    for bare, style in ((False, "auto"), (True, "bare")):
        own = [pair for pair in pairs if pair.bare is bare]
        with RuleGrader(style, workers=1) as grader:
            if not remember:
                grader._memory = Forgetful()
            for pair, verdict in zip(own, grader.grade(map(record, own, range(len(own)))), strict=True):
                right += bool(verdict.correct) is pair.label
    return Result(len(pairs), time.perf_counter() - start, right)


class Forgetful(dict):  # type: ignore[type-arg]
    """A memory that keeps nothing."""

    def __setitem__(self, key: object, value: object) -> None:
        pass


def forgetful(pairs: Sequence[Pair], seconds: float) -> Result:
    return ours(pairs, seconds, remember=False)


def math_verify(pairs: Sequence[Pair], seconds: float) -> Result:
    """Grade with math-verify as its documentation says, its own timeouts on, until the time is spent."""
    import logging

    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)
    verify(parse("$1$"), parse("$1$"))
    right, start, done = 0, time.perf_counter(), 0
    for pair in pairs:
        gold = parse(f"${pair.gold}$")
        right += bool(verify(gold, parse(f"${pair.text}$" if pair.bare else pair.text))) is pair.label
        done += 1
        if time.perf_counter() - start > seconds:
            break
    return Result(done, time.perf_counter() - start, right)


def record(pair: Pair, number: int) -> tuple[Problem, Response]:
    response = Response(key=str(number), problem="", index=0, text=pair.text, finish="stop", tokens=1, seed=0)
    return Problem(key="", question="", answer=pair.gold), response


def on_all_cores(grade: Grade, pairs: Sequence[Pair], seconds: float) -> Result:
    """The same in one process per core, each with its share of the pairs; seconds are those of the slowest."""
    shares = [pairs[core::CORES] for core in range(CORES)]
    with multiprocessing.get_context("spawn").Pool(CORES) as pool:
        results = pool.starmap(grade, [(share, seconds) for share in shares])
    return Result(
        sum(r.pairs for r in results), max(r.seconds for r in results), sum(r.right for r in results)
    )


# -- workloads


def integers(count: int, random_: random.Random) -> list[Pair]:
    pairs = []
    for _ in range(count):
        gold = random_.randrange(100_000)
        answer = gold if random_.random() < 0.5 else random_.randrange(100_000)
        pairs.append(Pair(str(gold), f"so the answer is \\boxed{{{answer}}}.", False, answer == gold))
    return pairs


def labelled(folder: Path | None) -> list[Pair]:
    if folder is None:
        rows = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
        return [Pair(row["gold"], row["answer"], True, row["correct"]) for row in rows]
    rows = [json.loads(line) for line in (folder / "dev.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        Pair(row["gold"], row.get("response", row.get("prediction")), "prediction" in row, row["label"])
        for row in rows
    ]


def repeated(pairs: Sequence[Pair], random_: random.Random, samples: int = 64) -> list[Pair]:
    """Each gold with `samples` answers of its own pairs, a few of them most of the time, as models answer."""
    by_gold: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        if len(pair.text) < 5_000:
            by_gold[pair.gold].append(pair)
    drawn = []
    for choices in by_gold.values():
        weights = [1 / rank for rank in range(1, len(choices) + 1)]
        drawn += random_.choices(choices, weights, k=samples)
    random_.shuffle(drawn)
    return drawn


def million(pairs: Sequence[Pair], count: int = 1_000_000) -> None:
    def stream() -> Iterator[tuple[Problem, Response]]:
        own = [pair for pair in pairs if not pair.bare] or pairs
        for number in range(count):
            yield record(own[number % len(own)], number)

    start, correct = time.perf_counter(), 0
    with RuleGrader() as grader:
        for verdict in grader.grade(stream()):
            correct += bool(verdict.correct)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\n{count:,} responses: {seconds:.1f} s, {count / seconds:,.0f}/s, peak {peak:.0f} MiB, {correct:,} correct"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", type=Path, default=os.environ.get("UPWELL_GRADING_CASES"))
    parser.add_argument("--peer-seconds", type=float, default=60.0)
    parser.add_argument("--million", action="store_true")
    settings = parser.parse_args()
    random_ = random.Random(0)
    mixed = labelled(Path(settings.cases) if settings.cases else None)
    random_.shuffle(mixed)
    workloads = {
        "(a) integers": (integers(20_000, random_), ours),
        "(b) mix": (mixed, ours),
        "(c) repeated": (repeated(mixed, random_), ours),
        "(c) no memory": (repeated(mixed, random_), forgetful),
    }
    print(
        f"{CORES} cores\n{'workload':15}{'grader':26}{'pairs':>9}{'pairs/s':>12}{'accuracy':>10}{'ratio':>9}"
    )
    for name, (pairs, grade) in workloads.items():
        peer = None
        for label, function, seconds in (
            ("math-verify", math_verify, settings.peer_seconds),
            ("upwell", grade, 0.0),
        ):
            for place, run in (("one process", _alone), ("all cores", on_all_cores)):
                result = run(function, pairs, seconds)
                rate = result.pairs / result.seconds
                peer = rate if label == "math-verify" and place == "one process" else peer
                print(
                    f"{name:15}{label + ', ' + place:26}{result.pairs:>9,}{rate:>12,.0f}"
                    f"{result.right / result.pairs:>10.2%}{rate / peer if peer else 0:>8.1f}x"
                )
    if settings.million:
        million(mixed)


def _alone(grade: Grade, pairs: Sequence[Pair], seconds: float) -> Result:
    return grade(pairs, seconds)


if __name__ == "__main__":
    main()
