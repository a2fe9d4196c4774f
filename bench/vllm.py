"""One model through vLLM and through the embedded engine: do they agree, and how fast is each?

    UPWELL_DATA=... python bench/vllm.py --vllm-python VLLM_ENVIRONMENT/bin/python
    UPWELL_DATA=... python bench/vllm.py --vllm-python VLLM_ENVIRONMENT/bin/python --check-prompts

The same problems, samples, template, temperature and dtype, into two run directories (resumable: run it again). Then both
PassRatios with their intervals, the paired test, both throughputs, and whether both counted the same tokens of prompts.
`--check-prompts` only asks vLLM what it makes of each prompt (/tokenize) and compares that with our tokens, one by one.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from pathlib import Path

from upwell.engines.opening import find_model
from upwell.engines.vllm import VllmEngine
from upwell.measurement import MeasureSettings, measure
from upwell.measurement.comparison import compare
from upwell.measurement.plan import load_problems, plan, template_for
from upwell.records import Response
from upwell.runs import Run


class Lines:
    """A watch that prints what is said."""

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def begin(self, what: str, total: int, done: int = 0) -> None: ...

    def advance(self, rows: int = 1, *, tokens: int = 0, usd: float = 0.0) -> None: ...

    def end(self) -> None: ...


def check_prompts(settings: MeasureSettings) -> str:
    """How many prompts are the same tokens to vLLM and to the tokenizer that the embedded engine reads them with."""
    say = Lines().say
    model = find_model(settings.model, settings, say=say)
    template = template_for(settings.prompt, model, say)
    asked = {r.prompt: r for r in plan(settings, load_problems(settings), template).owed(set())}
    engine = model.open(say=say)
    assert isinstance(engine, VllmEngine) and model.checkpoint is not None
    tokenizer, same = model.checkpoint.tokenizer(), 0
    try:
        for request in asked.values():
            ours = tokenizer(request.prompt, add_special_tokens=request.add_special_tokens)["input_ids"]
            body = {"prompt": request.prompt, "add_special_tokens": request.add_special_tokens}
            call = urllib.request.Request(
                engine.endpoint.url.removesuffix("/v1") + "/tokenize",
                json.dumps(body).encode(),
                {"Content-Type": "application/json", "Authorization": f"Bearer {engine.endpoint.key}"},
            )
            with urllib.request.urlopen(call, timeout=60) as answer:
                same += json.load(answer)["tokens"] == ours
    finally:
        engine.close()
    return f"prompts: the same tokens to vLLM and to us in {same} of {len(asked)}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vllm-python", required=True)
    parser.add_argument("--vllm-arg", action="append", default=[])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--problems", default="gsm8k")
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--prompt", default="auto")
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--out", default="runs")
    parser.add_argument("--check-prompts", action="store_true")
    asked = parser.parse_args()
    runs = {}
    for kind in ("vllm", "embedded"):
        settings = MeasureSettings(
            problems=asked.problems, limit=asked.limit, samples=asked.samples, max_tokens=asked.max_tokens,
            prompt=asked.prompt, temperature=asked.temperature, dtype="bfloat16", out=str(Path(asked.out) / f"{kind}-{asked.problems}"),
            model=f"vllm:{asked.model}" if kind == "vllm" else asked.model,
            vllm_python=asked.vllm_python if kind == "vllm" else None,
            vllm_arg=tuple(asked.vllm_arg) if kind == "vllm" else (),
        )  # fmt: skip
        if asked.check_prompts:
            print(check_prompts(settings))
            return
        run = Run.read(measure(settings, watch=Lines()))
        summary = run.summary
        assert summary is not None
        ratio = next(m for m in summary["metrics"] if m["name"] == "pass_ratio" and m["slice"] is None)
        seconds, tokens = summary["seconds"]["sampling"], summary["counts"]["tokens"]
        print(
            f"{kind:9} PassRatio {100 * ratio['value']:.2f} % [{100 * ratio['low']:.2f}, {100 * ratio['high']:.2f}] "
            f"[{100 * ratio['low_fixed']:.2f}, {100 * ratio['high_fixed']:.2f}]; {tokens:,} tokens in {seconds:,.0f} s: "
            f"{tokens / seconds:,.0f} tokens/s"
        )
        runs[kind] = run
    read = [{row.key: row.prompt_tokens for row in run.rows("responses", Response)} for run in runs.values()]
    same = sum(read[0][key] == read[1].get(key) for key in read[0])
    digests = {run.manifest["prompt"]["digest"] for run in runs.values()}
    print(
        f"prompts: templates {'equal' if len(digests) == 1 else 'differ'}, as many tokens in {same:,} of {len(read[0]):,} draws"
    )
    found = compare(str(runs["vllm"].path), str(runs["embedded"].path))
    for line in found.lines:
        if line.name == "pass_ratio" or line.k == asked.samples:
            apart = line.difference
            print(
                f"{line.name.replace('@k', f'@{line.k}'):10} vllm {100 * line.first:.2f} %, embedded "
                f"{100 * line.second:.2f} %: {100 * apart.value:+.2f} [{100 * apart.low:+.2f}, {100 * apart.high:+.2f}], "
                f"p = {apart.p_value:.3f}, {apart.better} problems better, {apart.worse} worse of {apart.problems}"
            )


if __name__ == "__main__":
    main()
