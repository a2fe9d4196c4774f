"""The settings of `curate` and `export`: flags, help, manifest and Python all come from here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upwell.errors import UsageError, check_ranges

if TYPE_CHECKING:
    from upwell.curation import contamination

BALANCED = ("source", "level", "subject", "difficulty")
FINAL = ("keep", "boxed", "hashes", "sentence")
FORMATS = ("chat", "prompt-completion", "parquet", "hub")


@dataclass(frozen=True, kw_only=True)
class CurateSettings:
    """Which rows stay, and how they become examples. Steps run in the order of these settings."""

    out: str
    """Run directory. The same command on the same directory does what a kill left undone."""
    field: tuple[str, ...] = ()
    """For a file, FIELD=COLUMN: which column holds question, answer, solution, level, subject, source or id. Dots reach
    into objects and lists (messages.0.content). Repeatable."""
    limit: int | None = None
    """Of a problem set, take this many problems: a fixed random subset that grows with the limit. Of procedural:TASK
    this many are made."""
    min_words: int | None = None
    """Reject solutions of fewer words (what white space separates)."""
    max_words: int | None = None
    """Reject solutions of more words."""
    script: str | None = None
    """Reject rows of which fewer than 90 % of the letters are of this script (latin, cyrillic, cjk ...); latin:0.8 for
    80 %."""
    require: tuple[str, ...] = ()
    """Reject solutions without: answer (a final answer), agrees (the row's own answer as final answer), ends (not cut
    off), sound (no wrong arithmetic), loopless (does not repeat itself). Several with commas."""
    style: str = "auto"
    """How --require answer and agrees find and compare answers (docs/grading.md)."""
    exact: bool = True
    """Reject rows whose question and solution are those of another row but for layout; --no-exact keeps them."""
    near: float | None = None
    """Reject rows that share this share of their word sequences with a better row (0.8 is usual). Not by default."""
    near_on: str = "row"
    """What near duplicates are judged by: row (question and solution), question, or solution."""
    against: tuple[str, ...] = ()
    """Reject rows that hold a question of these benchmarks' test splits: names with commas, or all that are here."""
    bound: tuple[str, ...] = ()
    """METHOD=SCORE: from which score on a method of --against finds a row (docs/decontamination.md); 2 turns it off.
    Repeatable."""
    workers: int | None = None
    """Processes that look for duplicates and compare with --against; one per core by default."""
    audit: bool = False
    """Also write audit.html and audit.csv into the run: the rows nearest to a benchmark beside what they are near to,
    with every score, and what other bounds would have done. Takes several times as long."""
    per_problem: int | None = None
    """Keep this many rows per question at most, drawn at random."""
    balance: tuple[str, ...] = ()
    """Keep equally many rows of each source, level, subject or difficulty (fifths of the fail rate), drawn at random:
    as many as the smallest has, or at most N each with level=N. Repeatable."""
    mix: str | None = None
    """Rows of each source in these proportions, as many as there are without repeating any: gsm8k=1,math=2."""
    resample: str | None = None
    """Draw rows anew in proportion to the sentences of their solutions, so that long ones weigh more: sentences, or
    sentences^P for a power of it. Rows drawn several times become copies, others go."""
    resample_rows: int | None = None
    """With --resample: rows to draw; by default as many as there are."""
    ladder: str | None = None
    """Nested subsets of these sizes: 1000,2000,4000, or 7500x2^0..7 (7500 doubled seven times), or allx2^-5..0 (what is
    left at the end, halved five times)."""
    ladder_by: str = "rows"
    """What the sizes of --ladder count: rows, or tokens of the solutions."""
    prompt: str = "auto"
    """Prompt template by name; auto is the chat template of --model, or `plain` without one."""
    model: str | None = None
    """Checkpoint whose chat template the prompts get and whose tokenizer counts tokens: a folder or a hub name."""
    final_answer: str = "keep"
    """How solutions end: keep (as they do), or with their answer as boxed (\\boxed{}), hashes (####) or sentence (The
    answer is: ...) where they lack it."""
    calculator: bool = True
    """Whether calculator notes of GSM8K, <<48/2=24>>, stay in solutions; --no-calculator takes them out."""
    seed: int = 0
    """Seed of everything that is drawn."""

    def __post_init__(self) -> None:
        check_ranges(
            ("limit", self.limit, self.limit is None or self.limit >= 1, "1 or more"),
            ("min-words", self.min_words, self.min_words is None or self.min_words >= 1, "1 or more"),
            ("max-words", self.max_words, self.max_words is None or self.max_words >= 1, "1 or more"),
            ("near", self.near, self.near is None or 0.3 <= self.near < 1, "0.3 or more, below 1"),
            ("workers", self.workers, self.workers is None or self.workers >= 1, "1 or more"),
            ("per-problem", self.per_problem, self.per_problem is None or self.per_problem >= 1, "1 or more"),
            (
                "resample-rows",
                self.resample_rows,
                self.resample_rows is None or self.resample_rows >= 1,
                "1 or more",
            ),
        )
        if self.min_words is not None and self.max_words is not None and self.min_words > self.max_words:
            raise UsageError(
                f"--min-words {self.min_words} is more than --max-words {self.max_words}: no row would be left",
                f"--min-words {self.max_words} --max-words {self.min_words}",
            )
        _one_of("near-on", self.near_on, ("row", "question", "solution"))
        _one_of("ladder-by", self.ladder_by, ("rows", "tokens"))
        _one_of("final-answer", self.final_answer, FINAL)
        (
            self.balances(),
            self.weights(),
            self.power(),
            self.letters(),
            self.bounds(),
        )  # a malformed one is told before anything is read
        self._check_used()

    def _check_used(self) -> None:
        """Refuse the first setting that was set and does nothing."""
        if self.against and not self.benchmarks():
            raise UsageError(
                "--against names no benchmark: nothing would be decontaminated",
                "--against gsm8k,math, or leave --against out",
            )
        judged = {"answer", "agrees"} & set(self.required())
        for flag, idle, needs in (
            ("near-on", self.near_on != "row" and self.near is None, "--near"),
            ("audit", self.audit and not self.against, "--against"),
            ("bound", bool(self.bound) and not self.against, "--against"),
            ("style", self.style != "auto" and not judged, "--require answer or agrees"),
            ("resample-rows", self.resample_rows is not None and self.resample is None, "--resample"),
            ("ladder-by", self.ladder_by != "rows" and self.ladder is None, "--ladder"),
        ):
            if idle:
                raise UsageError(f"--{flag} does nothing without {needs}", f"leave --{flag} out")

    def required(self) -> tuple[str, ...]:
        """`require` as names.

        Raises:
            UsageError: One is none of them.
        """
        from upwell.curation.steps import REQUIREMENTS

        named = _listed(self.require)
        for name in named:
            _one_of("require", name, REQUIREMENTS)
        return tuple(name for name in REQUIREMENTS if name in named)

    def letters(self) -> tuple[str, float] | None:
        """`script` as its name and the least share of letters; None without it.

        Raises:
            UsageError: No such script, or no share.
        """
        if self.script is None:
            return None
        from upwell.curation.steps import SCRIPT_SHARE, SCRIPTS

        script, colon, given = self.script.lower().partition(":")
        if script not in SCRIPTS:
            raise UsageError(f"--script {self.script}: no such script", f"--script {'|'.join(SCRIPTS)}")
        least = _number(given) if colon else SCRIPT_SHARE
        if least is None or not 0 < least <= 1:
            raise UsageError(
                f"--script {self.script}: `{given}` is no share above 0, at most 1", f"--script {script}:0.9"
            )
        return script, least

    def balances(self) -> list[tuple[str, int | None]]:
        """`balance` as what is balanced and the most rows of each; None for as many as the smallest has.

        Raises:
            UsageError: It is malformed.
        """
        found: list[tuple[str, int | None]] = []
        for entry in _listed(self.balance):
            name, equals, most = entry.partition("=")
            _one_of("balance", name, BALANCED)
            if equals and not (most.isascii() and most.isdigit() and int(most)):
                raise UsageError(
                    f"--balance {entry}: `{most}` is no number of rows", f"--balance {name}=1000"
                )
            found.append((name, int(most) if equals else None))
        return found

    def weights(self) -> dict[str, float]:
        """`mix` as the weight of each source.

        Raises:
            UsageError: It is malformed.
        """
        found: dict[str, float] = {}
        for entry in _listed(() if self.mix is None else (self.mix,)):
            source, equals, given = entry.rpartition("=")
            weight = _number(given)
            if not (source and equals) or weight is None or weight < 0 or source in found:
                raise UsageError(
                    f"--mix takes SOURCE=WEIGHT, each source once, not `{entry}`", "--mix gsm8k=1,math=2"
                )
            found[source] = weight
        if found and not any(found.values()):
            raise UsageError("--mix gives every source the weight 0", "--mix gsm8k=1,math=2")
        return found

    def power(self) -> float | None:
        """The power of `resample`; None without it.

        Raises:
            UsageError: It is malformed.
        """
        if self.resample is None:
            return None
        by, caret, given = self.resample.partition("^")
        power = _number(given) if caret else 1.0
        if by != "sentences" or power is None or not 0 < power <= 8:
            raise UsageError(
                f"--resample takes sentences, or sentences^P with P above 0 and at most 8, not `{self.resample}`",
                "--resample sentences",
            )
        return power

    def bounds(self) -> contamination.Settings:
        """What of `bound` is not at its default.

        Raises:
            UsageError: It is malformed.
        """
        from upwell.curation import contamination

        methods = contamination.METHODS
        found: dict[str, float] = {}
        for entry in _listed(self.bound):
            method, equals, given = entry.partition("=")
            _one_of("bound", method, methods)
            score = _number(given)
            if not equals or score is None or score < 0:
                raise UsageError(f"--bound takes METHOD=SCORE, not `{entry}`", f"--bound {method}=0.7")
            found[method] = score
        return contamination.Settings(**found)  # type: ignore[arg-type]

    def benchmarks(self) -> tuple[str, ...]:
        """The names of `against`."""
        return _listed(self.against)


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """What of a run is written in which form."""

    to: str
    """File, or for hub a folder. It is there whole or not at all."""
    format: str = "chat"
    """chat (JSONL of messages), prompt-completion (JSONL), parquet, or hub (a data set folder with README.md)."""
    table: str = "examples"
    """Table of the run; others than examples go to Parquet."""
    rung: int | None = None
    """Only the examples of this rung of the ladder and of those below; 1 is the smallest."""

    def __post_init__(self) -> None:
        _one_of("format", self.format, FORMATS)
        check_ranges(("rung", self.rung, self.rung is None or self.rung >= 1, "1 or more"))
        if self.table != "examples" and self.format != "parquet":
            raise UsageError(
                f"--format {self.format} is for examples, not for the table {self.table}", "--format parquet"
            )
        if self.table != "examples" and self.rung is not None:
            raise UsageError("--rung does nothing for tables other than examples", "leave --rung out")


def _listed(entries: Sequence[str]) -> tuple[str, ...]:
    named = [name.strip() for entry in entries for name in entry.split(",")]
    return tuple(dict.fromkeys(name for name in named if name))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _one_of(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UsageError(
            f"--{name} is `{value}`, which is none of its values", f"--{name} {'|'.join(choices)}"
        )
