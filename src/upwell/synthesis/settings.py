"""The settings of `synthesize`: flags, help, manifest and Python all come from here."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from upwell.engines.checkpoints import DEFAULT_MODEL
from upwell.engines.settings import EngineSettings
from upwell.errors import UsageError, check_ranges

XWIN, REJECTION, PROCEDURAL = "xwin", "rejection", "procedural"
POLICIES = ("vanilla", "uniform", "prop2diff")
SCALES = ("fail", "fail-over-max")


@dataclass(frozen=True, kw_only=True)
class SeedSettings:
    """What is written anew, or solved."""

    seeds: str
    """Seed questions: a problem set (`upwell problems`), procedural:TASK, a JSONL, JSON, CSV, TSV or Parquet file, or a
    run of `synthesize`, whose drafts are then the seeds."""
    split: str = "train"
    """Split of a named set."""
    limit: int | None = None
    """Take this many seeds: a fixed random subset that grows with the limit. All by default."""
    field: tuple[str, ...] = ()
    """For a file, FIELD=COLUMN: which column holds question, answer, solution, level, subject or id. Repeatable."""


@dataclass(frozen=True, kw_only=True)
class QuestionSettings:
    """How new questions are made. Not for rejection."""

    count: int | None = None
    """Drafts wanted; raising it later adds to the same run. One per seed by default."""
    max_tries: int | None = None
    """Questions begun at most, whatever becomes of them; four times --count by default."""
    like: str = "auto"
    """What the questions are to be like: gsm8k (word problems, a number as answer), math (competition, any answer,
    level and subject asked for), or auto: by the seeds."""
    verification: bool = True
    """Have the teacher solve and repair its own question in the same call (xwin); --no-verification leaves it out."""
    solutions: int = 1
    """Solutions asked for per question."""
    keep: str = "first"
    """Of several solutions: first, or consensus: one that gives the answer that most give."""
    consensus: float = 0.5
    """With --keep consensus, the share of solutions that have to agree: more than this."""
    resolve: bool = False
    """Have each new question solved once more, asked as a model would be asked, and keep it only if that gives the same
    answer."""
    student: str | None = None
    """A graded run of the student on the seeds: only seeds that it solves sometimes but not always are used, those that
    it solves about half the time most."""
    generations: int = 1
    """Rounds: from the second on, the accepted drafts of the round before are the seeds."""


@dataclass(frozen=True, kw_only=True)
class RejectionSettings:
    """How many right solutions each question gets. For rejection alone."""

    policy: str = "uniform"
    """vanilla (--trials responses per question, the right ones kept), uniform (--k-uniform right ones each), or
    prop2diff (right ones in proportion to the fail rate, --k-hardest for the hardest, at least one)."""
    trials: int = 52
    """Vanilla: responses per question. Raising it later adds to the same run."""
    k_uniform: int = 40
    """Uniform: right solutions per question. Raising it later adds to the same run."""
    k_hardest: int = 192
    """Prop2diff: right solutions for the hardest question. Raising it later adds to the same run."""
    scale: str = "fail"
    """Prop2diff: the target is --k-hardest times fail (the fail rate), or times fail-over-max (the fail rate over the
    highest one), rounded up. The paper does not say which."""
    probes: int = 16
    """Prop2diff: responses per question from which its fail rate is taken, where --pool does not have more; with
    --majority, those that vote."""
    max_trials: int = 2048
    """Uniform and prop2diff: responses per question at most. Raising it later adds to the same run."""
    give_up: float = 0.0
    """Uniform and prop2diff: give a question up, by name, where the chance that it ever reaches its target is below
    this, or, while it has no right solution, the chance that it gets even one; 0 never does, as in DART-Math. 0.01
    saves a third to a half of the draws and costs hard questions some of their solutions (docs/rejection.md)."""
    pool: str | None = None
    """An earlier run of rejection on the same questions, whose responses are used before new ones are drawn."""
    majority: bool = False
    """For questions without a reference answer: take the answer that most of --probes responses give as right."""

    def check_policy(self) -> None:
        """Refuse a target that cannot be met, and the first setting that was set and does nothing for the policy.

        Raises:
            UsageError: names the setting.
        """
        unused = {name for policy, names in _FOR_POLICY.items() if policy != self.policy for name in names}
        unused -= {*_FOR_POLICY[self.policy], *(["probes"] if self.majority else [])}
        for field in fields(RejectionSettings):
            if field.name in unused and getattr(self, field.name) != field.default:
                flag = "--" + field.name.replace("_", "-")
                raise UsageError(f"{flag} does nothing for --policy {self.policy}", f"leave {flag} out")
        most, ends = (
            (self.trials, "--trials") if self.policy == "vanilla" else (self.max_trials, "--max-trials")
        )
        for name in sorted({"k_uniform", "k_hardest", "probes"} - unused):
            if (value := getattr(self, name)) > most:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} {value} is more than {ends} {most} allows", f"{flag} {most}")


_FOR_POLICY = {
    "vanilla": ("trials",),
    "uniform": ("k_uniform", "max_trials", "give_up"),
    "prop2diff": ("k_hardest", "scale", "probes", "max_trials", "give_up"),
}


@dataclass(frozen=True, kw_only=True)
class SynthesisSettings(RejectionSettings, QuestionSettings, EngineSettings, SeedSettings):
    """How drafts are made, and from what."""

    out: str
    """Run directory. The same command on the same directory resumes it."""
    method: str = XWIN
    """xwin (a new question, verified, then solved), add-constraint, change-numbers, change-background,
    change-numbers-and-background, rephrase, answer-augmentation, self-verification, fobar, rejection (many solutions,
    the right ones kept), or procedural (made by a program, no teacher)."""
    teacher: str = DEFAULT_MODEL
    """Who writes: a checkpoint run here, server:URL#NAME, vllm:CHECKPOINT or batch:URL#NAME."""
    prompt: str = "auto"
    """For rejection, the prompt template by name; auto is the teacher's own chat template, or `plain`."""
    temperature: float | None = None
    """Sampling temperature; 1.0 by default as in Xwin-Math, 1.6 for rejection as in DART-Math."""
    top_p: float | None = None
    """Nucleus sampling; 1 by default, 0.95 for rejection as in DART-Math."""
    max_tokens: int = 2048
    """Most tokens that one reply may have."""
    seed: int = 0
    """Seed of the run; every reply has its own, hashed from this, its question and its number."""
    style: str = "auto"
    """How answers are found and compared (docs/grading.md)."""
    workers: int | None = None
    """Worker processes for symbolic comparison; one per core by default."""
    timeout: float = 5.0
    """Seconds that one symbolic comparison may take."""
    cache: bool = True
    """Remember across runs what took a symbolic worker (in ~/.cache/upwell)."""
    dry_run: bool = False
    """Make only a few drafts, which are kept, and say what the whole run would take, with a range."""

    @property
    def heat(self) -> float:
        """The temperature that replies are drawn at."""
        default = 1.6 if self.method == REJECTION else 1.0
        return default if self.temperature is None else self.temperature

    @property
    def nucleus(self) -> float:
        """The top-p that replies are drawn with."""
        default = 0.95 if self.method == REJECTION else 1.0
        return default if self.top_p is None else self.top_p

    def __post_init__(self) -> None:
        heat, nucleus = self.heat, self.nucleus
        check_ranges(
            ("temperature", heat, heat == 0 or 0.01 <= heat < math.inf, "0 or 0.01 or more"),
            ("top-p", nucleus, 0 < nucleus <= 1, "above 0, at most 1"),
            *(
                (name.replace("_", "-"), value, value is None or value >= 1, "1 or more")
                for name in ("limit", "count", "max_tries", "solutions", "generations", "trials", "k_uniform",
                             "k_hardest", "probes", "max_trials", "max_tokens", "workers")
                for value in [getattr(self, name)]
            ),
            ("consensus", self.consensus, 0 <= self.consensus < 1, "0 or more, below 1"),
            ("give-up", self.give_up, 0 <= self.give_up < 1, "0 (never) or more, below 1"),
            ("timeout", self.timeout, 0 < self.timeout < math.inf, "above 0"),
        )  # fmt: skip
        for name, choices in (("like", ("auto", "gsm8k", "math")), ("keep", ("first", "consensus")),
                              ("policy", POLICIES), ("scale", SCALES)):  # fmt: skip
            value = getattr(self, name)
            if value not in choices:
                raise UsageError(
                    f"--{name} is `{value}`, which is none of its values", f"--{name} {'|'.join(choices)}"
                )
        EngineSettings.__post_init__(self)
        self._check_used()
        if self.method == REJECTION:
            self.check_policy()

    def _check_used(self) -> None:
        """Refuse the first setting that was set and does nothing for the method."""
        unused = {field.name for field in fields(QuestionSettings)}
        if self.method != REJECTION:
            unused = {field.name for field in fields(RejectionSettings)} | set(_OF_REJECTION)
        if self.method == PROCEDURAL:
            asked = {field.name for field in fields(EngineSettings)} | set(_OF_TEACHERS)
            unused |= (asked | {field.name for field in fields(QuestionSettings)}) - {"count"}
        for field in fields(self):
            if field.name in unused and getattr(self, field.name) != field.default:
                flag = "--" + field.name.replace("_", "-")
                other = ", or --count N for so many questions" * (
                    self.method == PROCEDURAL and flag == "--limit"
                )
                raise UsageError(
                    f"{flag} does nothing for --method {self.method}", f"leave {flag} out{other}"
                )
        if self.consensus != type(self).consensus and self.keep != "consensus":
            raise UsageError(
                "--consensus does nothing without --keep consensus",
                f"--solutions 3 --keep consensus --consensus {self.consensus:g}",
            )
        if not self.verification and self.method != XWIN:
            raise UsageError(
                f"--no-verification does nothing for --method {self.method}", "leave --no-verification out"
            )


_OF_REJECTION = ("prompt", "style", "workers", "timeout", "cache")
"""What else is for rejection alone: the other methods have prompts of their own, and compare by the rules only."""
_OF_TEACHERS = ("teacher", "temperature", "top_p", "max_tokens", "dry_run", "limit", "field")
"""What is for methods that have a teacher, or seeds that are given."""
