"""Runs that cannot be reported, places that cannot be written, runs too big to embed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from fabricated import write_run

import upwell.report.rendering as rendering
from upwell.errors import MissingExtra, StorageError, UsageError
from upwell.report import build
from upwell.report.reading import read_run


def test_no_run(tmp_path: Path, out: Path) -> None:
    with pytest.raises(UsageError, match="no run at"):
        build([tmp_path / "nothing"], out)
    with pytest.raises(UsageError, match="no run to report on"):
        build([], out)
    assert not out.exists()


def test_unfinished_run_is_refused_with_the_command_that_finishes_it(tmp_path: Path, out: Path) -> None:
    run = write_run(tmp_path / "r", finished=False)
    with pytest.raises(UsageError, match=r"not finished") as error:
        build([run], out)
    assert error.value.hint == f"finish it first: upwell measure --problems made-up --out {run}"


def test_run_without_problems_is_refused(tmp_path: Path, out: Path) -> None:
    with pytest.raises(UsageError, match="has no problems"):
        build([write_run(tmp_path / "r", problems=0)], out)


def test_run_without_grades_is_refused(tmp_path: Path, out: Path) -> None:
    run = write_run(tmp_path / "r")
    (run / "summary.json").write_text('{"metrics": []}')
    with pytest.raises(UsageError, match="no graded responses") as error:
        build([run], out)
    assert error.value.hint == f"upwell grade {run}"


@pytest.mark.parametrize(
    "summary", ['{"metrics": [{"name": 3}]}', '{"metrics": 7}', "[]", "{", '{"metrics": null}']
)
def test_damaged_summary_is_an_error_not_a_traceback(tmp_path: Path, out: Path, summary: str) -> None:
    run = write_run(tmp_path / "r", problems=2)
    (run / "summary.json").write_text(summary)
    with pytest.raises(UsageError):
        build([run], out)


def test_the_same_run_twice_is_refused(tmp_path: Path, out: Path) -> None:
    run = write_run(tmp_path / "r", problems=2)
    with pytest.raises(UsageError, match="given twice"):
        build([run, run], out)


def test_unwritable_out_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write"):
        build([tmp_path / "nothing"], tmp_path / "file" / "report.html")
    with pytest.raises(UsageError, match="is a folder") as error:
        build([tmp_path / "nothing"], tmp_path)
    assert error.value.hint == f"--out {tmp_path / 'report.html'}"


def test_missing_folders_of_out_are_made(tmp_path: Path) -> None:
    report = build([write_run(tmp_path / "r", problems=2)], tmp_path / "new/deep/r.html", pngs=False)
    assert report.html.exists()


def test_full_disk_is_a_storage_error_and_leaves_nothing_half(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "r", problems=2)
    out.write_text("the report of yesterday")

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left"):
        build([run], out)
    assert out.read_text() == "the report of yesterday"


def test_missing_extra_names_the_line_that_fixes_it(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "find_spec", lambda name: None if name == "vl_convert" else object())
    with pytest.raises(MissingExtra, match=r"upwell\[report\]"):
        build([tmp_path / "nothing"], out)


def test_without_pngs_the_page_still_comes(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vl_convert

    def broken(*_: object, **__: object) -> bytes:
        raise ValueError("no fonts")

    monkeypatch.setattr(vl_convert, "vegalite_to_png", broken)
    report = build([write_run(tmp_path / "r", problems=2)], out)
    assert report.html.exists() and report.pngs == ()
    assert "no PNG of `pass-at-k` (no fonts)" in report.notes[0]


def test_a_run_beyond_the_cap_shows_some_responses_of_every_problem_and_all_counts(
    tmp_path: Path, out: Path
) -> None:
    run = write_run(tmp_path / "r", problems=20, samples=64, text=lambda p, i, ok: f"{p} {i} " + "x" * 400)
    view = read_run(run, "r", 20 * 8 * 400)
    assert view.shown_per_problem is not None and 6 <= view.shown_per_problem <= 8
    for problem in view.problems:
        assert problem.tally.graded == 64
        assert len(problem.shown) == view.shown_per_problem
        shown = [entry.verdict is not None and entry.verdict.correct is True for entry in problem.shown]
        wanted = min(problem.tally.correct, view.shown_per_problem // 2)
        assert sum(shown) >= wanted and (sum(shown) < len(shown) or problem.tally.correct > 60)
    report = build([run], out, pngs=False, embed_bytes=20 * 8 * 400)
    assert "64 samples per problem, the first of both outcomes" in report.notes[0]
    assert report.notes[0] in report.html.read_text()


def test_even_one_response_per_problem_may_be_too_much(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", problems=10, samples=4, text=lambda *_: "y" * 5_000)
    view = read_run(run, "r", 10_000)
    assert (view.shown_per_problem, view.longest_text) == (1, 1_000)


def test_a_big_run_is_streamed(tmp_path: Path, out: Path) -> None:
    """1,000 problems x 40 long responses, 80 MB of them, are never in memory together."""
    run = write_run(tmp_path / "r", problems=1_000, samples=40, text=lambda *_: "z" * 2_000)
    size = (run / "responses.jsonl").stat().st_size
    tracemalloc.start()
    view = read_run(run, "r", 4_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 80_000_000
    assert peak < 40_000_000
    assert len(view.problems) == 1_000
    assert sum(len(entry.response.text) for problem in view.problems for entry in problem.shown) <= 4_100_000
    shutil.rmtree(run)


def test_importing_the_report_loads_nothing_heavy() -> None:
    heavy = "altair vl_convert jinja2 numpy scipy msgspec.json upwell.runs"
    code = f"import sys, upwell.report; print([m for m in {heavy.split()!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
