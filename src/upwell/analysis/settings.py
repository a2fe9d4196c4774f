"""The settings of `analyze`: flags, help and Python all come from here."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from math import inf

from upwell.analysis.stepping import RULES
from upwell.errors import UsageError, check_ranges

UNITS = ("examples", "tokens", "usd")
METRIC = re.compile(r"accuracy|error|pass_ratio|(?:pass|maj)@[1-9][0-9]*")
KINDS = ("scaling", "steps", "errors", "leakage", "selection", "compute")


@dataclass(frozen=True, kw_only=True)
class AnalyzeSettings:
    """What is asked of finished runs."""

    out: str
    """Run directory of the analysis."""
    seed: int = 0
    """Seed of the bootstrap."""
    bootstrap: int = 1000
    """Bootstrap resamples behind each band and interval."""
    # scaling
    x: str = "examples"
    """What data are counted in: examples, tokens (of responses), or usd. For scaling."""
    metric: str | None = None
    """Which measurement is fitted: accuracy (greedy), pass_ratio, pass@K, maj@K, or error (1 - accuracy); by default
    what the sources hold: accuracy of a ladder and of greedy runs, else pass_ratio. For scaling."""
    gain: float = 2.0
    """Points for which the data needed are worked out. For scaling."""
    multiple: float = 2.0
    """How many times the most data seen is predicted at. For scaling."""
    usd_per_hour: float | None = None
    """Dollars for an hour of the machine that trained a ladder; --x usd counts its training so. For scaling."""
    # steps
    steps_by: str = "auto"
    """What counts as a step of a gold solution: lines, notes (`<<...>>`), equations (lines and sentences with one), or
    auto: lines where the solutions have notes, else equations. For steps."""
    # errors
    judge: str | None = None
    """A model (as --model of measure takes it) that says of wrong responses whether reasoning or calculation went wrong
    first, with figures of how far it agrees with itself and with the rules. For errors."""
    votes: int = 3
    """How often the judge is asked about a response. For errors."""
    judged: int = 200
    """Wrong responses of each run that the judge is asked about, drawn at random, and a quarter as many right ones, to
    see how often it finds what is not there. Raising it later adds to the same run. For errors."""
    judge_tokens: int = 1024
    """Most tokens that one judgement may have. For errors."""
    key_env: str | None = None
    """For a judge behind a server: the environment variable that holds the API key. For errors."""
    price: str | None = None
    """Dollars per million tokens of the judge: PROMPT,COMPLETION; by default from the price table. For errors."""
    max_usd: float | None = None
    """Stop, resumable, before the judge has cost more than this. For errors."""
    # leakage
    model: str | None = None
    """Model that is suspected (smollm2-135m-instruct, a checkpoint folder, a run of train, a hub name). For leakage."""
    limit: int | None = None
    """Take at most this many problems of each set, or drafts of each run. For leakage."""
    prompt: str = "auto"
    """Prompt that solutions stand behind: the one that the model was trained with, else as for measure. For leakage."""
    min_k: float = 20.0
    """Share of the least likely tokens that Min-K% is the mean over, in percent. For leakage."""
    train: str | None = None
    """What the model was trained on, where that is known: a run of curate, or a data file with questions; its n-grams
    are looked for in every set. For leakage."""
    ngram: int = 13
    """Words of an n-gram. For leakage."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N. For leakage."""
    # compute
    parameters: float | None = None
    """Parameters of the model, such as 7e9, where no checkpoint is at hand to count them in. For compute."""

    def __post_init__(self) -> None:
        check_ranges(
            ("bootstrap", self.bootstrap, self.bootstrap >= 20, "20 or more"),
            ("gain", self.gain, 0 < self.gain < 100, "above 0 and below 100 points"),
            ("multiple", self.multiple, 1 < self.multiple < inf, "above 1"),
            (
                "usd_per_hour",
                self.usd_per_hour,
                self.usd_per_hour is None or 0 < self.usd_per_hour < inf,
                "above 0",
            ),
            ("votes", self.votes, self.votes >= 1, "1 or more"),
            ("judged", self.judged, self.judged >= 1, "1 or more"),
            ("limit", self.limit, self.limit is None or self.limit >= 1, "1 or more"),
            ("min_k", self.min_k, 0 < self.min_k <= 100, "above 0 and at most 100 percent"),
            ("ngram", self.ngram, self.ngram >= 2, "2 or more"),
            (
                "parameters",
                self.parameters,
                self.parameters is None or 1 <= self.parameters < inf,
                "1 or more",
            ),
        )
        if self.x not in UNITS:
            raise UsageError(f"--x {self.x}: data are not counted in that", f"--x {'|'.join(UNITS)}")
        if self.metric is not None and not METRIC.fullmatch(self.metric):
            raise UsageError(
                f"--metric {self.metric}: there is no such measurement",
                "--metric accuracy|pass_ratio|pass@16|maj@16|error",
            )
        if self.steps_by not in RULES:
            raise UsageError(
                f"--steps-by {self.steps_by}: there is no such rule", f"--steps-by {'|'.join(RULES)}"
            )


_ERRORS = ("judge", "votes", "judged", "judge_tokens", "key_env", "price", "max_usd")
_LEAKAGE = ("model", "limit", "prompt", "min_k", "train", "ngram", "device")
ONLY_SPEED = ("device", "key_env", "price", "max_usd")
"""Settings that change no number."""
AMOUNTS = ("judged",)
"""Settings that may be raised later."""
_SCALING = ("x", "metric", "gain", "multiple", "usd_per_hour")
_ONLY = {
    "steps_by": ("steps",), "parameters": ("compute",), **dict.fromkeys(_SCALING, ("scaling",)),
    **dict.fromkeys(_ERRORS, ("errors",)), **dict.fromkeys(_LEAKAGE, ("leakage",)),
}  # fmt: skip
"""Settings that do something for some kinds alone."""


def check_used(kind: str, settings: AnalyzeSettings) -> None:
    """Refuse a setting that does nothing for this kind of analysis, or without a judge.

    Raises:
        UsageError: names it, and what it is for.
    """
    for field in fields(settings):
        kinds = _ONLY.get(field.name, KINDS)
        if getattr(settings, field.name) == field.default:
            continue
        flag = "--" + field.name.replace("_", "-")
        if kind not in kinds:
            raise UsageError(
                f"{flag} does nothing for {kind}: it is for {', '.join(kinds)}", f"leave {flag} out"
            )
        if settings.judge is None and field.name in _ERRORS:
            raise UsageError(
                f"{flag} does nothing without a judge", f"add --judge MODEL, or leave {flag} out"
            )


def check_kind(kind: str) -> None:
    """Refuse a kind of analysis that there is not.

    Raises:
        UsageError: with the one that is nearest.
    """
    import difflib

    if kind not in KINDS:
        close = difflib.get_close_matches(kind, KINDS, n=1)
        raise UsageError(
            f"no analysis `{kind}`; there are {', '.join(KINDS)}",
            f"upwell analyze {close[0] if close else KINDS[0]} RUN... --out RUN",
        )
