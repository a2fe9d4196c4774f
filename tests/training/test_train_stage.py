"""The stage that trains, in one process: losses, adapters, what it leaves, and what it refuses."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_runs import example_run, examples, seeds, template_of, texts

from upwell.errors import StorageError, UpwellError, UsageError
from upwell.measurement.watch import Silent
from upwell.records import Example, Reject, Step
from upwell.runs import Run
from upwell.training.settings import TrainSettings
from upwell.training.stage import train

RECIPE = {"llama2": "xwin-llama2-7b", "qwen2": "qwen2.5-math-1.5b"}
PROMPT = {"llama2": "xwin-math", "qwen2": "qwen2.5-math"}
COUNT = 12

Trained = Callable[..., Path]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bases, and examples for each in the prompt of its recipe."""
    room = tmp_path_factory.mktemp("stage")
    for family, base in seeds(room, RECIPE).items():
        template = template_of(base, PROMPT[family])
        example_run(room / f"{family}-examples", template, examples(template, texts(COUNT)))
    return room


@pytest.fixture
def trained(room: Path, tmp_path: Path) -> Trained:
    """Train a family's small base on its examples."""

    def run(family: str, out: str = "run", examples: Path | None = None, **settings: Any) -> Path:
        usual: dict[str, Any] = {
            "recipe": RECIPE[family], "base": str(room / family), "max_length": 512, "precision": "float32",
            "max_steps": 2, "batch_size": 2, "learning_rate": 1e-3, "preflight": "no-overfit",
        }  # fmt: skip
        made = TrainSettings(out=str(tmp_path / out), **usual | settings)
        return train(str(examples or room / f"{family}-examples"), made)

    return run


def steps(run: Path) -> list[Step]:
    return list(Run.read(run).rows("steps", Step))


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


# Losses


@pytest.mark.parametrize("family", RECIPE)
def test_packed_and_padded_rows_have_the_same_loss(trained: Trained, family: str) -> None:
    """Steps over the same examples, whatever rows they are in, and in one pass or in several."""
    import torch

    rows = Run.read(trained(family, "count", max_steps=1, batch_size=1)).summary["counts"]["rows"]  # type: ignore[index]
    assert 1 < rows < COUNT
    ways = {
        "packed": {"batch_size": rows, "rows_per_device": rows},
        "packed in passes": {"batch_size": rows, "rows_per_device": 1},
        "longest": {"rows": "longest", "batch_size": COUNT, "rows_per_device": COUNT},
        "longest in passes": {"rows": "longest", "batch_size": COUNT, "rows_per_device": 3},
        "full": {"rows": "full", "batch_size": COUNT, "rows_per_device": COUNT},
    }
    runs = {name: trained(family, name.replace(" ", "-"), max_steps=3, **way) for name, way in ways.items()}
    first = [row.loss for row in steps(runs["packed"])]
    assert len(first) == 3 and first[2] < first[0]
    for name, run in runs.items():
        assert [row.loss for row in steps(run)] == pytest.approx(first, abs=1e-5), name
        assert len({row.tokens for row in steps(run)}) == 1
        assert steps(run)[0].tokens == steps(runs["packed"])[0].tokens, name
    reference = weights(runs["packed"] / "model")
    for name, run in runs.items():
        for tensor, value in weights(run / "model").items():
            assert torch.allclose(value, reference[tensor], atol=2e-5), (name, tensor)


def test_the_loss_is_the_mean_over_learnt_tokens_of_the_base_itself(trained: Trained, room: Path) -> None:
    """The first step's loss, worked out by hand from the base's own likelihoods."""
    import torch
    from transformers import AutoModelForCausalLM

    from upwell.engines.checkpoints import resolve

    run = trained("llama2", max_steps=1, rows="longest", batch_size=COUNT)
    base = resolve(str(room / "llama2"))
    tokenizer, model = base.tokenizer(), AutoModelForCausalLM.from_pretrained(base.folder).eval()
    total = count = 0.0
    for example in Run.read(room / "llama2-examples").rows("examples", Example):
        prompt = tokenizer(example.prompt)["input_ids"]
        start = tokenizer("\n", add_special_tokens=False)["input_ids"]
        completion = tokenizer("\n" + example.completion, add_special_tokens=False)["input_ids"][len(start) :]
        ids = [*prompt, *completion, tokenizer.eos_token_id]
        with torch.no_grad():
            chances = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        for at in range(len(prompt), len(ids)):
            total -= float(chances[at - 1, ids[at]])
            count += 1
    assert steps(run)[0].loss == pytest.approx(total / count, abs=1e-4)


# What it leaves


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("family", RECIPE)
def test_the_model_loads_differs_from_the_base_and_says_how_it_is_asked(
    trained: Trained, room: Path, family: str, method: str
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = trained(family, method=method, max_steps=4, learning_rate=1e-2)
    base, made = weights(room / family), weights(run / "model")
    assert made.keys() == base.keys() and not any("lora" in name for name in made)
    changed = {name for name in base if not torch.equal(base[name], made[name])}
    assert all(made[name].dtype == torch.float32 and made[name].isfinite().all() for name in made)
    if method == "full":
        assert changed == base.keys()
    else:
        assert changed == {name for name in base if "_proj.weight" in name}
    model = AutoModelForCausalLM.from_pretrained(run / "model", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(run / "model", local_files_only=True)
    eos = {"llama2": "</s>", "qwen2": "<|im_end|>"}[family]
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids(eos)
    own = AutoTokenizer.from_pretrained(room / family, local_files_only=True)
    for row in Run.read(room / f"{family}-examples").rows("examples", Example):
        assert tokenizer(row.prompt)["input_ids"] == own(row.prompt)["input_ids"]
    assert tokenizer.chat_template == own.chat_template
    card = json.loads((run / "model/upwell.json").read_text())
    template = template_of(room / family, PROMPT[family])
    assert card["prompt"] == template.name and card["prompt_digest"] == template.digest
    assert card["eos"] == eos and card["stop"] == list(template.stop) and card["recipe"] == RECIPE[family]
    assert {path.name for path in run.iterdir()} == {
        ".lock", "manifest.json", "model", "preflight.json", "steps.jsonl", "summary.json", "tokens",
    }  # fmt: skip
    summary = Run.read(run).summary
    assert summary is not None
    assert summary["counts"]["steps"] == 4 == len(steps(run)) and summary["counts"]["examples"] == COUNT
    assert summary["loss"]["first"] == steps(run)[0].loss


def test_a_model_written_by_training_is_a_base_too(trained: Trained) -> None:
    first = trained("qwen2", "first")
    second = trained("qwen2", "second", base=str(first / "model"))
    assert Run.read(second).summary is not None
    assert weights(first / "model").keys() == weights(second / "model").keys()


def test_a_finished_run_is_left_as_it_is(trained: Trained) -> None:
    run = trained("qwen2")
    files = [path for path in run.rglob("*") if path.is_file() and path.name != ".lock"]
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}
    assert trained("qwen2") == run
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files} == before


def test_the_same_command_gives_the_same_weights(trained: Trained) -> None:
    one, other = (trained("qwen2", name, method="lora") for name in ("one", "other"))
    assert (one / "model/model.safetensors").read_bytes() == (other / "model/model.safetensors").read_bytes()
    third = trained("qwen2", "third", method="lora", seed=7)
    assert (one / "model/model.safetensors").read_bytes() != (third / "model/model.safetensors").read_bytes()


def test_what_cannot_be_learnt_is_left_out_with_a_row(trained: Trained, room: Path, tmp_path: Path) -> None:
    template = template_of(room / "qwen2", "qwen2.5-math")
    pairs = [*texts(10), ("Q?", ""), ("Q?", "It is <|im_start|>42."), ("Q?", "It is 1. " * 200)]
    source = example_run(tmp_path / "examples", template, examples(template, pairs))
    run = trained("qwen2", examples=source, max_truncated=0.1)
    rejects = {row.key: row.reason for row in Run.read(run).rows("rejects", Reject)}
    assert rejects.pop("own/12").startswith("longer than a row: ")
    assert rejects == {
        "own/10": "empty completion", "own/11": "special token `<|im_start|>` in the completion",
    }  # fmt: skip
    counts = Run.read(run).summary["counts"]  # type: ignore[index]
    assert (counts["examples"], counts["too_long"], counts["unusable"]) == (10, 1, 2)


# Refusals


def refused(run: Callable[[], object], message: str, hint: str, kind: type[UpwellError] = UsageError) -> None:
    with pytest.raises(kind, match=message) as raised:
        run()
    assert raised.value.exit_code == 2 and hint in str(raised.value.hint), raised.value


def test_examples_in_another_prompt(trained: Trained, room: Path, tmp_path: Path) -> None:
    refused(
        lambda: trained("llama2", examples=room / "qwen2-examples"),
        r"are in `qwen2.5-math` .* but the recipe `xwin-llama2-7b` trains and evaluates in `xwin-math`",
        "upwell curate ... --prompt xwin-math, or upwell train ... --prompt qwen2.5-math",
    )
    template = template_of(room / "qwen2", "qwen2.5-math")
    other = example_run(tmp_path / "other", template, examples(template, texts(2)))
    told = json.loads((other / "manifest.json").read_text())
    told["prompt"]["digest"] = "0" * 64
    (other / "manifest.json").write_text(json.dumps(told))
    refused(lambda: trained("qwen2", examples=other), "of another model or version", "--prompt qwen2.5-math")
    del told["prompt"]
    (other / "manifest.json").write_text(json.dumps(told))
    refused(lambda: trained("qwen2", examples=other), "no prompt that is on record", "--prompt qwen2.5-math")
    assert not (tmp_path / "run").exists()


def test_examples_that_are_not_there(trained: Trained, room: Path, tmp_path: Path) -> None:
    refused(lambda: trained("qwen2", examples=tmp_path / "nowhere"), "no run at", "")
    template = template_of(room / "qwen2", "qwen2.5-math")
    unfinished = example_run(tmp_path / "unfinished", template, examples(template, texts(2)))
    (unfinished / "summary.json").unlink()
    refused(lambda: trained("qwen2", examples=unfinished), "not a finished run of examples", "upwell curate")
    empty = example_run(tmp_path / "empty", template, examples(template, texts(1)))
    (empty / "examples.jsonl").write_bytes(b"")
    refused(lambda: trained("qwen2", examples=empty), "holds no examples", "upwell show")
    assert not (tmp_path / "run").exists()


def test_bases_that_cannot_be_taken(trained: Trained, room: Path, tmp_path: Path) -> None:
    refused(lambda: trained("qwen2", base=str(tmp_path / "nowhere")), "no model", "")
    base = tmp_path / "base"
    shutil.copytree(room / "qwen2", base)
    (base / "model.safetensors").unlink()
    refused(lambda: trained("qwen2", base=str(base)), "has no weights", "")
    (base / "pytorch_model.bin").write_bytes(b"pickle")
    refused(lambda: trained("qwen2", base=str(base)), "only pickle weights", "safetensors")
    assert not (tmp_path / "run").exists()
    (base / "model.safetensors").write_bytes((room / "qwen2/model.safetensors").read_bytes()[:5000])
    refused(lambda: trained("qwen2", base=str(base)), "cannot be loaded|do not fit|cannot be read", "base")
    trained("qwen2")  # into the same --out


def test_settings_that_do_not_fit_can_be_mended_in_the_same_out(trained: Trained, tmp_path: Path) -> None:
    refused(
        lambda: trained("qwen2", devices=3, batch_size=4), "4 rows cannot be spread over 3", "--batch-size 3"
    )
    refused(lambda: trained("qwen2", rows_per_device=3), "3 rows a device", "--rows-per-device 1")
    refused(lambda: trained("qwen2", attention="flash"), "cannot be loaded with the attention", "--attention")
    refused(lambda: trained("qwen2", max_length=64), "longer than a row of 64 tokens", "--max-length 128")
    refused(
        lambda: trained("qwen2", max_length=16, max_truncated=1.0),
        "none of the 12 examples",
        "--max-length 32",
    )
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    trained("qwen2")


def test_an_example_longer_than_the_base_has_positions_for(
    trained: Trained, room: Path, tmp_path: Path
) -> None:
    template = template_of(room / "qwen2", "qwen2.5-math")
    pairs = [*texts(4), ("Q?", "It is 1. " * 400)]
    source = example_run(tmp_path / "examples", template, examples(template, pairs))
    refused(
        lambda: trained("qwen2", examples=source, max_length=4096),
        r"longest example has [\d,]+ tokens, and the base was made for 2,048 at most",
        "--max-length 2048",
    )
    run = trained("qwen2", examples=source, max_length=2048, max_truncated=0.25)
    assert Run.read(run).count("rejects") == 1


def test_a_leak_is_refused_before_any_step(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import masking_utils

    with monkeypatch.context() as patch:
        patch.setattr(masking_utils, "find_packed_sequence_indices", lambda *_, **__: None)
        refused(lambda: trained("qwen2"), "packed examples see each other", "--rows longest")
        assert not (tmp_path / "run/steps.jsonl").exists()
        trained("qwen2", rows="longest")  # the hint, into the same --out
    trained("qwen2", "other")


def test_a_base_that_does_not_learn_is_refused(trained: Trained, room: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    base = tmp_path / "dead"
    shutil.copytree(room / "qwen2", base)
    save_file(
        {k: v * 0 for k, v in weights(base).items()}, base / "model.safetensors", metadata={"format": "pt"}
    )
    refused(
        lambda: trained("qwen2", base=str(base), preflight="full", rows="longest"),
        "do not lower its loss",
        "--preflight no-overfit",
    )


def test_out_of_another_recipe_is_kept(trained: Trained, room: Path) -> None:
    run = trained("qwen2")
    before = (run / "model/model.safetensors").read_bytes()
    refused(lambda: trained("qwen2", learning_rate=1e-4), r"learning_rate 0\.001 -> 0\.0001", "--out")
    refused(lambda: trained("llama2"), "cannot resume", "--out")
    refused(lambda: trained("qwen2", max_steps=5), "max_steps 2 -> 5", "--out")
    assert (run / "model/model.safetensors").read_bytes() == before
    refused(lambda: trained("qwen2", str(room / "qwen2-examples")), "curate", "--out")
    assert Run.read(room / "qwen2-examples").summary is not None


def test_a_rung_that_is_not_there(trained: Trained, room: Path, tmp_path: Path) -> None:
    settings = TrainSettings(
        recipe=RECIPE["qwen2"], base=str(room / "qwen2"), out=str(tmp_path / "run"), max_length=512
    )
    refused(lambda: train(str(room / "qwen2-examples"), settings, rung=3), "has no rung 3", "upwell show")
    trained("qwen2")


@pytest.mark.parametrize("what", ["loss", "gradient_norm"])
def test_a_loss_that_is_no_number_ends_the_run(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Not shown as the mean of other steps, not checkpointed, and no model is left."""
    if what == "loss":
        from transformers import Trainer

        true = Trainer.training_step

        def broken(self: Any, *arguments: Any, **named: Any) -> Any:
            found = true(self, *arguments, **named)
            return found * math.nan if self.state.global_step == 2 else found

        monkeypatch.setattr(Trainer, "training_step", broken)
    else:
        from accelerate import Accelerator

        clip, calls = Accelerator.clip_grad_norm_, iter(range(100))

        def norm(self: Any, *arguments: Any, **named: Any) -> Any:
            return clip(self, *arguments, **named) * (math.inf if next(calls) == 2 else 1)

        monkeypatch.setattr(Accelerator, "clip_grad_norm_", norm)
    refused(
        lambda: trained("qwen2", max_steps=6, save_every=1),
        f"step 3 has the {what.replace('_', ' ')} (nan|inf)",
        "--learning-rate 0.00025, with another --out",
    )
    run = tmp_path / "run"
    assert [row.step for row in steps(run)] == [1, 2] and not (run / "model").exists()
    assert not (run / "checkpoints/checkpoint-3").exists() and Run.read(run).summary is None
    monkeypatch.undo()
    trained("qwen2", "other", learning_rate=0.00025)


@pytest.mark.parametrize(("kilobytes", "save_every"), [(100, 1), (600, 1), (100, 50)])
def test_a_disk_that_takes_no_more_is_told_and_the_run_goes_on(
    trained: Trained, tmp_path: Path, kilobytes: int, save_every: int
) -> None:
    """By a limit of file sizes, met by a checkpoint's weights, the optimizer's state, or the weights at the end."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1000, before[1]))
    try:
        with pytest.raises(
            StorageError, match=r"file size limit reached|could not be written whole"
        ) as raised:
            trained("qwen2", save_every=save_every)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "run the same command again" in str(raised.value.hint) or "then run" in str(raised.value.hint)
    run = trained("qwen2", save_every=save_every)
    assert [row.step for row in steps(run)] == [1, 2] and not (tmp_path / "run/checkpoints").exists()


def test_plan_s_settings_and_a_missing_out_are_refused(room: Path) -> None:
    def settings(**more: Any) -> TrainSettings:
        return TrainSettings(recipe=RECIPE["qwen2"], base=str(room / "qwen2"), **more)

    source = str(room / "qwen2-examples")
    refused(lambda: train(source, settings()), "no run directory", "--out")
    refused(lambda: train(source, settings(out="x", mfu=0.4)), "--mfu does nothing", "--plan")


def test_interrupted_in_a_step_it_goes_on(trained: Trained, room: Path, tmp_path: Path) -> None:
    """As Ctrl-C does, in this process; only the steps that are owed are told of."""

    class Impatient(Silent):
        def __init__(self, at: int) -> None:
            self.at, self.seen = at, 0

        def advance(self, count: int, *, tokens: int = 0, **_: Any) -> None:
            self.seen += count == 1
            if self.seen == self.at:
                raise KeyboardInterrupt

    settings = TrainSettings(
        recipe=RECIPE["qwen2"], base=str(room / "qwen2"), out=str(tmp_path / "run"), max_length=512,
        precision="float32", max_steps=6, batch_size=2, save_every=2, preflight="no-overfit",
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        train(str(room / "qwen2-examples"), settings, watch=Impatient(5))
    watch = Impatient(100)
    train(str(room / "qwen2-examples"), settings, watch=watch)
    assert watch.seen == 2, "steps 5 and 6: the checkpoint of step 4 was there"
    assert [row.step for row in steps(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]
