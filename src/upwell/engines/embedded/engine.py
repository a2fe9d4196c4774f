"""The default engine: a checkpoint on this machine, run by one or several lanes.

A lane is a `SharedPrefixModel` with its own slots, driven by its own thread over weights that all lanes
share. On a CPU, lanes of few threads beat one lane of many: nothing spins at a barrier 300 times a step,
which costs a tenth on a quiet machine and nearly everything on one whose cores are shared.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from upwell.engines.base import Reply, Request
from upwell.engines.checkpoints import Checkpoint
from upwell.engines.embedded.lane import Lane, Work
from upwell.engines.embedded.loading import identity, load_model, self_check
from upwell.engines.embedded.shared_prefix import SharedPrefixModel
from upwell.errors import EngineError, UpwellError, UsageError

_LANE_SLOTS = {"cpu": 128, "cuda": 512}
"""Draws in flight per lane where the user does not say: where throughput stops growing on the machines seen."""
_MOST_LANES = 4
"""Lanes share one interpreter: past a few they wait for its lock, and get more threads each instead."""
_MEMORY_SHARE = {"cpu": 0.7, "cuda": 0.9}
"""Share of the memory that is free after loading which slots, prompts and logits may take together."""
_PROMPT_SHARE = 0.25
"""Share of that which is kept for prompts."""


class EmbeddedEngine:
    """Draws from a Hugging Face causal LM on this machine: prompts prefilled once, slots refilled as draws end.

    Args:
        checkpoint: where the weights and the tokenizer are.
        dtype: `float32`, `bfloat16`, or `auto`: bfloat16 where the processor multiplies it natively.
        device: `cpu`, `cuda`, `cuda:1`, ..., or `auto`: the first GPU if there is one.
        slots: draws in flight at most, all lanes together; None chooses by device. Cut to what memory holds.
        memory_gb: GiB that slots, prompts and logits may take; None: a share of what is free.
        threads: CPU threads; None leaves torch's choice.
        logprobs: also give each reply its mean log-probability (costs one more pass over the logits).
        say: told in one line what was decided (slots cut, memory taken).
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        dtype: str = "auto",
        device: str = "auto",
        slots: int | None = None,
        memory_gb: float | None = None,
        threads: int | None = None,
        logprobs: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        if slots is not None and slots < 1:
            raise UsageError(
                f"--slots must be at least 1, not {slots}", "leave --slots out to let memory decide"
            )
        if threads is not None:
            if threads < 1:
                raise UsageError(f"--threads must be at least 1, not {threads}", "leave --threads out")
            torch.set_num_threads(threads)
        self.checkpoint = checkpoint
        self.logprobs = logprobs
        self._say = say
        self._tokenizer = checkpoint.tokenizer()
        self._special: dict[str, int] = self._tokenizer.get_added_vocab()
        self._model, self.dtype = load_model(checkpoint, dtype, device)
        self._device = next(self._model.parameters()).device
        self._token_bytes, self.context = self_check(self._model, checkpoint.name)
        self._vocabulary = int(self._model.get_output_embeddings().weight.shape[0])
        self.end_tokens = _end_tokens(self._model, self._tokenizer)
        threads = threads or torch.get_num_threads()
        self._lanes = min(threads, _MOST_LANES) if self._device.type == "cpu" else 1
        if slots is not None:
            self._lanes = min(self._lanes, slots)
        self._lane_threads = max(1, threads // self._lanes)
        self._wanted_slots = slots or self._lanes * _LANE_SLOTS[self._device.type]
        self._memory_gb = memory_gb
        self._buffers: dict[int, SharedPrefixModel] = {}
        self._planning = threading.Lock()
        self._planned: dict[int, tuple[int, int]] = {}
        self.identity = identity(checkpoint, self.dtype, device)

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Reply]:
        """One reply per request, in the order in which draws end.

        Raises:
            EngineError: the device ran out of memory.
        """
        work = Work(requests, self._lanes, self._wanted_slots)
        if self._lanes == 1:
            try:
                yield from Lane(self, 0).run(work)
            except torch.OutOfMemoryError as error:
                raise _out_of_memory(error, self._wanted_slots) from None
            return
        yield from self._in_lanes(work)

    def _in_lanes(self, work: Work) -> Iterator[Reply]:
        replies: queue.Queue[Reply | BaseException | None] = queue.Queue(maxsize=4 * self._wanted_slots)
        stop = threading.Event()

        def drive(number: int) -> None:
            torch.set_num_threads(self._lane_threads)  # holds for the calling thread
            try:
                for reply in Lane(self, number).run(work, stop.is_set):
                    _put(replies, reply, stop)
                    if stop.is_set():
                        return
                _put(replies, None, stop)
            except BaseException as error:  # noqa: BLE001  handed to the caller's thread, raised there
                _put(replies, error, stop)

        lanes = [threading.Thread(target=drive, args=(n,), daemon=True) for n in range(self._lanes)]
        for lane in lanes:
            lane.start()
        try:
            running = len(lanes)
            while running:
                reply = replies.get()
                if reply is None:
                    running -= 1
                elif isinstance(reply, torch.OutOfMemoryError):
                    raise _out_of_memory(reply, self._wanted_slots)
                elif isinstance(reply, BaseException):
                    raise reply
                else:
                    yield reply
        finally:
            stop.set()
            for lane in lanes:
                lane.join()

    def close(self) -> None:
        """Give the memory back."""
        self._buffers.clear()
        self._model = None

    def buffers(self, lane: int, max_new: int) -> SharedPrefixModel:
        """A lane's model with buffers for draws of `max_new` tokens, kept from call to call while they suffice."""
        with self._planning:
            kept = self._buffers.get(lane)
            if kept is None or kept.max_new < max_new:
                self._buffers.pop(lane, None)
                slots, pool = self._planned.get(max_new) or self._plan(max_new)
                self._planned = {max_new: (slots, pool)}
                kept = self._buffers[lane] = SharedPrefixModel(self._model, slots=slots, max_new=max_new)
                kept.pool_budget = pool
            return kept

    def _plan(self, max_new: int) -> tuple[int, int]:
        """Slots that memory holds, and the bytes that prompts may take, per lane; computed before any is taken."""
        budget = (
            self._memory_gb * 2**30
            if self._memory_gb
            else _free_memory(self._device) * _MEMORY_SHARE[self._device.type]
        )
        # A slot's logits exist in the model's dtype, twice in float32 (scaled, probabilities) and once more in passing.
        slot = self._token_bytes * max_new + self._vocabulary * (self._model.dtype.itemsize + 3 * 4)
        room = budget * (1 - _PROMPT_SHARE)
        slots = min(self._wanted_slots, int(room // slot)) // self._lanes
        if slots < 1:
            raise UsageError(
                f"{self._lanes} responses of {max_new} tokens at once need {self._lanes * slot / 2**20:,.3g} MiB, "
                f"but only {room / 2**20:,.3g} MiB may be taken on {self._device}",
                "lower --max-tokens or raise --memory-gb" + (", or use --slots 1" if self._lanes > 1 else ""),
            )
        if slots * self._lanes < self._wanted_slots - self._lanes:
            self._say(
                f"slots cut from {self._wanted_slots} to {slots * self._lanes}: "
                f"each takes {slot / 2**20:.0f} MiB of {room / 2**30:.1f} GiB"
            )
        return slots, int(budget * _PROMPT_SHARE / self._lanes)

    def encode(self, request: Request) -> list[int] | str:
        """Token ids of a prompt, or why it cannot be served."""
        if request.chat:
            return "this engine takes rendered prompts; only a server puts a chat template around one"
        ids: list[int] = self._tokenizer(request.prompt, add_special_tokens=request.add_special_tokens)[
            "input_ids"
        ]
        if not ids:
            return "the prompt has no tokens"
        if len(ids) >= self.context:
            return f"the prompt has {len(ids)} tokens; the model's context holds {self.context}"
        return ids

    def ends(self, stop: tuple[str, ...]) -> frozenset[int]:
        """Token ids that end a response: the model's own, and stop strings that are special tokens, which no
        decoded text shows."""
        if not stop:
            return self.end_tokens
        return self.end_tokens | {self._special[text] for text in stop if text in self._special}

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


def _put(replies: queue.Queue[Any], item: Any, stop: threading.Event) -> None:
    """Queue an item, waiting for room unless nobody listens any more."""
    while not stop.is_set():
        try:
            replies.put(item, timeout=0.5)
            return
        except queue.Full:
            continue


def _out_of_memory(error: BaseException, slots: int) -> UpwellError:
    return EngineError(
        f"the device ran out of memory with {slots} slots: {str(error).splitlines()[0]}",
        f"run it again with --slots {max(1, slots // 2)}; finished rows are kept",
    )


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The ids that end a response: what `generate` would stop at."""
    found = getattr(model.generation_config, "eos_token_id", None)
    if found is None:
        found = model.config.eos_token_id
    if found is None:
        found = tokenizer.eos_token_id
    if found is None:
        return frozenset()
    return frozenset(found if isinstance(found, list | tuple) else [found])


def _free_memory(device: torch.device) -> float:
    """Bytes that can still be taken, on a container's terms where it has a limit."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            free = float(line.split()[1]) * 1024
    limit, used = (
        "".join(_lines("/sys/fs/cgroup/memory.max")).strip(),
        "".join(_lines("/sys/fs/cgroup/memory.current")),
    )
    if limit.isdigit() and used.strip().isdigit():
        free = min(free, float(limit) - float(used))
    return free


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
