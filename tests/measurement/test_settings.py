"""Every setting changes something or is refused: one entry per field, and no field without an entry."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from arithmetic import LIMIT, PROBLEMS, Pupil, write_problems

import upwell.engines.embedded.engine as embedded
from upwell.engines.settings import EngineSettings
from upwell.errors import UsageError
from upwell.measurement import GradeSettings, MeasureSettings, SampleSettings, grade, measure
from upwell.measurement import grading as grading_stage
from upwell.measurement.plan import planned
from upwell.measurement.settings import JudgeSettings
from upwell.records import Problem
from upwell.runs import Run


@dataclasses.dataclass
class Trace:
    """All that a measurement leaves behind, as far as a setting can show in it."""

    out: Path
    asked: list[Any]
    engine: dict[str, Any]
    grader: dict[str, Any]
    said: list[str]

    @property
    def problems(self) -> list[Problem]:
        return list(Run.read(self.out).rows("problems", Problem))

    @property
    def manifest(self) -> dict[str, Any]:
        return Run.read(self.out).manifest

    def sampling(self, name: str) -> Any:
        return {getattr(request.sampling, name) for request in self.asked}


Measured = Callable[..., Trace]


@pytest.fixture
def measured(
    tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, without_metrics: None
) -> Iterator[Measured]:
    """Measures with changed settings; the embedded engine and the grader are stood in for and looked at."""
    write_problems(tmp_path / "sums.jsonl")
    trace = Trace(tmp_path, [], {}, {}, [])

    class Engine:
        def __init__(self, checkpoint: Any, **given: Any) -> None:
            trace.engine.update(given, checkpoint=checkpoint)
            self.pupil = Pupil()
            self.identity = "stand-in"

        def generate(self, requests: Any) -> Any:
            for reply in self.pupil.engine.generate(requests):
                trace.asked.append(self.pupil.asked[-1])
                yield reply

        def close(self) -> None: ...

    real = grading_stage.RuleGrader

    def grader(style: str, **given: Any) -> Any:
        trace.grader.update(given, style=style)
        return real(style, **given)

    monkeypatch.setattr(embedded, "EmbeddedEngine", Engine)
    monkeypatch.setattr(grading_stage, "RuleGrader", grader)

    def measured(**changes: Any) -> Trace:
        asked: dict[str, Any] = dict(
            problems=str(tmp_path / "sums.jsonl"), model=str(tiny_llama), out=str(tmp_path / "run"),
            samples=2, max_tokens=LIMIT, device="cpu", dtype="float32",
        )  # fmt: skip
        trace.out = measure(MeasureSettings(**asked | changes))
        return trace

    yield measured


def test_problems(measured: Measured, tmp_path: Path) -> None:
    other = write_problems(tmp_path / "other.jsonl", PROBLEMS[:1])
    assert [p.key for p in measured(problems=str(other)).problems] == ["a"]


def test_split(measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--split train does nothing"):
        measured(split="train")
    monkeypatch.delenv("UPWELL_DATA", raising=False)
    with pytest.raises(UsageError, match="has no split `nonsense`"):
        measured(problems="gsm8k", split="nonsense")


def test_limit(measured: Measured) -> None:
    trace = measured(limit=3)
    assert len(trace.problems) == 3
    assert any("limit: 3 of 4 problems" in note for note in (Run.read(trace.out).summary or {})["notes"])


def test_field(measured: Measured, tmp_path: Path) -> None:
    renamed = [{"id": r["id"], "q": r["question"], "gold": r["answer"]} for r in PROBLEMS]
    write_problems(tmp_path / "other.jsonl", renamed)
    trace = measured(problems=str(tmp_path / "other.jsonl"), field=("question=q", "answer=gold"))
    assert [p.answer for p in trace.problems] == ["4", "6", "10", "7"]
    for bad, said in (
        ("nonsense", "FIELD=COLUMN"),
        ("question=", "FIELD=COLUMN"),
        ("colour=q", "no such field"),
    ):
        with pytest.raises(UsageError, match=said):
            measured(field=(bad,))
    with pytest.raises(UsageError, match="twice"):
        measured(field=("question=q", "question=gold"))


def test_out(measured: Measured, tmp_path: Path) -> None:
    assert measured(out=str(tmp_path / "new" / "deep")).out == tmp_path / "new" / "deep"
    assert (tmp_path / "new" / "deep" / "summary.json").exists()


def test_model(measured: Measured, tiny_llama: Path) -> None:
    trace = measured()
    assert trace.engine["checkpoint"].folder == tiny_llama
    assert trace.manifest["model"]["name"] == tiny_llama.name and trace.manifest["model"]["digest"]
    assert trace.manifest["prompt"]["name"] == "chat", "this model has a chat template"
    assert str(tiny_llama.parent) not in trace.manifest["engine"]


def test_prompt(measured: Measured) -> None:
    trace = measured(prompt="alpaca")
    assert all("### Instruction:" in r.prompt and r.add_special_tokens for r in trace.asked)


def test_samples(measured: Measured) -> None:
    assert len(measured(samples=3).asked) == 12


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", 1.5), ("top_p", 0.5), ("top_k", 7), ("min_p", 0.25), ("max_tokens", 9)],
)
def test_sampling(measured: Measured, name: str, value: float) -> None:
    trace = measured(**{name: value})
    assert trace.sampling(name) == {value}
    assert trace.manifest["fingerprint"][name] == value


def test_stop(measured: Measured) -> None:
    assert measured(prompt="plain", stop=("END", "END", "x")).sampling("stop") == {
        ("\nQuestion:", "END", "x")
    }
    with pytest.raises(UsageError, match="--stop is empty"):
        measured(stop=("",))


def test_seed(measured: Measured, tmp_path: Path) -> None:
    first = {r.key: r.seed for r in measured().asked}
    trace = measured(seed=1, out=str(tmp_path / "other"))
    second = {r.key: r.seed for r in trace.asked[len(first) :]}
    assert first.keys() == second.keys() and not set(first.values()) & set(second.values())


@pytest.mark.parametrize(
    ("name", "value"),
    [("slots", 3), ("memory_gb", 0.5), ("threads", 1), ("logprobs", True), ("dtype", "bfloat16")],
)
def test_what_the_engine_is_told(measured: Measured, name: str, value: Any) -> None:
    assert measured(**{name: value}).engine[name] == value


def test_dtype(measured: Measured) -> None:
    assert measured(dtype="bfloat16").manifest["engine"].endswith("/bfloat16")
    with pytest.raises(UsageError, match="no dtype `float8`"):
        measured(dtype="float8")


def test_device(measured: Measured) -> None:
    assert measured().engine["device"] == "cpu"
    with pytest.raises(UsageError, match="no device `gpu`"):
        measured(device="gpu")


def test_style(measured: Measured) -> None:
    trace = measured(style="boxed")
    assert trace.manifest["grader"].endswith("/boxed")
    assert (Run.read(trace.out).summary or {})["counts"]["by_tier"] == {"none": 8}
    with pytest.raises(UsageError, match="no grading style `nonsense`"):
        measured(style="nonsense")


def test_also(tmp_path: Path) -> None:
    settings = MeasureSettings(
        problems=str(write_problems(tmp_path / "sums.jsonl")), out=str(tmp_path / "run"), samples=4,
        prompt="plain", max_tokens=LIMIT, also=("boxed,auto",),
    )  # fmt: skip
    run = Run.read(measure(settings, engine=Pupil().engine))
    assert run.count("verdicts-boxed") == run.count("verdicts") == 16
    styles = {entry["style"]: entry["right"] for entry in (run.summary or {})["agreement"]["styles"]}
    assert styles == {"auto": 8, "boxed": 0}
    with pytest.raises(UsageError, match="no grading style `nonsense`"):
        measure(dataclasses.replace(settings, also=("nonsense",), out=str(tmp_path / "other")))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("name", "value"), [("workers", 3), ("timeout", 0.5)])
def test_what_the_grader_is_told(measured: Measured, name: str, value: float) -> None:
    assert measured(**{name: value}).grader[name] == value


def test_cache(measured: Measured) -> None:
    assert measured().grader["cache"] is not None
    assert measured(cache=False).grader["cache"] is None


def test_extrapolate(measured: Measured) -> None:
    found = [
        m
        for m in (Run.read(measured(extrapolate=(64, 2)).out).summary or {})["metrics"]
        if "extrap" in m["name"]
    ]
    assert [(m["k"], m["value"]) for m in found] == [(64, None), (2, None)], "four problems are too few"
    assert "problems" in found[0]["note"] and "needs no extrapolation" in found[1]["note"]


def test_plan(measured: Measured, tmp_path: Path) -> None:
    settings = MeasureSettings(
        problems=str(tmp_path / "sums.jsonl"), out=str(tmp_path / "none"), samples=4, plan=0.2
    )
    blind = planned(settings, 0.2)
    assert [one.k for one in blind] == [1, 4] and not (tmp_path / "none").exists()
    pilot = measured().out
    known = planned(dataclasses.replace(settings, out=str(pilot)), 0.2)
    assert known[0].basis != blind[0].basis


def test_dry_run(tmp_path: Path) -> None:
    from upwell.measurement.stages import dry_run

    pupil = Pupil()
    settings = MeasureSettings(
        problems=str(write_problems(tmp_path / "sums.jsonl")), out=str(tmp_path / "run"), samples=4,
        prompt="plain", max_tokens=LIMIT, dry_run=True,
    )  # fmt: skip
    assert dry_run(settings, engine=pupil.engine).responses == 16
    assert len(pupil.asked) == 4 and Run.read(tmp_path / "run").summary is None


ELSEWHERE = {
    "top_p": "sampling", "top_k": "sampling", "min_p": "sampling", "temperature": "sampling", "max_tokens": "sampling",
    "slots": "what_the_engine_is_told", "memory_gb": "what_the_engine_is_told", "threads": "what_the_engine_is_told",
    "logprobs": "what_the_engine_is_told", "workers": "what_the_grader_is_told", "timeout": "what_the_grader_is_told",
}  # fmt: skip
"""Fields whose test is not named after them alone."""


REMOTE = {field.name for field in dataclasses.fields(EngineSettings)} - {
    "dtype", "device", "slots", "memory_gb", "threads", "logprobs",
}  # fmt: skip
"""Settings of servers, batches, clusters and spending are tested in tests/engines; tests/engines/test_opening.py holds
the list of them all, and that each is refused where it does nothing."""


@pytest.mark.parametrize(
    "field", [field.name for field in dataclasses.fields(MeasureSettings) if field.name not in REMOTE]
)
def test_every_setting_has_a_test_here(field: str) -> None:
    test = globals().get(f"test_{ELSEWHERE.get(field, field)}")
    assert test is not None, f"`{field}` may do nothing at all: write the test that shows what it changes"
    if field in ELSEWHERE:
        (mark,) = test.pytestmark
        assert field in [case[0] for case in mark.args[1]]


def test_a_setting_changes_speed_or_the_meaning_of_rows_never_both(
    measured: Measured, tiny_llama: Path
) -> None:
    """What the fingerprint leaves out may differ from session to session."""
    measured()
    trace = measured(samples=3, slots=5, memory_gb=1.0, threads=1, workers=1, timeout=9.0)
    assert len(trace.asked) == 12 and Run.read(trace.out).summary is not None


@pytest.mark.parametrize(
    "bad",
    [
        {"samples": 0}, {"max_tokens": 0}, {"temperature": -1.0}, {"temperature": float("nan")},
        {"temperature": float("inf")}, {"temperature": 1e-9},
        {"top_p": 0.0}, {"top_p": 1.5}, {"min_p": 1.0}, {"top_k": -1}, {"limit": 0},
        {"slots": 0}, {"memory_gb": 0.0}, {"memory_gb": float("nan")}, {"threads": 0}, {"workers": 0},
        {"timeout": 0.0}, {"timeout": float("nan")}, {"timeout": float("inf")},
    ],
    ids=lambda bad: "-".join(f"{name}={value}" for name, value in bad.items()),
)  # fmt: skip
def test_values_out_of_range_are_refused_with_the_flag_and_an_example(bad: dict[str, Any]) -> None:
    (name,) = bad
    flag = "--" + name.replace("_", "-")
    with pytest.raises(UsageError) as refusal:
        MeasureSettings(problems="x", out="y", **bad)
    assert refusal.value.message.startswith(f"{flag} is {bad[name]}")
    assert (refusal.value.hint or "").startswith(flag + " ")


@pytest.mark.parametrize(
    "useless",
    [{"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1}, {"samples": 2}],
    ids=str,
)
def test_what_would_do_nothing_at_temperature_zero_is_refused(useless: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"temperature 0"):
        SampleSettings(problems="x", out="y", temperature=0, **{"samples": 1} | useless)


def test_grading_settings(measured: Measured, tmp_path: Path) -> None:
    source = measured().out
    own = {field.name for field in dataclasses.fields(GradeSettings)}
    assert own - {field.name for field in dataclasses.fields(JudgeSettings)} == {
        "out",
        "style",
        "workers",
        "timeout",
        "cache",
        "extrapolate",
        "field",
        "problems",
        "split",
        "also",
        "score",
    }
    made = grade(f"{source}/", GradeSettings(style="last-number"))
    assert made == Path(f"{source}-last-number")
    assert grade(str(source), GradeSettings(out=str(tmp_path / "named"))) == tmp_path / "named"
    with pytest.raises(UsageError, match="--workers is 0"):
        GradeSettings(workers=0)
    settings = json.loads((made / "manifest.json").read_text())["settings"]
    assert settings["style"] == "last-number"


JUDGING: dict[str, Any] = {
    "judge": None, "votes": 5, "judge_temperature": 1.5, "judge_tokens": 9, "judge_seed": 1, "judge_audit": 2,
}  # fmt: skip
"""The settings of a judge's own; those of engines are tested with the engines."""


@pytest.mark.parametrize("name", JUDGING)
def test_judge_settings(name: str, measured: Measured, tmp_path: Path) -> None:
    engines = {field.name for field in dataclasses.fields(EngineSettings)}
    assert JUDGING.keys() == {field.name for field in dataclasses.fields(JudgeSettings)} - engines
    source = str(measured().out)

    def asked(out: str, **changes: Any) -> list[Any]:
        pupil = Pupil(lambda _: "Verdict: correct")
        settings = GradeSettings(**{"judge": "pupil", "out": str(tmp_path / out)} | changes)
        grade(source, settings, judge=pupil.engine)
        return pupil.asked

    usual, changed = asked("usual"), asked("changed", **{name: JUDGING[name]})
    if name == "judge":
        assert usual and not changed
    elif name == "votes":
        assert (len(usual), len(changed)) == (8 * 3, 8 * 5)
    elif name == "judge_temperature":
        assert [{r.sampling.temperature for r in some} for some in (usual, changed)] == [{0.7}, {1.5}]
    elif name == "judge_tokens":
        assert {r.sampling.max_tokens for r in changed} == {9}
    elif name == "judge_seed":
        assert not {r.seed for r in usual} & {r.seed for r in changed}
        assert not {r.prompt for r in usual} & {r.prompt for r in changed}, "the fence differs"
    else:
        assert len(changed) == 2 * 3


_OTHER: dict[str, Any] = {
    "dtype": "float32", "device": "cpu", "logprobs": True, "key_env": "HOME", "chat_template": "x", "dialect": "vllm",
    "choices_per_call": 2, "vllm_python": "p", "vllm_arg": ("--x",), "batch_rows": 5, "ray": "local", "price": "1,1",
    "prices": "x", "replicas": 2, "gpus_per_replica": 1.0, "cpus_per_replica": 1.0, "slots": 2, "threads": 2,
    "max_concurrency": 2, "max_total_tokens": 5,
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [field.name for field in dataclasses.fields(JudgeSettings) if field.name != "judge"]
)
def test_what_is_for_a_model_is_refused_where_none_is_asked(name: str, measured: Measured) -> None:
    value = JUDGING.get(name) or _OTHER.get(name, 7.5)
    flag = "--" + name.replace("_", "-")
    source = str(measured().out)
    with pytest.raises(
        UsageError, match=f"{flag} does nothing without --judge or a model for --score"
    ) as refusal:
        grade(source, GradeSettings(**{name: value}))
    assert refusal.value.hint == f"leave {flag} out"
    if name == "judge_audit":
        with pytest.raises(UsageError, match="--judge-audit does nothing without --judge"):
            grade(source, GradeSettings(judge_audit=5, score="a-model"))
    if name == "logprobs":
        with pytest.raises(UsageError, match="--logprobs does nothing: of a judge"):
            grade(source, GradeSettings(logprobs=True, judge="a-model"))
    if name == "slots":
        with pytest.raises(UsageError, match="--slots does nothing for `server:m`"):
            grade(source, GradeSettings(slots=2, judge="server:http://127.0.0.1:9/v1#m"))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"votes": 0}, "--votes is 0"),
        ({"judge_tokens": 0}, "--judge-tokens is 0"),
        ({"judge_audit": -1}, "--judge-audit is -1"),
        ({"judge_temperature": -1.0}, "--judge-temperature is -1"),
        ({"judge_temperature": float("nan")}, "--judge-temperature is nan"),
        ({"judge_temperature": 0.0}, "at --judge-temperature 0 all 3 votes"),
        ({"slots": 0}, "--slots is 0"),
        ({"workers": 0}, "--workers is 0"),
    ],
)
def test_settings_of_a_judge_out_of_range(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refusal:
        GradeSettings(judge="m", **bad)
    assert refusal.value.message.startswith(said) and (refusal.value.hint or "").startswith("--")
