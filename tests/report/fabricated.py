"""Runs made up for the tests: real files in the run format, plausible and fixed by a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from upwell.records import Problem, Response, Verdict, draw_key
from upwell.runs import Run

SUBJECTS = ("Algebra", "Counting & Probability", "Geometry", "Number Theory")


def write_run(
    path: Path,
    *,
    problems: int = 12,
    samples: int = 16,
    seed: int = 1,
    skill: float = 1.0,
    text: Callable[[int, int, bool], str] | None = None,
    change: Callable[[Problem], Problem] = lambda problem: problem,
    judge: Callable[[Verdict], Verdict] = lambda verdict: verdict,
    notes: tuple[str, ...] = ("3 golds are compared by their text alone",),
    settings: dict[str, Any] | None = None,
    model: str = "smollm2-135m-instruct",
    command: tuple[str, ...] = ("upwell", "measure", "--problems", "made-up"),
    finished: bool = True,
) -> Path:
    """Write a run of `problems` x `samples` and return its folder.

    `text(problem number, index, correct)` writes a response; `change` and `judge` may alter each problem
    and verdict.
    """
    rng = random.Random(seed)
    asked = [change(_problem(number)) for number in range(problems)]
    counts: list[int] = []
    with _open(path, samples, settings or {}, model, command) as run:
        run.append("problems", asked)
        for number, problem in enumerate(asked):
            rate = min(1.0, skill * rng.choice((0.0, rng.random() ** 2, rng.random(), 1.0)))
            responses, verdicts = [], []
            for index in range(samples):
                correct = rng.random() < rate
                answer = problem.answer if correct else str(rng.randrange(90, 96))
                body = text(number, index, correct) if text else _solution(number, answer, rng)
                cut = not correct and rng.random() < 0.2
                key = draw_key(problem.key, index)
                responses.append(
                    Response(
                        key=key, problem=problem.key, index=index, text=body, seed=index,
                        finish="length" if cut else "stop", tokens=20 + len(body) // 4,
                    )
                )  # fmt: skip
                verdicts.append(judge(_verdict(key, correct, cut, answer, rng)))
            run.append("responses", responses)
            run.append("verdicts", verdicts)
            counts.append(sum(verdict.correct is True for verdict in verdicts))
        if finished:
            run.finish(_summary(asked, counts, samples) | {"notes": notes})
    return path


def _open(path: Path, samples: int, changes: dict[str, Any], model: str, command: tuple[str, ...]) -> Run:
    settings = {
        "problems": "made-up", "model": model, "samples": samples, "temperature": 0.7,
        "max_tokens": 256, "prompt": "chat", **changes,
    }  # fmt: skip
    return Run.open(
        path, verb="measure", settings=settings, fingerprint={"temperature": 0.7},
        amounts={"samples": samples},
        inputs=[{"name": "made-up", "digest": "sha256:" + "ab" * 32}],
        identity={
            "model": {"name": model, "revision": "q4_1", "dtype": "bfloat16"},
            "engine": "embedded bfloat16", "prompt": {"name": "chat", "digest": "cd" * 8},
            "grader": "upwell/1",
        },
        command=[*command, "--out", str(path)],
    )  # fmt: skip


def _summary(asked: list[Problem], counts: list[int], samples: int) -> dict[str, Any]:
    metrics = list(_metrics(counts, samples, None)) if asked else []
    for kind in ("level", "subject"):
        for value in sorted({str(getattr(p, kind)) for p in asked if getattr(p, kind)}):
            inside = [c for c, p in zip(counts, asked, strict=True) if getattr(p, kind) == value]
            metrics += _metrics(inside, samples, f"{kind}={value}")
    return {
        "metrics": metrics, "counts": {"responses": len(asked) * samples},
        "seconds": {"sample": 402.0, "grade": 31.5},
    }  # fmt: skip


def _problem(number: int) -> Problem:
    total = 7 + 5 * number
    return Problem(
        key=f"made-up/test/{number:016x}",
        question=f"A baker sells {total} loaves on Monday and twice as many on Tuesday, then "
        f"gives {number + 3} of them back to the mill. How many loaves did she keep the money for?",
        answer=str(3 * total - number - 3),
        solution=f"{total} + {2 * total} = {3 * total}.\n{3 * total} - {number + 3} is what is left.",
        source="made-up",
        split="test",
        level=str(1 + number % 5),
        subject=SUBJECTS[number % len(SUBJECTS)],
    )


def _solution(number: int, answer: str, rng: random.Random) -> str:
    steps = [f"She has {rng.randrange(10, 99)} loaves, so $x = \\frac{{{i}}}{{2}}$." for i in range(5)]
    return "\n".join(steps[: rng.randrange(1, 6)]) + f"\nThe answer is: {answer}"


def _verdict(key: str, correct: bool, cut: bool, answer: str, rng: random.Random) -> Verdict:
    if cut:
        return Verdict(key=key, correct=False, tier="none")
    if not correct and rng.random() < 0.04:
        return Verdict(key=key, correct=None, answer=answer, tier="symbolic", trouble="timeout")
    return Verdict(key=key, correct=correct, answer=answer, tier="numeric")


def _metrics(counts: list[int], samples: int, part: str | None) -> Iterable[dict[str, Any]]:
    """Metrics of the right form; pass@k and PassRatio are the true ones, the others merely plausible."""
    n = len(counts)

    def row(name: str, value: float, k: int | None = None) -> dict[str, Any]:
        wide, slim = 0.9 / math.sqrt(n), 0.3 / math.sqrt(n * samples)
        return {
            "name": name, "k": k, "value": value,
            "low": max(min(value, 0.0), value - wide), "high": min(1.0, value + wide),
            "low_fixed": max(min(value, 0.0), value - slim), "high_fixed": min(1.0, value + slim),
            "problems": n, "samples": n * samples, "slice": part,
        }  # fmt: skip

    ratio = sum(counts) / (n * samples)
    yield row("pass_ratio", ratio)
    powers = [2**i for i in range(20) if 2**i < samples]
    for k in [*powers, samples]:
        value = sum(1 - math.comb(samples - c, k) / math.comb(samples, k) for c in counts) / n
        yield row("pass@k", value, k)
        if part is None:
            yield row("maj@k", ratio + (value - ratio) * 0.25, k)
            chance = 1 - (1 - 0.012) ** k
            yield row("chance_pass@k", chance, k)
            yield row("adjusted_pass@k", (value - chance) / (1 - chance), k)
    if part is None:
        yield row("truncated", 0.113)
        yield row("no_answer", 0.047)
        bounds = {"low": 131.0, "high": 155.4, "low_fixed": 142.9, "high_fixed": 143.5}
        yield row("mean_tokens", 143.2) | bounds
