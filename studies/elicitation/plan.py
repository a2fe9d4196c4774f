"""What the study runs, in order: every step one `upwell` command, or a file that the step itself makes."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

import world
from upwell.analysis import KINDS
from upwell.analysis.stepping import lines
from upwell.measurement.perturbation import perturbed
from upwell.problems import load

SET = "gsm8k"
"""What the real arm learns from (train) and every arm of the language model is measured on (test)."""


@dataclass(frozen=True)
class Form:
    """How large the study is. Minutes are for the machine that the form is meant for."""

    name: str
    model: str = "smollm2-135m-instruct"
    recipe: str = "smollm2-135m"
    rungs: str = ""
    """Sizes of the real ladder."""
    train_limit: int | None = None
    """Take this many train questions only."""
    preflight: str = "full"
    seeds: tuple[int, ...] = (42,)
    epochs: int = 1
    batch_size: int = 8
    limit: int | None = None
    samples: int = 64
    max_tokens: int = 512
    own_questions: int = 0
    """Train questions that the model is to answer itself, and as many of them with other numbers."""
    own_steps: int | None = None
    """Only questions of at most so many steps, which a weak model sometimes answers."""
    own_trials: int = 16
    own_tokens: int = 512
    own_rungs: str = ""
    own_epochs: int | None = None
    own_batch_size: int | None = None
    """Where there are too few own answers for the epochs and the batch of the real arm to make a step."""
    other_sets: tuple[str, ...] = ()
    leakage_limit: int | None = None
    corpus: int = 0
    """Documents that the control's model is trained on from random weights."""
    corpus_epochs: int = 4
    width: int = 128
    layers: int = 4
    lessons: str = ""
    """Sizes of the control's ladder."""
    lesson_epochs: int = 3
    exam: int = 100
    exam_samples: int = 64
    minutes: dict[str, float] = field(default_factory=dict)
    """How long steps take, by name."""


FORMS = {
    "full": Form(
        name="full", rungs="467,934,1868,3737,7473", seeds=(42, 43, 44), epochs=3,
        own_questions=7473, own_trials=64, own_rungs="467,934,1868,3737",
        other_sets=("svamp", "asdiv", "procedural:gsm_symbolic"),
        corpus=12_000, width=256, layers=6, lessons="50,100,200,400,800,1600,3200", exam=400, exam_samples=256,
    ),
    "reduced": Form(
        name="reduced", rungs="60,120,240", limit=24, samples=16, max_tokens=320,
        own_questions=80, own_steps=2, own_trials=8, own_tokens=192, own_rungs="allx2^0..0",
        own_epochs=3, own_batch_size=1,
        leakage_limit=100, corpus=12_000, lessons="50,200,800,3200", exam=100, exam_samples=64,
        minutes={"set": 1, "real": 27, "sampled": 14, "own-trained": 2, "gold-trained": 2, "own-measured": 4,
                 "gold-measured": 4, "leakage": 4, "pretrained": 8, "control": 4},
    ),
    "toy": Form(
        name="toy", rungs="4,8", train_limit=12, preflight="no-overfit", limit=3, samples=2, max_tokens=8,
        batch_size=1, own_questions=4, own_trials=2, own_tokens=8, own_rungs="allx2^0..0", leakage_limit=12,
        corpus=60, corpus_epochs=1, width=32, layers=1, lessons="8,16", lesson_epochs=1, exam=4, exam_samples=2,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One step: a command of `upwell`, or a function that writes `out` whole or not at all."""

    name: str
    what: str
    out: Path
    command: tuple[str, ...] = ()
    make: Callable[[], None] | None = None


@dataclass(frozen=True)
class Folders:
    """Where everything lies."""

    root: Path
    real_ladder: Path | None = None
    """A finished ladder of the real arm to take instead of training one."""

    @property
    def real(self) -> Path:
        return self.real_ladder or self / "real"

    def __truediv__(self, name: str) -> Path:
        return self.root / name


def steps(form: Form, at: Folders) -> Iterator[Step]:
    """The steps in order; those that depend on what an earlier one found come once that is there."""
    yield from _real(form, at)
    yield from _own(form, at)
    yield from _others(form, at)
    yield from _control(form, at)
    yield from _analyses(form, at)


def _command(name: str, what: str, out: Path, *command: Any) -> Step:
    return Step(name, what, out, (*(str(word) for word in command), "--out", str(out)))


def _measuring(form: Form) -> tuple[Any, ...]:
    limit = () if form.limit is None else ("--limit", form.limit)
    return (*limit, "--samples", form.samples, "--max-tokens", form.max_tokens)


def _training(form: Form, *, own: bool = False) -> tuple[Any, ...]:
    epochs = (own and form.own_epochs) or form.epochs
    batch = (own and form.own_batch_size) or form.batch_size
    return ("--recipe", form.recipe, "--base", form.model, "--epochs", epochs, "--batch-size", batch,
            "--preflight", form.preflight, "--ladder", *_seeds(form))  # fmt: skip


def _seeds(form: Form) -> list[Any]:
    return [word for seed in form.seeds for word in ("--seeds", seed)]


def _curating(form: Form, ladder: str) -> tuple[Any, ...]:
    return ("--against", "all", "--prompt", "chat", "--model", form.model, "--ladder", ladder)


# The real arm: people's questions and solutions


def _real(form: Form, at: Folders) -> Iterator[Step]:
    if at.real_ladder is None:
        limit = () if form.train_limit is None else ("--limit", form.train_limit)
        yield _command("set", f"{SET}'s train split, decontaminated, in nested rungs", at / "set",
                       "curate", f"{SET}/train", *limit, *_curating(form, form.rungs))  # fmt: skip
        yield _command("real", "each rung trained and measured", at.real, "train", at / "set", *_training(form),
                       "--problems", SET, *_measuring(form))  # fmt: skip


# The model's own: right answers that it gave itself, beside people's solutions of the same questions


def _own(form: Form, at: Folders) -> Iterator[Step]:
    yield Step("questions", "train questions, and the same with other numbers", at / "own/questions.jsonl",
               make=lambda: _write_questions(form, at))  # fmt: skip
    yield _command("sampled", "the model's own right answers to them", at / "own/sampled",
                   "synthesize", "--method", "rejection", "--policy", "uniform", "--k-uniform", 1,
                   "--max-trials", form.own_trials, "--seeds", at / "own/questions.jsonl",
                   "--teacher", form.model, "--prompt", "chat", "--temperature", "0.7", "--top-p", "1",
                   "--max-tokens", form.own_tokens)  # fmt: skip
    if (at / "own/sampled/summary.json").exists() and not rows_in(at / "own/sampled/drafts.jsonl"):
        return
    yield _command("own-set", "these, decontaminated, in rungs", at / "own/set",
                   "curate", at / "own/sampled", *_curating(form, form.own_rungs))  # fmt: skip
    yield Step("gold", "people's solutions of the very same questions", at / "own/gold.jsonl",
               make=lambda: _write_gold(at))  # fmt: skip
    yield _command("gold-set", "these, in rungs of the same sizes", at / "own/gold-set",
                   "curate", at / "own/gold.jsonl", *_curating(form, form.own_rungs))  # fmt: skip
    for arm, rows in (("own", at / "own/set"), ("gold", at / "own/gold-set")):
        trained = at / f"own/{arm}-trained"
        yield _command(
            f"{arm}-trained", f"the {arm} rungs trained", trained, "train", rows, *_training(form, own=True)
        )
        for rung in rungs(trained):
            out = at / f"own/{arm}-measured/{rung.name}"
            yield _command(f"{arm}-measured", f"{arm} rung {rung.name} measured", out,
                           "measure", "--model", rung, "--problems", SET, *_measuring(form))  # fmt: skip


def rows_in(table: Path) -> int:
    """Rows of a table of a run, 0 where there is none."""
    return table.read_bytes().count(b"\n") if table.exists() else 0


def rungs(trained: Path) -> list[Path]:
    """Trained rungs of a ladder, the smallest first."""
    return by_size(rung for rung in (trained / "rungs").glob("*-s*") if (rung / "summary.json").exists())


def by_size(named: Iterable[Path]) -> list[Path]:
    """Folders of rungs, named EXAMPLES-sSEED, the smallest rung first."""
    return sorted(named, key=lambda rung: [int(part) for part in rung.name.split("-s")])


def _write_questions(form: Form, at: Folders) -> None:
    chosen = []
    for problem in load(SET, split="train"):
        if form.own_steps is None or lines(problem.solution or "") <= form.own_steps:
            chosen.append(problem)
        if len(chosen) == form.own_questions:
            break
    rows = [
        {
            "id": problem.key,
            "question": problem.question,
            "answer": problem.answer,
            "solution": problem.solution,
        }
        for problem in (*chosen, *perturbed(chosen, seed=0).problems)
    ]
    world.write(at / "own/questions.jsonl", rows)


def _write_gold(at: Folders) -> None:
    asked = [json.loads(line) for line in (at / "own/questions.jsonl").read_text().splitlines()]
    solved = {row["question"]: row for row in asked}
    kept = [json.loads(line) for line in (at / "own/set/examples.jsonl").read_text().splitlines()]
    # Rungs are drawn by the rows' keys, so with the same keys both arms' rungs hold the same questions.
    world.write(at / "own/gold.jsonl", [solved[row["question"]] | {"id": row["key"]} for row in kept])


def unlike(at: Folders) -> dict[int, int]:
    """Questions that the gold rung has and the own rung of its size has not, by size; sizes without any are left out.

    There are some only where a solution of people's was turned down, as it is near a benchmark's, say: the own answer
    to the same question stays.
    """
    own, gold = (_asked_in(at / f"own/{name}/examples.jsonl") for name in ("set", "gold-set"))
    found = {size: len(gold[size] - own[size]) for size in sorted(own.keys() & gold.keys())}
    return {size: count for size, count in found.items() if count}


def _asked_in(examples: Path) -> dict[int, set[str]]:
    """The questions of each rung, by its size."""
    found: dict[int, set[str]] = {}
    asked: list[tuple[int, str]] = []
    for line in examples.read_text().splitlines():
        row = json.loads(line)
        if row.get("rung") is not None:
            asked.append((row["rung"], row["question"]))
    for last in {rung for rung, _ in asked}:
        held = [question for rung, question in asked if rung <= last]
        found[len(held)] = set(held)
    return found


# Other sets


def _others(form: Form, at: Folders) -> Iterator[Step]:
    for name in form.other_sets:
        models = {"base": form.model, "real": rungs(at.real)[-1:], "own": rungs(at / "own/own-trained")[-1:]}
        for arm, model in models.items():
            for path in [model] if isinstance(model, str) else model:
                yield _command(f"{name}-{arm}", f"{name}, {arm}", at / f"others/{name.replace(':', '-')}/{arm}",
                               "measure", "--model", path, "--problems", name, *_measuring(form))  # fmt: skip


# The control


def _control(form: Form, at: Folders) -> Iterator[Step]:
    corpus, lessons, exam = (at / f"control/{name}.jsonl" for name in ("corpus", "lessons", "exam"))
    sizes = [int(size) for size in form.lessons.split(",")]
    for path, rows, what in (
        (
            corpus,
            world.problems(form.corpus, "corpus", held_out=False, noise=world.NOISE),
            "what it is born from",
        ),
        (lessons, world.problems(sizes[-1], "lessons", held_out=False), "what it is taught"),
        (
            exam,
            world.problems(form.exam, "exam", held_out=True),
            "what it is asked: templates that are held out",
        ),
    ):
        yield Step(path.name, what, path, make=functools.partial(world.write, path, rows))
    newborn = functools.partial(
        world.newborn, at / "control/newborn", corpus, width=form.width, layers=form.layers
    )
    yield Step("newborn", "a model of random weights", at / "control/newborn", make=newborn)
    plain = ("--prompt", "plain")
    yield _command("corpus", "the corpus as examples", at / "control/corpus",
                   "curate", corpus, "--no-exact", *plain, "--model", at / "control/newborn")  # fmt: skip
    yield _command("pretrained", "trained on the corpus, from nothing", at / "control/pretrained",
                   "train", at / "control/corpus", "--recipe", form.recipe, "--base", at / "control/newborn", *plain,
                   "--epochs", form.corpus_epochs, "--learning-rate", "2e-3", "--max-length", 512,
                   "--preflight", "no-overfit")  # fmt: skip
    yield _command("lessons", "lessons as examples, in nested rungs", at / "control/lessons",
                   "curate", lessons, *plain, "--model", at / "control/newborn", "--ladder", form.lessons)  # fmt: skip
    yield _command("control", "each rung trained and measured", at / "control/ladder",
                   "train", at / "control/lessons", "--recipe", form.recipe, "--base", at / "control/pretrained",
                   *plain, "--epochs", form.lesson_epochs, "--learning-rate", "5e-4", "--max-length", 512,
                   "--batch-size", 1, "--preflight", "no-overfit", "--ladder", *_seeds(form),
                   "--problems", exam, "--samples", form.exam_samples, "--max-tokens", 96)  # fmt: skip


# What follows


def _analyses(form: Form, at: Folders) -> Iterator[Step]:
    suspect = rungs(at.real)[-1:]
    limit = () if form.leakage_limit is None else ("--limit", form.leakage_limit)
    for model in suspect:
        yield _command("leakage", "whether the measured set was seen", at / "leakage", "analyze", "leakage",
                       f"{SET}/test", f"{SET}/train", *limit, "--model", model)  # fmt: skip
    for arm, ladder in (("real", at.real), ("control", at / "control/ladder")):
        runs = {kind: at / f"analyses/{arm}-{kind}" for kind in KINDS if kind != "leakage"}
        for kind, out in runs.items():
            metric = ("--metric", "pass_ratio") if kind == "scaling" else ()
            yield _command(f"{arm}-{kind}", f"{kind} of the {arm} arm", out, "analyze", kind, ladder, *metric)
        extra = [at / "leakage"] if arm == "real" else []
        page = at / f"pages/{arm}.html"
        yield Step(f"{arm}-page", f"one page on the {arm} arm", page,
                   ("report", *(str(run) for run in (ladder, *runs.values(), *extra)), "--out", str(page)))  # fmt: skip


def settings_of(run: Path) -> dict[str, Any]:
    """The settings that a run was made with."""
    manifest: dict[str, Any] = msgspec.json.decode((run / "manifest.json").read_bytes())
    return dict(manifest["settings"])
