"""Decontamination: planted leaks found, clean rows lost, and the time of a million rows.

    UPWELL_DATA=... python bench/decontamination.py              # leaks and losses, GSM8K and MATH: minutes
    UPWELL_DATA=... python bench/decontamination.py --seed 1     # other plants; the bounds were set on seed 0
    UPWELL_DATA=... python bench/decontamination.py --all        # against every test set that is here
    UPWELL_DATA=... python bench/decontamination.py --speed 1000000 --workers 2
    UPWELL_DATA=... python bench/decontamination.py --peer 20000 # beside datatrove and lm-eval, where installed

Leaks are made by rule from test questions of GSM8K and MATH, half of each: `exact` (other layout), `renumbered` (every
number becomes another one of as many digits), `renamed` (every person gets another name and, by a coin, another
pronoun), `renumbered and renamed`, `embedded` (between sentences of train questions), `reworded` (synonyms, contractions
and the order of clauses). Clean rows are train questions of GSM8K and, where there is a `math/train.jsonl`, MATH. Each
one that is lost is printed with what it was lost to, to be read: some are test problems with other numbers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from upwell import problems
from upwell.curation.contamination import Item, Match, Reference
from upwell.curation.text import NAME, read
from upwell.errors import UpwellError
from upwell.records import Problem

Change = Callable[[str, random.Random], str]
"""A text and a source of chance to another text; the same text where the rule does not apply."""

NAMES = {
    "he": [
        "Adam",
        "Boris",
        "Carlos",
        "Derek",
        "Edwin",
        "Felix",
        "Gustav",
        "Hassan",
        "Igor",
        "Jamal",
        "Kofi",
        "Lorenzo",
        "Milan",
        "Nikolai",
        "Omar",
        "Pavel",
    ],
    "she": [
        "Amara",
        "Bianca",
        "Chiara",
        "Dalia",
        "Esther",
        "Farah",
        "Gwen",
        "Hilda",
        "Ingrid",
        "Jasna",
        "Keiko",
        "Leonie",
        "Mirela",
        "Nadia",
        "Olga",
        "Petra",
    ],
}
SWAPS = {
    "he": "she",
    "she": "he",
    "his": "her",
    "her": "his",
    "him": "her",
    "himself": "herself",
    "herself": "himself",
}
SYNONYMS = {
    "buys": "purchases", "bought": "purchased", "how many": "what number of", "has": "owns", "each": "every",
    "total": "overall", "makes": "produces", "every day": "daily", "gave": "handed", "gives": "hands", "wants": "wishes",
    "find the value of": "determine", "find": "determine", "compute": "calculate", "what is": "determine", "if": "when",
    "evaluate": "work out", "also": "additionally", "left": "remaining", "spends": "pays", "kids": "children",
    "big": "large", "starts": "begins", "needs": "requires", "gets": "receives", "suppose": "assume", "let": "say that",
    "altogether": "in total", "more than": "over and above", "positive integer": "natural number", "then": "afterwards",
    "sells": "offers", "house": "home", "takes": "needs", "such that": "so that", "express": "give", "friends": "pals",
    "works": "labors", "money": "cash", "store": "shop", "costs": "is priced at", "a week": "per week", "half": "50%",
}  # fmt: skip
CONTRACTIONS = {"it is": "it's", "do not": "don't", "does not": "doesn't", "he is": "he's", "what is": "what's",
                "cannot": "can't", "they are": "they're", "is not": "isn't", "did not": "didn't"}  # fmt: skip
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
SENTENCE = re.compile(r"(?<=[.?!])\s+")


def renumber(text: str, chance: random.Random) -> str:
    """Every number becomes another; the same one the same one, with as many digits before and behind the point."""
    new: dict[str, str] = {}

    def other(match: re.Match[str]) -> str:
        old = match[0]
        while old not in new or new[old] == old:
            digits = "".join(chance.choice("123456789") if c.isdigit() else c for c in old)
            new[old] = digits
        return new[old]

    return NUMBER.sub(other, text)


def rename(text: str, chance: random.Random) -> str:
    """Persons get other names and, all together, perhaps the other pronouns."""
    reading = read(text)
    found = {word for word, mark in zip(reading.masked, reading.skeleton, strict=True) if mark == NAME}
    pronoun = chance.choice(("he", "she"))
    names = dict(zip(sorted(found), chance.sample(NAMES[pronoun], min(len(found), 16)), strict=False))
    text = re.sub(r"\b[A-Z][a-z]+\b", lambda match: names.get(match[0].lower(), match[0]), text)
    if chance.random() < 0.5:
        return text

    def swap(match: re.Match[str]) -> str:
        new = SWAPS[match[0].lower()]
        return new.capitalize() if match[0][0].isupper() else new

    return re.sub(r"\b(?:" + "|".join(SWAPS) + r")\b", swap, text, flags=re.IGNORECASE)


def reword(text: str, chance: random.Random) -> str:
    """Two in three words that have a synonym get it, what can be contracted is, and sentences before the last, or
    clauses around `if`, change places."""
    for words in (SYNONYMS, CONTRACTIONS):
        either = "|".join(sorted(words, key=len, reverse=True))
        pattern = re.compile(rf"(?<!\\)\b(?:{either})\b", re.IGNORECASE)
        text = pattern.sub(
            lambda match, words=words: words[match[0].lower()] if chance.random() < 0.67 else match[0], text
        )
    *before, last = SENTENCE.split(text)
    if len(before) > 1:
        at = chance.randrange(len(before) - 1)
        before[at : at + 2] = before[at + 1], before[at]
    return " ".join([*before, last])


def relayout(text: str, chance: random.Random) -> str:
    """Other spaces, capitals, dollar signs and quotes."""
    text = chance.choice((str.upper, str.lower, str))(text) if "\\" not in text else text
    text = text.replace("$", chance.choice(("$", "$$", " $ ")) if "\\" in text else "$")
    text = text.replace("\\frac", chance.choice(("\\frac", "\\dfrac"))).replace("'", "’")
    return (
        chance.choice(("", "Q: ", "\n")).removeprefix("Q: ")
        + text.replace(" ", chance.choice((" ", "  ", "\n")))
        + " "
    )


def embed(fillers: list[str]) -> Change:
    """Puts the question between sentences of train questions."""

    def change(text: str, chance: random.Random) -> str:
        around = [
            chance.choice(SENTENCE.split(chance.choice(fillers))) for _ in range(chance.randrange(4, 12))
        ]
        at = chance.randrange(len(around) + 1)
        return " ".join([*around[:at], text, *around[at:]])

    return change


def both(text: str, chance: random.Random) -> str:
    return rename(renumber(text, chance), chance)


def planted(
    tests: dict[str, list[Problem]], change: Change, count: int, chance: random.Random
) -> list[tuple[str, str]]:
    """Keys of test problems with the changed question; questions that the rule leaves as they are do not count."""
    rows: list[tuple[str, str]] = []
    for name, each in tests.items():
        taken = 0
        for problem in chance.sample(each, len(each)):
            changed = change(problem.question, chance)
            if changed != problem.question and taken < count // len(tests):
                rows.append((problem.key, changed))
                taken += 1
        if taken < count // len(tests):
            say(f"only {taken} questions of {name} for a rule")
    return rows


def say(*parts: object) -> None:
    sys.stdout.write(" ".join(str(part) for part in parts) + "\n")
    sys.stdout.flush()


def benchmarks() -> list[problems.ProblemSet]:
    """Every test set that is on this machine."""
    sets = []
    for card in problems.cards():
        if "test" in card.splits:
            try:
                sets.append(problems.load(card.name, graded=False))
            except UpwellError:
                say(f"not here: {card.name}")
    return sets


def short(text: str, most: int = 400) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[:most] + "..."


def methods(matches: list[Match]) -> str:
    return ", ".join(
        f"{name} {count}" for name, count in Counter(match.method for match in matches).most_common()
    )


class Data:
    """Test and train questions of GSM8K and MATH, and every test set that is here."""

    def __init__(self) -> None:
        self.tests = {name: list(problems.load(name).problems) for name in ("gsm8k", "math")}
        self.trains = {"gsm8k": list(problems.load("gsm8k", split="train").problems)}
        try:
            self.trains["math"] = list(problems.load("math", split="train").problems)
        except UpwellError:
            say("no MATH train here: clean rows are GSM8K's alone")

    def rules(self) -> dict[str, Change]:
        fillers = [problem.question for problem in self.trains["gsm8k"]]
        return {
            "exact": relayout, "renumbered": renumber, "renamed": rename, "renumbered and renamed": both,
            "embedded": embed(fillers), "reworded": reword,
        }  # fmt: skip


def quality(data: Data, given: argparse.Namespace) -> None:
    """What is found of each kind of leak, and what is lost of clean rows."""
    chance = random.Random(given.seed)
    everything = [problem for part in benchmarks() for problem in part]
    reference = Reference.of(everything if given.all else [p for each in data.tests.values() for p in each])
    say(f"\nseed {given.seed}, {given.count} of each, against {len(reference):,} problems\n")
    say(
        "| rule | found | of those that say enough | GSM8K | MATH | charged to the right problem | by method |"
    )
    say("|---|---|---|---|---|---|---|")
    for rule, change in data.rules().items():
        rows = planted(data.tests, change, given.count, chance)
        items: list[Item] = [(str(at), text, "") for at, (_, text) in enumerate(rows)]
        found = {match.key: match for match in reference.check(items)}
        share, telling = ["", ""], [0, 0]
        for at, name in enumerate(data.tests):
            ours = [key for key, (origin, _) in enumerate(rows) if origin.startswith(f"{name}/")]
            share[at] = f"{sum(str(key) in found for key in ours) / len(ours):.1%}"
        for key, (origin, _) in enumerate(rows):
            if reference.information(origin) >= reference.settings.bits:
                telling[0] += str(key) in found
                telling[1] += 1
        right = sum(match.against == rows[int(key)][0] for key, match in found.items())
        say(
            f"| {rule} | {len(found)}/{len(rows)} = {len(found) / len(rows):.1%} | {telling[0]}/{telling[1]} = "
            f"{telling[0] / telling[1]:.1%} | {share[0]} | {share[1]} | {right} | {methods(list(found.values()))} |"
        )
        for item in [item for item in items if item[0] not in found][: given.missed]:
            near = next(reference.nearest([item]))
            scores = " ".join(f"{name} {score:.2f}" for name, score in near.scores.items())
            say(f"    missed: {short(item[1], 200)}\n        nearest: {near.against} {scores}")
    symbolic(reference, given.seed)
    chance = random.Random(given.seed)
    for name, train in data.trains.items():
        lost(reference, name, chance.sample(train, min(given.clean // len(data.trains), len(train))))


def symbolic(reference: Reference, seed: int) -> None:
    """Variants of GSM8K's test questions with other numbers, names and things, of templates by others."""
    try:
        made = problems.load("procedural:gsm_symbolic", limit=1000, seed=seed)
    except UpwellError as error:
        say(f"no GSM-Symbolic: {error.message}")
        return
    found = list(reference.check((each.key, each.question, "") for each in made))
    say(
        f"| GSM-Symbolic (reasoning-gym) | {len(found)}/{len(made)} = {len(found) / len(made):.1%} | | | | | {methods(found)} |"
    )


def lost(reference: Reference, name: str, rows: list[Problem]) -> None:
    """Every clean row that is lost, beside what it is lost to."""
    texts = {row.key: row for row in rows}
    began = time.perf_counter()
    found = list(reference.check((row.key, row.question, "") for row in rows))
    took = time.perf_counter() - began
    share = f"{len(found)} of {len(rows)} lost = {len(found) / len(rows):.2%}"
    say(f"\n{name} train: {share} ({methods(found)}); {took:.1f} s\n")
    for match in found:
        say(f"- {match.method} {match.score:.2f}, {match.against}")
        say(f"    train: {short(texts[match.key].question)}\n    test:  {short(reference.text(match))}")


# -- speed


def recombined(trains: list[Problem], count: int, seed: int) -> Iterator[Item]:
    """Questions of sentences of up to four train questions, with other numbers; every tenth is a whole question."""
    chance = random.Random(seed)
    whole = [problem.question for problem in trains]
    sentences = [SENTENCE.split(text) for text in whole]
    for number in range(count):
        if number % 10 == 0:
            text = chance.choice(whole)
        else:
            text = " ".join(chance.choice(chance.choice(sentences)) for _ in range(chance.randrange(2, 5)))
        yield (
            f"row{number}",
            NUMBER.sub(lambda match: str(chance.randrange(2, 10 ** len(match[0][:6]))), text),
            "",
        )


class Memory(threading.Thread):
    """Watches the memory of this process and its children together."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.5):
            pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
            self.peak = max(self.peak, sum(map(self._of, pids)))

    @staticmethod
    def _of(pid: int | None) -> float:
        """MiB of a process; 0 where it is gone."""
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def speed(data: Data, rows: int, workers: int) -> None:
    memory = Memory()
    memory.start()
    began = time.perf_counter()
    reference = Reference.of(benchmarks())
    made = time.perf_counter()
    say(f"reference of {len(reference):,} problems: {made - began:.1f} s")
    train = [problem for each in data.trains.values() for problem in each]

    def told() -> Iterator[Item]:
        for number, item in enumerate(recombined(train, rows, 0)):
            if number and number % 100_000 == 0:
                say(f"    {time.perf_counter() - made:6.0f} s  {number:,} rows  {memory.peak:,.0f} MiB")
            yield item

    found = Counter(match.method for match in reference.check(told(), workers=workers))
    took = time.perf_counter() - made
    memory.stop.set()
    say(
        f"{rows:,} rows, {workers} workers: {took:.1f} s, {took / rows * 1e6:.0f} us a row, peak {memory.peak:,.0f} MiB of all processes"
    )
    say(f"removed {found.total():,}: {dict(found.most_common())}")
    began = time.perf_counter()
    for _ in recombined(train, rows, 0):
        pass
    say(f"making the rows takes {time.perf_counter() - began:.1f} s of that, beside the workers")


# -- peers


def peers(data: Data, rows: int, seed: int) -> None:
    """Time a row in one process, and leaks found, beside n-gram filters of others."""
    chance = random.Random(seed)
    tests = [problem for each in data.tests.values() for problem in each]
    leaks = {rule: planted(data.tests, change, 200, chance) for rule, change in data.rules().items()}
    train = [problem for each in data.trains.values() for problem in each]
    texts = [text for _, text, _ in recombined(train, rows, 1)]
    reference = Reference.of(tests)

    def ours(some: list[str]) -> int:
        return sum(1 for _ in reference.check((str(at), text, "") for at, text in enumerate(some)))

    say(f"\n{rows:,} rows against {len(tests):,} questions, one process\n")
    say("| | us a row | ratio | rows removed | " + " | ".join(leaks) + " |\n|" + "---|" * (4 + len(leaks)))
    first = 0.0
    for name, count in (("Upwell", ours), *other_filters(tests)):
        began = time.process_time()
        removed = count(texts)
        took = (time.process_time() - began) / rows * 1e6
        first = first or took
        found = [f"{count([text for _, text in each]) / len(each):.1%}" for each in leaks.values()]
        say(f"| {name} | {took:.0f} | {took / first:.2f} | {removed} | " + " | ".join(found) + " |")


def other_filters(tests: list[Problem]) -> Iterator[tuple[str, Callable[[list[str]], int]]]:
    """Filters that are installed; each counts the contaminated among some texts."""
    try:
        from datatrove.pipeline.decont.n_grams import NGramsDecontFilter
        from datatrove.utils.text import ngrams, simplify_text

        peer = NGramsDecontFilter(tempfile.mkdtemp())

        def hashes(text: str) -> list[int]:
            words = peer.tokenizer.word_tokenize(simplify_text(text, peer.config.norm_config))
            return [peer.hash_func(" ".join(each)) for each in ngrams(words, peer.config.n_grams)]

        known = {each for problem in tests for each in hashes(problem.question)}
        yield "datatrove, 12-grams", lambda some: sum(not known.isdisjoint(hashes(text)) for text in some)
    except ImportError as error:
        say(f"no datatrove: {error}")
    try:
        from lm_eval.decontamination.janitor import Janitor, word_ngrams

        janitor = Janitor()
        for problem in tests:
            janitor.register_contaminant_python(problem.question)

        def dirty(text: str) -> bool:
            return any(
                each in janitor.dirt_ngrams
                for each in word_ngrams(janitor.normalize_string(text), janitor.ngram_n)
            )

        yield "lm-eval's Janitor, 13-grams", lambda some: sum(map(dirty, some))
    except ImportError as error:
        say(f"no lm-eval: {error}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--count", type=int, default=200, help="leaks of each rule")
    parser.add_argument("--clean", type=int, default=5000, help="clean rows")
    parser.add_argument(
        "--all", action="store_true", help="against every test set, not GSM8K's and MATH's alone"
    )
    parser.add_argument("--missed", type=int, default=0, help="missed leaks of each rule to print")
    parser.add_argument("--speed", type=int, default=0, metavar="ROWS")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--peer", type=int, default=0, metavar="ROWS")
    given = parser.parse_args()
    data = Data()
    if given.speed:
        speed(data, given.speed, given.workers)
    elif given.peer:
        peers(data, given.peer, given.seed)
    else:
        quality(data, given)


if __name__ == "__main__":
    main()
