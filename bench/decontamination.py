"""Decontamination: planted leaks found, clean rows lost, and the time of a million rows.

    UPWELL_DATA=... python bench/decontamination.py              # leaks and losses, GSM8K and MATH: minutes
    UPWELL_DATA=... python bench/decontamination.py --seed 1     # other plants; the bounds were set on seed 0
    UPWELL_DATA=... python bench/decontamination.py --speed 1000000 --workers 2
    UPWELL_DATA=... python bench/decontamination.py --peer 20000 # beside datatrove's n-gram filter, if installed

Leaks are made by rule from test questions of GSM8K and MATH, half of each: `exact` (other layout), `renumbered` (every
number becomes another one of as many digits), `renamed` (every person gets another name and, by a coin, another
pronoun), `renumbered and renamed`, `embedded` (between sentences of train questions), `reworded` (synonyms, contractions
and the order of clauses). Clean rows are train questions of GSM8K and, where there is a `math/train.jsonl`, MATH. Each
one that is lost is printed with what it was lost to, to be read: some are test problems with other numbers.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable

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
        pattern = re.compile(
            r"\b(?:" + "|".join(sorted(words, key=len, reverse=True)) + r")\b", re.IGNORECASE
        )
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


def quality(seed: int, count: int, clean: int, everything: bool) -> None:
    chance = random.Random(seed)
    tests = {name: list(problems.load(name).problems) for name in ("gsm8k", "math")}
    reference = Reference.of(benchmarks() if everything else [p for each in tests.values() for p in each])
    trains = {"gsm8k": list(problems.load("gsm8k", split="train").problems)}
    try:
        trains["math"] = list(problems.load("math", split="train").problems)
    except UpwellError:
        say("no MATH train here: clean rows are GSM8K's alone")
    fillers = [problem.question for problem in trains["gsm8k"]]
    rules: dict[str, Change] = {
        "exact": relayout, "renumbered": renumber, "renamed": rename, "renumbered and renamed": both,
        "embedded": embed(fillers), "reworded": reword,
    }  # fmt: skip
    say(f"\nplants: seed {seed}, {count} of each, against {len(reference):,} problems\n")
    say(
        "| rule | found | GSM8K | MATH | charged to the right problem | by method |\n|---|---|---|---|---|---|"
    )
    for rule, change in rules.items():
        rows = planted(tests, change, count, chance)
        items: list[Item] = [(str(at), text, "") for at, (_, text) in enumerate(rows)]
        found = list(reference.check(items))
        right = sum(match.against == rows[int(match.key)][0] for match in found)
        per = [sum(rows[int(m.key)][0].startswith(f"{name}/") for m in found) for name in tests]
        half = count // len(tests)
        methods = ", ".join(f"{m} {n}" for m, n in Counter(m.method for m in found).most_common())
        say(
            f"| {rule} | {len(found)}/{len(rows)} = {len(found) / len(rows):.1%} | {per[0] / half:.0%} | {per[1] / half:.0%} | {right} | {methods} |"
        )
        missed = {str(at) for at in range(len(rows))} - {match.key for match in found}
        for key in sorted(missed, key=int)[:SHOW_MISSED]:
            at = next(reference.nearest([items[int(key)]]))
            say(f"    missed {key}: {short(rows[int(key)][1], 200)} -> {short(tell(at), 200)}")
    for name, each in trains.items():
        rows = chance.sample(each, min(clean // len(trains), len(each)))
        lost(
            reference,
            name,
            rows,
            {p.key: p for s in (benchmarks() if everything else tests.values()) for p in s},
        )


SHOW_MISSED = 0


def tell(match: Match) -> str:
    scores = " ".join(f"{name} {score:.2f}" for name, score in match.scores.items())
    return f"{match.against} [{scores}] counting {len(match.counting)}"


def lost(reference: Reference, name: str, rows: list[Problem], known: dict[str, Problem]) -> None:
    texts = {row.key: row for row in rows}
    began = time.perf_counter()
    found = list(reference.check((row.key, row.question, "") for row in rows))
    took = time.perf_counter() - began
    methods = ", ".join(f"{m} {n}" for m, n in Counter(m.method for m in found).most_common())
    say(
        f"\n{name} train: {len(found)} of {len(rows)} lost = {len(found) / len(rows):.2%} ({methods}); {took:.1f} s\n"
    )
    for match in found:
        say(f"- {match.method} {match.score:.2f}, {match.against}")
        say(f"    train: {short(texts[match.key].question)}")
        say(f"    test:  {short(known[match.against].question)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--clean", type=int, default=5000)
    parser.add_argument(
        "--all", action="store_true", help="against every test set, not GSM8K's and MATH's alone"
    )
    parser.add_argument("--missed", type=int, default=0, help="missed leaks of each rule to print")
    given = parser.parse_args()
    global SHOW_MISSED
    SHOW_MISSED = given.missed
    quality(given.seed, given.count, given.clean, given.all)


if __name__ == "__main__":
    main()
