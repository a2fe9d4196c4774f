"""A run directory: what every stage reads and writes, and the only channel between stages.

    runs/base/
      manifest.json     written first, atomically: what was asked for and what made it
      responses.jsonl   a table: append only, one record a line, `key` first
      failures.jsonl
      summary.json      present if and only if the run finished
      .lock             one writer; the file itself is never replaced

`Run.open` creates or resumes, `Run.read` looks on, even while another process writes.
"""

from __future__ import annotations

from upwell.runs.provenance import code_version, digest_file, machine, package_versions
from upwell.runs.run import Run
from upwell.runs.secrets import scrub_command, scrub_url

__all__ = [
    "Run",
    "code_version",
    "digest_file",
    "machine",
    "package_versions",
    "scrub_command",
    "scrub_url",
]
