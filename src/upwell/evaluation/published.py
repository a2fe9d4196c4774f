"""What papers, repositories and model cards report: accuracies in percent, each with its source.

A line of a table is: the model as the source calls it | the checkpoints that it is, as a pattern of names like that of
a card, or `-` where no checkpoint is known to be that very model | the values, `-` where there is none.
The models of Xwin-Math's paper were never released (its checkpoints are other models), so their lines match nothing.
"""

from __future__ import annotations

import re

import msgspec

from upwell.evaluation.model_cards import bare_name


class Source(msgspec.Struct, frozen=True):
    """Where figures stand."""

    title: str
    url: str


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One published accuracy."""

    model: str
    """As the source calls it."""
    benchmark: str
    """Problem set, or `average` over those of its table."""
    percent: float
    source: Source
    pattern: str | None = None
    """Regular expression of the names of its checkpoints; None where none is known."""
    style: str | None = None
    """Our grading style that follows the grader that was used; None where that is not known or was a person."""
    note: str | None = None
    """What else is not as in a greedy, zero-shot run of ours."""


_XWIN_PAPER = "https://arxiv.org/abs/2403.04706"
_TABLE_2 = Source("Xwin-Math, table 2", _XWIN_PAPER)
_README = Source("Xwin-Math's README, V1.0", "https://github.com/Xwin-LM/Xwin-LM/tree/main/Xwin-Math")
_CARD_7B = Source("model card of Xwin-Math-7B-V1.1", "https://huggingface.co/Xwin-LM/Xwin-Math-7B-V1.1")
_CARD_70B = Source("model card of Xwin-Math-70B-V1.1", "https://huggingface.co/Xwin-LM/Xwin-Math-70B-V1.1")
_EXAM = Source("Xwin-Math, Hungarian exam", _XWIN_PAPER)
_DART = Source("DART-Math, main results", "https://arxiv.org/abs/2407.13690")

_AS_REPORTED = "reported by others"
_ANSWERS = ("gsm8k", "math")
_CLOSED = """
GPT-4 Turbo (1106) | gpt-4-1106-preview | 94.8 64.5
GPT-4-0314 | gpt-4-0314 | 94.7 52.6
GPT-4 (tech report) | - | 92.0 42.5
Claude-2 | claude-2(\\.0)? | 88.0 -
GPT-3.5-Turbo | - | 80.8 34.1
"""
_OTHERS = """
WizardMath-7B | wizardmath-7b-v1\\.0 | 54.9 10.7
MuggleMath-7B | - | 68.4 -
MetaMath-7B | metamath-7b-v1\\.0 | 66.5 19.8
LEMA-LLaMA-2-7B | - | 54.1 9.4
WizardMath-7B-v1.1 | wizardmath-7b-v1\\.1 | 83.2 33.0
MetaMath-Mistral-7B | metamath-mistral-7b | 77.4 28.2
MetaMath-Llemma-7B | metamath-llemma-7b | 69.2 30.0
WizardMath-13B | wizardmath-13b-v1\\.0 | 63.9 14.0
MuggleMath-13B | - | 74.0 -
MetaMath-13B | metamath-13b-v1\\.0 | 72.3 22.4
LEMA-LLaMA-2-13B | - | 65.7 12.6
WizardMath-70B | wizardmath-70b-v1\\.0 | 81.6 22.7
MuggleMath-70B | - | 82.3 -
MetaMath-70B | metamath-70b-v1\\.0 | 82.3 26.6
LEMA-LLaMA-2-70B | - | 83.5 25.0
"""
_SPECIALISTS = """
Xwin-Math-7B | - | 82.6 40.6
Xwin-Math-Mistral-7B | - | 89.2 43.7
Xwin-Math-Llemma-7B | - | 84.2 47.2
Xwin-Math-13B | - | 88.1 44.9
Xwin-Math-70B | - | 90.6 52.8
"""
_RELEASED_V1_0 = """
Xwin-Math-7B-V1.0 | xwin-math-7b-v1\\.0 | 66.6 17.4
Xwin-Math-13B-V1.0 | xwin-math-13b-v1\\.0 | 76.2 21.7
Xwin-Math-70B-V1.0 | xwin-math-70b-v1\\.0 | 87.0 31.8
"""
_RELEASED_7B = "Xwin-Math-7B-V1.1 | xwin-math-7b-v1\\.1 | 84.4 44.7"
_RELEASED_70B = "Xwin-Math-70B-V1.1 | xwin-math-70b-v1\\.1 | 90.6 51.9"

_WIDER = ("svamp", "asdiv", "numglue", "algebra", "mawps", "average")
_WIDE_XWIN = "Xwin-Math-70B-V1.0 | xwin-math-70b-v1\\.0 | 84.0 84.1 81.3 78.4 90.8 83.7"
_WIDE_SHOTS = "GPT-3.5-Turbo | - | 80.6 84.1 81.8 90.5 91.7 85.7"
_WIDE_OTHERS = """
MetaMath-70B | metamath-70b-v1\\.0 | 85.8 81.1 77.5 79.7 81.4 81.1
LEMAv1-70B-MATH | - | 81.6 77.1 72.1 69.4 81.8 76.5
WizardMath-70B | wizardmath-70b-v1\\.0 | 80.2 75.8 71.4 64.0 74.9 73.3
MAmmoTH-70B | mammoth-70b | 71.2 73.9 62.7 58.1 72.2 67.6
"""

_HUNGARIAN = ("hungarian",)
_EXAMINED = """
GPT-4 | - | 68
Grok-1 | - | 59
DeepSeek-LLM-67B-Chat | deepseek-llm-67b-chat | 58
Claude-2 | claude-2(\\.0)? | 55
GPT-3.5 Turbo | - | 41
Xwin-Math-70B, 480K GSM8K | - | 22
Xwin-Math-70B, 120K MATH | - | 51
Xwin-Math-70B, 480K MATH | - | 59
Xwin-Math-70B, 480K mix | - | 65
"""

_SIX = ("math", "gsm8k", "college-math", "deepmind-mathematics", "olympiadbench", "theoremqa", "average")
_DART_ROWS = """
Llama2-70B-Xwin-V1.1 | xwin-math-70b-v1\\.1 | 52.5 90.2 33.1 58.0 16.3 14.9 44.2
Llama3-70B-MetaMath | - | 44.9 88.0 31.9 53.2 11.6 21.9 41.9
Llama3-70B-MMIQC | - | 49.4 89.3 37.6 60.4 15.3 23.5 45.9
Llama3-70B-VRT | - | 53.1 90.3 36.8 62.8 19.3 28.6 48.5
Llama3-70B Uniform | dart-math-llama3-70b-uniform | 54.9 90.4 38.5 64.1 19.1 27.4 49.1
Llama3-70B Prop2Diff | dart-math-llama3-70b-prop2diff | 56.1 89.6 37.9 64.1 20.0 28.2 49.3
DSMath-7B-Instruct | deepseek-math-7b-instruct | 46.9 82.7 37.1 52.2 14.2 28.1 43.5
DSMath-7B-MetaMath | - | 43.7 81.8 33.7 53.0 13.6 23.2 41.5
DSMath-7B-MMIQC | - | 45.3 79.0 35.3 52.9 13.0 23.4 41.5
DSMath-7B-KPMath-Plus | - | 48.8 83.9 - - - - -
DSMath-7B-RL | deepseek-math-7b-rl | 53.1 88.4 41.3 58.3 18.7 35.9 49.3
DSMath-7B-VRT | - | 53.0 88.2 41.9 60.2 19.1 27.2 48.3
DSMath-7B Uniform | dart-math-dsmath-7b-uniform | 52.9 88.2 40.1 60.2 21.3 32.5 49.2
DSMath-7B Prop2Diff | dart-math-dsmath-7b-prop2diff | 53.6 86.8 40.7 61.6 21.7 32.2 49.4
Llama2-7B-Xwin-V1.1 | xwin-math-7b-v1\\.1 | 45.5 84.9 27.6 43.0 10.5 15.0 37.8
Mistral-7B-WizardMath-V1.1 | wizardmath-7b-v1\\.1 | 32.3 80.4 23.1 38.4 7.7 16.6 33.1
Mistral-7B-MetaMath | - | 29.8 76.5 19.3 28.0 5.9 14.0 28.9
Mistral-7B-MMIQC | - | 37.4 75.4 28.5 38.0 9.4 16.2 34.2
Mistral-7B-MathScale | - | 35.2 74.8 21.8 - - - -
Mistral-7B-KPMath-Plus | - | 46.8 82.1 - - - - -
Mistral-7B-VRT | - | 38.7 82.3 24.2 35.6 8.7 16.2 34.3
Mistral-7B Uniform | dart-math-mistral-7b-uniform | 43.5 82.6 26.9 42.0 13.2 16.4 37.4
Mistral-7B Prop2Diff | dart-math-mistral-7b-prop2diff | 45.5 81.1 29.4 45.1 14.7 17.0 38.8
Llama3-8B-MetaMath | - | 32.5 77.3 20.6 35.0 5.5 13.8 30.8
Llama3-8B-MMIQC | - | 39.5 77.6 29.5 41.0 9.6 16.2 35.6
Llama3-8B-VRT | - | 39.7 81.7 23.9 41.7 9.3 14.9 35.2
Llama3-8B Uniform | dart-math-llama3-8b-uniform | 45.3 82.5 27.1 48.2 13.6 15.4 38.7
Llama3-8B Prop2Diff | dart-math-llama3-8b-prop2diff | 46.6 81.1 28.8 48.0 14.5 19.4 39.7
"""
_DART_SHOTS = """
Llama3-70B-ICL | meta-llama-3-70b | 44.0 80.1 33.5 51.7 10.8 27.0 41.2
DSMath-7B-ICL | deepseek-math-7b-base | 35.5 64.2 34.7 45.2 9.3 23.5 35.4
Mistral-7B-ICL | mistral-7b-v0\\.1 | 16.5 45.9 17.9 23.5 3.7 14.2 20.3
Llama3-8B-ICL | meta-llama-3-8b | 21.2 51.0 19.9 27.4 4.2 19.8 23.9
"""
_DART_CLOSED = """
GPT-4-Turbo (24-04-09) | gpt-4-turbo-2024-04-09 | 73.4 94.5 48.4
Claude-3-Opus | claude-3-opus-20240229 | 60.1 95.0 -
GPT-4-0314 | gpt-4-0314 | 52.6 94.7 24.4
"""


def _figures(
    source: Source, benchmarks: tuple[str, ...], rows: str, style: str | None = None, note: str | None = None
) -> list[Figure]:
    found = []
    for row in rows.strip().splitlines():
        model, pattern, values = (part.strip() for part in row.split(" | "))
        for benchmark, value in zip(benchmarks, values.split(), strict=True):
            if value != "-":
                found.append(
                    Figure(
                        model=model,
                        benchmark=benchmark,
                        percent=float(value),
                        source=source,
                        pattern=None if pattern == "-" else pattern,
                        style=style,
                        note=note,
                    )
                )
    return found


FIGURES = (
    *_figures(_TABLE_2, _ANSWERS, _CLOSED, note=_AS_REPORTED),
    *_figures(_TABLE_2, _ANSWERS, _OTHERS, note=_AS_REPORTED),
    *_figures(_TABLE_2, _ANSWERS, _SPECIALISTS, "xwin-flex", "one model per benchmark, neither released"),
    *_figures(_README, _ANSWERS, _RELEASED_V1_0, "xwin-flex"),
    *_figures(_CARD_7B, _ANSWERS, _RELEASED_7B, "xwin-flex"),
    *_figures(_CARD_70B, _ANSWERS, _RELEASED_70B, "xwin-flex"),
    *_figures(_README, _WIDER, _WIDE_XWIN, "xwin-flex"),
    *_figures(_README, _WIDER, _WIDE_SHOTS, note="8-shot"),
    *_figures(_README, _WIDER, _WIDE_OTHERS, "xwin-flex"),
    *_figures(_EXAM, _HUNGARIAN, _EXAMINED, note="points given by people"),
    *_figures(_DART, _SIX, _DART_ROWS, "dart"),
    *_figures(_DART, _SIX, _DART_SHOTS, "dart", "few-shot (4 examples, TheoremQA 5)"),
    *_figures(_DART, ("math", "gsm8k", "theoremqa"), _DART_CLOSED, note=_AS_REPORTED),
)
"""Every figure."""


def figures_of(model: str, benchmark: str) -> list[Figure]:
    """What is published of this very checkpoint on this benchmark.

    Args:
        model: As `--model` takes it.
        benchmark: Name of a problem set.
    """
    name = bare_name(model)
    return [
        figure
        for figure in FIGURES
        if figure.benchmark == benchmark
        and figure.pattern is not None
        and re.fullmatch(figure.pattern, name, re.IGNORECASE)
    ]
