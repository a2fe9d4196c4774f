"""The command line: one table of verbs, each loaded when it is called."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from cyclopts import App

VERBS = {
    "measure": (
        "upwell.cli.measuring:measure",
        "Sample, grade and report pass@k against PassRatio, in one run.",
    ),
    "sample": ("upwell.cli.measuring:sample", "Draw responses to problems."),
    "grade": ("upwell.cli.measuring:grade", "Grade a run's responses anew, or another program's output."),
    "synthesize": (
        "upwell.cli.synthesizing:synthesize",
        "Make new questions with solutions, or verified solutions of given ones.",
    ),
    "curate": ("upwell.cli.curating:curate", "Choose training rows by steps and write them as examples."),
    "train": (
        "upwell.cli.training:train",
        "Fine-tune a base model on a run's examples, or a whole ladder of them; --plan says what it takes.",
    ),
    "evaluate": (
        "upwell.cli.evaluating:evaluate",
        "Models on a suite of benchmarks, each asked in its own way, beside published figures.",
    ),
    "export": ("upwell.cli.curating:export", "Write a run's rows for other programs."),
    "compare": ("upwell.cli.measuring:compare", "Paired differences between two graded runs."),
    "analyze": (
        "upwell.cli.analyzing:analyze",
        "What finished runs say together: scaling, steps, errors, leakage, selection, compute.",
    ),
    "report": ("upwell.cli.reporting:report", "Write one self-contained HTML page on finished runs."),
    "show": ("upwell.cli.showing:show", "What a run holds, and where a row of it comes from."),
    "problems": ("upwell.cli.problems:app", "List, check and show problem sets."),
    "doctor": ("upwell.cli.doctor:doctor", "Say what works on this machine, and how to mend what does not."),
}
"""Verb: where it is, and its line in the help."""

INTERRUPTED = 130
READER_GONE = 141
"""What a shell reports for a tool that a closed pipe ended."""


def application() -> App:
    """The verbs with their flags; each verb's module is loaded when it is asked for."""
    from cyclopts import App, Parameter

    from upwell import __version__

    app = App(
        name="upwell",
        help="Measure how much mathematics a language model can already do.",
        version=__version__,
        default_parameter=Parameter(negative_iterable=()),
        help_format="markdown",
        suppress_keyboard_interrupt=False,  # it would end the process without a word
    )
    for verb, (where, line) in VERBS.items():
        app.command(where, name=verb, help=line)
    return app


def main() -> NoReturn:
    """The `upwell` command. Exits 0: done; 1: something owed is missing; 2: wrong use; 3: a budget is spent;
    130: interrupted. What was written stays in every case."""
    from cyclopts import CycloptsError

    from upwell.errors import UpwellError, UsageError

    app = application()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = app(exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        _fail(str(error), " ".join(["upwell", *(error.command_chain or ()), "--help"]), UsageError.exit_code)
    except UpwellError as error:
        _fail(error.message, error.hint, error.exit_code)
    except KeyboardInterrupt:
        # Raised in mid-verb: every verb works off what is owed, so the same command goes on from here.
        _fail("interrupted; what was finished is kept", "run the same command again to go on", INTERRUPTED)
    except BrokenPipeError:
        # The reader went away (`upwell problems | head`): end quietly, as any Unix tool does. Not by giving the
        # signal its default back: that would also end a run of which a grading worker or a connection died.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(READER_GONE)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
            raise
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # what is left in the buffer goes nowhere
        _fail(f"the output cannot be written: {error.strerror}", "free some space, or send it elsewhere", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _fail(message: str, hint: str | None, code: int) -> NoReturn:
    lines = [f"error: {message}"] + ([f"hint: {hint}"] if hint else [])
    from upwell.report.text import visible

    sys.stderr.write(visible("\n".join(lines)) + "\n")  # a message may quote a file or a model
    sys.stderr.flush()
    sys.stdout.flush()
    if code == INTERRUPTED:
        os._exit(code)  # an engine's threads may be in mid-step; nothing they hold is owed to disk
    sys.exit(code)
