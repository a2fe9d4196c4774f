"""Known sets: the real files where `$UPWELL_DATA` has them, and made-up rows in their formats."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from upwell import problems
from upwell.errors import UsageError
from upwell.problems import files
from upwell.problems.cards import CARDS

DATA = os.environ.get("UPWELL_DATA")
real = pytest.mark.skipif(not DATA, reason="UPWELL_DATA is not set: the benchmark files are not here")

# Usable problems: the rows of the file less repeated questions.
COUNTS = {
    ("gsm8k", "test"): 1319,
    ("gsm8k", "train"): 7473,
    ("math", "test"): 5000,
    ("svamp", "test"): 1000,
    ("asdiv", "test"): 2214,
    ("mawps", "test"): 1978,
    ("mawps-addsub", "test"): 395,
    ("mawps-multiarith", "test"): 580,
    ("mawps-singleeq", "test"): 508,
    ("mawps-singleop", "test"): 531,
    ("gsm-hard", "test"): 1319,
    ("college-math", "test"): 2781,
    ("deepmind-mathematics", "test"): 1000,
    ("olympiadbench", "test"): 675,
    ("theoremqa", "test"): 799,
    ("aime24", "test"): 30,
    ("amc23", "test"): 40,
}


def here(name: str, split: str = "test") -> problems.ProblemSet:
    card = CARDS[name]
    if not all((Path(DATA or "") / file.path).is_file() for file in card.files_of(split)):
        pytest.skip(f"{name}, split {split}, is not in UPWELL_DATA")
    return problems.load(name, split=split, data_dir=Path(DATA or ""))


@real
@pytest.mark.parametrize(("name", "split"), COUNTS)
def test_real_set_is_read_whole(name: str, split: str) -> None:
    found = here(name, split)
    assert len(found) == found.total == COUNTS[name, split]
    assert all(problem.question and problem.answer.strip() for problem in found)
    assert len({problem.key for problem in found}) == len(found)
    assert {(problem.source, problem.split) for problem in found} == {(name, split)}
    lost = [fault for fault in problems.validate(found) if fault.row]
    assert {fault.kind for fault in lost} <= {"duplicate question"}
    rows = sum(file.rows or 0 for file in CARDS[name].files_of(split))
    assert len(found) + len(lost) == rows


@real
@pytest.mark.parametrize("name", CARDS)
def test_checksums_and_rows_of_the_known_files(name: str) -> None:
    for file in CARDS[name].files:
        path = Path(DATA or "") / file.path
        if file.sha256 is None or not path.is_file():
            continue
        assert files.digest(path) == file.sha256
        assert len(files.read(path, file.path)) == file.rows


@real
def test_every_gsm8k_gold_is_a_whole_number() -> None:
    for split in ("test", "train"):
        found = here("gsm8k", split)
        assert all(re.fullmatch(r"-?\d+", problem.answer) for problem in found)
        assert all(problem.solution and "####" in problem.solution for problem in found)


@real
def test_math_golds_are_the_content_of_a_box() -> None:
    found = here("math")
    assert {problem.level for problem in found} == set("12345")
    assert len({problem.subject for problem in found}) == 7
    for problem in found:
        assert "boxed" not in problem.answer
        bare = problem.answer.replace("\\{", "").replace("\\}", "")
        assert bare.count("{") == bare.count("}")
        assert problem.answer in (problem.solution or "")


@real
@pytest.mark.parametrize("name", ["svamp", "amc23", "aime24", "mawps-multiarith"])
def test_whole_golds_lose_their_point(name: str) -> None:
    assert all(re.fullmatch(r"-?(0|[1-9]\d*)", problem.answer) for problem in here(name))


@real
def test_golds_of_the_odd_formats() -> None:
    assert sum("(" in problem.answer for problem in here("asdiv")) == 1  # -(1/3)
    hard = here("gsm-hard")
    assert not any("e" in problem.answer for problem in hard)
    assert all((problem.tolerance == 1e-3) == ("." in problem.answer) for problem in hard)
    olympiad = here("olympiadbench")
    assert [problem.answer for problem in olympiad if problem.tolerance] == ["4.2"]
    assert sum("$" in problem.answer for problem in olympiad) == 1  # formulas within a sentence
    theorems = here("theoremqa")
    kinds = [
        sum(problem.answer in ("True", "False") for problem in theorems),
        sum(bool(re.fullmatch(r"\([a-d]\)", problem.answer)) for problem in theorems),
        sum(problem.answer.startswith("[") for problem in theorems),
    ]
    assert kinds == [116, 18, 72]
    assert not any(re.fullmatch(r"\$[^$]*\$", problem.answer) for problem in here("college-math"))


@real
def test_the_five_exam_files_ask_the_same_questions_and_cannot_be_graded() -> None:
    if not (Path(DATA or "") / "hungarian").is_dir():
        pytest.skip("hungarian is not in UPWELL_DATA")
    found = problems.load("hungarian", data_dir=Path(DATA or ""), graded=False)
    assert len(found) == 33 and len(found.files) == 5
    assert not any(
        problem.question.startswith(("User:", "Answer the")) or "Assistant:" in problem.question
        for problem in found
    )
    with pytest.raises(UsageError, match="no reference answers"):
        problems.load("hungarian", data_dir=Path(DATA or ""))


# One made-up row per layout: what the file says, and the problem that must come of it.
ROWS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "gsm8k": (
        {
            "question": "Two hens lay 3 eggs each a day. Eggs in a year?",
            "answer": "2*3*365 = 2190\n#### 2,190",
        },
        {"answer": "2190", "solution": "2*3*365 = 2190\n#### 2,190"},
    ),
    "math": (
        {
            "problem": "Halve $\\{3\\}$.",
            "level": "Level 4",
            "type": "Algebra",
            "solution": "First \\boxed{9}, no: \\boxed{\\{\\frac{3}{2}\\}}.",
        },
        {"answer": "\\{\\frac{3}{2}\\}", "level": "4", "subject": "Algebra"},
    ),
    "math-500": (
        {"problem": "1+1?", "answer": "2", "solution": "\\boxed{2}", "level": 1, "subject": "Prealgebra"},
        {"answer": "2", "level": "1", "subject": "Prealgebra"},
    ),
    "svamp": (
        {"Body": "Ann has 5 figs", "Question": "How many?", "Answer": 5.0, "Type": "Addition"},
        {"question": "Ann has 5 figs How many?", "answer": "5", "subject": "Addition"},
    ),
    "asdiv": (
        {"body": "B.", "question": "Q?", "answer": "1,200 (square feet)", "solution_type": "Sum"},
        {"question": "B. Q?", "answer": "1,200", "subject": "Sum"},
    ),
    "mawps": (
        {"input": "Share 1 among 3?", "target": 0.3333333333, "type": "singleop"},
        {"answer": "0.3333333333", "tolerance": 1e-3, "subject": "singleop"},
    ),
    "gsm-hard": (
        {"input": "Q", "target": 1e16, "code": ""},
        {"answer": "10000000000000000", "tolerance": None},
    ),
    "algebra": ({"sQuestion": "Two numbers?", "lSolutions": [14.0, 2.5]}, {"answer": "14, 2.5"}),
    "college-math": (
        {"question": "Q", "answer": "$\\$ 40$", "data_topic": "college_math.calculus"},
        {"answer": "\\$ 40", "subject": "calculus"},
    ),
    "deepmind-mathematics": ({"question": "Q", "answer": "[3, 5]"}, {"answer": "[3, 5]"}),
    "olympiadbench": (
        {
            "question": "Q",
            "final_answer": ["$69$,$84$"],
            "solution": ["S"],
            "error": "1e-1",
            "subfield": "Algebra",
            "unit": None,
        },
        {"answer": "69, 84", "tolerance": 0.1, "solution": "S", "subject": "Algebra"},
    ),
    "theoremqa": (
        {"Question": "Q", "Answer": -2.5, "Answer_type": "float", "field": "Math", "Picture": None},
        {"answer": "-2.5", "tolerance": 0.1, "subject": "Math"},
    ),
    "aime24": ({"problem": "Q", "answer": "073", "solution": "S"}, {"answer": "73"}),
    "amc23": ({"question": "Q", "problem": "Q", "answer": 27.0}, {"answer": "27"}),
    "numglue": (
        {"type": "Type_5", "passage": "P", "question": "Q", "answer": {"number": "7", "spans": []}},
        {"question": "P\nQ", "answer": "7", "subject": "Type_5"},
    ),
}


def put(folder: Path, name: str, rows: list[dict[str, object]]) -> Path:
    path = folder / CARDS[name].files[0].path
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) for row in rows]
    text = "\n".join(lines) if path.suffix == ".jsonl" else f"[{','.join(lines)}]"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_each_layout(name: str, tmp_path: Path) -> None:
    row, expected = ROWS[name]
    put(tmp_path, name, [row])
    problem = problems.load(name, data_dir=tmp_path).problems[0]
    assert {field: getattr(problem, field) for field in expected} == expected


@pytest.mark.parametrize(
    ("row", "question", "answer"),
    [
        ({"type": "Type_1", "question": "Q", "answer": 5}, "Q", "5"),
        (
            {"type": "Type_6", "passage": "P", "question": "Q", "answer": {"number": "", "spans": ["x"]}},
            "P\nQ",
            "x",
        ),
        (
            {"type": "Type_3", "question": "Which?", "Option1": "a", "Option2": "b", "answer": "Option 2"},
            "Which?\na or b?",
            "b",
        ),
        (
            {"type": "Type_7", "statement1": "S", "statement2": "T", "options": "1 or 2", "answer": "2"},
            "S\nT\n1 or 2",
            "2",
        ),
    ],
)
def test_numglue_types(row: dict[str, object], question: str, answer: str, tmp_path: Path) -> None:
    put(tmp_path, "numglue", [row])
    problem = problems.load("numglue", data_dir=tmp_path).problems[0]
    assert (problem.question, problem.answer) == (question, answer)


def test_faults_are_reported_by_row_and_left_out(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"question": "One?", "answer": "#### 1"},
        {"question": "Two?"},
        {"question": "Three?", "answer": "it is 3"},
        {"question": "One?  ", "answer": "#### 11"},
        {"question": " ", "answer": "#### 5"},
        {"question": {"text": "Six?"}, "answer": "#### 6"},
    ]
    put(tmp_path, "gsm8k", rows)
    found = problems.load("gsm8k", data_dir=tmp_path)
    assert [problem.answer for problem in found] == ["1"]
    faults = problems.validate(found)
    assert [(fault.row, fault.kind) for fault in faults] == [
        (0, "changed file"),
        (2, "missing field"),
        (3, "empty answer"),
        (4, "duplicate question"),
        (5, "empty question"),
        (6, "missing field"),
    ]
    assert CARDS["gsm8k"].files[0].sha256 in faults[0].detail  # type: ignore[operator]
    assert "6 rows where 1,319 are known" in faults[0].detail
    assert "first seen in row 1, there with the answer `1`" in faults[3].detail
    assert any("changed file" in note for note in found.notes)
    assert any(note == "2 left out, missing field: row 2, 6" for note in found.notes)
    assert found.files[0]["digest"] == files.digest(tmp_path / "gsm8k/test.jsonl")


def test_a_corrupt_line_is_named(tmp_path: Path) -> None:
    path = put(tmp_path, "gsm8k", [{"question": "One?", "answer": "#### 1"}])
    with path.open("a") as file:
        file.write('\n{"question": "Two?", "ans')
    with pytest.raises(UsageError, match=r"test\.jsonl:2: not a JSON object"):
        problems.load("gsm8k", data_dir=tmp_path)


def test_a_set_that_is_not_here_says_where_it_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(UsageError) as caught:
        problems.load("math-500", data_dir=tmp_path)
    for part in ("math-500/test.jsonl", "openai/prm800k", "licence: MIT", "`datasets` is not installed"):
        assert part in str(caught.value)
    monkeypatch.delenv("UPWELL_DATA", raising=False)
    with pytest.raises(UsageError, match="UPWELL_DATA is not set"):
        problems.load("gsm8k")


def test_wrong_names_and_splits_come_with_the_right_ones(tmp_path: Path) -> None:
    for wrong, right in (("gsm8", "gsm8k"), ("openai/gsm8k", "gsm8k"), ("mawps/addsub", "mawps-addsub")):
        with pytest.raises(UsageError) as caught:
            problems.load(wrong, data_dir=tmp_path)
        assert f"did you mean `{right}`" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="no split `dev`") as caught:
        problems.load("gsm8k", split="dev", data_dir=tmp_path)
    assert caught.value.hint == "--split test or --split train"
    with pytest.raises(UsageError, match="has its own format"):
        problems.load("gsm8k", fields={"question": "q"}, data_dir=tmp_path)
    with pytest.raises(UsageError, match="not a folder"):
        problems.load("gsm8k", data_dir=tmp_path / "nowhere")


def test_find_goes_by_the_key(tmp_path: Path) -> None:
    put(tmp_path, "svamp", [ROWS["svamp"][0], {**ROWS["svamp"][0], "Body": "Other", "Answer": 7}])
    wanted = problems.load("svamp", data_dir=tmp_path).problems[1]
    assert problems.find(wanted.key, data_dir=tmp_path) == wanted
    assert problems.find(f"{wanted.key}#12", data_dir=tmp_path) == wanted
    for wrong in ("svamp/test/0000000000000000", "nothing/test/0", "plain"):
        with pytest.raises(UsageError, match="no problem"):
            problems.find(wrong, data_dir=tmp_path)


def test_cards_are_complete() -> None:
    wanted = (
        "gsm8k math math-500 svamp asdiv mawps mawps-addsub mawps-multiarith mawps-singleeq mawps-singleop "
        "gsm-hard numglue algebra college-math deepmind-mathematics olympiadbench theoremqa aime24 amc23 "
        "hungarian"
    )
    assert set(problems.names()) == set(wanted.split())
    for card in problems.cards():
        assert card.url.startswith("https://") and card.licence and card.files and card.format
        for file in card.files:
            assert (file.sha256 is None) == (file.rows is None)
            assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
