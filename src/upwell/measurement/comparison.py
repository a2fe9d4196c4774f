"""Two graded runs side by side, on the problems that they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from upwell.errors import UsageError
from upwell.grading import RuleGrader, canonical
from upwell.measurement.summary import outcomes_of
from upwell.measurement.watch import Silent, Watch
from upwell.runs import Run

if TYPE_CHECKING:
    from upwell.metrics import Difference, Outcomes
    from upwell.metrics.outcomes import Floats, Ints


_NO_VOTE = -1


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of both runs."""

    name: str
    k: int | None
    first: float
    second: float
    """Means over the shared problems."""
    difference: Difference


class Flip(msgspec.Struct, frozen=True, kw_only=True):
    """A problem on which the runs differ."""

    key: str
    """In the second run."""
    question: str
    first: tuple[int, int]
    second: tuple[int, int]
    """Right responses, and responses."""
    p_value: float
    sure: bool
    """Whether it stands among the flips that are told from chance, at a false discovery rate of 5 %."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What `compare` found."""

    first: str
    second: str
    shared: int
    """Problems that both runs have."""
    only_first: int
    only_second: int
    lines: tuple[Line, ...]
    flips: tuple[Flip, ...]
    """Problems with different shares of right responses, the surest first."""
    gained: int
    """Problems that the first run never solved and the second did."""
    lost: int
    gained_by_chance: float
    lost_by_chance: float
    """How many would be expected if both had the same chance on every problem."""
    notes: tuple[str, ...]


class _Asked(msgspec.Struct, frozen=True):
    key: str
    answer: str
    question: str = ""


def compare(first: str, second: str, *, ks: Sequence[int] = (), watch: Watch | None = None) -> Comparison:
    """Paired differences between two graded runs; above 0 where the second is better.

    Args:
        first: Run directory, graded.
        second: Run directory, graded.
        ks: For pass@k and maj@k; by default the most that every shared problem has in both runs.
        watch: Told of the progress.

    Raises:
        UsageError: A run is not there or not graded, they share fewer than two problems, or a k is above what
            they have.
    """
    from upwell.metrics import flipped

    watch = watch or Silent()
    runs = [_graded(path) for path in (first, second)]
    with RuleGrader() as grader:
        tables = [outcomes_of(run, grader, watch, guess=False)[0] for run in runs]
    asked = [{problem.key: problem for problem in run.rows("problems", _Asked)} for run in runs]
    pairs, notes = _matched(tables, asked, (first, second))
    a, b = (table.take(_numbers(pair[i] for pair in pairs)) for i, table in enumerate(tables))
    most = int(min(a.n.min(), b.n.min()))
    for k in ks:
        if not 1 <= k <= most:
            raise UsageError(
                f"--k {k}: every shared problem has {most} responses in both runs", f"--k {most} or less"
            )
    for path, run in zip((first, second), runs, strict=True):
        if run.summary is None:
            notes.append(f"the run `{path}` is not finished: these numbers are over what it has so far")
    flips = flipped(a.n, a.c, b.n, b.c)
    changed = [i for i in range(len(pairs)) if a.c[i] * b.n[i] != b.c[i] * a.n[i]]
    changed.sort(key=lambda i: (flips.p_values[i], pairs[i]))
    return Comparison(
        first=first,
        second=second,
        shared=len(pairs),
        only_first=len(tables[0].slots) - len(pairs),
        only_second=len(tables[1].slots) - len(pairs),
        lines=tuple(_lines(a, b, sorted(set(ks)) or [most])),
        flips=tuple(
            Flip(
                key=b.slots[i].key,
                question=asked[1][b.slots[i].key].question,
                first=(int(a.c[i]), int(a.n[i])),
                second=(int(b.c[i]), int(b.n[i])),
                p_value=flips.p_values[i],
                sure=flips.sure[i],
            )
            for i in changed
        ),
        gained=flips.gained,
        lost=flips.lost,
        gained_by_chance=flips.gained_by_chance,
        lost_by_chance=flips.lost_by_chance,
        notes=tuple(notes),
    )


def _graded(path: str) -> Run:
    run = Run.read(path)
    if not run.count("verdicts"):
        raise UsageError(f"the run `{path}` is not graded", f"upwell grade {path}")
    return run


def _lines(a: Outcomes, b: Outcomes, ks: Sequence[int]) -> Iterable[Line]:
    from upwell.metrics import compare as paired
    from upwell.metrics import maj_at_k, pass_at_k

    values: list[tuple[str, int | None, list[Floats]]] = [("pass_ratio", None, [t.c / t.n for t in (a, b)])]
    values += [("pass@k", k, [pass_at_k(t.n, t.c, k) for t in (a, b)]) for k in ks if k > 1]
    if all((t.votes != _NO_VOTE).any() for t in (a, b)):
        values += [("maj@k", k, [maj_at_k(t.n, t.classes, k).values for t in (a, b)]) for k in ks if k > 1]
    for name, k, (one, two) in values:
        yield Line(
            name=name, k=k, first=float(one.mean()), second=float(two.mean()), difference=paired(one, two)
        )


def _matched(
    tables: Sequence[Outcomes], asked: Sequence[dict[str, _Asked]], names: tuple[str, str]
) -> tuple[list[tuple[int, int]], list[str]]:
    """The numbers of the shared problems in either table, by key or else by question, and notes."""
    by_key = [{slot.key: i for i, slot in enumerate(table.slots)} for table in tables]
    named = [(i, by_key[1][key]) for key, i in by_key[0].items() if key in by_key[1]]
    pairs = [
        (i, j) for i, j in named if _alike(asked[0][tables[0].slots[i].key], asked[1][tables[1].slots[j].key])
    ]
    notes = []
    if len(pairs) * 2 <= len(named):  # a file's lines are named by number where it gives no id
        by_text = [_by_question(keys, problems) for keys, problems in zip(by_key, asked, strict=True)]
        pairs = [(i, by_text[1][text]) for text, i in by_text[0].items() if text in by_text[1]]
        if pairs:
            notes.append("the runs name their problems differently: matched by question")
    elif len(pairs) < len(named):
        notes.append(
            f"{len(named) - len(pairs):,} problems have one name in both runs but another question or gold: left out"
        )
    if len(pairs) < 2:
        raise UsageError(
            f"`{names[0]}` and `{names[1]}` share {len(pairs)} of {len(by_key[0])} and {len(by_key[1])} problems; "
            "a paired comparison needs two",
            "measure both models on the same --problems and --limit",
        )
    return pairs, notes


def _alike(one: _Asked, other: _Asked) -> bool:
    """Whether two problems of one name are one problem."""
    if one.question and other.question and one.question.split() != other.question.split():
        return False
    return one.answer == other.answer or canonical(one.answer) == canonical(other.answer)


def _by_question(keys: dict[str, int], problems: dict[str, _Asked]) -> dict[str, int]:
    """Number by question, of the questions that occur once."""
    found: dict[str, list[int]] = {}
    for key, i in keys.items():
        text = " ".join(problems[key].question.split())
        if text:
            found.setdefault(text, []).append(i)
    return {text: numbers[0] for text, numbers in found.items() if len(numbers) == 1}


def _numbers(numbers: Iterable[int]) -> Ints:
    import numpy as np

    return np.fromiter(numbers, np.int64)
