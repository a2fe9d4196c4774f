"""What a run would take, from a few of its responses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from upwell.engines.settings import EngineSettings
from upwell.engines.spending import FREE, PRICES_AS_OF, Price
from upwell.errors import EngineError
from upwell.measurement.plan import Plan
from upwell.runs import Run

PILOT = 16
"""Problems that a pilot draws one response each of: the range is then about +-30 % where lengths vary by half."""


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate with its 95 % range."""

    expected: float
    low: float
    high: float


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What all draws of a run take together, those drawn included."""

    responses: int
    drawn: int
    prompt_tokens: Amount
    completion_tokens: Amount
    usd: Amount | None
    """None where the model has no price."""
    notes: tuple[str, ...]


class _Drawn(msgspec.Struct, frozen=True):
    problem: str
    tokens: int | None = None
    prompt_tokens: int | None = None


def estimate(run: Run, plan: Plan, price: Price | None, settings: EngineSettings) -> Estimate:
    """What the whole run takes, from the responses that it has.

    A problem's responses are alike in length, so the range is a t interval over problems' means, and the
    problems drawn stand for all.

    Raises:
        EngineError: No response could be drawn, or nobody counted the tokens of any.
    """
    per_problem: dict[str, list[_Drawn]] = {}
    for row in run.rows("responses", _Drawn):
        if row.tokens is not None:
            per_problem.setdefault(row.problem, []).append(row)
    drawn, counted = run.count("responses"), sum(map(len, per_problem.values()))
    if not drawn:
        raise EngineError("the pilot got no response", f"see why in {run.path / 'failures.jsonl'}")
    if not counted:
        raise EngineError("the server does not say how many tokens its replies take: no estimate can be made")
    responses = len(plan.problem_set) * plan.samples
    calls = len(plan.problem_set) * math.ceil(plan.samples / settings.choices_per_call)
    completions = [_mean([row.tokens or 0 for row in rows]) for rows in per_problem.values()]
    prompts = [max(row.prompt_tokens or 0 for row in rows) for rows in per_problem.values()]
    notes = [f"from {counted:,} responses to {len(per_problem):,} problems; retries are not counted in"]
    usd = None
    if price is not None and price != FREE:
        share = calls / responses
        costs = [
            (read * share * price.prompt + written * price.completion) / 1e6
            for read, written in zip(prompts, completions, strict=True)
        ]
        usd = total_of(costs, responses)
        if settings.price is None:
            notes.append(f"at the list price of {PRICES_AS_OF}; --price PROMPT,COMPLETION for another")
    elif price is None:
        notes.append(
            "no price is known for this model: --price PROMPT,COMPLETION (dollars per million tokens)"
        )
    return Estimate(
        responses=responses,
        drawn=drawn,
        prompt_tokens=total_of(prompts, calls),
        completion_tokens=total_of(completions, responses),
        usd=usd,
        notes=tuple(notes),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def total_of(means: Sequence[float], times: float) -> Amount:
    """What `times` draws take, from problems whose means are these: a t interval."""
    from scipy.stats import t

    mean, count = _mean(means), len(means)
    if count < 2:
        return Amount(expected=times * mean, low=0.0, high=math.inf)
    error = math.sqrt(sum((value - mean) ** 2 for value in means) / (count - 1) / count)
    reach = float(t.ppf(0.975, count - 1)) * error
    return Amount(expected=times * mean, low=times * max(mean - reach, 0.0), high=times * (mean + reach))
