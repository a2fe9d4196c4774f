"""The settings of sampling, grading and measuring: flags, help, manifest and Python all come from here."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from upwell.engines.checkpoints import DEFAULT_MODEL
from upwell.engines.settings import EngineSettings
from upwell.errors import UsageError, check_ranges


@dataclass(frozen=True, kw_only=True)
class ProblemSettings:
    """Which problems."""

    problems: str
    """Problem set: a name (`upwell problems`), procedural:TASK (of reasoning-gym), or a JSONL, JSON, CSV, TSV or
    Parquet file."""
    split: str = "test"
    """Split of a named set."""
    limit: int | None = None
    """Take this many problems: a fixed random subset that grows with the limit. All by default."""
    field: tuple[str, ...] = ()
    """For a file, FIELD=COLUMN: which column holds question, answer, solution, level, subject or id. Repeatable."""

    def fields(self) -> dict[str, str]:
        """`field` as a mapping.

        Raises:
            UsageError: an entry is not of the form FIELD=COLUMN, or names a field twice.
        """
        return _mapping(self.field, "--field question=COLUMN --field answer=COLUMN")


@dataclass(frozen=True, kw_only=True)
class SampleSettings(EngineSettings, ProblemSettings):
    """How responses are drawn, and from what."""

    out: str
    """Run directory. The same command on the same directory resumes it."""
    model: str = DEFAULT_MODEL
    """Model: smollm2-135m-instruct, a local checkpoint folder, or a hub name (owner/name[@revision]), run here; or
    server:URL#NAME (several URLs with commas), vllm:CHECKPOINT, or batch:URL#NAME."""
    prompt: str = "auto"
    """Prompt template by name; auto is the model's own chat template, or `plain` where it has none."""
    samples: int = 16
    """Responses per problem. Raising it later adds to the same run."""
    temperature: float = 0.7
    """Sampling temperature; 0 is greedy."""
    top_p: float = 1.0
    """Nucleus sampling: keep the most likely tokens that reach this probability; 1 keeps all."""
    top_k: int = 0
    """Keep this many most likely tokens; 0 keeps all."""
    min_p: float = 0.0
    """Drop tokens less likely than this share of the most likely one; 0 drops none."""
    max_tokens: int = 512
    """Most tokens that one response may have."""
    stop: tuple[str, ...] = ()
    """Stop string, besides those of the prompt template. Repeatable."""
    seed: int = 0
    """Seed of the run; every draw has its own, hashed from this, its problem and its number."""
    dry_run: bool = False
    """Draw only a few responses, which are kept, and say what the whole run would take, with a range."""

    def __post_init__(self) -> None:
        check_ranges(
            ("samples", self.samples, self.samples >= 1, "1 or more"),
            ("max-tokens", self.max_tokens, self.max_tokens >= 1, "1 or more"),
            ("temperature", self.temperature, 0 <= self.temperature < math.inf, "0 (greedy) or more"),
            # Below it, logits divided by it overflow; and it is greedy in all but name.
            (
                "temperature",
                self.temperature,
                self.temperature == 0 or self.temperature >= 0.01,
                "0 (greedy) or 0.01 or more",
            ),
            ("top-p", self.top_p, 0 < self.top_p <= 1, "above 0, at most 1"),
            ("min-p", self.min_p, 0 <= self.min_p < 1, "0 or more, below 1"),
            ("top-k", self.top_k, self.top_k >= 0, "0 (all) or more"),
            ("limit", self.limit, self.limit is None or self.limit >= 1, "1 or more"),
        )
        EngineSettings.__post_init__(self)
        if any(not stop for stop in self.stop):
            raise UsageError("--stop is empty, which would stop at once", "leave --stop out")
        if self.temperature == 0 and (self.top_p, self.top_k, self.min_p) != (1.0, 0, 0.0):
            raise UsageError(
                "--top-p, --top-k and --min-p do nothing at temperature 0",
                "drop them, or raise --temperature",
            )
        if self.temperature == 0 and self.samples > 1:
            raise UsageError(
                f"at temperature 0 all {self.samples} samples of a problem would be the same",
                "--samples 1, or raise --temperature",
            )


@dataclass(frozen=True, kw_only=True)
class Grading:
    """How answers are found and compared, and what is made of the verdicts."""

    style: str = "auto"
    """How answers are found and compared: auto, or another project's way (xwin-flex, dart, minerva, gsm8k ...; see
    docs/grading.md)."""
    also: tuple[str, ...] = ()
    """Also grade in these styles, separated by commas, and show where they disagree."""
    workers: int | None = None
    """Worker processes for symbolic comparison; one per core by default."""
    timeout: float = 5.0
    """Seconds that one symbolic comparison may take."""
    cache: bool = True
    """Remember across runs what took a symbolic worker (in ~/.cache/upwell)."""
    extrapolate: tuple[int, ...] = ()
    """Also estimate pass@K for this K beyond the samples drawn, with an interval, or say why not. Repeatable."""

    def __post_init__(self) -> None:
        check_ranges(
            ("workers", self.workers, self.workers is None or self.workers >= 1, "1 or more"),
            ("timeout", self.timeout, 0 < self.timeout < math.inf, "above 0"),
            *(("extrapolate", k, k >= 1, "1 or more") for k in self.extrapolate),
        )

    def others(self) -> list[str]:
        """The styles of `also`, each once, without `style` itself."""
        named = [style.strip() for entry in self.also for style in entry.split(",")]
        return [style for style in dict.fromkeys(named) if style and style != self.style]


@dataclass(frozen=True, kw_only=True)
class MeasureSettings(Grading, SampleSettings):
    """Sampling, grading and metrics in one run."""

    plan: float | None = None
    """Draw nothing: say how many problems and samples make the 95 % intervals this wide (0.04: 4 points). What is in
    --out already serves as pilot."""

    def __post_init__(self) -> None:
        SampleSettings.__post_init__(self)
        Grading.__post_init__(self)
        check_ranges(("plan", self.plan, self.plan is None or 0 < self.plan < 1, "between 0 and 1"))


@dataclass(frozen=True, kw_only=True)
class JudgeSettings(EngineSettings):
    """A model that judges responses, and how often it is asked."""

    judge: str | None = None
    """A model that judges what the rules cannot decide (as --model takes it): proofs, open answers, exams with points
    per part. See docs/judging.md."""
    votes: int = 3
    """How often a judge, or the model of --score, is asked about a response."""
    judge_temperature: float | None = None
    """Its sampling temperature; 0.7 by default, 0 with a single vote."""
    judge_tokens: int = 1024
    """Most tokens that one judgement may have."""
    judge_seed: int = 0
    """Seed of the votes, of the fence around a response, and of the sample of --judge-audit."""
    judge_audit: int = 100
    """Responses that the rules have decided, drawn at random, that the judge is asked about too: how far they agree."""

    def __post_init__(self) -> None:
        heat = self.judge_temperature
        check_ranges(
            ("votes", self.votes, self.votes >= 1, "1 or more"),
            ("judge-tokens", self.judge_tokens, self.judge_tokens >= 1, "1 or more"),
            ("judge-audit", self.judge_audit, self.judge_audit >= 0, "0 (none) or more"),
            (
                "judge-temperature",
                heat,
                heat is None or heat == 0 or 0.01 <= heat < math.inf,
                "0 or 0.01 or more",
            ),
        )
        EngineSettings.__post_init__(self)
        if heat == 0 and self.votes > 1:
            raise UsageError(
                f"at --judge-temperature 0 all {self.votes} votes on a response would be the same",
                "--votes 1, or raise --judge-temperature",
            )

    @property
    def heat(self) -> float:
        """The temperature that votes are drawn at."""
        if self.judge_temperature is not None:
            return self.judge_temperature
        return 0.7 if self.votes > 1 else 0.0

    def check_asked(self, *, judged: bool, scored: bool) -> None:
        """Refuse the first setting that was set and does nothing, where a model judges or scores or neither.

        Raises:
            UsageError: names the setting and what it is for.
        """
        for field in fields(JudgeSettings):
            if getattr(self, field.name) == field.default:
                continue
            flag = "--" + field.name.replace("_", "-")
            if field.name == "logprobs" and (judged or scored):
                raise UsageError(f"{flag} does nothing: of a judge nobody looks at them", f"leave {flag} out")
            needs = "--judge" if scored else "--judge or a model for --score"
            if not judged and not (scored and field.name != "judge_audit"):
                raise UsageError(f"{flag} does nothing without {needs}", f"leave {flag} out")


@dataclass(frozen=True, kw_only=True)
class GradeSettings(Grading, JudgeSettings):
    """Grading the responses of a run anew, or those in another program's file."""

    out: str | None = None
    """Run directory for the responses with their new verdicts; by default RUN-STYLE, and -judged or -scored behind it
    where a model judges or scores. What was read stays as it is."""
    field: tuple[str, ...] = ()
    """For a file, FIELD=COLUMN: which column holds gold, response (or prediction, a bare answer), problem, question,
    reward, correct, points (a human grader's), max_points, id, level, subject, finish, tokens or logprob. Dots reach
    into objects and lists. Repeatable."""
    problems: str | None = None
    """For a file without gold answers: the problem set that has them."""
    split: str = "test"
    """Split of --problems."""
    score: str | None = None
    """For a run: what a verifier thinks of each response, for best_of@k and the weighted vote: logprob, a JSONL file of
    key and score, or a model (as --model takes it), whose score is the share of its --votes that call the response
    correct."""

    def __post_init__(self) -> None:
        Grading.__post_init__(self)
        JudgeSettings.__post_init__(self)

    def fields(self) -> dict[str, str]:
        """`field` as a mapping. Raises `UsageError` as `ProblemSettings.fields` does."""
        return _mapping(self.field, "--field gold=COLUMN --field response=COLUMN")


def _mapping(entries: tuple[str, ...], example: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries:
        name, equals, column = entry.partition("=")
        if not (name and equals and column):
            raise UsageError(f"--field takes FIELD=COLUMN, not `{entry}`", example)
        if name in found:
            raise UsageError(f"--field names `{name}` twice", "name each field once")
        found[name] = column
    return found
