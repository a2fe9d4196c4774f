"""The grader beside math-verify and every style: agreement with labels, speed, GSM8K's own solutions, a million.

    UPWELL_GRADING_CASES=FOLDER UPWELL_DATA=FOLDER python bench/grading.py [--only agreement,speed,gsm8k,million]

`agreement`: accuracy, false positives and false negatives per source of FOLDER/dev.jsonl (without it, of the golden
table) for every style, and for math-verify with its own defaults, in a process that is killed when it hangs.
`speed`: answers per second of both, in one process and on all cores, on (a) whole numbers, (b) the labelled pairs,
(c) repeated sampling: each gold of (b) with 64 answers drawn from its pairs, most of them again and again. Each peer
gets --peer-seconds. `gsm8k`: accuracies of the four published models against the file's flags, and every
disagreement. `million`: `upwell grade` on a file of a million responses, with wall time and the memory of all its
processes together.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from upwell.grading import RuleGrader, extract, judge, styles
from upwell.records import Problem, Response, Verdict

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "answers.jsonl"
CASES = os.environ.get("UPWELL_GRADING_CASES")
DATA = os.environ.get("UPWELL_DATA")
CORES = len(os.sched_getaffinity(0))
PEER = "math-verify's own"
HANG_SECONDS = 30.0


class Pair(NamedTuple):
    """A gold answer, what is graded, and the label."""

    gold: str
    text: str
    bare: bool
    label: bool
    source: str = ""
    benchmark: str = ""
    question: str = ""


class Result(NamedTuple):
    """Pairs graded, seconds they took, verdicts that agree with the label."""

    pairs: int
    seconds: float
    right: int


Grade = Callable[[Sequence[Pair], float], Result]


def record(pair: Pair, number: int) -> tuple[Problem, Response]:
    # a unit test names no problem set: the styles decide as for an unknown one
    source = "" if pair.benchmark == "unit" else pair.benchmark
    problem = Problem(key="", question=pair.question, answer=pair.gold, source=source)
    reply = Response(key=str(number), problem="", index=0, text=pair.text, finish="stop", tokens=1, seed=0)
    return problem, reply


def verdicts(pairs: Sequence[Pair], style: str, workers: int = 1, **settings: str) -> list[Verdict]:
    """One verdict per pair, in order; bare answers are graded as such."""
    found: dict[int, Verdict] = {}
    for bare in (False, True):
        own = [number for number, pair in enumerate(pairs) if pair.bare is bare]
        with RuleGrader(style, bare=bare, workers=workers, **settings) as grader:
            for verdict in grader.grade(record(pairs[number], number) for number in own):
                found[int(verdict.key)] = verdict
    return [found[number] for number in range(len(pairs))]


# -- math-verify with its own defaults, where it can be killed


def _serve(pipe: Connection) -> None:
    import logging

    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)
    os.chdir(tempfile.mkdtemp())  # its expression parser runs Python on what it reads
    verify(parse("$1$"), parse("$1$"))
    pipe.send(None)
    while True:
        gold, text, bare = pipe.recv()
        try:
            pipe.send(bool(verify(parse(f"${gold}$"), parse(f"${text}$" if bare else text))))
        except Exception:  # noqa: BLE001
            pipe.send(None)


class Peer:
    """math-verify in a process of its own."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        self._pipe.recv()

    def grade(self, pair: Pair) -> bool | None:
        """Its verdict; None where it hung, crashed or raised."""
        self._pipe.send((pair.gold, pair.text, pair.bare))
        with contextlib.suppress(EOFError, ConnectionError):
            if self._pipe.poll(HANG_SECONDS):
                answer: bool | None = self._pipe.recv()
                return answer
        self.close()
        self._start()
        return None

    def close(self) -> None:
        self._process.kill()
        self._process.join()


def math_verify(pairs: Sequence[Pair], seconds: float) -> Result:
    """As many pairs as it gets through in the time."""
    peer, right, done = Peer(), 0, 0
    start = time.perf_counter()
    for pair in pairs:
        right += bool(peer.grade(pair)) is pair.label
        done += 1
        if time.perf_counter() - start > seconds:
            break
    result = Result(done, time.perf_counter() - start, right)
    peer.close()
    return result


# -- agreement


def agreement(pairs: Sequence[Pair]) -> None:
    tables: dict[str, dict[str, Counter[str]]] = {}
    for style in [style for style in styles() if style != "bare"]:
        found = [verdict.correct for verdict in verdicts(pairs, style, workers=CORES)]
        tables[style] = _tallied(pairs, found)
    peer = Peer()
    tables[PEER] = _tallied(pairs, [peer.grade(pair) for pair in pairs])
    peer.close()
    print(f"\nAgreement with {len(pairs):,} labels\n")
    print(f"{'style':20}{'accuracy':>10}{'false positives':>17}{'false negatives':>17}{'no verdict':>12}")
    for style, table in tables.items():
        total = sum(table.values(), Counter[str]())
        print(
            f"{style:20}{total['right'] / len(pairs):>10.2%}{total['false positive']:>17,}"
            f"{total['false negative']:>17,}{total['none']:>12,}",
            flush=True,
        )
    print("\nPer source: accuracy in %, false positives / false negatives\n")
    print(f"{'source':40}{'pairs':>6}" + "".join(f"{style[:13]:>15}" for style in tables))
    for source, count in Counter(pair.source for pair in pairs).most_common():
        cells = [
            f"{table[source]['right'] / count:.1%} {table[source]['false positive']}/"
            f"{table[source]['false negative']}"
            for table in tables.values()
        ]
        print(f"{source[:39]:40}{count:>6,}" + "".join(f"{cell:>15}" for cell in cells))


def _tallied(pairs: Sequence[Pair], found: Sequence[bool | None]) -> dict[str, Counter[str]]:
    """For each source: how many verdicts are right, wrong either way, or missing (which also counts as wrong)."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for pair, correct in zip(pairs, found, strict=True):
        wrong = "false positive" if correct else "false negative"
        table[pair.source]["right" if bool(correct) is pair.label else wrong] += 1
        table[pair.source]["none"] += correct is None
    return table


def labelled() -> list[Pair]:
    """The labelled pairs, in a fixed random order."""
    if CASES is None:
        rows = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
        pairs = [Pair(row["gold"], row["answer"], True, row["correct"], "golden") for row in rows]
    else:
        rows = [json.loads(line) for line in (Path(CASES) / "dev.jsonl").read_text("utf-8").splitlines()]
        pairs = [
            Pair(
                row["gold"],
                row.get("response", row.get("prediction")),
                "prediction" in row,
                row["label"],
                row["source"],
                row["benchmark"],
                row["question"] or "",
            )
            for row in rows
        ]
    random.Random(0).shuffle(pairs)
    return pairs


# -- speed


def ours(pairs: Sequence[Pair], _: float) -> Result:
    """Grade with the default style and one symbolic worker."""
    start = time.perf_counter()
    found = verdicts(pairs, "auto")
    seconds = time.perf_counter() - start
    return Result(
        len(pairs),
        seconds,
        sum(bool(v.correct) is pair.label for v, pair in zip(found, pairs, strict=True)),
    )


def forgetful(pairs: Sequence[Pair], seconds: float) -> Result:
    """The same, each pair decided as if it were the first of its kind."""
    kept, judge._LONG_ANSWER = judge._LONG_ANSWER, -1
    try:
        return ours(pairs, seconds)
    finally:
        judge._LONG_ANSWER = kept


def alone(grade: Grade, pairs: Sequence[Pair], seconds: float) -> Result:
    return grade(pairs, seconds)


def on_all_cores(grade: Grade, pairs: Sequence[Pair], seconds: float) -> Result:
    """The same in one process per core, each with its share of the pairs; seconds are those of the slowest."""
    shares = [pairs[core::CORES] for core in range(CORES)]
    results: list[Result] = []
    if grade is math_verify:  # has its own processes
        threads = [
            threading.Thread(target=lambda share=share: results.append(grade(share, seconds)))
            for share in shares
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        with multiprocessing.get_context("spawn").Pool(CORES) as pool:
            results = pool.starmap(grade, [(share, seconds) for share in shares])
    return Result(
        sum(r.pairs for r in results), max(r.seconds for r in results), sum(r.right for r in results)
    )


def speed(pairs: Sequence[Pair], peer_seconds: float) -> None:
    random_ = random.Random(0)
    drawn = repeated(pairs, random_)
    workloads: list[tuple[str, Sequence[Pair], Grade]] = [
        ("(a) integers", integers(40_000, random_), ours),
        ("(b) LaTeX mix", pairs, ours),
        ("(c) repeated", drawn, ours),
        ("(c) no memory", drawn, forgetful),
    ]
    print(f"\nSpeed on {CORES} cores; ratios are to math-verify in one process, or on all cores\n")
    print(f"{'workload':15}{'grader':26}{'pairs':>9}{'pairs/s':>12}{'accuracy':>10}{'ratio':>9}")
    peers: dict[tuple[int, str], Result] = {}
    for name, work, grade in workloads:
        for place, run in (("one process", alone), ("all cores", on_all_cores)):
            if (id(work), place) not in peers:
                peers[id(work), place] = run(math_verify, work, peer_seconds)
            peer = peers[id(work), place]
            result = run(grade, work, 0.0)
            ratio = (result.pairs / result.seconds) / (peer.pairs / peer.seconds)
            for label, row, times in (("math-verify", peer, 1.0), ("upwell", result, ratio)):
                print(
                    f"{name:15}{label + ', ' + place:26}{row.pairs:>9,}{row.pairs / row.seconds:>12,.0f}"
                    f"{row.right / row.pairs:>10.2%}{times:>8.1f}x"
                )
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first run", "second run"):
            start = time.perf_counter()
            verdicts(pairs, "auto", cache=f"{folder}/verdicts.sqlite")
            print(f"(b) with a cache file, {name}: {len(pairs) / (time.perf_counter() - start):,.0f} pairs/s")


def integers(count: int, random_: random.Random) -> list[Pair]:
    pairs = []
    for _ in range(count):
        gold = random_.randrange(100_000)
        answer = gold if random_.random() < 0.5 else random_.randrange(100_000)
        pairs.append(Pair(str(gold), f"so the answer is \\boxed{{{answer}}}.", False, answer == gold))
    return pairs


def repeated(pairs: Sequence[Pair], random_: random.Random, samples: int = 64) -> list[Pair]:
    """Each gold with `samples` answers of its own pairs, a few of them most of the time, as models answer."""
    by_gold: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        if len(pair.text) < 5_000:
            by_gold[pair.gold].append(pair)
    drawn = []
    for choices in by_gold.values():
        weights = [1 / rank for rank in range(1, len(choices) + 1)]
        drawn += random_.choices(choices, weights, k=samples)
    random_.shuffle(drawn)
    return drawn


# -- GSM8K's published solutions


def gsm8k() -> None:
    if DATA is None:
        print("\ngsm8k: UPWELL_DATA names no folder")
        return
    path = Path(DATA) / "gsm8k" / "example_model_solutions.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    models = [name for name, value in rows[0].items() if isinstance(value, dict)]
    print(f"\nGSM8K's example solutions: {len(rows):,} problems\n")
    print(f"{'model':20}{'by the flags':>14}{'ours':>10}{'disagreements':>15}")
    different = []
    for model in models:
        pairs = [
            Pair(
                extract(row["ground_truth"]) or "",
                row[model]["solution"],
                False,
                row[model]["is_correct"],
                benchmark="gsm8k",
            )
            for row in rows
        ]
        found = verdicts(pairs, "auto")
        wrong = [
            (model, n, p, v)
            for n, (p, v) in enumerate(zip(pairs, found, strict=True))
            if v.correct != p.label
        ]
        different += wrong
        print(
            f"{model:20}{sum(p.label for p in pairs) / len(rows):>14.2%}"
            f"{sum(v.correct is True for v in found) / len(rows):>10.2%}{len(wrong):>15,}"
        )
    for model, number, pair, verdict in different:
        print(
            f"\n{model}, line {number + 1}: flag {pair.label}, ours {verdict.correct} ({verdict.tier});"
            f" gold {pair.gold!r}, answer {verdict.answer!r}\n    ... {pair.text[-100:]!r}"
        )


# -- a million responses, end to end


def million(pairs: Sequence[Pair], count: int, problems: int = 4_000) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "responses.jsonl"
        distinct = _write_million(file, pairs, count, problems)
        size = file.stat().st_size / 1e6
        command = [str(Path(sys.executable).parent / "upwell"), "grade", str(file), "--out", f"{folder}/out"]
        for name in ("problem", "gold", "response"):
            command += ["--field", f"{name}={name}"]
        environment = {**os.environ, "UPWELL_CACHE": f"{folder}/cache"}
        start = time.perf_counter()
        with open(f"{folder}/log", "w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            peak = 0.0
            while process.poll() is None:
                peak = max(peak, _resident(process.pid))
                time.sleep(0.25)
        seconds = time.perf_counter() - start
        print(
            f"\n{count:,} responses to {problems:,} problems ({size:,.0f} MB, {distinct:,} distinct texts) by `upwell"
            f" grade`: exit {process.returncode}, {seconds:.1f} s, {count / seconds:,.0f}/s, peak {peak:,.0f} MiB"
        )
        table = Path(folder) / "out" / "verdicts.jsonl"
        with contextlib.suppress(OSError), table.open("rb") as lines:
            print(f"{sum(1 for _ in lines):,} verdicts")
        if process.returncode:
            print(Path(folder, "log").read_text()[-2_000:])


def _write_million(file: Path, pairs: Sequence[Pair], count: int, problems: int) -> int:
    """Lines of problem, gold and response: labelled pairs, and MATH solutions with answers that models might give."""
    random_ = random.Random(0)
    by_gold: dict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        if len(pair.text) < 5_000:
            by_gold[pair.gold].append(f"\\boxed{{{pair.text}}}" if pair.bare else pair.text)
    sources: list[tuple[str, list[str]]] = list(by_gold.items())
    sources += _from_solutions(random_) if DATA else []
    random_.shuffle(sources)
    samples, texts = count // problems, set()
    with file.open("w", encoding="utf-8") as out:
        for number in range(problems):
            gold, choices = sources[number % len(sources)]
            weights = [1 / rank for rank in range(1, len(choices) + 1)]
            for index, text in enumerate(random_.choices(choices, weights, k=samples)):
                texts.add(hash(text))
                line = {"problem": f"p{number}", "gold": gold, "response": f"Attempt {index}. {text}"}
                out.write(json.dumps(line) + "\n")
    return len(texts)


def _from_solutions(random_: random.Random) -> Iterator[tuple[str, list[str]]]:
    lines = (Path(DATA or "") / "math" / "test.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line)["solution"] for line in lines]
    golds = [(extract(solution, "boxed"), solution) for solution in rows]
    answers = [gold for gold, _ in golds if gold]
    for gold, solution in golds:
        if gold:
            wrong = random_.sample(answers, 7)
            yield gold, [solution.replace(gold, answer) for answer in (gold, *wrong)]


def _resident(process: int) -> float:
    """MiB of memory of a process and all that it started."""
    total = 0.0
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        status = Path(f"/proc/{process}/status").read_text()
        total = int(status.partition("VmRSS:")[2].split()[0]) / 1024 if "VmRSS:" in status else 0.0
        total += sum(_resident(int(child)) for child in children)
    return total


def main() -> None:
    sections = ("agreement", "speed", "gsm8k", "million")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="agreement,speed,gsm8k", help=f"of {', '.join(sections)}")
    parser.add_argument("--peer-seconds", type=float, default=30.0)
    parser.add_argument("--count", type=int, default=1_000_000, help="responses of the section `million`")
    settings = parser.parse_args()
    chosen = settings.only.split(",")
    if unknown := set(chosen) - set(sections):
        parser.error(f"no section {', '.join(sorted(unknown))}")
    pairs = labelled()
    if "agreement" in chosen:
        agreement(pairs)
    if "speed" in chosen:
        speed(pairs, settings.peer_seconds)
    if "gsm8k" in chosen:
        gsm8k()
    if "million" in chosen:
        million(pairs, settings.count)


if __name__ == "__main__":
    main()
