"""From the lines of a dump to problems and responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from upwell.errors import UsageError
from upwell.measurement.dumps.lines import ABSENT, at
from upwell.problems import ProblemSet
from upwell.problems.answers import after_hashes, last_boxed, text_of
from upwell.records import Problem, Response

_CUT = frozenset(("length", "max_tokens", "max_output_tokens", "model_length", "max_length", "abort"))
"""What programs call the end of a response that was cut off."""


class Sample(NamedTuple):
    """One response of a dump, with its problem and what the dump says of it."""

    problem: Problem
    response: Response
    correct: bool | None
    """The dump's own verdict."""


class Reading:
    """What has to be remembered from line to line."""

    def __init__(
        self, path: Path, fields: Mapping[str, str], golds: ProblemSet | None, *, judged: bool = False
    ) -> None:
        self._path, self._fields, self._set, self._judged = path, fields, golds, judged
        self._paths = {name: column.split(".") for name, column in fields.items()}
        self._seen: set[int] = set()
        self._problems: dict[str, tuple[Problem, int]] = {}
        self._golds = _by_key_and_question(golds) if golds is not None else {}
        self._silent = self._unpacked = self._empty = self._blank = 0

    def samples(self, number: int, line: Mapping[str, Any]) -> Iterator[Sample]:
        key = self._key(number, line)
        texts, bare, many = self._texts(number, line)
        self._empty += not texts
        problem, begun = self._problem(key, number, line)
        verdicts = self._spread("correct", number, line, len(texts), many, _truth)
        scores = self._spread("reward", number, line, len(texts), many, float)
        logprobs = self._spread("logprob", number, line, len(texts), many, float)
        tokens = self._spread("tokens", number, line, len(texts), many, _amount)
        ends = self._spread("finish", number, line, len(texts), many, _finish)
        points = self._spread("points", number, line, len(texts), many, _points)
        if problem.points is not None and any(
            given is not None and given > problem.points for given in points
        ):
            raise UsageError(
                f"{self._path}:{number + 1}: more points than the maximum of {problem.points:g}",
                "mend the line, or name another field: --field max_points=FIELD",
            )
        for i, text in enumerate(texts):
            self._silent += text is None
            yield Sample(
                problem,
                Response(
                    key=f"{key}#{i}" if many else key,
                    problem=problem.key,
                    index=begun + i,
                    text=text or "",
                    finish=ends[i],
                    tokens=tokens[i],
                    logprob=logprobs[i],
                    score=scores[i],
                    points=points[i],
                    bare=bare,
                ),
                verdicts[i],
            )
        if problem.key in self._problems:
            self._problems[problem.key] = (problem, begun + len(texts))

    def notes(self) -> list[str]:
        """What was not as one would expect."""
        found = []
        if self._silent:
            found.append(
                f"{self._silent:,} responses are missing (null): counted as wrong, without an answer"
            )
        if self._empty:
            found.append(f"{self._empty:,} lines hold an empty list of samples and are in no number")
        if self._blank:
            then = "the judge decides there" if self._judged else "no response can be right there"
            found.append(
                f"{self._blank:,} lines have {'no' if self._judged else 'an empty'} gold answer: {then}"
            )
        if self._unpacked:
            found.append(
                f"the gold is what follows `####` or stands in the last \\boxed{{}} of a solution, on "
                f"{self._unpacked:,} lines"
            )
        return found

    def _key(self, number: int, line: Mapping[str, Any]) -> str:
        own = self._value("id", line)
        key = str(number) if own is None else self._text(own, "id", number)
        mark = hash(key)
        if mark in self._seen:
            raise UsageError(
                f"{self._path}:{number + 1}: the id `{key}` was there before",
                f"if `{self._fields.get('id')}` names the problem: --field "
                f"problem={self._fields.get('id')} (lines are then named by their number)",
            )
        self._seen.add(mark)
        return key

    def _texts(self, number: int, line: Mapping[str, Any]) -> tuple[list[str | None], bool, bool]:
        """The samples of a line, whether they are bare answers, and whether the line holds a list of them."""
        for name in ("response", "prediction"):
            value = self._value(name, line)
            if value is None:
                continue
            if isinstance(value, list) and not _is_message(value):
                flat = [
                    part
                    for item in value
                    for part in (item if isinstance(item, list) and not _is_message(item) else [item])
                ]
                return [self._said(part, name, number) for part in flat], name == "prediction", True
            return [self._said(value, name, number)], name == "prediction", False
        return [None], False, False

    def _said(self, value: Any, name: str, number: int) -> str | None:
        """The text of one sample: a string or number, or what a chat message says."""
        if isinstance(value, list) and _is_dialogue(value):
            value = value[-1]
        if isinstance(value, Mapping):
            if "content" not in value and "text" not in value:
                return self._text(value, name, number)  # which says what it is, and how to reach into it
            value = value.get("content", value.get("text"))
        if isinstance(value, list) and _is_parts(value):  # of which some are reasoning, not answer
            value = "".join(str(part["text"]) for part in value if isinstance(part.get("text"), str))
        if isinstance(value, bool):
            raise UsageError(
                f"{self._path}:{number + 1}: `{self._fields[name]}` holds log-likelihoods or flags, not text",
                "grade a task that generates text, or name the field: --field response=FIELD",
            )
        return None if value is None else self._text(value, name, number)

    def _problem(self, key: str, number: int, line: Mapping[str, Any]) -> tuple[Problem, int]:
        """The problem of a line, and how many samples of it there were before."""
        own = self._value("problem", line)
        name = key if own is None else self._text(own, "problem", number)
        gold = self._gold(number, line)
        reference = None
        if gold is None:
            reference = self._reference(name, number, line)
            name, gold = reference.key, reference.answer
        known = self._problems.get(name)
        if known is not None:
            if known[0].answer != gold:
                raise UsageError(
                    f"{self._path}:{number + 1}: problem `{name}` has the gold `{gold}` here and "
                    f"`{known[0].answer}` before",
                    "leave --field problem=... out, or name the field that tells problems apart",
                )
            return known
        most = self._spread("max_points", number, line, 1, False, _points)[0]
        problem = reference or Problem(
            key=name,
            question=self._optional("question", number, line) or "",
            answer=gold,
            source=self._path.stem,
            level=self._optional("level", number, line),
            subject=self._optional("subject", number, line),
        )
        if most is not None:
            problem = msgspec.structs.replace(problem, points=most)
        if own is not None or reference is not None:
            self._problems[name] = (problem, 0)
        return problem, 0

    def _gold(self, number: int, line: Mapping[str, Any]) -> str | None:
        """The gold answer of a line, or None where `golds` has to give it."""
        value = self._value("gold", line)
        if value is None:
            if self._golds:
                return None
            if self._judged:
                self._blank += 1
                return ""
            raise UsageError(
                f"{self._path}:{number + 1}: no gold answer in `{self._fields.get('gold')}`",
                "mend the line, or give --problems SET",
            )
        if isinstance(value, list):
            value = ", ".join(self._text(part, "gold", number) for part in value)
        gold = self._text(value, "gold", number)
        short = (after_hashes(gold) or last_boxed(gold)) if "####" in gold or "\\boxed" in gold else None
        if short is not None:
            self._unpacked += 1
        self._blank += not gold.strip()
        return short or gold

    def _reference(self, name: str, number: int, line: Mapping[str, Any]) -> Problem:
        for candidate in (
            name,
            name.rpartition("#")[0],
            _folded(self._optional("question", number, line) or ""),
        ):
            if candidate and candidate in self._golds:
                return self._golds[candidate]
        assert self._set is not None
        raise UsageError(
            f"{self._path}:{number + 1}: `{name}` is no problem of `{self._set.name}`, nor is its question",
            f"name the field that holds the problem's id, such as `{self._set.problems[0].key}`: "
            "--field problem=FIELD, or the question: --field question=FIELD",
        )

    def _value(self, name: str, line: Mapping[str, Any]) -> Any:
        parts = self._paths.get(name)
        if parts is None:
            return None
        value = line.get(parts[0]) if len(parts) == 1 else at(line, parts)
        return None if value is ABSENT else value

    def _optional(self, name: str, number: int, line: Mapping[str, Any]) -> str | None:
        value = self._value(name, line)
        if value is None or isinstance(value, Mapping | list):
            return None
        return self._text(value, name, number) or None

    def _text(self, value: Any, name: str, number: int) -> str:
        if type(value) is str:
            return value
        try:
            return text_of(value) or ""
        except TypeError as error:
            raise UsageError(
                f"{self._path}:{number + 1}: `{self._fields[name]}` holds {error}",
                f"--field {name}={self._fields[name]}.KEY reaches into it",
            ) from None

    def _spread(
        self,
        name: str,
        number: int,
        line: Mapping[str, Any],
        count: int,
        many: bool,
        kind: Callable[[Any], Any],
    ) -> list[Any]:
        """A value per sample of a line."""
        value = self._value(name, line)
        if value is None:
            return [None] * count
        values = value if isinstance(value, list) else [value] * (1 if many and count != 1 else count)
        values = [part for item in values for part in (item if isinstance(item, list) else [item])]
        if len(values) == 1 and count > 1 and not isinstance(value, list) and name == "finish":
            values = values * count
        if len(values) != count:
            raise UsageError(
                f"{self._path}:{number + 1}: {count} samples, but {len(values)} values of "
                f"`{self._fields[name]}` for the {name}",
                f"name the field that holds one {name} per sample, or leave --field {name}=... out",
            )
        try:
            return [None if one is None else kind(one) for one in values]
        except (TypeError, ValueError):
            raise UsageError(
                f"{self._path}:{number + 1}: `{self._fields[name]}` holds {str(values)[:60]!r}, "
                f"which is no {name}",
                f"name another field: --field {name}=FIELD",
            ) from None


def _is_message(value: list[Any]) -> bool:
    """Whether a list is one message, not one item per sample."""
    return _is_dialogue(value) or _is_parts(value)


def _is_parts(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(item, Mapping) and "type" in item for item in value)


def _is_dialogue(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(item, Mapping) and "role" in item for item in value)


def _by_key_and_question(problems: ProblemSet) -> dict[str, Problem]:
    found = {_folded(problem.question): problem for problem in problems}
    found.update((problem.key, problem) for problem in problems)
    return found


def _folded(text: str) -> str:
    return " ".join(text.split())


def _amount(value: Any) -> int:
    if int(value) != value or value < 0:
        raise ValueError(value)
    return int(value)


def _points(value: Any) -> float | None:
    if isinstance(value, str) and not value.strip():
        return None
    points = float(value)
    if not 0 <= points < 1e6:
        raise ValueError(value)
    return points


def _truth(value: Any) -> bool:
    if isinstance(value, str):
        folded = value.strip().lower()
        if folded not in ("true", "false", "1", "0", "yes", "no", "correct", "incorrect", "c", "i"):
            raise ValueError(value)
        return folded in ("true", "1", "yes", "correct", "c")
    if value not in (0, 1):
        raise ValueError(value)
    return bool(value)


def _finish(value: Any) -> str | None:
    said = str(value).casefold()
    if said in ("", "unknown"):
        return None
    return "length" if said in _CUT else "stop"
