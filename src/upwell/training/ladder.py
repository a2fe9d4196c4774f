"""A ladder: one recipe on every rung of nested examples, each measured alike, and one table of what that bought."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from upwell.errors import UsageError
from upwell.measurement import MeasureSettings, measure
from upwell.measurement.comparison import compare
from upwell.measurement.watch import Silent, Watch
from upwell.runs import Run
from upwell.runs.storage import write_atomically
from upwell.training.corpora import finished_examples
from upwell.training.recipes import chosen
from upwell.training.settings import TrainSettings
from upwell.training.stage import train

TABLE = "ladder.csv"
_MEASURED_BY = ("problems", "limit", "samples", "max_tokens", "temperature")


@dataclass(frozen=True)
class _Trained:
    """One rung with one seed."""

    rung: int
    examples: int
    tokens: int
    """Of its completions, as the run of examples counts them."""
    seed: int

    @property
    def name(self) -> str:
        return f"{self.examples}-s{self.seed}"


def train_ladder(examples: str, settings: TrainSettings, *, watch: Watch | None = None) -> Path:
    """Train every rung of the examples' ladder with every seed, measure each and the base, and leave one table.

    Each rung is a training run of its own (`RUN/rungs/EXAMPLES-sSEED`) with its measurements in `RUN/measured/...`
    (`greedy`, and `sampled` where more than one sample is asked for), so each is resumed by itself. The run's summary,
    and `ladder.csv`, have a row for the base and for every rung and seed.

    Args:
        examples: finished run of `upwell curate --ladder`.
        settings: `same`, `seeds`, and `problems` with what it is measured by.
        watch: told of the progress.

    Raises:
        UsageError: the examples have no ladder, or a setting is refused (see `train`); nothing was trained.
    """
    watch = watch or Silent()
    if settings.out is None:
        raise UsageError("there is no run directory to train into", "--out runs/ladder")
    source = finished_examples(examples)
    told = (source.summary or {}).get("ladder")
    if not told or not told["rungs"]:
        raise UsageError(
            f"the examples of `{examples}` have no ladder", "upwell curate ... --ladder allx2^-3..0"
        )
    recipe = chosen(settings)
    rungs = [
        _Trained(rung["rung"], rung["rows"], rung["tokens"], seed)
        for rung in told["rungs"]
        for seed in settings.seeds or (recipe.seed.value,)
    ]
    with Run.open(
        settings.out,
        verb="train",
        settings=asdict(settings),
        fingerprint={
            "ladder": settings.same, "recipe": recipe.name, "base": recipe.base.value,
            "examples": source.reference("examples")["digest"],
            **{name: getattr(settings, name) for name in _MEASURED_BY},
        },
        amounts={"seeds": len(settings.seeds) or 1},
        inputs=[source.reference("examples")],
    ) as run:  # fmt: skip
        rows = list(_rows(examples, settings, recipe.base.value, rungs, run.path, watch))
        run.finish({"ladder": rows, "same": settings.same, "problems": settings.problems})
        write_atomically(run.path / TABLE, _csv(rows))
    return Path(run.path)


def _rows(
    examples: str, settings: TrainSettings, base: str, rungs: list[_Trained], folder: Path, watch: Watch
) -> Iterator[dict[str, Any]]:  # fmt: skip
    yield {"rung": 0, "examples": 0, "seed": None, **_measured(base, "base", settings, folder, watch)}
    steps = None
    if settings.same == "steps":
        # The largest goes first: the others take as many steps as its epochs.
        largest = max(rungs, key=lambda one: one.examples)
        path = _train_one(examples, settings, largest, None, folder, watch)
        steps = (Run.read(path).summary or {})["counts"]["steps"]
    for one in rungs:
        own = None if one.examples == max(rung.examples for rung in rungs) else steps
        path = _train_one(examples, settings, one, own, folder, watch)
        summary = Run.read(path).summary or {}
        yield {
            "rung": one.rung, "examples": one.examples, "seed": one.seed, "completion_tokens": one.tokens,
            "trained_tokens": summary["counts"]["tokens"], "steps": summary["counts"]["steps"],
            "loss": summary["loss"]["mean_of_last"], "training_seconds": summary["seconds"]["training"],
            "digest": summary["model"]["digest"],
            **_measured(str(path / summary["model"]["folder"]), one.name, settings, folder, watch),
        }  # fmt: skip


def _train_one(
    examples: str, settings: TrainSettings, one: _Trained, steps: int | None, folder: Path, watch: Watch
) -> Path:  # fmt: skip
    own = replace(
        settings, ladder=False, seeds=(), seed=one.seed, out=str(folder / "rungs" / one.name),
        max_steps=steps or settings.max_steps,
    )  # fmt: skip
    watch.say(f"rung of {one.examples:,} examples, seed {one.seed}")
    return train(examples, own, rung=one.rung, watch=watch)


def _measured(model: str, name: str, settings: TrainSettings, folder: Path, watch: Watch) -> dict[str, Any]:
    """What the model does on the problems: metrics with intervals, and the difference to the base."""
    if settings.problems is None:
        return {}
    ways: dict[str, dict[str, Any]] = {"greedy": {"samples": 1, "temperature": 0.0}}
    if settings.samples > 1:
        ways["sampled"] = {"samples": settings.samples, "temperature": settings.temperature}
    found: dict[str, Any] = {"metrics": {}, "against_base": {}}
    for way, drawn in ways.items():
        path = folder / "measured" / name / way
        asked = MeasureSettings(
            problems=settings.problems, limit=settings.limit, max_tokens=settings.max_tokens, model=model,
            out=str(path), **drawn,
        )  # fmt: skip
        summary = Run.read(measure(asked, watch=watch)).summary or {}
        for metric in summary["metrics"]:
            if metric["slice"] is None and _kept(metric, way, drawn["samples"]):
                label = f"{way}_{metric['name']}" if way == "greedy" else _label(metric)
                found["metrics"][label] = {key: metric[key] for key in _NUMBERS}
        base = folder / "measured" / "base" / way
        if base != path:
            for line in compare(str(base), str(path)).lines:
                label = f"{way}_{line.name}" if way == "greedy" else _label({"name": line.name, "k": line.k})
                if label in found["metrics"]:
                    found["against_base"][label] = msgspec.to_builtins(line.difference)
    return found


_NUMBERS = ("value", "low", "high", "low_fixed", "high_fixed", "problems", "samples")
_SHOWN = ("pass_ratio", "truncated", "mean_tokens")


def _kept(metric: dict[str, Any], way: str, samples: int) -> bool:
    if way == "greedy":
        return metric["name"] in ("pass_ratio", "truncated")
    return metric["name"] in _SHOWN or (metric["name"] in ("pass@k", "maj@k") and metric["k"] == samples)


def _label(metric: dict[str, Any]) -> str:
    name: str = metric["name"]
    return name if metric["k"] is None else name.replace("@k", f"@{metric['k']}")


def _csv(rows: list[dict[str, Any]]) -> bytes:
    """The table, a column a number; intervals beside each."""
    flat = []
    for row in rows:
        line = {key: value for key, value in row.items() if not isinstance(value, dict)}
        for label, metric in row.get("metrics", {}).items():
            line |= {
                f"{label}": metric["value"],
                f"{label}_low": metric["low"],
                f"{label}_high": metric["high"],
            }
        for label, apart in row.get("against_base", {}).items():
            line |= {
                f"{label}_gain": apart["value"],
                f"{label}_gain_low": apart["low"],
                f"{label}_gain_high": apart["high"],
            }
        flat.append(line)
    columns = list(dict.fromkeys(key for line in flat for key in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue().encode()
