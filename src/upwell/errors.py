"""What can go wrong, in three kinds, and the exit code of each.

1. A wrong command, a broken file, a spent budget is an `UpwellError`: it is raised, printed as
   one message with a hint that can be pasted, and ends the process with the class's `exit_code`.
2. A request that could not be served, an answer that could not be graded or a row that was turned
   down is data (`Failure`, `Verdict.trouble`, `Reject`): it is written, counted and shown.
3. Anything else is a bug and keeps its traceback.
"""

from __future__ import annotations


class UpwellError(Exception):
    """An error to show to the user: what went wrong and where, with the value, and how to mend it.

    Args:
        message: What went wrong, where, and the value that did it, in one or two lines.
        hint: What to do about it; best a command or flag that can be pasted.
    """

    exit_code = 1
    """1: the run ended with something owed missing."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"


class UsageError(UpwellError):
    """The command or its input is wrong; nothing was begun, nothing written is lost."""

    exit_code = 2


class MissingExtra(UsageError):
    """A package that this feature needs is not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package `{package}`, which is not installed here",
            f"pip install 'upwell[{extra}]'",
        )


class StorageError(UpwellError):
    """A run directory could not be written (disk full, no permission). Complete rows are kept."""


class EngineError(UpwellError):
    """No request can be served any more; what was answered is on disk and the run can be resumed."""


class BudgetSpent(UpwellError):
    """A spending cap was reached. The run is resumable."""

    exit_code = 3


def check_ranges(*checks: tuple[str, float | None, bool, str]) -> None:
    """Refuse the first setting whose value is out of its range: (name, value, whether it is good, the range).

    Raises:
        UsageError: names the flag, the value, the range, and an example that is in it.
    """
    for name, value, good, range_ in checks:
        if not good:
            flag = "--" + name.replace("_", "-")
            example = _IN_RANGE.get(name.replace("_", "-"), "16")
            raise UsageError(f"{flag} is {value}, but has to be {range_}", f"{flag} {example}")


_IN_RANGE = {
    "temperature": "0.7", "top-p": "0.95", "min-p": "0.05", "top-k": "50", "max-tokens": "512",
    "memory-gb": "4", "threads": "2", "workers": "2", "timeout": "5", "plan": "0.04", "extrapolate": "1024",
    "requests-per-minute": "500", "tokens-per-minute": "100000", "request-timeout": "600", "patience": "300",
    "choices-per-call": "1", "replicas": "2", "gpus-per-replica": "1", "cpus-per-replica": "1",
    "batch-rows": "50000", "batch-mb": "190", "poll-seconds": "30", "max-usd": "5", "max-total-tokens": "1000000",
    "votes": "3", "judge-tokens": "1024", "judge-audit": "100", "judge-temperature": "0.7",
    "examples": "7473", "tokens-per-example": "450", "mfu": "0.4", "price": "3",
    "near": "0.8", "give-up": "0.01", "consensus": "0.5", "learning-rate": "2e-5",
    "max-length": "2048", "max-truncated": "0.01",
    "gain": "2", "multiple": "2", "usd-per-hour": "2.5",
}  # fmt: skip
