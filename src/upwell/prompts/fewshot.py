"""Few-shot prompts: worked examples from a train split, read when needed and never stored here."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from upwell.errors import UsageError
from upwell.records import Problem

LoadTrain = Callable[[str], Sequence[Problem]]
"""Gives the train problems of a set by its name, such as `gsm8k`; may raise `UsageError`."""

GSM8K_EXAMPLES = (
    "gsm8k/train/0052676c78284fec",
    "gsm8k/train/00591be81fb304f5",
    "gsm8k/train/000a485a79eec751",
    "gsm8k/train/003c16a07251a748",
    "gsm8k/train/000247a34b263ee5",
    "gsm8k/train/0030550a74a1c648",
    "gsm8k/train/0016f514fbfbc160",
    "gsm8k/train/000f9683cfbdf42c",
)
"""Eight train problems with worked solutions of 2, 2, 3, 3, 4, 4, 5 and 6 steps: by step count the
smallest keys among short questions with a whole-number answer."""

MATH_STRATA = (
    ("2", "Algebra"),
    ("3", "Counting & Probability"),
    ("3", "Precalculus"),
    ("4", "Number Theory"),
)
"""Level and subject of the four MATH examples: of each the smallest key with a short solution."""

_PUBLISHED = "export UPWELL_DATA=/path/to/folder  # with the published {}/train.jsonl in it"
_LONGEST_MATH_SOLUTION = 600
_CALCULATOR = re.compile(r"<<[^<>]*>>")


def gsm8k_examples(load_train: LoadTrain | None) -> list[Problem]:
    """The eight GSM8K examples in order.

    Raises:
        UsageError: No train split, or one that lacks an example.
    """
    train = {problem.key: problem for problem in _train("gsm8k", load_train)}
    missing = [key for key in GSM8K_EXAMPLES if key not in train]
    if missing:
        raise UsageError(
            f"the train split of gsm8k lacks the few-shot example `{missing[0]}`"
            f" ({len(missing)} of {len(GSM8K_EXAMPLES)} are missing): the file was changed or cut",
            _PUBLISHED.format("gsm8k"),
        )
    return [train[key] for key in GSM8K_EXAMPLES]


def math_examples(load_train: LoadTrain | None) -> list[Problem]:
    """The four MATH examples in order.

    Raises:
        UsageError: No train split, or one without a problem of a wanted level and subject.
    """
    train = sorted(_train("math", load_train), key=lambda problem: problem.key)
    chosen = []
    for level, subject in MATH_STRATA:
        for problem in train:
            solution = problem.solution or ""
            short = len(solution) <= _LONGEST_MATH_SOLUTION and "[asy]" not in solution + problem.question
            if (problem.level, problem.subject) == (level, subject) and "\\boxed" in solution and short:
                chosen.append(problem)
                break
        else:
            raise UsageError(
                f"the train split of math has no short problem of level {level} in {subject}"
                " for a few-shot example: the file was changed or cut",
                _PUBLISHED.format("math"),
            )
    return chosen


def gsm8k_shot(problem: Problem) -> str:
    """One example: the worked solution without calculator marks, closed by `#### GOLD`."""
    return f"Question: {problem.question}\nAnswer: {_CALCULATOR.sub('', problem.solution or '')}\n\n"


def math_shot(problem: Problem) -> str:
    r"""One example: the worked solution, which holds its answer in `\boxed{}`."""
    return f"Problem:\n{problem.question}\n\nSolution:\n{problem.solution}\n\n"


def _train(name: str, load_train: LoadTrain | None) -> Sequence[Problem]:
    if load_train is None:
        raise UsageError(
            f"this few-shot prompt takes its examples from the train split of {name}, and none was given",
            _PUBLISHED.format(name),
        )
    return load_train(name)
