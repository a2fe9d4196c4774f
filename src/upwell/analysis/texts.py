"""The texts whose losses tell whether a model has seen a benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from upwell import problems
from upwell.errors import UsageError
from upwell.measurement.perturbation import perturbed
from upwell.measurement.watch import Watch
from upwell.problems import subset
from upwell.records import Draft, Problem
from upwell.runs import Run

ROLES = ("test", "reference", "train")
"""Of runs of synthesize in the paper's D1 and D2."""
ORIGINAL, CHANGED = "original", "changed"


@dataclass(frozen=True)
class Texts:
    """A set of problems with the texts that are read of it."""

    name: str
    digest: str
    pairs: list[tuple[Problem, Problem | None]]
    """Each problem with its twin of other numbers; None where there is none to be set against."""
    notes: list[str] = field(default_factory=list)
    role: str | None = None
    """What it is in D1 and D2."""
    generator: str | None = None
    """What wrote its questions or solutions, of a run of synthesize."""
    asked: str | None = None
    """Digest of the prompts that it was written from."""

    @property
    def mark(self) -> str:
        """What the keys of its losses begin with. Made of its content, which a rerun has to have in common, so that no
        other spelling of a path, and no other role, takes another set's losses for its own."""
        return self.digest[:12]

    def key(self, problem: Problem, part: str, version: str) -> str:
        """Of the loss of one text. Problems of two sets may have one key, where these are a user's own ids."""
        return f"{self.mark}|{problem.key}|{part}|{version}"


def load_set(source: str) -> problems.ProblemSet:
    """The problems of `NAME`, `NAME/SPLIT` or a file.

    Raises:
        UsageError: there is no such set.
    """
    name, _, split = source.partition("/")
    if Path(source).exists() or not split:
        return problems.load(source)
    return problems.load(name, split=split)


def twins(source: str, limit: int | None, seed: int, watch: Watch) -> Texts:
    """Problems of a set whose worked solutions prove the answers of twins with other numbers.

    Args:
        source: `NAME`, `NAME/SPLIT` or a file of problems.
        limit: at most so many pairs.
        seed: of the twins' numbers.
        watch: told of the progress.

    Raises:
        UsageError: there is no such set, or none of its solutions proves anything.
    """
    found = load_set(source)
    ordered = subset(list(found.problems), len(found.problems))
    watch.begin(
        f"changing the numbers of {source}", len(ordered) if limit is None else min(limit, len(ordered))
    )
    changed = perturbed(ordered, seed, limit, made=watch.advance)
    watch.end()
    if not changed.problems:
        raise UsageError(
            f"no answer of `{source}` can be proven with other numbers",
            "only worked solutions with calculator notes (<<48/2=24>>), as GSM8K has them, prove new answers",
        )
    by_key = {problem.key: problem for problem in found.problems}
    pairs: list[tuple[Problem, Problem | None]] = [
        (by_key[twin.parents[0]], twin) for twin in changed.problems
    ]
    notes = [
        f"{source}: {len(pairs):,} problems have a twin with other numbers whose answer the worked solution proves "
        f"(seed {seed}), of {len(pairs) + sum(changed.left_out.values()):,} tried"
    ]
    return Texts(source, found.digest, pairs, notes)


def drafted(source: str, limit: int | None) -> Texts:
    """The drafts of a run of synthesize, in its role for D1 and D2.

    Args:
        source: `test=RUN`, `reference=RUN` or `train=RUN`.
        limit: at most so many.

    Raises:
        UsageError: there is no such run, or it is of another verb or not finished.
    """
    role, _, path = source.partition("=")
    run = Run.read(path)
    if run.manifest["verb"] != "synthesize" or run.summary is None:
        what = "is not finished" if run.manifest["verb"] == "synthesize" else "is no run of synthesize"
        raise UsageError(
            f"`{path}` {what}: the losses of D1 and D2 are of texts that one teacher wrote",
            f"upwell synthesize --method rejection --seeds gsm8k --teacher MODEL --out {path}",
        )
    ordered = sorted(run.rows("drafts", Draft), key=lambda draft: draft.key)
    once: dict[str, Draft] = {}
    for draft in ordered:  # one solution of a question
        if draft.solution:
            once.setdefault(draft.question, draft)
    pairs: list[tuple[Problem, Problem | None]] = [(_problem(draft), None) for draft in once.values()]
    chosen = subset([problem for problem, _ in pairs], limit)
    if not chosen:
        raise UsageError(f"the run `{path}` holds no drafts with solutions", "give another run of synthesize")
    generators = {draft.teacher for draft in once.values()}
    if len(generators) > 1:
        raise UsageError(
            f"the drafts of `{path}` were written by {len(generators)} teachers: {', '.join(sorted(generators))}",
            "give a run of one teacher",
        )
    return Texts(
        Path(path).name or path, run.reference("drafts")["digest"], [(problem, None) for problem in chosen],
        role=role, generator=generators.pop(),
    )  # fmt: skip


def _problem(draft: Draft) -> Problem:
    return Problem(
        key=draft.key,
        question=draft.question,
        answer=draft.answer,
        solution=draft.solution,
        source=draft.source,
    )
