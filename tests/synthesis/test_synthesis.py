"""The pipeline: how many, from which seeds, at what price, and where a row comes from."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_teacher import Teacher

from upwell.engines.base import Reply, Request
from upwell.errors import BudgetSpent, UsageError
from upwell.records import Draft, Failure, Problem, Reject, Response, Verdict, draw_key
from upwell.runs import Run
from upwell.runs.lineage import ancestry
from upwell.synthesis.dealing import Deal
from upwell.synthesis.settings import SynthesisSettings
from upwell.synthesis.stages import dry_run, synthesize


class Crowd:
    """An engine with many calls in flight, answered in any order, some of which fail."""

    def __init__(self, teacher: Teacher, *, slots: int = 16, fails: float = 0.0) -> None:
        self.identity = "scripted-teacher"
        self.most = 0
        self._teacher, self._slots, self._fails = teacher, slots, fails
        self._draw = random.Random(1)

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Reply]:
        source, flying, ended = iter(requests), [], False
        while flying or not ended:
            while not ended and len(flying) < self._slots:
                request = next(source, StopIteration)
                if request is StopIteration:
                    ended = True
                elif request is None:
                    assert flying, "the source had nothing, though nothing was in flight"
                    break
                else:
                    flying.append(request)
            self.most = max(self.most, len(flying))
            if flying:
                request = flying.pop(self._draw.randrange(len(flying)))
                if self._draw.random() < self._fails:
                    yield Reply(key=request.key, error="refused")
                else:
                    said = self._teacher.say(request)
                    assert isinstance(said, Reply)
                    yield Reply(
                        key=request.key, text=said.text, finish=said.finish, tokens=said.tokens,
                        prompt_tokens=said.prompt_tokens,
                    )  # fmt: skip

    def close(self) -> None: ...


def settings(seeds: str, out: Path, **other: Any) -> SynthesisSettings:
    return SynthesisSettings(**{"seeds": seeds, "like": "gsm8k", "max_tokens": 400, "out": str(out)} | other)


def rows(path: Path, table: str, kind: Any) -> list[Any]:
    return sorted(Run.read(path).rows(table, kind), key=lambda row: row.key)


def test_the_number_wanted_is_met_exactly_whatever_is_in_flight(seed_file: str, tmp_path: Path) -> None:
    crowd = Crowd(Teacher(), slots=64)
    path = synthesize(settings(seed_file, tmp_path / "many", count=200), engine=crowd)
    assert crowd.most == 64
    run = Run.read(path)
    assert run.count("drafts") == 200
    assert run.summary is not None
    counts = run.summary["counts"]
    assert counts["tries"] == 200 + run.count("rejects") and counts["calls"] == run.count("replies")
    # No reply was for nothing: each is in a draft or was turned down.
    settled = {row.key for row in rows(path, "drafts", Draft)} | {
        row.key for row in rows(path, "rejects", Reject)
    }
    assert {row.problem for row in rows(path, "replies", Response)} == settled


def test_raising_the_count_adds(seed_file: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    synthesize(settings(seed_file, out, count=20), engine=Teacher().engine)
    first = rows(out, "drafts", Draft)
    teacher = Teacher()
    synthesize(settings(seed_file, out, count=50), engine=teacher.engine)
    both = rows(out, "drafts", Draft)
    assert Run.read(out).summary["counts"]["missing"] == 0  # type: ignore[index]
    assert len(both) == 50 and {row.key for row in first} <= {row.key for row in both}
    assert not {call for row in first for call in row.replies} & set(teacher.calls)
    with pytest.raises(UsageError, match="count"):
        synthesize(settings(seed_file, out, count=30), engine=teacher.engine)
    with pytest.raises(UsageError, match="temperature"):
        synthesize(settings(seed_file, out, count=50, temperature=0.5), engine=teacher.engine)


def test_a_hopeless_teacher_ends_after_the_tries(seed_file: str, tmp_path: Path) -> None:
    teacher = Teacher(bad=1.0)
    run = Run.read(
        synthesize(settings(seed_file, tmp_path / "run", count=10, max_tries=25), engine=teacher.engine)
    )
    assert (run.count("drafts"), run.count("rejects")) == (0, 25)
    assert run.summary is not None and run.summary["per_draft"] == {"tokens": None, "usd": None}
    assert run.summary["counts"]["missing"] == 10
    assert any("10 of 10 drafts are missing" in note for note in run.summary["notes"])


def test_failed_calls_are_owed_and_made_up_for(seed_file: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    asked = settings(seed_file, out, count=40)
    synthesize(asked, engine=Crowd(Teacher(bad=0.1), fails=0.2))
    run = Run.read(out)
    failed = {row.key.rpartition("#")[0] for row in run.rows("failures", Failure)}
    assert failed and run.summary is not None and run.summary["counts"]["failed"] == len(failed)
    teacher = Teacher(bad=0.1)
    answered = {row.key for row in run.rows("replies", Response)}
    synthesize(asked, engine=teacher.engine)
    after = Run.read(out)
    assert after.count("drafts") == 40
    assert after.summary is not None and after.summary["counts"]["failed"] == 0
    assert not answered & set(teacher.calls)


def test_a_cap_in_dollars_stops_it_resumable(seed_file: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    capped = settings(seed_file, out, count=60, price="100,200", max_usd=1.0)
    with pytest.raises(BudgetSpent):
        synthesize(capped, engine=Teacher().engine)
    run = Run.read(out)
    spent = sum(row.usd or 0 for row in run.rows("replies", Response))
    assert 0.8 < spent <= 1.0 and 0 < run.count("drafts") < 60
    synthesize(settings(seed_file, out, count=60, price="100,200"), engine=Teacher().engine)
    full = Run.read(out)
    assert full.count("drafts") == 60 and full.summary is not None
    every = [row.usd or 0 for row in full.rows("replies", Response)]
    assert full.summary["spending"]["usd"] == pytest.approx(sum(every))
    assert full.summary["per_draft"]["usd"] == pytest.approx(sum(every) / 60)
    drafts = rows(out, "drafts", Draft)
    assert all(draft.usd and draft.usd > 0 and draft.completion_tokens > 0 for draft in drafts)


def test_a_dry_run_keeps_its_drafts_and_says_a_range(seed_file: str, tmp_path: Path) -> None:
    asked = settings(seed_file, tmp_path / "run", count=500, price="1,2", dry_run=True)
    found = dry_run(asked, engine=Teacher().engine)
    assert found.tries == 16 and found.wanted == 500
    assert found.needed.low < 500 / (found.accepted / 16) < found.needed.high
    assert found.usd is not None and 0 < found.usd.low < found.usd.expected < found.usd.high
    teacher = Teacher()
    synthesize(settings(seed_file, tmp_path / "run", count=500, price="1,2"), engine=teacher.engine)
    summary = Run.read(tmp_path / "run").summary
    assert summary is not None and found.usd.low < summary["spending"]["usd"] < found.usd.high
    assert "s0/xwin-0#0" not in teacher.calls or summary["counts"]["tries"] > 16


def test_every_seed_has_its_turn_before_one_has_its_second() -> None:
    seeds = [Problem(key=f"s{at}", question="", answer="") for at in range(7)]
    deal = Deal(seeds, "xwin", 0)
    slots = deal.slots()
    first = [next(slots)[0] for _ in range(14)]
    assert Counter(key.rpartition("-")[2] for key in first) == {"0": 7, "1": 7}
    assert {key.rpartition("-")[2] for key in first[:7]} == {"0"}
    again = Deal(seeds, "xwin", 0)
    assert all(again.settle(key) for key in first[:9])
    assert not again.settle("elsewhere/xwin-0") and not again.settle("s1/fobar-0")
    rest = again.slots()
    assert [next(rest)[0] for _ in range(5)] == first[9:]
    assert [
        key for key, _ in zip((s[0] for s in Deal(seeds, "xwin", 1).slots()), range(7), strict=False)
    ] != first[:7]


def graded(path: Path, correct: dict[str, list[bool]]) -> None:
    with Run.open(path, verb="grade", settings={}, fingerprint={"problems": "seeds"}) as run:
        for problem, right in correct.items():
            for index, verdict in enumerate(right):
                key = draw_key(problem, index)
                run.append("responses", [Response(key=key, problem=problem, index=index, text="")])
                run.append("verdicts", [Verdict(key=key, correct=verdict)])


def test_seeds_are_those_that_the_student_solves_sometimes(seed_file: str, tmp_path: Path) -> None:
    student = tmp_path / "student"
    graded(
        student,
        {"s0": [True] * 8, "s1": [False] * 8, "s2": [True] * 4 + [False] * 4, "s3": [True] + [False] * 7},
    )
    path = synthesize(
        settings(seed_file, tmp_path / "run", count=300, student=str(student)), engine=Teacher(bad=0).engine
    )
    used = Counter(draft.parents[0] for draft in rows(path, "drafts", Draft))
    assert set(used) == {"s2", "s3"}
    # p (1 - p): 0.25 against 0.109, so 70 % of them from s2.
    assert 180 < used["s2"] < 240
    with pytest.raises(UsageError, match="none of the 20 seeds is solved sometimes"):
        graded(tmp_path / "sure", {"s0": [True] * 8})
        synthesize(
            settings(seed_file, tmp_path / "no", student=str(tmp_path / "sure")), engine=Teacher().engine
        )


def test_accepted_drafts_are_the_seeds_of_the_next_round(seed_file: str, tmp_path: Path) -> None:
    asked = settings(seed_file, tmp_path / "run", count=60, generations=3)
    path = synthesize(asked, engine=Teacher().engine)
    drafts = {draft.key: draft for draft in rows(path, "drafts", Draft)}
    depth = Counter(key.count("/xwin-") for key in drafts)
    assert depth == {1: 20, 2: 20, 3: 20}
    assert all(draft.parents[0] in drafts for key, draft in drafts.items() if key.count("/xwin-") > 1)
    deep = next(key for key in drafts if key.count("/xwin-") == 3)
    found = list(ancestry(path, deep))
    assert [step.row["key"] for step in found if step.table == "problems"] == [deep.partition("/")[0]]
    assert {step.depth for step in found} >= {0, 1, 2, 3}
    replies = {step.row["key"] for step in found if step.table == "replies"}
    assert set(drafts[deep].replies) <= replies


def test_the_drafts_of_a_run_are_seeds_of_another(seed_file: str, tmp_path: Path) -> None:
    first = synthesize(settings(seed_file, tmp_path / "a", count=5), engine=Teacher(bad=0).engine)
    second = synthesize(
        settings(str(first), tmp_path / "b", count=5, method="rephrase"), engine=Teacher(bad=0).engine
    )
    keys = {draft.key for draft in rows(first, "drafts", Draft)}
    drafts = rows(second, "drafts", Draft)
    assert {draft.parents[0] for draft in drafts} <= keys
    steps = list(ancestry(second, drafts[0].key))
    assert any(step.run == first and step.table == "replies" for step in steps)
    assert any(step.table == "problems" and step.row["key"].startswith("s") for step in steps)


def test_drafts_of_a_program_have_exact_answers(tmp_path: Path) -> None:
    pytest.importorskip("reasoning_gym", exc_type=ImportError)
    asked = SynthesisSettings(
        seeds="procedural:chain_sum,procedural:products",
        method="procedural",
        count=60,
        out=str(tmp_path / "run"),
    )
    path = synthesize(asked)
    drafts = rows(path, "drafts", Draft)
    assert Counter(draft.source for draft in drafts) == {
        "procedural:chain_sum": 30,
        "procedural:products": 30,
    }
    assert all(draft.answer and not draft.solution for draft in drafts)
    synthesize(asked)
    assert len(rows(path, "drafts", Draft)) == 60


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"method": "xwim"}, "no method `xwim`"),
        ({"method": "xwin", "k_uniform": 3}, "--k-uniform does nothing"),
        ({"method": "rejection", "count": 3}, "--count does nothing"),
        ({"style": "dart"}, "--style does nothing"),
        ({"method": "procedural", "seeds": "procedural:chain_sum", "count": 3}, "--like does nothing"),
        ({"like": "gsm"}, "--like is `gsm`"),
        ({"count": 0}, "--count is 0"),
        ({"consensus": 0.7}, "--consensus does nothing without --keep consensus"),
        ({"method": "rephrase", "verification": False}, "--no-verification does nothing"),
        ({"seeds": "nowhere.jsonl"}, "nowhere"),
        ({"method": "procedural", "like": "auto", "max_tokens": 2048}, "makes questions by program"),
    ],
)
def test_wrong_settings_are_refused_by_name(
    seed_file: str, tmp_path: Path, other: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        synthesize(settings(**{"seeds": seed_file, "out": tmp_path / "run"} | other), engine=Teacher().engine)
    assert not (tmp_path / "run").exists()


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = str(Path(__file__).with_name("scripted_teacher.py"))
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)


def test_the_command_prints_the_yield_and_shows_a_row(seed_file: str, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    done = cli(
        "synthesize", "--seeds", seed_file, "--like", "gsm8k", "--count", "12", "--price", "1,2", "--out", out
    )
    assert done.returncode == 0, done.stderr
    assert "drafts accepted" in done.stdout and "a draft took" in done.stdout and "$" in done.stdout
    shown = cli("show", out)
    assert "drafts accepted" in shown.stdout and "replies" in shown.stdout
    key = rows(Path(out), "drafts", Draft)[0].key
    row = cli("show", out, "--row", key, "--json")
    steps = [json.loads(line) for line in row.stdout.splitlines()]
    assert steps[0]["row"]["key"] == key
    assert {step["table"] for step in steps} >= {"drafts", "replies", "problems"}
    assert "teacher: scripted-teacher" in cli("show", out, "--row", key).stdout
    missing = cli("show", out, "--row", "nobody")
    assert (
        missing.returncode == 2 and "no row `nobody`" in missing.stderr and "Traceback" not in missing.stderr
    )


def test_a_command_that_falls_short_of_its_count_ends_with_1_and_says_so(
    seed_file: str, tmp_path: Path
) -> None:
    asked = f"synthesize --seeds {seed_file} --like gsm8k --count 12 --out {tmp_path / 'run'}".split()
    short = [*asked, "--max-tries", "3"]
    for _ in range(2):  # the second time nothing is asked, and it is short still
        done = cli(*short)
        assert done.returncode == 1 and "of 12 drafts are missing" in done.stdout, done.stderr
    assert "of 12 drafts are missing" in cli("show", str(tmp_path / "run")).stdout
    more = cli(*asked)
    assert more.returncode == 0 and "are missing" not in more.stdout, more.stderr
