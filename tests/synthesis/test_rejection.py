"""Rejection sampling from end to end: exactly the drafts that the draws' own sequence decides, whatever the engine."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rejection_teacher import OPEN, Crowd, hide_answers, is_right, said, write_questions

from upwell.engines.base import Reply, Request, Sampling, Usage
from upwell.engines.scripted import ScriptedEngine
from upwell.errors import BudgetSpent, UsageError
from upwell.grading import RuleGrader
from upwell.measurement import MeasureSettings, measure
from upwell.records import Draft, Failure, Problem, Reject, Response, Verdict, draw_key, draw_seed
from upwell.runs import Run
from upwell.synthesis.rejection import plan, rejection
from upwell.synthesis.rejection.asking import Asker
from upwell.synthesis.rejection.ledger import RIGHT, WRONG, Ledger
from upwell.synthesis.rejection.targets import Policy, chance_to_reach
from upwell.synthesis.settings import SynthesisSettings

CHANCES = [1.0, 0.9, 0.6, 0.35, 0.15, 0.06, 0.0]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return write_questions(tmp_path / "questions.jsonl", CHANCES, list("1122334"))


def settings(questions: Path, out: Path, **more: Any) -> SynthesisSettings:
    asked: dict[str, Any] = dict(
        method="rejection", seeds=str(questions), out=str(out), policy="uniform", k_uniform=6, max_trials=60,
        cache=False, workers=1, seed=3,
    )  # fmt: skip
    asked |= more
    if asked["policy"] != "uniform":
        del asked["k_uniform"]
    if asked["policy"] == "vanilla":
        del asked["max_trials"]
    return SynthesisSettings(**asked)


def drafts(run: Path) -> dict[str, Draft]:
    rows = list(Run.read(run).rows("drafts", Draft))
    found = {row.key: row for row in rows}
    assert len(found) == len(rows), "a draft is there twice"
    return found


def reference(asked: SynthesisSettings, chances: list[float] = CHANCES) -> set[str]:
    """Keys of the drafts by the rule itself: every draw of every question is known beforehand."""
    policy = Policy.of(asked)
    rights = [
        [is_right(draw_seed(asked.seed, f"q{i}", j), chance) for j in range(policy.most)]
        for i, chance in enumerate(chances)
    ]
    wrong = [row[: policy.probes].count(False) for row in rights]
    hardest = (max(wrong), policy.probes) if policy.over_max else (1, 1)
    keys = set()
    for i, row in enumerate(rights):
        target = policy.target(wrong[i], policy.probes, hardest)
        kept: list[int] = []
        for n, right in enumerate(row, 1):
            kept += [n - 1] if right else []
            goal = target if kept else 1
            if len(kept) == target or (
                policy.give_up and chance_to_reach(n, len(kept), goal, policy.most) < policy.give_up
            ):
                break
        keys |= {draw_key(f"q{i}", index) for index in kept}
    return keys


@pytest.mark.parametrize("flight", [1, 9, 200])
@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"give_up": 0.2, "k_uniform": 20},
        {"policy": "vanilla", "trials": 12},
        {"policy": "prop2diff", "k_hardest": 16, "probes": 8},
        {"policy": "prop2diff", "k_hardest": 16, "probes": 8, "scale": "fail-over-max", "give_up": 0.0},
    ],
    ids=["uniform", "given-up", "vanilla", "prop2diff", "over-max"],
)
def test_drafts_do_not_depend_on_the_engine(
    questions: Path, tmp_path: Path, policy: dict[str, Any], flight: int
) -> None:
    asked, crowd = (
        settings(questions, tmp_path / "run", **policy),
        Crowd(flight=flight, seed=flight, threads=flight == 9),
    )
    run = Run.read(rejection(asked, engine=crowd))
    assert set(drafts(run.path)) == reference(asked)
    assert len(crowd.keys) == len(set(crowd.keys)) == run.count("responses") == run.count("verdicts")
    summary = run.summary
    assert summary is not None
    told = summary["rejection"]
    assert told["kept"] == len(drafts(run.path)) and told["draws"] == len(crowd.keys)
    assert told["met"] + told["capped"] + told["given_up"] == len(CHANCES)
    rejected = {row.key: row.reason for row in run.rows("rejects", Reject)}
    unmet = told["capped"] + told["given_up"]
    assert len(rejected) == unmet or policy.get("policy") == "vanilla"


def test_what_a_draft_says(questions: Path, tmp_path: Path) -> None:
    asked = settings(questions, tmp_path / "run", policy="prop2diff", k_hardest=16, probes=8, temperature=1.3)
    run = Run.read(rejection(asked, engine=Crowd()))
    found = drafts(run.path)
    responses = {row.key: row for row in run.rows("responses", Response)}
    right = {row.key for row in run.rows("verdicts", Verdict) if row.correct}
    problems = {row.key: row for row in run.rows("problems", Problem)}
    for key, draft in found.items():
        problem, response = problems[responses[key].problem], responses[key]
        assert key in right and draft.solution == response.text and draft.replies == (key,)
        assert (draft.question, draft.answer, draft.level) == (
            problem.question,
            problem.answer,
            problem.level,
        )
        assert draft.parents == (problem.key,) and draft.teacher == "crowd" and draft.method == "rejection"
        assert draft.completion_tokens == response.tokens and draft.prompt_tokens == 7
        first = [draw_seed(3, problem.key, j) for j in range(8)]
        chance = CHANCES[int(problem.key[1:])]
        assert draft.fail_rate == sum(not is_right(seed, chance) for seed in first) / 8
    assert (
        run.manifest["fingerprint"]["temperature"] == 1.3 and run.manifest["fingerprint"]["scale"] == "fail"
    )
    summary = run.summary
    assert summary is not None
    assert [row["level"] for row in summary["rejection"]["levels"]] == ["1", "2", "3", "4"]
    assert sum(summary["rejection"]["fail_rates"]) == len(CHANCES)
    ratio = next(one for one in summary["metrics"] if one["name"] == "pass_ratio" and one["slice"] is None)
    assert ratio["samples"] == run.count("responses")


def test_a_larger_target_or_more_draws_add_to_the_run(questions: Path, tmp_path: Path) -> None:
    out, crowd = tmp_path / "run", Crowd(flight=20)
    first = settings(questions, out, give_up=0.0, max_trials=30)
    rejection(first, engine=crowd)
    before = set(drafts(out))
    rejection(settings(questions, out, give_up=0.0, max_trials=30), engine=crowd)
    assert set(drafts(out)) == before
    for more in ({"k_uniform": 9, "max_trials": 30}, {"k_uniform": 9, "max_trials": 80}):
        asked = settings(questions, out, give_up=0.0, **more)
        rejection(asked, engine=crowd)
        assert before < set(drafts(out)) and set(drafts(out)) == reference(asked)
        before = set(drafts(out))
    assert len(crowd.keys) == len(set(crowd.keys)), "a draw was paid twice"
    for less, named in (
        ({"k_uniform": 5, "max_trials": 80}, "k_uniform"),
        ({"k_uniform": 9, "max_trials": 40}, "max_trials"),
    ):
        with pytest.raises(UsageError, match=named):
            rejection(settings(questions, out, give_up=0.0, **less), engine=crowd)
    same: dict[str, Any] = {"k_uniform": 9, "max_trials": 80, "give_up": 0.0}
    for other, named in (
        ({"temperature": 0.7}, "temperature"), ({"give_up": 0.5}, "give_up"), ({"seed": 4}, "seed"),
        ({"policy": "prop2diff", "k_hardest": 9}, "policy"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=named):
            rejection(settings(questions, out, **(same | other)), engine=crowd)


def test_a_raised_target_never_takes_drafts_back(questions: Path, tmp_path: Path) -> None:
    """With a higher target a question would have been given up earlier: what it has already is kept all the same."""
    out, crowd = tmp_path / "run", Crowd(flight=5)
    for k in (4, 30):
        before = set(drafts(out)) if k > 4 else set()
        rejection(settings(questions, out, k_uniform=k, give_up=0.3), engine=crowd)
        assert before <= set(drafts(out))
    for number, chance in enumerate(CHANCES):
        kept = sorted(int(key.split("#")[1]) for key in drafts(out) if key.startswith(f"q{number}#"))
        right = [j for j in range(60) if is_right(draw_seed(3, f"q{number}", j), chance)]
        assert kept == right[: len(kept)], "the lowest right draws, without a gap"


def test_policies_share_a_pool(questions: Path, tmp_path: Path) -> None:
    pool = rejection(settings(questions, tmp_path / "pool", k_uniform=20, give_up=0.0), engine=Crowd())
    nobody = Crowd(lambda request: pytest.fail(f"{request.key} was asked for"))
    uniform = settings(questions, tmp_path / "uniform", pool=str(pool), give_up=0.0)
    hard = settings(
        questions, tmp_path / "hard", policy="prop2diff", k_hardest=20, pool=str(pool), give_up=0.0
    )
    for asked in (uniform, hard):
        rejection(asked, engine=nobody)
        assert rejection(asked, engine=nobody)
    plain = settings(questions, tmp_path / "x", give_up=0.0)
    assert set(drafts(tmp_path / "uniform")) == reference(plain)
    run, drawn = Run.read(tmp_path / "hard"), Run.read(pool)
    assert run.count("responses") == drawn.count("responses")
    wrong: dict[str, list[bool]] = {}
    for verdict in drawn.rows("verdicts", Verdict):
        wrong.setdefault(verdict.key.split("#")[0], []).append(not verdict.correct)
    found = drafts(run.path)
    for key, all_of_it in wrong.items():
        rate = sum(all_of_it) / len(all_of_it)
        mine = [draft for draft in found.values() if draft.parents == (key,)]
        right = len(all_of_it) - sum(all_of_it)
        assert len(mine) == min(right, max(1, -(-20 * sum(all_of_it) // len(all_of_it))))
        assert all(draft.fail_rate == rate for draft in mine)


def test_a_pool_that_does_not_suffice_is_drawn_on_from(questions: Path, tmp_path: Path) -> None:
    pool = rejection(settings(questions, tmp_path / "pool", k_uniform=3, give_up=0.0), engine=Crowd(flight=4))
    highest: dict[str, int] = {}
    for row in Run.read(pool).rows("responses", Response):
        highest[row.problem] = max(highest.get(row.problem, 0), row.index)
    crowd = Crowd()
    asked = settings(
        questions, tmp_path / "more", k_uniform=8, give_up=0.0, pool=str(pool), max_total_tokens=10**6
    )
    run = Run.read(rejection(asked, engine=crowd))
    assert set(drafts(run.path)) == reference(asked), "the same seed draws the same responses"
    assert all(int(key.split("#")[1]) > highest[key.split("#")[0]] for key in crowd.keys)
    summary = run.summary
    assert summary is not None and summary["rejection"]["new_draws"] == len(crowd.keys)
    with pytest.raises(
        BudgetSpent
    ):  # what the pool took is not charged to this run: 100 tokens buy some draws
        rejection(
            settings(
                questions, tmp_path / "cap", k_uniform=8, give_up=0.0, pool=str(pool), max_total_tokens=100,
                max_tokens=2048,
            ),
            engine=(short := Crowd(flight=2)),
        )  # fmt: skip
    assert not short.keys, "2,048 tokens may be taken by the first"


def test_a_measured_run_is_a_pool_too(questions: Path, tmp_path: Path) -> None:
    asked = settings(questions, tmp_path / "run", k_uniform=2, give_up=0.0)
    same: dict[str, Any] = dict(
        temperature=asked.heat,
        top_p=asked.nucleus,
        max_tokens=asked.max_tokens,
        seed=3,
        cache=False,
        workers=1,
    )
    measured = measure(
        MeasureSettings(problems=str(questions), samples=10, out=str(tmp_path / "measured"), **same),
        engine=ScriptedEngine(said, identity="crowd"),
    )
    crowd = Crowd()
    rejection(dataclasses.replace(asked, pool=str(measured)), engine=crowd)
    assert set(drafts(tmp_path / "run")) == reference(asked)
    assert crowd.keys and all(int(key.split("#")[1]) >= 10 for key in crowd.keys)


@pytest.mark.parametrize(
    ("other", "named"),
    [({"temperature": 0.9}, "temperature"), ({"style": "boxed"}, "grader"), ({"prompt": "alpaca"}, "prompt"),
     ({"top_p": 0.5}, "top_p"), ({"max_tokens": 99}, "max_tokens")],
)  # fmt: skip
def test_a_pool_of_another_kind_is_refused(
    questions: Path, tmp_path: Path, other: dict[str, Any], named: str
) -> None:
    pool = rejection(settings(questions, tmp_path / "pool", k_uniform=1, max_trials=8), engine=Crowd())
    with pytest.raises(UsageError, match=f"its {named} is"):
        rejection(settings(questions, tmp_path / "run", pool=str(pool), **other), engine=Crowd())
    elsewhere = write_questions(tmp_path / "others.jsonl", [0.5] * 8)
    with pytest.raises(UsageError, match="another question or answer"):
        rejection(settings(elsewhere, tmp_path / "run2", pool=str(pool)), engine=Crowd())
    assert not (tmp_path / "run").exists() and not (tmp_path / "run2").exists()


def test_failures_are_asked_again_and_never_stop_a_question(questions: Path, tmp_path: Path) -> None:
    """A draw that fails now and then is asked again; one that always fails counts as nothing; a question that always
    fails is named."""
    tries: dict[str, int] = {}

    def say(request: Request) -> str | Reply:
        tries[request.key] = tries.get(request.key, 0) + 1
        number, index = request.key.removeprefix("q").split("#")
        lost = number == "6" or (number == "2" and index == "1")
        if lost or (int(index) % 3 == 0 and tries[request.key] < 3):
            wasted = Usage(calls=1, completion_tokens=2)
            return Reply(key=request.key, error="the server hung up", wasted=wasted)
        return said(request)

    run = Run.read(
        rejection(settings(questions, tmp_path / "run", give_up=0.0), engine=Crowd(say, flight=20))
    )
    expected = {
        key
        for key in reference(settings(questions, tmp_path / "run", give_up=0.0))
        if not key.startswith(("q6#", "q2#"))
    }
    assert {key for key in drafts(run.path) if not key.startswith("q2#")} == expected
    second = sorted(int(key.split("#")[1]) for key in drafts(run.path) if key.startswith("q2#"))
    right = [j for j in range(60) if j != 1 and is_right(draw_seed(3, "q2", j), CHANCES[2])]
    assert second == right[:6]
    assert max(tries.values()) == 3 and tries["q2#1"] == 3
    rejected = {row.key: row.reason for row in run.rows("rejects", Reject)}
    assert rejected["q6"].startswith("unanswered: none of the first 8 draws")
    assert {row.attempt for row in run.rows("failures", Failure)} == {1, 2, 3}
    assert run.count("waste") == run.count("failures") > 20
    again = Crowd(say)
    rejection(settings(questions, tmp_path / "run", give_up=0.0), engine=again)
    assert not again.keys


def test_a_budget_stops_resumably_and_leaves_drafts(questions: Path, tmp_path: Path) -> None:
    out, keys = tmp_path / "run", list[str]()
    for cap in (700, 2000):
        crowd = Crowd(flight=6)
        asked = settings(questions, out, max_tokens=20, max_total_tokens=cap, give_up=0.0)
        with pytest.raises(BudgetSpent):
            rejection(asked, engine=crowd)
        keys += crowd.keys
        run = Run.read(out)
        tokens = sum((row.tokens or 0) + (row.prompt_tokens or 0) for row in run.rows("responses", Response))
        assert cap - 200 < tokens <= cap and run.summary is None
        assert run.count("verdicts") == run.count("responses") and drafts(out)
    crowd = Crowd()
    rejection(settings(questions, out, max_tokens=20, give_up=0.0), engine=crowd)
    keys += crowd.keys
    assert len(keys) == len(set(keys)) and set(drafts(out)) == reference(asked)


def test_cut_responses_are_never_kept(questions: Path, tmp_path: Path) -> None:
    def say(request: Request) -> Reply:
        index = int(request.key.split("#")[1])
        return Reply(key=request.key, text=said(request), finish="length" if index % 2 else "stop", tokens=9)

    run = Run.read(rejection(settings(questions, tmp_path / "run"), engine=Crowd(say)))
    assert all(int(key.split("#")[1]) % 2 == 0 for key in drafts(run.path))
    assert any(row.correct and row.key.endswith("#1") for row in run.rows("verdicts", Verdict))
    again = Crowd(say)
    rejection(settings(questions, tmp_path / "run"), engine=again)
    assert not again.keys, "what the session before thought of them is thought again"


HOSTILE = [
    "\\boxed{" * 3000, "The answer is: " + "9" * 100_000, "\\boxed{9^{9^{9^{9^9}}}}", "\ud800 The answer is: \x00",
    "\\boxed{\\int_0^1 \\sin(x^x)^{x^x} dx + \\sum_{n=1}^{10^9} \\frac{1}{n^n}}", "", "####" * 5000,
    "\\boxed{\\sqrt{\\sqrt{\\sqrt{(x+1)^{200}-(x-1)^{200}}}}}", "$" * 20_000,
]  # fmt: skip


def test_hostile_responses_are_only_wrong(questions: Path, tmp_path: Path) -> None:
    def say(request: Request) -> str:
        index = int(request.key.split("#")[1])
        return HOSTILE[index // 2 % len(HOSTILE)] if index % 2 else said(request)

    begun = time.monotonic()
    asked = settings(questions, tmp_path / "run", timeout=0.5, k_uniform=4)
    run = Run.read(rejection(asked, engine=Crowd(say)))
    assert all(int(key.split("#")[1]) % 2 == 0 for key in drafts(run.path))
    assert run.count("verdicts") == run.count("responses") and time.monotonic() - begun < 60


def test_without_reference_answers_the_majority_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chances = [0.9, 0.6, 0.0, 0.5]
    file = write_questions(tmp_path / "open.jsonl", chances, [OPEN, OPEN, OPEN, "1"])
    monkeypatch.setattr(plan, "questions", hide_answers())

    def say(request: Request) -> str:
        return "No idea at all." if request.key.startswith("q2#") else said(request)

    with pytest.raises(UsageError, match="3 questions of `open` have no reference answer"):
        rejection(settings(file, tmp_path / "run"), engine=Crowd(say))
    asked = settings(file, tmp_path / "run", majority=True, probes=10)
    run = Run.read(rejection(asked, engine=Crowd(say)))
    found, problems = drafts(run.path), {row.key: row for row in run.rows("problems", Problem)}
    assert [problems[f"q{i}"].answer for i in range(4)] == ["100", "101", "", "103"]
    assert set(found) == {key for key in reference(asked, chances) if not key.startswith("q2#")}, (
        "as with these references"
    )
    for i in (0, 1):
        agreed = sum(is_right(draw_seed(3, f"q{i}", j), chances[i]) for j in range(10)) / 10
        mine = [draft for draft in found.values() if draft.parents == (f"q{i}",)]
        assert mine and all(draft.agreement == agreed and draft.answer == f"{100 + i}" for draft in mine)
    assert all(draft.agreement is None for draft in found.values() if draft.parents == ("q3",))
    rejected = {row.key: row.reason for row in run.rows("rejects", Reject)}
    assert rejected["q2"].startswith("no majority")
    again = Crowd(say)
    rejection(asked, engine=again)
    assert not again.keys and Run.read(run.path).count("rejects") == run.count("rejects")


class Bar:
    """A watch that takes it ill when told of progress while nothing is going on."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self.up = False

    def say(self, line: str) -> None: ...

    def begin(self, what: str, total: int, done: int = 0) -> None:
        self.total, self.done, self.up = total, done, True

    def advance(self, rows: int = 1, *, tokens: int = 0, usd: float = 0.0) -> None:
        assert self.up
        self.done += rows

    def end(self) -> None:
        self.up = False


def test_progress_is_told_in_questions(questions: Path, tmp_path: Path) -> None:
    bar = Bar()
    with pytest.raises(BudgetSpent):
        asked = settings(questions, tmp_path / "run", max_tokens=20, max_total_tokens=1500)
        rejection(asked, engine=Crowd(flight=4), watch=bar)
    bar.up = False
    rejection(settings(questions, tmp_path / "run", max_tokens=20), engine=Crowd(), watch=bar)
    assert bar.done == bar.total == len(CHANCES) and not bar.up


def drawn_at_once(policy: Policy, chances: list[float], flight: int) -> Ledger:
    """Draws as an engine with so many in flight makes them, whose replies are graded at once."""
    ledger, draw = Ledger(len(chances), policy), random.Random(flight)
    ledger.begin()

    def request(question: int, index: int) -> Request:
        return Request(
            key=f"{question}#{index}", prompt="", add_special_tokens=True, seed=0, sampling=Sampling()
        )

    asker = Asker(ledger, threading.Lock(), request, lambda: None)
    out: list[tuple[int, int]] = []
    while True:
        while len(out) < flight:
            got = next(asker, "over")
            if not isinstance(got, Request):
                break
            question, index = map(int, got.key.split("#"))
            out.append((question, index))
        if not out:
            assert got == "over", "nothing is in flight, and nothing is asked for"
            return ledger
        question, index = out.pop(draw.randrange(len(out)))
        ledger.settle(question, index, RIGHT if draw.random() < chances[question] else WRONG)


def test_little_is_drawn_too_much() -> None:
    """While there are enough questions nothing at all; at the end, or with few, what may be needed is."""
    draw = random.Random(0)
    chances = [draw.betavariate(0.8, 0.6) for _ in range(300)]
    for flight, most in ((1, 0.0), (32, 0.01), (256, 0.1)):
        ledger = drawn_at_once(Policy("uniform", 10, 200, 0, give_up=0.0), chances, flight)
        spare = ledger.asked.sum() / ledger.stop.sum() - 1
        print(f"{flight} in flight: {spare:.1%} drawn too much")
        assert spare <= most


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"policy": "vanilla", "k_hardest": 4}, "--k-hardest does nothing for --policy vanilla"),
        ({"policy": "prop2diff", "trials": 4}, "--trials does nothing"),
        ({"probes": 4}, "--probes does nothing"),
        ({"k_uniform": 61}, "--k-uniform 61 is more than --max-trials 60"),
        ({"policy": "prop2diff", "k_hardest": 8, "probes": 61}, "--probes 61"),
        ({"temperature": 0.0}, "temperature 0"),
        ({"dry_run": True}, "--dry-run"),
        ({"majority": True}, "--majority does nothing"),
    ],
)
def test_what_makes_no_sense_is_refused(
    questions: Path, tmp_path: Path, wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        rejection(settings(questions, tmp_path / "run", **wrong), engine=Crowd())


def test_a_slow_comparison_does_not_stop_the_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the grader is at one verdict for two seconds, all that is needed for certain is drawn."""
    file, crowd = write_questions(tmp_path / "many.jsonl", [0.5] * 40), Crowd(flight=8)
    seen: list[int] = []
    at_once = RuleGrader.grade

    def slowly(self: RuleGrader, pairs: Any) -> Any:
        for verdict in at_once(self, pairs):
            if not seen:
                late = time.monotonic() + 10
                while len(crowd.keys) < 240 and time.monotonic() < late:
                    time.sleep(0.01)
                seen.append(len(crowd.keys))
            yield verdict

    monkeypatch.setattr(RuleGrader, "grade", slowly)
    asked = settings(file, tmp_path / "run")
    rejection(asked, engine=crowd)
    assert seen[0] >= 240, "40 questions need 6 draws each before anything has to be known"
    assert set(drafts(tmp_path / "run")) == reference(asked, [0.5] * 40)


def test_an_error_of_the_grader_ends_the_run(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: RuleGrader, pairs: Any) -> Any:
        next(iter(pairs))
        raise RuntimeError("a bug")
        yield

    monkeypatch.setattr(RuleGrader, "grade", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        rejection(settings(questions, tmp_path / "run"), engine=Crowd())
    monkeypatch.undo()
    asked = settings(questions, tmp_path / "run")
    rejection(asked, engine=Crowd())
    assert set(drafts(tmp_path / "run")) == reference(asked), "nothing of it stays behind"
