"""What `curate` reads, as drafts: runs with drafts, graded runs, problem sets, and files of any origin."""

from __future__ import annotations

import os
import shlex
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec
import numpy as np

from upwell import problems
from upwell.curation.files import FileInput
from upwell.curation.scratch import Index, Spool, digest64
from upwell.curation.selection import uncopied
from upwell.curation.steps import READ, rejected
from upwell.errors import UsageError
from upwell.records import Draft, Problem, Reject, Response, Verdict
from upwell.runs import Run

_HINT = "give a run directory, a data file, a set with its split such as gsm8k/train, or procedural:TASK"


class Input(Protocol):
    """Something with rows."""

    entries: list[dict[str, Any]]
    """What the manifest says of it: name and digest of each file or table that is read."""
    size: int
    """About how many rows it has, for the progress."""
    notes: list[str]
    """What a reader of the result should know of it, complete once it was read."""

    def rows(self) -> Iterator[Draft | Reject]:
        """Its rows in order.

        Raises:
            UsageError: A line is broken.
        """


def open_input(
    name: str,
    fields: Mapping[str, str],
    limit: int | None,
    *,
    whole: bool,
    say: Callable[[str], None] = lambda line: None,
) -> Input:
    """What an INPUT means.

    Args:
        name: A run directory, a data file, `SET/SPLIT`, or `procedural:TASK`.
        fields: For a file: which column holds what.
        limit: For a problem set: this many problems.
        whole: Whether responses that were cut at the token limit are turned down.
        say: Told what takes long.

    Raises:
        UsageError: There is no such thing, or it has no rows.
    """
    set_name, _, split = name.partition("/")
    if name.startswith("procedural:"):
        say(f"making problems of {name}")
        return SetInput(name, limit)
    if split and set_name in problems.names():
        return SetInput(name, limit)
    if os.path.isdir(name):
        return _open_run(name, whole)
    if os.path.isfile(name):
        return FileInput(Path(name), fields)
    if name in problems.names():
        raise UsageError(f"`{name}` has several splits: which one?", f"{name}/train")
    raise UsageError(f"no run, file or problem set `{name}`", _HINT)


def _open_run(name: str, whole: bool) -> Input:
    run = Run.read(name)
    if run.exists("drafts"):
        return DraftInput(run)
    if run.exists("responses") and run.exists("verdicts"):
        return GradedInput(run, whole)
    if run.exists("responses"):
        shown = shlex.quote(name)
        raise UsageError(f"the responses of the run `{name}` are not graded", f"upwell grade {shown}")
    raise UsageError(
        f"the run `{name}` has neither drafts nor graded responses: it was made by `upwell {run.manifest['verb']}`",
        "give a run of upwell synthesize, measure or grade",
    )


def gathered(
    inputs: Iterable[Input],
    raw: Spool,
    watched: Callable[[Iterable[Draft | Reject]], Iterator[Draft | Reject]],
) -> Iterator[Draft | Reject]:
    """The rows of all inputs, each under a key of its own.

    Where rows with one key differ, each gets a digest of its content behind its key; of rows that are the same in key
    and content the first stays.

    Args:
        inputs: What is read.
        raw: Where the rows are kept until all keys are known.
        watched: Counts what goes through it.
    """
    for source in inputs:
        for row in watched(source.rows()):
            if isinstance(row, Reject):
                yield row
            else:
                raw.add(row)
    raw.flush()
    clashing, differing = _clashes(raw)
    seen: set[tuple[int, int]] = set()
    for draft in raw:
        key = digest64(draft.key)
        if key in clashing:
            content = content_of(draft)
            if (key, content) in seen:
                yield rejected(draft, READ, "the same row again")
                continue
            seen.add((key, content))
        if key in differing or uncopied(draft.key) != draft.key:
            draft = msgspec.structs.replace(draft, key=f"{draft.key}~{content_of(draft):016x}")
        yield draft


def content_of(draft: Draft) -> int:
    """What tells rows of one key apart."""
    return digest64(draft.question, draft.solution, draft.answer)


def _clashes(rows: Spool) -> tuple[set[int], set[int]]:
    """Digests of the keys that several rows have, and of those of which the rows differ."""
    keys, contents = rows.column(lambda draft: digest64(draft.key)), rows.column(content_of)
    order = np.lexsort((contents, keys))
    keys, contents = keys[order], contents[order]
    same = keys[1:] == keys[:-1]
    differ = same & (contents[1:] != contents[:-1])
    return set(keys[1:][same].tolist()), set(keys[1:][differ].tolist())


def _unfinished(run: Run) -> list[str]:
    if run.summary is not None:
        return []
    return [f"the run `{run.path}` is not finished: these are the rows that it has so far"]


class DraftInput:
    """The drafts of a run of `synthesize`."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.entries = [run.reference("drafts")]
        self.size = run.count("drafts")
        self.notes = _unfinished(run)

    def rows(self) -> Iterator[Draft | Reject]:
        """Every draft as it is."""
        return self._run.rows("drafts", Draft)


class _Held(msgspec.Struct, frozen=True):
    """Where a problem stands in the table."""

    key: str


class GradedInput:
    """The correct responses of a graded run.

    Of problems, responses and verdicts only digests and counts are in memory.
    """

    def __init__(self, run: Run, whole: bool) -> None:
        self._run, self._whole = run, whole
        self.entries = [run.reference(table) for table in ("problems", "responses", "verdicts")]
        self.size = run.count("responses")
        self.notes = _unfinished(run)

    def rows(self) -> Iterator[Draft | Reject]:
        """A draft of each correct response; of the others a reject without the text, which stands in the run."""
        run = self._run
        asked = Index((held.key, at) for at, held in enumerate(run.rows("problems", _Held)))
        found = Index(
            (verdict.key, -1 if verdict.correct is None else int(verdict.correct))
            for verdict in run.rows("verdicts", Verdict)
        )
        total, wrong = self._counts(asked, found)
        manifest = run.manifest
        teacher = str(manifest.get("engine") or manifest.get("model", {}).get("name", ""))
        prompt = str(manifest.get("prompt", {}).get("digest", ""))[:12]
        with _Problems(run.path / "problems.jsonl") as held:
            for response in run.rows("responses", Response):
                at = asked.get(response.problem)
                fault = self._fault(response, found.get(response.key), at)
                if fault is not None or at is None:
                    yield Reject(key=response.key, step=READ, reason=fault or "no problem")
                else:
                    fail_rate = float(wrong[at] / max(1, total[at]))
                    yield _sampled(response, held.at(at), teacher, prompt, fail_rate)

    def _fault(self, response: Response, verdict: int | None, at: int | None) -> str | None:
        if at is None:
            return "no problem: its row is not in the run"
        if verdict != 1:
            return {None: "not graded", 0: "wrong answer", -1: "could not tell"}[verdict]
        return "cut off: at the token limit" if self._whole and response.finish == "length" else None

    def _counts(self, asked: Index, found: Index) -> tuple[Any, Any]:
        """Graded and wrong responses of each problem."""
        rows = self._run.count("problems")
        total, wrong = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        for response in self._run.rows("responses", _Drawn):
            at, verdict = asked.get(response.problem), found.get(response.key)
            if at is not None and verdict is not None:
                total[at] += 1
                wrong[at] += verdict != 1
        return total, wrong


class _Drawn(msgspec.Struct, frozen=True):
    """What counting needs of a response."""

    key: str
    problem: str


class _Problems:
    """The problems of a table by position; neighbouring responses ask for the same one."""

    def __init__(self, path: Path) -> None:
        self._starts = array("Q", [0])
        self._last: tuple[int, Problem] | None = None
        self._file = path.open("rb")
        for line in self._file:
            self._starts.append(self._starts[-1] + len(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def at(self, position: int) -> Problem:
        if self._last is None or self._last[0] != position:
            self._file.seek(self._starts[position])
            size = self._starts[position + 1] - self._starts[position]
            self._last = position, msgspec.json.decode(self._file.read(size), type=Problem)
        return self._last[1]


def _sampled(response: Response, problem: Problem, teacher: str, prompt: str, fail_rate: float) -> Draft:
    return Draft(
        key=response.key,
        method="rejection",
        question=problem.question,
        answer=problem.answer,
        solution=response.text,
        parents=(problem.key,),
        source=problem.source,
        split=problem.split,
        level=problem.level,
        subject=problem.subject,
        teacher=teacher,
        prompt=prompt,
        prompt_tokens=response.prompt_tokens or 0,
        completion_tokens=response.tokens or 0,
        usd=response.usd,
        fail_rate=fail_rate,
    )


class SetInput:
    """The worked solutions of a problem set."""

    def __init__(self, name: str, limit: int | None) -> None:
        procedural = name.startswith("procedural:")
        split = "" if procedural else name.partition("/")[2]
        loaded = problems.load(name if procedural else name.partition("/")[0], split=split, limit=limit)
        self._set = loaded
        self.entries = [{"name": name, "digest": loaded.digest, "rows": len(loaded)}]
        self.size = len(loaded)
        self.notes = [f"{name}: {note}" for note in loaded.notes]

    def rows(self) -> Iterator[Draft | Reject]:
        """A draft of each problem, and a reject of each row of its files that is no problem."""
        loaded = self._set
        for problem in loaded:
            yield Draft(
                key=problem.key,
                method="set",
                question=problem.question,
                answer=problem.answer,
                solution=problem.solution or "",
                parents=problem.parents,
                source=problem.source,
                split=problem.split,
                level=problem.level,
                subject=problem.subject,
            )
        for fault in loaded.faults:
            if fault.row:
                yield Reject(
                    key=f"{fault.file}:{fault.row}", step=READ, reason=f"{fault.kind}: {fault.detail}"
                )
