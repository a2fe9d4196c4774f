"""HTTP clients beside each other: requests per second and per CPU-second of the client, on loopback.

    pip install '.[bench]' litellm           # peers; those that are not there are named
    python bench/client.py                   # an instant server in another process; several minutes
    python bench/client.py --requests 200 --in-flight 20 --only upwell,openai,litellm

Every line makes chat calls with a fixed number in flight and reads each answer's text and token counts. "upwell" is
`ServerEngine.generate` from end to end: requests in, replies out. A peer that does not finish in 60 s is stopped there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engines"))

from upwell.engines.base import Request, Sampling
from upwell.engines.endpoint import Endpoint
from upwell.engines.server.engine import ServerEngine
from upwell.engines.server.pacing import Fixed
from upwell.engines.settings import EngineSettings

MOST_SECONDS = 60.0
QUESTION = "What is 2 + 2? Please reason step by step, and put your final answer within \\boxed{}."

Run = Callable[[str, str, int, int], int]
"""URL, model, requests, in flight; the answers read within the time."""


def upwell(url: str, model: str, count: int, width: int) -> int:
    requests = (
        Request(
            key=str(n),
            prompt=QUESTION,
            add_special_tokens=False,
            chat=True,
            seed=n,
            sampling=Sampling(max_tokens=64),
        )
        for n in range(count)
    )
    engine = ServerEngine([Endpoint(url)], model, settings=EngineSettings(), pace=lambda most: Fixed(width))
    late, done = time.monotonic() + MOST_SECONDS, 0
    for reply in engine.generate(requests):
        assert reply.error is None and reply.text and reply.tokens
        done += 1
        if time.monotonic() > late:
            break
    return done


def gathered(count: int, width: int, call: Callable[[int], Awaitable[str]]) -> Awaitable[int]:
    """`call` for every number, so many at a time, as an asyncio gather under a semaphore does."""

    async def run() -> int:
        gate, done = asyncio.Semaphore(width), 0

        async def one(number: int) -> None:
            nonlocal done
            async with gate:
                assert await call(number)
                done += 1

        tasks = [asyncio.create_task(one(number)) for number in range(count)]
        _, pending = await asyncio.wait(tasks, timeout=MOST_SECONDS)
        for task in pending:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return done

    return run()


def body(model: str, seed: int) -> dict[str, Any]:
    return {
        "model": model, "messages": [{"role": "user", "content": QUESTION}], "temperature": 0.7, "top_p": 1.0,
        "max_tokens": 64, "seed": seed + 1,
    }  # fmt: skip


def openai(url: str, model: str, count: int, width: int) -> int:
    import httpx2
    from openai import AsyncOpenAI

    async def run() -> int:
        limits = httpx2.Limits(max_connections=width, max_keepalive_connections=width)
        http = httpx2.AsyncClient(limits=limits, timeout=600)
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, http_client=http) as client:

            async def call(number: int) -> str:
                answer = await client.chat.completions.create(**body(model, number))
                assert answer.usage.completion_tokens
                return answer.choices[0].message.content or ""

            return await gathered(count, width, call)

    return asyncio.run(run())


def litellm(url: str, model: str, count: int, width: int) -> int:
    # Else it fetches prices while it is measured.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm as peer

    peer.suppress_debug_info = True
    logging.getLogger("LiteLLM").setLevel(logging.ERROR)

    async def call(number: int) -> str:
        asked = body(model, number) | {"model": f"openai/{model}"}
        answer = await peer.acompletion(**asked, api_base=url, api_key="none")
        assert answer.usage.completion_tokens
        return answer.choices[0].message.content

    async def run() -> int:
        return await gathered(count, width, call)

    return asyncio.run(run())


def raw_aiohttp(url: str, model: str, count: int, width: int) -> int:
    import aiohttp

    async def run() -> int:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def call(number: int) -> str:
                async with session.post(f"{url}/chat/completions", json=body(model, number)) as answer:
                    return json.loads(await answer.read())["choices"][0]["message"]["content"]

            return await gathered(count, width, call)

    return asyncio.run(run())


def raw_httpx(url: str, model: str, count: int, width: int) -> int:
    import httpx2

    async def run() -> int:
        limits = httpx2.Limits(max_connections=width, max_keepalive_connections=width)
        async with httpx2.AsyncClient(limits=limits, timeout=600) as session:

            async def call(number: int) -> str:
                answer = await session.post(f"{url}/chat/completions", json=body(model, number))
                return answer.json()["choices"][0]["message"]["content"]

            return await gathered(count, width, call)

    return asyncio.run(run())


PEERS: dict[str, Run] = {
    "upwell": upwell,
    "openai, asyncio gather": openai,
    "litellm acompletion": litellm,
    "bare aiohttp": raw_aiohttp,
    "bare httpx2": raw_httpx,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--in-flight", default="100,1000")
    parser.add_argument("--only", help="names of peers, separated by commas")
    asked = parser.parse_args()
    from fault_server import serving

    print(
        f"{'client':26} {'in flight':>9} {'answers':>8} {'seconds':>8} {'per s':>8} {'CPU s':>7} {'per CPU s':>9} {'ours':>6}"
    )
    with serving("--instant") as server:
        for width in map(int, asked.in_flight.split(",")):
            ours = 0.0
            for name, run in PEERS.items():
                if asked.only and name.split(",")[0].split()[0] not in asked.only.split(","):
                    continue
                try:
                    run(server.url, server.model, min(200, asked.requests), width)  # connections, imports
                    begun, cpu = time.monotonic(), time.process_time()
                    done = run(server.url, server.model, asked.requests, width)
                    seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
                except ImportError as error:
                    print(f"{name:26} not installed: {error.name}")
                    continue
                rate = done / cpu
                ours = ours or rate
                late = "" if done == asked.requests else "  not finished in 60 s"
                print(
                    f"{name:26} {width:9,} {done:8,} {seconds:8.2f} {done / seconds:8,.0f} {cpu:7.2f} {rate:9,.0f} "
                    f"{ours / rate:5.1f}x{late}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
