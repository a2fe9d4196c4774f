"""The nouns: one frozen record per kind of table row, and nothing that computes.

Keys are content, never positions: the same question has the same id in every run on every machine.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all table rows: immutable, strict about unknown fields when decoded."""


class Problem(Record, frozen=True, omit_defaults=True):
    """A question with its reference answer."""

    key: str
    """`<benchmark>/<split>/<digest of the question>` (see `problem_id`), or the row's own id."""
    question: str
    answer: str
    """The reference ("gold") answer as the grader is to read it, such as `18` or `\\frac{1}{2}`."""
    solution: str | None = None
    """Worked solution, where the set has one."""
    source: str = ""
    """Problem set name, such as `gsm8k`."""
    split: str = ""
    level: str | None = None
    subject: str | None = None
    parents: tuple[str, ...] = ()
    """Keys of the problems this one was made from."""
    tolerance: float | None = None
    """Absolute tolerance that the benchmark itself publishes for this answer, if any."""
    points: float | None = None
    """Most points that a response can get, where it is graded in points and that is known."""

    @property
    def id(self) -> str:
        """The key under its usual name."""
        return self.key


class Response(Record, frozen=True, omit_defaults=True):
    """One completion that a model wrote for one problem."""

    key: str
    """`<problem key>#<index>`: the name of this draw in every table, for ever."""
    problem: str
    """Key of the problem."""
    index: int
    """Number of the draw, from 0."""
    text: str
    finish: Literal["stop", "length"] | None = None
    """`stop`: ended by itself (end-of-sequence token or stop string); `length`: cut at the token limit; None:
    not known, as in most files of other programs."""
    tokens: int | None = None
    """Tokens generated, the end-of-sequence token included; None where not known."""
    prompt_tokens: int | None = None
    """Tokens of the prompt that were read for this response: 0 where another response of the same call has them."""
    usd: float | None = None
    """What it cost, in US dollars; None where it cost nothing or that is not known."""
    seed: int | None = None
    """The seed of this draw (see `draw_seed`); None where not known."""
    logprob: float | None = None
    """Mean log-probability per generated token under the model at temperature 1, in nats (<= 0)."""
    score: float | None = None
    """What a verifier thinks of it, higher being better."""
    points: float | None = None
    """What a human grader gave it."""
    bare: bool = False
    """Whether the text is an answer without a response around it."""


class Verdict(Record, frozen=True, omit_defaults=True):
    """What the grader made of one response."""

    key: str
    """Key of the response."""
    correct: bool | None
    """True, False, or None where the grader could not tell (then `trouble` says why)."""
    answer: str | None = None
    """The answer found in the response, or None where there is none."""
    tier: str = ""
    """Which rule decided, such as `literal`, `numeric`, `symbolic`, `none` (no answer found); or `judge`."""
    trouble: str | None = None
    """Why `correct` is None: `timeout`, `memory`, `crash`, `no worker`, `no reference`, `judge tie`,
    `judge unreadable`, `no maximum` (points alone do not say what is right)."""
    sound: Literal["yes", "no", "none"] | None = None
    """Whether every arithmetic equation in the response checks out (`none`: it has none that can be checked);
    None where it was not looked at, as in wrong responses."""
    points: float | None = None
    """What a judge gave it, where it is graded in points."""


class Judgement(Record, frozen=True, omit_defaults=True):
    """One vote of a judge or verifier on one response."""

    key: str
    """`<response key>#<vote>` of a judge, `...#score-<vote>` of a verifier, `...#mistake-<vote>` of one that names the
    kind of a mistake; votes count from 0."""
    response: str
    """Key of the response; of a mistake with its run before it, `<run>|<response key>`."""
    text: str
    """What the model wrote."""
    correct: bool | None = None
    """The verdict that it ends with; None where it was asked for points, or cannot be read."""
    points: float | None = None
    """The points that it ends with; None where it was asked for a verdict, or cannot be read."""
    mistake: Literal["reasoning", "calculation", "none"] | None = None
    """The kind of mistake that it ends with; None where it was asked for something else, or cannot be read."""
    finish: Literal["stop", "length"] = "stop"
    tokens: int = 0
    """Tokens generated."""
    prompt_tokens: int | None = None
    """Tokens of the prompt that were read for this vote: 0 where another vote of the same call has them."""
    usd: float | None = None
    """What it cost, in US dollars; None where it cost nothing or that is not known."""


class Draft(Record, frozen=True, omit_defaults=True):
    """A question with an answer and a worked solution, made by a model or a program, before curation."""

    key: str
    """Of a new question `<seed key>/<method>-<number>`; of a sampled solution the key of its response."""
    method: str
    """Such as `xwin` or `rejection`."""
    question: str
    answer: str
    solution: str
    """Empty where a program made the question and nobody has solved it yet."""
    parents: tuple[str, ...] = ()
    """Keys of the problems or drafts that it was made from; of a sampled solution, the problem that it solves."""
    source: str = ""
    """Problem set of the seeds, such as `gsm8k`."""
    split: str = ""
    """Split of the seeds."""
    level: str | None = None
    subject: str | None = None
    teacher: str = ""
    """What wrote it: the engine's identity."""
    prompt: str = ""
    """Digest of the prompts that it was asked with, first 12 digits."""
    replies: tuple[str, ...] = ()
    """Keys of the replies that it was read from."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Tokens that these replies took."""
    usd: float | None = None
    """What they cost, in US dollars; None where that is nothing or not known."""
    fail_rate: float | None = None
    """Share of wrong ones among the responses that were drawn for the question, where they were."""
    agreement: float | None = None
    """Share of the question's solutions that give this answer, where several were asked for."""


class Example(Record, frozen=True, omit_defaults=True):
    """A training example in prompt-completion form."""

    key: str
    """Key of the draft it was made from; of a copy that resampling made, with `*2`, `*3` ... behind it."""
    prompt: str
    """What the model is to see, in the template that evaluation uses."""
    completion: str
    """What it is to write. The end-of-sequence token is the trainer's to add."""
    problem: str
    """Key of the problem that it solves; of a new question its own key."""
    source: str = ""
    """Problem set of the seeds, such as `gsm8k`."""
    lineage: tuple[str, ...] = ()
    """Keys of the problems, drafts and replies that it was made from."""
    rung: int | None = None
    """The smallest rung of the ladder that holds it, from 1: rung k is every example whose rung is at most k, so
    rungs are nested. None where there is no ladder, or none of its rungs holds the example."""
    question: str = ""
    """The question without its template."""
    answer: str = ""
    level: str | None = None
    subject: str | None = None


class Step(Record, frozen=True, omit_defaults=True):
    """One optimizer step of a training."""

    key: str
    """`step-<number>`, from 1, with leading zeros."""
    step: int
    epoch: float
    """Epochs done after it."""
    loss: float
    """Mean negative log-likelihood of the learnt tokens of its rows, in nats."""
    learning_rate: float
    gradient_norm: float | None = None
    """Before clipping."""
    tokens: int = 0
    """Tokens of its rows, prompts and all, padding not counted."""
    learnt: int = 0
    """Of these, the ones that its loss is the mean over."""
    seconds: float = 0.0


class Loss(Record, frozen=True, omit_defaults=True):
    """How likely a model finds a text that is there already."""

    key: str
    """First 12 digits of the digest of its set or run, as the manifest's inputs have it, then `|` and the key of the
    problem or draft, then `|question` or `|solution`, then `|original` or `|changed`."""
    tokens: int
    """Of the text, without its context."""
    loss: float
    """Summed negative log-likelihood of these tokens, in nats."""
    lowest: float
    """Mean log-probability of the least likely of them (Min-K%)."""


class Reject(Record, frozen=True, omit_defaults=True):
    """A row that a step turned down, and why."""

    key: str
    step: str
    reason: str
    rejected: str = ""
    """What was rejected, as text."""


class Failure(Record, frozen=True, omit_defaults=True):
    """A request that got no usable reply. Owed again when the run is resumed."""

    key: str
    where: str
    message: str
    attempt: int = 1


class Waste(Record, frozen=True, omit_defaults=True):
    """What calls for one draw took that gave nothing: cut, malformed, refused after the work was done."""

    key: str
    """Key of the draw."""
    calls: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Tokens that these calls are known to have taken."""
    usd: float | None = None


class Lap(Record, frozen=True):
    """A stretch of time that a session spent on a part of a run; their sum is what the run took."""

    key: str
    part: str
    """Such as `sampling` or `grading`."""
    seconds: float


def problem_id(source: str, split: str, question: str) -> str:
    """The key of a problem: benchmark, split and 64 bits of the question's SHA-256, whitespace folded."""
    folded = " ".join(question.split())
    return f"{source}/{split}/{hashlib.sha256(folded.encode()).hexdigest()[:16]}"


def draw_key(problem: str, index: int) -> str:
    """The key of draw `index` (from 0) of a problem."""
    return f"{problem}#{index}"


def draw_seed(run_seed: int, problem: str, index: int) -> int:
    """The 63-bit seed of one draw, hashed (never added) so that no two draws of any run share a stream."""
    text = f"{run_seed}\x1f{problem}\x1f{index}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
