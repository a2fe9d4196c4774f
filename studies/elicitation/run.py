"""Is the mathematics there already, and does fine-tuning elicit it? Xwin-Math's argument on a small open model.

    python studies/elicitation/run.py --dry-run
    python studies/elicitation/run.py --out runs/study

Every step is an `upwell` command that resumes itself, and every finished one is logged: interrupted at any moment, the
same command goes on. The form is sized to the machine: `full` with a GPU, else `reduced`.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import page
import plan
import world
from upwell.runs.storage import write_atomically

UPWELL = [sys.executable, "-m", "upwell"]


def main() -> int:
    """Run the study, or say what it would run; the exit code of the step that failed, if one did."""
    asked = _arguments()
    form = _form(asked.form)
    if asked.model:
        form = dataclasses.replace(form, model=asked.model)
    at = plan.Folders(asked.out, asked.real_ladder)
    if at.real_ladder is not None:
        form = _measured_alike(form, at.real_ladder)
    if asked.dry_run:
        _say_plan(form, at)
        return 0
    log = Log(asked.out / "log.jsonl", form)
    for step in plan.steps(form, at):
        if log.finished(step):
            continue
        print(f"== {step.name}: {step.what}", flush=True)
        code = log.run(step)
        if code != 0:
            print(f"{step.name} ended with {code}; the same command goes on from here", file=sys.stderr)
            return code
    written = page.write(form, at, log.rows(), asked.page)
    print("page:", written)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--form", choices=["auto", *plan.FORMS], default="auto", help="how large")
    parser.add_argument(
        "--model", help="another model than smollm2-135m-instruct: a checkpoint or a hub name"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/study"), help="folder of all its runs")
    parser.add_argument("--page", type=Path, help="the results page; by default OUT/elicitation.md")
    parser.add_argument("--real-ladder", type=Path, help="take this finished ladder as the real arm")
    parser.add_argument("--dry-run", action="store_true", help="print the steps and their commands only")
    asked = parser.parse_args()
    if asked.real_ladder is not None and not (asked.real_ladder / "summary.json").exists():
        parser.error(
            f"{asked.real_ladder} is no finished ladder: `upwell train ... --ladder --problems ...` makes one"
        )
    asked.page = asked.page or asked.out / "elicitation.md"
    return asked


def _form(name: str) -> plan.Form:
    if name == "auto":
        import torch

        name = "full" if torch.cuda.is_available() else "reduced"
    return plan.FORMS[name]


def _measured_alike(form: plan.Form, ladder: Path) -> plan.Form:
    """The form, with what has to be as in a ladder that is given: how it was trained and measured."""
    told = plan.settings_of(ladder)
    alike = {
        name: told[name] for name in ("limit", "samples", "max_tokens", "epochs") if told[name] is not None
    }
    return dataclasses.replace(form, **alike)


def _say_plan(form: plan.Form, at: plan.Folders) -> None:
    minutes = 0.0
    for step in plan.steps(form, at):
        takes = form.minutes.get(step.name)
        minutes += takes or 0.0
        print(f"# {step.name}: {step.what}" + (f" (about {takes:g} min)" if takes else ""))
        if step.command:
            print("upwell " + shlex.join(step.command))
    told = (
        f"about {minutes:g} minutes on two cores, and some for what is quick"
        if form.minutes
        else "not timed yet"
    )
    print(f"# form {form.name}: {told}. What depends on a step that has not run is not listed.")


class Log:
    """What was run, when, and for how long: a row a session of a step."""

    def __init__(self, path: Path, form: plan.Form) -> None:
        """Open the log of a study.

        Raises:
            SystemExit: The folder holds the study in another form.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        begun = path.with_name("form.json")
        told = json.dumps(dataclasses.asdict(form) | {"minutes": {}}, indent=1)
        if begun.exists() and json.loads(begun.read_text()) != json.loads(told):
            raise SystemExit(f"{path.parent} holds the study in another form: take another --out")
        write_atomically(begun, f"{told}\n".encode())

    def rows(self) -> list[dict[str, Any]]:
        """Every session in order."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def finished(self, step: plan.Step) -> bool:
        """Whether the step ended well, by the same command, and what it left is there."""
        command = list(step.command)
        done = any(
            r["out"] == str(step.out) and r["command"] == command and r["code"] == 0 for r in self.rows()
        )
        return done and step.out.exists()

    def run(self, step: plan.Step) -> int:
        """Run a step, and note how it ended."""
        began, started = time.monotonic(), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        code = 0
        try:
            if step.make is not None:
                step.make()
            else:
                code = subprocess.run([*UPWELL, *step.command]).returncode
        except KeyboardInterrupt:
            code = 130
        row = {
            "step": step.name, "out": str(step.out), "command": list(step.command), "started": started,
            "seconds": round(time.monotonic() - began, 1), "code": code,
        }  # fmt: skip
        world.write(self.path, [*self.rows(), row])
        return code


if __name__ == "__main__":
    sys.exit(main())
