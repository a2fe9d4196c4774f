"""Evaluating: what a user relies on, with scripted models on small benchmarks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from benches import DART, WORD_PROBLEMS, XWIN, Model, guess, knows
from scripted_evaluate import settings as killed_settings

from upwell.engines.base import Reply, Request
from upwell.engines.scripted import ScriptedEngine
from upwell.errors import BudgetSpent, UsageError
from upwell.evaluation import EvaluateSettings, evaluate
from upwell.measurement.comparison import compare
from upwell.records import Response, Verdict
from upwell.runs import Run


def evaluated(models: dict[str, Model], out: Path, **changes: Any) -> dict[str, Any]:
    """The summary of an evaluation of scripted models."""
    given: dict[str, Any] = {"suite": "xwin", "out": str(out), "workers": 1, "cache": False}
    engines = {name.rpartition("=")[2]: model.engine for name, model in models.items()}
    run = Run.read(evaluate(list(models), EvaluateSettings(**given | changes), engines=engines))
    assert run.summary is not None
    return run.summary


def rows(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["set"]: row for row in summary["rows"]}


RIGHT = {"rolls": "24", "hens": "468", "pages": "100", "1+1": "2", "2^5": "32", "roots": "1, 2"}
"""Right on two word problems of four, and on all three of the competition."""


def test_a_suite_gives_one_table(bench: Path, tmp_path: Path) -> None:
    model = Model(knows(RIGHT))
    summary = evaluated({XWIN: model}, tmp_path / "run", samples=3)
    found = rows(summary)
    assert list(found) == ["gsm8k", "math"]
    assert found["gsm8k"]["greedy"]["value"] == 0.5 and found["math"]["greedy"]["value"] == 1.0
    assert found["gsm8k"]["greedy"]["low"] < 0.5 < found["gsm8k"]["greedy"]["high"]
    drawn = found["gsm8k"]["sampled"]
    assert (drawn["samples"], drawn["pass_ratio"]["value"], drawn["pass@k"]["value"]) == (3, 0.5, 0.5)
    by_slice = {part["slice"]: part["greedy"]["problems"] for part in found["math"]["slices"]}
    assert by_slice == {"level=1": 1, "level=2": 2, "subject=Algebra": 2, "subject=Prealgebra": 1}
    # The model's own prompt and stops, greedy first, then the samples.
    greedy, drawn = model.asked[0], model.asked[4]
    assert greedy.prompt.startswith("A chat between a curious user") and greedy.prompt.endswith("ASSISTANT: ")
    assert "</s>" in greedy.sampling.stop and "Question" not in greedy.sampling.stop
    assert greedy.sampling.temperature == 0 and greedy.sampling.max_tokens == 2048
    assert drawn.sampling.temperature == 0.7
    card = summary["models"][0]["card"]
    assert card["family"] == "Xwin-Math" and summary["models"][0]["prompt"] == "xwin-math"
    manifest = Run.read(tmp_path / "run").manifest
    assert manifest["models"][0]["card"] == card and manifest["verb"] == "evaluate"


def test_published_figures_stand_beside_in_their_own_grader(bench: Path, tmp_path: Path) -> None:
    summary = evaluated({XWIN: Model(knows(RIGHT))}, tmp_path / "run", sets=("gsm8k",))
    row = rows(summary)["gsm8k"]
    figures = {figure["percent"]: figure for figure in row["published"]}
    assert set(figures) == {84.4, 84.9}
    card, dart = figures[84.4], figures[84.9]
    assert card["ours_graded_as"] == "xwin-flex" and card["url"].endswith("Xwin-Math-7B-V1.1")
    assert dart["ours_graded_as"] is None and dart["style"] == "dart", "not graded in that style here"
    style = row["styles"][0]
    assert style["style"] == "xwin-flex" and card["ours"] == style["value"] == 0.5
    assert card["difference"] == pytest.approx(50 - 84.4)
    assert card["within"] == (style["low"] <= 0.844 <= style["high"]) is True, "four problems prove little"


def test_a_figure_outside_the_interval_is_told(bench: Path, tmp_path: Path) -> None:
    many = [{"question": f"What is {i} + {i}?", "answer": f"#### {2 * i}"} for i in range(40)]
    (bench / "gsm8k" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in many))
    summary = evaluated({XWIN: Model(knows({}))}, tmp_path / "run", sets=("gsm8k",))
    assert {figure["within"] for figure in rows(summary)["gsm8k"]["published"]} == {False}


def test_what_is_not_here_is_skipped_and_said(bench: Path, tmp_path: Path) -> None:
    summary = evaluated({XWIN: Model()}, tmp_path / "run")
    skipped = {skip["set"]: skip for skip in summary["skipped"]}
    assert set(skipped) == {"svamp", "asdiv", "numglue", "algebra", "mawps", "hungarian"}
    assert "not on this machine" in skipped["svamp"]["reason"] and "UPWELL_DATA" in skipped["svamp"]["hint"]
    assert skipped["hungarian"]["hint"] == "--judge MODEL"
    with pytest.raises(UsageError, match=r"no set of suite `xwin`.*svamp") as refusal:
        evaluated({XWIN: Model()}, tmp_path / "other", sets=("svamp",))
    assert refusal.value.hint and "UPWELL_DATA" in refusal.value.hint
    assert not (tmp_path / "other").exists()


def test_tolerances_are_those_of_the_rows(bench: Path, tmp_path: Path) -> None:
    answers = knows({"How long": "51.9", "Is it so": "True", "How far": "20.4"})
    summary = evaluated(
        {DART: Model(answers)}, tmp_path / "run", suite="dart", sets=("theoremqa", "olympiadbench")
    )
    assert {name: row["greedy"]["value"] for name, row in rows(summary).items()} == {
        "theoremqa": 1,
        "olympiadbench": 1,
    }
    beyond = knows({"How long": "52.1", "Is it so": "False", "How far": "20.6"})
    summary = evaluated(
        {DART: Model(beyond)}, tmp_path / "far", suite="dart", sets=("theoremqa", "olympiadbench")
    )
    assert {name: row["greedy"]["value"] for name, row in rows(summary).items()} == {
        "theoremqa": 0,
        "olympiadbench": 0,
    }


def test_dart_compares_sets_where_the_question_says_find_the(bench: Path, tmp_path: Path) -> None:
    """Its grader asks the question for that, so a run has to give it: `1, 2` and `2, 1` are then one answer."""
    model = Model(knows({"roots": "\\boxed{2, 1}"}))
    row = rows(evaluated({DART: model}, tmp_path / "run", suite="dart", sets=("math",)))["math"]
    assert row["styles"][0]["value"] == pytest.approx(1 / 3)
    assert "</s>" in model.asked[0].sampling.stop, (
        "its card's end of sequence, which the prompt template does not have"
    )


def test_models_are_compared_in_pairs(bench: Path, tmp_path: Path) -> None:
    models = {"first=a/one": Model(knows(RIGHT), "one"), "b/two": Model(knows({"hens": "468"}), "two")}
    summary = evaluated(models, tmp_path / "run", sets=("gsm8k",))
    assert [model["label"] for model in summary["models"]] == ["first", "two"]
    (line,) = [entry for entry in summary["comparisons"] if entry["name"] == "pass_ratio"]
    assert (line["first"], line["second"], line["set"], line["means"]) == (
        "first",
        "two",
        "gsm8k",
        [0.5, 0.25],
    )
    folders = [row["runs"]["greedy"] for row in summary["rows"]]
    other = compare(*(str(tmp_path / "run" / folder) for folder in folders))
    assert other.lines[0].difference.value == line["difference"]["value"] == -0.25


def test_changed_problems_are_paired_with_their_originals(bench: Path, tmp_path: Path) -> None:
    """A model that has learnt the answers by heart knows the originals alone."""
    by_heart = knows({q.split()[0] + " " + q.split()[1]: a.rpartition("#### ")[2] for q, a in WORD_PROBLEMS})
    both = ("gsm8k-originals", "gsm8k-perturbed")
    summary = evaluated({DART: Model(by_heart)}, tmp_path / "run", suite="robust", sets=both, seed=2)
    found = rows(summary)
    originals, changed = found["gsm8k-originals"], found["gsm8k-perturbed"]
    assert originals["problems"] == changed["problems"] >= 3
    assert (originals["greedy"]["value"], changed["greedy"]["value"]) == (1.0, 0.0)
    (drop,) = summary["robustness"]
    assert drop["difference"]["value"] == -1.0 and drop["problems"] == originals["problems"]
    assert not originals["published"], "a published figure is of the whole set"
    assert any("can be changed" in note for note in changed["notes"])


def test_a_set_that_proves_nothing_is_skipped(bench: Path, tmp_path: Path) -> None:
    summary = evaluated({DART: Model()}, tmp_path / "run", suite="dart", sets=("math",), perturb=("math",))
    assert [row["set"] for row in summary["rows"]] == ["math"]
    assert "no answer of `math` can be proven" in summary["skipped"][0]["reason"]


def test_prompt_and_stop_can_be_overridden(bench: Path, tmp_path: Path) -> None:
    model = Model()
    summary = evaluated({XWIN: model}, tmp_path / "run", sets=("gsm8k",), prompt="alpaca", stop=("END",))
    assert model.asked[0].prompt.startswith("Below is an instruction")
    assert model.asked[0].sampling.stop[-1] == "END" and "</s>" not in model.asked[0].sampling.stop
    assert summary["models"][0]["prompt"] == "alpaca"


class Listener:
    """A watch that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def begin(self, what: str, total: int, done: int = 0) -> None: ...

    def advance(self, rows: int = 1, *, tokens: int | None = 0, usd: float = 0.0) -> None: ...

    def end(self) -> None: ...


def test_how_a_model_is_asked_is_said(bench: Path, tmp_path: Path) -> None:
    listener = Listener()
    engines = {XWIN: Model().engine, "me/stranger": Model().engine}
    given = EvaluateSettings(suite="xwin", out=str(tmp_path / "run"), sets=("gsm8k",), workers=1, cache=False)
    evaluate(list(engines), given, engines=engines, watch=listener)
    told = "\n".join(listener.lines)
    assert "Xwin-Math-7B-V1.1: card `Xwin-Math`: prompt `xwin-math`, stop '</s>'" in told
    assert "stranger: no card knows this name" in told and "`plain`" in told


def test_an_exam_is_graded_by_a_judge(bench: Path, tmp_path: Path) -> None:
    path = bench / "hungarian"
    path.mkdir()
    for name in ("Baichuan2-13B-Chat", "ChatGLM3-6B", "DeepSeek-66B", "Qwen-14B-Chat", "Yi-34B-Chat"):
        text = 'prompt,answer,Points\n"Prove it.",so,3\n"Draw it.",so,0\n'
        (path / f"exam_{name}.csv").write_text(text)
    judge = ScriptedEngine(
        lambda request: f"Verdict: {'correct' if 'Prove' in request.prompt else 'incorrect'}"
    )
    given = EvaluateSettings(
        suite="xwin",
        out=str(tmp_path / "run"),
        sets=("hungarian",),
        judge="examiner/model",
        votes=1,
        workers=1,
        cache=False,
    )
    engines = {name: Model().engine for name in ("gpt-4", "deepseek-llm-67b-chat")}
    out = evaluate(list(engines), given, engines=engines, judge=judge)
    summary = Run.read(out).summary
    assert summary is not None
    row = summary["rows"][1]
    assert row["judged"] and row["greedy"]["value"] == 0.5 and set(row["runs"]) == {"greedy", "judged"}
    (figure,) = row["published"]
    assert (figure["percent"], figure["difference"], figure["within"]) == (58, None, None), (
        "points are not answers"
    )


def test_resumed_and_grown(bench: Path, tmp_path: Path) -> None:
    sets = ("gsm8k",)
    first = Model()
    evaluated({XWIN: first}, tmp_path / "run", sets=sets, samples=2)
    again = Model()
    evaluated({XWIN: again}, tmp_path / "run", sets=sets, samples=2)
    assert len(first.asked) == 12 and not again.asked, "nothing is asked twice"
    more = Model()
    summary = evaluated({XWIN: more, DART: Model()}, tmp_path / "run", sets=sets, samples=3)
    assert len(more.asked) == 4 and all(request.key.endswith("#2") for request in more.asked)
    assert len(summary["rows"]) == 2
    with pytest.raises(UsageError, match="cannot lower samples 3 -> 2"):
        evaluated({XWIN: Model()}, tmp_path / "run", sets=sets, samples=2)
    with pytest.raises(UsageError, match="suite xwin -> dart"):
        evaluated({XWIN: Model()}, tmp_path / "run", sets=sets, suite="dart", samples=3)
    with pytest.raises(UsageError, match=r"xwin-math@.*alpaca@"):
        evaluated({XWIN: Model()}, tmp_path / "run", sets=sets, samples=3, prompt="alpaca")


def test_failed_draws_are_owed(bench: Path, tmp_path: Path) -> None:
    def hangs_up(request: Request) -> str:
        raise ConnectionError("gone")

    summary = evaluated({XWIN: Model(hangs_up)}, tmp_path / "run", sets=("math",))
    assert summary["counts"]["failed"] == 3 and rows(summary)["math"]["greedy"]["value"] is None
    summary = evaluated({XWIN: Model()}, tmp_path / "run", sets=("math",))
    assert summary["counts"]["failed"] == 0


def test_a_cap_holds_for_the_whole_evaluation(bench: Path, tmp_path: Path) -> None:
    """A response takes 1,000 tokens: four of the first set and one of the second are let through, more may be too much.
    With a cap for each set, all three of the second would be."""

    def dear(request: Request) -> Reply:
        return Reply(key=request.key, text="The answer is: 1", tokens=1000)

    given: dict[str, Any] = {"suite": "xwin", "out": str(tmp_path / "run"), "workers": 1, "cache": False}
    given |= {"max_tokens": 1500, "sets": ("gsm8k", "math")}
    engines = {XWIN: ScriptedEngine(dear)}
    with pytest.raises(BudgetSpent):
        evaluate([XWIN], EvaluateSettings(**given, max_total_tokens=6200), engines=engines)
    tables = (tmp_path / "run").glob("models/*/*/*/responses.jsonl")
    assert sum(Run.read(path.parent).count("responses") for path in tables) == 5
    assert Run.read(tmp_path / "run").summary is None
    evaluate([XWIN], EvaluateSettings(**given, max_total_tokens=9000), engines=engines)
    assert Run.read(tmp_path / "run").summary is not None
    with pytest.raises(BudgetSpent):
        evaluate([XWIN], EvaluateSettings(**given, max_total_tokens=9000, samples=2), engines=engines)
    assert Run.read(tmp_path / "run").summary is None, "it would be of fewer samples than are wanted now"


@pytest.mark.parametrize(
    ("models", "changes", "message", "hint"),
    [
        ([], {}, "no model", "upwell evaluate"),
        ([""], {}, "empty", "upwell evaluate"),
        (["a/final", "b/final"], {}, "both be called `final`", "first=a/final second=b/final"),
        ([XWIN], {"suite": "xwinn"}, "no suite `xwinn`", "--suite xwin"),
        ([XWIN], {"sets": ("gms8k",)}, "has no set `gms8k`", "--sets gsm8k"),
        ([XWIN], {"prompt": "xwin"}, "no prompt `xwin`", "--prompt xwin-math"),
        ([XWIN], {"also": ("darts",)}, "no grading style `darts`", "dart"),
        ([XWIN], {"votes": 5}, "--votes does nothing without --judge", "leave --votes out"),
        ([XWIN], {"temperature": 0.9}, "--temperature does nothing without --samples", "--samples 16"),
        ([XWIN], {"key_env": "KEY"}, "--key-env does nothing", "leave --key-env out"),
        ([XWIN], {"limit": 0}, "--limit is 0", "--limit"),
        (["no/such/model"], {}, "no model `no/such/model`", "smollm2-135m-instruct"),
    ],
)
def test_wrong_use_is_refused_with_a_hint(
    bench: Path, tmp_path: Path, models: list[str], changes: dict[str, Any], message: str, hint: str
) -> None:
    given: dict[str, Any] = {"suite": "xwin", "out": str(tmp_path / "run")}
    with pytest.raises(UsageError) as refusal:
        evaluate(models, EvaluateSettings(**given | changes))
    assert message in refusal.value.message and hint in (refusal.value.hint or "")
    assert not (tmp_path / "run").exists()


def test_killed_at_any_moment_it_goes_on(bench: Path, tmp_path: Path) -> None:
    """kill -9 while rows are written, twice in a row; then the numbers of a run without kills."""
    out = tmp_path / "killed"
    script = str(Path(__file__).with_name("scripted_evaluate.py"))
    environment = os.environ | {"SCRIPT_PAUSE": "0.02", "PYTHONPATH": str(Path(__file__).parent)}

    def written() -> int:
        tables = [*out.glob("models/*/*/*/responses.jsonl"), *out.glob("models/*/*/*/verdicts.jsonl")]
        return sum(path.read_bytes().count(b"\n") for path in tables)

    for number, more in enumerate((2, 30)):  # in the first run, and in the middle of a later one
        before = written()
        child = subprocess.Popen([sys.executable, script, str(out)], env=environment, stderr=subprocess.PIPE)
        late = time.monotonic() + 60
        while written() < before + more:
            assert time.monotonic() < late and child.poll() is None, (number, child.communicate())
            time.sleep(0.01)
        child.kill()
        child.communicate()
        assert not (out / "summary.json").exists()
    summary = Run.read(
        evaluate([XWIN], killed_settings(str(out)), engines={XWIN: ScriptedEngine(guess)})
    ).summary
    plain = evaluate([XWIN], killed_settings(str(tmp_path / "plain")), engines={XWIN: ScriptedEngine(guess)})
    expected = Run.read(plain).summary
    assert summary is not None and expected is not None
    assert summary["rows"] == expected["rows"] and summary["robustness"] == expected["robustness"]
    for row in summary["rows"]:
        for path in row["runs"].values():
            run, other = Run.read(out / path), Run.read(plain / path)
            for table, kind in (("responses", Response), ("verdicts", Verdict)):
                assert run.count(table) == len(run.keys(table))
                assert {r.key: r for r in run.rows(table, kind)} == {
                    r.key: r for r in other.rows(table, kind)
                }
