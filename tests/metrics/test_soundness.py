"""Sound and guessed answers against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from upwell.errors import UsageError
from upwell.metrics import Metric, Outcomes, Row, Slot, summarise

SIGNS = {"y": "yes", "n": "no", "-": "none", "?": None}


def rows_of(key: str, right: str, sound: str) -> list[Row]:
    """`+` right, `x` wrong; `y` sound, `n` not, `-` without an equation, `?` not looked at."""
    return [
        Row(problem=key, index=i, correct=r == "+", vote=r, sound=SIGNS[s])  # type: ignore[arg-type]
        for i, (r, s) in enumerate(zip(right, sound, strict=True))
    ]


def summary(
    slots: list[Slot], rows: list[Row], **more: object
) -> dict[tuple[str, int | None, str | None], Metric]:
    metrics = summarise(Outcomes.collect(slots, rows), **more)  # type: ignore[arg-type]
    return {(m.name, m.k, m.slice): m for m in metrics}


def test_right_and_sound_by_hand() -> None:
    # a: 3 right, 1 of them sound, 1 with nothing to check; b: 2 right, neither sound; c: sound and wrong.
    slots = [Slot(key=key, level=level) for key, level in (("a", "1"), ("b", "1"), ("c", "2"))]
    rows = rows_of("a", "+++x", "yn-y") + rows_of("b", "++xx", "nn??") + rows_of("c", "xxxx", "yy??")
    found = summary(slots, rows, ks=[1, 2, 4])
    assert found["sound_pass_ratio", None, None].value == pytest.approx((1 / 4) / 3)
    assert found["sound_pass@k", 1, None].value == pytest.approx((1 / 4) / 3)
    assert found["sound_pass@k", 2, None].value == pytest.approx((1 / 2) / 3)  # 1 - C(3,2) / C(4,2)
    assert found["sound_pass@k", 4, None].value == pytest.approx(1 / 3)
    assert found["sound_pass@k_upper", 1, None].value == pytest.approx((2 / 4) / 3)
    assert found["sound_pass@k_upper", 2, None].value == pytest.approx((5 / 6) / 3)
    assert found["sound_pass@k", 2, "level=1"].value == pytest.approx(1 / 4)
    assert found["sound_pass@k", 4, "level=2"].value == 0
    for (name, k, part), m in found.items():
        if name == "sound_pass@k":
            upper, plain = found["sound_pass@k_upper", k, part], found["pass@k", k, part]
            assert m.value <= upper.value <= plain.value  # type: ignore[operator]
            assert m.low <= m.value <= m.high and m.low_fixed <= m.value <= m.high_fixed  # type: ignore[operator]
            assert m.low < m.high and m.low_fixed < m.high_fixed  # type: ignore[operator]


def test_where_all_arithmetic_holds_sound_is_plain_pass_at_k() -> None:
    rows = rows_of("a", "++xx", "yy??") + rows_of("b", "+xxx", "y???")
    found = summary([Slot(key="a"), Slot(key="b")], rows)
    for k in (1, 2, 4):
        sound, plain = found["sound_pass@k", k, None], found["pass@k", k, None]
        assert (sound.value, sound.low, sound.high) == (plain.value, plain.low, plain.high)
        assert (sound.low_fixed, sound.high_fixed) == (plain.low_fixed, plain.high_fixed)


def test_not_looked_at_is_not_a_metric_and_no_equation_is() -> None:
    slots = [Slot(key="a")]
    assert not any("sound" in name for name, _, _ in summary(slots, rows_of("a", "+x", "??")))
    found = summary(slots, rows_of("a", "+x", "-?"))
    assert found["sound_pass@k", 2, None].value == 0 and found["sound_pass@k_upper", 2, None].value == 1


def test_a_right_response_that_was_not_looked_at_is_named() -> None:
    with pytest.raises(UsageError, match="`a#1` is right"):
        Outcomes.collect([Slot(key="a")], rows_of("a", "++", "y?"))


def test_soundness_follows_the_chosen_problems() -> None:
    outcomes = Outcomes.collect(
        [Slot(key="a"), Slot(key="b")], rows_of("b", "+x", "n-") + rows_of("a", "++x", "y-y")
    )
    assert outcomes.sound is not None and outcomes.sound.tolist() == [1, -1, 1, 0, -1]
    part = outcomes.take(np.array([1])).sound
    assert part is not None and part.tolist() == [0, -1]


def test_guesses_by_hand() -> None:
    slots = [
        Slot(key="a", guess=0.5, level="1"), Slot(key="b", guess=0.0, level="1"), Slot(key="c", level="2"),
    ]  # fmt: skip
    rows = [row for slot in slots for row in rows_of(slot.key, "+x", "??")]
    found = summary(slots, rows)
    whole = found["guess_pass@k", 2, None]
    assert whole.value == pytest.approx(0.75 / 2) and whole.problems == 2
    assert (whole.low_fixed, whole.high_fixed) == (whole.value, whole.value)  # nothing in it is random
    assert whole.low < whole.value < whole.high  # type: ignore[operator]
    assert "no computed chance of a guess: 1" in (whole.note or "")
    assert "left out" not in (found["guess_pass@k", 2, "level=1"].note or "")
    nothing = found["guess_pass@k", 2, "level=2"]
    assert nothing.value is None and "guess: 1" in (nothing.note or "")


def test_no_guesses_no_metric() -> None:
    assert not any(name == "guess_pass@k" for name, _, _ in summary([Slot(key="a")], rows_of("a", "+", "?")))


@pytest.mark.parametrize("guess", [-0.1, 1.5, float("nan")])
def test_an_impossible_chance_is_refused(guess: float) -> None:
    with pytest.raises(UsageError, match="problem `a`"):
        Outcomes.collect([Slot(key="a", guess=guess)], [])
