"""The settings of engines: what a model is reached through, how fast, and for how much."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from upwell.errors import UsageError, check_ranges

EMBEDDED, SERVER, VLLM, BATCH = "embedded", "server", "vllm", "batch"


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How a model is run or reached. Which model it is, a stage's own settings say."""

    dtype: str = "auto"
    """float32, bfloat16, or auto: bfloat16 where the processor multiplies it natively."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto."""
    slots: int | None = None
    """Draws in flight at most; by default as many as are worth it and fit into memory."""
    memory_gb: float | None = None
    """GiB that draws in flight may take; by default a share of what is free."""
    threads: int | None = None
    """CPU threads; all cores by default."""
    logprobs: bool = False
    """Also record each response's mean log-probability."""
    key_env: str | None = None
    """For a server: the environment variable that holds the API key. The key itself is never written."""
    chat_template: str = "server"
    """For a server: who puts the chat template around a question: server, or a checkpoint (folder or hub name) whose
    template is then applied here and sent as text."""
    dialect: str = "auto"
    """For a server: whose extensions it understands: openai (none), vllm, sglang, llamacpp, or auto: asked of it."""
    max_concurrency: int | None = None
    """For a server: calls in flight at most; within it the best number is found by itself."""
    requests_per_minute: float | None = None
    """For a server: calls per minute at most."""
    tokens_per_minute: float | None = None
    """For a server: prompt and completion tokens per minute at most."""
    choices_per_call: int = 1
    """For a server: responses of one problem asked for in one call (the API's n). More save prompt tokens, and such
    responses have no seed of their own."""
    request_timeout: float = 600.0
    """For a server: seconds after which a call without an answer is cut and asked again."""
    patience: float = 300.0
    """For a server: seconds that it may be gone before the run ends, resumable."""
    vllm_python: str | None = None
    """For vllm: the Python of the environment that vLLM is installed in."""
    vllm_arg: tuple[str, ...] = ()
    """For vllm: an argument for `vllm serve`, such as --vllm-arg=--max-model-len=4096; overrides ours. Repeatable."""
    batch_rows: int = 50_000
    """For batch: requests in one batch file at most."""
    batch_mb: float = 190.0
    """For batch: megabytes of one batch file at most."""
    poll_seconds: float = 30.0
    """For batch: how often to ask how far a batch is."""
    ray: str | None = None
    """Replicate the engine on a Ray cluster: its address, or local."""
    replicas: int | None = None
    """With --ray: engines at most; 1 by default. They start as the cluster has room."""
    gpus_per_replica: float | None = None
    """With --ray: GPUs of one engine; 0 by default."""
    cpus_per_replica: float | None = None
    """With --ray: CPUs of one engine; its --threads, or 1, by default."""
    price: str | None = None
    """Dollars per million tokens: PROMPT,COMPLETION or PROMPT,CACHED,COMPLETION; by default from the price table."""
    prices: str | None = None
    """A JSON file of prices by model that adds to the table: {"NAME": [PROMPT, COMPLETION]}."""
    max_usd: float | None = None
    """Stop, resumable, before the run has cost more than this, all its sessions together."""
    max_total_tokens: int | None = None
    """Stop, resumable, before the run has taken more prompt and completion tokens than this, all sessions together."""

    def __post_init__(self) -> None:
        at_least_one = (
            "slots", "threads", "max_concurrency", "choices_per_call", "replicas", "batch_rows", "max_total_tokens",
        )  # fmt: skip
        above_zero = (
            "memory_gb", "requests_per_minute", "tokens_per_minute", "request_timeout", "patience", "batch_mb",
            "poll_seconds", "max_usd", "cpus_per_replica",
        )  # fmt: skip
        for name in at_least_one:
            value = getattr(self, name)
            check_ranges((name, value, value is None or value >= 1, "1 or more"))
        for name in above_zero:
            value = getattr(self, name)
            check_ranges((name, value, value is None or 0 < value < math.inf, "above 0"))
        gpus = self.gpus_per_replica
        check_ranges(("gpus_per_replica", gpus, gpus is None or 0 <= gpus < math.inf, "0 or more"))
        if self.dialect not in DIALECTS:
            raise UsageError(f"no dialect `{self.dialect}`", f"--dialect {'|'.join(DIALECTS)}")

    def check_used(self, kind: str, model: str) -> None:
        """Refuse the first setting that was set and does nothing for a model of this kind.

        Raises:
            UsageError: names the setting and what it is for.
        """
        for field in fields(EngineSettings):
            meant = _FOR.get(field.name)
            if meant is None or getattr(self, field.name) == field.default:
                continue
            if kind not in meant and not (meant == _RAY and self.ray is not None):
                flag = "--" + field.name.replace("_", "-")
                what = "--ray" if meant == _RAY else " and ".join(sorted(meant)) + " models"
                raise UsageError(f"{flag} does nothing for `{model}`: it is for {what}", f"leave {flag} out")
        if self.ray is not None and kind not in (EMBEDDED, SERVER):
            raise UsageError(
                f"--ray does not replicate `{model}`: a {kind} engine has servers of its own",
                "leave --ray out",
            )


DIALECTS = ("auto", "openai", "vllm", "sglang", "llamacpp")
_HERE = frozenset({EMBEDDED})
_CALLED = frozenset({SERVER, VLLM})
_REMOTE = frozenset({SERVER, VLLM, BATCH})
_RAY = frozenset({"ray"})
_FOR = {
    "dtype": frozenset({EMBEDDED, VLLM}), "device": _HERE, "slots": _HERE, "memory_gb": _HERE, "threads": _HERE,
    "key_env": frozenset({SERVER, BATCH}), "chat_template": frozenset({SERVER, BATCH}),
    "dialect": frozenset({SERVER, BATCH}), "max_concurrency": _CALLED,
    "requests_per_minute": frozenset({SERVER}), "tokens_per_minute": frozenset({SERVER}),
    "choices_per_call": _CALLED, "request_timeout": _REMOTE, "patience": _REMOTE,
    "vllm_python": frozenset({VLLM}), "vllm_arg": frozenset({VLLM}),
    "batch_rows": frozenset({BATCH}), "batch_mb": frozenset({BATCH}), "poll_seconds": frozenset({BATCH}),
    "replicas": _RAY, "gpus_per_replica": _RAY, "cpus_per_replica": _RAY,
}  # fmt: skip
"""Kinds of model that a setting is for; one that is not here is for all."""
