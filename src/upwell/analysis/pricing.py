"""What responses are worth and what they cost, run by run."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from upwell.analysis.bootstrap import Floats
from upwell.analysis.graded import Source
from upwell.analysis.settings import AnalyzeSettings
from upwell.analysis.sizes import parameters_of
from upwell.errors import UsageError
from upwell.measurement.watch import Watch
from upwell.metrics import Outcomes, default_ks, maj_at_k, pass_at_k
from upwell.metrics.outcomes import NO_VOTE

ORACLE, MAJORITY = "pass@k", "majority"
FORWARD, TRAINING = 2.0, 6.0
"""FLOPs per parameter and token."""


class _Cost(msgspec.Struct, frozen=True, gc=False):
    """What is read of a response."""

    problem: str
    tokens: int | None = None
    prompt_tokens: int | None = None
    usd: float | None = None


@dataclass(frozen=True, eq=False)
class Priced:
    """A run, what its responses are worth and what they cost, over the problems that all runs share."""

    source: Source
    parameters: float | None
    ks: list[int]
    values: dict[str, dict[int, Floats]]
    """Per selector and k, per problem."""
    prompt: Floats
    """Tokens of each problem's prompt; 0 where nobody counted them."""
    tokens: Floats
    """Mean tokens of one response, per problem."""
    usd: float | None
    """Mean dollars of one response."""
    samples: int

    def tokens_at(self, k: float) -> Floats:
        """Tokens read and written for k responses to each problem."""
        return self.prompt + k * self.tokens


def priced(
    source: Source, outcomes: Outcomes, settings: AnalyzeSettings, watch: Watch, notes: list[str]
) -> Priced:  # fmt: skip
    """The run over the problems of `outcomes`.

    Raises:
        UsageError: the tokens of no response to some problem are known.
    """
    number = {slot.key: i for i, slot in enumerate(outcomes.slots)}
    prompt, spent, counted = (np.zeros(len(number)) for _ in range(3))
    usd = paid = rows = 0.0
    for row in source.run.rows("responses", _Cost):
        at = number.get(row.problem)
        if at is None:
            continue
        rows += 1
        prompt[at] = max(prompt[at], row.prompt_tokens or 0)
        if row.tokens is not None:
            spent[at] += row.tokens
            counted[at] += 1
        if row.usd is not None:
            usd += row.usd
            paid += 1
    if not counted.all():
        raise UsageError(
            f"{np.count_nonzero(counted == 0):,} of {len(counted):,} problems of `{source.run.path}` have no response "
            "whose tokens are known, so it has no cost",
            "measure with upwell, or name the field of a dump that counts them: --field tokens=FIELD",
        )
    if not prompt.all():
        notes.append(
            f"{source.name}: prompt tokens are not known of {np.count_nonzero(prompt == 0):,} problems and count 0"
        )
    if 0 < paid < rows:
        notes.append(
            f"{source.name}: dollars are known of {paid:,.0f} of {rows:,.0f} responses: their mean counts"
        )
    size = parameters_of(source)
    if size is None and settings.parameters is None:
        notes.append(
            f"{source.name}: no checkpoint to count parameters in, so it has no FLOPs (--parameters 7e9)"
        )
    ks = default_ks(int(outcomes.n.min()))
    watch.say(f"{source.name}: pass@k and majority vote up to {ks[-1]}")
    values = {ORACLE: {k: pass_at_k(outcomes.n, outcomes.c, k) for k in ks}}
    if np.any(outcomes.votes != NO_VOTE):
        values[MAJORITY] = {
            k: maj_at_k(outcomes.n, outcomes.classes, k, seed=settings.seed).values for k in ks
        }
    return Priced(
        source=source, parameters=float(size) if size else settings.parameters, ks=ks, values=values, prompt=prompt,
        tokens=spent / counted, usd=usd / paid if paid else None, samples=int(outcomes.n.sum()),
    )  # fmt: skip
