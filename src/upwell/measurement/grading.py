"""The stage that grades: a run's responses anew, or another program's output file."""

from __future__ import annotations

import os
import shlex
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from upwell import problems
from upwell.engines.base import Engine
from upwell.errors import UsageError
from upwell.grading import RuleGrader, cache_file, soundness
from upwell.grading.style import style_named
from upwell.measurement import judging
from upwell.measurement.agreement import agreement
from upwell.measurement.clock import Clock
from upwell.measurement.dumps import Dump
from upwell.measurement.judging import Panel, Panels
from upwell.measurement.scores import marked, names_model, scored, scores_in
from upwell.measurement.settings import GradeSettings, Grading
from upwell.measurement.spending import spending_of
from upwell.measurement.summary import summary_of
from upwell.measurement.watch import Silent, Watch
from upwell.records import Problem, Reject, Response, Verdict
from upwell.runs import Run, digest_file

_BATCH = 256
"""Rows written at once."""
Settle = Callable[[Problem, str, Verdict], Verdict]
FILE_STYLE = "file"
"""Name under which a dump's own verdicts stand beside the styles."""
_UNJUDGED = "{votes:,} judgements failed: their responses are missing from every number, see failures.jsonl"
_UNFINISHED = (
    "the run `{path}` is not finished: these numbers are over the {rows:,} responses that it has so far"
)


def grade(
    path: str,
    settings: GradeSettings,
    *,
    watch: Watch | None = None,
    judge: Engine | None = None,
    verifier: Engine | None = None,
) -> Path:
    """Grade responses into a run directory of their own; what they were read from stays as it is.

    Args:
        path: Run directory with responses (it may still be being written: what is there now is graded), or
            another program's output file (see `upwell.measurement.dumps`).
        settings: How to grade, and where the verdicts go.
        watch: Told of the progress.
        judge: What answers for the model that `settings.judge` names; by default that model.
        verifier: What answers for the model that `settings.score` names.

    Raises:
        UsageError: There is no such run or file, it holds no responses, or a line of it is broken.
        StorageError: The verdicts cannot be written; what was written stays.
        EngineError, BudgetSpent: A judge cannot be asked any more; the run is resumable.
    """
    watch = watch or Silent()
    model = settings.score if names_model(settings.score) else None
    settings.check_asked(judged=settings.judge is not None, scored=model is not None)
    for style in settings.others():
        style_named(style)
    if not os.path.exists(path):
        raise UsageError(
            f"no run and no file at `{path}`", "give a run directory, or the output file of another program"
        )
    panels = Panels(
        judge=None if settings.judge is None else Panel("judge", settings.judge, settings, watch, judge),
        verifier=None if model is None else Panel("score", model, settings, watch, verifier),
    )
    if os.path.isfile(path):
        return _grade_dump(path, settings, watch, panels)
    idle = [name for name in ("field", "problems") if getattr(settings, name)]
    if idle:
        raise UsageError(
            f"--{idle[0]} does nothing for the run `{path}`: it is for files of other programs",
            f"leave --{idle[0]} out",
        )
    return _grade_run(path, settings, watch, panels)


def grader_of(settings: Grading, style: str | None = None) -> RuleGrader:
    """The grader of the settings, in another style if asked."""
    return RuleGrader(
        style or settings.style,
        workers=settings.workers,
        timeout=settings.timeout,
        cache=cache_file() if settings.cache else None,
    )


def _grade_run(path: str, settings: GradeSettings, watch: Watch, panels: Panels) -> Path:
    source = Run.read(path)
    if not source.count("responses"):
        raise UsageError(
            f"the run `{path}` holds no responses", f"sample first: upwell sample ... --out {path}"
        )
    if panels.judge is None and not any(gold.answer.strip() for gold in source.rows("problems", _Gold)):
        raise UsageError(
            f"the problems of `{path}` have no reference answers, so rules cannot grade it",
            f"upwell grade {shlex.quote(path)} --judge MODEL",
        )
    out = settings.out or f"{path.rstrip('/')}-{settings.style}{panels.suffix}"
    inputs = [source.reference("responses"), source.reference("problems")]
    carried = {
        name: source.manifest[name] for name in ("model", "engine", "prompt") if name in source.manifest
    }
    scores = scores_in(settings.score)
    with (
        grader_of(settings) as grader,
        Run.open(
            out,
            verb="grade",
            settings={"run": path} | asdict(settings),
            fingerprint={
                "problems": source.manifest["fingerprint"].get("problems"),
                "run": inputs[0]["digest"],
                "grader": grader.identity,
            }
            | ({} if scores is None else {"score": digest_file(Path(str(settings.score)))})
            | panels.fingerprint(),
            inputs=inputs,
            identity=carried | {"grader": grader.identity} | panels.entry(),
        ) as run,
    ):
        unscored = 0
        with _begun(run):
            _copy_missing(source, run, "problems", Problem)
            if panels.verifier is None:
                _copy_missing(source, run, "responses", Response, lambda row: scored(row, scores))
        if panels.verifier is not None:
            marks, unscored = judging.score(source, run, panels.verifier)
            _copy_missing(source, run, "responses", Response, lambda row: marked(row, marks))
        before = source.summary
        failed = before["counts"].get("failed", 0) if before is not None else 0
        notes = (
            before["notes"] if before is not None else [_UNFINISHED.format(path=path, rows=inputs[0]["rows"])]
        )
        job = _Job(run, grader, settings, watch, panels)
        job.finish(notes, failed, unscored)
    return Path(out)


def _grade_dump(path: str, settings: GradeSettings, watch: Watch, panels: Panels) -> Path:
    if panels.verifier is not None:
        raise UsageError(
            "--score MODEL is for runs",
            f"upwell grade {path} ... --out RUN, then: upwell grade RUN --score {settings.score}",
        )
    if settings.score is not None and settings.score != "logprob":
        raise UsageError(
            "--score FILE is for runs; a line of a dump holds its own scores", "--field reward=FIELD"
        )
    golds = None
    if settings.problems is not None:
        golds = problems.load(settings.problems, split=settings.split, graded=panels.judge is None)
    dump = Dump(Path(path), settings.fields(), golds, judged=panels.judge is not None)
    if dump.format is not None:
        reads = ", ".join(f"{name}={at}" for name, at in dump.fields.items() if at != name)
        watch.say(f"read as {dump.format.name}: {reads}")
    out = settings.out or f"{Path(path).with_suffix('')}-{settings.style}{panels.suffix}"
    digest = digest_file(Path(path))
    with (
        grader_of(settings) as grader,
        Run.open(
            out,
            verb="grade",
            settings={"run": path} | asdict(settings),
            fingerprint={
                "file": digest,
                "fields": dict(dump.fields),
                "golds": None if golds is None else golds.digest,
                "grader": grader.identity,
            }
            | panels.fingerprint(),
            inputs=[
                {"name": path, "digest": digest},
                *([] if golds is None else [{"name": golds.name, "digest": golds.digest}]),
            ],
            identity={"model": {"name": Path(path).name}, "grader": grader.identity} | panels.entry(),
        ) as run,
    ):
        with _begun(run):
            _import(dump, run, watch)
        _Job(run, grader, settings, watch, panels).finish(dump.notes, 0)
    return Path(out)


class _Job(NamedTuple):
    """The grading of one run."""

    run: Run
    grader: RuleGrader
    settings: GradeSettings
    watch: Watch
    panels: Panels

    def finish(self, notes: list[str], failed: int, unscored: int = 0) -> None:
        """Grade what is owed in every style asked for, have judged what the rules cannot decide, and summarise.

        Args:
            notes: What a reader should know of the responses.
            failed: Draws that are owed.
            unscored: Votes of the verifier that are owed.
        """
        run, grader, settings, watch, (judge, verifier) = self
        told: dict[str, Any] = {}
        owed = unscored
        if judge is None:
            grade_owed(run, grader, watch)
        else:
            grade_owed(run, grader, watch, judging.RULES, settle=judging.settled)
            told["judge"], unjudged = judging.judge(run, judge, settings.judge_audit)
            owed += unjudged
        for style in settings.others():
            with grader_of(settings, style) as other:
                grade_owed(run, other, watch, f"verdicts-{style}")
        if verifier is not None:
            told["score"] = judging.scored(run, verifier, unscored)
        if owed:
            notes = [*notes, _UNJUDGED.format(votes=owed)]
        summary = summary_of(run, grader, settings, watch, notes, failed + owed) | told
        if told:
            summary["spending"] = spending_of(run, judging.TABLE)
        if judge is not None:
            judging.told_apart(summary)
        others = settings.others() + [FILE_STYLE] * run.exists(f"verdicts-{FILE_STYLE}")
        if others:
            first = settings.style if judge is None else f"{settings.style} and judge"
            summary["agreement"] = agreement(run, first, others, watch)
        run.finish(summary)


def grade_owed(
    run: Run, grader: RuleGrader, watch: Watch, table: str = "verdicts", settle: Settle | None = None
) -> None:
    """Grade the responses of the run that have no verdict in the table yet.

    Where they are to be the run's verdicts, the right ones are also checked for sound arithmetic.

    Args:
        run: Holds problems and responses, and gets the verdicts.
        grader: Finds them.
        watch: Told of the progress.
        table: Where they go.
        settle: What is made of a verdict before it is written, given the problem (without its question) and the text.

    Raises:
        UsageError: There is a verdict on a response that is not there: by editing, or from another run.
    """
    responses, done = run.keys("responses"), run.keys(table)
    if stray := done - responses:
        path = run.path / f"{table}.jsonl"
        raise UsageError(
            f"`{path}` has a verdict on `{min(stray)}`, but there is no such response",
            f"rm {shlex.quote(str(path))}  # and run the same command again: responses are graded anew",
        )
    total = len(responses)
    del responses  # a million keys, not needed while grading
    if total == len(done):
        return
    by_key = _golds(run, questions=style_named(grader.style).mode is not None)
    main = table in ("verdicts", judging.RULES)
    watch.begin("grading" if main else f"grading as {grader.style}", total, len(done))
    clock = Clock(run, "grading")
    texts: deque[tuple[Problem, str, bool]] = deque()
    batch: list[Verdict] = []
    for verdict in grader.grade(_owed(run, by_key, done, texts)):
        problem, text, bare = texts.popleft()
        if settle is not None:
            verdict = settle(problem, text, verdict)
        if verdict.correct and main:
            verdict = msgspec.structs.replace(verdict, sound="none" if bare else soundness(text))
        batch.append(verdict)
        if len(batch) >= _BATCH:
            run.append(table, batch)
            watch.advance(len(batch))
            clock.tick()
            batch = []
    run.append(table, batch)
    watch.advance(len(batch))
    clock.stop()
    watch.end()


class _Gold(msgspec.Struct, frozen=True):
    """What grading needs of a problem: of a million, the texts need not be in memory."""

    key: str
    answer: str
    source: str = ""
    tolerance: float | None = None


class _Asked(_Gold, frozen=True):
    """What a style needs whose comparison depends on what was asked."""

    question: str = ""


def _golds(run: Run, *, questions: bool) -> dict[str, Problem]:
    return {
        gold.key: Problem(
            key=gold.key,
            question=getattr(gold, "question", ""),
            answer=gold.answer,
            source=gold.source,
            tolerance=gold.tolerance,
        )
        for gold in run.rows("problems", _Asked if questions else _Gold)
    }


def _owed(
    run: Run, by_key: dict[str, Problem], done: set[str], texts: deque[tuple[Problem, str, bool]]
) -> Iterator[tuple[Problem, Response]]:
    for response in run.rows("responses", Response):
        if response.key not in done:
            problem = by_key[response.problem]
            texts.append((problem, response.text, response.bare))
            yield problem, response


@contextmanager
def _begun(run: Run) -> Iterator[None]:
    """Takes a run away again that a wrong input ended before it had a verdict or a vote: its directory is then free
    for the command put right, and all that it held is a copy."""
    try:
        yield
    except UsageError:
        if not any(run.exists(table) for table in ("verdicts", judging.RULES, judging.TABLE)):
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def _import(dump: Dump, run: Run, watch: Watch) -> None:
    """Put the dump's samples into the run's tables, except those that are there."""
    have, known = run.keys("responses"), run.keys("problems")
    given = run.keys(f"verdicts-{FILE_STYLE}")
    responses: list[Response] = []
    asked: list[Problem] = []
    verdicts: list[Verdict] = []
    resuming = bool(have or known or given)
    last = ""

    def flush() -> None:
        run.append("problems", asked)
        run.append(f"verdicts-{FILE_STYLE}", verdicts)
        run.append("responses", responses)
        watch.advance(len(responses))
        for rows in (asked, verdicts, responses):
            rows.clear()

    watch.begin(f"reading {dump.path.name}", 0)
    for problem, response, correct in dump.samples():
        if problem.key != last and response.index == 0 and not (resuming and problem.key in known):
            asked.append(problem)
        last = problem.key
        if correct is not None and not (resuming and response.key in given):
            verdicts.append(Verdict(key=response.key, correct=correct, tier=FILE_STYLE))
        if not (resuming and response.key in have):
            responses.append(response)
        if len(responses) >= _BATCH:
            flush()
    flush()
    watch.end()
    if dump.torn is not None:
        number, text = dump.torn
        dump.notes.append(f"the last line ({number + 1}) is cut off and is in no number: see rejects.jsonl")
        if str(number) not in run.keys("rejects"):
            run.append("rejects", [Reject(key=str(number), step="read", reason="cut off", rejected=text)])


def _copy_missing(
    source: Run,
    target: Run,
    table: str,
    kind: Callable[..., Any],
    change: Callable[[Any], Any] = lambda row: row,
) -> None:
    """Copy the rows that are not there, as `change` has them; one for which that is None is left out."""
    have = target.keys(table)
    batch: list[Any] = []
    for row in source.rows(table, kind):  # type: ignore[arg-type]
        if row.key not in have and (changed := change(row)) is not None:
            batch.append(changed)
            if len(batch) >= _BATCH:
                target.append(table, batch)
                batch = []
    target.append(table, batch)
