"""The stage that curates: rows of any origin in, training examples and rejects out."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from upwell.curation import ladder, selection, steps
from upwell.curation.cleaning import exact_duplicates
from upwell.curation.examples import PIECES, Maker, counted, template_of
from upwell.curation.files import FileInput
from upwell.curation.inputs import Input, SetInput, gathered, open_input
from upwell.curation.scratch import Spool, remove_folder
from upwell.curation.settings import CurateSettings
from upwell.curation.steps import Step, Tally, passing, tallied
from upwell.errors import UsageError
from upwell.grading import RuleGrader, cache_file
from upwell.measurement.watch import Silent, Watch
from upwell.records import Draft, Record, Reject
from upwell.runs import Run

T = TypeVar("T")
OfAll = Callable[[Spool], Iterator[Draft | Reject]]
"""A step that is given all rows on disk, so that it can look at each before it decides on the first."""

_BATCH = 1024
"""Rows written at once."""
_TABLES = ("examples", "rejects")
_SCRATCH = ".scratch"
NOT_CLEANED = "nothing was decontaminated: there is no --against, so rows that hold benchmark questions stay"


def curate(
    inputs: Sequence[str],
    settings: CurateSettings,
    *,
    also: Sequence[tuple[str, Step]] = (),
    watch: Watch | None = None,
) -> Path:
    """Curate rows into a run with the tables `examples` and `rejects`.

    The run is a function of the inputs, the settings and the seed. One that a kill left unfinished is made anew by the
    same call; one that is finished is left as it is.

    Args:
        inputs: Runs with drafts, graded runs, data files, or problem sets (see `upwell.curation.inputs`).
        settings: Which rows stay, and how they become examples.
        also: Steps of the caller's own with their names, run behind all others that look at one row.
        watch: Told of the progress.

    Raises:
        UsageError: An input is not there or broken, or a setting does not fit what is in it; there is no run then.
        StorageError: The disk does not hold it; there is no summary then.
    """
    watch = watch or Silent()
    sizes = ladder.parse(settings.ladder) if settings.ladder is not None else []
    sources = _opened(inputs, settings)
    template, checkpoint = template_of(settings.prompt, settings.model, watch.say)
    by_model = settings.ladder_by == "tokens" and checkpoint is not None
    entries = [entry for source in sources for entry in source.entries]
    names = {"examples": template.examples, "digest": template.digest, "name": template.name}
    with Run.open(
        settings.out,
        verb="curate",
        settings={"inputs": list(inputs)} | asdict(settings),
        fingerprint={
            "inputs": [{"name": entry["name"], "digest": entry["digest"]} for entry in entries],
            "prompt": f"{template.name}@{template.digest[:12]}",
            "steps": [name for name, _ in also],
        }
        | {name: value for name, value in asdict(settings).items() if name not in _NOT_ROWS},
        inputs=entries,
        identity={"prompt": names | {"source": template.source}}
        | ({} if checkpoint is None else {"model": {"name": checkpoint.name, "digest": checkpoint.digest}}),
    ) as run:
        if run.summary is not None:
            watch.say(f"`{run.path}` is finished already: nothing to do")
            return run.path
        maker = Maker(template, settings.final_answer, settings.calculator)
        with _anew(run) as scratch:
            job = _Job(run, settings, watch, scratch)
            rows = job.survivors(sources, also)
            tokenizer = checkpoint.tokenizer() if by_model else None
            summary = job.write(rows, sizes, maker, tokenizer)
        for line in summary["notes"]:
            watch.say(line)
        run.finish(summary)
    return run.path


_NOT_ROWS = frozenset({"out", "audit", "prompt"})
"""Settings that change no row, or stand in the fingerprint in another form."""


def _opened(inputs: Sequence[str], settings: CurateSettings) -> list[Input]:
    if not inputs:
        raise UsageError("there is no input to curate", "upwell curate RUN_OR_FILE_OR_SET ... --out RUN")
    from upwell.measurement.settings import ProblemSettings

    fields = ProblemSettings(problems="", field=settings.field).fields()
    whole = "ends" in settings.required()
    opened = [open_input(name, fields, settings.limit, whole=whole) for name in inputs]
    if fields and not any(isinstance(one, FileInput) for one in opened):
        raise UsageError("--field does nothing: no input is a file", "leave --field out")
    if settings.limit is not None and not any(isinstance(one, SetInput) for one in opened):
        raise UsageError("--limit does nothing: no input is a problem set", "leave --limit out")
    return opened


@contextlib.contextmanager
def _anew(run: Run) -> Iterator[Path]:
    """Begin a run from nothing, whatever a killed command left in it; with a folder for what need not last.

    Where the input turns out wrong the run is taken away again, so that the command put right can have its place.
    """
    scratch = run.path / _SCRATCH
    for table in _TABLES:
        (run.path / f"{table}.jsonl").unlink(missing_ok=True)
    remove_folder(scratch)
    scratch.mkdir()
    try:
        yield scratch
    except UsageError:
        for left in (*(f"{table}.jsonl" for table in _TABLES), "manifest.json"):
            (run.path / left).unlink(missing_ok=True)
        raise
    finally:
        remove_folder(scratch)


class _Job:
    """The curation of one run."""

    def __init__(self, run: Run, settings: CurateSettings, watch: Watch, scratch: Path) -> None:
        self._run, self._settings, self._watch, self._scratch = run, settings, watch, scratch
        self._rejects: list[Record] = []
        self._tallies: list[Tally] = []
        self._told: dict[str, Any] = {}
        self._notes: list[str] = []

    def survivors(self, sources: Sequence[Input], also: Sequence[tuple[str, Step]]) -> Spool:
        """The rows that pass every step."""
        watch = self._watch
        watch.begin("reading", sum(source.size for source in sources))
        with self._spool("raw") as raw, contextlib.ExitStack() as closing:
            read = self._tallied(steps.READ, gathered(sources, raw, self._watched))
            for name, step in [*self._of_one_row(closing), *also]:
                read = self._tallied(name, step(read))
            rows = self._spool(steps.READ).fill(read)
        watch.end()
        for source in sources:
            self._notes += source.notes
        for name, of_all in self._of_all_rows():
            watch.begin(name, len(rows))
            with rows:
                kept = self._tallied(name, of_all(rows), len(rows))
                rows = self._spool(name).fill(self._watched(kept))
            watch.end()
        return rows

    def _of_one_row(self, closing: contextlib.ExitStack) -> Iterator[tuple[str, Step]]:
        """The steps asked for that need no other row than the one they look at."""
        settings = self._settings
        yield "solution", passing("solution", steps.unsolved)
        if settings.min_words is not None or settings.max_words is not None:
            yield "length", passing("length", steps.length_fault(settings.min_words, settings.max_words))
        if settings.script is not None:
            yield "script", passing("script", steps.foreign(*steps.check_script(settings.script)))
        required = settings.required()
        if "answer" in required:
            yield "answer", passing("answer", steps.unanswered(settings.style))
        for name, fault in steps.FAULTS.items():
            if name in required:
                yield name, passing(name, fault)
        if "agrees" in required:
            grader = closing.enter_context(RuleGrader(settings.style, cache=cache_file()))
            yield "agrees", steps.agreeing(grader, "agrees")

    def _of_all_rows(self) -> Iterator[tuple[str, OfAll]]:
        """The steps asked for that look at all rows before they decide on one."""
        settings, told = self._settings, self._told
        if settings.exact:
            yield "exact duplicates", exact_duplicates()
        if settings.per_problem is not None:
            yield "per problem", selection.per_problem(settings.per_problem, settings.seed)
        for by, most in settings.balances():
            yield f"balance {by}", selection.balanced(by, most, settings.seed, told)
        if weights := settings.weights():
            yield "mix", selection.mixed(weights, settings.seed, told)
        if (power := settings.power()) is not None:
            yield "resample", selection.resampled(power, settings.resample_rows, settings.seed, told)

    def write(self, rows: Spool, sizes: list[ladder.Size], maker: Maker, tokenizer: Any) -> dict[str, Any]:
        """Write the examples, in the order of the ladder where there is one, and say what there is."""
        watch, settings = self._watch, self._settings
        watch.begin("counting tokens", len(rows))
        texts = (maker.solution(draft) for draft in rows)
        tokens = np.fromiter(counted(texts, tokenizer, watch.advance), np.int64, len(rows))
        watch.end()
        order = ladder.order(rows, settings.seed) if sizes else np.arange(len(rows))
        in_order = tokens[order]
        steps_up = ladder.rungs(sizes, in_order if settings.ladder_by == "tokens" else None, len(rows))
        lengths = [length for _, length in steps_up if length is not None]
        counts: dict[str, Counter[str]] = {
            name: Counter() for name in ("source", "level", "subject", "method", "teacher")
        }
        watch.begin("writing examples", len(rows))
        batch: list[Record] = []
        for at, draft in enumerate(rows.taken(order.tolist())):
            rung = bisect_right(lengths, at) + 1
            batch.append(maker.example(draft, rung if rung <= len(lengths) else None))
            for name, counter in counts.items():
                counter[getattr(draft, name) or ""] += 1
            if len(batch) >= _BATCH:
                self._run.append("examples", batch)
                watch.advance(len(batch))
                batch = []
        self._run.append("examples", batch)
        watch.advance(len(batch))
        watch.end()
        rows.discard()
        self._flush()
        ends = np.cumsum(in_order)
        rungs = [
            {
                "rung": number,
                "wanted": wanted,
                "rows": length,
                "tokens": None if length is None else int(ends[length - 1]),
            }
            for number, (wanted, length) in enumerate(steps_up, 1)
        ]
        return self._summary(len(rows), int(tokens.sum()), rungs, tokenizer is not None, counts)

    def _summary(
        self,
        rows: int,
        tokens: int,
        rungs: list[dict[str, Any]],
        by_model: bool,
        counts: Mapping[str, Counter[str]],
    ) -> dict[str, Any]:
        short = [rung for rung in rungs if rung["rows"] is None]
        by = self._settings.ladder_by
        if short:
            left = rows if by == "rows" else tokens
            self._notes.append(
                f"{len(short)} of {len(rungs)} rungs are missing: {short[0]['wanted']:,} {by} asked for, {left:,} left"
            )
        if not rows:
            self._notes.append(
                "no row is left: see the steps in summary.json and the reasons in rejects.jsonl"
            )
        if not self._settings.against:
            self._notes.append(NOT_CLEANED)
        rejected = sum(sum(tally.rejected.values()) for tally in self._tallies)
        return {
            "counts": {"examples": rows, "rejected": rejected, "failed": len(short)},
            "steps": [tally.plain() for tally in self._tallies],
            "tokens": {"completion": tokens, "by": self._settings.model if by_model else PIECES},
            "ladder": {"by": by, "rungs": [rung for rung in rungs if rung["rows"] is not None]}
            if rungs
            else None,
            **{f"{name}s": _most(counter) for name, counter in counts.items()},
            **self._told,
            "notes": self._notes,
        }

    def _tallied(
        self, name: str, rows: Iterable[Draft | Reject], taken: int | None = None
    ) -> Iterator[Draft]:
        """What of the rows a step lets through; the rest is written as rejects."""
        tally = Tally(name, taken)
        self._tallies.append(tally)
        return tallied(rows, tally, self._reject)

    def _reject(self, reject: Reject) -> None:
        self._rejects.append(reject)
        if len(self._rejects) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        self._run.append("rejects", self._rejects)
        self._rejects = []

    def _watched(self, rows: Iterable[T]) -> Iterator[T]:
        owed = 0
        for row in rows:
            yield row
            owed += 1
            if owed == _BATCH:
                self._watch.advance(owed)
                owed = 0
        self._watch.advance(owed)

    def _spool(self, name: str) -> Spool:
        return Spool(self._scratch / f"{name.replace(' ', '-')}.jsonl")


def _most(counter: Counter[str], most: int = 50) -> dict[str, int]:
    """The commonest, and the others together: there can be as many subjects as rows."""
    named = dict(counter.most_common(most))
    rest = sum(counter.values()) - sum(named.values())
    return named | ({"(others)": rest} if rest else {})
