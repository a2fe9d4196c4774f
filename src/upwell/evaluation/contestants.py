"""The models of an evaluation: what each is, how it is asked, and its engine, loaded once for all sets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from upwell.engines.base import Engine, Reply, Request
from upwell.engines.opening import Model, find_model
from upwell.engines.settings import BATCH, EMBEDDED, SERVER, VLLM, EngineSettings
from upwell.errors import UsageError
from upwell.evaluation.model_cards import ModelCard, bare_name, card_of, card_of_training
from upwell.evaluation.settings import EvaluateSettings

_LABELLED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)


@dataclass
class Contestant:
    """A model that is evaluated."""

    label: str
    """Its name in tables and folders."""
    name: str
    """As `--model` takes it."""
    engine_settings: dict[str, Any]
    """Those of the settings that are for its kind of model."""
    prompt: str
    stop: tuple[str, ...]
    card: ModelCard | None
    model: Model | None
    """None where a caller brought the engine."""
    engine: Engine | None
    """None for a batch, whose engine keeps files in the run that it works for."""

    def entry(self) -> dict[str, Any]:
        """What manifest and summary say of it."""
        told: dict[str, Any] = {"label": self.label, "name": self.model.name if self.model else self.name}
        if self.model is not None:
            told |= {"identity": self.model.identity}
        elif self.engine is not None:
            told |= {"identity": self.engine.identity}
        card = self.card
        told["card"] = None if card is None else {
            "family": card.family, "eos": card.eos, "quirks": list(card.quirks), "source": card.source,
        }  # fmt: skip
        return told | {"prompt": self.prompt, "stop": list(self.stop)}

    def said(self, overridden: bool) -> str:
        """How it is asked, in a line."""
        stops = ", ".join(f"{stop!r}" for stop in self.stop)
        how = f"prompt `{self.prompt}`" + (f", stop {stops}" if stops else "")
        if self.card is None:
            fallback = "" if overridden else ": its own chat template, or `plain` where it has none"
            return f"{self.label}: no card knows this name; {how}{fallback}"
        named = f"{self.label}: card `{self.card.family}`"
        if overridden:
            return f"{named}, but asked otherwise: {how}"
        return f"{named}: {how}; " + "; ".join(self.card.quirks)

    def close(self) -> None:
        """End its engine."""
        if self.engine is not None:
            self.engine.close()


class OnDemand:
    """The engine of a model, opened when something is asked of it."""

    def __init__(self, model: Model, folder: Path, say: Callable[[str], None]) -> None:
        self.identity = model.identity
        self._model, self._folder, self._say = model, folder, say
        self._engine: Engine | None = None

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Reply]:
        """As the engine does."""
        if self._engine is None:
            self._say(f"loading {self._model.name}")
            self._engine = self._model.open(folder=self._folder, say=self._say)
        yield from self._engine.generate(requests)

    def close(self) -> None:
        """End the engine, if it was opened."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def contestants(
    models: Sequence[str],
    settings: EvaluateSettings,
    engines: Mapping[str, Engine],
    say: Callable[[str], None],
) -> list[Contestant]:
    """The models of a command, none of them loaded yet.

    Args:
        models: As `--model` takes them, or LABEL=MODEL.
        settings: How they are to be asked, run and reached.
        engines: By model as named, engines that a caller brings.
        say: Told how each is asked.

    Raises:
        UsageError: A model is not to be had, two have one label, or a setting does nothing for any of them.
    """
    if not models:
        raise UsageError(
            "no model to evaluate", "upwell evaluate smollm2-135m-instruct --suite xwin --out RUN"
        )
    named = [_labelled(model) for model in models]
    for label, count in Counter(label for label, _ in named).items():
        if count > 1:
            one, other = [name for own, name in named if own == label][:2]
            raise UsageError(
                f"`{one}` and `{other}` would both be called `{label}`",
                f"name them: upwell evaluate first={one} second={other}",
            )
    judge = [settings.judge] if settings.judge is not None else []
    _check_used([*(name for _, name in named if name not in engines), *judge], settings)
    return [_contestant(label, name, settings, engines, say) for label, name in named]


def settings_for(name: str, settings: EvaluateSettings) -> dict[str, Any]:
    """Of the settings for running and reaching models, those that were set and are for this kind of model."""
    return {
        field.name: getattr(settings, field.name)
        for field in _set(settings)
        if _refusal(name, settings, field.name) is None
    }


def _labelled(model: str) -> tuple[str, str]:
    found = _LABELLED.fullmatch(model)
    if found:
        return found[1], found[2]
    if not model.strip():
        raise UsageError("a model's name is empty", "upwell evaluate smollm2-135m-instruct ...")
    return re.sub(r"[^\w.-]+", "-", bare_name(model)).strip("-.") or "model", model


def _contestant(
    label: str,
    name: str,
    settings: EvaluateSettings,
    engines: Mapping[str, Engine],
    say: Callable[[str], None],
) -> Contestant:
    own = settings_for(name, settings)
    engine, model = engines.get(name), None
    if engine is None:
        model = find_model(name, EngineSettings(**own), say=say)
        if model.kind != BATCH:
            engine = OnDemand(model, Path(settings.out), say)
    trained = model.checkpoint.training if model is not None and model.checkpoint is not None else {}
    card = card_of_training(trained) if trained else card_of(name)
    by_card = settings.prompt == "card"
    prompt = settings.prompt if not by_card else card.prompt if card is not None else "auto"
    stop = settings.stop or (card.stops if card is not None and by_card else ())
    found = Contestant(label, name, own, prompt, stop, card, model, engine)
    say(found.said(overridden=not by_card or bool(settings.stop)))
    if card is not None and model is not None and model.checkpoint is not None:
        ends = model.checkpoint.special_token("eos_token")
        if ends is not None and ends != card.eos:
            say(f"{label}: its tokenizer ends a text with `{ends}`, where the card has `{card.eos}`")
    return found


def _kind(name: str) -> str:
    kind, colon, _ = name.partition(":")
    return kind if colon and kind in (SERVER, VLLM, BATCH) else EMBEDDED


def _set(settings: EvaluateSettings) -> list[Any]:
    return [field for field in fields(EngineSettings) if getattr(settings, field.name) != field.default]


def _refusal(name: str, settings: EvaluateSettings, field: str) -> UsageError | None:
    """Why a setting is not for a model, or None where it is."""
    try:
        EngineSettings(
            ray=settings.ray, **({} if field == "ray" else {field: getattr(settings, field)})
        ).check_used(_kind(name), name)
    except UsageError as error:
        return error
    return None


def _check_used(names: Sequence[str], settings: EvaluateSettings) -> None:
    """Refuse a setting that does nothing for any of the models and the judge."""
    for field in _set(settings) if names else ():
        refusals = [_refusal(name, settings, field.name) for name in names]
        if all(refusals):
            raise next(refusal for refusal in refusals if refusal is not None)
