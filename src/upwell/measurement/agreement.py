"""What several graders make of the same responses, and where they part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from upwell.measurement.watch import Watch
from upwell.records import Verdict
from upwell.runs import Run

EXAMPLES = 8
"""Disagreements shown per style and direction, each of another problem."""
_LONGEST = 200
"""Characters of an answer that an example holds."""


class _Place(msgspec.Struct, frozen=True):
    """Where a response belongs."""

    key: str
    problem: str


def agreement(run: Run, style: str, others: Sequence[str], watch: Watch) -> dict[str, Any]:
    """Each style's score, and its disagreements with the first with examples: an entry of `summary.json`.

    Args:
        run: Holds `verdicts` in `style`, and `verdicts-<other>` for each of `others`.
        style: The style whose verdicts the metrics are of.
        others: The styles beside it.
        watch: Told of the progress.

    Returns:
        `styles`: per style its PassRatio (mean over problems) with its two intervals, right and undecided
        verdicts; `against`: per other style how many verdicts agree, `only_first` and `only_other` being right
        in one of the two only, each with examples.
    """
    import numpy as np

    from upwell.metrics import Outcomes, summarise

    number = {key: i for i, key in enumerate(place.key for place in run.rows("problems", _Key))}
    names = [style, *others]
    right = np.zeros((len(names), len(number)), np.int64)
    drawn, graded = np.zeros(len(number), np.int64), np.zeros((len(names), len(number)), np.int64)
    undecided = [0] * len(names)
    against = [_Against(name) for name in others]
    watch.say(f"comparing the verdicts of {', '.join(names)}")
    for place, verdicts in _side_by_side(run, others):
        at = number[place.problem]
        drawn[at] += 1
        for i, verdict in enumerate(verdicts):
            if verdict is not None:
                graded[i, at] += 1
                right[i, at] += bool(verdict.correct)
                undecided[i] += verdict.correct is None
        for one, verdict in zip(against, verdicts[1:], strict=True):
            if verdict is not None and verdicts[0] is not None:
                one.add(place, verdicts[0], verdict)
    styles = []
    for i, name in enumerate(names):
        some = graded[i] > 0
        table = Outcomes.from_counts(graded[i][some], right[i][some])
        metric = summarise(table, ks=[1])[0]
        styles.append(
            {"style": name, **{part: getattr(metric, part) for part in _PARTS}, "responses": int(graded[i].sum()),
             "right": int(right[i].sum()), "undecided": undecided[i]}
        )  # fmt: skip
    golds = {p.key: p.answer for p in run.rows("problems", _Asked)} if len(number) < 100_000 else {}
    return {"styles": styles, "against": [one.entry(golds) for one in against]}


_PARTS = ("value", "low", "high", "low_fixed", "high_fixed", "problems")


class _Key(msgspec.Struct, frozen=True):
    key: str


class _Asked(msgspec.Struct, frozen=True):
    key: str
    answer: str


class _Against:
    """Where another style parts from the first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._both = self._neither = 0
        self._only: dict[bool, int] = {True: 0, False: 0}
        self._examples: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        self._shown: set[tuple[bool, str]] = set()

    def add(self, place: _Place, first: Verdict, other: Verdict) -> None:
        mine, its = bool(first.correct), bool(other.correct)
        if mine == its:
            self._both += mine
            self._neither += not mine
            return
        self._only[mine] += 1
        if len(self._examples[mine]) < EXAMPLES and (mine, place.problem) not in self._shown:
            self._shown.add((mine, place.problem))
            self._examples[mine].append(
                {"key": place.key, "problem": place.problem, "answer": _brief(first.answer),
                 "other": _brief(other.answer), "tier": first.tier, "other_tier": other.tier}
            )  # fmt: skip

    def entry(self, golds: dict[str, str]) -> dict[str, Any]:
        for examples in self._examples.values():
            for example in examples:
                example["gold"] = _brief(golds.get(example["problem"]))
        return {
            "style": self._name, "both": self._both, "neither": self._neither,
            "only_first": self._only[True], "only_other": self._only[False],
            "examples_only_first": self._examples[True], "examples_only_other": self._examples[False],
        }  # fmt: skip


def _side_by_side(run: Run, others: Sequence[str]) -> Iterator[tuple[_Place, list[Verdict | None]]]:
    """Each response with its verdict in every table. The tables are in the order of the responses, with gaps."""
    tables = [run.rows("verdicts", Verdict), *(run.rows(f"verdicts-{name}", Verdict) for name in others)]
    heads = [next(table, None) for table in tables]
    late = _late(run)
    for place in run.rows("responses", _Place):
        found: list[Verdict | None] = []
        for i, head in enumerate(heads):
            if head is not None and head.key == place.key:
                found.append(head)
                heads[i] = next(tables[i], None)
            else:
                found.append(late.get(place.key) if i == 0 else None)
        yield place, found


def _late(run: Run) -> dict[str, Verdict]:
    """Verdicts that stand behind those of later responses: a judge's call for them had failed, and was made again."""
    if not run.exists("failures"):
        return {}
    verdicts = run.rows("verdicts", Verdict)
    head = next(verdicts, None)
    for place in run.rows("responses", _Place):
        if head is not None and head.key == place.key:
            head = next(verdicts, None)
    return {verdict.key: verdict for verdict in [head, *verdicts] if verdict is not None}


def _brief(text: str | None) -> str | None:
    return text if text is None or len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
