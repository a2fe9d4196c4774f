"""How well the arithmetic of responses is checked, and how often a guess is right: the record in docs/results.

    UPWELL_DATA=... python bench/soundness.py

GSM8K's gold solutions carry `<<48/2=24>>` notes beside the same equations in prose. Bars: 99 % of the noted equations
pass; with one number changed, 99 % fail. A change is drawn with a fixed seed: one of the equation's numbers, operands
and result alike, is raised or lowered by one in its last place, multiplied by ten, or has one digit replaced. Whether
the changed equation is false is decided by `exact`, which shares no code with the checker; changes that leave it true
do not count. Notes are checked as notes; prose equations with the notes removed, inside the whole solution.
"""

from __future__ import annotations

import argparse
import ast
import json
import operator
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from upwell.grading.equations import Equation, check_equations, equations, soundness
from upwell.grading.equations.chains import _held
from upwell.grading.equations.sides import side
from upwell.grading.guesses import guess_rate, numbers

DATA = Path(os.environ.get("UPWELL_DATA", ""))
NOTE = re.compile(r"<<([^<>]*)>>")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+")
TYPICAL = """First, I work out what the seeds cost. Mara buys {a} packets of seeds at ${b} each, so she pays
{a} * ${b} = ${ab} for the seeds. She also needs soil for the {a} pots, and the shop sells it in bags.

Next, I find the price of the soil. Each of the {c} bags costs ${d}, and bags are never on sale in spring, which
means that the soil costs {c} x {d} = {cd} dollars in all. That is more than most gardeners of her street want to
spend at once.

Now I add both amounts to see what she spends before the discount: ${ab} + ${cd} = ${sum}. The shop takes a fixed
amount off for members, and Mara has been a member for years.

Finally, I subtract the member discount of ${e} from the total to find what is left to pay: {sum} - {e} = {rest}. So
Mara pays that amount at the till, and she takes everything home on her old bicycle before it starts to rain. I have
used every number that the question gives, and the result is a sensible price for seeds and soil.

The answer is {rest}."""
OPERATIONS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.truediv,
}


def say(*parts: object) -> None:
    sys.stdout.write(" ".join(str(part) for part in parts) + "\n")


def rows(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def exact(side_text: str) -> Fraction | None:
    """The value of + - * / and brackets over plain numbers, else None: for the bench's own numbers only."""

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return OPERATIONS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            return -value(node.operand) if isinstance(node.op, ast.USub) else value(node.operand)
        if isinstance(node, ast.Constant):
            return Fraction(ast.unparse(node))
        raise ValueError

    text = re.sub(r"(?<=\d)\s*[xX×]\s*(?=[\d.($])", "*", side_text).replace("$", "").replace(",", "")
    text = re.sub(r"(?<![\d.])0+(?=\d)", "", text).strip()
    if re.search(r"[A-Za-z]", text):
        return None
    try:
        return value(ast.parse(text, mode="eval").body)
    except (ValueError, SyntaxError, KeyError, ZeroDivisionError):
        return None


def is_true(equation: str) -> bool | None:
    """Whether a chain of plain sides holds exactly; None where a side is not plain."""
    values = [exact(text) for text in equation.split("=")]
    return None if None in values or len(values) < 2 else len(set(values)) == 1


def changed(equation: str, draw: random.Random) -> str:
    """The equation with one number changed."""
    number = draw.choice(list(NUMBER.finditer(equation)))
    text = number[0]
    kind = draw.randrange(4)
    plain = text.replace(",", "")
    decimals = len(plain.partition(".")[2])
    if kind == 2:
        value = Fraction(plain) * 10
    elif kind == 3:
        at = draw.choice([i for i, character in enumerate(plain) if character.isdigit()])
        value = Fraction(
            plain[:at] + draw.choice([d for d in "123456789" if d != plain[at]]) + plain[at + 1 :]
        )
    else:
        value = abs(Fraction(plain) + Fraction(1 if kind == 0 else -1, 10**decimals))
    new = f"{float(value):{',' if ',' in text else ''}.{decimals}f}"
    return equation[: number.start()] + new + equation[number.end() :]


def share(part: int, whole: int) -> str:
    return f"{part}/{whole} = {100 * part / max(whole, 1):.2f} %"


def notes(solutions: Sequence[str]) -> None:
    """The noted equations: passed as they are, and caught with one number changed."""
    noted = [note for solution in solutions for note in NOTE.findall(solution)]
    checked = [check_equations(f"<<{note}>>") for note in noted]
    say("noted equations that pass:", share(sum(c.right > 0 and not c.wrong for c in checked), len(noted)))
    draw = random.Random(20)
    caught = counted = still = 0
    kinds: Counter[str] = Counter()
    for note in noted:
        other = changed(note, draw)
        if is_true(other) is not False:
            still += 1
            continue
        counted += 1
        verdict = soundness(f"<<{other}>>")
        caught += verdict == "no"
        kinds[verdict] += verdict != "no"
    say("noted equations with one number changed that fail:", share(caught, counted))
    say(
        f"  ({still} changes left the equation true and do not count; passed: {kinds['yes']}, skipped: {kinds['none']})"
    )


def prose(solutions: Sequence[str]) -> None:
    """The same equations in prose: how many are found, pass, and are caught when changed."""
    noted = found = found_with = total = right = 0
    tried = caught = solutions_right = 0
    draw = random.Random(21)
    for solution in solutions:
        text = NOTE.sub("", solution)
        expected = Counter(_values(note) for note in NOTE.findall(solution))
        expected.pop(None, None)
        own = list(equations(text))
        noted += expected.total()
        found += (expected & Counter(map(_sides, own))).total()
        found_with += (expected & Counter(map(_sides, equations(solution)))).total()
        total += len(own)
        right += sum(e.holds for e in own)
        solutions_right += all(e.holds for e in own)
        for equation in own:
            if is_true(equation.text) is not True:
                continue
            other = changed(equation.text, draw)
            if is_true(other) is not False:
                continue
            tried += 1
            wrong = check_equations(text[: equation.start] + other + text[equation.end :]).wrong
            caught += wrong > sum(not e.holds for e in own)
    say("noted equations found in prose, notes removed:", share(found, noted))
    say("noted equations found with the notes left in:", share(found_with, noted))
    say("prose equations that pass:", share(right, total))
    say("prose equations with one number changed that fail:", share(caught, tried))
    say("gold solutions without a wrong equation in prose:", share(solutions_right, len(solutions)))


def _sides(equation: Equation) -> tuple[float, float]:
    """The values of both sides; a result in per cent counts as the note writes it, without the sign."""
    by = 100 if equation.text.endswith("%") and equation.left == equation.right * 100 else 1
    return equation.left, equation.right * by


def _values(note: str) -> tuple[float, float] | None:
    left, _, right = note.partition("=")
    a, b = exact(left), exact(right)
    return None if a is None or b is None else (float(a), float(b))


def flagged(solutions: Sequence[str], names: Sequence[str]) -> None:
    """What is called wrong in the gold prose, to be read: only the signs and numbers are printed."""
    for name, solution in zip(names, solutions, strict=True):
        for equation in check_equations(NOTE.sub("", solution)).examples:
            say(f"  {name}: {_bare(equation)}  ({equation.left:g} against {equation.right:g})")


def _bare(equation: Equation) -> str:
    return " ".join(re.sub(r"[^\d.,+*/×x÷=%$() -]|(?<![\d ])x|x(?![\d ])", " ", equation.text).split())


def models() -> None:
    """Responses of four published models: sound or not, by whether the final answer is right."""
    table: Counter[tuple[str, bool, str]] = Counter()
    for row in rows("gsm8k/example_model_solutions.jsonl"):
        for name, solution in row.items():
            if isinstance(solution, dict):
                table[name, solution["is_correct"], soundness(solution["solution"])] += 1
    say(
        "| model | answer | responses | sound | with a wrong equation | no equation |\n|---|---|---|---|---|---|"
    )
    for name in sorted({key[0] for key in table}):
        for correct in (True, False):
            counts = [table[name, correct, verdict] for verdict in ("yes", "no", "none")]
            cells = " | ".join(f"{100 * count / sum(counts):.1f} %" for count in counts)
            say(f"| {name} | {'right' if correct else 'wrong'} | {sum(counts)} | {cells} |")


def competition() -> None:
    solutions = [str(row["solution"]) for row in rows("math/test.jsonl")]
    checked = [check_equations(solution) for solution in solutions]
    found, wrong = sum(c.found for c in checked), sum(c.wrong for c in checked)
    say(
        f"MATH gold solutions: {found} equations found in {sum(c.found > 0 for c in checked)} of {len(checked)};"
    )
    say("  called wrong:", share(wrong, found), f"in {sum(c.wrong > 0 for c in checked)} solutions")
    for index, result in enumerate(checked):
        for equation in result.examples:
            say(f"  math/test:{index}: {equation.left:g} against {equation.right:g}")


def typical(count: int) -> Iterator[str]:
    """Responses of about 200 tokens with four equations each, all numbers different."""
    draw = random.Random(5)
    for _ in range(count):
        a, b, c, d, e = (draw.randrange(2, 400) for _ in range(5))
        yield TYPICAL.format(
            a=a, b=b, c=c, d=d, e=e, ab=a * b, cd=c * d, sum=a * b + c * d, rest=a * b + c * d - e
        )


def speed() -> None:
    """CPU time, best of five; `cold` forgets every side between two responses' batches."""
    texts = list(typical(2_000))
    for name, batch in (
        ("typical response, four equations, never seen before", texts),
        ("typical response, one of 64 to a problem", [text for text in texts[:32] for _ in range(64)]),
        ("the same without `=`", [text.replace("=", "is") for text in texts]),
        ("GSM8K gold, notes removed", [NOTE.sub("", str(r["answer"])) for r in rows("gsm8k/test.jsonl")]),
    ):
        best = min(_cpu(batch) for _ in range(5))
        say(
            f"{name}: {best / len(batch) * 1e6:.1f} microseconds ({check_equations(batch[0]).found} equations)"
        )
    for name, text in (
        ("10 MB of 1+1+1...", "1+" * 5_000_000 + "="),
        ("10 MB of 1=1=1...", "1=" * 5_000_000),
        ("10 MB of brackets", "(" * 10_000_000 + "="),
        ("10 MB of prose with numbers", "he has 3 red apples and then some more = " * 250_000),
        ("10 MB of backslashes", "\\" * 10_000_000 + "="),
        ("10 MB of words behind a number", "5 a b c d e f g " * 625_000 + "="),
        ("10 MB of equations", "12 * 3 = 36 and " * 625_000),
        ("10 MB of powers", "9^9^9^9 = 9^9^9^9, " * 500_000),
        ("10 MB of spaces", "5 " + " \n" * 5_000_000 + "= 5"),
    ):
        start = time.process_time()
        checked = check_equations(text)
        say(f"{name}: {time.process_time() - start:.2f} s, {checked.found} equations")


def _cpu(texts: Sequence[str]) -> float:
    side.cache_clear()
    _held.cache_clear()
    start = time.process_time()
    for text in texts:
        check_equations(text)
    return time.process_time() - start


def guesses() -> None:
    """What random arithmetic on a question's numbers scores on GSM8K's test problems."""
    problems = [
        (str(r["question"]), str(r["answer"]).rpartition("####")[2].strip()) for r in rows("gsm8k/test.jsonl")
    ]
    guess_rate("1 2 3", "6")
    start = time.process_time()
    rates = [guess_rate(question, gold) or 0.0 for question, gold in problems]
    spent = (time.process_time() - start) / len(problems)
    counts = Counter(min(len(numbers(question)), 8) for question, _ in problems)
    say(f"GSM8K test, {len(problems)} problems: {spent * 1e3:.2f} ms a problem (CPU)")
    say("numbers in the question:", ", ".join(f"{n}{'+' * (n == 8)}: {counts[n]}" for n in sorted(counts)))
    say(
        f"mean q {sum(rates) / len(rates):.4f}, largest {max(rates):.4f}, never right",
        share(rates.count(0.0), len(rates)),
    )
    for k in (1, 4, 16, 64, 256, 1024):
        say(f"guess_pass@{k}: {100 * sum(1 - (1 - q) ** k for q in rates) / len(rates):.2f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.parse_args()
    parts = [
        (f"{part}:{i}", str(r["answer"]))
        for part in ("train", "test")
        for i, r in enumerate(rows(f"gsm8k/{part}.jsonl"))
    ]
    names, solutions = [name for name, _ in parts], [solution for _, solution in parts]
    say(f"# GSM8K gold solutions ({len(solutions)})")
    notes(solutions)
    prose(solutions)
    say("called wrong in gold prose:")
    flagged(solutions, names)
    say("# Published model solutions")
    models()
    say("# MATH")
    competition()
    say("# Speed (CPU)")
    speed()
    say("# Guesses")
    guesses()


if __name__ == "__main__":
    main()
