"""What a run trains on, in numbers: the papers' sets by name, a count, or the examples of a run."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace

from upwell.errors import UsageError
from upwell.records import Example
from upwell.runs import Run

TEMPLATE_TOKENS = {
    "alpaca": 30,
    "xwin-math": 65,
    "boxed": 19,
    "deepseek-math": 25,
    "qwen2.5-math": 31,
    "chat": 48,
}
"""Tokens that a prompt template adds to a question, by SmolLM2's tokenizer (`chat` by its chat template)."""
_UNKNOWN = (
    "ours, because no paper gives it: GSM8K's train rows have 60 + 125 (SmolLM2's tokenizer), and a teacher's detailed "
    "solutions are assumed to be more than twice as long"
)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A training set, as far as a plan needs it."""

    name: str
    rows: int
    of: tuple[tuple[str, int], ...] = ()
    """Its parts: rows by what they imitate or solve."""
    question: float
    """Mean tokens of a question, without its template."""
    solution: float
    """Mean tokens of a solution."""
    source: str
    """Where the rows come from."""
    tokens_source: str
    """Where the tokens come from, and whose tokenizer counted."""
    rendered: bool = False
    """Whether `question` already holds the template."""

    def tokens(self, prompt: str) -> float:
        """Mean tokens of an example: template, question, solution, end of sequence."""
        return self.question + self.solution + 1 + (0 if self.rendered else TEMPLATE_TOKENS.get(prompt, 40))


def _xwin(name: str, of: tuple[tuple[str, int], ...], source: str) -> Corpus:
    return Corpus(
        name=name, rows=sum(rows for _, rows in of), of=of, question=85.0, solution=300.0, source=source,
        tokens_source=_UNKNOWN,
    )  # fmt: skip


_GSM8K, _MATH = "GSM8K-like", "MATH-like"
_DART = "DeepSeekMath's tokenizer, as DART-Math's notebook counts"
CORPORA = {
    corpus.name: corpus
    for corpus in (
        _xwin("xwin-gsm8k-960k", ((_GSM8K, 960_000),), "the GSM8K specialists of Xwin-Math's table 2"),
        _xwin("xwin-math-480k", ((_MATH, 480_000),), "the MATH specialists of Xwin-Math's table 2"),
        _xwin(
            "xwin-mix-480k", ((_GSM8K, 240_000), (_MATH, 240_000)),
            "the 1:1 mix of Xwin-Math's Hungarian exam (70B)",
        ),
        _xwin(
            "xwin-v1.1-7b", ((_GSM8K, 1_920_000), (_MATH, 960_000)),
            "Xwin-Math-7B-V1.1, one mixed model, by its card",
        ),
        _xwin(
            "xwin-v1.1-70b", ((_GSM8K, 960_000), (_MATH, 480_000)),
            "Xwin-Math-70B-V1.1, one mixed model, by its card",
        ),
        Corpus(
            name="dart-uniform", rows=590_705, question=68.5, solution=273.8,
            source="DART-Math-Uniform: 40 right solutions per question", tokens_source=_DART,
        ),
        Corpus(
            name="dart-hard", rows=585_392, of=(("MATH", 521_936), ("GSM8K", 63_456)), question=96.6, solution=480.3,
            source="DART-Math-Hard: right solutions in proportion to the fail rate", tokens_source=_DART,
        ),
        Corpus(
            name="gsm8k-train", rows=7_473, question=60.3, solution=124.6,
            source="GSM8K's train split as published, calculator notes and all",
            tokens_source="SmolLM2's tokenizer, counted",
        ),
    )
}  # fmt: skip
"""By name. The specialists and the V1.1 mixes are different models: the paper's figures are the specialists'."""


def corpus_of(name: str, *, rows: int | None = None, tokens: float | None = None) -> Corpus:
    """A named set, with another number of rows or another mean length (template and all) where these are given.

    Raises:
        UsageError: no set of this name.
    """
    if name not in CORPORA:
        close = difflib.get_close_matches(name, CORPORA, n=1)
        raise UsageError(f"no data recipe `{name}`", f"--data {close[0] if close else '|'.join(CORPORA)}")
    corpus = CORPORA[name]
    if rows is not None:
        corpus = replace(corpus, name=f"{rows:,} rows like {name}", rows=rows, of=(), source="--examples")
    if tokens is not None:
        corpus = replace(
            corpus, question=0.0, solution=tokens - 1, rendered=True, tokens_source="--tokens-per-example"
        )
    return corpus


def finished_examples(path: str) -> Run:
    """A run that holds examples and is finished.

    Raises:
        UsageError: there is no run, it is not finished, or it holds no examples.
    """
    run = Run.read(path)
    if run.summary is None or not run.exists("examples"):
        raise UsageError(
            f"`{path}` is not a finished run of examples", "upwell curate INPUT... --out RUN makes one"
        )
    if not run.count("examples"):
        raise UsageError(f"`{path}` holds no examples", "upwell show RUN says which step turned them down")
    return run


def corpus_of_run(path: str) -> Corpus:
    """The examples of a run of `upwell curate`.

    Its summary holds the tokens of the completions; those of the prompts are estimated from their characters at the
    completions' rate.

    Raises:
        UsageError: no run there, it is not finished, or it holds no examples.
    """
    run = finished_examples(path)
    summary = run.summary or {}
    rows = prompts = completions = 0
    for example in run.rows("examples", Example):
        rows += 1
        prompts += len(example.prompt)
        completions += len(example.completion)
    told = summary.get("tokens") or {}
    counted = told.get("completion") or 0
    if not rows or not completions or not counted:
        raise UsageError(f"`{path}` holds no examples with a completion", "--examples N plans without a run")
    return Corpus(
        name=path,
        rows=rows,
        question=prompts * counted / completions / rows,
        solution=counted / rows,
        source=path,
        tokens_source=f"completions counted by {told.get('by')}, prompts estimated from their characters",
        rendered=True,
    )
