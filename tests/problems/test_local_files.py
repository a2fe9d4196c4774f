"""A user's own files, in every format and with every fault that a hurried user makes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from upwell import problems
from upwell.errors import UsageError
from upwell.records import problem_id

ROWS = [
    {"question": "Wie viele Äpfel? ½ · 6 \u2028 √9", "answer": 18.0, "level": 3},
    {"question": "A\nsecond line", "answer": 0.5, "level": None},
    {"question": "Big?", "answer": 12345678901234567890123, "level": 1},
]
ANSWERS = ["18", "0.5", "12345678901234567890123"]


def write(path: Path, text: str, encoding: str = "utf-8") -> str:
    path.write_bytes(text.encode(encoding))
    return str(path)


def answers(name: str, **fields: str) -> list[str]:
    return [problem.answer for problem in problems.load(name, fields=fields)]


def test_jsonl_with_bom_crlf_and_blank_lines(tmp_path: Path) -> None:
    text = "\r\n\r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    name = write(tmp_path / "mine.jsonl", text + "\r\n", "utf-8-sig")
    found = problems.load(name)
    assert [problem.answer for problem in found] == ANSWERS
    assert [problem.level for problem in found] == ["3", None, "1"]
    assert found.problems[0].question == ROWS[0]["question"]
    assert found.problems[1].key == problem_id("mine", "local", "A\nsecond line")
    assert found.files[0]["name"] == name


@pytest.mark.parametrize("wrap", ["{}", '{{"version": 1, "problems": {}}}', '{{"rows_of_mine": {}}}'])
def test_json_lists_at_the_top_or_inside(wrap: str, tmp_path: Path) -> None:
    name = write(tmp_path / "mine.json", wrap.format(json.dumps(ROWS)))
    assert answers(name) == ANSWERS


def test_json_lines_under_a_json_ending(tmp_path: Path) -> None:
    name = write(tmp_path / "mine.json", "\n".join(map(json.dumps, ROWS)))
    assert answers(name) == ANSWERS


@pytest.mark.parametrize(("ending", "separator"), [("csv", ","), ("tsv", "\t"), ("csv", ";")])
def test_tables(ending: str, separator: str, tmp_path: Path) -> None:
    path = tmp_path / f"mine.{ending}"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(["question", "answer", "solution"])
        writer.writerow(['A\nsecond, line; "quoted"', "18.0", "x" * 300_000])
        writer.writerow(["B", "0.50", ""])
        writer.writerow(["C", "12345678901234567890123", ""])
    found = problems.load(str(path))
    assert [problem.answer for problem in found] == ["18", "0.50", ANSWERS[2]]
    assert found.problems[0].question == 'A\nsecond, line; "quoted"'
    assert len(found.problems[0].solution or "") == 300_000
    assert found.problems[1].solution is None


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "mine.parquet"
    table = {
        "question": ["A", "B", "C"],
        "answer": [18.0, 0.5, None],
        "meta": [{"id": "a"}, {"id": "b"}, None],
    }
    pq.write_table(pa.table(table), path)
    found = problems.load(str(path), fields={"id": "meta.id"})
    assert [(problem.key, problem.answer) for problem in found] == [("a", "18"), ("b", "0.5")]
    assert [(fault.row, fault.kind) for fault in problems.validate(found)] == [(3, "empty answer")]
    path.write_text("not parquet")
    with pytest.raises(UsageError, match="not a Parquet file"):
        problems.load(str(path))


def test_fields_by_name_and_by_path(tmp_path: Path) -> None:
    row = {"Prompt": "Q?", "reward": {"gold": ["7", "8"]}, "a.b": "dotted", "id": 41}
    name = write(tmp_path / "mine.jsonl", json.dumps(row))
    problem = problems.load(
        name, fields={"question": "Prompt", "answer": "reward.gold.1", "subject": "a.b"}
    ).problems[0]
    assert (problem.question, problem.answer, problem.subject, problem.key) == ("Q?", "8", "dotted", "41")


@pytest.mark.parametrize(
    ("row", "fields", "says", "hint"),
    [
        ({"problem": "Q", "answer": 1}, {}, "no column `question`", "--field question=problem"),
        ({"question": "Q", "Gold_Answer": 1}, {"answer": "gold_answer"}, "gold_answer", "answer=Gold_Answer"),
        ({"question": "Q", "answer": 1}, {"level": "lvl"}, "no column `lvl`", "--field level="),
        ({"question": "Q", "answer": 1}, {"qestion": "x"}, "--field qestion", "question, answer"),
        ({"x": {"y": 1}}, {}, "x, x.y", "--field question=COLUMN"),
    ],
)
def test_a_wrong_field_names_the_columns_and_the_fix(
    row: dict[str, object], fields: dict[str, str], says: str, hint: str, tmp_path: Path
) -> None:
    name = write(tmp_path / "mine.jsonl", json.dumps(row))
    with pytest.raises(UsageError) as caught:
        problems.load(name, fields=fields)
    assert says in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("a.jsonl", '{"question": "a", "answer": 1}\n{"question": ', r"a\.jsonl:2: not a JSON object"),
        ("a.jsonl", "[1, 2]", r"a\.jsonl:1: a JSON list"),
        ("a.jsonl", '{"question": "a", "answer": NaN}', "NaN is not JSON"),
        ("a.jsonl", "", "holds no rows"),
        ("a.jsonl", "\n \n", "holds no rows"),
        ("a.csv", "", "holds no rows"),
        ("a.csv", "question,answer\n", "holds no rows"),
        ("a.csv", "question,answer\nq,1,2\n", r"a\.csv:2: 3 cells where the header has 2"),
        ("a.csv", 'question,answer\n"q,1\n', "broken CSV"),
        ("a.csv", "question,question\nq,1\n", "more than one column"),
        ("a.json", "{}", "without one list"),
        ("a.json", "7", "not a list of problems"),
        ("a.json", '["q"]', "item 1 is a JSON str"),
        ("a.json", '{"a": [}', r"a\.json:1: not JSON"),
        ("a.json", "[" * 100_000, "nested too deeply|not JSON"),
        ("a.txt", "q", "no known format"),
    ],
)
def test_broken_files_are_refused_with_the_place(file: str, content: str, says: str, tmp_path: Path) -> None:
    name = write(tmp_path / file, content)
    with pytest.raises(UsageError, match=says):
        problems.load(name)


def test_missing_file_folder_and_foreign_encoding(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        problems.load(str(tmp_path / "none.jsonl"))
    with pytest.raises(UsageError, match="is a folder"):
        problems.load(str(tmp_path))
    with pytest.raises(UsageError, match="no problem set or file"):
        problems.load("x" * 5000)
    name = write(tmp_path / "old.csv", "question,answer\nCaf\u00e9?,1\n", "latin-1")
    with pytest.raises(UsageError, match=r"old\.csv:2: not UTF-8") as caught:
        problems.load(name)
    assert "iconv" in (caught.value.hint or "")


def test_repeated_ids_and_questions_keep_the_first(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "question": "One?", "answer": 1},
        {"id": "a", "question": "Two?", "answer": 2},
        {"id": "b", "question": "One?", "answer": 3},
        {"id": "c", "question": "", "answer": 3},
        {"id": "d", "question": "Four?", "answer": ""},
        {"id": "e", "question": "Five?"},
    ]
    found = problems.load(write(tmp_path / "mine.jsonl", "\n".join(map(json.dumps, rows))))
    assert [(problem.key, problem.answer) for problem in found] == [("a", "1")]
    assert [(fault.row, fault.kind) for fault in problems.validate(found)] == [
        (2, "duplicate id"),
        (3, "duplicate question"),
        (4, "empty question"),
        (5, "empty answer"),
        (6, "missing field"),
    ]


def test_worked_solutions_in_the_answer_column_are_unpacked(tmp_path: Path) -> None:
    rows = [
        {"question": "A?", "answer": "because\n#### 1,234"},
        {"question": "B?", "answer": "thus \\boxed{5}"},
    ]
    found = problems.load(write(tmp_path / "mine.jsonl", "\n".join(map(json.dumps, rows))))
    assert [problem.answer for problem in found] == ["1234", "5"]
    assert found.problems[0].solution == "because\n#### 1,234"
    assert any("2 answers are worked solutions" in note for note in found.notes)


def test_numbers_with_thousands_of_digits_survive(tmp_path: Path) -> None:
    digits = "7" * 6000
    name = write(tmp_path / "mine.jsonl", f'{{"question": "Q", "answer": {digits}}}')
    assert len(answers(name)[0]) >= 400  # in full or in scientific notation, never an exception
    name = write(tmp_path / "short.jsonl", f'{{"question": "Q", "answer": {digits[:350]}}}')
    assert answers(name) == [digits[:350]]
