"""What goes wrong in wrong responses: every one in exactly one class, by rule, over one run or several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from upwell.analysis.bootstrap import Floats, between, percent, percentiles, ratio_interval, resampled_sums
from upwell.analysis.found import Found, Pending
from upwell.analysis.graded import Source, Text, graded
from upwell.analysis.judged import Jury
from upwell.analysis.mistakes import CLASSES, SAYS, mistake
from upwell.analysis.settings import AnalyzeSettings
from upwell.analysis.stepping import equations
from upwell.errors import UsageError
from upwell.measurement.summary import joined
from upwell.measurement.watch import Watch
from upwell.runs import Run

RIGHT = 20_000
"""Right responses that the rules are tried on as well, about: evenly spread over the run."""


@dataclass(frozen=True, eq=False)
class _Wrongs:
    """The wrong responses of one run."""

    source: Source
    keys: list[str]
    tried: Floats
    """Responses per problem."""
    wrong: Floats
    """`(classes, problems)`: wrong responses."""
    right: Floats
    """The same of right responses, or of a sample of them: how often a rule strikes where nothing is wrong."""
    notes: list[str] = field(default_factory=list)


def errors(sources: Sequence[str], settings: AnalyzeSettings, watch: Watch) -> Found | Pending:
    """The classes of every run's wrong responses, and how they change from the first run to the others; with a judge
    also what it says of them.

    Raises:
        UsageError: a source has no verdicts, or its responses are bare answers; there is no such judge.
    """
    read = graded(sources, "errors")
    if settings.judge is None:
        return _by_rule(read, settings, watch)
    jury = Jury(read, settings, watch)

    def finish(run: Run) -> Found | None:
        found = _by_rule(read, settings, watch)
        if jury.poll(run):
            return None
        jury.tell(found)
        return found

    return Pending(identity=jury.panel.entry(), finish=finish)


def _by_rule(sources: Sequence[Source], settings: AnalyzeSettings, watch: Watch) -> Found:
    found = Found(points=[], fits=[], conclusions=[], notes=[])
    runs = []
    for source in sources:
        run = _read(source, watch)
        found.notes.extend(run.notes)
        _shares(run, found)
        runs.append(run)
    for run in runs[1:]:
        _change(runs[0], run, settings, found)
    found.notes.append(
        "classes are by rule (docs/analysis.md): what is wrong in the reasoning alone is `missing` or `other`, and a "
        "response with several mistakes is in the first class that it meets: " + ", ".join(CLASSES)
    )
    return found


def _read(source: Source, watch: Watch) -> _Wrongs:
    problems = source.problems()
    number = {problem.key: i for i, problem in enumerate(problems)}
    gold = [equations(problem.solution or "") for problem in problems]
    tried, wrong = np.zeros(len(problems)), np.zeros((len(CLASSES), len(problems)))
    right = np.zeros_like(wrong)
    bare = undecided = unknown = passed = 0
    stride = max(source.run.count("responses") // RIGHT, 1)
    watch.begin(f"{source.name}: sorting wrong responses", source.run.count("responses"))
    for response, verdict in joined(source.run, Text):
        watch.advance()
        at = number[response.problem]
        tried[at] += 1
        bare += response.bare
        undecided += verdict.correct is None
        if verdict.correct is None:
            continue
        passed += verdict.correct
        if verdict.correct and passed % stride:
            continue
        unknown += response.finish is None and not verdict.correct
        kind = mistake(response.text, response.finish, verdict.answer, problems[at].question, gold[at])
        (right if verdict.correct else wrong)[CLASSES.index(kind), at] += 1
    watch.end()
    if bare and bare == tried.sum():
        raise UsageError(
            f"the responses of `{source.run.path}` are bare answers: what went wrong does not show in them",
            "grade whole responses: upwell grade FILE --field response=FIELD",
        )
    notes, name = [], source.name
    if undecided:
        notes.append(f"{name}: {undecided:,} responses that the grader could not decide are in no class")
    if not any(gold):
        notes.append(f"{name}: no gold solution holds an equation, so none is `missing` steps")
    if not any(problem.question for problem in problems):
        notes.append(f"{name}: no questions are known, so none is `quantity`")
    if unknown:
        notes.append(
            f"{name}: how {unknown:,} wrong responses ended is not known: none of these is `truncation`"
        )
    asked = tried > 0
    keys = [problem.key for problem, there in zip(problems, asked, strict=True) if there]
    return _Wrongs(source, keys, tried[asked], wrong[:, asked], right[:, asked], notes)


def _shares(run: _Wrongs, found: Found) -> None:
    name, all_wrong = run.source.name, run.wrong.sum(axis=0)
    total = int(all_wrong.sum())
    share, low, high = ratio_interval(all_wrong, run.tried)
    found.points.append({
        "run": name, "class": "wrong", "of": "responses", "count": total, "value": share, "low": low, "high": high,
        "problems": len(run.tried), "samples": int(run.tried.sum()),
    })  # fmt: skip
    if not total:
        found.conclusions.append(
            f"{name}: none of {int(run.tried.sum()):,} responses is wrong (at most {percent(high)} of such responses "
            "are): there is nothing to sort."
        )
        return
    shares, passed = [], run.right.sum(axis=0)
    for kind, counts, lucky in zip(CLASSES, run.wrong, run.right, strict=True):
        value, below, above = ratio_interval(counts, all_wrong)
        base = None
        if passed.any():
            base, base_low, base_high = ratio_interval(lucky, passed)
            found.points.append({
                "run": name, "class": kind, "of": "right responses", "count": int(lucky.sum()), "value": base,
                "low": base_low, "high": base_high, "problems": int(np.count_nonzero(passed)),
                "samples": int(passed.sum()),
            })  # fmt: skip
        shares.append((value, below, above, kind, base))
        found.points.append({
            "run": name, "class": kind, "of": "wrong responses", "count": int(counts.sum()), "value": value,
            "low": below, "high": above, "problems": int(np.count_nonzero(all_wrong)), "samples": total,
        })  # fmt: skip
    shares.sort(key=lambda one: -one[0])
    told = "; ".join(
        f"{percent(value)} {between(below, above)} {SAYS[kind]} (`{kind}`"
        + ("" if base is None or kind == "other" else f"; of right responses {percent(base)}")
        + ")"
        for value, below, above, kind, base in shares
        if value
    )
    found.conclusions.append(
        f"{name}: of {total:,} wrong responses to {np.count_nonzero(all_wrong):,} problems {told}."
    )


def _change(first: _Wrongs, run: _Wrongs, settings: AnalyzeSettings, found: Found) -> None:
    """How the shares of a run differ from the first's, problems being drawn again together."""
    if not first.wrong.sum() or not run.wrong.sum():
        return
    keys = sorted({*first.keys, *run.keys})
    number = {key: i for i, key in enumerate(keys)}
    held = np.zeros((2, len(CLASSES), len(keys)))
    for table, one in zip(held, (first, run), strict=True):
        table[:, [number[key] for key in one.keys]] = one.wrong
    drawn = resampled_sums(held.reshape(-1, len(keys)), settings.bootstrap, settings.seed)
    drawn = drawn.reshape(-1, 2, len(CLASSES))
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = drawn / drawn.sum(axis=2, keepdims=True)
    now = held.sum(axis=2) / held.sum(axis=(1, 2))[:, None]
    said = []
    for i, kind in enumerate(CLASSES):
        value = float(now[1, i] - now[0, i])
        low, high = percentiles(shares[:, 1, i] - shares[:, 0, i])
        found.fits.append({
            "run": run.source.name, "against": first.source.name, "class": kind,
            "parameter": "share of wrong responses, above the first run's", "value": value, "low": low, "high": high,
            "problems": len(keys), "samples": int(held.sum()),
        })  # fmt: skip
        if low is not None and high is not None and not low <= 0 <= high:
            said.append(f"`{kind}` {100 * value:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})")
    pair = f"from {first.source.name} to {run.source.name}"
    found.conclusions.append(
        f"{pair}, shares of wrong responses move: {'; '.join(said)}. Shares add up to 1: one falls as another rises."
        if said
        else f"{pair}, no class's share of wrong responses moves by more than chance."
    )
