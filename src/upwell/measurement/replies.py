"""From what an engine replies to the rows of a run, the same in every stage that draws."""

from __future__ import annotations

from upwell.engines.base import Reply
from upwell.records import Failure, Response
from upwell.runs import Run


def response_of(reply: Reply, usd: float | None, seed: int | None = None) -> Response:
    """The row of a reply that holds a text; its key is that of a draw (`draw_key`)."""
    problem, _, index = reply.key.rpartition("#")
    return Response(
        key=reply.key,
        problem=problem,
        index=int(index),
        text=reply.text,
        finish=reply.finish,
        tokens=reply.tokens,
        prompt_tokens=reply.prompt_tokens or None,
        usd=usd,
        seed=seed,
        logprob=reply.logprob,
    )


def attempts_so_far(run: Run) -> dict[str, int]:
    """How often each draw that failed has been asked for, by key."""
    attempts: dict[str, int] = {}
    for failure in run.rows("failures", Failure):
        attempts[failure.key] = max(attempts.get(failure.key, 0), failure.attempt)
    return attempts
