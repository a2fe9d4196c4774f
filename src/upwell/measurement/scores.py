"""What `--score` says: scores of responses from a file, or the name of a model that gives them."""

from __future__ import annotations

import os

import msgspec

from upwell.errors import UsageError
from upwell.records import Response


class Score(msgspec.Struct):
    """A line of a file of scores."""

    key: str
    score: float


def scores_in(name: str | None) -> dict[str, float] | None:
    """Score by response key, from the file that `--score` names; None where it names none.

    Raises:
        UsageError: The file cannot be read, or a line is no score.
    """
    if name is None or name == "logprob" or names_model(name):
        return None
    scores: dict[str, float] = {}
    number = 0
    decoder = msgspec.json.Decoder(Score)
    try:
        with open(name, "rb") as file:
            for line in file:
                number += 1
                if line.strip():
                    row = decoder.decode(line)
                    scores[row.key] = row.score
    except OSError as error:
        raise UsageError(
            f"cannot read `{name}`: {error.strerror}",
            "--score logprob, a file of lines with key and score, or a model",
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{name}:{number}: not a score: {error}", 'a line is {"key": "...", "score": 0.5}'
        ) from None
    return scores


def scored(row: Response, scores: dict[str, float] | None) -> Response:
    if scores is None:
        return row
    score = scores.get(row.key)
    if score is None:
        raise UsageError(f"the scores have none for `{row.key}`", "score every response of the run")
    return msgspec.structs.replace(row, score=score)


def marked(row: Response, scores: dict[str, float]) -> Response | None:
    return msgspec.structs.replace(row, score=scores[row.key]) if row.key in scores else None


def names_model(score: str | None) -> bool:
    """Whether `--score` names a model: not `logprob`, no file that is there, and nothing that ends like one."""
    if score is None or score == "logprob" or os.path.isfile(score):
        return False
    return not score.endswith((".jsonl", ".json", ".gz"))
