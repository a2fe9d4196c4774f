"""Questions that share a run of words with what a model was trained on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from upwell.analysis.bootstrap import mean_with_interval, percent
from upwell.analysis.found import Found
from upwell.analysis.settings import AnalyzeSettings
from upwell.analysis.texts import Texts, load_set
from upwell.errors import UsageError
from upwell.measurement.watch import Watch
from upwell.records import Example
from upwell.runs import Run

LEAST = 8
"""Words that a question needs to be looked for whole, where it is shorter than an n-gram. Fewer are met by chance: of
GSM8K's test questions 5.5 % have their first four words in a text of train, 1.8 % their first five, 0.1 % their first
eight (of last words 16, 8 and 0.5 %). And signs are no words: `3 + 4` and `3 * 4` are alike."""
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Its words and numbers, in lower case."""
    return _WORD.findall(text.lower())


def least(length: int) -> int:
    """Words that a question needs to be looked for by runs of `length` words."""
    return min(LEAST, length)


def grams(question: str, length: int) -> Iterator[tuple[str, ...]]:
    """Its runs of `length` words; of a shorter one, all of its words; none of one that is too short to tell."""
    found = words(question)
    if len(found) < least(length):
        return
    size = min(length, len(found))
    for at in range(len(found) - size + 1):
        yield tuple(found[at : at + size])


def trained_on(source: str) -> tuple[int, Iterator[str]]:
    """How many texts there are, and each: of a run of `curate` (prompt and completion), or of a problem set or file
    (question and solution). A run is read as they are asked for.

    Raises:
        UsageError: there is nothing of the kind.
    """
    if not Path(source).is_dir():
        problems = load_set(source).problems
        return len(problems), (f"{one.question}\n{one.solution or ''}" for one in problems)
    run = Run.read(source)
    count = run.count("examples")
    if not count or run.summary is None:
        what = "is not finished" if count else f"is a run of {run.manifest['verb']} that holds no examples"
        raise UsageError(
            f"`{source}` {what}: n-grams are looked for in all that was trained on",
            "--train RUN, a finished run of curate",
        )
    return count, (f"{row.prompt}\n{row.completion}" for row in run.rows("examples", Example))


def met(questions: Iterable[str], texts: Iterable[str], length: int) -> set[int]:
    """Hashes of the questions' runs of words that are in a text.

    Only the questions' are held: what was trained on may be a thousand times as much.
    """
    wanted: set[int] = set()
    sizes: dict[str, set[int]] = {}  # by their first word: most places of a text then need one look, or none
    for question in questions:
        for gram in grams(question, length):
            wanted.add(hash(gram))
            sizes.setdefault(gram[0], set()).add(len(gram))
    found: set[int] = set()
    for text in texts:
        told = words(text)
        for at, word in enumerate(told):
            for size in sizes.get(word, ()):
                gram_hash = hash(tuple(told[at : at + size]))
                if gram_hash in wanted:
                    found.add(gram_hash)
    return found


def runs_met(several: Sequence[Texts], source: str, length: int, watch: Watch) -> set[int]:
    """Hashes of the runs of words of all questions that what was trained on holds. It is read once, row by row.

    Raises:
        UsageError: there is nothing of the kind.
    """
    count, rows = trained_on(source)

    def told() -> Iterator[str]:
        for row in rows:
            yield row
            watch.advance()

    watch.begin(f"looking for {length}-grams in {source}", count)
    found = met((problem.question for one in several for problem, _ in one.pairs), told(), length)
    watch.end()
    return found


def overlap(several: Sequence[Texts], seen: set[int], settings: AnalyzeSettings, found: Found) -> None:
    """How many questions of each set share a run of words with what was trained on."""
    length = settings.ngram
    unclear = f"too short to tell, with fewer than {least(length)} words"
    for one in several:
        name = one.role or one.name
        hits, whole = [], False
        for problem, _ in one.pairs:
            own = list(grams(problem.question, length))
            if own:
                hits.append(any(hash(gram) in seen for gram in own))
                whole |= len(own[0]) < length
        short = len(one.pairs) - len(hits)
        if not hits:
            found.conclusions.append(f"{name}: {unclear}: all of {short:,} questions.")
            continue
        share, low, high = mean_with_interval([float(hit) for hit in hits])
        found.fits.append(
            {
                "set": name, "part": "question", "measure": f"{length}-gram in what was trained on",
                "value": share, "low": low, "high": high, "problems": len(hits),
                "note": f"{sum(hits)} questions" + (f", {short} more too short to tell" if short else ""),
            }
        )  # fmt: skip
        found.conclusions.append(
            f"{name}: {sum(hits):,} of {len(hits):,} questions ({percent(share)}, {100 * low:.1f} to "
            f"{100 * high:.1f} %) share a run of {length} words{' (shorter ones: all of theirs)' if whole else ''} "
            f"with `{settings.train}`." + (f" {unclear.capitalize()}: {short:,} more." if short else "")
        )
