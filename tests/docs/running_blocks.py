"""Runs the console blocks of the documentation, in order, in one folder, on small and scripted models.

    python running_blocks.py FOLDER [PAGE...]

Where a page names a model, a random checkpoint of the name stands in the folder, or a scripted server stands in for
it; sizes (problems, samples, tokens, rungs) are cut down. Everything else is run as it is written. Prints a line a
command, and ends with 1 if one failed. `LEFT_OUT` says what is not run, and why.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import random
import re
import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "engines"), str(ROOT / "tests" / "synthesis")]

PAGES = (
    "README.md", "docs/quickstart.md", "docs/problems.md", "docs/training.md", "docs/tour.md", "docs/scaling.md",
    "docs/analysis.md", "docs/report.md", "docs/dumps.md", "docs/synthesis.md", "docs/curation.md", "docs/judging.md",
    "docs/evaluation.md", "docs/rejection.md", "docs/leakage.md", "docs/reproduce.md",
)  # fmt: skip
"""In an order in which what a page takes for granted is there."""

LEFT_OUT = (
    (r"--serve\b", "serves until it is interrupted; tests/report has it"),
    (
        r"docs/reproduce.md: (?!train --plan)",
        "takes a teacher and weeks of GPUs; other pages run each of its verbs",
    ),
)
"""Commands that are only parsed (test_docs.py), and why."""

GIVEN = """
measure --problems gsm8k --model models/mine --out runs/gsm8k-trained
measure --problems gsm8k --model models/mine --out runs/graded
sample --problems gsm8k --model models/mine --out runs/proofs
measure --problems gsm8k --model models/mine --out runs/base
measure --problems gsm8k --model models/small --out runs/tuned
"""
"""What pages take for granted and do not make themselves."""

SMALL = {
    "--limit": "3", "--samples": "2", "--max-tokens": "8", "--count": "3", "--k-uniform": "1", "--k-hardest": "1",
    "--max-trials": "4", "--probes": "2", "--trials": "2", "--epochs": "1", "--batch-size": "1", "--bootstrap": "60",
    "--ladder": "2,4", "--extrapolate": "4",
}  # fmt: skip
ALWAYS = {
    "measure": ("--limit", "--samples", "--max-tokens"),
    "sample": ("--limit", "--samples", "--max-tokens"),
    "synthesize": ("--limit", "--count"),
    "evaluate": ("--limit", "--max-tokens"),
    "analyze": ("--bootstrap",),
    "train": ("--epochs", "--batch-size"),
}
"""Sizes that a verb gets even where the page does not give them."""


def commands(page: Path) -> Iterator[str]:
    """Every `upwell` command of a page's console blocks, without the word itself."""
    for block in re.findall(
        r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    ):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if line.startswith("$ ") and (found := re.search(r"(?:^|\s)upwell (.*)$", line[2:])):
                yield re.split(r"\s(?:[#>|]|2>)", found[1])[0]


def fitted(command: str, server: str) -> list[str]:
    """The words of a command, with small sizes and models that are here."""
    words = [_model(word, server) for word in shlex.split(command)]
    words = [word.replace("200-s42", "4-s42") for word in words]
    if "--row" in words:
        words[words.index("--row") + 1] = json.loads(
            Path(words[1], "drafts.jsonl").read_text().splitlines()[0]
        )["key"]
    verb, plan = words[0], "--plan" in words
    for at, word in enumerate(words[:-1]):
        if word in SMALL and not words[at + 1].startswith("--") and not plan:
            words[at + 1] = SMALL[word]
    for flag in dict.fromkeys(_sizes(words)):
        if flag not in words and not plan:
            words += [flag, SMALL[flag]]
    if verb == "analyze" and "--limit" in words:
        words[words.index("--limit") + 1] = "12"  # so that some of them have a twin
    if verb == "train" and not plan:
        words += ["--base", "models/mine", "--preflight", "no-overfit", "--max-length", "2048",
                  "--precision", "float32", "--attention", "eager", "--sharding", "none", "--devices", "1"]  # fmt: skip
    if verb == "curate" and "gsm8k/train" in words:
        words += ["--limit", "12"]
    if verb in ("measure", "sample") and "--model" not in words:
        words += ["--model", "models/mine"]
    if verb == "synthesize" and "--teacher" not in words:
        words += ["--teacher", server]
    if "--max-usd" in words and "--price" not in words:
        words += ["--price", "1,2"]
    return words


def _sizes(words: list[str]) -> tuple[str, ...]:
    """Flags that cut the work of a command down, whether it has them or not."""
    verb = words[0]
    wanted = ALWAYS.get(verb, ())
    if verb == "synthesize" and "rejection" in words:
        wanted = ("--limit", "--max-trials")
        wanted += ("--k-hardest", "--probes") if "prop2diff" in words else ("--k-uniform",)
    if verb == "train" and "--ladder" in words:
        wanted += ("--limit", "--samples", "--max-tokens")
    if verb == "analyze" and words[1] == "leakage" and "=" not in words[2]:
        wanted += ("--limit",)
    return wanted


def _model(word: str, server: str) -> str:
    """The word, with a model that is here where it names one that is not."""
    name, sign, rest = word.rpartition("=") if not word.startswith("--") else ("", "", word)
    if rest == "smollm2-135m-instruct":
        return f"{name}{sign}models/small"
    if (
        re.match(r"(server|vllm):", rest)
        or rest in ("MODEL", "JUDGE", "CHECKPOINT", "T")
        or "Xwin-LM/" in rest
    ):
        return f"{name}{sign}{server}"
    return word


@functools.cache
def _answers() -> dict[str, str]:
    from upwell.problems import load

    found = {}
    for name, split in (("gsm8k", "train"), ("gsm8k", "test"), ("math", "test")):
        with contextlib.suppress(Exception):  # what is not here is not asked about
            found.update({p.question[:80]: p.answer for p in load(name, split=split)})
    return found


def said(seed: int, prompt: str) -> str:
    """What the scripted server says: a vote, a teacher's sections, or an answer, mostly the right one."""
    from scripted_teacher import good_question, good_solution

    draw = random.Random(f"{seed} {prompt}")
    if "Verdict:" in prompt or "Points:" in prompt:
        return "Verdict: correct"
    if "Mistake:" in prompt:
        return "Mistake: calculation"
    if "SOLUTION:" in prompt:
        return good_solution(prompt, draw)
    if "CREATED QUESTION" in prompt:
        return good_question(prompt, draw)
    answer = next((answer for question, answer in _answers().items() if question in prompt), "7")
    return f"Let us see. \\boxed{{{answer if draw.random() < 0.8 else 12345}}}"


def prepare() -> None:
    """The files and checkpoints that pages name as the reader's own."""
    from tiny_models import make_checkpoint

    os.environ.update(HF_HUB_OFFLINE="1", API_KEY="x", KEY="x", OPENAI_API_KEY="x")
    for seed, name in enumerate(("mine", "small", "suspect", "base", "tuned")):
        make_checkpoint(
            "llama", Path("models") / name, seed, max_position_embeddings=4096, initializer_range=0.02
        )
    rows = [{"id": f"q{n}", "question": f"What is {n} plus {n}?", "answer": str(2 * n)} for n in range(4)]
    Path("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("mine.csv").write_text(
        "Prompt,reward.ground_truth\n" + "".join(f"{r['question']},{r['answer']}\n" for r in rows)
    )
    harness = [
        {"doc_id": n, "resps": [[f"#### {n}"]], "target": f"#### {n}", "filter": "none"} for n in range(4)
    ]
    Path("samples_gsm8k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in harness))
    Path("answers.csv").write_text("gold,final\n" + "".join(f"{n},{n}\n" for n in range(4)))
    Path("exam.csv").write_text(
        "prompt,answer,Points\nWhat is 1 + 1?,It is 2.,3\nWhat is 2 + 1?,It is 3.,2\n"
    )
    data, own = Path(os.environ["UPWELL_DATA"]), Path("data")
    own.mkdir()
    for folder in data.iterdir():
        (own / folder.name).symlink_to(folder.resolve())
    (own / "math").unlink()
    (own / "math").mkdir()
    for file in (data / "math").iterdir():
        (own / "math" / file.name).symlink_to(file.resolve())
    if not (own / "math" / "train.jsonl").exists():  # seeds have to be of some train split
        rows = (data / "math" / "test.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (own / "math" / "train.jsonl").write_text("".join(rows[:20]), encoding="utf-8")
    os.environ["UPWELL_DATA"] = str(own.resolve())
    Path("hungarian").symlink_to((data / "hungarian").resolve())
    for exam in (data / "hungarian").glob("*.csv"):
        Path(exam.name).symlink_to(exam.resolve())
    Path("own.csv").write_text("x,value,problems\n1000,0.2,500\n2000,0.25,500\n4000,0.3,500\n8000,0.36,500\n")


def between(page: str) -> None:
    """Put in place what a page takes for granted, and out of the way what other pages made under its names."""
    for command in commands(ROOT / page):
        words = shlex.split(command)
        if "--out" in words and Path(words[words.index("--out") + 1]).is_dir():
            shutil.rmtree(words[words.index("--out") + 1])
    if page == "docs/dumps.md":
        rows = [{"question_id": f"q{n}", "answer": str(n), "completion": f"It is {n}."} for n in range(4)]
        Path("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if page == "docs/tour.md":
        Path("runs/tour").mkdir(parents=True)
        Path("runs/tour/ladder").symlink_to(Path("runs/ladder").resolve())


def main(folder: str, *pages: str) -> int:
    """Run the blocks; how many commands failed."""
    from fault_server import MODEL, FaultServer

    from upwell.cli import application

    Path(folder).mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    prepare()
    failed = 0
    with FaultServer(say=said, longest=100_000) as served:
        server = f"server:{served.url}#{MODEL}"
        for page in pages or PAGES:
            between(page)
            given = GIVEN.split("\n") if page == "README.md" else []
            for command in [*filter(None, given), *commands(ROOT / page)]:
                why = next(
                    (why for pattern, why in LEFT_OUT if re.search(pattern, f"{page}: {command}")), None
                )
                if why is not None:
                    print(f"not run: {page}: {command}: {why}", flush=True)
                    continue
                words, began, heard = fitted(command, server), time.monotonic(), io.StringIO()
                try:
                    with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
                        code = application()(
                            words, exit_on_error=False, print_error=False, result_action="return_value"
                        )
                except (Exception, SystemExit) as error:  # noqa: BLE001 - it is told, and the next one runs
                    heard.write(
                        "".join(traceback.format_exception_only(error)) + str(getattr(error, "hint", ""))
                    )
                    code = 2
                if code not in (None, 0):
                    failed += 1
                    print(f"FAILED: {page}: {shlex.join(words)}\n{heard.getvalue()[-1500:]}", flush=True)
                else:
                    print(f"ran: {time.monotonic() - began:.1f} s: {page}: {shlex.join(words)}", flush=True)
    print(f"{failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
