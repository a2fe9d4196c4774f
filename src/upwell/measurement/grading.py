"""The stage that grades: a run's responses anew, or another program's output file."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from upwell import problems
from upwell.errors import UsageError
from upwell.grading import RuleGrader, cache_file, soundness
from upwell.grading.style import style_named
from upwell.measurement.agreement import agreement
from upwell.measurement.dumps import Dump
from upwell.measurement.settings import GradeSettings, Grading
from upwell.measurement.summary import summary_of
from upwell.measurement.watch import Silent, Watch
from upwell.records import Lap, Problem, Reject, Response, Verdict
from upwell.runs import Run, digest_file

_BATCH = 256
"""Rows written at once."""
_LAP_SECONDS = 20.0
"""Time spent is recorded this often, so that a killed session's is not lost."""
FILE_STYLE = "file"
"""Name under which a dump's own verdicts stand beside the styles."""
_UNFINISHED = (
    "the run `{path}` is not finished: these numbers are over the {rows:,} responses that it has so far"
)


def grade(path: str, settings: GradeSettings, *, watch: Watch | None = None) -> Path:
    """Grade responses into a run directory of their own; what they were read from stays as it is.

    Args:
        path: Run directory with responses (it may still be being written: what is there now is graded), or
            another program's output file (see `upwell.measurement.dumps`).
        settings: How to grade, and where the verdicts go.
        watch: Told of the progress.

    Raises:
        UsageError: There is no such run or file, it holds no responses, or a line of it is broken.
        StorageError: The verdicts cannot be written; what was written stays.
    """
    watch = watch or Silent()
    for style in settings.others():
        style_named(style)
    if not os.path.exists(path):
        raise UsageError(
            f"no run and no file at `{path}`", "give a run directory, or the output file of another program"
        )
    if os.path.isfile(path):
        return _grade_dump(path, settings, watch)
    idle = [name for name in ("field", "problems") if getattr(settings, name)]
    if idle:
        raise UsageError(
            f"--{idle[0]} does nothing for the run `{path}`: it is for files of other programs",
            f"leave --{idle[0]} out",
        )
    return _grade_run(path, settings, watch)


def grader_of(settings: Grading, style: str | None = None) -> RuleGrader:
    """The grader of the settings, in another style if asked."""
    return RuleGrader(
        style or settings.style,
        workers=settings.workers,
        timeout=settings.timeout,
        cache=cache_file() if settings.cache else None,
    )


def _grade_run(path: str, settings: GradeSettings, watch: Watch) -> Path:
    source = Run.read(path)
    if not source.count("responses"):
        raise UsageError(
            f"the run `{path}` holds no responses", f"sample first: upwell sample ... --out {path}"
        )
    out = settings.out or f"{path.rstrip('/')}-{settings.style}"
    inputs = [source.reference("responses"), source.reference("problems")]
    carried = {
        name: source.manifest[name] for name in ("model", "engine", "prompt") if name in source.manifest
    }
    scores = _scores(settings.score)
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
            | _score_digest(settings.score),
            inputs=inputs,
            identity=carried | {"grader": grader.identity},
        ) as run,
    ):
        with _begun(run):
            _copy_missing(source, run, "problems", Problem)
            _copy_missing(source, run, "responses", Response, lambda row: _scored(row, scores))
        before = source.summary
        failed = before["counts"].get("failed", 0) if before is not None else 0
        notes = (
            before["notes"] if before is not None else [_UNFINISHED.format(path=path, rows=inputs[0]["rows"])]
        )
        _finish(run, grader, settings, watch, notes, failed)
    return Path(out)


def _grade_dump(path: str, settings: GradeSettings, watch: Watch) -> Path:
    if settings.score is not None and settings.score != "logprob":
        raise UsageError(
            "--score FILE is for runs; a line of a dump holds its own scores", "--field reward=FIELD"
        )
    golds = None
    if settings.problems is not None:
        golds = problems.load(settings.problems, split=settings.split)
    dump = Dump(Path(path), settings.fields(), golds)
    if dump.format is not None:
        reads = ", ".join(f"{name}={at}" for name, at in dump.fields.items() if at != name)
        watch.say(f"read as {dump.format.name}: {reads}")
    out = settings.out or f"{Path(path).with_suffix('')}-{settings.style}"
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
            },
            inputs=[
                {"name": path, "digest": digest},
                *([] if golds is None else [{"name": golds.name, "digest": golds.digest}]),
            ],
            identity={"model": {"name": Path(path).name}, "grader": grader.identity},
        ) as run,
    ):
        with _begun(run):
            _import(dump, run, watch)
        _finish(run, grader, settings, watch, dump.notes, 0)
    return Path(out)


def _finish(
    run: Run, grader: RuleGrader, settings: GradeSettings, watch: Watch, notes: list[str], failed: int
) -> None:
    """Grade what is owed in every style asked for, and summarise."""
    grade_owed(run, grader, watch)
    others = settings.others()
    for style in others:
        with grader_of(settings, style) as other:
            grade_owed(run, other, watch, f"verdicts-{style}")
    summary = summary_of(run, grader, settings, watch, notes, failed)
    if run.exists(f"verdicts-{FILE_STYLE}"):
        others = [*others, FILE_STYLE]
    if others:
        summary["agreement"] = agreement(run, settings.style, others, watch)
    run.finish(summary)


def grade_owed(run: Run, grader: RuleGrader, watch: Watch, table: str = "verdicts") -> None:
    """Grade the responses of the run that have no verdict in the table yet.

    In the table `verdicts` the right ones are also checked for sound arithmetic.

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
    by_key = _golds(run)
    watch.begin("grading" if table == "verdicts" else f"grading as {grader.style}", total, len(done))
    clock = Clock(run, "grading")
    texts: deque[tuple[str, bool]] = deque()
    batch: list[Verdict] = []
    for verdict in grader.grade(_owed(run, by_key, done, texts)):
        text, bare = texts.popleft()
        if verdict.correct and table == "verdicts":
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


class Clock:
    """Records in the run's `laps` how long a part has taken, every `_LAP_SECONDS`."""

    def __init__(self, run: Run, part: str) -> None:
        self._run, self._part = run, part
        self._session = f"{part}/{time.time_ns():x}"
        self._number = 0
        self._since = time.monotonic()

    def tick(self) -> None:
        if time.monotonic() - self._since >= _LAP_SECONDS:
            self.stop()

    def stop(self) -> None:
        now = time.monotonic()
        lap = Lap(key=f"{self._session}/{self._number}", part=self._part, seconds=round(now - self._since, 3))
        self._run.append("laps", [lap])
        self._number += 1
        self._since = now


class _Gold(msgspec.Struct, frozen=True):
    """What grading needs of a problem: of a million, the texts need not be in memory."""

    key: str
    answer: str
    source: str = ""
    tolerance: float | None = None


def _golds(run: Run) -> dict[str, Problem]:
    return {
        gold.key: Problem(
            key=gold.key, question="", answer=gold.answer, source=gold.source, tolerance=gold.tolerance
        )
        for gold in run.rows("problems", _Gold)
    }


def _owed(
    run: Run, by_key: dict[str, Problem], done: set[str], texts: deque[tuple[str, bool]]
) -> Iterator[tuple[Problem, Response]]:
    for response in run.rows("responses", Response):
        if response.key not in done:
            texts.append((response.text, response.bare))
            yield by_key[response.problem], response


@contextmanager
def _begun(run: Run) -> Iterator[None]:
    """Takes a run away again that a wrong input ended before it had a verdict: its directory is then free for the
    command put right, and all that it held is a copy."""
    try:
        yield
    except UsageError:
        if not run.exists("verdicts"):
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
    have = target.keys(table)
    batch: list[Any] = []
    for row in source.rows(table, kind):  # type: ignore[arg-type]
        if row.key not in have:
            batch.append(change(row))
            if len(batch) >= _BATCH:
                target.append(table, batch)
                batch = []
    target.append(table, batch)


class _Score(msgspec.Struct):
    """A line of a file of scores."""

    key: str
    score: float


def _scores(name: str | None) -> dict[str, float] | None:
    """Score by response key, from the file that `--score` names; None where it names none.

    Raises:
        UsageError: The file cannot be read, or a line is no score.
    """
    if name is None or name == "logprob":
        return None
    scores: dict[str, float] = {}
    number = 0
    decoder = msgspec.json.Decoder(_Score)
    try:
        with open(name, "rb") as file:
            for line in file:
                number += 1
                if line.strip():
                    row = decoder.decode(line)
                    scores[row.key] = row.score
    except OSError as error:
        raise UsageError(
            f"cannot read `{name}`: {error.strerror}",
            "--score logprob, or a file of lines with key and score",
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{name}:{number}: not a score: {error}", 'a line is {"key": "...", "score": 0.5}'
        ) from None
    return scores


def _score_digest(name: str | None) -> dict[str, str]:
    return {} if name is None or name == "logprob" else {"score": digest_file(Path(name))}


def _scored(row: Response, scores: dict[str, float] | None) -> Response:
    if scores is None:
        return row
    score = scores.get(row.key)
    if score is None:
        raise UsageError(f"the scores have none for `{row.key}`", "score every response of the run")
    return msgspec.structs.replace(row, score=score)
