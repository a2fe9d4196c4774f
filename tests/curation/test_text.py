"""Texts as words: what reads the same, what is masked, and that no text is read for ever."""

from __future__ import annotations

import time

import pytest

from upwell.curation.text import LONGEST, NAME, NUMBER, PERSON, plain, read


@pytest.mark.parametrize(
    "one, other",
    [
        (r"Compute $\dfrac{1}{2} \cdot x$.", r"compute \( \frac12 * x \)"),
        (r"What is 1,234 + 5?", r"What is $1{,}234 + 5$ ?"),
        ("He's got twenty-five apples.", "he’s got 25 apples"),
        ("two hundred and three thousand", "200 and 3000"),
        ("two thirds of the cake", r"$\frac{2}{3}$ of the cake"),
        ("20 percent", r"20\%"),
        ("It costs 5 dollars.", r"It costs \$5."),
        ("José’s ﬁve coins", "Jose's five coins"),
        ("the soft­hyphen and zero​width", "the softhyphen and zerowidth"),
        ("3 × 4 ≤ 5", r"$3 \times 4 \leq 5$".replace(r"\leq", "<")),
        (r"\left( x \right) \text{ for } y", "(x) for y"),
    ],
)
def test_what_differs_in_layout_only_reads_the_same(one: str, other: str) -> None:
    assert plain(one) == plain(other)


@pytest.mark.parametrize(
    "one, other",
    [
        ("3 apples", "4 apples"),
        ("$x + y$", "$x - 2$"),
        ("$x^2$", "$x_2$"),
        ("$5!$", "$5$"),
        ("1/2", "1/3"),
        ("20%", "20"),
    ],
)
def test_what_differs_in_content_does_not(one: str, other: str) -> None:
    assert plain(one) != plain(other)


def test_numbers_names_and_pronouns_are_masked_in_place() -> None:
    reading = read(
        r"Natalia has 48 clips and half of \frac{3}{4} of them. She gives Mr. Lee $2.50; how many has she?"
    )
    assert len(reading.words) == len(reading.masked) == len(reading.skeleton) == len(reading)
    assert reading.words[:3] == ["natalia", "has", "48"]
    numbers = [word for word, mask in zip(reading.words, reading.masked, strict=True) if mask == NUMBER]
    names = [word for word, mask in zip(reading.words, reading.skeleton, strict=True) if mask == NAME]
    assert numbers == ["48", "1/2", "3/4", "2.50"] and names == ["natalia", "mr", "lee"]
    assert reading.skeleton.count(PERSON) == 2


def test_words_that_open_sentences_are_no_names_and_variables_stay() -> None:
    reading = read("How many does A have? Find the sum. If $B$ is even, Evaluate it.")
    assert NAME not in reading.skeleton and {"a", "b", "how", "find", "if"} <= set(reading.skeleton)


def test_the_same_problem_with_other_numbers_and_persons_has_the_same_skeleton() -> None:
    one = read("Tom has 12 hens. He sells 1/3 of his hens to Ann for $4.50 each.")
    other = read("Olga has twenty hens. She sells 3/4 of her hens to Igor for $1,200 each.")
    assert one.skeleton == other.skeleton and one.masked != other.masked


def test_figures_are_one_word_that_tells_them_apart_but_for_numbers() -> None:
    def figure(code: str) -> list[str]:
        return read(f"What is $x$? [asy] {code} [/asy]").words

    assert len(figure("draw((0,0)--(3,4));")) == 4
    assert figure("draw((0,0)--(3,4));") == figure("draw( (1,1)--(5,9) );") != figure("fill((0,0)--(3,4));")


HOSTILE = {
    "one word": "spam " * 300_000,
    "one letter": "a" * 1_500_000,
    "digits": "1" * 1_500_000,
    "marks": "e" + "\u0301\u0327" * 700_000,
    "figures": "[asy]" * 250_000,
    "fractions": r"\frac{" * 200_000,
    "thousands": "1,000" * 250_000,
    "backslashes": "\\" * 1_500_000,
    "expanding": "\ufdfa" * 100_000,
    "surrogates": "\ud800 what is" * 100_000,
    "nothing": "\0\u200b\u202e" * 400_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_text_takes_long(kind: str) -> None:
    began = time.process_time()
    reading = read(HOSTILE[kind])
    assert time.process_time() - began < 10  # quadratic reading takes minutes
    assert len(reading) <= LONGEST and all(len(word) < 200 for word in reading.words[:1000])


@pytest.mark.parametrize("text", ["", " ", "...", "\n\t", "$$", "\ud83d\ude00", "\ufeff"])
def test_a_text_without_words_has_none(text: str) -> None:
    assert len(read(text)) == 0
