"""The embedded engine beside its peers on one CPU, in one process run.

    UPWELL_DATA=... python bench/engine.py [--prompts 8] [--samples 64] [--max-tokens 256] [--threads 2]

Work: GSM8K prompts in the chat template x samples at temperature 0.7, up to max-tokens new tokens, EOS
honoured. Only tokens up to and with EOS are counted, on both sides, per CPU-second of this process.
`generate` runs in its best mode: one call per prompt with `num_return_sequences`, cache on, SDPA
attention, the same dtype and number of threads. Beside it, without a bar: the same with EOS ignored (on
`--ignored-prompts` prompts), and CTranslate2 int8 on as many where the package is installed.

Exits 1 if the ratio to `generate` is below the bar.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from upwell import problems, prompts
from upwell.engines.base import Request, Sampling
from upwell.engines.checkpoints import DEFAULT_MODEL, Checkpoint, resolve
from upwell.engines.embedded.engine import EmbeddedEngine
from upwell.measurement.plan import chat_of

BAR = 4.0
TEMPERATURE = 0.7


@dataclass
class Timing:
    """Tokens counted, and what they cost."""

    name: str
    tokens: int
    cpu: float
    wall: float
    responses: int
    truncated: int

    @property
    def rate(self) -> float:
        return self.tokens / self.cpu

    def line(self) -> str:
        return (
            f"{self.name:<44} {self.tokens:>8,} tokens {self.cpu:>8.1f} CPU-s {self.wall:>7.1f} s "
            f"{self.rate:>7.1f} tokens/CPU-s {self.tokens / self.wall:>7.1f} tokens/s "
            f"mean {self.tokens / self.responses:.0f}, {100 * self.truncated / self.responses:.0f} % truncated"
        )


def timed(name: str, work: Callable[[], Iterator[tuple[int, bool]]]) -> Timing:
    """Time work that yields (tokens, truncated) per response."""
    cpu, wall = time.process_time(), time.perf_counter()
    lengths = list(work())
    timing = Timing(
        name,
        sum(tokens for tokens, _ in lengths),
        time.process_time() - cpu,
        time.perf_counter() - wall,
        len(lengths),
        sum(cut for _, cut in lengths),
    )
    print(timing.line(), flush=True)
    return timing


def ours(engine: EmbeddedEngine, texts: list[str], samples: int, new: int) -> Iterator[tuple[int, bool]]:
    sampling = Sampling(temperature=TEMPERATURE, max_tokens=new)
    requests = (
        Request(key=f"{p}#{i}", prompt=text, add_special_tokens=False, seed=p << 32 | i, sampling=sampling)
        for p, text in enumerate(texts)
        for i in range(samples)
    )
    for reply in engine.generate(requests):
        yield reply.tokens, reply.finish == "length"


def generated(
    model: Any, tokenizer: Any, texts: list[str], samples: int, new: int, eos: bool
) -> Iterator[tuple[int, bool]]:
    ends = model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        out = model.generate(
            **ids, do_sample=True, temperature=TEMPERATURE, top_k=0, top_p=1.0, max_new_tokens=new,
            num_return_sequences=samples, use_cache=True, eos_token_id=sorted(ends) if eos else -1,
            pad_token_id=min(ends),
        )  # fmt: skip
        for row in out[:, ids["input_ids"].shape[1] :].tolist():
            length = next((at + 1 for at, token in enumerate(row) if token in ends), None) if eos else None
            yield length or len(row), length is None


def ctranslate2_int8(
    checkpoint: Checkpoint, texts: list[str], samples: int, new: int, threads: int
) -> Callable[[], Iterator[tuple[int, bool]]]:
    """A generator over CTranslate2's int8 conversion; raises where the package cannot be had or convert."""
    import ctranslate2

    folder = Path(tempfile.mkdtemp()) / "int8"
    ctranslate2.converters.TransformersConverter(str(checkpoint.folder)).convert(
        str(folder), quantization="int8"
    )
    generator = ctranslate2.Generator(str(folder), device="cpu", intra_threads=threads, compute_type="int8")
    tokenizer = checkpoint.tokenizer()

    def work() -> Iterator[tuple[int, bool]]:
        for text in texts:
            start = tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])
            results = generator.generate_batch(
                [start] * samples, max_length=new, sampling_topk=0, sampling_temperature=TEMPERATURE,
                include_prompt_in_result=False, max_batch_size=samples,
            )  # fmt: skip
            for result in results:
                # The end-of-sequence token is not in its results, but was generated.
                cut = len(result.sequences_ids[0]) >= new
                yield len(result.sequences_ids[0]) + (not cut), cut

    return work


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--ignored-prompts", type=int, default=2)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    if "UPWELL_DATA" not in os.environ:
        print("skipped: UPWELL_DATA is not set, and the work is GSM8K prompts")
        return 0
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    checkpoint = resolve(args.model, say=print)
    template = prompts.get("chat", chat=chat_of(checkpoint))
    texts = [template.render(p.question) for p in problems.load("gsm8k", limit=args.prompts)]
    few, samples, new = texts[: args.ignored_prompts], args.samples, args.max_tokens
    engine = EmbeddedEngine(checkpoint, dtype=args.dtype, device="cpu", threads=args.threads)
    print(
        f"{len(texts)} prompts x {samples} samples, up to {new} tokens, {engine.identity}, {args.threads} threads"
    )
    list(ours(engine, texts[:1], 4, 8))
    us = timed("upwell embedded", lambda: ours(engine, texts, samples, new))
    ends, engine.end_tokens = engine.end_tokens, frozenset()
    us_ignored = timed("upwell embedded, EOS ignored", lambda: ours(engine, few, samples, new))
    engine.end_tokens = ends
    dtype = engine.dtype
    engine.close()

    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    model = AutoModelForCausalLM.from_pretrained(checkpoint.folder, dtype=getattr(torch, dtype)).eval()
    tokenizer = checkpoint.tokenizer()
    list(generated(model, tokenizer, texts[:1], 4, 8, eos=True))
    torch.set_num_threads(args.threads)
    peer = timed("transformers generate", lambda: generated(model, tokenizer, texts, samples, new, eos=True))
    peer_ignored = timed(
        "transformers generate, EOS ignored",
        lambda: generated(model, tokenizer, few, samples, new, eos=False),
    )
    timings = [us, us_ignored, peer, peer_ignored]
    try:
        work = ctranslate2_int8(checkpoint, few, samples, new, args.threads)
        timings.append(timed("ctranslate2 int8", work))
    except Exception as error:  # noqa: BLE001  a peer that does not install or convert is reported as such
        print(f"ctranslate2 int8: not run: {type(error).__name__}: {str(error).splitlines()[0]}")
    ratio = us.rate / peer.rate
    wall = us.tokens / us.wall / (peer.tokens / peer.wall)
    print(f"ratio to generate, EOS honoured: {ratio:.2f}x (bar {BAR:.0f}x); by wall clock {wall:.2f}x")
    print(f"ratio to generate, EOS ignored:  {us_ignored.rate / peer_ignored.rate:.2f}x")
    if len(timings) > 4:
        print(f"ratio to ctranslate2 int8:       {us.rate / timings[4].rate:.2f}x")
    if args.json:
        args.json.write_text(
            json.dumps({"ratio": ratio, "timings": [asdict(t) for t in timings]}, indent=1) + "\n"
        )
    return 0 if ratio >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
