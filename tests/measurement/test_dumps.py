"""Other programs' output files, graded in one command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from upwell.errors import UsageError
from upwell.measurement import GradeSettings, grade
from upwell.records import Problem, Response, Verdict
from upwell.runs import Run

Lines = list[dict[str, Any]]


def written(path: Path, lines: Lines) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def graded(path: Path, *field: str, **settings: Any) -> Run:
    out = settings.pop("out", str(path.with_suffix("")) + "-out")
    return Run.read(grade(str(path), GradeSettings(field=field, out=out, workers=1, **settings)))


def verdicts(run: Run, table: str = "verdicts") -> dict[str, bool | None]:
    return {row.key: row.correct for row in run.rows(table, Verdict)}


def metric(run: Run, name: str, k: int | None = None) -> dict[str, Any]:
    assert run.summary is not None
    return next(m for m in run.summary["metrics"] if (m["name"], m["k"], m["slice"]) == (name, k, None))


KNOWN: dict[str, tuple[Lines, dict[str, bool]]] = {
    "lm-evaluation-harness": (
        [
            {"doc_id": 0, "doc": {"question": "6 + 12?"}, "target": "6 + 12 = 18\n#### 18",
             "resps": [["The answer is 18.", "It is 17."]], "filtered_resps": ["18"], "exact_match": float("nan")},
            {"doc_id": 1, "doc": {"question": "4 + 4?"}, "target": "#### 8", "resps": [["8", "8"]]},
        ],
        {"0#0": True, "0#1": False, "1#0": True, "1#1": True},
    ),
    "NeMo-Skills": (
        [{"problem": "1 + 1?", "expected_answer": "2", "generation": r"so \boxed{2}", "predicted_answer": "2"},
         {"problem": "1 + 1?", "expected_answer": "2", "generation": r"so \boxed{3}", "predicted_answer": "3"}],
        {"0": True, "1": False},
    ),
    "DART-Math": (
        [{"dataset": "math", "query": "q", "ref_ans": r"\frac{1}{2}", "resp": "#### 0.5", "correct": True},
         {"dataset": "math", "query": "q", "ref_ans": r"\frac{1}{2}", "resp": "#### 2", "correct": False}],
        {"0": True, "1": False},
    ),
    "Qwen2.5-Math": (
        [{"idx": 7, "question": "q", "gt_cot": "", "gt": "18", "code": [r"\boxed{18}", r"\boxed{1}"], "pred": ["8"],
          "report": [None, None], "score": [True, False]}],
        {"0#0": True, "0#1": False},
    ),
    "inspect": (
        [{"id": 1, "epoch": 1, "input": "q", "target": "18", "output": {"choices": [
            {"message": {"role": "assistant", "content": "ANSWER: 18"}, "stop_reason": "stop"}]}},
         {"id": 1, "epoch": 2, "input": "q", "target": "18", "output": {"choices": [
             {"message": {"role": "assistant", "content": [{"type": "text", "text": "ANSWER: 19"}]},
              "stop_reason": "max_tokens"}]}}],
        {"0#0": True, "1#0": False},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_known_layouts_need_no_field(name: str, tmp_path: Path) -> None:
    lines, expected = KNOWN[name]
    run = graded(written(tmp_path / "dump.jsonl", lines))
    assert verdicts(run) == expected
    assert list(verdicts(run)) == list(expected), "in the order of the file"
    samples = len(expected) // len({row.problem for row in run.rows("responses", Response)})
    assert metric(run, "pass@k", samples)["value"] is not None, "samples of one problem are grouped"


def test_an_inspect_log_is_one_json_document(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(
        json.dumps({"version": 2, "eval": {}, "samples": KNOWN["inspect"][0], "reductions": []}, indent=1)
    )
    assert verdicts(graded(path)) == KNOWN["inspect"][1]


def test_a_batch_output_takes_its_golds_from_a_problem_set(tmp_path: Path) -> None:
    golds = written(tmp_path / "golds.jsonl", [{"id": "a", "question": "6 + 12?", "answer": "18"}])
    body = {
        "choices": [{"message": {"role": "assistant", "content": "It is 18."}, "finish_reason": "length"}]
    }
    lines: Lines = [
        {"id": "batch_1", "custom_id": "a#1", "response": {"status_code": 200, "body": body}, "error": None},
        {"id": "batch_2", "custom_id": "a#0", "response": {"status_code": 500, "body": {"choices": []}}},
        {
            "id": "batch_3",
            "custom_id": "a#2",
            "response": {"status_code": 500, "body": None},
            "error": {"code": "x"},
        },
    ]
    run = graded(written(tmp_path / "out.jsonl", lines), problems=str(golds))
    assert verdicts(run) == {"batch_1#0": True, "batch_3": False}
    assert [row.problem for row in run.rows("responses", Response)] == ["a", "a"]
    assert [row.index for row in run.rows("responses", Response)] == [0, 1]
    assert run.summary is not None
    notes = " ".join(run.summary["notes"])
    assert "1 responses are missing" in notes and "1 lines hold an empty list" in notes


def test_the_same_samples_under_another_filter_count_once(tmp_path: Path) -> None:
    line = KNOWN["lm-evaluation-harness"][0][0]
    lines = [line | {"filter": "strict-match"}, line | {"filter": "flexible-extract"}]
    run = graded(written(tmp_path / "samples.jsonl", lines))
    assert verdicts(run) == {"0#0": True, "0#1": False}
    assert run.summary is not None and any("another `filter`" in note for note in run.summary["notes"])


def test_fields_reach_into_objects_and_lists(tmp_path: Path) -> None:
    lines: Lines = [
        {"ref": {"values": ["7", "x"]}, "outs": [{"text": "7"}, {"text": None}, {"text": 8}], "n": "p"}
    ]
    run = graded(
        written(tmp_path / "a.jsonl", lines), "gold=ref.values.0", "prediction=outs.text", "problem=n"
    )
    assert verdicts(run) == {"0#0": True, "0#1": False, "0#2": False}
    assert [row.key for row in run.rows("problems", Problem)] == ["p"]


def test_a_line_is_named_by_its_id_or_else_its_number(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\ufeff{"id": "x", "g": 1, "r": "1"}\n\n{"g": 2, "r": "the answer is 2"}\n')
    assert verdicts(graded(path, "gold=g", "response=r")) == {"x": True, "2": True}


def test_responses_and_bare_answers_in_one_file(tmp_path: Path) -> None:
    lines: Lines = [
        {"gold": "x+1", "response": "so the answer is 1 + x", "prediction": None},
        {"gold": "12", "prediction": "12 or 13"},
        {"gold": "12", "prediction": None},
    ]
    run = graded(
        written(tmp_path / "a.jsonl", lines), "gold=gold", "response=response", "prediction=prediction"
    )
    assert verdicts(run) == {"0": True, "1": False, "2": False}, "a bare answer is not searched for a number"


def test_rewards_choose(tmp_path: Path) -> None:
    lines: Lines = [{"q": i, "gold": "1", "outs": ["1", "2"], "rm": [0.9 - i, 0.5]} for i in range(2)]
    run = graded(
        written(tmp_path / "a.jsonl", lines), "gold=gold", "prediction=outs", "problem=q", "reward=rm"
    )
    assert metric(run, "best_of@k", 2)["value"] == 0.5
    assert metric(run, "pass@k", 2)["value"] == 1.0
    assert metric(run, "weighted_maj@k", 2)["value"] == 0.5


def test_what_a_file_does_not_say_is_not_reported(tmp_path: Path) -> None:
    run = graded(
        written(tmp_path / "a.jsonl", [{"gold": "1", "response": "1"}]), "gold=gold", "response=response"
    )
    assert run.summary is not None
    assert not {"truncated", "mean_tokens"} & {m["name"] for m in run.summary["metrics"]}
    assert run.summary["counts"]["tokens"] is None


def test_every_style_beside_the_first_with_the_files_own_flags(tmp_path: Path) -> None:
    lines: Lines = [
        {"gold": "8", "response": "The answer is: 8. (In an old script #### 9)", "ok": 1},
        {"gold": "8", "response": "#### 8", "ok": True},
        {"gold": "8", "response": "no idea", "ok": "false"},
    ]
    run = graded(
        written(tmp_path / "a.jsonl", lines),
        "gold=gold",
        "response=response",
        "correct=ok",
        also=("xwin-flex,auto", "minerva"),
    )
    assert run.summary is not None
    table = run.summary["agreement"]
    assert [entry["style"] for entry in table["styles"]] == ["auto", "xwin-flex", "minerva", "file"]
    assert [entry["right"] for entry in table["styles"]] == [2, 1, 0, 2]
    against = {entry["style"]: entry for entry in table["against"]}
    assert (against["xwin-flex"]["only_first"], against["xwin-flex"]["only_other"]) == (1, 0)
    assert against["xwin-flex"]["examples_only_first"][0]["key"] == "0"
    assert (against["file"]["only_first"], against["file"]["only_other"]) == (0, 0)
    assert verdicts(run, "verdicts-minerva") == {"0": False, "1": False, "2": False}


def test_going_on_after_a_kill_loses_and_repeats_nothing(tmp_path: Path) -> None:
    lines: Lines = [{"q": i // 4, "gold": str(i // 4), "out": str(i % 5)} for i in range(1200)]
    path = written(tmp_path / "a.jsonl", lines)
    fields = ("gold=gold", "prediction=out", "problem=q")
    whole = graded(path, *fields, out=str(tmp_path / "whole"))
    broken = graded(path, *fields, out=str(tmp_path / "broken"))
    for table, keep in (("responses", 0.7), ("problems", 0.9), ("verdicts", 0.4)):
        file = broken.path / f"{table}.jsonl"
        data = file.read_bytes()
        file.write_bytes(data[: int(len(data) * keep)])  # in the middle of a row
    (broken.path / "summary.json").unlink()
    again = graded(path, *fields, out=str(tmp_path / "broken"))
    for table, kind in (("responses", Response), ("problems", Problem), ("verdicts", Verdict)):
        assert list(again.rows(table, kind)) == list(whole.rows(table, kind))
    assert again.summary is not None and whole.summary is not None
    assert again.summary["metrics"] == whole.summary["metrics"]


def test_a_last_line_cut_off_is_a_reject(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"gold": "1", "response": "1"}\n{"gold": "2", "respon')
    run = graded(path, "gold=gold", "response=response")
    assert verdicts(run) == {"0": True}
    assert run.summary is not None and any("line (2) is cut off" in note for note in run.summary["notes"])
    assert run.count("rejects") == 1


@pytest.mark.parametrize(
    ("content", "field", "message", "hint"),
    [
        ("", (), "holds no samples", "written whole"),
        ('{"a": 1}\n', (), "which field is the response", "--field response="),
        ('{"a": 1, "answr": 2}\n', ("response=a", "gold=answer"), "no field `answer`", "--field gold=answr"),
        ('{"a": 1, "g": 2}\n', ("response=a", "gold=g", "reward=score"), "no field `score`", "--field reward="),
        ('{"a": 1, "g": 2}\n', ("respons=a", "gold=g"), "no such field", "did you mean `response`"),
        ('{"a": 1, "g": 2}\nnot json\n{"a": 1}\n', ("response=a", "gold=g"), "a.jsonl:2: not a JSON object",
         "sed -n 2p"),
        ('{"a": 1, "g": 2}\n{"a": 1}\n', ("response=a", "gold=g"), "a.jsonl:2: no gold answer", "--problems"),
        ('{"a": {"b": 1}, "g": {"c": 1}}\n', ("response=a.b", "gold=g"), "holds a dict", "--field gold=g.KEY"),
        ('{"a": 1, "g": 1, "id": 1}\n{"a": 1, "g": 1, "id": 1}\n', ("response=a", "gold=g"), "was there before",
         "--field problem=id"),
        ('{"a": 1, "g": 1, "p": 1}\n{"a": 1, "g": 2, "p": 1}\n', ("response=a", "gold=g", "problem=p"),
         "gold `2` here and `1` before", "leave --field problem"),
        ('{"a": ["1", "2"], "g": 1, "s": [1]}\n', ("response=a", "gold=g", "reward=s"), "2 samples, but 1 values",
         "one reward per sample"),
        ('{"a": 1, "g": 1, "s": "high"}\n', ("response=a", "gold=g", "reward=s"), "which is no reward",
         "--field reward="),
    ],
)  # fmt: skip
def test_a_wrong_file_is_named_with_the_way_out(
    content: str, field: tuple[str, ...], message: str, hint: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(UsageError) as error:
        graded(path, *field)
    assert message in error.value.message and hint in (error.value.hint or "")


def test_a_very_deep_line_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"gold": "1", "response": "1"}\n' + "[" * 200_000 + "\n")
    with pytest.raises(UsageError, match=r"a\.jsonl:2"):
        graded(path, "gold=gold", "response=response")


def test_scores_of_a_run_come_from_a_file(tmp_path: Path) -> None:
    lines: Lines = [{"q": 0, "gold": "1", "outs": ["1", "2"]}]
    run = graded(written(tmp_path / "a.jsonl", lines), "gold=gold", "prediction=outs", "problem=q")
    scores = tmp_path / "scores.jsonl"
    scores.write_bytes(
        msgspec.json.Encoder().encode_lines([{"key": "0#0", "score": 0.2}, {"key": "0#1", "score": 0.8}])
    )
    chosen = Run.read(
        grade(str(run.path), GradeSettings(score=str(scores), out=str(tmp_path / "scored"), workers=1))
    )
    assert metric(chosen, "best_of@k", 2)["value"] == 0.0
    scores.write_text('{"key": "0#0", "score": 0.2}\n')
    with pytest.raises(UsageError, match="none for `0#1`"):
        grade(str(run.path), GradeSettings(score=str(scores), out=str(tmp_path / "other"), workers=1))
