"""README.md of a data set folder for the hub: what is in it, where it came from, and what was taken out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upwell import problems
from upwell.problems import Card
from upwell.runs import Run

_SPDX = {"MIT": "mit", "Apache-2.0": "apache-2.0", "CC BY-NC 4.0": "cc-by-nc-4.0"}
"""The hub's names of licences."""


def card(run: Run, rungs: list[dict[str, Any]], files: Mapping[str, int]) -> str:
    """The card of a curated run.

    Args:
        run: Finished.
        rungs: Of its ladder, those that are in the folder, smallest first.
        files: Data files by their path in the folder, with their rows, in the order of the examples.
    """
    summary = run.summary or {}
    licences = {source: _licence(source) for source in summary.get("sources", {})}
    parts = [
        _front(list(licences.values()), rungs, list(files)),
        f"# {_line(run.path.name)}",
        _opening(run, summary, sum(files.values())),
        _sources(summary, licences),
        _steps(summary),
        _against(summary),
        _ladder(rungs, summary),
        _columns(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(licences: list[str], rungs: list[dict[str, Any]], files: list[str]) -> str:
    """The part that the hub and `datasets` read: each rung is a configuration that lists its files."""
    named = {_SPDX.get(licence, "other") for licence in licences} or {"other"}
    lines = [
        "---",
        f"license: {named.pop() if len(named) == 1 else 'other'}",
        "task_categories:",
        "- text-generation",
    ]
    lines += ["tags:", "- math", "configs:"]
    configs = {"default": files} | {f"rung-{rung['rung']}": files[: rung["rung"]] for rung in rungs}
    for name, paths in configs.items():
        lines += [f"- config_name: {name}", "  data_files:", "  - split: train", "    path:"]
        lines += [f"    - {path}" for path in paths]
    return "\n".join([*lines, "---"])


def _opening(run: Run, summary: Mapping[str, Any], rows: int) -> str:
    code = run.manifest.get("code", {})
    commit = f", commit {code['commit'][:12]}" if code.get("commit") else ""
    prompt = run.manifest.get("prompt", {})
    total = summary.get("counts", {}).get("examples", rows)
    whole = "" if rows == total else f" (of {total:,}, which the tables below are about)"
    return (
        f"{rows:,} training examples{whole} for mathematics in prompt-completion form, curated by Upwell"
        f" {code.get('version', '')}{commit}. Prompt template: `{_line(prompt.get('name'))}`,"
        f" digest `{str(prompt.get('digest'))[:12]}`. Seed {run.manifest['settings'].get('seed')}."
    )


def _sources(summary: Mapping[str, Any], licences: Mapping[str, str]) -> str:
    rows = [[source or "not stated", f"{count:,}", licences.get(source, "not stated")]
            for source, count in summary.get("sources", {}).items()]  # fmt: skip
    text = "## Sources\n\n" + _table(["source of the seeds", "examples", "licence of the source"], rows)
    teachers = {name: count for name, count in summary.get("teachers", {}).items() if name}
    if teachers:
        text += "\n\n" + _table(
            ["teacher", "examples"], [[name, f"{count:,}"] for name, count in teachers.items()]
        )
        text += "\n\nWhat a teacher's provider allows to be done with its output is not looked at here."
    methods = ", ".join(f"{_line(name)} {count:,}" for name, count in summary.get("methods", {}).items())
    return text + f"\n\nMethods: {methods}."


def _licence(source: str) -> str:
    if source.startswith("procedural:"):
        return "Apache-2.0"
    known: dict[str, Card] = {one.name: one for one in problems.cards()}
    return known[source].licence if source in known else "not stated"


def _steps(summary: Mapping[str, Any]) -> str:
    rows = [
        [
            step["step"],
            f"{step['in']:,}",
            f"{step['out']:,}",
            ", ".join(f"{reason} {count:,}" for reason, count in step["rejected"].items()),
        ]
        for step in summary.get("steps", [])
    ]
    return "## Steps\n\n" + _table(["step", "rows in", "rows out", "rejected"], rows)


def _against(summary: Mapping[str, Any]) -> str:
    found = summary.get("decontamination")
    if not found:
        return "## Contamination\n\nNothing was compared with any benchmark."
    rows = [
        [name, f"{count:,}", f"{found['rejected_for'].get(name, 0):,}"]
        for name, count in found["benchmarks"].items()
    ]
    bounds = ", ".join(f"{name} {value:g}" for name, value in found["bounds"].items())
    return (
        "## Contamination\n\nQuestions and solutions were compared with these test splits, and rows that hold one of "
        "their problems, or one made from it, left out:\n\n"
        + _table(["benchmark", "problems", "rows left out"], rows)
        + f"\n\nBounds: {bounds}."
        + _audit(found.get("audit"))
    )


def _audit(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    rows = [[label, f"{one['removed']:,}", f"{one['kept']:,}"] for label, one in found.items()]
    return "\n\nBy what rows were made from:\n\n" + _table(["made from", "left out", "kept"], rows)


def _ladder(rungs: list[dict[str, Any]], summary: Mapping[str, Any]) -> str:
    if not rungs:
        return ""
    rows = [[f"rung-{rung['rung']}", f"{rung['rows']:,}", f"{rung['tokens']:,}"] for rung in rungs]
    by = _line(summary.get("tokens", {}).get("by"))
    return (
        "## Ladder\n\nEach rung holds every row of the ones below it.\n\n"
        + _table(["configuration", "examples", "completion tokens"], rows)
        + f"\n\nTokens counted by {by}."
    )


def _columns(run: Run) -> str:
    return (
        "## Columns\n\n`prompt` and `completion` are what to train on; the end-of-sequence token is the trainer's "
        "to add. "
        "`question` and `answer` are the problem without its template. `problem` and `lineage` are keys of what an "
        "example was made from. `rung` is the smallest rung that holds it."
    )


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(map(_line, row)) + " |" for row in rows]
    return "\n".join(lines)


def _line(text: object) -> str:
    """A name on one line that no table and no markup of the card can be broken by."""
    return " ".join(str(text).split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")[:200]
