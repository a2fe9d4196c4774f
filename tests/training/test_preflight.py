"""Rows hold every example whole, packed ones are proven apart on the model itself, and what leaks is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from seed_checkpoints import FAMILIES
from training_runs import PROMPTS, examples, seeds, template_of, texts, tokenizer_of

from upwell.errors import UsageError
from upwell.measurement.watch import Silent
from upwell.records import Example, Reject
from upwell.runs import Run
from upwell.training import preflight
from upwell.training.checkpoints import TOKENS
from upwell.training.encoding import MASKED, Encoder
from upwell.training.rows import TOO_LONG, Rows, make_rows, open_rows
from upwell.training.trainer import collator, load_base

LENGTH = 600

Made = tuple[Run, Rows, Any]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return seeds(tmp_path_factory.mktemp("bases"), FAMILIES)


@pytest.fixture(scope="module")
def rows_of(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    """Rows of a family's examples: the run, its facts, the data set."""
    made: dict[Any, Made] = {}

    def make(family: str, *, packed: bool = True, count: int = 40, length: int = LENGTH) -> Made:
        key = (family, packed, count, length)
        if key not in made:
            template = template_of(bases[family], PROMPTS[family])
            tokenizer = tokenizer_of(bases[family])
            encoder = Encoder(
                tokenizer, tokenizer.eos_token_id, add_special_tokens=template.add_special_tokens
            )
            path = tmp_path_factory.mktemp("rows") / family
            run = Run.open(path, verb="train", settings={}, fingerprint={}, command=[])
            facts = make_rows(
                run, examples(template, texts(count)), count, encoder, max_length=length, packed=packed,
                seed=42, watch=Silent(),
            )  # fmt: skip
            run.close()
            made[key] = (run, facts, open_rows(path / TOKENS) if facts.rows else None)
        return made[key]

    return make


def encoded(base: Path, family: str, count: int) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    template, tokenizer = template_of(base, PROMPTS[family]), tokenizer_of(base)
    encoder = Encoder(tokenizer, tokenizer.eos_token_id, add_special_tokens=template.add_special_tokens)
    return [
        (piece.key, tuple(piece.ids), tuple(piece.labels))
        for piece in encoder.pieces(examples(template, texts(count)))
    ]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_example_is_cut_or_lost(
    bases: dict[str, Path], rows_of: Callable[..., Made], family: str, packed: bool
) -> None:
    """With a row's length that some are longer than, in every family."""
    whole = encoded(bases[family], family, 40)
    length = sorted(len(ids) for _, ids, _ in whole)[-4]
    run, facts, rows = rows_of(family, packed=packed, length=length)
    kept = [(ids, labels) for _, ids, labels in whole if len(ids) <= length]
    found = [
        (tuple(ids), tuple(labels))
        for at in range(len(rows))
        for ids, labels in preflight.pieces_of(rows, at)
    ]
    assert Counter(found) == Counter(kept)
    assert all(len(row["input_ids"]) == len(row["labels"]) <= length for row in rows)
    rejects = list(run.rows("rejects", Reject))
    assert {reject.key for reject in rejects} == {key for key, ids, _ in whole if len(ids) > length}
    assert all(reject.reason.startswith(TOO_LONG) and reject.step == "train" for reject in rejects)
    assert (facts.rows, facts.examples, facts.too_long) == (len(rows), len(kept), len(rejects))
    assert facts.tokens == sum(len(ids) for ids, _ in kept)
    assert facts.longest == max(len(ids) for ids, _ in kept)
    assert facts.learnt == sum(label != MASKED for _, labels in kept for label in labels)
    if packed:
        assert len(rows) < len(kept) or length < 2 * min(len(ids) for ids, _ in kept)


def test_packing_fills_rows(rows_of: Callable[..., Made]) -> None:
    _, facts, rows = rows_of("qwen2", count=200)
    lengths = [len(row["input_ids"]) for row in rows]
    assert max(lengths) <= LENGTH and facts.tokens > 0.85 * LENGTH * len(rows)
    assert all(sum(row["seq_lengths"]) == len(row["input_ids"]) for row in rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_begin_anew_in_each_piece(rows_of: Callable[..., Made], family: str) -> None:
    *_, rows = rows_of(family)
    some = [rows[at] for at in range(min(3, len(rows)))]
    batch = collator(0, packed=True, pad_to=None)(some)
    expected = [n for row in some for length in row["seq_lengths"] for n in range(length)]
    assert batch["position_ids"].tolist() == [expected] and "attention_mask" not in batch
    assert batch["labels"].tolist() == [[label for row in some for label in row["labels"]]]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_examples_do_not_see_each_other(
    bases: dict[str, Path], rows_of: Callable[..., Made], family: str, attention: str
) -> None:
    import torch

    *_, rows = rows_of(family)
    if (family, attention) == ("gemma", "sdpa"):  # transformers has no such Gemma 2
        with pytest.raises(UsageError, match="cannot be loaded with the attention `sdpa`") as refused:
            load_base(str(bases[family]), attention, torch.float32)
        assert refused.value.hint == "--attention eager"
        return
    model = load_base(str(bases[family]), attention, torch.float32).eval()
    found = preflight.isolation(model, rows, 0, half=False)
    assert found is not None and found.examples > 1
    assert found.largest <= preflight.ISOLATION < 0.1 < found.open
    assert found.tokens in {
        sum(label != MASKED for label in row["labels"])
        for row in rows
        if len(row["seq_lengths"]) == found.examples
    }


def test_sliding_window_shorter_than_a_row_is_the_same_packed_and_alone(
    bases: dict[str, Path], rows_of: Callable[..., Made], tmp_path: Path
) -> None:
    import json
    import shutil

    import torch

    for family in ("mistral", "gemma"):
        base = tmp_path / family
        shutil.copytree(bases[family], base)
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps(config | {"sliding_window": 128}))
        model = load_base(str(base), "eager", torch.float32).eval()
        *_, rows = rows_of(family)
        found = preflight.isolation(model, rows, 0, half=False)
        assert found is not None and found.largest <= preflight.ISOLATION


@pytest.mark.parametrize("family", ["llama2", "qwen2"])
def test_a_model_that_leaks_is_refused(
    bases: dict[str, Path], rows_of: Callable[..., Made], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers as it was before it knew packed rows: positions begin anew, the mask does not."""
    import torch
    from transformers import masking_utils

    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", lambda *_, **__: None)
    *_, rows = rows_of(family)
    model = load_base(str(bases[family]), "sdpa", torch.float32).eval()
    with pytest.raises(UsageError, match="packed examples see each other") as refused:
        preflight.isolation(model, rows, 0, half=False)
    assert "--rows longest" in str(refused.value.hint)


def test_a_model_that_cannot_tell_is_refused(bases: dict[str, Path], rows_of: Callable[..., Made]) -> None:
    """Where attention adds nothing, packed and alone agree whatever the mask is: that proves nothing."""
    import torch

    *_, rows = rows_of("llama2")
    model = load_base(str(bases["llama2"]), "sdpa", torch.float32).eval()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
    with pytest.raises(UsageError, match="does not tell whether packed examples see each other"):
        preflight.isolation(model, rows, 0, half=False)


def test_likelihoods_that_are_no_numbers_are_refused_as_such(
    bases: dict[str, Path], rows_of: Callable[..., Made]
) -> None:
    import torch

    *_, rows = rows_of("llama2")
    model = load_base(str(bases["llama2"]), "sdpa", torch.float32).eval()
    with torch.no_grad():
        model.lm_head.weight[0, 0] = torch.nan
    with pytest.raises(UsageError, match="likelihoods that are no numbers"):
        preflight.isolation(model, rows, 0, half=False)


def test_rows_of_one_example_have_nothing_to_leak(rows_of: Callable[..., Made]) -> None:
    *_, unpacked = rows_of("llama2", packed=False)
    *_, single = rows_of("llama2", count=1)
    assert preflight.isolation(None, unpacked, 0, half=False) is None
    assert preflight.isolation(None, single, 0, half=False) is None


def test_the_one_row_with_two_examples_is_found_wherever_it_is(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    import datasets
    import torch

    template, tokenizer = template_of(bases["qwen2"], "chat"), tokenizer_of(bases["qwen2"])
    encoder = Encoder(tokenizer, tokenizer.eos_token_id, add_special_tokens=False)
    pieces = list(encoder.pieces(examples(template, texts(102))))
    alone = [{"input_ids": p.ids, "labels": p.labels, "seq_lengths": [len(p.ids)]} for p in pieces[:100]]
    a, b = pieces[100:]
    both = {
        "input_ids": a.ids + b.ids,
        "labels": a.labels + b.labels,
        "seq_lengths": [len(a.ids), len(b.ids)],
    }
    model = load_base(str(bases["qwen2"]), "sdpa", torch.float32).eval()
    found = preflight.isolation(model, datasets.Dataset.from_list([*alone, both]), 0, half=False)
    assert found is not None and found.examples == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_are_shown_as_text(bases: dict[str, Path], rows_of: Callable[..., Made], family: str) -> None:
    tokenizer = tokenizer_of(bases[family])
    *_, rows = rows_of(family)
    shown = preflight.show_masks(rows, tokenizer, tokenizer.eos_token_id)
    assert 1 <= len(shown) <= 3
    solutions = [solution for _, solution in texts(40)]
    for one in shown:
        assert one.learnt.endswith(tokenizer.eos_token) and "How many" in one.masked
        assert one.learnt.removesuffix(tokenizer.eos_token).strip() in solutions
        assert 0 < one.learnt_tokens < one.tokens


@pytest.mark.parametrize(
    "labels", [[1, 2, 3, 9], [MASKED] * 4, [MASKED, 2, 3, 4], [MASKED, 2, MASKED, 9], [MASKED, MASKED, 7, 9]]
)
def test_wrong_masks_are_refused(bases: dict[str, Path], labels: list[int]) -> None:
    """Prompt learnt; nothing learnt; no end; a hole; another token than the row's."""
    import datasets

    rows = datasets.Dataset.from_list([{"input_ids": [1, 2, 3, 9], "labels": labels}])
    with pytest.raises(UsageError, match="does not mask its prompt and learn its completion"):
        preflight.show_masks(rows, tokenizer_of(bases["llama2"]), 9)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_overfit_falls_on_a_sound_base_and_is_refused_on_a_dead_one(
    bases: dict[str, Path], rows_of: Callable[..., Made], method: str
) -> None:
    import torch

    *_, rows = rows_of("llama2")
    model = load_base(str(bases["llama2"]), "sdpa", torch.float32)
    losses = preflight.overfit(model, rows, 0, method, 8)
    assert losses[-1] < 0.93 * losses[0], "too near to the bound"
    torch.manual_seed(7)
    again = load_base(str(bases["llama2"]), "sdpa", torch.float32)
    assert preflight.overfit(again, rows, 0, method, 8) == losses, "it depends on chance"
    dead = load_base(str(bases["llama2"]), "sdpa", torch.float32)
    with torch.no_grad():
        for parameter in dead.parameters():
            parameter.zero_()
    with pytest.raises(UsageError, match="do not lower its loss") as refused:
        preflight.overfit(dead, rows, 0, method, 8)
    assert "--preflight no-overfit" in str(refused.value.hint)


def test_base_with_missing_weights_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    base = tmp_path / "half"
    shutil.copytree(bases["llama2"], base)
    weights = load_file(base / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"1 tensors are missing .* model\.layers\.1\.mlp\.up_proj\.weight"):
        load_base(str(base), "sdpa", torch.float32)


def test_too_many_too_long_or_none_left_is_refused() -> None:
    def facts(**numbers: Any) -> Rows:
        usual = {
            "rows": 1,
            "examples": 90,
            "tokens": 1,
            "learnt": 1,
            "too_long": 0,
            "unusable": 0,
            "seams": 0,
        }
        return Rows(**usual | numbers)

    preflight.check_lengths(facts(too_long=10), 512, 0.1, "runs/x")
    with pytest.raises(UsageError, match=r"10 of 100 examples \(10.00%\) are longer") as refused:
        preflight.check_lengths(facts(too_long=10), 512, 0.005, "runs/x")
    assert refused.value.hint == "--max-length 1024, or --max-truncated 0.101"
    preflight.check_lengths(facts(longest=512), 1024, 0.1, "runs/x", 512)
    with pytest.raises(UsageError, match="513 tokens, and the base was made for 512 at most") as refused:
        preflight.check_lengths(facts(longest=513), 1024, 0.1, "runs/x", 512)
    assert refused.value.hint == "--max-length 512"
    none = facts(examples=0, rows=0, unusable=3, reasons={"empty completion": 2, "empty prompt": 1})
    with pytest.raises(UsageError, match=r"none of the 3 examples .*: 2 empty completion, 1 empty prompt"):
        preflight.check_lengths(none, 512, 1.0, "runs/x")


def test_a_second_session_does_not_tokenise_again(bases: dict[str, Path], tmp_path: Path) -> None:
    template, tokenizer = template_of(bases["qwen2"], "chat"), tokenizer_of(bases["qwen2"])
    encoder = Encoder(tokenizer, tokenizer.eos_token_id, add_special_tokens=False)
    with Run.open(tmp_path / "run", verb="train", settings={}, fingerprint={}, command=[]) as run:

        def made(rows: Any) -> Rows:
            return make_rows(run, rows, 20, encoder, max_length=120, packed=True, seed=1, watch=Silent())

        first = made(examples(template, texts(20)))
        assert first.too_long and run.count("rejects") == first.too_long

        def unread() -> Any:
            raise AssertionError("read again")
            yield

        assert made(unread()) == first and run.count("rejects") == first.too_long


def test_rows_that_a_kill_left_half_are_made_anew(bases: dict[str, Path], tmp_path: Path) -> None:
    template, tokenizer = template_of(bases["qwen2"], "chat"), tokenizer_of(bases["qwen2"])
    encoder = Encoder(tokenizer, tokenizer.eos_token_id, add_special_tokens=False)

    def killed() -> Any:
        yield from examples(template, texts(12))
        yield Example(key="a", prompt="Q", completion="", problem="a")
        raise KeyboardInterrupt

    def facts_of(rows: Any) -> Rows:
        with Run.open(tmp_path / "run", verb="train", settings={}, fingerprint={}, command=[]) as run:
            return make_rows(run, rows, 20, encoder, max_length=120, packed=True, seed=1, watch=Silent())

    with pytest.raises(KeyboardInterrupt):
        facts_of(killed())
    (tmp_path / "run/tokens/packing").mkdir()
    (tmp_path / "run/tokens/rows").mkdir()
    (tmp_path / "run/tokens/facts.json").write_text('{"rows":1')
    facts = facts_of(examples(template, texts(20)))
    assert facts.examples + facts.too_long == 20 and not facts.unusable
    assert Run.read(tmp_path / "run").count("rejects") == facts.too_long
    assert {path.name for path in (tmp_path / "run/tokens").iterdir()} == {"rows", "facts.json"}
