"""The settings of evaluating."""

from __future__ import annotations

import math
from dataclasses import dataclass

from upwell import prompts
from upwell.errors import UsageError, check_ranges
from upwell.evaluation.suites import suite_named
from upwell.measurement.settings import Grading, JudgeSettings


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(Grading, JudgeSettings):
    """Which suite, how the models are asked, and where the results go."""

    suite: str
    """Suite of problem sets: xwin, dart or robust (see docs/evaluation.md)."""
    out: str
    """Run directory. The same command on the same directory resumes it."""
    sets: tuple[str, ...] = ()
    """Only these sets of the suite, by their names in its table. Repeatable. All by default."""
    perturb: tuple[str, ...] = ()
    """Besides, this problem set or file with its numbers changed, where its worked solutions prove the new answers.
    Repeatable."""
    limit: int | None = None
    """Take this many problems of each set: a fixed random subset that grows with the limit. All by default."""
    samples: int = 0
    """Responses per problem, besides the greedy one, for Pass@N and PassRatio@N; 0 draws none."""
    temperature: float = 0.7
    """Sampling temperature of these."""
    top_p: float = 1.0
    """Nucleus sampling of these: keep the most likely tokens that reach this probability; 1 keeps all."""
    max_tokens: int = 2048
    """Most tokens that one response may have."""
    prompt: str = "card"
    """Prompt template by name; card is that of the model's card, which its name chooses, and for a model without one
    its own chat template, or `plain` where it has none."""
    stop: tuple[str, ...] = ()
    """Stop string, instead of those of the model's card; those of the prompt template hold too. Repeatable."""
    seed: int = 0
    """Seed of the samples and of problems that are made anew."""

    def __post_init__(self) -> None:
        Grading.__post_init__(self)
        JudgeSettings.__post_init__(self)
        suite_named(self.suite)
        check_ranges(
            ("samples", self.samples, self.samples >= 0, "0 (none) or more"),
            ("max-tokens", self.max_tokens, self.max_tokens >= 1, "1 or more"),
            ("temperature", self.temperature, 0.01 <= self.temperature < math.inf, "0.01 or more"),
            ("top-p", self.top_p, 0 < self.top_p <= 1, "above 0, at most 1"),
            ("limit", self.limit, self.limit is None or self.limit >= 1, "1 or more"),
        )
        if any(not stop for stop in self.stop):
            raise UsageError("--stop is empty, which would stop at once", "leave --stop out")
        if self.prompt not in ("card", "auto", *prompts.names()):
            prompts.get(self.prompt)  # which says what there is
        idle = [flag for flag, at_default in self._of_samples().items() if not at_default]
        if self.samples == 0 and idle:
            raise UsageError(
                f"{idle[0]} does nothing without --samples", f"add --samples 16, or drop {idle[0]}"
            )

    def _of_samples(self) -> dict[str, bool]:
        """Flags that concern the samples alone, and whether each is left as it is."""
        kind = EvaluateSettings
        return {
            "--temperature": self.temperature == kind.temperature,
            "--top-p": self.top_p == kind.top_p,
            "--extrapolate": self.extrapolate == (),
        }

    def check_judged(self) -> None:
        """Refuse the first setting of a judge that was set where none is named.

        Raises:
            UsageError: names the setting.
        """
        for name in JudgeSettings.__annotations__:
            if self.judge is None and getattr(self, name) != getattr(JudgeSettings, name):
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} does nothing without --judge", f"leave {flag} out")
