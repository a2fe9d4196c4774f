"""One file of the worst that a model can write, through every style: one verdict each, nothing executed."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path

import pytest

from upwell.grading import RuleGrader, pool, styles
from upwell.records import Problem, Response

BOMBS = [
    "9^{9^{9^{9^{9}}}}",
    "(10^{10^{10}})!",
    r"\sum_{k=1}^{10^{12}} k^k",
    r"\binom{10^{9}}{5 \cdot 10^{8}} \cdot 2^{10^{9}}",
]
CANARIES = [
    "__import__('pathlib').Path('canary').touch()",
    "exec(\"open('canary', 'w')\")",
    r"\frac{__import__('os').system('touch canary')}{2}",
    r"\text{__import__('os').system('touch canary')} + x^2",
    r"\write18{touch canary}",
    "(lambda: open('canary', 'w'))()",
    "f\"{open('canary','w')}\"",
]
ODD = [
    "\0",
    "7\0",
    "\0" * 1_000,
    "\u202e\u200f7\u202c",
    "\uff17",
    "\uff08\uff11\uff0c\uff12\uff09",
    "\u0667",
    "7" * 100_000,
    "-" * 5_000,
    "1e999999999",
    "1/0",
    "0^{0^{0}}",
    "{" * 10_000 + "7" + "}" * 10_000,
    "{" * 10_000,
    "(" * 10_000,
    r"\frac{" * 3_000,
    r"\sqrt{" * 200 + "7" + "}" * 200,
    r"\left(" * 2_000,
    r"\begin{pmatrix}" * 500,
    "$" * 10_001,
    "\\" * 10_001,
    r"\text{" * 2_000,
    ", ".join("7" * 4_000),
    "nan",
    "inf",
    "1_000",
    "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
    "x" + "'" * 3_000,
    "= " * 4_000,
    "7%%%%",
    r"1 \pm " * 500 + "1",
]
WRAPPED = (
    "{}",
    "so \\boxed{{{}}}",
    "The answer is: {}",
    "#### {}",
    "Final Answer: The final answer is ${}$. I hope it is correct.",
)

GUARDED = """
import builtins, sys, types
from pathlib import Path
from upwell.grading import worker
from upwell.grading.worker import Task

def violated(what):
    Path("violated").open("a").write(what + "\\n")
    raise AssertionError(what)

def guarded(*_):
    compare = real()
    for grader in ("math-verify", "xwin"):  # what loads late has loaded
        for gold, answer in (("x^2-1", "(x-1)(x+1)"), ("\\\\frac12", "\\\\sqrt{0.25}"), ("1.5", "2")):
            compare(Task(0, grader, "latex", gold, answer))
    import sympy.parsing.sympy_parser as parser
    module = sys.modules["sympy.core.sympify"]  # `sympy.core.sympify` is the function
    for name in ("parse_expr", "eval_expr"):
        setattr(parser, name, lambda text, *a, _name=name, **k: violated(_name + repr(text)))
    function = module.sympify
    module._original = types.FunctionType(function.__code__, function.__globals__, "o", function.__defaults__)
    module._violated = violated
    def sympify(a, *rest, **more):
        if isinstance(a, str):
            _violated("sympify " + a)
        return _original(a, *rest, **more)
    function.__defaults__, function.__code__ = None, sympify.__code__
    plain = builtins.eval
    def checked(source, *rest):
        if isinstance(source, str) and sys._getframe(1).f_globals["__name__"] != "collections":
            violated("eval " + repr(source))
        return plain(source, *rest)
    builtins.eval = checked
    return compare

real, worker.comparisons = worker.comparisons, guarded
worker.main(1.0, 1024)
"""


def torture(path: Path, forms: tuple[str, ...]) -> int:
    """Write the file; returns the number of its lines."""
    texts = [form.format(text) for text in BOMBS + CANARIES + ODD for form in forms]
    texts += ["so " * 3_300_000 + "\\boxed{8}", "\\boxed{" * 1_400_000, "12 " * 3_300_000, "", " \n"]
    with path.open("w", encoding="utf-8") as file:
        for number, text in enumerate(texts):
            gold = ("7", r"\int_0^1 x \, dx", "(1, 2)", r"\sqrt{7}")[number % 4]
            file.write(json.dumps({"gold": gold, "response": text}) + "\n")
    return len(texts)


@pytest.mark.parametrize("style", styles())
def test_torture(style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # math-verify explodes where the others have a gate, and each explosion costs a second
    count = torture(tmp_path / "torture.jsonl", WRAPPED[1:2] if style == "math-verify" else WRAPPED)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(pool, "worker_command", lambda *_: [sys.executable, "-P", "-c", GUARDED])

    plain = builtins.eval

    def refuse(source: object, *rest: object) -> object:
        assert not isinstance(source, str), f"evaluated: {source!r:.80}"
        return plain(source, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "eval", refuse)
    with RuleGrader(style, workers=1) as grader, (tmp_path / "torture.jsonl").open(encoding="utf-8") as file:

        def pairs() -> object:
            for number, line in enumerate(file):
                row = json.loads(line)
                problem = Problem(key=str(number), question="Find the number.", answer=row["gold"])
                yield (
                    problem,
                    Response(
                        key=f"{number}#0",
                        problem=str(number),
                        index=0,
                        text=row["response"],
                        finish="stop",
                        tokens=1,
                        seed=0,
                    ),
                )

        verdicts = list(grader.grade(pairs()))  # type: ignore[arg-type]
        grader.same(BOMBS + CANARIES + ODD)
    assert [verdict.key for verdict in verdicts] == [f"{number}#0" for number in range(count)]
    assert {verdict.trouble for verdict in verdicts} <= {None, "timeout", "memory"}
    assert all((verdict.correct is None) is (verdict.trouble is not None) for verdict in verdicts)
    right = {verdict.answer for verdict in verdicts if verdict.correct}
    assert not [answer for answer in right if answer and "canary" in answer]
    assert sum(verdict.correct is None for verdict in verdicts) <= (12 if style == "math-verify" else 4)
    assert [path.name for path in folder.iterdir()] == []
