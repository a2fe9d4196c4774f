"""What the numbers say about each claim of the paper, by rules that are stated and not typed in afterwards.

Every rule reads an interval of 95 %. A claim of a change holds where the interval lies on its side of zero; it fails
where the interval lies on the other side, or where all of it is closer to zero than `MARGIN`. A claim that two things
are alike holds where the whole interval is within a margin of zero, and fails where it excludes zero and is not. In
all other cases it cannot be told, which with few problems is the usual outcome, and is said.

That nothing was found is no finding. So a line against the logarithm of the data holds only where it surely rises, its
AICc is near the best, and it foresaw the largest rung; and a set was not seen in training only where the intervals
exclude that `LEAK` of it was. Of several seeds all have to say the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from upwell.analysis.fitting import CLOSE
from upwell.analysis.splits import TENTH
from upwell.measurement.comparison import Line, compare

HOLDS, FAILS, UNTOLD = "holds", "fails", "cannot be told"
MARGIN = 0.02
"""A change, or a difference between two arms, that is smaller is none."""
FLAT = 0.05
"""Coverage that moves by less is flat."""
LEAK = 0.10
"""The share of problems learnt by heart that has to be excluded."""
SHOWS = LEAK * (1 - TENTH)
"""As what that shows: all of them lie among the easiest tenth, where a tenth of them would lie anyway."""
APART = 4.0
"""AICc from which two forms are told apart; up to `CLOSE` they are not."""

Fit = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """A ladder: its measured runs, base first, and what was made of them."""

    name: str
    measured: tuple[Path, ...]
    """`measured/RUNG`, each with `greedy` and `sampled`."""
    analyses: Path
    """Folder of its analyses, each named ARM-KIND."""

    @property
    def tops(self) -> list[Path]:
        """The measured runs of the largest rung, one for each seed."""
        largest = self.measured[-1].name.partition("-s")[0]
        return [run for run in self.measured if run.name.partition("-s")[0] == largest]

    def analysis(self, kind: str) -> Fit:
        """The summary of an analysis of this arm."""
        read: Fit = msgspec.json.decode((self.analyses / f"{self.name}-{kind}" / "summary.json").read_bytes())
        return read


@dataclass(frozen=True)
class Verdict:
    """One claim, and what the figures of one arm say of it."""

    claim: str
    where: str
    """In arXiv 2403.04706, or who asked."""
    arm: str
    verdict: str
    figures: str


def metrics(run: Path) -> list[Fit]:
    """All metrics of a measured run."""
    found: list[Fit] = msgspec.json.decode((run / "summary.json").read_bytes())["metrics"]
    return found


def metric(run: Path, name: str, k: int | None = None) -> Fit | None:
    """One metric over all problems of a run; k of None is the largest that it has."""
    found = [m for m in metrics(run) if m["name"] == name and m["slice"] is None and k in (None, m["k"])]
    return found[-1] if found and found[-1]["value"] is not None else None


def changed(low: float, high: float, sign: int = 1) -> str:
    """The verdict on a claim of a change upwards (sign 1) or downwards (-1)."""
    low, high = (low, high) if sign > 0 else (-high, -low)
    if low > 0:
        return HOLDS
    return FAILS if high < MARGIN else UNTOLD


def alike(low: float, high: float, margin: float) -> str:
    """The verdict on a claim that something stays as it is."""
    if -margin <= low and high <= margin:
        return HOLDS
    return FAILS if low > 0 or high < 0 else UNTOLD


def differences(first: Path, second: Path) -> dict[str, Line]:
    """Paired differences, second minus first, by metric."""
    return {line.name: line for line in compare(str(first), str(second)).lines}


def on_arm(arm: Arm) -> list[Verdict]:
    """The verdicts on the claims that a ladder speaks to."""
    base = arm.measured[0] / "sampled"
    each = [_of_top(arm, base, top / "sampled") for top in arm.tops]
    return [_capable(arm, base), *together([run.name for run in arm.tops], each), _log_linear(arm)]


def together(runs: Sequence[str], each: Sequence[Sequence[Verdict]]) -> list[Verdict]:
    """Verdicts of several seeds as one: what all say, with the figures of each; else it cannot be told.

    A seed that is silent on a claim does not agree.
    """
    if len(each) == 1:
        return list(each[0])
    found: dict[str, list[tuple[str, Verdict]]] = {}
    for run, told in zip(runs, each, strict=True):
        for one in told:
            found.setdefault(one.claim, []).append((run.partition("-s")[2], one))
    return [
        Verdict(
            claim, all_of[0][1].where, all_of[0][1].arm,
            all_of[0][1].verdict
            if len(all_of) == len(each) and len({one.verdict for _, one in all_of}) == 1
            else UNTOLD,
            "; ".join(f"seed {seed}: {one.figures}" for seed, one in all_of),
        )
        for claim, all_of in found.items()
    ]  # fmt: skip


def _of_top(arm: Arm, base: Path, top: Path) -> list[Verdict]:
    """What one training of the largest rung says beside the base."""
    moved = differences(base, top)
    found = []
    for name, claim, rule in (
        ("pass_ratio", "Fine-tuning raises reliability (PassRatio)", None),
        ("pass@k", "Fine-tuning leaves coverage (pass@k) nearly as it was", FLAT),
    ):
        line = moved[name]
        verdict = changed(line.difference.low, line.difference.high) if rule is None else alike(
            line.difference.low, line.difference.high, rule)  # fmt: skip
        found.append(Verdict(claim, "Figure 3", arm.name, verdict, spoken(line)))
    return [*found, *_sound(arm, base, top), *_steps(arm, top), _calculation(arm, top)]


def of_matched(own: Sequence[Path], gold: Sequence[Path]) -> Verdict:
    """Whether the model's own answers teach as well as people's, on the same questions: the largest rungs that both
    have, seed by seed."""
    claim = (
        "Made answers teach as well as people's at the same size (here: self-generated ones, not a teacher's)"
    )
    where, arm = "Table 1, in spirit", "own against gold"
    both = {run.name for run in own} & {run.name for run in gold}
    largest = max((int(name.partition("-s")[0]) for name in both), default=0)
    runs = [run for run in own if run.name in both and int(run.name.partition("-s")[0]) == largest]
    if not runs:
        return Verdict(claim, where, arm, UNTOLD, "no rungs of one size")
    each = []
    for run in runs:
        line = differences(next(other for other in gold if other.name == run.name), run)["pass_ratio"]
        verdict = alike(line.difference.low, line.difference.high, MARGIN)
        each.append([Verdict(claim, where, arm, verdict, spoken(line))])
    return together([run.name for run in runs], each)[0]


def of_leakage(run: Path) -> Verdict:
    """Whether the measured set was seen in training."""
    summary = msgspec.json.decode((run / "summary.json").read_bytes())
    flagged = any("FLAGGED" in line for line in summary["conclusions"])
    tenth = [fit for fit in summary["fits"] if "easiest tenth" in fit["measure"]]
    excluded = {"question", "solution"} <= {fit["part"] for fit in tenth} and all(
        fit["high"] is not None and fit["high"] < SHOWS for fit in tenth
    )
    verdict = FAILS if flagged else HOLDS if excluded else UNTOLD
    claim = "The measured set shows no sign of having been trained on, beyond what its train split shows"
    figures = [
        f"{fit['part']}s among the train split's easiest tenth "
        + ("without an interval" if fit["high"] is None else points(fit))
        for fit in tenth
    ]
    said = "flagged" if flagged else "not flagged"
    return Verdict(claim, "Table 6; reviewer 3", "real", verdict, "; ".join([said, *figures]))


def _capable(arm: Arm, base: Path) -> Verdict:
    coverage, guess = metric(base, "pass@k"), metric(base, "guess_pass@k")
    claim = "The base has the mathematics already: its coverage is beyond what guessing reaches"
    if coverage is None or guess is None:
        return Verdict(claim, "section 2; reviewer 1", arm.name, UNTOLD, "no guess baseline")
    above, below = coverage["low"] > guess["high"], coverage["high"] < guess["low"]
    verdict = HOLDS if above else FAILS if below else UNTOLD
    sound = metric(base, "sound_pass@k", coverage["k"])
    figures = f"pass@{coverage['k']} {interval(coverage)}, guessing {interval(guess)}"
    if sound is not None:
        figures += f", by a response without a wrong equation {interval(sound)}"
    return Verdict(claim, "section 2; reviewer 1", arm.name, verdict, figures)


def _sound(arm: Arm, base: Path, top: Path) -> list[Verdict]:
    """Coverage by responses without a wrong equation; the runs' own intervals, as pairs are not kept of it."""
    before, after = metric(base, "sound_pass@k"), metric(top, "sound_pass@k")
    if before is None or after is None:
        return []
    apart = before["high"] < after["low"] or after["high"] < before["low"]
    claim = "The same of coverage by responses without a wrong equation"
    figures = f"{interval(before)} to {interval(after)}"
    return [Verdict(claim, "Figure 3; reviewer 1", arm.name, FAILS if apart else UNTOLD, figures)]


def _log_linear(arm: Arm) -> Verdict:
    found = arm.analysis("scaling")
    verdict, figures = grows_with_the_logarithm(found["fits"], found["points"])
    claim = "Accuracy grows with the logarithm of the data, without saturation"
    return Verdict(claim, "Figure 1", arm.name, verdict, figures or found["conclusions"][0])


def grows_with_the_logarithm(fits: Sequence[Fit], measured: Sequence[Fit]) -> tuple[str, str]:
    """The verdict on a straight line against the logarithm of the data, and its figures; none where no line was fitted.

    Args:
        fits: of an analysis of scaling.
        measured: its points.
    """
    gain = _fit(fits, form="log-linear", parameter="gain per doubling")
    if gain is None or gain["low"] is None or gain["high"] is None:
        return UNTOLD, ""
    xs = [point["x"] for point in measured if point["what"] == "measured"]
    whole = gain["high"] * math.log2(max(xs) / min(xs))
    behind = (_fit(fits, form="log-linear", parameter="AICc above the best") or {}).get("value")
    foresaw = {
        fit["form"]: str(fit["note"]).endswith("within")
        for fit in fits
        if fit["parameter"] == "largest rung from the others"
    }
    line, others = foresaw.get("log-linear"), [form for form, within in foresaw.items() if within]
    beaten = (behind is not None and behind >= APART) or (line is False and bool(others))
    grows = gain["low"] > 0
    if whole < MARGIN or (grows and beaten):
        verdict = FAILS
    else:
        verdict = HOLDS if grows and line and behind is not None and behind < CLOSE else UNTOLD
    told = [
        f"{points(gain)} per doubling",
        _behind(fits, behind),
        {None: "too few to foresee the largest rung", True: "the largest rung was foreseen"}.get(
            line,
            "the largest rung was missed, "
            + (f"but foreseen by {' and '.join(others)}" if others else "by every form"),
        ),
    ]
    return verdict, "; ".join(told)


def _behind(fits: Sequence[Fit], behind: float | None) -> str:
    """How far a straight line is from the best form by AICc, and which that is."""
    if behind is None:
        return "too few points to tell forms apart"
    defined = [fit for fit in fits if fit["parameter"] == "AICc above the best" and fit["value"] is not None]
    best = min(defined, key=lambda fit: fit["value"])["form"]
    return "best by AICc" if best == "log-linear" else f"AICc {behind:.1f} behind the best ({best})"


def _steps(arm: Arm, top: Path) -> list[Verdict]:
    fits = arm.analysis("steps")["fits"]
    name = top.parent.name
    rise = [f for f in fits if f["run"] == name and f["parameter"].startswith("step accuracy, above")]
    claim = "Step accuracy rises with data"
    found = []
    if rise:
        found.append(
            Verdict(claim, "Table 4", arm.name, changed(rise[-1]["low"], rise[-1]["high"]), points(rise[-1]))
        )
    behind = {
        fit["fit"]: fit["above_best"]
        for fit in fits
        if fit["run"] == name
        and fit.get("above_best") is not None
        and fit["parameter"].startswith("mean step")
    }
    if behind:
        power = min(behind.get("power", 1e9), behind.get("spread", 1e9))
        rival = min(behind[form] for form in ("beta", "flat", "free") if form in behind)
        verdict = UNTOLD if abs(power - rival) < APART else HOLDS if power < rival else FAILS
        best = min(behind, key=lambda form: behind[form])
        figures = f"best by AIC: {best}; p^s, with or without scatter, {power:.1f} behind the best"
        found.append(Verdict("Accuracy is step accuracy to the power of the steps (Eq. 3)", "Figure 4; reviewer 2",
                             arm.name, verdict, figures))  # fmt: skip
    return found


def _calculation(arm: Arm, top: Path) -> Verdict:
    claim = "The share of calculation errors among the wrong responses falls"
    fits = arm.analysis("errors")["fits"]
    name = top.parent.name
    move = [f for f in fits if f["run"] == name and f["class"] == "arithmetic"]
    if not move or move[-1]["low"] is None:
        return Verdict(claim, "Figure 5", arm.name, UNTOLD, "too few wrong responses")
    return Verdict(claim, "Figure 5", arm.name, changed(move[-1]["low"], move[-1]["high"], -1),
                   f"{points(move[-1])}, of the class `arithmetic`")  # fmt: skip


def _fit(fits: Sequence[Fit], **wanted: str) -> Fit | None:
    found = [fit for fit in fits if all(fit.get(name) == value for name, value in wanted.items())]
    return found[-1] if found else None


def interval(found: Fit) -> str:
    """A share as percent with its interval."""
    return f"{found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"


def points(found: Fit) -> str:
    """A difference in points with its interval."""
    return f"{100 * found['value']:+.1f} points [{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"


def spoken(line: Line) -> str:
    """A paired difference in words."""
    d = line.difference
    told = points({"value": d.value, "low": d.low, "high": d.high})
    could = "" if d.detectable is None else f"; {100 * d.detectable:.1f} could have been seen"
    return f"{line.first:.1%} to {line.second:.1%}: {told} over {d.problems} problems{could}"
