"""The methods over a teacher that is sometimes good and sometimes bad: every fault is turned down for what it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from scripted_teacher import BAD_QUESTIONS, BAD_SOLUTIONS, QUESTION, Teacher, solved

from upwell.engines.scripted import ScriptedEngine
from upwell.errors import UsageError
from upwell.records import Draft, Problem, Reject, Response
from upwell.runs import Run
from upwell.synthesis.asking import REASONS, Made, Seed, TurnedDown, Wish
from upwell.synthesis.methods import METHODS
from upwell.synthesis.methods.xwin import xwin
from upwell.synthesis.parsing import check_new, check_question, solution_of
from upwell.synthesis.settings import SynthesisSettings
from upwell.synthesis.stages import synthesize


def made(seed_file: str, out: Path, teacher: Teacher, **settings: Any) -> Run:
    asked = SynthesisSettings(
        **{"seeds": seed_file, "like": "gsm8k", "count": 60, "out": str(out), "max_tokens": 400} | settings
    )
    return Run.read(synthesize(asked, engine=teacher.engine))


def fault_of(teacher: Teacher, key: str) -> list[str]:
    """The faults of the calls for a draft, in the order of the calls."""
    return [fault for call, fault in sorted(teacher.faults.items()) if call.rpartition("#")[0] == key]


@pytest.mark.parametrize("method", METHODS)
def test_each_fault_is_turned_down_for_what_it_is_and_nothing_else_is(
    method: str, seed_file: str, tmp_path: Path
) -> None:
    teacher = Teacher(bad=0.3)
    run = made(seed_file, tmp_path / "run", teacher, method=method)
    drafts = list(run.rows("drafts", Draft))
    assert len(drafts) == 60
    for draft in drafts:
        assert not fault_of(teacher, draft.key)
        assert draft.answer == str(solved(draft.question)[1])
        assert draft.method == method and draft.source == "seeds" and draft.level == "2"
        assert draft.parents == (draft.key.partition("/")[0],)
    rejects = list(run.rows("rejects", Reject))
    for reject in rejects:
        assert fault_of(teacher, reject.key) == [reject.reason], reject
    seen = {reject.reason for reject in rejects}
    assert seen, "no fault was made"
    if method == "xwin":
        assert seen == set(BAD_QUESTIONS) | set(BAD_SOLUTIONS)
    assert seen <= set(REASONS)


def test_level_and_subject_are_asked_for_where_the_questions_are_for_competitions(
    seed_file: str, tmp_path: Path
) -> None:
    prompts: list[str] = []
    teacher = Teacher(bad=0)

    def said(request: Any) -> Any:
        prompts.append(request.prompt)
        return teacher.say(request)

    teacher.engine = ScriptedEngine(said)
    run = made(seed_file, tmp_path / "run", teacher, like="math", count=3)
    assert sum("subject is shopping" in prompt and "difficulty is 2" in prompt for prompt in prompts) == 3
    assert {(row.level, row.subject) for row in run.rows("drafts", Draft)} == {("2", "shopping")}


def test_without_verification_the_teacher_only_creates(seed_file: str, tmp_path: Path) -> None:
    prompts: list[str] = []
    teacher = Teacher(bad=0)

    def said(request: Any) -> Any:
        prompts.append(request.prompt)
        return teacher.say(request)

    teacher.engine = ScriptedEngine(said)
    run = made(seed_file, tmp_path / "run", teacher, verification=False, count=5)
    assert run.count("drafts") == 5
    assert not any("VERIFICATION" in prompt for prompt in prompts)


class Voices:
    """A teacher whose questions are good and whose solutions give these answers in turn."""

    def __init__(self, *answers: object, again: object = None) -> None:
        self.answers, self.again = answers, again
        self.engine = ScriptedEngine(self.say)

    def say(self, request: Any) -> str:
        good = Teacher(bad=0)
        if "final answer within" in request.prompt:
            return f"So it is \\boxed{{{self.again}}}."
        if "SOLUTION:" not in request.prompt:
            return str(good.say(request).text)  # type: ignore[union-attr]
        index = int(request.key.rpartition("#")[2]) - 1
        return f"SOLUTION: It is {self.answers[index]}.\nFINAL ANSWER: {self.answers[index]}"


def one(seed_file: str, out: Path, voices: Voices, **settings: Any) -> Draft | Reject:
    asked = SynthesisSettings(
        **{"seeds": seed_file, "like": "gsm8k", "count": 1, "max_tries": 1, "out": str(out)} | settings
    )
    run = Run.read(synthesize(asked, engine=voices.engine))
    rows: list[Any] = [*run.rows("drafts", Draft), *run.rows("rejects", Reject)]
    return rows[0]


def test_a_consensus_is_believed_and_its_share_recorded(seed_file: str, tmp_path: Path) -> None:
    got = one(seed_file, tmp_path / "a", Voices(4, "5", "4.0"), solutions=3, keep="consensus")
    assert isinstance(got, Draft) and got.answer == "4" and got.agreement == pytest.approx(2 / 3)
    assert len(got.replies) == 4
    split = one(seed_file, tmp_path / "b", Voices(4, 5, 6), solutions=3, keep="consensus")
    assert isinstance(split, Reject) and (split.step, split.reason) == ("consensus", "no consensus")
    tie = one(seed_file, tmp_path / "c", Voices(4, 4, 5, 5), solutions=4, keep="consensus", consensus=0.4)
    assert isinstance(tie, Reject) and tie.reason == "no consensus"
    with pytest.raises(UsageError, match="needs several"):
        one(seed_file, tmp_path / "d", Voices(4), keep="consensus")


def test_a_question_is_solved_again_on_its_own(seed_file: str, tmp_path: Path) -> None:
    got = one(seed_file, tmp_path / "a", Voices(4, again="4.00"), resolve=True)
    assert isinstance(got, Draft)
    other = one(seed_file, tmp_path / "b", Voices(4, again=5), resolve=True)
    assert isinstance(other, Reject) and (other.step, other.reason) == ("resolve", "re-solve differs")


def test_a_known_answer_has_to_be_met(seed_file: str, tmp_path: Path) -> None:
    got = one(seed_file, tmp_path / "a", Voices(-1, -1), method="rephrase")
    assert isinstance(got, Reject) and (got.step, got.reason) == ("solution", "other answer")


def reply(text: str, finish: Any = "stop") -> Response:
    return Response(key="s#0", problem="s", index=0, text=text, finish=finish)


def run_through(seed: str, *texts: str, like: str = "gsm8k") -> Made:
    """One draft of xwin from these replies."""
    making = xwin(Seed(Problem(key="s", question=seed, answer="1"), 0, Wish(like=like)))
    next(making)
    try:
        for text in texts:
            making.send([reply(text)])
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("it wants more replies")


def test_a_repair_for_an_answer_that_is_not_whole_passes_through() -> None:
    got = run_through(
        "A park has 20 trees and plants 5 more each year. How many trees has it after 3 years?",
        "CREATED QUESTION: An orchard has 80 trees in 3 equal rows. How many trees stand in a row?\n"
        "VERIFICATION AND MODIFICATION: 80 / 3 = 26.67, but trees come in whole numbers. With 81 trees it is 27.\n"
        "FINAL CREATED QUESTION: An orchard has 81 trees in 3 equal rows. How many trees stand in a row?",
        "SOLUTION: There are 3 rows with equally many trees.\n81 / 3 = 27\nFINAL ANSWER: 27",
    )
    assert (got.answer, "81 trees" in got.question) == ("27", True)


def test_a_repair_of_an_exact_power_passes_through() -> None:
    got = run_through(
        "Between which two consecutive integers does $\\log_{10} 579$ lie? Give their sum.",
        "CREATED QUESTION: $\\log_2 16384$ lies between two consecutive integers. What is their sum?\n"
        "VERIFICATION AND MODIFICATION: $2^{14} = 16384$ exactly, so it lies between none. Take $\\log_2 10000$.\n"
        "FINAL CREATED QUESTION: $\\log_2 10000$ lies between two consecutive integers. What is their sum?",
        "SOLUTION: $2^{13} = 8192 < 10000 < 16384 = 2^{14}$, so they are 13 and 14.\nThe sum is $13 + 14 = 27$.\n"
        "FINAL ANSWER: $27$",
        like="math",
    )
    assert got.answer == "27" and "10000" in got.question


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("How many apples are there, and how many pears are left?", "several answers"),
        ("How many apples are there? How many pears are left?", "several answers"),
        ("A shop sells pens. (a) How many on Monday (b) How many on Tuesday?", "several answers"),
        ("Find x. Answer: 4", "answer in the question"),
        ("Solution: add both. How many?", "answer in the question"),
        ("???", "no question"),
        ("Why?", "no question"),
        ("x" * 5000, "no question"),
    ],
)
def test_questions_that_are_none(question: str, reason: str) -> None:
    with pytest.raises(TurnedDown, match=reason):
        check_question(question, numeric=True)


@pytest.mark.parametrize(
    "question",
    [
        "Ann and Bo have 12 apples and 3 pears. How many pieces of fruit do they have together?",
        "What is the sum of the roots of $x^2 - 5x + 6 = 0$, and hence of what use are they to Bo?",
        "If 2 + 3 = 5, why would he pay $7 for it (including a tip of $2)? Say how many coins he has.",
    ],
)
def test_questions_that_are_fine(question: str) -> None:
    check_question(question, numeric=True)


def test_a_question_may_not_work_its_answer_out() -> None:
    with pytest.raises(TurnedDown, match="answer in the question"):
        run_through(
            "How many?",
            "CREATED QUESTION: a\nVERIFICATION AND MODIFICATION: b\n"
            "FINAL CREATED QUESTION: Bo has 3 + 4 = 7 apples in two bowls. How many apples has Bo?",
            "SOLUTION: 3 + 4 = 7\nFINAL ANSWER: 7",
        )


def test_new_questions_are_not_their_seeds() -> None:
    seed = "Tom has 5 red apples and 4 green ones. He eats two of them. How many apples are left for Tom in the end?"
    with pytest.raises(TurnedDown, match="copy of its seed"):
        check_new(seed.upper().replace(".", " ."), seed)
    with pytest.raises(TurnedDown, match="copy of its seed"):
        check_new(seed.replace("Tom", "Tim", 1), seed)
    check_new(seed.replace("5", "6"), seed, reworded=True)
    check_new("A train of 12 coaches with 40 seats each is half full. How many people sit in it?", seed)


@pytest.mark.parametrize(
    ("final", "found"),
    [
        ("18", "18"), ("$1,200", "1,200"), ("**3.5**", "3.5"), ("3/4", "3/4"), ("25%", "25%"), ("-4.", "-4"),
        ("\\boxed{7}", "7"), ("\\(12\\)", "12"),
    ],
)  # fmt: skip
def test_final_numbers(final: str, found: str) -> None:
    assert solution_of(reply(f"SOLUTION: yes\nFINAL ANSWER: {final}"), numeric=True) == ("yes", found)


@pytest.mark.parametrize(
    ("final", "reason"),
    [("5 and 7", "several answers"), ("5, 7", "several answers"), ("eighteen apples", "not a number"),
     ("18 apples", "not a number"), ("x + 1", "not a number"), ("", "missing section")],
)  # fmt: skip
def test_final_answers_that_are_no_number(final: str, reason: str) -> None:
    with pytest.raises(TurnedDown, match=reason):
        solution_of(reply(f"SOLUTION: yes\nFINAL ANSWER: {final}"), numeric=True)


def test_a_formula_is_an_answer_where_any_is() -> None:
    _, answer = solution_of(reply("SOLUTION: so \\boxed{\\frac{1}{2}}\nFINAL ANSWER: $0.5$"), numeric=False)
    assert answer == "0.5"
    with pytest.raises(TurnedDown, match="contradicts itself"):
        solution_of(reply("SOLUTION: so \\boxed{x+1}\nFINAL ANSWER: $x+2$"), numeric=False)


@pytest.mark.parametrize(
    "text",
    ["(" * 200_000, "SOLUTION:" * 50_000, " " * 500_000 + "x", "?" * 300_000, "and how many " * 40_000,
     "*#>" * 100_000],
)  # fmt: skip
def test_nothing_that_a_teacher_says_takes_long(text: str) -> None:
    import time

    start = time.process_time()
    for wanted in (text, f"SOLUTION: {text}\nFINAL ANSWER: {text}"):
        with pytest.raises(TurnedDown):
            solution_of(reply(wanted), numeric=True)
        with pytest.raises(TurnedDown):
            run_through(
                "What is it?",
                f"CREATED QUESTION: a\nVERIFICATION AND MODIFICATION: b\nFINAL CREATED QUESTION: {wanted}",
            )
    assert time.process_time() - start < 2.0


def test_the_faults_are_spread_over_the_reasons() -> None:
    teacher = Teacher(bad=1.0)
    for index in range(300):
        from upwell.engines.base import Request, Sampling

        prompt = "Given question:\nx\n\nFINAL CREATED QUESTION" if index % 2 else "SOLUTION:"
        teacher.say(
            Request(key=str(index), prompt=prompt, seed=index, add_special_tokens=True, sampling=Sampling())
        )
    assert set(Counter(teacher.faults.values())) == set(BAD_QUESTIONS) | set(BAD_SOLUTIONS)
    assert QUESTION.search("Ann has 12 apples and buys 3 bags of 4 more")
