"""The command line: one table of verbs, each loaded when it is called."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

VERBS = {
    "measure": (
        "upwell.cli.measuring:measure",
        "Sample, grade and report pass@k against PassRatio, in one run.",
    ),
    "sample": ("upwell.cli.measuring:sample", "Draw responses to problems."),
    "grade": ("upwell.cli.measuring:grade", "Grade the responses of a run anew."),
    "report": ("upwell.cli.reporting:report", "Write one self-contained HTML page on finished runs."),
    "problems": ("upwell.cli.problems:app", "List, check and show problem sets."),
    "doctor": ("upwell.cli.doctor:doctor", "Say what works on this machine, and how to mend what does not."),
}
"""Verb: where it is, and its line in the help."""

INTERRUPTED = 130


def main() -> NoReturn:
    """The `upwell` command. Exits 0: done; 1: something owed is missing; 2: wrong use; 3: a budget is spent;
    130: interrupted. What was written stays in every case."""
    from cyclopts import App, CycloptsError, Parameter

    from upwell import __version__
    from upwell.errors import UpwellError, UsageError

    app = App(
        name="upwell",
        help="Measure how much mathematics a language model can already do.",
        version=__version__,
        default_parameter=Parameter(negative_iterable=()),
        help_format="plaintext",
    )
    for verb, (where, line) in VERBS.items():
        app.command(where, name=verb, help=line)
    # A reader that goes away (`upwell problems | head`) ends the command quietly, as for any Unix tool.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = app(exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        _fail(str(error), None, UsageError.exit_code)
    except UpwellError as error:
        _fail(error.message, error.hint, error.exit_code)
    except KeyboardInterrupt:
        # Raised in mid-verb: every verb works off what is owed, so the same command goes on from here.
        _fail("interrupted; what was finished is kept", "run the same command again to go on", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _fail(message: str, hint: str | None, code: int) -> NoReturn:
    lines = [f"error: {message}"] + ([f"hint: {hint}"] if hint else [])
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()
    sys.stdout.flush()
    if code == INTERRUPTED:
        os._exit(
            code
        )  # an engine's threads may be in the middle of a step; nothing they hold is owed to disk
    sys.exit(code)
