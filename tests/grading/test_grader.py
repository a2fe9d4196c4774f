"""The rule grader: order, streaming, memory, votes, what is remembered, and that nothing is executed."""

from __future__ import annotations

import builtins
import tracemalloc
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from upwell.errors import UsageError
from upwell.grading import GRADER_VERSION, RuleGrader, symbolic
from upwell.records import Problem, Response


def pair(gold: str, text: str, number: int = 0, **more: object) -> tuple[Problem, Response]:
    problem = Problem(key=f"p{number}", question="", answer=gold, **more)  # type: ignore[arg-type]
    key = f"p{number}#0"
    return problem, Response(
        key=key, problem=f"p{number}", index=0, text=text, finish="stop", tokens=1, seed=0
    )


def test_verdicts_name_answer_and_tier() -> None:
    pairs = [
        pair("18", "#### 18", 0),
        pair("18", "The answer is 18.00", 1),
        pair("(1, 2)", "\\boxed{(\\frac{2}{2}, 2.0)}", 2),
        pair("x^2 - 1", "\\boxed{(x-1)(x+1)}", 3),
        pair("Monday", "The answer is monday.", 4),
        pair("18", "I give up.", 5),
        pair("18", "\\boxed{19}", 6),
    ]
    with RuleGrader() as grader:
        verdicts = list(grader.grade(pairs))
    assert [v.key for v in verdicts] == [r.key for _, r in pairs]
    assert [v.correct for v in verdicts] == [True, True, True, True, True, False, False]
    tiers = ["literal", "numeric", "structured", "algebraic", "text", "none", "numeric"]
    assert [v.tier for v in verdicts] == tiers
    assert verdicts[5].answer is None
    assert verdicts[1].answer == "18.00"


def test_a_response_cut_off_at_the_token_limit_is_graded_like_any_other() -> None:
    problem, response = pair("18", "\\boxed{18}. Then")
    cut = Response(**{**{f: getattr(response, f) for f in response.__struct_fields__}, "finish": "length"})
    with RuleGrader() as grader:
        assert next(grader.grade([(problem, cut)])).correct is True


def test_the_problem_s_own_tolerance_counts() -> None:
    with RuleGrader() as grader:
        verdicts = list(
            grader.grade([pair("2.5", "\\boxed{2.49}", 0), pair("2.5", "\\boxed{2.49}", 1, tolerance=0.02)])
        )
    assert [v.correct for v in verdicts] == [False, True]


def test_identical_text_does_not_count_in_self_checks() -> None:
    odd = "\\oint_\\gamma \\mathcal{F}_\\star"
    with RuleGrader() as usual, RuleGrader(identical=False) as check:
        assert next(usual.grade([pair(odd, f"\\boxed{{{odd}}}")])).correct is True
        assert next(check.grade([pair(odd, f"\\boxed{{{odd}}}")])).correct is not True
        assert next(check.grade([pair("18", "\\boxed{18}")])).tier == "numeric"
        assert usual.identity != check.identity


def test_identity_says_version_and_style() -> None:
    assert RuleGrader("boxed").identity == f"upwell-rules/{GRADER_VERSION}/boxed"


@pytest.mark.parametrize("wrong", [{"style": "boxd"}, {"timeout": 0}, {"workers": 0}, {"memory_mb": 1}])
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        RuleGrader(**wrong)  # type: ignore[arg-type]


def test_verdicts_stream_as_pairs_come() -> None:
    pulled = 0

    def pairs() -> Iterator[tuple[Problem, Response]]:
        nonlocal pulled
        for number in range(10_000):
            pulled += 1
            yield pair("7", f"\\boxed{{{number}}}", number)

    with RuleGrader() as grader:
        verdicts = grader.grade(pairs())
        next(verdicts)
        assert pulled == 1
        next(verdicts)
        assert pulled == 2


def test_memory_does_not_grow_with_responses() -> None:
    filler = "so we see that " * 2_000
    pairs = (pair("7", f"{filler}{number} \\boxed{{{number % 100}}}", number) for number in range(3_000))
    with RuleGrader() as grader:
        list(grader.grade([pair("7", "\\boxed{\\sqrt{49}}")]))
        tracemalloc.start()
        correct = sum(bool(v.correct) for v in grader.grade(pairs))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert correct == 30
    assert peak < 5_000_000  # of 90 MB of text


def test_votes_do_not_depend_on_order() -> None:
    answers = ["1/2", "0.5", "\\frac12", "1", "x + 1", "1 + x", "\\text{no}"]
    with RuleGrader() as grader:
        for order in list(permutations(range(len(answers))))[::97]:
            labels = dict(
                zip((answers[i] for i in order), grader.same([answers[i] for i in order]), strict=True)
            )
            assert labels["1/2"] == labels["0.5"] == labels["\\frac12"]
            assert labels["x + 1"] == labels["1 + x"]
            assert len(set(labels.values())) == 4
            assert labels[answers[order[0]]] == 0


def test_answers_that_only_sympy_can_compare_are_merged_for_votes() -> None:
    with RuleGrader(workers=1, timeout=60) as grader:
        labels = grader.same(["\\int_0^1 x \\, dx", "5", "\\int_0^1 t \\, dt", "\\int_0^1 2x \\, dx"])
    assert labels[0] == labels[2]
    assert len(set(labels)) == 3


def test_each_distinct_pair_is_graded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from upwell.grading import judge as module

    calls = []
    accepts = module.accepts
    monkeypatch.setattr(module, "accepts", lambda *a, **k: calls.append(a) or accepts(*a, **k))
    with RuleGrader() as grader:
        list(grader.grade(pair("7", f"\\boxed{{{n % 5}}}", n) for n in range(100)))
    assert len(calls) == 5


def test_a_fault_of_the_grader_costs_one_verdict_not_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from upwell.grading import judge as module

    accepts = module.accepts

    def faulty(gold: str, answer: str, *_: object, **__: object) -> object:
        if answer == "13":
            raise IndexError("a bug")
        return accepts(gold, answer)

    monkeypatch.setattr(module, "accepts", faulty)
    with RuleGrader() as grader:
        verdicts = list(grader.grade([pair("7", "\\boxed{13}", 0), pair("7", "\\boxed{7}", 1)]))
    assert [(v.correct, v.trouble) for v in verdicts] == [(None, "crash"), (True, None)]


BAIT = [
    "__import__('pathlib').Path('canary').touch()",
    "exec(\"open('canary', 'w')\")",
    "open('canary','w').write('x')",
    "\\input{|touch canary}",
    "\\write18{touch canary}",
    "(lambda: open('canary', 'w'))()",
    "\\frac{__import__('os').system('touch canary')}{2}",
    "x.__class__.__mro__[1].__subclasses__()",
    "eval(\"open('canary','w')\")",
    "\\text{__import__('os').system('touch canary')} + x^2",
    "f\"{open('canary','w')}\"",
    "\\sum_{i=1}^{n} open('canary','w')",
]


def test_model_text_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with RuleGrader(workers=1, timeout=60) as grader:
        pairs = [pair(gold, f"\\boxed{{{b}}}", i) for i, b in enumerate(BAIT) for gold in ("7", "\\int x dx")]
        verdicts = list(grader.grade(pairs))
        grader.same(BAIT)
    assert len(verdicts) == 2 * len(BAIT)
    assert not any(v.correct for v in verdicts)
    assert list(tmp_path.iterdir()) == []


def test_the_symbolic_comparison_evaluates_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    import sympy.core.sympify
    import sympy.parsing.sympy_parser

    compare = symbolic.math_verify_comparison()
    assert compare("\\int_0^1 x dx", "\\frac{1}{2}") in (True, False)

    def refuse(*args: object, **_: object) -> None:
        raise AssertionError(f"evaluated: {args!r}")

    monkeypatch.setattr(builtins, "eval", refuse)
    monkeypatch.setattr(sympy.parsing.sympy_parser, "parse_expr", refuse)
    monkeypatch.setattr(sympy.parsing.sympy_parser, "eval_expr", refuse)
    for bait in BAIT:
        try:
            assert compare("7", bait) is False
        except AssertionError:
            raise
        except Exception as error:  # noqa: BLE001  what SymPy cannot parse it may refuse as it likes
            assert "evaluated" not in str(error)
    assert compare("x^2 - 1", "(x-1)(x+1)") is True
