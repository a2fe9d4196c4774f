"""What the report says in words: the headline, the paragraph under it, the rows of the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from upwell.metrics.metric import Metric
from upwell.report.reading import RunView, common_tries
from upwell.report.text import (
    MISSING,
    brief,
    count,
    counted,
    duration,
    interval,
    moment,
    number,
    percent,
    span,
    visible,
)

_NOTABLE = 0.05
"""A difference or a chance level worth a sentence."""


@dataclass(frozen=True)
class MetricRow:
    """One line of the headline table of one run."""

    name: str
    meaning: str
    value: str
    interval: str
    interval_fixed: str
    colour: str = ""


@dataclass(frozen=True)
class Cell:
    """One value with its interval, in the table of several runs."""

    value: str
    interval: str


def headline(runs: Sequence[RunView]) -> str:
    """The result in one sentence."""
    if len(runs) > 1:
        return f"{counted(len(runs), 'run').capitalize()} side by side"
    run = runs[0]
    ratio, solved, tries = run.share("pass_ratio"), run.share("pass@k", run.most_tries), run.most_tries
    if ratio is None:
        return f"{counted(len(run.problems), 'problem')} measured"
    if tries == 1 or solved is None:
        return f"Solves {percent(ratio)} of problems with one try each"
    link = "but only" if solved - ratio >= _NOTABLE else "and"
    once = f"Solves {percent(solved)} of problems at least once in {tries} tries"
    return f"{once}, {link} {percent(ratio)} of tries are right"


def lead(runs: Sequence[RunView]) -> list[str]:
    """Sentences under the headline: where the gap lies, what a vote gives, how much is luck."""
    if len(runs) > 1:
        return _lead_of_several(runs)
    run = runs[0]
    tries = run.most_tries
    never, sometimes, always = run.kinds
    said: list[str] = []
    if tries > 1:
        said.append(
            f"Of {counted(len(run.problems), 'problem')}, {count(always)} {_is(always)} solved every time, "
            f"{count(sometimes)} some of the time and {count(never)} never."
        )
        solved, ratio = run.share("pass@k", tries), run.share("pass_ratio")
        if solved is not None and ratio is not None and solved - ratio >= _NOTABLE:
            said.append("What it does at least once, it does not do every time.")
    vote = run.share("maj@k", tries)
    if tries > 1 and vote is not None:
        said.append(f"The most frequent of {tries} answers is right for {percent(vote)} of problems.")
    chance = run.share("chance_pass@k", tries)
    if tries > 1 and chance is not None and chance >= _NOTABLE:
        adjusted = run.share("adjusted_pass@k", tries)
        rest = f"; with that discounted, {percent(adjusted)} remain" if adjusted is not None else ""
        said.append(f"Answers given to other problems would solve {percent(chance)} by luck{rest}.")
    said += _luck(run, tries)
    cut = run.share("truncated")
    if cut is not None and cut >= _NOTABLE:
        said.append(f"{percent(cut)} of responses were cut at the token limit, which lowers every number.")
    return said


def _luck(run: RunView, tries: int) -> list[str]:
    """How far guessing gets, and what stands without responses that compute wrongly, where that is worth a word."""
    said = []
    guess, sound = run.share("guess_pass@k", tries), run.share("sound_pass@k", tries)
    solved = run.share("pass@k", tries)
    if tries > 1 and guess is not None and guess >= _NOTABLE:
        said.append(f"Random operations on the questions' own numbers would solve {percent(guess)}.")
    if sound is not None and solved is not None and solved - sound >= _NOTABLE:
        said.append(
            f"Counting only responses without a wrong equation, {percent(sound)} are solved at least once."
        )
    return said


def _lead_of_several(runs: Sequence[RunView]) -> list[str]:
    tries = common_tries(runs)
    said = [f"pass@k, maj@k and chance are given for k = {tries}, the most tries that all of them have."]
    for name, k, title in (("pass_ratio", None, "PassRatio"), ("pass@k", tries, f"pass@{tries}")):
        found = [(share, run.label) for run in runs if (share := run.share(name, k)) is not None]
        (least, least_run), (most, most_run) = min(found), max(found)
        if least < most:
            said.append(f"{title} goes from {percent(least)} ({least_run}) to {percent(most)} ({most_run}).")
    if len({run.keys for run in runs}) > 1:
        said.append("The runs are not over the same problems, so a difference may lie in the problems.")
    return said


def facts(run: RunView) -> list[tuple[str, str]]:
    """What was measured, as label and value."""
    prompt = run.manifest.get("prompt")
    prompt_name = prompt.get("name") if isinstance(prompt, dict) else prompt
    sessions = run.manifest.get("sessions") or ()
    found: list[tuple[str, object]] = [
        ("Model", run.model),
        ("Problems", f"{run.problem_set}, {count(len(run.problems))}"),
        ("Samples", f"{run.samples_written.rpartition(' ')[0]} per problem"),
        ("Prompt", prompt_name or run.setting("prompt")),
        ("Temperature", run.setting("temperature")),
        ("Token limit", run.setting("max_tokens")),
        ("Subset", run.setting("limit") and f"{run.setting('limit')} at random, fixed"),
        ("Grader", run.manifest.get("grader")),
        ("Begun", moment(run.manifest.get("started")) if run.manifest.get("started") else None),
        (
            "Took" if len(sessions) < 2 else "Last session took",
            duration(run.elapsed) if run.elapsed is not None else None,
        ),
    ]
    return [(label, brief(value, 120)) for label, value in found if value not in (None, "")]


def metric_rows(run: RunView) -> list[MetricRow]:
    """The headline table of one run; a metric that the run does not have is left out."""
    tries = run.most_tries
    wanted: list[tuple[str, int | None, str, str, str]] = [
        ("pass_ratio", None, "PassRatio", "share of all tries that are right; equals pass@1", "vermillion"),
        ("pass@k", tries, f"pass@{tries}", f"at least one of {tries} tries is right", "blue"),
        ("maj@k", tries, f"maj@{tries}", f"the most frequent of {tries} answers is right", "green"),
        *(
            (
                "pass@k_extrapolated",
                m.k,
                f"pass@{count(m.k or 0)}, extrapolated",
                "expected of more tries",
                "blue",
            )
            for m in run.metrics
            if m.name == "pass@k_extrapolated"
        ),
        (
            "weighted_maj@k",
            tries,
            f"weighted maj@{tries}",
            "the answer with the highest sum of scores is right",
            "",
        ),
        ("best_of@k", tries, f"best of {tries}", "the response with the highest score is right", ""),
        ("pass^k", tries, f"pass^{tries}", f"all of {tries} tries are right", ""),
        ("chance_pass@k", tries, f"chance pass@{tries}", "its answers to other problems, taken here", "grey"),
        ("adjusted_pass@k", tries, f"adjusted pass@{tries}", "pass@k with chance discounted", ""),
        ("guess_pass@k", tries, f"guess pass@{tries}", "random operations on the question's numbers", "grey"),
        ("sound_pass@k", tries, f"sound pass@{tries}", "right, and all its arithmetic checks out", ""),
        ("sound_pass@k_upper", tries, f"sound pass@{tries}, upper", "or has no arithmetic to check", ""),
        ("truncated", None, "truncated", "responses cut at the token limit", ""),
        ("no_answer", None, "no answer", "responses in which no answer was found", ""),
        ("mean_tokens", None, "mean tokens", "generated per response", ""),
    ]
    if tries == 1:
        wanted = [entry for entry in wanted if entry[1] is None]
    rows = []
    for name, k, title, meaning, colour in wanted:
        metric = run.metric(name, k)
        if metric is not None:
            rows.append(MetricRow(title, meaning, *_written(metric), colour))
    return rows


def _written(metric: Metric) -> tuple[str, str, str]:
    if metric.name != "mean_tokens":
        return (
            percent(metric.value),
            interval(metric.low, metric.high),
            interval(metric.low_fixed, metric.high_fixed),
        )
    value = MISSING if metric.value is None else number(metric.value)
    return value, span(metric.low, metric.high), span(metric.low_fixed, metric.high_fixed)


def footnotes(run: RunView) -> list[str]:
    """What the summary says about its own numbers, each remark once with the metrics that it is about."""
    about: dict[str, list[str]] = {}
    for metric in run.metrics:
        if metric.note and metric.slice is None:
            names = about.setdefault(metric.note, [])
            if metric.name not in names:
                names.append(metric.name)
    return [f"{', '.join(map(visible, names))}: {visible(note)}." for note, names in about.items()]


def run_columns(runs: Sequence[RunView]) -> list[str]:
    """Headings of the table of several runs, after the run itself."""
    tries = common_tries(runs)
    return [
        "PassRatio", f"pass@{tries}", f"maj@{tries}", f"chance pass@{tries}",
        f"adjusted pass@{tries}", "truncated", "no answer",
    ]  # fmt: skip


def run_cells(run: RunView, tries: int) -> list[Cell]:
    """One line of the table of several runs: `run_columns` for one run."""
    wanted = [
        ("pass_ratio", None), ("pass@k", tries), ("maj@k", tries), ("chance_pass@k", tries),
        ("adjusted_pass@k", tries), ("truncated", None), ("no_answer", None),
    ]  # fmt: skip
    cells = []
    for name, k in wanted:
        metric = run.metric(name, k)
        cells.append(Cell(*_written(metric)[:2]) if metric is not None else Cell(MISSING, ""))
    return cells


def _is(amount: int) -> str:
    return "is" if amount == 1 else "are"
