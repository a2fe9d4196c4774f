"""The page in a real browser: what opens, what filters, and that text out of a run stays text."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from browser import Browser
from fabricated import write_run

from upwell.records import Problem, Response, Verdict
from upwell.report import ReportFiles, build
from upwell.runs import Run

ATTACKS = (
    "<script>document.title='taken'</script>",
    "</script><script>document.title='taken'</script>",
    "</title></style></svg></textarea><img src=x onerror=\"document.title='taken'\">",
    "<!--<script>",
    "--> ]]>",
    "<svg/onload=document.title='taken'>",
    "{{7*7}}",
    "\"'`onfocus=x autofocus ",
    "javascript:document.title='taken'",
    "&lt;b&gt;&amp;",
    "</p></div><h1>big</h1><style>body{display:none}</style>",
    "\u202eright to left\u2066",
    "nul\0esc\x1b[2J",
    "\u2028\u2029",
)
ATTACK = " ".join(ATTACKS)


def _link(number: int) -> str:
    return f"#p=made-up%2Ftest%2F{number:016x}"


def _open(browser: Browser, report: ReportFiles, hash_: str = "", *, width: int = 1100) -> None:
    browser.window(width, 900)
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(report.html, hash_)
    if hash_:
        browser.wait_for("document.querySelector('.response') !== null")


def _shown(browser: Browser) -> list[str]:
    shown: list[str] = browser.evaluate(
        "[...document.querySelectorAll('.problem .share')].map(e => e.textContent)"
    )
    return shown


def _count(browser: Browser, selector: str) -> int:
    found: int = browser.evaluate(f"document.querySelectorAll({json.dumps(selector)}).length")
    return found


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    """A report of which every text that comes from a file is an attack."""

    def change(problem: Problem) -> Problem:
        subject = ATTACK if problem.key.endswith("1") else "Algebra"
        return msgspec.structs.replace(
            problem, key=f"{ATTACK[:200]}/{problem.key}", question=ATTACK, answer=ATTACK, solution=ATTACK,
            subject=subject, level=ATTACK if problem.key.endswith("0") else "2", source=ATTACK,
        )  # fmt: skip

    def judge(verdict: Verdict) -> Verdict:
        return msgspec.structs.replace(verdict, answer=ATTACK, tier=ATTACK, trouble=ATTACK)

    folder = tmp_path_factory.mktemp("hostile")
    runs = [
        write_run(
            folder / name, problems=4, samples=4, seed=seed, change=change, judge=judge, notes=(ATTACK,),
            text=lambda *_: ATTACK, command=("upwell", ATTACK),
            model=ATTACK,
            settings={"problems": ATTACK, "prompt": ATTACK, ATTACK: ATTACK},
        )
        for seed, name in enumerate(("<img src=x onerror=\"document.title='taken'\">", "=\u202eb<&>"))
    ]  # fmt: skip
    build(runs[:1], folder / "one.html", pngs=False)
    return build(runs, folder / "report.html", pngs=False)


def test_hostile_text_is_shown_and_does_nothing(browser: Browser, hostile: ReportFiles) -> None:
    for page in (hostile.html, hostile.html.with_name("one.html")):
        browser.window(1100, 900)
        browser.requests.clear()
        browser.complaints.clear()
        browser.open(page)
        browser.click(".problem > button")
        browser.wait_for("document.querySelector('.response') !== null")
        browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.evaluate("document.title").startswith("Upwell report")
        assert _count(browser, "img, iframe, link, object, base, main h1:not(header h1)") == 0
        assert _count(browser, "script") == 2 + _count(browser, "script[id^=chunk]")
        assert _count(browser, "style") == 1
        assert browser.complaints == []
        assert browser.requests == [page.as_uri()]
        assert browser.evaluate("getComputedStyle(document.body).display") == "block"
        for place in (".panel .text", ".response .text", ".response bdi"):
            text = browser.evaluate(f"document.querySelector({json.dumps(place)}).textContent")
            for attack in ATTACKS[:11]:
                assert attack in text
            assert "⟨U+202E⟩right to left⟨U+2066⟩" in text and "nul⟨U+0000⟩esc⟨U+001B⟩[2J" in text


def test_page_opens_without_a_request_or_a_complaint(browser: Browser, plain_report: ReportFiles) -> None:
    _open(browser, plain_report, _link(3))
    assert browser.complaints == []
    assert {url.partition("#")[0] for url in browser.requests} == {plain_report.html.as_uri()}


def test_click_and_keyboard_open_a_problem_with_its_responses(
    browser: Browser, plain_report: ReportFiles
) -> None:
    _open(browser, plain_report)
    assert _count(browser, ".panel") == 0
    browser.click(".problem:nth-child(3) > button")
    browser.wait_for("document.querySelector('.response') !== null")
    assert _count(browser, ".response") == 16
    assert browser.evaluate("location.hash").startswith("#p=made-up%2Ftest%2F")
    browser.press("Enter", 13, "\r")
    browser.wait_for("document.querySelector('.panel') === null")
    browser.press("Tab", 9)
    browser.press(" ", 32, " ")
    browser.wait_for("document.querySelector('.problem:nth-child(4) .response') !== null")
    assert browser.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"


def test_deep_link_shows_the_response_as_the_run_has_it(browser: Browser, plain_report: ReportFiles) -> None:
    _open(browser, plain_report, _link(17))
    key = f"made-up/test/{17:016x}"
    run = Run.read(plain_report.html.parent / "base")
    texts = [response.text for response in run.rows("responses", Response) if response.problem == key]
    shown = browser.evaluate("[...document.querySelectorAll('.response .text')].map(e => e.textContent)")
    assert shown == texts
    said = {True: "✓ correct", False: "✗ incorrect", None: "? undecided"}
    graded = run.rows("verdicts", Verdict)
    verdicts = [said[verdict.correct] for verdict in graded if verdict.key.startswith(key + "#")]
    assert (
        browser.evaluate("[...document.querySelectorAll('.verdict')].map(e => e.textContent)")[-16:]
        == verdicts
    )
    top = browser.evaluate("document.querySelector('.panel').parentElement.getBoundingClientRect().top")
    assert -5 < top < 60, "the problem is scrolled into sight"


def test_problems_are_sorted_filtered_and_searched(browser: Browser, plain_report: ReportFiles) -> None:
    _open(browser, plain_report)
    browser.click("#more")
    shares = [eval(share) for share in _shown(browser)]
    assert len(shares) == 30 and shares == sorted(shares)
    counts = [shares.count(0), sum(0 < s < 1 for s in shares), shares.count(1)]
    for place, wanted in enumerate(counts):
        browser.click(f"#kinds button:nth-child({place + 2})")
        assert len(_shown(browser)) == min(25, wanted)
        assert browser.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    browser.click("#kinds button:first-child")
    browser.evaluate("(s => { s.value = 'GEOMETRY 17'; s.dispatchEvent(new Event('input')) })(search)")
    matching = [n for n in range(30) if n % 4 == 2 and "17" in f"{n:016x} {7 + 5 * n} {n + 3} {18 + 14 * n}"]
    assert len(_shown(browser)) == len(matching) > 0
    browser.evaluate("(s => { s.value = 'no such thing'; s.dispatchEvent(new Event('input')) })(search)")
    assert _shown(browser) == []
    assert "0 of 30 problems" in browser.evaluate("document.querySelector('#status').textContent")


def test_responses_are_filtered_by_verdict(browser: Browser, plain_report: ReportFiles) -> None:
    _open(browser, plain_report)
    divided = next(i for i, share in enumerate(_shown(browser), 1) if 0.2 < eval(share) < 0.8)
    browser.click(f".problem:nth-child({divided}) > button")
    browser.wait_for("document.querySelector('.response') !== null")
    browser.click(".panel .choices button:nth-child(2)")
    verdicts = browser.evaluate(
        "[...document.querySelectorAll('.response .verdict')].map(e => e.textContent)"
    )
    assert set(verdicts) == {"✓ correct"}
    assert _shown(browser)[divided - 1] == f"{len(verdicts)}/16"


def test_runs_are_chosen_and_compared_on_one_problem(browser: Browser, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, problems=8, samples=8, seed=i) for i, name in enumerate("ab")]
    report = build(runs, tmp_path / "report.html", pngs=False)
    _open(browser, report, f"{_link(5)}&run=2")
    assert browser.evaluate("document.querySelector('#run').value") == "1"
    of_b = browser.evaluate("document.querySelector('.problem:has(.panel) .share').textContent")
    assert f"b {of_b}" in browser.evaluate("document.querySelector('.panel').textContent")
    browser.click(".across button")
    browser.wait_for(
        "document.querySelector('#run').value === '0' && document.querySelector('.response') !== null"
    )
    of_a = browser.evaluate("document.querySelector('.problem:has(.panel) .share').textContent")
    assert f"a {of_a}" in browser.evaluate("document.querySelector('.panel').textContent")


def test_keys_of_any_characters_are_linked(browser: Browser, tmp_path: Path) -> None:
    keys = ["a&run=9#x/?%2F+ü", "b"]

    def change(problem: Problem) -> Problem:
        return msgspec.structs.replace(problem, key=keys[int(problem.key[-1])])

    report = build(
        [write_run(tmp_path / "r", problems=2, samples=2, change=change)], tmp_path / "r.html", pngs=False
    )
    _open(browser, report, f"#p={quote(keys[0], safe='')}")
    assert browser.evaluate("document.querySelector('.panel .mono').textContent") == keys[0]
    _open(browser, report)
    browser.click(".problem > button")
    written = browser.evaluate("location.hash")
    _open(browser, report, written)
    assert _count(browser, ".panel") == 1


def _point_at_curve(browser: Browser, across: float) -> str:
    """Point at a place of the curve figure, from 0 (left) to 1 (right); what the read-out says."""
    x, y = browser.evaluate(
        "(() => { const s = document.querySelector('svg[data-kind=curve].wide');"
        " s.scrollIntoView({block: 'center'}); const b = s.getBoundingClientRect();"
        f" return [b.x + b.width * {across}, b.y + b.height / 2]; }})()"
    )
    browser.point(x, y)
    browser.wait_for("!document.querySelector('#tip').hidden")
    said: str = browser.evaluate("document.querySelector('#tip').innerText")
    browser.point(2, 2)
    browser.wait_for("document.querySelector('#tip').hidden")
    return said


def test_pointing_at_the_curve_reads_out_all_lines(browser: Browser, plain_report: ReportFiles) -> None:
    _open(browser, plain_report)
    said = _point_at_curve(browser, 0.45)
    assert said.startswith("k = 4")
    assert all(name in said for name in ("pass@k", "maj@k", "PassRatio", "chance")) and said.count("%") == 8


def test_pointing_at_one_panel_reads_out_its_lines_of_all_runs(browser: Browser, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, problems=8, samples=8, seed=i) for i, name in enumerate("ab")]
    _open(browser, build(runs, tmp_path / "report.html", pngs=False))
    left, right = _point_at_curve(browser, 0.25), _point_at_curve(browser, 0.75)
    assert [name in left for name in ("a, pass@k", "b, pass@k", "b, chance", "b, maj@k")] == [True] * 3 + [
        False
    ]
    assert [name in right for name in ("a, pass@k", "a, maj@k", "b, maj@k")] == [False, True, True]


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_nothing_overflows_sideways(browser: Browser, plain_report: ReportFiles, width: int) -> None:
    _open(browser, plain_report, _link(3), width=width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    drawn = browser.evaluate("getComputedStyle(document.querySelector('svg.narrow')).display")
    assert (drawn == "block") == (width <= 700)


def test_light_dark_and_print(browser: Browser, plain_report: ReportFiles, tmp_path: Path) -> None:
    seen = []
    for dark, media in ((False, ""), (True, ""), (True, "print")):
        browser.window(1100, 900, dark=dark, media=media)
        browser.open(plain_report.html)
        seen.append(browser.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
        stroke = "getComputedStyle(document.querySelector('svg .mark-line path')).stroke"
        seen.append(browser.evaluate(stroke))
        browser.screenshot(tmp_path / "page.png")
    light, line, dark_paper, dark_line, print_paper, print_line = seen
    assert (light, line) == (print_paper, print_line), "paper is light whatever the screen is"
    assert light != dark_paper and line != dark_line
    assert browser.evaluate("getComputedStyle(document.querySelector('.tools')).display") == "none"


def test_a_thousand_problems_open_at_once(browser: Browser, tmp_path: Path) -> None:
    report = build(
        [write_run(tmp_path / "r", problems=1_000, samples=8)],
        tmp_path / "r.html",
        pngs=False,
        embed_bytes=500_000,
    )
    assert report.html.stat().st_size < 3_000_000
    _open(browser, report, _link(789))
    assert browser.evaluate("document.querySelector('.panel .mono').textContent").endswith(f"{789:016x}")
    line = browser.evaluate("document.querySelector('.panel .line .caption').textContent")
    assert line.startswith("Showing ") and " of 8 responses" in line
