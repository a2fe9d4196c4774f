"""The verb that writes pages, or serves one."""

from __future__ import annotations

import sys
from pathlib import Path


def report(*runs: Path, out: Path | None = None, png: bool = True, serve: bool = False, port: int = 0) -> int:
    """Write one self-contained HTML page on finished runs, or serve it with every response.

    Parameters
    ----------
    runs
        Run directories, each finished; several are laid over one another. A ladder of trainings shows its measured
        rungs; runs of analyze show their conclusions and pictures.
    out
        The page. Its figures go beside it as PNG and CSV.
    png
        Write the PNGs too.
    serve
        Instead of writing, serve the page to this machine until it is interrupted: for runs too big to embed. All
        responses can be read and searched.
    port
        To serve on; 0 takes a free one.
    """
    from upwell.errors import UsageError

    if serve:
        if out is not None or not png:
            raise UsageError(
                f"{'--no-png' if out is None else '--out'} does nothing with --serve", "leave it out"
            )
        return _serve(list(runs), port)
    if out is None:
        raise UsageError("where is the page to go?", "--out report.html, or --serve")
    if port:
        raise UsageError("--port does nothing without --serve", "leave --port out")
    from upwell.report import build

    _say(len(runs), "drawing")
    files = build(list(runs), out, pngs=png)
    sys.stdout.write(f"{files.html}\n")
    return 0


def _say(count: int, what: str) -> None:
    sys.stderr.write(f"reading {count} run{'s' * (count != 1)} and {what} the page\n")


def _serve(runs: list[Path], port: int) -> int:
    from upwell.errors import UsageError
    from upwell.report import serve

    if not 0 <= port <= 65535:
        raise UsageError(f"--port is {port}, and has to be from 0 to 65535", "--port 0")
    _say(len(runs), "serving")
    server = serve(runs, port)
    sys.stdout.write(f"{server.address}\n")
    sys.stdout.flush()
    sys.stderr.write("for this machine alone; Ctrl-C ends it\n")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.stderr.write("ended\n")
    finally:
        server.server_close()
    return 0
