"""Runs a command and ends it, with all its children, when whoever started it is gone, however that came about.

    python keeper.py COMMAND [ARGUMENT ...]

The command runs in a process group of its own. At the end of standard input, when the parent process is another, or at
SIGTERM, the group gets SIGTERM, and SIGKILL some seconds later. Exits with the command's code.

It has to be started in a session of its own, to outlive what reaches our whole group: a terminal that closes, a kill.
Run as a file, it needs nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

GRACE_SECONDS = 10.0
_LOOK_SECONDS = 0.2


def main() -> int:
    """Run the command line's command."""
    parent = os.getppid()
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    # The parent is also looked at, because a process forked from it may hold the other end of the pipe.
    while child.poll() is None and os.getppid() == parent and not told and not _input_ends():
        pass
    end_group(child)
    return child.returncode


def _input_ends() -> bool:
    """Look for the end of standard input, for a moment. No thread reads it: one that did would abort our exit."""
    readable, _, _ = select.select([0], [], [], _LOOK_SECONDS)
    return bool(readable) and not os.read(0, 1 << 12)


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it has started in its group; also what is left where it ended by itself."""
    late = time.monotonic() + GRACE_SECONDS
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    while time.monotonic() < late and _alive(child):
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _alive(child: subprocess.Popen[bytes]) -> bool:
    """Whether any process of the group still runs."""
    child.poll()  # reaps it, or it would count
    try:
        os.killpg(child.pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
