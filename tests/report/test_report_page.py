"""What stands in the page and in the files beside it."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from fabricated import write_run

from upwell.records import Problem
from upwell.report import ReportFiles, build
from upwell.report.curves import spread
from upwell.report.page import inert_json
from upwell.report.reading import read_run
from upwell.report.text import duration, interval, moment, number, percent, visible
from upwell.report.wording import facts


class _Elements(HTMLParser):
    """The elements of a page, its visible text and its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        elif self._inside != "style":
            self.text += data


def _read(report: ReportFiles) -> _Elements:
    return _Elements(report.html.read_text(encoding="utf-8"))


def _index(page: _Elements) -> dict[str, list[dict[str, object]]]:
    held: dict[str, list[dict[str, object]]] = next(
        json.loads(text) for attrs, text in page.scripts if attrs.get("id") == "index"
    )
    return held


def test_headline_and_table_say_the_numbers_of_the_summary(plain_report: ReportFiles) -> None:
    summary = json.loads((plain_report.html.parent / "base/summary.json").read_text())
    of = {(m["name"], m["k"]): m for m in summary["metrics"] if m["slice"] is None}
    page = _read(plain_report)
    text = re.sub(r"\s+", " ", page.text)
    solved, ratio = (f"{100 * of[key]['value']:.1f} %" for key in (("pass@k", 16), ("pass_ratio", None)))
    assert (
        f"Solves {solved} of problems at least once in 16 tries, but only {ratio} of tries are right" in text
    )
    for name in (
        "PassRatio",
        "pass@16",
        "maj@16",
        "chance pass@16",
        "adjusted pass@16",
        "truncated",
        "no answer",
    ):
        assert name in text
    bounds = of["pass@k", 16]
    for low, high in (("low", "high"), ("low_fixed", "high_fixed")):
        assert f"{100 * bounds[low]:.1f}–{100 * bounds[high]:.1f} %" in text
    for fact in ("smollm2-135m-instruct", "made-up, 30", "16 per problem", "chat", "0.7", "7 min 14 s"):
        assert fact in text
    assert "upwell measure --problems made-up --out" in text
    assert "3 golds are compared by their text alone" in text


def test_page_loads_nothing_and_allows_nothing_but_itself(plain_report: ReportFiles) -> None:
    page = _read(plain_report)
    policy = (
        next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy") or ""
    )
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy and "http" not in policy
    loading = {"src", "href", "xlink:href", "srcset", "data", "action", "style"}
    assert [(t, a) for t, a in page.tags if loading & a.keys()] == []
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert [t for t, _ in page.tags if t in ("link", "img", "iframe", "object", "embed", "form")] == []


def test_every_figure_has_a_caption_an_alternative_and_its_data(plain_report: ReportFiles) -> None:
    page = _read(plain_report)
    figures = [t for t, _ in page.tags].count("figure")
    assert figures == 4
    assert [t for t, _ in page.tags].count("figcaption") == figures
    drawings = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert [attrs["class"] for attrs in drawings] == ["wide", "narrow"] * figures
    assert all(attrs["role"] == "img" and len(attrs["aria-label"] or "") > 40 for attrs in drawings)
    assert page.text.count("Measured on 30 problems of made-up, 16 samples each.") == figures


def test_drawings_fill_their_width_and_hold_no_fixed_colour(plain_report: ReportFiles) -> None:
    html = plain_report.html.read_text(encoding="utf-8")
    for drawing in re.findall(r"<svg .*?</svg>", html, re.S):
        width = float(re.search(r'width="([0-9.]+)"', drawing).group(1))  # type: ignore[union-attr]
        assert min(abs(width - 876), abs(width - 380)) <= 12
        assert set(re.findall(r"#[0-9a-fA-F]{3,8}\b", drawing)) <= {"#000"}, "a colour that is no variable"


def test_files_beside_the_page(plain_report: ReportFiles) -> None:
    names = ["pass-at-k", "pass-rates", "by-level", "by-subject"]
    assert [path.name for path in plain_report.pngs] == [f"report-{name}.png" for name in names]
    assert [path.name for path in plain_report.tables] == [f"report-{name}.csv" for name in names]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in plain_report.pngs)
    assert not [path for path in plain_report.html.parent.iterdir() if path.name.startswith(".")]
    with plain_report.tables[0].open() as file:
        rows = list(csv.DictReader(file))
    summary = json.loads((plain_report.html.parent / "base/summary.json").read_text())
    wanted = {(m["name"], m["k"]): m["value"] for m in summary["metrics"] if m["slice"] is None}
    for row in rows:
        assert float(row["value"]) == wanted[row["metric"], int(row["k"]) if row["k"] else None]
    assert {row["metric"] for row in rows} >= {"pass@k", "maj@k", "pass_ratio", "chance_pass@k"}


def test_histogram_counts_every_problem_once(plain_report: ReportFiles) -> None:
    with plain_report.tables[1].open() as file:
        rows = list(csv.DictReader(file))
    counts = [int(row["problems"]) for row in rows]
    assert (rows[0]["right tries"], rows[-1]["right tries"], sum(counts)) == ("never", "always", 30)
    run = _index(_read(plain_report))["runs"][0]
    right = [(row[1], sum(row[1:4])) for row in run["rows"]]  # type: ignore[attr-defined]
    assert counts[0] == sum(c == 0 for c, _ in right)
    assert counts[-1] == sum(c == n for c, n in right)
    tenths = [
        sum(10 * (i - 1) * n < 100 * c <= 10 * i * n < 100 * n for c, n in right if c < n)
        for i in range(1, 10)
    ]
    assert counts[1:10] == tenths


def test_csv_cells_cannot_become_formulas(tmp_path: Path, out: Path) -> None:
    def change(problem: Problem) -> Problem:
        return msgspec.structs.replace(
            problem, subject=f"{'=+-@'[int(problem.key[-1], 16) % 4]}cmd|'/c calc'!A1"
        )

    report = build([write_run(tmp_path / "r", problems=8, change=change)], out, pngs=False)
    table = next(path for path in report.tables if "subject" in path.name)
    with table.open() as file:
        subjects = {row["subject"] for row in csv.DictReader(file)}
    assert {subject[:2] for subject in subjects} == {"'=", "'+", "'-", "'@"}


def test_several_runs_share_a_page_and_a_k(tmp_path: Path, out: Path) -> None:
    runs = [write_run(tmp_path / name, problems=12, samples=n, seed=n) for name, n in (("a", 32), ("b", 16))]
    report = build(runs, out, pngs=False)
    page = _read(report)
    assert "pass@16" in page.text and "pass@32" not in page.text
    assert "given for k = 16" in page.text
    held = _index(page)
    assert [run["name"] for run in held["runs"]] == ["a", "b"]
    assert len(held["problems"]) == 12, "problems that both runs have are held once"
    assert "not over the same problems" not in page.text


def test_runs_over_other_problems_say_so(tmp_path: Path, out: Path) -> None:
    runs = [write_run(tmp_path / "x/run", problems=6), write_run(tmp_path / "y/run", problems=7)]
    page = _read(build(runs, out, pngs=False))
    assert "not over the same problems" in page.text
    assert "x/run" in page.text and "y/run" in page.text, "equal folder names are told apart"


@pytest.mark.parametrize(("problems", "samples"), [(1, 1), (1, 16), (30, 1), (2, 2)])
def test_smallest_runs(tmp_path: Path, out: Path, problems: int, samples: int) -> None:
    report = build([write_run(tmp_path / "r", problems=problems, samples=samples)], out, pngs=False)
    page = _read(report)
    assert "Solves" in page.text
    assert ("with one try each" in page.text) == (samples == 1)
    assert any("pass-at-k" in path.name for path in report.tables) == (samples > 1), "one try has no curve"


def test_the_model_is_the_one_that_wrote_and_a_graded_copy_knows_its_problems(tmp_path: Path) -> None:
    settings = {"model": "the default that an engine of one's own ignores", "problems": None}
    run = write_run(tmp_path / "r", problems=2, settings=settings, model="my-engine")
    said = dict(facts(read_run(run, "r", 10_000)))
    assert said["Model"] == "my-engine"
    assert said["Problems"] == "made-up, 2"
    assert said["Took"] == "7 min 14 s"


def test_a_metric_without_a_value_is_a_dash_with_its_reason(tmp_path: Path, out: Path) -> None:
    run = write_run(tmp_path / "r")
    summary = json.loads((run / "summary.json").read_text())
    for metric in summary["metrics"]:
        if metric["name"] == "adjusted_pass@k":
            metric |= {"value": None, "low": None, "high": None, "note": "chance is 1 or unknown"}
    (run / "summary.json").write_text(json.dumps(summary))
    text = _read(build([run], out, pngs=False)).text
    assert "—" in text and "adjusted_pass@k: chance is 1 or unknown." in text


def test_text_is_made_visible() -> None:
    shown = visible("a\0b\u202eevil\u2069\ud800\x7f\r\n\tc")
    assert shown == "a⟨U+0000⟩b⟨U+202E⟩evil⟨U+2069⟩\ufffd⟨U+007F⟩\n\tc"
    assert visible("中文 ünï 🙂 \\frac{1}{2}") == "中文 ünï 🙂 \\frac{1}{2}"


def test_numbers_are_written_with_their_units() -> None:
    assert percent(0.6104) == "61.0\u202f%"
    assert percent(None) == "—"
    assert number(-0.04) == "0.0" and number(-3.21) == "\u22123.2"
    assert interval(-0.02, 0.05) == "\u22122.0 to 5.0\u202f%"
    assert interval(0.551, 0.668) == "55.1–66.8\u202f%"
    assert [duration(s) for s in (3.14, 59.4, 61, 7212)] == ["3.1 s", "59 s", "1 min 1 s", "2 h 0 min"]
    assert moment("2026-11-23T20:15:00Z") == "2026-11-23 20:15 UTC"
    assert moment("<b>") == "<b>"


def test_end_labels_keep_their_distance_and_order() -> None:
    placed = spread([0.5, 0.501, 0.502, 0.99], 0.05, 1.0)
    assert placed == sorted(placed) and max(placed) <= 1.0
    assert all(b - a >= 0.05 - 1e-9 for a, b in pairwise(placed))


def test_embedded_json_cannot_leave_its_script_element() -> None:
    value = {"</script>": "<!--<script>&amp;\u2028\u2029\0\ud800"}
    text = inert_json(value)
    assert text.isascii() and not set("<>&") & set(text)
    assert json.loads(text) == value
