"""The stage that curates: rows of any origin in, training examples and rejects out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from upwell.curation import cleaning, ladder
from upwell.curation.examples import Maker, count_pieces, counter_of, template_of
from upwell.curation.files import FileInput
from upwell.curation.inputs import Input, SetInput, open_input
from upwell.curation.pipeline import Pipeline, Place
from upwell.curation.scratch import remove_folder
from upwell.curation.settings import CurateSettings
from upwell.curation.steps import Step
from upwell.curation.writing import write_examples
from upwell.errors import UsageError
from upwell.measurement.settings import ProblemSettings
from upwell.measurement.watch import Silent, Watch
from upwell.runs import Run

_FILES = ("examples.jsonl", "rejects.jsonl", "audit.html", "audit.csv", ".audit.html.tmp", ".audit.csv.tmp")
"""What a killed command may have left beside the manifest."""
_SCRATCH = ".scratch"
_NOT_ROWS = frozenset({"out", "workers", "prompt", "against"})
"""Settings that change no row, or stand in the fingerprint in another form."""
NOT_CLEANED = "nothing was decontaminated: there is no --against, so rows that hold benchmark questions stay"
NOTHING_LEFT = "no row is left: see the steps in summary.json and the reasons in rejects.jsonl"


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
    if settings.ladder is not None:
        ladder.parse(settings.ladder)  # a malformed one is told before anything is read
    sources = _opened(inputs, settings, watch.say)
    notes: list[str] = []
    sets = cleaning.benchmarks(settings.benchmarks(), notes)
    template, checkpoint = template_of(settings.prompt, settings.model, watch.say)
    by_model = checkpoint if settings.ladder_by == "tokens" else None
    count = count_pieces if by_model is None else counter_of(by_model)
    entries = [entry for source in sources for entry in source.entries]
    tests = [{"name": f"{one.name}/{one.split}", "digest": one.digest} for one in sets]
    shaped = {"name": template.name, "digest": template.digest, "source": template.source}
    model = {} if checkpoint is None else {"model": {"name": checkpoint.name, "digest": checkpoint.digest}}
    with Run.open(
        settings.out,
        verb="curate",
        settings={"inputs": list(inputs)} | asdict(settings),
        fingerprint={
            "inputs": [{"name": Path(entry["name"]).name, "digest": entry["digest"]} for entry in entries],
            "against": [{"name": test["name"], "digest": test["digest"]} for test in tests],
            "prompt": f"{template.name}@{template.digest[:12]}",
            "steps": [name for name, _ in also],
        }
        | {name: value for name, value in asdict(settings).items() if name not in _NOT_ROWS},
        inputs=[*entries, *tests],
        identity={"prompt": shaped} | model,
    ) as run:
        if run.summary is not None:
            watch.say(f"`{run.path}` is finished already: nothing to do")
            return run.path
        maker = Maker(template, settings.final_answer, settings.calculator)
        with _anew(run) as place:
            pipeline = Pipeline(run, settings, watch, place, sets)
            rows = pipeline.survivors(sources, also)
            written = write_examples(run, rows, maker, count, settings, watch)
        summary = _summary(
            pipeline, written, [*notes, *(note for source in sources for note in source.notes)]
        )
        for line in summary["notes"]:
            watch.say(line)
        run.finish(summary)
    return run.path


def _opened(inputs: Sequence[str], settings: CurateSettings, say: Callable[[str], None]) -> list[Input]:
    if not inputs:
        raise UsageError("there is no input to curate", "upwell curate RUN_OR_FILE_OR_SET ... --out RUN")
    fields = ProblemSettings(problems="", field=settings.field).fields()
    whole = "ends" in settings.required()
    opened = [open_input(name, fields, settings.limit, whole=whole, say=say) for name in inputs]
    if fields and not any(isinstance(one, FileInput) for one in opened):
        raise UsageError("--field does nothing: no input is a file", "leave --field out")
    if settings.limit is not None and not any(isinstance(one, SetInput) for one in opened):
        raise UsageError("--limit does nothing: no input is a problem set", "leave --limit out")
    return opened


@contextlib.contextmanager
def _anew(run: Run) -> Iterator[Place]:
    """Begin a run from nothing, whatever a killed command left in it; with a place for what need not last.

    Where the input turns out wrong the run is taken away again, so that the command put right can have its place.
    """
    scratch = run.path / _SCRATCH
    ours = [run.path / name for name in _FILES]
    for file in ours:
        file.unlink(missing_ok=True)
    remove_folder(scratch)
    scratch.mkdir()
    try:
        with contextlib.ExitStack() as closing:
            yield Place(scratch, closing)
    except UsageError:
        for left in (*ours, run.path / "manifest.json"):
            left.unlink(missing_ok=True)
        raise
    finally:
        remove_folder(scratch)


def _summary(pipeline: Pipeline, written: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    told = written["ladder"]
    if told and told["missing"]:
        left = written["counts"]["examples"] if told["by"] == "rows" else written["tokens"]["completion"]
        missing, rungs = told["missing"], len(told["rungs"]) + len(told["missing"])
        notes = [
            *notes,
            f"{len(missing)} of {rungs} rungs are missing: {missing[0]:,} {told['by']} asked for, {left:,} left",
        ]
    if bare := written["counts"]["answers_alone"]:
        notes = [*notes, f"{bare:,} rows have no solution: what is learnt of them is the answer alone"]
    if not written["counts"]["examples"]:
        notes = [*notes, NOTHING_LEFT]
    if cleaning.STEP not in pipeline.told:
        notes = [*notes, NOT_CLEANED]
    rejected = sum(sum(tally.rejected.values()) for tally in pipeline.tallies)
    return {
        "counts": written["counts"] | {"rejected": rejected},
        "steps": [tally.plain() for tally in pipeline.tallies],
        **{name: value for name, value in written.items() if name != "counts"},
        **pipeline.told,
        "notes": notes,
    }
