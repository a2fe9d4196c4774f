"""Shapes against published counts, FLOPs and memory against sums done by hand, hours against the papers'."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from upwell.errors import UsageError
from upwell.records import Example
from upwell.runs import Run
from upwell.training import TrainSettings, plan
from upwell.training.corpora import CORPORA
from upwell.training.cost import FILL, memory_of, work_of
from upwell.training.hardware import MFU, find_hardware
from upwell.training.planner import plan_on
from upwell.training.published import compared
from upwell.training.recipes import RECIPES, Recipe, Sourced
from upwell.training.shapes import SHAPES, Shape, shape_of

H100, A100 = 989.4e12, 312e12


def using(recipe: Recipe, **values: Any) -> Recipe:
    return replace(recipe, **{name: Sourced(value, "ours", "test") for name, value in values.items()})


TINY = Shape(name="tiny", hidden=8, layers=2, heads=2, kv_heads=1, intermediate=16, vocab=32)
RECIPE = using(RECIPES["xwin-llama2-7b"], max_length=100, batch_size=4, epochs=2, checkpointing=True)


# Shapes


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_counted_parameters_are_the_published(shape: Shape) -> None:
    assert shape.published is not None and shape.source.startswith("https://huggingface.co/")
    assert shape.parameters == shape.published


def test_parameters_by_hand() -> None:
    # q 8x8, k and v 8x4, o 8x8, three of 8x16, two norms of 8; embedding and output 32x8, last norm 8.
    assert TINY.layer_parameters == 64 + 32 + 32 + 64 + 3 * 128 + 16
    assert TINY.parameters == 2 * 592 + 2 * 256 + 8
    assert TINY.multiplied == 2 * 576 + 256
    assert replace(TINY, tied=True).parameters == TINY.parameters - 256
    assert replace(TINY, tied=True).multiplied == TINY.multiplied
    assert replace(TINY, qkv_bias=True).parameters == TINY.parameters + 2 * 16
    assert TINY.lora_parameters(2) == 2 * 2 * (16 + 12 + 12 + 16 + 24 + 24 + 24)


def test_a_folder_has_its_own_shape(tmp_path: Path) -> None:
    config = {
        "model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "intermediate_size": 16, "vocab_size": 32, "tie_word_embeddings": False,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert shape_of(str(tmp_path)).parameters == TINY.parameters


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[]",
        '{"model_type": "llama"}',
        '{"model_type": "mamba"}',
        '{"model_type": "llama", "hidden_size": "x"}',
        '{"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 0, '
        '"intermediate_size": 16, "vocab_size": 32}',
    ],
)
def test_a_folder_that_cannot_be_counted_is_refused(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(UsageError) as error:
        shape_of(str(tmp_path))
    assert "config.json" in error.value.message and error.value.hint


def test_a_base_without_a_shape_names_the_nearest() -> None:
    with pytest.raises(UsageError) as error:
        shape_of("meta-llama/Llama-2-7b")
    assert error.value.hint == "--base meta-llama/Llama-2-7b-hf"


# Work


def test_tokens_steps_and_flops_by_hand() -> None:
    corpus = replace(CORPORA["gsm8k-train"], rows=1000, question=0.0, solution=19.0, rendered=True)
    work = work_of(RECIPE, TINY, corpus)
    assert work.tokens_per_epoch == 20_000
    assert work.rows_per_epoch == math.ceil(20_000 / (100 * FILL)) == 203
    assert (work.steps_per_epoch, work.steps, work.warmup_steps) == (51, 102, 5)  # 4 % of 102 is 4.08
    assert work.tokens_per_step == 400
    # 6 x 1,408 multiplied, and 3 x 2 x 2 layers x 20 tokens x width 8 of attention, for each of 40,000 tokens
    assert work.model_flops == 40_000 * (6 * 1408 + 1920)
    # again forward: 2 x the layers' 1,152, and 640 of attention
    assert work.hardware_flops == 40_000 * (6 * 1408 + 1920 + 2 * 1152 + 640)


def test_padding_computes_whole_rows() -> None:
    corpus = replace(CORPORA["gsm8k-train"], rows=1000, question=0.0, solution=19.0, rendered=True)
    work = work_of(RECIPE, TINY, corpus, padded=True)
    assert work.rows_per_epoch == 1000 and work.tokens_per_epoch == 20_000
    assert work.model_flops == 2 * 1000 * 100 * (6 * 1408 + 3 * 2 * 2 * 100 * 8)


def test_adapters_save_weight_gradients_only() -> None:
    corpus = CORPORA["gsm8k-train"]
    full = work_of(RECIPE, SHAPES["meta-llama/Llama-2-7b-hf"], corpus).model_flops
    lora = work_of(using(RECIPE, method="lora"), SHAPES["meta-llama/Llama-2-7b-hf"], corpus).model_flops
    assert 0.66 < lora / full < 0.70


def test_an_example_is_never_longer_than_a_row() -> None:
    corpus = replace(CORPORA["gsm8k-train"], rows=10, question=0.0, solution=500.0, rendered=True)
    assert work_of(RECIPE, TINY, corpus).tokens_per_epoch == 1000


@pytest.mark.parametrize(("data", "steps"), [("dart-hard", 1360), ("dart-uniform", 840)])
def test_darts_steps_per_epoch(data: str, steps: int) -> None:
    work = work_of(RECIPES["dart-mistral-7b"], SHAPES["mistralai/Mistral-7B-v0.1"], CORPORA[data])
    assert work.steps_per_epoch == pytest.approx(steps, rel=0.02)  # B2, worked out without a share left empty


# Memory


def test_memory_of_states_is_sixteen_bytes_a_weight() -> None:
    shape = SHAPES["meta-llama/Llama-2-7b-hf"]
    recipe = RECIPES["xwin-llama2-7b"]
    alone = memory_of(recipe, shape, devices=8, rows=1, sharding="none", method="full")
    spread = memory_of(recipe, shape, devices=8, rows=1, sharding="fsdp2", method="full")
    assert alone.weights + alone.gradients + alone.optimizer == 16 * shape.parameters
    assert alone.gathered == 2 * shape.parameters
    assert spread.weights + spread.gradients + spread.optimizer == 2 * shape.parameters
    assert spread.gathered == 2 * (2 * 32_000 * 4096 + 4096 + 2 * shape.layer_parameters)
    assert spread == memory_of(recipe, shape, devices=8, rows=1, sharding="zero3", method="full")
    exact = memory_of(recipe, shape, devices=1, rows=1, sharding="none", method="full", half=False)
    assert exact.gathered == 0 and exact.activations > alone.activations


def test_memory_of_activations_by_hand() -> None:
    kept = memory_of(RECIPE, TINY, devices=1, rows=1, sharding="none", method="full").activations
    # 100 tokens: inputs of 2 layers of 8 in bfloat16, then 32 logits of 14 bytes, or a layer with its gradients
    layer = 2 * (5 * 8 + 2 * (8 + 2 * 4) + 4 * 16) + 2 * 4 * 8
    assert kept == 100 * (2 * 16 + max(14 * 32, 2 * layer))
    whole = memory_of(
        using(RECIPE, checkpointing=False), TINY, devices=1, rows=1, sharding="none", method="full"
    ).activations
    assert whole == 100 * (2 * layer + max(14 * 32, 2 * layer))


def test_adapters_keep_states_of_the_adapters_only() -> None:
    shape = SHAPES["meta-llama/Llama-2-7b-hf"]
    found = memory_of(RECIPES["xwin-llama2-7b"], shape, devices=1, rows=1, sharding="none", method="lora")
    trained = shape.lora_parameters(16)
    assert trained == 39_976_960
    assert found.weights == 2 * shape.parameters + 4 * trained and found.optimizer == 8 * trained


@pytest.mark.parametrize(
    ("recipe", "hardware", "passes"),
    [("dart-llama3-8b", "8xA100", 2), ("dart-mistral-7b", "8xA100", 1), ("dart-dsmath-7b", "8xA100", 1)],
)
def test_darts_accumulation_follows_from_memory(recipe: str, hardware: str, passes: int) -> None:
    """B3: no accumulation by default, 2 for Llama3-8B on 8 A100 (its vocabulary is four times Mistral's)."""
    chosen = RECIPES[recipe]
    found = plan_on(find_hardware(hardware), chosen, SHAPES[chosen.base.value], CORPORA["dart-hard"])
    assert found.fit.fits and found.fit.accumulation == passes


def test_seventy_billion_need_thirty_two() -> None:
    chosen = RECIPES["xwin-llama2-70b"]
    found = plan_on(find_hardware("8xH100"), chosen, SHAPES[chosen.base.value], CORPORA["xwin-gsm8k-960k"])
    assert not found.fit.fits and found.devices_needed == 32
    assert any(fit.fits and fit.method == "lora" for fit in found.others)


# Hours


def test_hours_and_dollars_by_hand() -> None:
    chosen = RECIPES["dart-mistral-7b"]
    shape, corpus = SHAPES[chosen.base.value], CORPORA["dart-hard"]
    found = plan_on(find_hardware("8xH100", mfu=0.5, price=2.5), chosen, shape, corpus)
    seconds = work_of(chosen, shape, corpus).model_flops / (8 * H100 * 0.5)
    assert found.hours == pytest.approx(seconds / 3600)
    assert found.usd == pytest.approx(found.hours * 8 * 2.5)


@pytest.mark.parametrize(
    ("recipe", "reading", "hours", "peak", "flops", "implied"),
    [
        # A4: 1,900 H100 GPU-hours; 960K examples of 451 tokens, 3 epochs, and 68.7e9 parameters multiplied
        ("xwin-llama2-70b", "packed", 1900, H100, 6 * 68.7e9 * 960e3 * 451 * 3, 0.08),
        ("xwin-llama2-70b", "padded", 1900, H100, 6 * 68.7e9 * 960e3 * 2048 * 3, 0.36),
        # B3: 3 h per epoch on 8 A100; 281.2M + 56.5M tokens, and 31 per example for template and end
        ("dart-mistral-7b", "packed", 24, A100, 6 * 7.11e9 * 355.9e6, 0.56),
        ("dart-dsmath-7b", "packed", 24, A100, 6 * 6.49e9 * 355.9e6, 0.51),
        ("dart-llama3-8b", "packed", 24, A100, 6 * 7.50e9 * 355.9e6, 0.59),
        # B3: 6 h per epoch on 32 A100
        ("dart-llama3-70b", "packed", 192, A100, 6 * 69.5e9 * 355.9e6, 0.69),
    ],
)
def test_papers_hours_and_the_mfu_that_they_imply(
    recipe: str, reading: str, hours: float, peak: float, flops: float, implied: float
) -> None:
    (found,) = compared(recipe)
    got = found[reading]
    by_hand = flops / (hours * 3600 * peak)  # without attention, which adds 1 to 3 %
    assert by_hand == pytest.approx(implied, abs=0.006)
    assert got["implied_mfu"] == pytest.approx(by_hand, rel=0.04)
    assert got["difference"] == pytest.approx(got["implied_mfu"] / MFU - 1)
    assert got["gpu_hours"] == pytest.approx(hours * (1 + got["difference"]))


# Hardware


@pytest.mark.parametrize(
    ("name", "devices", "peak"), [("8xH100", 8, H100), ("a100", 1, A100), ("32xA100", 32, A100)]
)
def test_hardware_by_name(name: str, devices: int, peak: float) -> None:
    found = find_hardware(name)
    assert (found.devices, found.peak) == (devices, peak)


@pytest.mark.parametrize("name", ["8xB100", "0xH100", "x", "", "8 x H100", "-1xH100", "999999xH100"])
def test_unknown_hardware_is_refused_with_a_name_that_works(name: str) -> None:
    with pytest.raises(UsageError) as error:
        find_hardware(name)
    hint = error.value.hint or ""
    assert find_hardware(hint.removeprefix("--hardware ")).devices == 8


def test_this_machine() -> None:
    found = find_hardware("here")
    assert found.name.startswith("here: ") and found.peak > 1e9 and found.memory > 1e8 and found.price is None


# The whole


def test_flags_about_hardware_are_not_of_this_machine_unless_it_is_named() -> None:
    usual = plan(TrainSettings(recipe="smollm2-135m", mfu=0.1, price=1.0))["plans"]
    assert [(p["assumed_mfu"], p["assumed_usd_per_device_hour"]) for p in usual] == [(0.1, 1.0), (MFU, None)]
    named = plan(TrainSettings(recipe="smollm2-135m", mfu=0.1, hardware=("here",)))["plans"]
    assert [p["assumed_mfu"] for p in named] == [0.1]


def test_a_plan_on_examples_of_a_run(tmp_path: Path) -> None:
    examples = [
        Example(key=f"k{i}", prompt="p" * 40, completion="c" * 60, problem=f"q{i}") for i in range(50)
    ]
    with Run.open(tmp_path / "set", verb="curate", settings={}, fingerprint={}) as run:
        run.append("examples", examples)
        with pytest.raises(UsageError, match="not a finished run"):
            plan(TrainSettings(recipe="smollm2-135m", hardware=("1xH100",)), str(tmp_path / "set"))
        run.finish({"counts": {"examples": 50}, "tokens": {"completion": 50 * 15, "by": "words"}})
    found = plan(TrainSettings(recipe="smollm2-135m", hardware=("1xH100",)), str(tmp_path / "set"))
    assert found["data"]["examples"] == 50
    assert found["data"]["tokens_per_example"] == pytest.approx(
        10 + 15 + 1
    )  # prompts at the completions' rate
    with pytest.raises(UsageError, match="--examples and the run"):
        plan(TrainSettings(recipe="smollm2-135m", examples=5), str(tmp_path / "set"))


def test_count_and_length_can_be_said() -> None:
    settings = TrainSettings(
        recipe="xwin-llama2-7b", examples=7500, tokens_per_example=400, hardware=("8xH100",)
    )
    (found,) = plan(settings)["plans"]
    assert found["tokens_per_epoch"] == 3_000_000


def test_rows_padded_to_the_maximum_length_cost_what_they_hold() -> None:
    packed, full = (
        plan(
            TrainSettings(
                recipe="smollm2-135m", examples=1000, tokens_per_example=128, hardware=("here",), rows=rows
            )
        )["plans"][0]
        for rows in (None, "full")
    )
    assert full["tokens_per_epoch"] == packed["tokens_per_epoch"] == 128_000
    assert full["rows_per_epoch"] == 1000
    assert full["hours"] > 7 * packed["hours"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"examples": 0}, "--examples is 0"),
        ({"tokens_per_example": 1.0}, "--tokens-per-example is 1.0"),
        ({"mfu": 40.0}, "--mfu is 40.0"),
        ({"mfu": math.nan}, "--mfu is nan"),
        ({"price": -1.0}, "--price is -1.0"),
        ({"method": "qlora"}, "--method is `qlora`"),
    ],
)
def test_settings_out_of_range_are_refused_with_one_in_it(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as error:
        TrainSettings(recipe="smollm2-135m", **wrong)
    assert told in error.value.message
    flag, _, value = (error.value.hint or "").removeprefix("--").partition(" ")
    name = flag.replace("-", "_")
    TrainSettings(recipe="smollm2-135m", **{name: value if name == "method" else type(wrong[name])(value)})
