"""Tables on stdout."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from upwell.report.text import visible

if TYPE_CHECKING:
    from upwell.measurement.comparison import Comparison
    from upwell.measurement.pilot import Estimate
    from upwell.metrics import Planned

_QUESTION = 60
_ABOUT = {"population": "problems like these", "fixed": "these problems"}
"""What an interval is about, by its name in the code."""
"""Characters of a question that a line shows."""
_HEADLINE = [
    ("pass_ratio", "PassRatio (mean share correct)"),
    ("pass@k", "pass@{k}"),
    ("pass@k_extrapolated", "pass@{k}, extrapolated"),
    ("maj@k", "maj@{k}"),
    ("weighted_maj@k", "maj@{k} weighted by score"),
    ("best_of@k", "best of {k} by score"),
    ("pass^k", "pass^{k} (all {k} correct)"),
    ("chance_pass@k", "chance pass@{k}"),
    ("adjusted_pass@k", "pass@{k} adjusted for chance"),
    ("guess_pass@k", "guesses on the question's numbers"),
    ("sound_pass@k", "pass@{k} with sound arithmetic"),
    ("sound_pass@k_upper", "  or with none to check"),
    ("truncated", "truncated at the token limit"),
    ("no_answer", "without an answer"),
    ("undecided", "the grader could not tell"),
    ("mean_tokens", "mean tokens"),
]


def console() -> Console:
    """stdout: as wide as the terminal, or wide enough for any table where there is none."""
    asked = os.environ.get("COLUMNS", "")
    # rich itself reads COLUMNS, but takes 80 where there is neither that nor a terminal.
    width = None if sys.stdout.isatty() or (asked.isdigit() and int(asked) > 0) else 110
    return Console(width=width, highlight=False)


def metrics_table(manifest: dict[str, Any], summary: dict[str, Any]) -> None:
    """The headline numbers of a run, each with both intervals; then what to know about them."""
    whole = [m for m in summary["metrics"] if m["slice"] is None]
    if not whole:
        return
    most = max((m["k"] for m in whole if m["name"] == "pass@k" and m["value"] is not None), default=None)
    counts = summary["counts"]
    out = console()
    model = manifest.get("model", {}).get("name", manifest.get("engine", ""))
    problem_set = manifest["fingerprint"].get("problems")
    where = f"{model} on {problem_set}" if problem_set else model
    title = f"{where}: {counts['problems']:,} problems, {counts['responses']:,} responses"
    table = Table(
        title=escape(visible(title)), title_justify="left", title_style="bold", caption_justify="left"
    )
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("95 %, problems like these", justify="right")
    table.add_column("95 %, these problems", justify="right")
    for name, label in _HEADLINE:
        for metric in _chosen(whole, name, most):
            table.add_row(label.format(k=metric["k"]), *_cells(metric))
    out.print(table)
    for slice_ in sorted({m["slice"] for m in summary["metrics"] if m["slice"]}):
        ratio, best = (
            next(
                (m for m in summary["metrics"] if (m["name"], m["k"], m["slice"]) == (name, k, slice_)), None
            )
            for name, k in (("pass_ratio", None), ("pass@k", most))
        )
        if ratio and best:
            shares = f"PassRatio {_number(ratio, 'value')}, pass@{most} {_number(best, 'value')}"
            out.print(visible(f"  {slice_}: {shares} ({ratio['problems']} problems)"), markup=False)
    if spent := _spent(summary):
        out.print(spent, markup=False)
    refused = [m for m in whole if m["name"] == "pass@k_extrapolated" and m["value"] is None]
    for note in [*summary.get("notes", []), *(str(m["note"]) for m in refused)]:
        out.print(visible(f"note: {note}"), markup=False)


def _spent(summary: dict[str, Any]) -> str | None:
    """What the run has taken, where that is more than the tokens of its responses."""
    spending = summary.get("spending")
    judged = "judge" in summary or "score" in summary
    if not spending or not (judged or spending["usd"] or spending["wasted"]["calls"]):
        return None
    dollars = f"${spending['usd']:,.4g}, " if spending["usd"] else ""
    told = (
        f"{'judgements took' if judged else 'spent:'} {dollars}{spending['prompt_tokens']:,} prompt and "
        f"{spending['completion_tokens']:,} completion tokens"
    )
    if calls := spending["wasted"]["calls"]:
        told += f", {calls:,} calls for nothing among them"
    if uncounted := spending.get("uncounted"):
        told += f"; {uncounted:,} replies came without a count"
    return told


def agreement_table(agreement: dict[str, Any]) -> None:
    """The score that each style reports, where the styles part, and examples."""
    out = console()
    first = agreement["styles"][0]["style"]
    against = {entry["style"]: entry for entry in agreement["against"]}
    table = Table(title="What each style reports", title_justify="left", title_style="bold")
    table.add_column("style")
    for column in (
        "PassRatio",
        "95 %, problems like these",
        "right",
        "undecided",
        f"only {first}",
        "only it",
    ):
        table.add_column(column, justify="right")
    for style in agreement["styles"]:
        entry = against.get(style["style"])
        table.add_row(
            escape(style["style"]),
            _number(style | {"name": "pass_ratio"}, "value"),
            _cells(style | {"name": "pass_ratio"})[1],
            f"{style['right']:,} of {style['responses']:,}",
            f"{style['undecided']:,}",
            *(("", "") if entry is None else (f"{entry['only_first']:,}", f"{entry['only_other']:,}")),
        )
    out.print(table)
    for entry in agreement["against"]:
        for which, said in (("examples_only_first", f"right for {first} only"),
                            ("examples_only_other", f"right for {entry['style']} only")):  # fmt: skip
            for example in entry[which][:3]:
                line = (
                    f"  {said}: {example['key']}  gold `{example['gold']}`  {first}: `{example['answer']}` "
                    f"({example['tier']})  {entry['style']}: `{example['other']}` ({example['other_tier']})"
                )
                out.print(visible(line), markup=False)


def judge_table(judge: dict[str, Any]) -> None:
    """What a judge decided, and how far it agrees with itself, with the rules, and with people."""
    out = console()
    out.print(visible(f"Judge {judge['model']}"), markup=False, style="bold")  # longer than the table is wide
    table = Table()
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("95 %", justify="right")
    table.add_row("responses that it decides on", f"{judge['judged']:,}", "")
    for label, count in (("right", judge["right"]), ("wrong", judge["wrong"]), *judge["undecided"].items()):
        if count:
            table.add_row(f"  {label}", f"{count:,}", "")
    for label, value in _of_votes(judge):
        table.add_row(label, value, "")
    for entry in judge["against"]:
        of = f"{entry['responses'] - entry['undecided']:,}"
        whose = {"rules": "the rules, at random", "file": "the file's own verdicts"}[entry["reference"]]
        table.add_row(f"agreement with {whose} ({of} responses)", *_share(entry, "accuracy"))
        kappa = "?" if entry["kappa"] is None else f"{entry['kappa']:.2f}"
        table.add_row("  Cohen's kappa", kappa, "")
        for label, name, whole in (
            ("  right for the judge only", "false_accepts", "of_wrong"),
            ("  wrong for the judge only", "false_rejects", "of_right"),
        ):
            table.add_row(label, f"{entry[name]:,} of {entry[whole]:,}", "")
    if (points := judge["points"]) is not None:
        totals = f"{points['total_judge']:g} / {points['total_people']:g}"
        table.add_row(f"points in all, judge / people ({points['responses']:,} responses)", totals, "")
        for label, name, form in (
            ("  mean difference", "mean_difference", "{:.2f}"),
            ("  the same points", "exact", "{:.1%}"),
            ("  rank correlation", "spearman", "{:.2f}"),
        ):
            table.add_row(label, *_given(points[name], form))
    out.print(table)


def score_lines(score: dict[str, Any]) -> None:
    """How a verifier's votes came out, in a line."""
    told = "; ".join(f"{label}: {value}" for label, value in _of_votes(score))
    console().print(visible(f"scores by {score['model']}: {told}"), markup=False)


def comparison_table(found: Comparison, flips: int) -> None:
    """Paired differences, then the problems that flipped."""
    out = console()
    said = f"B {found.second} against A {found.first}: {found.shared:,} problems shared"
    left = [f"{n:,} only in {w}" for n, w in ((found.only_first, "A"), (found.only_second, "B")) if n]
    table = Table(title=escape(visible(", ".join([said, *left]))), title_justify="left", title_style="bold")
    table.add_column("metric")
    for column in ("A", "B", "B - A", "95 %, problems like these", "p", "could have seen", "better / worse"):
        table.add_column(column, justify="right")
    for line in found.lines:
        one = line.difference
        table.add_row(
            {"pass_ratio": "PassRatio"}.get(line.name, line.name).replace("@k", f"@{line.k}"),
            f"{100 * line.first:.1f} %",
            f"{100 * line.second:.1f} %",
            f"{100 * one.value:+.1f}",
            f"{100 * one.low:+.1f} – {100 * one.high:+.1f}",
            f"{one.p_value:.3f}" if one.p_value >= 0.001 else "< 0.001",
            f"{100 * one.detectable:.1f}",
            f"{one.better:,} / {one.worse:,}",
        )
    out.print(table)
    lines = [
        f"never solved by A, solved by B: {found.gained:,} (by chance alone {found.gained_by_chance:.1f})",
        f"solved by A, never by B: {found.lost:,} (by chance alone {found.lost_by_chance:.1f})",
        f"flips told from chance, at a false discovery rate of 5 %: {sum(f.sure for f in found.flips):,}",
    ]
    for flip in found.flips[:flips]:
        question = " ".join(flip.question.split())
        brief = question if len(question) <= _QUESTION else question[: _QUESTION - 1] + "…"
        lines.append(
            f"  {'sure ' if flip.sure else '     '}{flip.first[0]}/{flip.first[1]} -> {flip.second[0]}/"
            f"{flip.second[1]}  p {flip.p_value:.2g}  {flip.key}  {brief}"
        )
    for text in [*lines, *(f"note: {note}" for note in found.notes)]:
        out.print(visible(text), markup=False)


def plan_table(planned: Planned) -> None:
    """Sizes of run with the widths that they would have."""
    out = console()
    title = f"95 % intervals {100 * planned.width:g} points wide, pass@{planned.k}, {_ABOUT[planned.kind]}"
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in (
        "samples",
        "problems",
        "responses",
        *(f"width, {about}" for about in _ABOUT.values()),
        "",
    ):
        table.add_column(column, justify="right")
    for row in planned.rows:
        table.add_row(
            f"{row.samples:,}", f"{row.problems:,}", f"{row.responses:,}", f"{100 * row.population:.1f}",
            f"{100 * row.fixed:.1f}",
            "recommended" if row == planned.recommended else "" if row.reached else "not reached",
        )  # fmt: skip
    out.print(table)
    for line in (planned.statement, planned.basis):
        out.print(visible(line), markup=False)


def estimate_table(found: Estimate) -> None:
    """What a run would take, from its pilot."""
    out = console()
    table = Table(title="The whole run, from its pilot", title_justify="left", title_style="bold")
    for column in ("", "expected", "95 % range"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("responses", f"{found.responses:,}", f"{found.drawn:,} of them are drawn")
    for label, unit, amount in (
        ("prompt tokens", "{:,.0f}", found.prompt_tokens),
        ("completion tokens", "{:,.0f}", found.completion_tokens),
        ("dollars", "${:,.4g}", found.usd),
    ):
        if amount is not None:
            low, high = unit.format(amount.low), unit.format(amount.high)
            table.add_row(label, unit.format(amount.expected), f"{low} – {high}")
    out.print(table)
    for line in found.notes:
        out.print(visible(line), markup=False)


def _of_votes(entry: dict[str, Any]) -> list[tuple[str, str]]:
    shares = (
        ("votes that cannot be read", "unreadable"),
        ("two votes on a response agree", "pairs_agree"),
        ("all votes on a response agree", "unanimous"),
    )
    told = [("votes on a response", f"{entry['votes']:,}")]
    return told + [(label, f"{100 * entry[name]:.1f} %") for label, name in shares if entry[name] is not None]


def _share(entry: dict[str, Any], name: str) -> tuple[str, str]:
    if entry[name] is None:
        return "?", ""
    return f"{100 * entry[name]:.1f} %", f"{100 * entry['low']:.1f} % – {100 * entry['high']:.1f} %"


def _given(entry: dict[str, float] | None, form: str) -> tuple[str, str]:
    if entry is None:
        return "?", ""
    value, low, high = (form.format(entry[name]).replace("%", " %") for name in ("value", "low", "high"))
    return value, f"{low} – {high}"


def _chosen(metrics: list[dict[str, Any]], name: str, most: int | None) -> list[dict[str, Any]]:
    wanted: tuple[int | None, ...] = (None, most) if name != "pass@k" else (1, most)
    if most == 1:  # all of them are PassRatio then, but for the baselines
        wanted = (None, 1) if name.startswith(("chance", "adjusted", "guess", "sound")) else (None,)
    found = [m for m in metrics if m["name"] == name and m["k"] in wanted]
    if name == "pass@k_extrapolated":
        return [m for m in metrics if m["name"] == name]
    if name == "undecided":
        return [m for m in found if m["value"]]
    return sorted(found, key=lambda m: m["k"] or 0)


def _cells(metric: dict[str, Any]) -> tuple[str, str, str]:
    return (
        _number(metric, "value"),
        f"{_number(metric, 'low')} – {_number(metric, 'high')}",
        f"{_number(metric, 'low_fixed')} – {_number(metric, 'high_fixed')}",
    )


def _number(metric: dict[str, Any], what: str) -> str:
    value = metric[what]
    if value is None:
        return "?"
    return f"{value:,.1f}" if metric["name"] == "mean_tokens" else f"{100 * value:.1f} %"
