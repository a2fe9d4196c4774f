"""What a summary promises: identities between metrics, one line per (name, k, slice), nothing left unsaid."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upwell.errors import UsageError
from upwell.metrics import Metric, Outcomes, Row, Slot, default_ks, resampling, summarise


@pytest.fixture(scope="module", autouse=True)
def few_redraws() -> Iterator[None]:
    """These tests are about everything but the width of a fixed interval of maj@k."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, "PAIRS", 60)
        yield


def index(metrics: list[Metric]) -> dict[tuple[str, int | None, str | None], Metric]:
    out = {(m.name, m.k, m.slice): m for m in metrics}
    assert len(out) == len(metrics)
    return out


@st.composite
def graded(draw: st.DrawFn) -> tuple[list[Slot], list[Row]]:
    slots, rows = [], []
    for i in range(draw(st.integers(1, 6))):
        gold = draw(st.sampled_from(["1", "2", None]))
        level = draw(st.sampled_from([None, "1", "2"]))
        slots.append(
            Slot(key=str(i), gold=gold, level=level, subject=draw(st.sampled_from([None, "Algebra"])))
        )
        for j in range(draw(st.integers(1, 6))):
            vote = draw(st.sampled_from([None, "1", "2", "3"]))
            correct = None if draw(st.integers(0, 9)) == 0 else vote is not None and vote == gold
            tokens = draw(st.integers(1, 99))
            rows.append(
                Row(problem=str(i), index=j, correct=correct, vote=vote, tokens=tokens, truncated=tokens > 90,
                    score=float(tokens % 7))
            )  # fmt: skip
    return slots, rows


@settings(deadline=None, max_examples=15)
@given(graded(), st.integers(0, 1000))
def test_identities_bounds_and_order(data: tuple[list[Slot], list[Row]], seed: int) -> None:
    slots, rows = data
    found = index(summarise(Outcomes.collect(slots, rows)))
    whole = {(name, k): m for (name, k, part), m in found.items() if part is None}
    fewest = max(k for name, k in whole if name == "pass@k" and k)
    ratio = whole["pass_ratio", None]
    for name in ("pass@k", "pass^k", "maj@k"):
        assert whole[name, 1].value == pytest.approx(ratio.value)
    one = whole["pass@k", 1]
    assert (one.low, one.high, one.low_fixed, one.high_fixed) == pytest.approx(
        (ratio.low, ratio.high, ratio.low_fixed, ratio.high_fixed)
    )
    assert ratio.value <= whole["pass@k", fewest].value + 1e-12
    for (name, k, _), m in found.items():
        if m.value is None:
            assert m.note
            continue
        assert m.problems <= len(slots) and m.samples <= len(rows)
        if name == "mean_tokens":
            continue
        assert 0 <= m.low <= m.value <= m.high <= 1 and 0 <= m.low_fixed <= m.value <= m.high_fixed <= 1
        assert m.low < m.high and m.low_fixed < m.high_fixed
        if name in ("maj@k", "best_of@k") and m.slice is None:
            assert whole["pass^k", k].value - 1e-9 <= m.value
    # No order of problems or draws matters, but for what takes the first draws.
    mixed = random.Random(seed)
    again_slots, again_rows = mixed.sample(slots, len(slots)), mixed.sample(rows, len(rows))
    draws = {s.key: mixed.sample(range(99), 20) for s in slots}
    again_rows = [msgspec.structs.replace(r, index=draws[r.problem][r.index]) for r in again_rows]
    again = index(summarise(Outcomes.collect(again_slots, again_rows)))
    assert again.keys() == found.keys()
    for key, m in found.items():
        if key[0] != "maj@k_first":
            assert again[key].value == pytest.approx(m.value, abs=1e-9)
            assert again[key].low == pytest.approx(m.low, abs=1e-6)


def rows_of(key: str, verdicts: str, **more: object) -> list[Row]:
    """`+` right, `-` wrong, `?` undecided, `.` without an answer."""
    return [
        Row(
            problem=key, index=i, correct=None if v == "?" else v == "+", vote=None if v == "." else v, **more
        )  # type: ignore[arg-type]
        for i, v in enumerate(verdicts)
    ]


def test_the_papers_plain_estimates() -> None:
    slots = [Slot(key="a", gold="+"), Slot(key="b", gold="+"), Slot(key="c", gold="+")]
    rows = rows_of("a", "+---") + rows_of("b", "----") + rows_of("c", "++++")
    found = index(summarise(Outcomes.collect(slots, rows)))
    assert found["pass@k", 4, None].value == pytest.approx(2 / 3)
    assert found["pass_ratio", None, None].value == pytest.approx(5 / 12)
    assert found["maj@k", 4, None].value == pytest.approx(1 / 3)
    assert found["pass^k", 4, None].value == pytest.approx(1 / 3)


def test_shares_are_counted() -> None:
    rows = rows_of("a", "+?..", tokens=10) + rows_of("b", "--+-", tokens=20, truncated=True)
    found = index(summarise(Outcomes.collect([Slot(key="a"), Slot(key="b")], rows)))
    assert found["no_answer", None, None].value == pytest.approx(2 / 8)
    assert found["undecided", None, None].value == pytest.approx(1 / 8)
    assert found["truncated", None, None].value == pytest.approx(1 / 2)
    assert found["pass_ratio", None, None].value == pytest.approx(2 / 8)
    tokens = found["mean_tokens", None, None]
    assert tokens.value == pytest.approx(15) and tokens.samples == 8 and tokens.note is None


def test_mean_tokens_are_over_the_responses_whose_tokens_are_known() -> None:
    rows = [
        *rows_of("a", "++", tokens=10),
        *(msgspec.structs.replace(row, index=row.index + 2) for row in rows_of("a", "--", tokens=40)),
        *(msgspec.structs.replace(row, index=row.index + 4) for row in rows_of("a", "---", tokens=None)),
        *rows_of("b", "+", tokens=None),
        *rows_of("c", "+", tokens=5),
    ]
    slots = [Slot(key="a", level="1"), Slot(key="b", level="1"), Slot(key="c", level="2")]
    found = index(summarise(Outcomes.collect(slots, rows)))
    whole, first, second = (found["mean_tokens", None, part] for part in (None, "level=1", "level=2"))
    assert whole.value == pytest.approx((25 + 5) / 2) and first.value == pytest.approx(25)
    assert (whole.problems, whole.samples) == (2, 5) and (first.problems, first.samples) == (1, 4)
    assert "of unknown length: 4" in (whole.note or "") and "of unknown length: 4" in (first.note or "")
    assert second.value == 5 and "unknown" not in (second.note or "")
    # The sum of squares of the four that are known, around 25, is 900.
    spread = 1.959964 * (900 / (4 * 3)) ** 0.5
    assert (first.low_fixed, first.high_fixed) == (
        pytest.approx(25 - spread, abs=1e-3),
        pytest.approx(25 + spread, abs=1e-3),
    )


def test_k_ends_at_the_fewest_responses_and_says_so() -> None:
    slots = [Slot(key="a", level="1"), Slot(key="b", level="2"), Slot(key="c", level="2")]
    rows = rows_of("a", "+-+-+") + rows_of("b", "+--")
    found = index(summarise(Outcomes.collect(slots, rows), ks=[1, 3, 5]))
    assert found["pass@k", 3, None].value == pytest.approx(1.0)
    assert "3 to 5 responses" in (found["pass@k", 3, None].note or "")
    assert "no response: 1" in (found["pass@k", 3, None].note or "")
    missing = found["pass@k", 5, None]
    assert missing.value is None and "2 of 3 problems" in (missing.note or "")
    assert found["pass@k", 1, "level=2"].problems == 1


def test_nothing_at_all() -> None:
    (only,) = summarise(Outcomes.collect([], []))
    assert only.value is None and only.note == "no responses"
    (only,) = summarise(Outcomes.collect([Slot(key="a")], []))
    assert "no response: 1" in (only.note or "")


@pytest.mark.parametrize("verdicts", ["+", "-", ".", "++++", "----", "....", "????"])
@pytest.mark.parametrize("problems", [1, 2, 40])
def test_the_ends_have_width(verdicts: str, problems: int) -> None:
    slots = [Slot(key=str(i), gold="+") for i in range(problems)]
    rows = [row for slot in slots for row in rows_of(slot.key, verdicts)]
    for m in summarise(Outcomes.collect(slots, rows)):
        if m.name != "mean_tokens" and m.value is not None:
            assert m.high - m.low > 1e-4 and m.high_fixed - m.low_fixed > 1e-6, m


def test_more_problems_or_more_draws_say_more() -> None:
    def widths(problems: int, draws: int) -> tuple[float, float]:
        outcomes = Outcomes.from_counts([draws] * problems, [draws * (i % 5) // 4 for i in range(problems)])
        m = index(summarise(outcomes, ks=[2]))["pass@k", 2, None]
        return m.high - m.low, m.high_fixed - m.low_fixed

    assert widths(400, 16)[0] < 0.6 * widths(100, 16)[0]
    assert widths(100, 64)[1] < 0.6 * widths(100, 16)[1]
    assert widths(100, 16)[1] < widths(100, 16)[0]


def test_default_ks() -> None:
    assert default_ks(0) == []
    assert default_ks(1) == [1]
    assert default_ks(100) == [1, 2, 4, 8, 16, 32, 64, 100]
    assert default_ks(256)[-2:] == [128, 256]


def test_k_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 1, got 0"):
        summarise(Outcomes.from_counts([2], [1]), ks=[0, 1])
