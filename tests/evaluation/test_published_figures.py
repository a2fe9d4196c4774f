"""Published figures against a copy of the sources' tables, value by value, and against the names they are of."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest
from benches import DART, XWIN

from upwell.evaluation.published import FIGURES, figures_of
from upwell.evaluation.suites import SUITES

TABLE_2 = """
| GPT-4 Turbo (1106) | 94.8 | 64.5 |
| GPT-4-0314 | 94.7 | 52.6 |
| GPT-4 (tech report) | 92.0 | 42.5 |
| Claude-2 | 88.0 | - |
| GPT-3.5-Turbo | 80.8 | 34.1 |
| WizardMath-7B | 54.9 | 10.7 |
| MuggleMath-7B | 68.4 | - |
| MetaMath-7B | 66.5 | 19.8 |
| LEMA-LLaMA-2-7B | 54.1 | 9.4 |
| Xwin-Math-7B | 82.6 | 40.6 |
| WizardMath-7B-v1.1 | 83.2 | 33.0 |
| MetaMath-Mistral-7B | 77.4 | 28.2 |
| Xwin-Math-Mistral-7B | 89.2 | 43.7 |
| MetaMath-Llemma-7B | 69.2 | 30.0 |
| Xwin-Math-Llemma-7B | 84.2 | 47.2 |
| WizardMath-13B | 63.9 | 14.0 |
| MuggleMath-13B | 74.0 | - |
| MetaMath-13B | 72.3 | 22.4 |
| LEMA-LLaMA-2-13B | 65.7 | 12.6 |
| Xwin-Math-13B | 88.1 | 44.9 |
| WizardMath-70B | 81.6 | 22.7 |
| MuggleMath-70B | 82.3 | - |
| MetaMath-70B | 82.3 | 26.6 |
| LEMA-LLaMA-2-70B | 83.5 | 25.0 |
| Xwin-Math-70B | 90.6 | 52.8 |
"""
CHECKPOINTS = """
| Xwin-Math-7B-V1.0 | 66.6 | 17.4 |
| Xwin-Math-13B-V1.0 | 76.2 | 21.7 |
| Xwin-Math-70B-V1.0 | 87.0 | 31.8 |
| Xwin-Math-7B-V1.1 | 84.4 | 44.7 |
| Xwin-Math-70B-V1.1 | 90.6 | 51.9 |
"""
WIDER = """
| Xwin-Math-70B-V1.0 | 84.0 | 84.1 | 81.3 | 78.4 | 90.8 | 83.7 |
| GPT-3.5-Turbo | 80.6 | 84.1 | 81.8 | 90.5 | 91.7 | 85.7 |
| MetaMath-70B | 85.8 | 81.1 | 77.5 | 79.7 | 81.4 | 81.1 |
| LEMAv1-70B-MATH | 81.6 | 77.1 | 72.1 | 69.4 | 81.8 | 76.5 |
| WizardMath-70B | 80.2 | 75.8 | 71.4 | 64.0 | 74.9 | 73.3 |
| MAmmoTH-70B | 71.2 | 73.9 | 62.7 | 58.1 | 72.2 | 67.6 |
"""
EXAM = """
| GPT-4 | 68 |
| Grok-1 | 59 |
| DeepSeek-LLM-67B-Chat | 58 |
| Claude-2 | 55 |
| GPT-3.5 Turbo | 41 |
| Xwin-Math-70B, 480K GSM8K | 22 |
| Xwin-Math-70B, 120K MATH | 51 |
| Xwin-Math-70B, 480K MATH | 59 |
| Xwin-Math-70B, 480K mix | 65 |
"""
DART_MAIN = """
| Llama2-70B-Xwin-V1.1 | 52.5 | 90.2 | 33.1 | 58.0 | 16.3 | 14.9 | 44.2 |
| Llama3-70B-ICL | 44.0 | 80.1 | 33.5 | 51.7 | 10.8 | 27.0 | 41.2 |
| Llama3-70B-MetaMath | 44.9 | 88.0 | 31.9 | 53.2 | 11.6 | 21.9 | 41.9 |
| Llama3-70B-MMIQC | 49.4 | 89.3 | 37.6 | 60.4 | 15.3 | 23.5 | 45.9 |
| Llama3-70B-VRT | 53.1 | 90.3 | 36.8 | 62.8 | 19.3 | 28.6 | 48.5 |
| Llama3-70B Uniform | 54.9 | 90.4 | 38.5 | 64.1 | 19.1 | 27.4 | 49.1 |
| Llama3-70B Prop2Diff | 56.1 | 89.6 | 37.9 | 64.1 | 20.0 | 28.2 | 49.3 |
| DSMath-7B-ICL | 35.5 | 64.2 | 34.7 | 45.2 | 9.3 | 23.5 | 35.4 |
| DSMath-7B-Instruct | 46.9 | 82.7 | 37.1 | 52.2 | 14.2 | 28.1 | 43.5 |
| DSMath-7B-MetaMath | 43.7 | 81.8 | 33.7 | 53.0 | 13.6 | 23.2 | 41.5 |
| DSMath-7B-MMIQC | 45.3 | 79.0 | 35.3 | 52.9 | 13.0 | 23.4 | 41.5 |
| DSMath-7B-KPMath-Plus | 48.8 | 83.9 | - | - | - | - | - |
| DSMath-7B-RL | 53.1 | 88.4 | 41.3 | 58.3 | 18.7 | 35.9 | 49.3 |
| DSMath-7B-VRT | 53.0 | 88.2 | 41.9 | 60.2 | 19.1 | 27.2 | 48.3 |
| DSMath-7B Uniform | 52.9 | 88.2 | 40.1 | 60.2 | 21.3 | 32.5 | 49.2 |
| DSMath-7B Prop2Diff | 53.6 | 86.8 | 40.7 | 61.6 | 21.7 | 32.2 | 49.4 |
| Llama2-7B-Xwin-V1.1 | 45.5 | 84.9 | 27.6 | 43.0 | 10.5 | 15.0 | 37.8 |
| Mistral-7B-ICL | 16.5 | 45.9 | 17.9 | 23.5 | 3.7 | 14.2 | 20.3 |
| Mistral-7B-WizardMath-V1.1 | 32.3 | 80.4 | 23.1 | 38.4 | 7.7 | 16.6 | 33.1 |
| Mistral-7B-MetaMath | 29.8 | 76.5 | 19.3 | 28.0 | 5.9 | 14.0 | 28.9 |
| Mistral-7B-MMIQC | 37.4 | 75.4 | 28.5 | 38.0 | 9.4 | 16.2 | 34.2 |
| Mistral-7B-MathScale | 35.2 | 74.8 | 21.8 | - | - | - | - |
| Mistral-7B-KPMath-Plus | 46.8 | 82.1 | - | - | - | - | - |
| Mistral-7B-VRT | 38.7 | 82.3 | 24.2 | 35.6 | 8.7 | 16.2 | 34.3 |
| Mistral-7B Uniform | 43.5 | 82.6 | 26.9 | 42.0 | 13.2 | 16.4 | 37.4 |
| Mistral-7B Prop2Diff | 45.5 | 81.1 | 29.4 | 45.1 | 14.7 | 17.0 | 38.8 |
| Llama3-8B-ICL | 21.2 | 51.0 | 19.9 | 27.4 | 4.2 | 19.8 | 23.9 |
| Llama3-8B-MetaMath | 32.5 | 77.3 | 20.6 | 35.0 | 5.5 | 13.8 | 30.8 |
| Llama3-8B-MMIQC | 39.5 | 77.6 | 29.5 | 41.0 | 9.6 | 16.2 | 35.6 |
| Llama3-8B-VRT | 39.7 | 81.7 | 23.9 | 41.7 | 9.3 | 14.9 | 35.2 |
| Llama3-8B Uniform | 45.3 | 82.5 | 27.1 | 48.2 | 13.6 | 15.4 | 38.7 |
| Llama3-8B Prop2Diff | 46.6 | 81.1 | 28.8 | 48.0 | 14.5 | 19.4 | 39.7 |
"""
QUOTED = """
| GPT-4-Turbo (24-04-09) | 73.4 | 94.5 | 48.4 |
| Claude-3-Opus | 60.1 | 95.0 | - |
| GPT-4-0314 | 52.6 | 94.7 | 24.4 |
"""
SIX = ("math", "gsm8k", "college-math", "deepmind-mathematics", "olympiadbench", "theoremqa", "average")
SOURCES = {
    "Xwin-Math, table 2": [(TABLE_2, ("gsm8k", "math"))],
    "checkpoints": [(CHECKPOINTS, ("gsm8k", "math")),
                    (WIDER, ("svamp", "asdiv", "numglue", "algebra", "mawps", "average"))],
    "Xwin-Math, Hungarian exam": [(EXAM, ("hungarian",))],
    "DART-Math, main results": [(DART_MAIN, SIX), (QUOTED, ("math", "gsm8k", "theoremqa"))],
}  # fmt: skip


def expected() -> dict[str, dict[tuple[str, str], float]]:
    found: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for source, tables in SOURCES.items():
        for table, benchmarks in tables:
            for line in table.strip().splitlines():
                model, *values = (cell.strip() for cell in line.strip("|").split("|"))
                for benchmark, value in zip(benchmarks, values, strict=True):
                    if value != "-":
                        found[source][model, benchmark] = float(value)
    return found


def test_every_value_and_no_other() -> None:
    found: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for figure in FIGURES:
        title = figure.source.title
        source = "checkpoints" if title.startswith(("model card", "Xwin-Math's README")) else title
        key = (figure.model, figure.benchmark)
        assert key not in found[source], f"{source}: {key} stands there twice"
        found[source][key] = figure.percent
    assert found == expected()


def test_averages_are_of_their_rows() -> None:
    """As far as rounding goes; the table itself has two lines whose average is off by a tenth."""
    for table in (DART_MAIN, WIDER):
        for line in table.strip().splitlines():
            model, *values = (cell.strip() for cell in line.strip("|").split("|"))
            if "-" not in values:
                *parts, average = map(float, values)
                assert sum(parts) / len(parts) == pytest.approx(average, abs=0.16), model


def test_figures_have_sources_and_known_benchmarks() -> None:
    sets = {entry.problems for suite in SUITES.values() for entry in suite.sets} | {"average"}
    for figure in FIGURES:
        assert figure.source.title and figure.source.url.startswith("https://")
        assert figure.benchmark in sets
        assert figure.pattern is None or re.compile(figure.pattern)
        assert 0 < figure.percent < 100


@pytest.mark.parametrize(
    ("model", "benchmark", "wanted"),
    [
        (XWIN, "gsm8k", {84.4, 84.9}),
        (XWIN, "math", {44.7, 45.5}),
        (XWIN, "svamp", set()),
        ("Xwin-LM/Xwin-Math-7B-V1.0", "math", {17.4}),
        ("/models/Xwin-Math-70B-V1.1", "math", {51.9, 52.5}),
        ("Xwin-LM/Xwin-Math-70B-V1.0", "mawps", {90.8}),
        ("server:http://127.0.0.1:8000/v1#hkust-nlp/dart-math-llama3-8b-prop2diff", "theoremqa", {19.4}),
        (DART, "college-math", {26.9}),
        ("hkust-nlp/dart-math-mistral-7b-prop2diff", "college-math", {29.4}),
        ("hkust-nlp/dart-math-dsmath-7b-uniform", "olympiadbench", {21.3}),
        ("hkust-nlp/dart-math-llama3-70b-prop2diff", "math", {56.1}),
        ("deepseek-ai/deepseek-math-7b-rl", "theoremqa", {35.9}),
        ("meta-math/MetaMath-Mistral-7B", "gsm8k", {77.4}),
        ("gpt-4-0314", "gsm8k", {94.7}),
        ("smollm2-135m-instruct", "gsm8k", set()),
        # The paper's own models were never released: no checkpoint is them.
        ("Xwin-LM/Xwin-Math-7B", "gsm8k", set()),
        ("me/dart-math-mistral-7b-uniform-again", "math", set()),
    ],
)
def test_figures_are_shown_for_the_very_model(model: str, benchmark: str, wanted: set[float]) -> None:
    assert {figure.percent for figure in figures_of(model, benchmark)} == wanted
