"""Near duplicates: time, memory, planted pairs found and lone rows kept.

    UPWELL_DATA=... python bench/duplicates.py                      # 20,000 rows
    UPWELL_DATA=... python bench/duplicates.py --rows 1000000 --workers 2

Rows are GSM8K train questions recombined: sentences of three questions, numbers and names drawn anew. One in twenty is
a copy of an earlier row with a few words changed, so that the similarity of the pair is spread from under the threshold
to 1. The true similarity of every planted pair is computed here from the words, and recall is told per tenth of it.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from upwell import problems
from upwell.curation.duplicates import WORDS, near_duplicates
from upwell.curation.text import read

NUMBER = re.compile(r"\d+")
SENTENCE = re.compile(r"(?<=[.?!])\s+")
FILLERS = [
    "red",
    "old",
    "local",
    "second",
    "quick",
    "main",
    "early",
    "spare",
    "small",
    "open",
    "weekly",
    "usual",
]


def say(*parts: object) -> None:
    sys.stdout.write(" ".join(str(part) for part in parts) + "\n")
    sys.stdout.flush()


def recombined(sentences: list[str], chance: random.Random) -> str:
    """Three to five sentences with other numbers."""
    text = " ".join(chance.choices(sentences, k=chance.randrange(3, 6)))
    return NUMBER.sub(lambda match: str(chance.randrange(2, 10 ** min(len(match[0]) + 1, 5))), text)


def edited(text: str, chance: random.Random) -> str:
    """A few words put in, taken out or replaced, at most one in ten."""
    words = text.split()
    for _ in range(chance.randrange(0, max(len(words) // 10, 1) + 1)):
        at = chance.randrange(len(words))
        words[at : at + chance.randrange(2)] = chance.choices(FILLERS, k=chance.randrange(2))
    return " ".join(words)


def rows(count: int, seed: int, plants: dict[str, str]) -> Iterator[tuple[str, str, float]]:
    """Rows made one after another; keys of copies and originals go into `plants`."""
    chance = random.Random(seed)
    train = problems.load("gsm8k", split="train")
    sentences = [part for problem in train for part in SENTENCE.split(problem.question)]
    recent: list[tuple[str, str]] = []
    for number in range(count):
        if recent and chance.random() < 0.05:
            origin, text = chance.choice(recent)
            text, key = edited(text, chance), f"copy{number}"
            plants[key] = origin
        else:
            text, key = recombined(sentences, chance), f"row{number}"
            if len(recent) < 50_000:
                recent.append((key, text))
            else:
                recent[chance.randrange(len(recent))] = (key, text)
        yield key, text, chance.random()


def similarity(one: str, other: str) -> float:
    """Jaccard similarity of the sets of word runs, by Python's own sets."""
    sets = []
    for text in (one, other):
        words = [*read(text).words, *[""] * (WORDS - 1)]
        sets.append({tuple(words[at : at + WORDS]) for at in range(len(words) - WORDS + 1)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def peak() -> float:
    """Most memory of this process, in MiB; pages of files that the system can take back are left out."""
    status = Path("/proc/self/status").read_text()
    return sum(int(value) for value in re.findall(r"(?:RssAnon|RssShmem):\s+(\d+)", status)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--threshold", type=float, default=0.8)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    plants: dict[str, str] = {}
    began, most, last = time.perf_counter(), [0.0], [0.0]

    def progress(what: str, done: int) -> None:
        most[0] = max(most[0], peak())
        if time.perf_counter() - last[0] > 10:
            last[0] = time.perf_counter()
            say(f"    {last[0] - began:6.0f} s  {what} {done:,}  {most[0]:,.0f} MiB")

    made = rows(given.rows, given.seed, plants)
    found = list(near_duplicates(made, given.threshold, workers=given.workers, progress=progress))
    took = time.perf_counter() - began
    say(
        f"{given.rows:,} rows in {took:.1f} s ({took / given.rows * 1e6:.0f} us a row, making them included), driver's peak {most[0]:,.0f} MiB"
    )
    began = time.perf_counter()
    for _ in rows(given.rows, given.seed, {}):
        pass
    say(f"of which making them {time.perf_counter() - began:.1f} s")

    cluster = {duplicate.loser: duplicate.winner for duplicate in found}
    wanted = {key for pair in plants.items() for key in pair}
    told = wanted | set(cluster) | set(cluster.values())
    texts = {key: text for key, text, _ in rows(given.rows, given.seed, {}) if key in told}
    tenths: dict[int, list[bool]] = defaultdict(list)
    for copy, origin in plants.items():
        same = cluster.get(copy, copy) == cluster.get(origin, origin)
        tenths[min(int(similarity(texts[copy], texts[origin]) * 20), 20)].append(same)
    say(f"\nplanted pairs found, by true similarity (threshold {given.threshold})\n")
    for tenth, hits in sorted(tenths.items()):
        say(f"| {tenth / 20:.2f} | {sum(hits)}/{len(hits)} = {sum(hits) / len(hits):.1%} |")
    lone = [duplicate for duplicate in found if duplicate.loser not in wanted]
    say(f"\n{len(found):,} rows go; {len(lone)} of them are no plant:")
    for duplicate in lone[:10]:
        say(f"- {duplicate.similarity:.2f}\n    {texts[duplicate.loser]}\n    {texts[duplicate.winner]}")


if __name__ == "__main__":
    main()
