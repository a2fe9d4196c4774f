"""The stage that evaluates: every model on every set of a suite, each in a run of its own, and one table of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from upwell import problems
from upwell.engines.base import Engine
from upwell.engines.settings import EngineSettings
from upwell.errors import UsageError
from upwell.evaluation.contestants import Contestant, contestants, settings_for
from upwell.evaluation.making import made
from upwell.evaluation.rows import Row, average_of, comparisons, robustness, row_of
from upwell.evaluation.settings import EvaluateSettings
from upwell.evaluation.suites import Suite, SuiteSet, suite_named, with_originals
from upwell.grading.style import style_named
from upwell.measurement.grading import grade
from upwell.measurement.judging import TABLE
from upwell.measurement.settings import (
    GradeSettings,
    Grading,
    JudgeSettings,
    MeasureSettings,
    SampleSettings,
)
from upwell.measurement.spending import spending_of
from upwell.measurement.stages import measure, sample
from upwell.measurement.watch import Silent, Watch
from upwell.runs import Run

_RUNS = "models"


def evaluate(
    models: Sequence[str],
    settings: EvaluateSettings,
    *,
    engines: Mapping[str, Engine] | None = None,
    judge: Engine | None = None,
    watch: Watch | None = None,
) -> Path:
    """Evaluate models on a suite.

    Args:
        models: As `--model` takes them; `LABEL=MODEL` names one in tables and folders.
        settings: Which suite, and how.
        engines: By model as named (without label), where its responses come from; by default that model.
        judge: What answers for the model that `settings.judge` names.
        watch: Told of the progress.

    Returns:
        The run directory: `summary.json` holds the table, `models/LABEL/SET/` the runs behind it.

    Raises:
        UsageError: Models, suite, settings or run directory are wrong, or none of the sets is on this machine.
        StorageError: A run cannot be written; what was written stays.
        EngineError, BudgetSpent: A model cannot be asked any more; the same command goes on from there.
    """
    watch = _Once(watch or Silent())
    suite = suite_named(settings.suite)
    settings.check_judged()
    for style in (settings.style, *settings.others()):
        style_named(style)
    there, skipped = _available(_chosen(suite, settings), settings)
    with ExitStack() as stack:
        entered = contestants(models, settings, engines or {}, watch.say)
        for contestant in entered:
            stack.callback(contestant.close)
        run = stack.enter_context(
            Run.open(
                settings.out,
                verb="evaluate",
                settings={"models": list(models)} | asdict(settings),
                fingerprint={"suite": suite.name, "seed": settings.seed},
                amounts={"samples": settings.samples, "limit": settings.limit},
                identity={"models": [contestant.entry() for contestant in entered]},
            )
        )
        run.unfinish()  # what it says is of fewer problems or samples than there will be
        job = _Evaluation(run, settings, watch, judge)
        there, unproven = job.prepare(there)
        skipped += unproven
        for skip in skipped:
            watch.say(f"skipped: {skip['set']}: {skip['reason']}")
        for contestant in entered:
            for number, entry in enumerate(there, 1):
                watch.say(f"{contestant.label} on {entry.name} ({number} of {len(there)})")
                job.measure(contestant, entry)
            contestant.close()
        run.finish(job.summary(suite, entered, skipped))
    return Path(settings.out)


def _chosen(suite: Suite, settings: EvaluateSettings) -> list[SuiteSet]:
    """The sets that are asked for.

    Raises:
        UsageError: One is named that the suite does not have.
    """
    added = [entry for problems in settings.perturb for entry in with_originals(problems)]
    if not settings.sets:
        return [
            *suite.sets,
            *(entry for entry in added if entry.name not in {one.name for one in suite.sets}),
        ]
    by_name = {entry.name: entry for entry in suite.sets}
    wanted = [name for given in settings.sets for name in given.split(",") if name]
    for name in wanted:
        if name not in by_name:
            raise UsageError(
                f"suite `{suite.name}` has no set `{name}`", f"--sets {' or --sets '.join(by_name)}"
            )
    return [
        *(by_name[name] for name in dict.fromkeys(wanted)),
        *(one for one in added if one.name not in wanted),
    ]


def _available(
    entries: Sequence[SuiteSet], settings: EvaluateSettings
) -> tuple[list[SuiteSet], list[dict[str, Any]]]:
    """The sets that are on this machine and can be graded, and why the others are not.

    Raises:
        UsageError: There is none.
    """
    there: list[SuiteSet] = []
    skipped: list[dict[str, Any]] = []
    for entry in entries:
        try:
            if entry.judged and settings.judge is None:
                raise UsageError(
                    "it has no reference answers: only a judging model can grade it", "--judge MODEL"
                )
            limit = 1 if entry.made == "fresh" else None
            problems.load(entry.problems, split=entry.split, limit=limit, graded=not entry.judged)
        except UsageError as error:
            skipped.append(_skip(entry, error))
        else:
            there.append(entry)
    _check_any(there, skipped, settings)
    return there, skipped


def _skip(entry: SuiteSet, error: UsageError) -> dict[str, Any]:
    return {"set": entry.name, "reason": error.message.splitlines()[0], "hint": error.hint}


def _check_any(
    there: Sequence[SuiteSet], skipped: Sequence[dict[str, Any]], settings: EvaluateSettings
) -> None:
    if not there:
        first = skipped[0]
        raise UsageError(
            f"no set of suite `{settings.suite}` can be evaluated here; {first['set']}: {first['reason']}",
            first["hint"],
        )


class _Once:
    """A watch that is told the same thing several times, for many sets and models, and passes it on once."""

    def __init__(self, watch: Watch) -> None:
        self._said: set[str] = set()
        self.begin, self.advance, self.end = watch.begin, watch.advance, watch.end
        self._say = watch.say

    def say(self, line: str) -> None:
        """Pass a line on, if it is new."""
        if line not in self._said:
            self._said.add(line)
            self._say(line)


class _Evaluation:
    """One session of an evaluation, and the rows that it has so far."""

    def __init__(self, run: Run, settings: EvaluateSettings, watch: Watch, judge: Engine | None) -> None:
        self._run, self._settings, self._watch, self._judge = run, settings, watch, judge
        self._rows: list[Row] = []
        self._made: dict[str, tuple[Path, list[str]]] = {}

    def prepare(self, entries: Sequence[SuiteSet]) -> tuple[list[SuiteSet], list[dict[str, Any]]]:
        """Make the files of the sets that are made here. Returns the sets that can be asked, and why others cannot.

        Raises:
            UsageError: None can.
        """
        there, skipped = [], []
        for entry in entries:
            try:
                if entry.made:
                    settings = self._settings
                    self._made[entry.name] = made(
                        entry, self._run.path, settings.seed, settings.limit, self._watch
                    )
            except UsageError as error:
                skipped.append(_skip(entry, error))
            else:
                there.append(entry)
        _check_any(there, skipped, self._settings)
        return there, skipped

    def measure(self, contestant: Contestant, entry: SuiteSet) -> None:
        """Bring the runs of a model on a set to their end, and add the row."""
        folder = self._run.path / _RUNS / contestant.label / entry.name
        asked, notes = self._asked(entry)
        runs = {"greedy": folder / "greedy"}
        if entry.judged:
            runs["judged"] = folder / "judged"
            self._examine(contestant, asked, runs)
        else:
            greedy = {"samples": 1, "temperature": 0.0}
            self._measure(contestant, asked, entry.styles, runs["greedy"], greedy)
            if self._settings.samples:
                runs["sampled"] = folder / "sampled"
                drawn = {
                    name: getattr(self._settings, name)
                    for name in ("samples", "temperature", "top_p", "extrapolate")
                }
                self._measure(contestant, asked, entry.styles, runs["sampled"], drawn)
        benchmark = "" if entry.made else entry.problems
        row = row_of(
            contestant.entry() | {"name": contestant.name}, entry.name, benchmark, runs, self._run.path
        )
        row["notes"] = [*notes, *row["notes"]]
        self._rows.append(row | {"why": entry.why})

    def summary(
        self, suite: Suite, entered: Sequence[Contestant], skipped: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The content of `summary.json`."""
        rows, out = self._rows, self._run.path
        averages = [average_of(one.entry() | {"name": one.name}, suite.name, rows) for one in entered]
        return {
            "suite": suite.name,
            "title": suite.title,
            "samples": self._settings.samples,
            "models": [contestant.entry() for contestant in entered],
            "rows": rows,
            "averages": [row for row in averages if row is not None],
            "skipped": list(skipped),
            "comparisons": comparisons(rows, out, self._watch),
            "robustness": robustness(rows, out),
            "metrics": [],  # of its runs, each in its own summary
            "counts": {
                "sets": len({row["set"] for row in rows}),
                "failed": sum(row["failed"] for row in rows),
            },
        }

    def _asked(self, entry: SuiteSet) -> tuple[dict[str, Any], list[str]]:
        """How the stages below are told which problems, and what to know about them."""
        if entry.name in self._made:
            path, notes = self._made[entry.name]
            return {"problems": str(path)}, notes
        return {"problems": entry.problems, "split": entry.split, "limit": self._settings.limit}, []

    def _measure(
        self,
        contestant: Contestant,
        asked: Mapping[str, Any],
        styles: Sequence[str],
        out: Path,
        drawn: Mapping[str, Any],
    ) -> None:
        grading = {field.name: getattr(self._settings, field.name) for field in fields(Grading)}
        grading |= {"also": (*styles, *self._settings.also), "extrapolate": ()}
        told = grading | self._sampling(contestant, asked, out) | dict(drawn)
        measure(MeasureSettings(**told), engine=contestant.engine, model=contestant.model, watch=self._watch)

    def _examine(self, contestant: Contestant, asked: Mapping[str, Any], runs: Mapping[str, Path]) -> None:
        """Have one greedy answer to each question, and have the judge look at them."""
        told = self._sampling(contestant, asked, runs["greedy"]) | {"samples": 1, "temperature": 0.0}
        sample(SampleSettings(**told), engine=contestant.engine, model=contestant.model, watch=self._watch)
        settings = self._settings
        assert settings.judge is not None
        own = {field.name: getattr(settings, field.name) for field in fields(JudgeSettings)}
        own |= {field.name: field.default for field in fields(EngineSettings)}
        own |= settings_for(settings.judge, settings) | self._caps(runs["judged"]) | {"logprobs": False}
        own |= {name: getattr(settings, name) for name in ("style", "workers", "timeout", "cache")}
        grade(
            str(runs["greedy"]),
            GradeSettings(**own, out=str(runs["judged"])),
            watch=self._watch,
            judge=self._judge,
        )

    def _sampling(self, contestant: Contestant, asked: Mapping[str, Any], out: Path) -> dict[str, Any]:
        settings = self._settings
        return {
            **contestant.engine_settings, **self._caps(out), **asked, "out": str(out), "model": contestant.name,
            "prompt": contestant.prompt, "stop": contestant.stop, "max_tokens": settings.max_tokens,
            "seed": settings.seed,
        }  # fmt: skip

    def _caps(self, own: Path) -> dict[str, Any]:
        """What the caps of the evaluation leave to one of its runs, the others having taken what they have."""
        settings = self._settings
        if settings.max_usd is None and settings.max_total_tokens is None:
            return {}
        usd, tokens = 0.0, 0
        for path in (self._run.path / _RUNS).glob("*/*/*"):
            if path != own and (path / "manifest.json").exists():
                spent = spending_of(Run.read(path), TABLE if path.name == "judged" else "responses")
                usd += spent["usd"] or 0.0
                tokens += spent["prompt_tokens"] + spent["completion_tokens"]
        left: dict[str, Any] = {}
        # Never 0: a run that owes nothing needs nothing, and one that does says itself that the cap is reached.
        if settings.max_usd is not None:
            left["max_usd"] = max(settings.max_usd - usd, 1e-9)
        if settings.max_total_tokens is not None:
            left["max_total_tokens"] = max(settings.max_total_tokens - tokens, 1)
        return left
