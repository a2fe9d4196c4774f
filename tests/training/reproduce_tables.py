"""The tables and commands of docs/reproduce.md, made from the data.

`python tests/training/reproduce_tables.py` writes them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from upwell.evaluation.published import FIGURES
from upwell.evaluation.suites import SUITES
from upwell.problems.cards import CARDS
from upwell.training import TrainSettings, plan
from upwell.training.corpora import CORPORA
from upwell.training.hardware import DEVICES
from upwell.training.published import PUBLISHED
from upwell.training.recipes import RECIPES, Recipe

PAGE = Path(__file__).parents[2] / "docs" / "reproduce.md"
DRAFTS, SETS, MODELS, SCORES = "runs/drafts", "runs/sets", "runs/models", "runs/scores"
NOT_KNOWN = "not known"

GPT4 = "server:https://api.openai.com/v1#gpt-4-turbo"
DEEPSEEK = "vllm:deepseek-ai/deepseek-math-7b-rl"
ONE_MACHINE = 8
"""GPUs of one machine."""
CALLS_PER_DRAFT = 2
"""Xwin-Math, appendix: question and check in one call, the solution in another."""
K_POOL, K_HARDEST, K_UNIFORM, N_MAX = 192, 192, 40, 2048
"""DART-Math's targets. The cap of its released sets is not known; this one is in its cost figure."""
RAW, DAYS, GPUS, PER_HOUR = 150e6, 5, 32, 35e3
"""DART-Math: raw samples of its synthesis, days on so many A100, and samples that one A100 makes in an hour."""
COST_FIGURE = {"Uniform": (4.45e6, 91.0), "Prop2Diff": (6.60e6, 86.8)}
"""DART-Math at this cap, read off its figure: raw samples; questions that reach their target, in percent."""


@dataclass(frozen=True)
class Row:
    """One model of a main table."""

    called: str
    """As the paper calls it."""
    recipe: str
    data: str
    ending: str
    """What follows the recipe in the name of its runs."""
    suites: tuple[tuple[str, tuple[str, ...]], ...]
    """Suites, and of each the sets, none being all."""

    @property
    def name(self) -> str:
        return f"{self.recipe}-{self.ending}"

    @property
    def of(self) -> Recipe:
        return RECIPES[self.recipe]


def _xwin_rows() -> Iterator[Row]:
    for called, recipe in (
        ("Xwin-Math-7B", "xwin-llama2-7b"),
        ("Xwin-Math-Mistral-7B", "xwin-mistral-7b"),
        ("Xwin-Math-Llemma-7B", "xwin-llemma-7b"),
        ("Xwin-Math-13B", "xwin-llama2-13b"),
        ("Xwin-Math-70B", "xwin-llama2-70b"),
    ):
        yield Row(called, recipe, "xwin-gsm8k-960k", "gsm8k", (("xwin", ("gsm8k",)),))
        yield Row(called, recipe, "xwin-math-480k", "math", (("xwin", ("math",)),))
    both = (("xwin", ("gsm8k", "math")), ("dart", ()))
    for size in ("7b", "70b"):
        yield Row(f"Xwin-Math-{size.upper()}-V1.1", f"xwin-llama2-{size}", f"xwin-v1.1-{size}", "v1.1", both)


def _dart_rows() -> Iterator[Row]:
    for called, recipe in (
        ("Mistral-7B", "dart-mistral-7b"),
        ("Llama3-8B", "dart-llama3-8b"),
        ("DSMath-7B", "dart-dsmath-7b"),
        ("Llama3-70B", "dart-llama3-70b"),
    ):
        for kind, data in (("Uniform", "dart-uniform"), ("Prop2Diff", "dart-hard")):
            yield Row(f"{called} {kind}", recipe, data, kind.lower(), (("dart", ()),))


XWIN, DART = tuple(_xwin_rows()), tuple(_dart_rows())
ROWS = (*XWIN, *DART)
BENCHMARKS_OF_DART = (*(entry.name for entry in SUITES["dart"].sets), "average")

DRAFT_RUNS = {
    "xwin-gsm8k-960k": ("xwin-gsm8k",),
    "xwin-math-480k": ("xwin-math",),
    "xwin-v1.1-7b": ("xwin-gsm8k", "xwin-gsm8k-more", "xwin-math", "xwin-math-more"),
    "xwin-v1.1-70b": ("xwin-gsm8k", "xwin-math"),
    "dart-uniform": ("dart-uniform-gsm8k", "dart-uniform-math"),
    "dart-hard": ("dart-hard-gsm8k", "dart-hard-math"),
}
"""Of each data recipe, the runs of drafts that it is curated from."""
_OF_GSM8K, _OF_MATH = CORPORA["xwin-gsm8k-960k"].rows, CORPORA["xwin-math-480k"].rows
WANTED = {
    "xwin-gsm8k": ("gsm8k", _OF_GSM8K),
    "xwin-math": ("math", _OF_MATH),
    "xwin-gsm8k-more": ("gsm8k", dict(CORPORA["xwin-v1.1-7b"].of)["GSM8K-like"] - _OF_GSM8K),
    "xwin-math-more": ("math", dict(CORPORA["xwin-v1.1-7b"].of)["MATH-like"] - _OF_MATH),
}
"""Of each run of Xwin-Math's drafts, the seeds and how many are wanted."""


def _train_rows(name: str) -> int:
    return CARDS[name].published["train"]


def _command(*parts: str) -> str:
    """A command over as many lines as it takes."""
    line, lines = "$ upwell", []
    for part in parts:
        if len(line) + len(part) > 116:
            lines.append(line + " \\")
            line = "   "
        line += " " + part
    return "\n".join([*lines, line])


def _console(commands: Iterable[str]) -> str:
    return "```console\n" + "\n".join(commands) + "\n```"


def xwin_drafts() -> str:
    return _console(
        _command(
            "synthesize", "--method xwin", f"--seeds {seeds}", f"--teacher {GPT4}", "--key-env OPENAI_API_KEY",
            "--temperature 1.0", f"--count {count}", *(["--seed 1"] if name.endswith("more") else []),
            f"--out {DRAFTS}/{name}",
        )
        for name, (seeds, count) in WANTED.items()
    )  # fmt: skip


def dart_drafts() -> str:
    teacher = f"--teacher {DEEPSEEK} --prompt deepseek-math"
    shared = f"--temperature 1.6 --top-p 0.95 --max-tokens 2048 --max-trials {N_MAX}"

    def command(policy: str, seeds: str, run: str, pool: str = "") -> str:
        return _command(
            "synthesize", "--method rejection", policy, f"--seeds {seeds}", teacher, shared,
            *([f"--pool {DRAFTS}/{pool}"] if pool else []), f"--out {DRAFTS}/{run}",
        )  # fmt: skip

    commands = []
    for seeds in ("gsm8k", "math"):
        pool = f"dart-pool-{seeds}"
        commands += [
            command(f"--policy uniform --k-uniform {K_POOL}", seeds, pool),
            command(f"--policy uniform --k-uniform {K_UNIFORM}", seeds, f"dart-uniform-{seeds}", pool),
            command(f"--policy prop2diff --k-hardest {K_HARDEST}", seeds, f"dart-hard-{seeds}", pool),
        ]
    return _console(commands)


def _curate(data: str, prompt: str, *more: str) -> str:
    runs = [f"{DRAFTS}/{run}" for run in DRAFT_RUNS[data]]
    return _command("curate", *runs, "--against all", f"--prompt {prompt}", *more, f"--out {SETS}/{data}")


def xwin_sets() -> str:
    used = dict.fromkeys(row.data for row in XWIN)
    return _console(_curate(data, "xwin-math", "--final-answer sentence") for data in used)


def dart_sets() -> str:
    return _console(_curate(data, "alpaca") for data in dict.fromkeys(row.data for row in DART))


def row_commands(row: Row) -> Iterator[str]:
    """Plan, train and evaluate."""
    hardware = row.of.hardware.value
    yield _command("train --plan", f"--recipe {row.recipe}", f"--data {row.data}", f"--hardware {hardware}")
    devices = int(hardware.partition("x")[0])
    cluster = [f"--ray HEAD:6379 --devices {devices}"] if devices > ONE_MACHINE else []
    yield _command(
        "train", f"{SETS}/{row.data}", f"--recipe {row.recipe}", *cluster, f"--out {MODELS}/{row.name}"
    )
    for suite, sets in row.suites:
        ending = f"-{suite}" if len(row.suites) > 1 else ""
        yield _command(
            "evaluate", f"{row.name}=vllm:{MODELS}/{row.name}/model", f"--suite {suite}",
            *(f"--sets {one}" for one in sets),
            f"--out {SCORES}/{row.name}{ending}",
        )  # fmt: skip


def commands_of(rows: tuple[Row, ...]) -> str:
    def written(row: Row) -> str:
        drafts = ", ".join(f"`{DRAFTS}/{run}`" for run in DRAFT_RUNS[row.data])
        told = f"Drafts {drafts};\nset `{SETS}/{row.data}`; then"
        return f"#### {_title(row)}\n\n{told}\n\n{_console(row_commands(row))}"

    return "\n\n".join(map(written, rows))


def _title(row: Row) -> str:
    return row.called + (f", {row.ending.upper()}" if row.ending in ("gsm8k", "math") else "")


@cache
def _planned(recipe: str, data: str, hardware: str) -> dict[str, Any]:
    found = plan(TrainSettings(recipe=recipe, plan=True, data=data, hardware=(hardware,)))
    return found["plans"][0]


def planned(row: Row, hardware: str | None = None) -> dict[str, Any]:
    """What training a row takes, on the recipe's hardware or another."""
    return _planned(row.recipe, row.data, hardware or row.of.hardware.value)


def said_hours(row: Row) -> float | None:
    """GPU-hours that the paper gives for the row's run, all epochs."""
    for run in PUBLISHED:
        if row.recipe in run.recipes and row.data == run.data:
            return run.gpu_hours * row.of.epochs.value / run.epochs
    return None


def figures(row: Row, benchmarks: Iterable[str], source: str = "") -> list[float | None]:
    """What the paper's table, or the source of this title, gives for the row."""
    return [
        next(
            (
                f.percent
                for f in FIGURES
                if f.model == row.called and f.benchmark == benchmark and source in f.source.title
            ),
            None,
        )
        for benchmark in benchmarks
    ]


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = tuple(head)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ("---",) * len(head), *rows))


def _costs(rows: tuple[Row, ...]) -> str:
    """What training takes, and where the paper had other devices, what it takes there."""
    head = [
        "row",
        "recipe",
        "data",
        "tokens, all epochs",
        "steps",
        "hardware",
        "hours",
        "GPU-hours",
        "dollars",
    ]
    others = any(_kind(row.of.hardware.paper) != _kind(row.of.hardware.value) for row in rows)
    head += ["the paper's hardware", "GPU-hours there"] if others else []
    lines = []
    for row in rows:
        found, said = planned(row), said_hours(row)
        line = [
            _title(row), f"`{row.recipe}`", f"`{row.data}`",
            f"{found['tokens_per_epoch'] * found['epochs'] / 1e6:,.0f} M", f"{found['steps']:,}",
            found["hardware"] + ("" if found["fits"] else ", does not fit"), _amount(found["hours"]),
            _amount(found["device_hours"]), _amount(found["usd"]),
        ]  # fmt: skip
        if others:
            paper = row.of.hardware.paper
            line += [str(paper), _amount(planned(row, paper)["device_hours"])]
        lines.append([*line, NOT_KNOWN if said is None else _amount(said)])
    hours, usd = (sum(planned(row)[name] for row in rows) for name in ("device_hours", "usd"))
    lines.append(["all", *[""] * 6, _amount(hours), _amount(usd), *[""] * (2 * others + 1)])
    return _table([*head, "GPU-hours, says the paper"], lines)


def _kind(hardware: str | None) -> str:
    return (hardware or "").rpartition("x")[2]


def xwin_synthesis() -> str:
    seeds = {name: _train_rows(name) for name in ("gsm8k", "math")}
    head = ("drafts", "seeds", "wanted", "per seed", "calls, at least", "tokens", "dollars", "for")
    lines = [
        (
            f"`{DRAFTS}/{name}`", f"{of}, {seeds[of]:,}", f"{count:,}", f"{count / seeds[of]:.0f}",
            f"{CALLS_PER_DRAFT * count:,}", NOT_KNOWN, NOT_KNOWN,
            ", ".join(f"`{data}`" for data, runs in DRAFT_RUNS.items() if name in runs),
        )
        for name, (of, count) in WANTED.items()
    ]  # fmt: skip
    total = sum(count for _, count in WANTED.values())
    lines.append(("all", "", f"{total:,}", "", f"{CALLS_PER_DRAFT * total:,}", NOT_KNOWN, NOT_KNOWN, ""))
    return _table(head, lines)


def dart_synthesis() -> str:
    price = DEVICES["A100"].price
    questions = sum(_train_rows(name) for name in ("gsm8k", "math"))
    most = questions * N_MAX

    def line(what: str, raw: tuple[float, ...], hours: tuple[float, ...], whence: str) -> tuple[str, ...]:
        shown = " to ".join(f"{one / 1e6:,.3g} M" for one in raw)
        dollars = " to ".join(_amount(one * price) for one in hours)
        return what, shown, NOT_KNOWN, " to ".join(map(_amount, hours)), dollars, whence

    lines = [
        line("the paper's synthesis, by its days", (RAW,), (24.0 * DAYS * GPUS,), f"{DAYS} days on {GPUS} A100"),
        line("the same, by its pace", (RAW,), (RAW / PER_HOUR,), f"{PER_HOUR:,.0f} samples per A100-hour"),
    ]  # fmt: skip
    for policy, (raw, reached) in COST_FIGURE.items():
        what = f"{policy} alone, at most {N_MAX:,} a question"
        whence = f"read off its figure; {reached:.1f} % of the questions reach their target"
        lines.append(line(what, (raw,), (raw / PER_HOUR,), whence))
    least = COST_FIGURE["Prop2Diff"][0]
    lines.append(
        line(
            f"the commands here: {K_POOL} each, at most {N_MAX:,} a question", (least, most),
            (least / PER_HOUR, most / PER_HOUR),
            f"no less than Prop2Diff alone, whose targets are lower; no more than {questions:,} x {N_MAX:,}",
        )
    )  # fmt: skip
    head = ("what", "raw samples", "their tokens", "A100-hours", f"dollars at ${price:.2f}", "from")
    return _table(head, lines)


def dart_kept() -> str:
    head = (
        "data",
        "rows kept",
        "tokens of a solution",
        "tokens of a question",
        "solutions, all",
        "questions, all",
    )
    return _table(
        head,
        (
            (
                f"`{corpus.name}`", f"{corpus.rows:,}", f"{corpus.solution}", f"{corpus.question}",
                f"{corpus.rows * corpus.solution / 1e6:.1f} M", f"{corpus.rows * corpus.question / 1e6:.1f} M",
            )
            for corpus in (CORPORA[data] for data in dict.fromkeys(row.data for row in DART))
        ),
    )  # fmt: skip


def _percents(values: Iterable[float | None]) -> list[str]:
    return ["–" if value is None else f"{value:.1f}" for value in values]


def xwin_figures() -> str:
    lines = []
    for row in XWIN:
        found = figures(row, row.suites[0][1] if row.ending == "v1.1" else (row.ending,))
        by_name = dict(zip(row.suites[0][1], _percents(found), strict=True))
        source = "its card" if row.ending == "v1.1" else "table 2"
        lines.append((_title(row), by_name.get("gsm8k", ""), by_name.get("math", ""), source))
    return _table(("row", "GSM8K", "MATH", "source"), lines)


def dart_figures() -> str:
    return _table(
        ("row", *BENCHMARKS_OF_DART),
        ((row.called, *_percents(figures(row, BENCHMARKS_OF_DART))) for row in DART),
    )


PARTS: dict[str, Callable[[], str]] = {
    "xwin synthesis": xwin_synthesis,
    "xwin drafts": xwin_drafts,
    "xwin sets": xwin_sets,
    "xwin costs": lambda: _costs(XWIN),
    "xwin figures": xwin_figures,
    "xwin rows": lambda: commands_of(XWIN),
    "dart synthesis": dart_synthesis,
    "dart kept": dart_kept,
    "dart drafts": dart_drafts,
    "dart sets": dart_sets,
    "dart costs": lambda: _costs(DART),
    "dart figures": dart_figures,
    "dart rows": lambda: commands_of(DART),
}


def filled(page: str) -> str:
    """The page with every marked part made anew."""
    for name, make in PARTS.items():
        before, mark, rest = page.partition(f"<!-- made: {name} -->\n")
        _, end, after = rest.partition("\n<!-- end -->")
        assert mark and end, f"{PAGE.name} lacks the marks of {name!r}"
        page = before + mark + make() + end + after
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
