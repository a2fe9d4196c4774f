"""The results page: tables, pictures, commands, and the verdict on each claim."""

from __future__ import annotations

import functools
import json
import os
import platform
import shlex
import shutil
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import verdicts
import world
from plan import SET, Folders, Form, by_size, rows_in, rungs, settings_of, unlike
from upwell import __version__
from upwell.analysis.fitting import CLOSE
from upwell.runs.storage import write_atomically

_SHOWN = ("ladder", "steps", "errors")
"""Figures of each arm that the page shows; the arms' own pages have all."""
_PUBLISHED = """SmolLM2-135M was trained on 2 trillion tokens: FineWeb-Edu, DCLM, The Stack and "new
filtered datasets", by its [card](https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct). Instruct was
then tuned on instructions and by preferences. The family's paper ([arXiv
2502.02737](https://arxiv.org/abs/2502.02737)) describes data sets of mathematics (FineMath) and of
instructions (SmolTalk) made for it. So Instruct may be taken to be tuned on mathematics already, and a
ladder from it shows what *more* tuning does. That is why there is a control."""


def write(form: Form, at: Folders, log: Sequence[dict[str, Any]], path: Path | None) -> Path:
    """Write the page, and beside it the pictures that it shows."""
    path = path or at.root / "elicitation.md"
    real = verdicts.Arm("real", _measured(at.real), at / "analyses")
    control = verdicts.Arm("control", _measured(at / "control/ladder"), at / "analyses")
    found = [*verdicts.on_arm(real), *verdicts.on_arm(control)]
    own, gold = (by_size((at / f"own/{arm}-measured").glob("*-s*")) for arm in ("own", "gold"))
    if own and gold:
        found.append(verdicts.of_matched(own, gold))
    if (at / "leakage/summary.json").exists():
        found.append(verdicts.of_leakage(at / "leakage"))
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [
        _opening(form, at, real, log),
        "## Verdicts\n\n" + _verdicts(found),
        "## Real questions and solutions\n\n" + _about_real(form, at, real) + _pictures(at, "real", path),
        "## The model's own answers, at matched size\n\n" + _about_own(form, at, own, gold),
        *_other_sets(form, at),
        "## Control: a model whose whole past is known\n\n" + _about_control(form, control)
        + _pictures(at, "control", path),
        "## What the analyses say\n\n" + _said(at),
        "## Commands, machine and time\n\n" + _ran(form, at, log),
    ]  # fmt: skip
    write_atomically(path, ("\n\n".join(part.rstrip() for part in parts) + "\n").encode())
    return path


def _measured(ladder: Path) -> tuple[Path, ...]:
    base, trained = ladder / "measured" / "base", [ladder / "measured" / rung.name for rung in rungs(ladder)]
    return (base, *(run for run in trained if (run / "sampled" / "summary.json").exists()))


def _opening(form: Form, at: Folders, real: verdicts.Arm, log: Sequence[dict[str, Any]]) -> str:
    settings = settings_of(real.measured[0] / "sampled")
    problems = verdicts.metric(real.measured[0] / "sampled", "pass_ratio")
    assert problems is not None
    given = (
        ""
        if at.real_ladder is None
        else f" The real arm is a ladder that was there already (`{at.real_ladder}`)."
    )
    seeds, epochs = len(form.seeds), form.epochs
    about = _filled(f"""Xwin-Math ([arXiv 2403.04706](https://arxiv.org/abs/2403.04706)) argues that a base
        model has most of the mathematics already, that fine-tuning makes it come reliably, and that made
        data serve as well as people's. This is that argument on {form.model}, with {SET}:
        {problems["problems"]} test problems, {settings["samples"]} responses each at temperature
        {settings["temperature"]:g}, at most {settings["max_tokens"]} tokens; form `{form.name}`, {seeds}
        training {"seed" if seeds == 1 else "seeds"}, {epochs} {"epoch" if epochs == 1 else "epochs"} a
        rung.{given} All intervals are 95 %, over problems; differences are paired by problem.""")
    head = "# Is the mathematics there already?"
    made = "<!-- Written by studies/elicitation/run.py: change that, not this page. -->"
    return f"{head}\n\n{made}\n\n{about}\n\n{_filled(_PUBLISHED)}"


def _verdicts(found: Iterable[verdicts.Verdict]) -> str:
    rows = [[v.claim, v.where, v.arm, f"**{v.verdict}**", v.figures] for v in found]
    rule = f"""A claim of a change holds where the interval lies on its side of zero. It fails where the
interval lies on the other, or where all of it is below {100 * verdicts.MARGIN:g} points. That two things
are alike holds where the whole interval is within {100 * verdicts.MARGIN:g} points ({100 * verdicts.FLAT:g}
for coverage), and fails where it excludes zero and is not. Forms of the step curve are told apart by 4 of
AIC. Accuracy grows with the logarithm of the data where it surely grows, a straight line's AICc can be told and is
less than {CLOSE:g} from the best, and that line foresaw the largest rung; it does not where all it can
gain over the whole ladder is below {100 * verdicts.MARGIN:g} points, or where it surely grows and another form is
better by {verdicts.APART:g} of AICc or foresaw the largest rung that the line missed. A set shows a sign of a leak
where it is flagged, and none where surely less than {100 * verdicts.SHOWS:g} points more of its questions and of its
solutions lie among the other's easiest tenth: so many would if {100 * verdicts.LEAK:g} % were learnt by heart. Several
seeds have to say the same. Everything else cannot be told at this size."""
    return _filled(rule) + "\n\n" + _table(["claim", "in the paper", "arm", "verdict", "figures"], rows)


def _about_real(form: Form, at: Folders, real: verdicts.Arm) -> str:
    return _ladder_table(real.measured) + "\n"


def _ladder_table(measured: Sequence[Path]) -> str:
    rows = []
    for run in measured:
        of = functools.partial(verdicts.metric, run / "sampled")
        greedy = verdicts.metric(run / "greedy", "pass_ratio") if (run / "greedy").exists() else None
        rows.append([_rung(run), *map(_cell, (
            greedy, of("pass_ratio"), of("pass@k"), of("maj@k"), of("sound_pass@k"), of("guess_pass@k"),
            of("chance_pass@k"), of("truncated")))])  # fmt: skip
    top = verdicts.metric(measured[0] / "sampled", "pass@k")
    k = top["k"] if top else "k"
    heads = ["greedy", "PassRatio", f"pass@{k}", f"maj@{k}", f"sound pass@{k}", f"guess pass@{k}",
             f"chance pass@{k}", "cut off"]  # fmt: skip
    return _table(["examples", *heads], rows)


def _rung(run: Path) -> str:
    if run.name == "base":
        return "0 (base)"
    examples, _, seed = run.name.partition("-s")
    return f"{int(examples):,} (seed {seed})"


def _about_own(form: Form, at: Folders, own: Sequence[Path], gold: Sequence[Path]) -> str:
    asked = [json.loads(line) for line in (at / "own/questions.jsonl").read_text().splitlines()]
    changed = sum("~numbers-" in row["id"] for row in asked)
    kept = rows_in(at / "own/set/examples.jsonl")
    which = "" if form.own_steps is None else f" of at most {form.own_steps} steps"
    epochs, batch = form.own_epochs or form.epochs, form.own_batch_size or form.batch_size
    lead = (
        _filled(f"""The model was asked {len(asked):,} train questions{which} ({changed:,} of them with
            other numbers, whose answers the worked solution proves), at most {form.own_trials} times each,
            and the first right response to each was kept: {kept:,} after decontamination. `gold` is the
            same questions with people's solutions, trained alike ({epochs} {
            "epoch" if epochs == 1 else "epochs"
        }, {batch} packed {"row" if batch == 1 else "rows"} a step). This is self-generated data,
            not the paper's, which GPT-4 wrote: Table 1 is not tested by it. Questions that a
            teacher writes anew are left out: that takes a stronger model than {form.model}.""")
        + "\n\n"
    )
    if not own:
        return lead + "With none there is nothing to train on."
    if apart := unlike(at):
        told = "; ".join(f"{count:,} of {size:,}" for size, count in apart.items())
        lead += (
            _filled(f"""Not all rungs hold the same questions, as solutions of people's were turned down: gold has
            others in {told} examples.""")
            + "\n\n"
        )
    rows = []
    for arm, runs in (("own", own), ("gold", gold)):
        for run in runs:
            rows.append([arm, _rung(run), *map(_cell, (verdicts.metric(run, name) for name in
                        ("pass_ratio", "pass@k", "maj@k", "truncated")))])  # fmt: skip
    return lead + _table(["answers", "examples", "PassRatio", "pass@k", "maj@k", "cut off"], rows)


def _other_sets(form: Form, at: Folders) -> list[str]:
    if not form.other_sets:
        return []
    rows = []
    for name in form.other_sets:
        for run in sorted((at / f"others/{name.replace(':', '-')}").glob("*")):
            rows.append(
                [name, run.name, *map(_cell, (verdicts.metric(run, m) for m in ("pass_ratio", "pass@k")))]
            )
    return ["## Other sets\n\n" + _table(["set", "model", "PassRatio", "pass@k"], rows)]


def _about_control(form: Form, control: verdicts.Arm) -> str:
    about = _filled(f"""A LLaMA of {form.layers} layers and {form.width} dimensions was trained here from
        random weights on {form.corpus:,} word problems made by a program, over {form.corpus_epochs} epochs.
        In them every step of arithmetic is wrong with the chance {world.NOISE:g}, so the right way of
        working is in the model and does not come reliably. It never saw any of the templates (a third of
        all) that it is measured on. Then a ladder of lessons without mistakes.""")
    return f"{about}\n\n{_ladder_table(control.measured)}\n"


def _pictures(at: Folders, arm: str, path: Path) -> str:
    shown = []
    for picture in sorted((at / "pages").glob(f"{arm}-*.png")):
        if any(kind in picture.stem.removeprefix(f"{arm}-") for kind in _SHOWN):
            copy = path.with_name(f"{path.stem}-{picture.name}")
            shutil.copyfile(picture, copy)
            shown.append(f"![{arm}: {picture.stem.removeprefix(f'{arm}-')}]({copy.name})")
    return "\n" + "\n\n".join(shown)


def _said(at: Folders) -> str:
    told = []
    for run in [*sorted((at / "analyses").glob("*")), at / "leakage"]:
        if (run / "summary.json").exists() and not run.name.endswith("-compute"):  # the arm's own page has it
            lines = json.loads((run / "summary.json").read_text())["conclusions"]
            told.append(f"**{run.name}**\n\n" + "\n".join(f"- {line}" for line in lines))
    return "\n\n".join(told)


def _ran(form: Form, at: Folders, log: Sequence[dict[str, Any]]) -> str:
    seconds: dict[str, float] = defaultdict(float)
    for row in log:
        seconds[row["step"]] += row["seconds"]
    commands = {row["out"]: row["command"] for row in log if row["command"]}
    minutes = sum(seconds.values()) / 60
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, Upwell {__version__}"
    try:
        import torch

        if torch.cuda.is_available():
            machine += f", {torch.cuda.get_device_name()}"
    except ImportError:
        pass
    given = "" if at.real_ladder is None else ", without the real ladder, which was there already"
    slow = sorted(seconds.items(), key=lambda one: -one[1])[:8]
    lines = [
        f"{machine}. {minutes:.0f} minutes of steps that ended (those that were killed are not counted){given}.",
        "",
    ]
    lines += [
        _table(["step", "minutes"], [[name, f"{spent / 60:.1f}"] for name, spent in slow]),
        "",
        "```console",
    ]
    lines += [f"$ upwell {shlex.join(_short(command, at))}" for command in commands.values()]
    return "\n".join([*lines, "```"])


def _short(command: Sequence[str], at: Folders) -> list[str]:
    return [word.replace(str(Path.cwd()) + os.sep, "") for word in command]


def _filled(text: str) -> str:
    """A paragraph in lines of equal length."""
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


def _cell(found: verdicts.Fit | None) -> str:
    return "–" if found is None else verdicts.interval(found)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows
    ]
    return "\n".join(lines)
