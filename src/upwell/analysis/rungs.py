"""One more rung of training against more samples of the rung below, under majority vote."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from upwell.analysis.bootstrap import Floats, percentiles, resampled_sums
from upwell.analysis.found import Found, Row
from upwell.analysis.pricing import FORWARD, MAJORITY, ORACLE, TRAINING, Priced
from upwell.analysis.settings import AnalyzeSettings

_TRAINED_AS = TRAINING / FORWARD
"""Forward passes that training on a token takes: forward and backward."""


def against_samples(runs: Sequence[Priced], settings: AnalyzeSettings, found: Found) -> None:
    """For neighbouring rungs of a ladder: how many votes of the lower match one response of the upper, and from how
    many questions on the upper's training pays."""
    pairs = list(_neighbours(runs))
    for lower, upper in pairs:
        if MAJORITY in lower.values:
            _weigh(lower, upper, settings, found)
        else:
            found.notes.append(
                f"{lower.source.name}: no answers are known, so nobody can vote against a rung"
            )
    if pairs:
        found.notes.append(
            "a rung against samples: both rungs are trained from the base, so the upper costs the difference of their "
            "trained tokens, each worth three forward passes; the size of the model drops out; votes between measured "
            "numbers of responses are interpolated, and none beyond the most is guessed at"
        )


def _neighbours(runs: Sequence[Priced]) -> list[tuple[Priced, Priced]]:
    """Every rung with the one below, within a ladder and a seed; the base is below every first one."""
    found: list[tuple[Priced, Priced]] = []
    for ladder in dict.fromkeys(run.source.rung.ladder for run in runs if run.source.rung):
        own = [run for run in runs if run.source.rung and run.source.rung.ladder == ladder]
        base = [run for run in own if run.source.rung and run.source.rung.model is None]
        for seed in dict.fromkeys(
            run.source.rung.seed for run in own if run.source.rung and run.source.rung.model
        ):
            chain = [
                run
                for run in own
                if run.source.rung and run.source.rung.model and run.source.rung.seed == seed
            ]
            chain = base + sorted(chain, key=lambda run: run.source.rung.examples if run.source.rung else 0)
            found += pairwise(chain)
    return found


def _weigh(lower: Priced, upper: Priced, settings: AnalyzeSettings, found: Found) -> None:
    assert lower.source.rung is not None and upper.source.rung is not None
    ks = np.array(lower.ks, np.float64)
    voted = [lower.values[MAJORITY][k] for k in lower.ks]
    single = upper.values[ORACLE][1]
    rows = np.stack([*voted, single, lower.prompt, lower.tokens, upper.tokens_at(1)])
    training = _TRAINED_AS * (upper.source.rung.trained_tokens - lower.source.rung.trained_tokens)
    mean = _balance(rows.mean(axis=1)[None], ks, training)
    drawn = resampled_sums(rows, settings.bootstrap, settings.seed) / rows.shape[1]
    again = _balance(drawn, ks, training)
    name = f"{lower.source.name} to {upper.source.name}"
    votes, questions = float(mean[0][0]), float(mean[1][0])
    for parameter, value, draws in (
        ("votes of the lower rung that match one response of the upper", votes, again[0]),
        ("questions from which the upper rung is cheaper", questions, again[1]),
    ):
        low, high = percentiles(draws)
        row: Row = {
            "run": name, "selector": MAJORITY, "parameter": parameter, "value": _finite(value), "low": _finite(low),
            "high": _finite(high), "problems": len(single), "samples": lower.samples + upper.samples,
            "note": None if np.isfinite(value) else "no number is enough",
        }  # fmt: skip
        found.fits.append(row)
    found.conclusions.append(f"{name}: {_in_words(lower, upper, votes, questions, again)}")


def _balance(means: Floats, ks: Floats, training: float) -> tuple[Floats, Floats]:
    """Votes needed, infinite where the most are not enough, and questions from which training pays, infinite where it
    never does; per row of means."""
    count = len(ks)
    voted, single = np.maximum.accumulate(means[:, :count], axis=1), means[:, count]
    prompt, tokens, other = means[:, count + 1 :].T
    enough = voted >= single[:, None] - 1e-12
    first = np.where(enough.any(axis=1), enough.argmax(axis=1), count)
    votes = np.full(len(means), np.inf)
    votes[first == 0] = 1.0
    for at in range(1, count):
        rows = first == at
        under, over = voted[rows, at - 1], voted[rows, at]
        part = np.divide(single[rows] - under, over - under, out=np.ones_like(under), where=over > under)
        # Votes are a matter of their logarithm: each doubling buys less.
        votes[rows] = ks[at - 1] * (ks[at] / ks[at - 1]) ** np.clip(part, 0, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        saved = prompt + votes * tokens - other
        questions = np.where(saved > 0, max(training, 0.0) / saved, np.inf)
    questions[first == 0] = np.inf
    # Where no number of votes is enough, the upper rung is better from the first question.
    return votes, np.where(np.isinf(votes), 0.0, questions)


def _in_words(
    lower: Priced, upper: Priced, votes: float, questions: float, again: tuple[Floats, Floats]
) -> str:  # fmt: skip
    one, other = lower.source.name, upper.source.name
    beaten = float(np.mean(np.isinf(again[0])))
    if np.isinf(votes):
        return (
            f"no majority of up to {lower.ks[-1]} responses of {one} is as often right as one response of {other} "
            f"(so in {100 * beaten:.0f} % of resamples): more samples do not replace this rung."
        )
    if votes <= 1:
        return f"one response of {other} is no better than one of {one}: there is nothing that votes have to match."
    low, high = (_shown(limit) for limit in percentiles(again[0]))
    start = (
        f"majority of {votes:.1f} responses of {one} ({low} to {high}) is as often right as one of {other}"
    )
    if np.isinf(questions):
        return f"{start}, and costs no more: more samples win at any number of questions."
    low, high = (_shown(limit) for limit in percentiles(again[1]))
    return f"{start}; training the rung is cheaper than voting from {questions:,.0f} questions on ({low} to {high})."


def _shown(limit: float | None) -> str:
    if limit is None:
        return "not known"
    return "no number" if np.isinf(limit) else f"{limit:,.1f}" if limit < 100 else f"{limit:,.0f}"


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
