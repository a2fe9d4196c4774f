"""Analyses on the page: conclusions, pictures, data; alone or beside runs; whatever their texts say."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from fabricated import write_run

from upwell.analysis.settings import AnalyzeSettings
from upwell.analysis.stage import analyze
from upwell.errors import UsageError
from upwell.report import build
from upwell.runs import Run

HOSTILE = "<img src=x onerror=alert(1)>\u202e</script>"


def study(
    folder: Path, kind: str, points: list[dict[str, Any]], fits: list[dict[str, Any]] | None = None
) -> Path:
    with Run.open(folder, verb="analyze", settings={"kind": kind}, fingerprint={"kind": kind}) as run:
        found = {
            "points": points,
            "fits": fits or [],
            "conclusions": [f"it is so {HOSTILE}"],
            "notes": ["one left out"],
        }
        run.finish({"kind": kind, **found})
    return folder


def point(**more: Any) -> dict[str, Any]:
    return {"value": 0.4, "low": 0.3, "high": 0.5, "problems": 50, "samples": 800, **more}


POINTS: dict[str, list[dict[str, Any]]] = {
    "scaling": [
        *(
            point(source=HOSTILE, what=what, form=form, unit="examples", x=x, metric="accuracy")
            for what, form, x in [
                ("measured", None, 100.0), ("measured", None, 800.0), ("fitted", "power law", 100.0),
                ("fitted", "power law", 800.0), ("predicted", "power law", 900.0), ("predicted", "power law", 1600.0),
            ]
        )
    ],
    "steps": [point(what="accuracy", run="base", steps=s, power=0.5**s) for s in (2, 3, 4)],
    "errors": [point(run=r, **{"class": c}, of="wrong responses", count=3) for r in "ab" for c in ("format", "other")],
    "selection": [point(run=HOSTILE, k=k, selector=s) for k in (2, 4) for s in ("oracle", "majority")],
    "compute": [point(run="a", k=k, selector="pass@k", tokens=100.0 * k, flops=1e9 * k, frontier=True) for k in (1, 2)],
    "leakage": [
        point(set=s, part=p, measure="loss gap", value=-0.02, low=-0.1, high=0.06) for s in ("test", "train")
        for p in ("question", "solution")
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", POINTS)
def test_every_kind_has_its_picture_its_data_and_its_words(tmp_path: Path, kind: str) -> None:
    folder = study(
        tmp_path / kind, kind, POINTS[kind], [{"set": "a", "measure": "loss gap", "value": 0.1, "part": "b"}]
    )
    report = build([folder], tmp_path / "report.html")
    html = report.html.read_text(encoding="utf-8")
    assert html.count("<svg") == 2 and "it is so" in html and "one left out" in html
    assert "<img" not in html and "\u202e" not in html
    assert len(report.pngs) == len(report.tables) == 1
    with report.tables[0].open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) >= len(POINTS[kind])


def test_runs_and_analyses_share_a_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "base", problems=6, samples=4)
    analyze("selection", [str(run)], AnalyzeSettings(out=str(tmp_path / "selection")))
    report = build([run, tmp_path / "selection"], tmp_path / "report.html")
    html = report.html.read_text(encoding="utf-8")
    assert "What of pass@k a selector reaches" in html and "Problems and responses" in html
    assert {path.name for path in report.pngs} >= {"report-pass-at-k.png", "report-selection-selection.png"}


def test_an_analysis_that_said_nothing_has_words_and_no_picture(tmp_path: Path) -> None:
    report = build([study(tmp_path / "none", "scaling", [])], tmp_path / "report.html")
    assert "<svg" not in report.html.read_text(encoding="utf-8") and not report.pngs


@pytest.mark.parametrize(
    "told",
    [{}, {"kind": "steps"}, {"kind": "steps", "conclusions": [], "notes": [], "points": [1], "fits": []}],
)
def test_a_summary_that_somebody_changed_is_a_clear_error(tmp_path: Path, told: dict[str, Any]) -> None:
    folder = study(tmp_path / "x", "steps", POINTS["steps"])
    (folder / "summary.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(UsageError, match="is damaged"):
        build([folder], tmp_path / "report.html")


def test_a_page_of_analyses_alone_has_a_working_script(tmp_path: Path, browser: Browser) -> None:
    report = build([study(tmp_path / "steps", "steps", POINTS["steps"])], tmp_path / "report.html")
    browser.window(390, 900)
    browser.complaints.clear()
    browser.open(report.html)
    assert not browser.complaints
    assert browser.evaluate("document.querySelectorAll('.plot svg').length") == 2
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
