"""Near duplicates: one of each cluster stays, the right one, and nothing is a duplicate that is not similar."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from upwell.curation.duplicates import WORDS, Duplicate, near_duplicates
from upwell.curation.text import read
from upwell.errors import UsageError

VOCABULARY = [f"w{chr(97 + i)}{chr(97 + j)}" for i in range(26) for j in range(12)]


def texts(count: int, seed: int, words: int = 40) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(VOCABULARY, k=words)) for _ in range(count)]


def edited(text: str, edits: int, chance: random.Random) -> str:
    words = text.split()
    for at in chance.sample(range(len(words)), edits):
        words[at] = chance.choice(VOCABULARY)
    return " ".join(words)


def jaccard(one: str, other: str) -> float:
    sets = []
    for text in (one, other):
        words = [*read(text).words, *[""] * (WORDS - 1)]
        sets.append({tuple(words[at : at + WORDS]) for at in range(len(words) - WORDS + 1)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_the_better_row_stays_and_of_equals_the_earlier() -> None:
    one, other = texts(2, 0)
    rows = [("a", one, 1.0), ("b", other, 0.0), ("c", one.upper() + "!", 2.0), ("d", other, 0.0)]
    assert list(near_duplicates(rows)) == [Duplicate("a", "c", 1.0), Duplicate("d", "b", 1.0)]


def test_one_of_a_chain_stays_though_its_ends_are_far_apart() -> None:
    chance = random.Random(1)
    chain = texts(1, 1, 100)
    for _ in range(12):
        chain.append(edited(chain[-1], 3, chance))
    assert jaccard(chain[0], chain[-1]) < 0.5 < 0.8 < min(map(jaccard, chain, chain[1:]))
    found = list(near_duplicates([(str(at), text, 5.0 if at == 6 else 0.0) for at, text in enumerate(chain)]))
    assert [duplicate.loser for duplicate in found] == [str(at) for at in range(13) if at != 6]
    assert {duplicate.winner for duplicate in found} == {"6"}
    assert all(
        duplicate.similarity == pytest.approx(jaccard(chain[int(duplicate.loser)], chain[6]))
        for duplicate in found
    )


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.95])
def test_what_goes_is_what_brute_force_finds(threshold: float) -> None:
    chance = random.Random(3)
    made = texts(40, 3)
    made += [edited(chance.choice(made), chance.randrange(9), chance) for _ in range(40)]
    chance.shuffle(made)
    parent = list(range(len(made)))

    def root(at: int) -> int:
        return at if parent[at] == at else root(parent[at])

    for one, other in combinations(range(len(made)), 2):
        if jaccard(made[one], made[other]) >= threshold:
            parent[max(root(one), root(other))] = min(root(one), root(other))
    expected = [(str(at), str(root(at))) for at in range(len(made)) if root(at) != at]
    found = near_duplicates([(str(at), text, 0.0) for at, text in enumerate(made)], threshold)
    assert [(duplicate.loser, duplicate.winner) for duplicate in found] == expected


def test_another_number_is_another_problem() -> None:
    question = "Tom has {} hens and {} goats. He sells {} hens. How many animals are left on the farm of Tom?"
    rows = [(str(at), question.format(at + 2, at * 3 + 1, at + 1), 0.0) for at in range(50)]
    assert not list(near_duplicates(rows, 0.8))


def test_many_rows_alike_are_one_cluster() -> None:
    rows = [(str(at), "the very same text again and again", float(at)) for at in range(3000)]
    found = list(near_duplicates(rows))
    assert len(found) == 2999 and {duplicate.winner for duplicate in found} == {"2999"}


def test_texts_without_words_and_of_one_word() -> None:
    rows = [("a", "", 0.0), ("b", "...", 0.0), ("c", "yes", 0.0), ("d", "Yes!", 0.0), ("e", "no", 0.0)]
    assert list(near_duplicates(rows)) == [Duplicate("d", "c", 1.0)]
    assert list(near_duplicates([])) == []
    assert list(near_duplicates([("a", "", 0.0)])) == []


def test_a_threshold_of_one_takes_equal_sets_only() -> None:
    one = texts(1, 3)[0]
    rows = [("a", one, 0.0), ("b", one + " more", 0.0), ("c", one, 0.0)]
    assert list(near_duplicates(rows, 1.0)) == [Duplicate("c", "a", 1.0)]


def test_rows_are_read_once_in_the_order_given_and_workers_change_nothing(tmp_path: Path) -> None:
    chance = random.Random(4)
    made = texts(900, 4)
    made += [edited(chance.choice(made), 1, chance) for _ in range(700)]
    reported: list[tuple[str, int]] = []

    def rows() -> Iterator[tuple[str, str, float]]:
        for at, text in enumerate(made):
            yield str(at), text, float(at % 7)

    alone = list(near_duplicates(rows()))
    both = list(
        near_duplicates(rows(), workers=2, folder=tmp_path, progress=lambda *done: reported.append(done))
    )
    assert alone == both and len(alone) > 500
    assert ("reading", 1600) in reported and reported[-1][0] == "comparing"
    assert not list(tmp_path.iterdir())


def test_hostile_texts() -> None:
    rows = [
        ("a", "spam " * 500_000, 0.0),
        ("b", "spam " * 400_000, 1.0),
        ("c", "\ud800" * 1000 + " word", 0.0),
        ("d", " ".join(texts(1, 5, 200_000)), 0.0),
    ]
    assert list(near_duplicates(rows)) == [Duplicate("a", "b", 1.0)]


@pytest.mark.parametrize("threshold", [0.0, 0.29, 1.01, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match="threshold"):
        next(near_duplicates([], threshold))
