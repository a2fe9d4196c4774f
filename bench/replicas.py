"""Replicas on a local Ray against one, and against the plain engine: the embedded model on this machine's cores.

python bench/replicas.py                 # SmolLM2; needs the extras embedded and ray
"""

from __future__ import annotations

import argparse
import time
from functools import partial

from upwell.engines.base import Engine, Request, Sampling
from upwell.engines.opening import find_model
from upwell.engines.ray import RayEngine
from upwell.engines.settings import EngineSettings

MODEL = "smollm2-135m-instruct"


def build(threads: int) -> Engine:
    return find_model(MODEL, EngineSettings(threads=threads, slots=32 * threads)).open()


def asked(problems: int, samples: int, tokens: int) -> list[Request]:
    return [
        Request(
            key=f"{p}#{i}", prompt=f"<|im_start|>user\nWhat is {p} + {3 * p}? Explain.<|im_end|>\n<|im_start|>assistant\n",
            add_special_tokens=False, seed=1000 * p + i, sampling=Sampling(max_tokens=tokens),
        )
        for p in range(problems)
        for i in range(samples)
    ]  # fmt: skip


def timed(name: str, engine: Engine, requests: list[Request], base: float | None) -> float:
    list(engine.generate(requests[: len(requests) // 8]))  # load, warm up
    begun = time.monotonic()
    tokens = sum(reply.tokens for reply in engine.generate(requests))
    seconds = time.monotonic() - begun
    engine.close()
    rate = tokens / seconds
    print(
        f"{name:34} {tokens:8,} tokens {seconds:7.1f} s {rate:7.0f} tokens/s {rate / (base or rate):5.2f}x",
        flush=True,
    )
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=8)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=96)
    given = parser.parse_args()
    requests = asked(given.problems, given.samples, given.tokens)
    base = None
    for replicas in (1, 2):
        engine = RayEngine(
            partial(build, 1), identity=MODEL, address="local", replicas=replicas, cpus=1, ahead=64
        )
        rate = timed(f"Ray, {replicas} x embedded, 1 thread each", engine, requests, base)
        base = base or rate
    timed("embedded here, 2 threads", build(2), requests, base)


if __name__ == "__main__":
    main()
