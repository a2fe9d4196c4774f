"""Runs a command and ends it, with all its children, when its own standard input closes: when we are gone, however.

    python -m upwell.engines.vllm.keeper COMMAND [ARGUMENT ...]

The command runs in a process group of its own. At the end of input, or at SIGTERM, the group gets SIGTERM, and SIGKILL
some seconds later. Exits with the command's code.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

GRACE_SECONDS = 10.0


def main() -> int:
    """Run the command line's command."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    ended = threading.Event()

    def end(*_: object) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches us too; our parent closes the pipe when it is done
    threading.Thread(target=_await_end, args=(ended,), daemon=True).start()
    while child.poll() is None and not ended.is_set():
        ended.wait(0.2)
    _end_group(child)
    return child.returncode


def _await_end(ended: threading.Event) -> None:
    sys.stdin.buffer.read()
    ended.set()


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it has started in its group."""
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
