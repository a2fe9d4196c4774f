"""Problem sets: benchmarks by name, local files, generated tasks.

problems.load("gsm8k", limit=100)
problems.load("mine.csv", fields={"question": "Prompt", "answer": "Gold"})
problems.load("procedural:gsm_symbolic", limit=50, seed=1)
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from upwell.errors import UsageError
from upwell.problems import benchmarks, local, procedural
from upwell.problems.cards import CARDS, Card, DataFile, Hub
from upwell.problems.sets import Fault, ProblemSet, check_limit, self_check_texts, subset, validate
from upwell.records import Problem

__all__ = [
    "Card",
    "DataFile",
    "Fault",
    "Hub",
    "ProblemSet",
    "cards",
    "find",
    "load",
    "names",
    "self_check_texts",
    "subset",
    "validate",
]

_NO_FIELDS: Mapping[str, str] = MappingProxyType({})
_FIND_AMONG = 5000
"""Problems of a generated task that `find` looks through."""


def names() -> list[str]:
    """Names of the known sets."""
    return list(CARDS)


def cards() -> list[Card]:
    """What is known about each known set."""
    return list(CARDS.values())


def load(
    name: str,
    *,
    split: str = "test",
    limit: int | None = None,
    fields: Mapping[str, str] = _NO_FIELDS,
    seed: int = 0,
    data_dir: Path | None = None,
    graded: bool = True,
) -> ProblemSet:
    """A problem set.

    Args:
        name: A known set (`names()`), `procedural:<reasoning-gym task>`, or the path of a JSONL, JSON,
            CSV, TSV or Parquet file.
        split: Split of a known set; other kinds have none.
        limit: Take this many problems: of a file or known set a random subset that is the same in
            every run and grows with the limit (`sets.subset`); of a generated task the first ones.
        fields: For a file: which column holds the `question`, `answer`, `solution`, `level`,
            `subject`, `id`; a field not named is looked for under its own name.
        seed: Seed of a generated task. It does not change which problems `limit` takes.
        data_dir: Folder of benchmark files; `$UPWELL_DATA` by default.
        graded: Refuse sets without reference answers. With False such a set is loaded with empty
            answers, for sampling, and grading by a model.

    Raises:
        UsageError: Unknown name, split or column, a broken file, a set that is not to be had here.
        MissingExtra: A package that this kind of set needs is not installed.
    """
    check_limit(limit)
    if name in CARDS or name.startswith(procedural.PREFIX):
        if fields:
            raise UsageError(f"`{name}` has its own format: --field is for local files", "leave --field out")
        if name in CARDS:
            folder = benchmarks.data_folder(data_dir)
            return benchmarks.load(CARDS[name], split, folder=folder, limit=limit, graded=graded)
        return procedural.load(name, limit=limit, seed=seed)
    if local.is_path(name):
        return local.load(name, fields, limit)
    raise _unknown(name)


def _unknown(name: str) -> UsageError:
    close = [card.name for card in cards() if card.hub is not None and card.hub.repo.lower() == name.lower()]
    close = close or difflib.get_close_matches(name.lower().replace("/", "-"), names(), n=3, cutoff=0.5)
    likely = f"did you mean {' or '.join(f'`{other}`' for other in close)}? " if close else ""
    return UsageError(
        f"no problem set or file `{name}`",
        f"{likely}known sets: {', '.join(names())}; or procedural:<task>; or the path of a file",
    )


def find(key: str, *, data_dir: Path | None = None) -> Problem:
    """The problem of a key such as `gsm8k/test/1f2e3d4c5b6a7980`, in the set that the key names.

    Raises:
        UsageError: The key names no known set, or no problem of it.
    """
    key = key.partition("#")[0]  # a response's key names its problem
    name, _, rest = key.partition("/")
    split = rest.partition("/")[0]
    if name in CARDS:
        found = load(name, split=split, data_dir=data_dir, graded=False)
    elif name.startswith(procedural.PREFIX) and split.removeprefix("seed").lstrip("-").isdigit():
        found = load(name, limit=_FIND_AMONG, seed=int(split.removeprefix("seed")))
    else:
        raise UsageError(
            f"no problem `{key}`: the key does not begin with a known set",
            "a key looks like gsm8k/test/<16 hex digits>; for a local file: upwell problems show FILE",
        )
    for problem in found:
        if problem.key == key:
            return problem
    raise UsageError(
        f"no problem `{key}` among the {len(found):,} of `{name}`, split {split}",
        f"upwell problems show {name} shows one; keys stand in a run's problems.jsonl",
    )
