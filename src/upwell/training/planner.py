"""A plan: a recipe on some data and some hardware, in tokens, steps, memory, hours and dollars."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from upwell.errors import UsageError
from upwell.training.corpora import CORPORA, Corpus, corpus_of, corpus_of_run
from upwell.training.cost import FILL, Memory, Work, memory_of, work_of
from upwell.training.hardware import HERE, Hardware, find_hardware
from upwell.training.published import compared
from upwell.training.recipes import Recipe, chosen
from upwell.training.settings import METHODS, TrainSettings
from upwell.training.shapes import Shape, shape_of

_USUAL = "8xH100"
_SHORT_STEP = 0.1
"""Seconds of arithmetic in an optimizer step below which launching it takes a good part of a GPU's time."""
_MOST_DEVICES = 4096
"""Where the search for enough devices ends."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One way to hold the run on the hardware."""

    method: str
    sharding: str
    rows_per_device: int
    """Rows that a device works on at once."""
    accumulation: int
    """Passes per optimizer step."""
    memory: Memory
    fits: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run takes on one kind of hardware."""

    hardware: Hardware
    work: Work
    fit: Fit
    """The way that the recipe says."""
    others: tuple[Fit, ...]
    """The other ways."""
    devices_needed: int | None
    """The fewest such devices, doubling, that hold the run; None where it fits or no number helps."""
    hours: float
    usd: float | None


def plan(settings: TrainSettings, run: str | None = None) -> dict[str, Any]:
    """The recipe with its sources and what it takes: one object, ready for JSON. Nothing is written, no network asked.

    Args:
        run: examples of a finished run to plan on, instead of a data recipe.

    Raises:
        UsageError: a name that there is not, or settings that exclude each other.
    """
    recipe = chosen(settings)
    shape = shape_of(recipe.base.value)
    corpus = _corpus(recipe, settings, run)
    # Flags that say what hardware does are of the hardware named, not of this machine beside it.
    named = [
        find_hardware(
            name,
            mfu=settings.mfu if settings.hardware or name != HERE else None,
            price=settings.price if settings.hardware or name != HERE else None,
        )
        for name in settings.hardware or dict.fromkeys((_USUAL, recipe.hardware.value, HERE))
    ]
    padded = settings.rows == "full"
    plans = [plan_on(hardware, recipe, shape, corpus, padded=padded) for hardware in named]
    values = dict(recipe.values())
    return {
        "name": recipe.name,
        "recipe": {name: value.value for name, value in values.items()},
        "paper": {name: value.paper for name, value in values.items()},
        "sources": {name: {"source": value.source, "why": value.why} for name, value in values.items()},
        "other_data": list(recipe.other_data),
        "model": _model_entry(shape),
        "data": _data_entry(corpus, recipe),
        "plans": [_plan_entry(found, recipe) for found in plans],
        "published": compared(recipe.name) if settings.base is None and settings.method is None else [],
        "notes": _notes(recipe, corpus, plans, padded=padded),
    }


def plan_on(
    hardware: Hardware, recipe: Recipe, shape: Shape, corpus: Corpus, *, padded: bool = False
) -> Plan:
    """What the recipe takes on this hardware; `padded` as `work_of` has it."""
    work = work_of(recipe, shape, corpus, padded=padded)
    sharding = recipe.sharding.value if hardware.devices > 1 else "none"
    ways = [(sharding, recipe.method.value)]
    for way in [(s, m) for m in METHODS for s in ("none", "fsdp2")]:
        if way not in ways and (hardware.devices > 1 or way[0] == "none"):
            ways.append(way)
    fits = [_fit(hardware, recipe, shape, sharding=s, method=m) for s, m in ways]
    seconds = work.model_flops / (hardware.devices * hardware.peak * hardware.mfu)
    price = hardware.price
    return Plan(
        hardware=hardware,
        work=work,
        fit=fits[0],
        others=tuple(fits[1:]),
        devices_needed=None if fits[0].fits else _needed(hardware, recipe, shape),
        hours=seconds / 3600,
        usd=None if price is None else seconds / 3600 * hardware.devices * price,
    )


def _fit(hardware: Hardware, recipe: Recipe, shape: Shape, *, sharding: str, method: str) -> Fit:
    """With as many rows at once as fit: the fewest passes per step; one row where none does."""
    per_device = math.ceil(recipe.batch_size.value / hardware.devices)
    half = recipe.precision.value == "bfloat16" or (recipe.precision.value == "auto" and hardware.bfloat16)
    for passes in (n for n in range(1, per_device + 1) if per_device % n == 0):
        rows = per_device // passes
        memory = memory_of(
            recipe, shape, devices=hardware.devices, rows=rows, sharding=sharding, method=method, half=half
        )
        fits = memory.total <= hardware.memory
        if rows == 1 or (fits and rows <= (hardware.most_rows or rows)):
            break
    return Fit(
        method=method,
        sharding=sharding,
        rows_per_device=rows,
        accumulation=passes,
        memory=memory,
        fits=fits,
    )


def _needed(hardware: Hardware, recipe: Recipe, shape: Shape) -> int | None:
    if hardware.name.startswith(HERE):
        return None
    devices = 2 * hardware.devices
    sharding = "fsdp2" if recipe.sharding.value == "none" else recipe.sharding.value
    while devices <= _MOST_DEVICES:
        more = replace(hardware, devices=devices)
        if _fit(more, recipe, shape, sharding=sharding, method=recipe.method.value).fits:
            return devices
        devices *= 2
    return None


def _corpus(recipe: Recipe, settings: TrainSettings, run: str | None) -> Corpus:
    if run is None:
        return corpus_of(recipe.data.value, rows=settings.examples, tokens=settings.tokens_per_example)
    for flag in ("examples", "data", "tokens_per_example"):
        if getattr(settings, flag) is not None:
            shown = flag.replace("_", "-")
            raise UsageError(
                f"--{shown} and the run `{run}` both say what is trained on", f"leave --{shown} out"
            )
    return corpus_of_run(run)


def _notes(recipe: Recipe, corpus: Corpus, plans: list[Plan], *, padded: bool) -> list[str]:
    notes = []
    each = corpus.tokens(recipe.prompt.value)
    if each > recipe.max_length.value:
        notes.append(
            f"an example has {each:,.0f} tokens on average, more than the maximum length: most would be cut"
        )
    elif not padded and each > recipe.max_length.value / 4:
        notes.append(
            f"examples of {each:,.0f} tokens on average leave rows less full than the {FILL:.0%} assumed"
        )
    if recipe.method.value == "lora":
        notes.append(
            "the learning rate is the recipe's for all weights; adapters usually take about ten times that"
        )
    for found in plans:
        where, batch = found.hardware, recipe.batch_size.value
        if batch % where.devices:
            notes.append(f"{where.name}: a batch of {batch} rows does not divide by {where.devices} devices")
        if found.hours * 3600 / found.work.steps < _SHORT_STEP:
            notes.append(
                f"{where.name}: steps of {3.6e6 * found.hours / found.work.steps:.1f} ms: what starts and joins them "
                "takes longer, so expect more hours"
            )
        if not found.fit.fits:
            more = (
                f"{found.devices_needed} such devices hold it"
                if found.devices_needed
                else "no number of such devices holds it"
                if not where.name.startswith(HERE)
                else "another machine has to train it"
            )
            notes.append(f"{where.name}: {recipe.method.value} fine-tuning does not fit into memory; {more}")
    return notes


def _model_entry(shape: Shape) -> dict[str, Any]:
    return {
        **asdict(shape), "parameters": shape.parameters, "multiplied_parameters": shape.multiplied,
    }  # fmt: skip


def _data_entry(corpus: Corpus, recipe: Recipe) -> dict[str, Any]:
    return {
        "name": corpus.name,
        "examples": corpus.rows,
        "parts": dict(corpus.of),
        "tokens_per_example": corpus.tokens(recipe.prompt.value),
        "source": corpus.source,
        "tokens_source": corpus.tokens_source,
        "known": sorted(CORPORA),
    }


def _plan_entry(found: Plan, recipe: Recipe) -> dict[str, Any]:
    where, work = found.hardware, found.work
    return {
        "hardware": where.name,
        "devices": where.devices,
        "peak_flops_per_device": where.peak,
        "usable_memory_per_device": where.memory,
        "assumed_mfu": where.mfu,
        "assumed_usd_per_device_hour": where.price,
        "epochs": recipe.epochs.value,
        **asdict(work),
        "tokens_per_second": work.tokens_per_epoch * recipe.epochs.value / (found.hours * 3600),
        "hours": found.hours,
        "device_hours": found.hours * where.devices,
        "usd": found.usd,
        "fits": found.fit.fits,
        "devices_needed": found.devices_needed,
        "memory": [_fit_entry(fit) for fit in (found.fit, *found.others)],
    }


def _fit_entry(fit: Fit) -> dict[str, Any]:
    return {**asdict(fit), "memory": {**asdict(fit.memory), "total": fit.memory.total}}
