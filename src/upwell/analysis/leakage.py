"""Whether a model has seen a benchmark: losses of its texts, set against texts that it cannot have seen."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from upwell.analysis.bootstrap import (
    Floats,
    percentiles,
    resampled_sums,
    widened,
)
from upwell.analysis.found import Found, Pending, Row
from upwell.analysis.ngrams import overlap, runs_met
from upwell.analysis.settings import AnalyzeSettings
from upwell.analysis.splits import lower, of_one_making
from upwell.analysis.texts import CHANGED, ORIGINAL, ROLES, Texts, drafted, twins
from upwell.engines.checkpoints import DEFAULT_MODEL
from upwell.engines.opening import find_model
from upwell.engines.settings import EngineSettings
from upwell.errors import MissingExtra, UsageError
from upwell.measurement.plan import template_for
from upwell.measurement.watch import Watch
from upwell.prompts import Template
from upwell.records import Loss, Problem
from upwell.runs import Run

TABLE = "losses"
PARTS = ("question", "solution")
_ONE_SIDED = 0.025
"""Chance of a false alarm, over all that is looked at together."""
_AT_ONCE = 64
"""Texts between two writes."""


def leakage(sources: Sequence[str], settings: AnalyzeSettings, watch: Watch) -> Pending:
    """D1 and D2 of runs of synthesize (`test=RUN reference=RUN train=RUN`), or the perturbation gap of problem sets:
    the suspected one first, then others to set it against.

    Raises:
        UsageError: sources are of both kinds, roles lack or repeat, two are the same texts, generators
            differ, or there is no such model.
    """
    by_role = [source.partition("=")[0] in ROLES and "=" in source for source in sources]
    if any(by_role) and not all(by_role):
        raise UsageError(
            "runs of one teacher and problem sets answer different questions",
            "upwell analyze leakage test=RUN reference=RUN train=RUN, or upwell analyze leakage gsm8k/test gsm8k/train",
        )
    if all(by_role):
        texts = [drafted(source, settings.limit) for source in sources]
        _check_roles(texts)
    else:
        if len(set(sources)) < len(sources):
            raise UsageError("a set is given twice", "upwell analyze leakage gsm8k/test gsm8k/train")
        texts = [twins(source, settings.limit, settings.seed, watch) for source in sources]
    _check_distinct(texts, sources)
    model = find_model(
        settings.model or DEFAULT_MODEL,
        EngineSettings(device=settings.device, dtype="float32"),
        say=watch.say,
    )
    if model.checkpoint is None:
        raise UsageError(
            f"`{settings.model}` is served elsewhere: losses need its weights here", "--model CHECKPOINT"
        )
    template = template_for(settings.prompt, model, watch.say)
    met = None if settings.train is None else runs_met(texts, settings.train, settings.ngram, watch)
    job = _Job(texts, settings, model, template, met, watch)
    return Pending(
        sources=[one.digest for one in texts],
        identity={"model": model.entry(), "prompt_digest": template.digest},
        finish=job.finish,
    )


def _check_roles(texts: Sequence[Texts]) -> None:
    roles = [one.role for one in texts]
    if len(set(roles)) < len(roles) or "test" not in roles or len(roles) < 2:
        raise UsageError(
            f"D1 is test against reference, D2 test against train; given are {', '.join(map(str, roles))}",
            "upwell analyze leakage test=RUN reference=RUN train=RUN",
        )
    generators = {one.generator: one.name for one in texts}
    if len(generators) > 1:
        told = "; ".join(f"{name}: {generator}" for generator, name in generators.items())
        raise UsageError(
            f"the runs were written by different teachers, whose styles alone differ in loss: {told}",
            "synthesize all of them with one --teacher",
        )


def _check_distinct(texts: Sequence[Texts], sources: Sequence[str]) -> None:
    """Equal marks would be equal keys; and a set beside itself says nothing."""
    first: dict[str, str] = {}
    for one, source in zip(texts, sources, strict=True):
        if one.mark in first:
            raise UsageError(
                f"`{first[one.mark]}` and `{source}` are the same texts, so neither says anything of the other",
                "give each set or run once",
            )
        first[one.mark] = source


@dataclass(frozen=True, eq=False)
class _Job:
    texts: list[Texts]
    settings: AnalyzeSettings
    model: Any
    template: Template
    met: set[int] | None
    """Runs of words of the questions that what was trained on holds."""
    watch: Watch

    def finish(self, run: Run) -> Found:
        """Compute the losses that are owed, then what follows from them."""
        self._read(run)
        losses = _losses(run)
        found = Found(points=[], fits=[], conclusions=[], notes=[])
        for one in self.texts:
            found.notes.extend(one.notes)
        found.notes.append(
            f"losses in float32, solutions behind the prompt `{self.template.name}`, questions behind nothing; Min-K% "
            f"is the mean log-probability of the least likely {self.settings.min_k:g} % of a text's tokens"
        )
        if self.texts[0].role is not None:
            _distances(self.texts, losses, self.settings, found)
        else:
            _gaps(self.texts, losses, self.settings, found)
        if self.met is not None:
            overlap(self.texts, self.met, self.settings, found)
        return found

    def _read(self, run: Run) -> None:
        there = _losses(run)
        wanted = [asked for one in self.texts for asked in _wanted(one, self.template)]
        owed = [asked for asked in wanted if asked[0] not in there]
        if not owed:
            return
        try:
            from upwell.engines.embedded.losses import Losses
        except ImportError:
            raise MissingExtra("reading texts with a model", "torch", "embedded") from None
        reader = Losses(self.model.checkpoint, device=self.settings.device)
        self.watch.begin("reading texts", len(wanted), len(wanted) - len(owed))
        for begin in range(0, len(owed), _AT_ONCE):
            batch = owed[begin : begin + _AT_ONCE]
            asked = [
                [pair for pair in batch if bool(pair[1]) is with_context] for with_context in (False, True)
            ]
            for part in filter(None, asked):
                for number, told in reader.of(
                    [(context, text) for _, context, text in part],
                    add_special_tokens=self.template.add_special_tokens,
                ):
                    if len(told):
                        run.append(TABLE, [_row(part[number][0], told, self.settings.min_k)])
                    self.watch.advance(1, tokens=len(told))
        self.watch.end()


def _losses(run: Run) -> dict[str, Loss]:
    """What the run holds, by key.

    Older versions wrote keys that name no set, which repeat where sets have ids in common. None of them is looked
    up: such a run's texts are read anew, where `Run.keys` would refuse it.
    """
    run.mend(TABLE)
    return {row.key: row for row in run.rows(TABLE, Loss)}


def _wanted(one: Texts, template: Template) -> list[tuple[str, str, str]]:
    """Keys, contexts and texts."""
    found = []
    for problem, twin in one.pairs:
        for version, of in ((ORIGINAL, problem), (CHANGED, twin)):
            if of is None:
                continue
            if twin is not None:
                found.append((one.key(problem, "question", version), "", of.question))
            if of.solution:
                key = one.key(problem, "solution", version)
                found.append((key, template.render(of.question), of.solution.strip()))
    return found


def _row(key: str, told: Floats, min_k: float) -> Loss:
    least = np.sort(told)[: max(1, round(len(told) * min_k / 100))]
    return Loss(key=key, tokens=len(told), loss=float(-told.sum()), lowest=float(least.mean()))


def _sums(one: Texts, losses: dict[str, Loss], part: str) -> tuple[list[Problem], Floats]:
    """Per problem that has them all: loss, tokens and Min-K% of the original, then of the twin.

    Returns:
        The problems, and `(3 or 6, problems)`.
    """
    kept, rows = [], []
    for problem, twin in one.pairs:
        versions = (ORIGINAL,) if twin is None else (ORIGINAL, CHANGED)
        told = [losses.get(one.key(problem, part, version)) for version in versions]
        if all(row is not None for row in told):
            kept.append(problem)
            rows.append(
                [value for row in told if row is not None for value in (row.loss, row.tokens, row.lowest)]
            )
    return kept, np.array(rows, np.float64).T.reshape(-1, len(kept))


def _seed(settings: AnalyzeSettings, name: str) -> int:
    """Sets are drawn again independently of each other."""
    return int.from_bytes(hashlib.sha256(f"{settings.seed}/{name}".encode()).digest()[:4], "big")


def _gaps(texts: Sequence[Texts], losses: dict[str, Loss], settings: AnalyzeSettings, found: Found) -> None:
    """The perturbation gap of each set, and the suspected set's beyond each other's."""
    drawn: dict[tuple[str, str, str], tuple[float, Floats]] = {}
    for one in texts:
        for part in PARTS:
            kept, sums = _sums(one, losses, part)
            if not kept:
                found.notes.append(f"{one.name}: no {part} with its twin, so it has no gap there")
                continue
            again = resampled_sums(sums, settings.bootstrap, _seed(settings, one.name))
            for measure, of in (("loss", _loss_gap), ("Min-K%", _lowest_gap)):
                value = float(of(sums.sum(axis=1)[None], len(kept))[0])
                draws = widened(value, of(again, len(kept)), len(kept))
                drawn[one.name, part, measure] = value, draws
                low, high = percentiles(draws)
                found.points.append(
                    {
                        "set": one.name, "part": part, "measure": f"{measure} gap", "value": value, "low": low,
                        "high": high, "original": float(sums[0].sum() / sums[1].sum()),
                        "changed": float(sums[3].sum() / sums[4].sum()), "problems": len(kept),
                        "samples": 2 * len(kept),
                    }
                )  # fmt: skip
    suspected = texts[0]
    if len(texts) == 1:
        found.conclusions.append(_alone(suspected.name, drawn))
    for other in texts[1:]:
        evidence = _beyond(suspected.name, other.name, drawn)
        if of_one_making(suspected.name, other.name):
            for part in PARTS:
                ours, theirs = (_sums(one, losses, part)[1][:2] for one in (suspected, other))
                if ours.shape[1] and theirs.shape[1]:
                    seed = _seed(settings, f"{suspected.name}/{other.name}/{part}")
                    told = lower(ours, theirs, settings.bootstrap, seed)
                    evidence |= {(part, measure): value for measure, value in told.items()}
        _against(suspected.name, other.name, evidence, found)


def _loss_gap(sums: Floats, count: int) -> Floats:
    """By how many nats a token the twin is less likely."""
    return sums[:, 3] / sums[:, 4] - sums[:, 0] / sums[:, 1]


def _lowest_gap(sums: Floats, count: int) -> Floats:
    return (sums[:, 2] - sums[:, 5]) / count


def _alone(name: str, drawn: dict[tuple[str, str, str], tuple[float, Floats]]) -> str:
    told = "; ".join(
        f"{part} {value:+.3f} ({_limits(draws)})"
        for (_, part, measure), (value, draws) in drawn.items()
        if measure == "loss"
    )
    return (
        f"{name}: twins with other numbers cost so many more nats a token: {told}. Alone this is no evidence: numbers "
        "that people chose are likelier than drawn ones. Give a set to compare with, such as gsm8k/train."
    )


_Evidence = dict[tuple[str, str], tuple[float, Floats]]
"""By part and measure: a value that is above 0 where the suspected set was seen, and its resamples."""


def _beyond(suspected: str, other: str, drawn: dict[tuple[str, str, str], tuple[float, Floats]]) -> _Evidence:
    """The suspected set's gaps less the other's."""
    return {
        (part, f"{measure} gap"): (
            value - drawn[other, part, measure][0],
            draws - drawn[other, part, measure][1],
        )
        for (name, part, measure), (value, draws) in drawn.items()
        if name == suspected and (other, part, measure) in drawn
    }


def _against(suspected: str, other: str, evidence: _Evidence, found: Found) -> None:
    """What the evidence says: a flag where the chance of any of it is small enough."""
    counts = [key for key in evidence if not key[1].startswith("Min-K%")]
    flagged, told = [], []
    for (part, measure), (value, draws) in evidence.items():
        low, high = percentiles(draws)
        chance = (1 + float(np.count_nonzero(~(draws > 0)))) / (1 + len(draws))
        found.fits.append(
            {
                "set": f"{suspected} against {other}", "part": part, "measure": measure, "value": value,
                "low": low, "high": high, "problems": None, "note": f"chance of 0 or less {chance:.3f}",
            }
        )  # fmt: skip
        if (part, measure) not in counts:
            continue
        share = "tenth" in measure
        spoken = f"{100 * value:+.0f} points" if share else f"{value:+.3f} nats a token"
        told.append(f"{part}, {measure}: {spoken} ({_limits(draws, 100 if share else 1)})")
        if chance <= max(_ONE_SIDED / len(counts), 1 / (1 + len(draws))):
            flagged.append(f"{part} ({measure})")
    reading = (
        f"FLAGGED: {suspected} is better known than {other}: {', '.join(flagged)}"
        if flagged
        else f"not flagged: nothing says that {suspected} was seen more than {other}"
    )
    found.conclusions.append(f"{suspected} against {other}: {reading}. {'; '.join(told)}.")


def _limits(draws: Floats, times: int = 1) -> str:
    low, high = percentiles(draws)
    if low is None or high is None:
        return "no interval"
    return f"{low:+.3f} to {high:+.3f}" if times == 1 else f"{times * low:+.0f} to {times * high:+.0f}"


def _distances(
    texts: Sequence[Texts], losses: dict[str, Loss], settings: AnalyzeSettings, found: Found
) -> None:
    """D1 = loss of test less that of reference, D2 = loss of test less that of train (Xwin-Math, table 6)."""
    drawn: dict[str, tuple[float, Floats]] = {}
    for one in texts:
        kept, sums = _sums(one, losses, "solution")
        # By role: folders of two runs may have one name, and their problems would then be drawn in pairs.
        again = resampled_sums(sums, settings.bootstrap, _seed(settings, str(one.role)))
        value = float(sums[0].sum() / sums[1].sum())
        draws = widened(value, again[:, 0] / again[:, 1], len(kept))
        drawn[str(one.role)] = value, draws
        low, high = percentiles(draws)
        found.points.append(
            {
                "set": one.role, "part": "solution", "measure": "loss", "value": value, "low": low, "high": high,
                "run": one.name, "problems": len(kept), "samples": len(kept),
            }
        )  # fmt: skip
    for name, role in (("D1", "reference"), ("D2", "train")):
        if role not in drawn:
            continue
        apart = drawn["test"][0] - drawn[role][0]
        spread = drawn["test"][1] - drawn[role][1]
        low, high = percentiles(spread)
        found.fits.append(_distance(name, role, apart, low, high))
        found.conclusions.append(
            f"{name} {apart:+.3f} nats a token ({_limits(spread)}): {_reading(name, low, high)}."
        )


def _distance(name: str, role: str, value: float, low: float | None, high: float | None) -> Row:
    return {
        "set": f"test against {role}", "part": "solution", "measure": name, "value": value, "low": low, "high": high,
    }  # fmt: skip


def _reading(name: str, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "too few texts to tell"
    if name == "D1":
        if high < 0:
            return "FLAGGED: answers to the test questions are likelier than answers to new questions of their kind"
        return "near 0 or above: nothing says that the test questions are known better than new ones of their kind"
    if low > 0:
        return "above 0, as it is where training questions were seen and test questions were not"
    return "not above 0: test questions are as familiar as training questions, or the model was trained on neither"
