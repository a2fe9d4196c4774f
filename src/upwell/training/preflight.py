"""Before the first step: what would waste a run is found, shown, and refused."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

from upwell.errors import UsageError
from upwell.prompts import Template
from upwell.runs import Run
from upwell.training.encoding import MASKED
from upwell.training.rows import Rows
from upwell.training.trainer import collator

ISOLATION = 1e-4
"""Largest accepted distance (nats) of a learnt token's negative log-likelihood, packed against alone, in float32."""
ISOLATION_HALF = 0.1
"""The same where the attention computes in bfloat16 only (flash attention): what rounding alone makes is below it."""
_OVERFIT_STEPS = 8
_OVERFIT_RATE = {"full": 1e-4, "lora": 1e-3}
_OVERFIT_TOKENS = 512
_FALL = 0.95
"""Share of the first loss that the last one of these steps has to be below."""
_SHOWN = 3


def check_template(source: Run, template: Template, recipe: str) -> None:
    """See that the examples are in the prompt that evaluation will use.

    Raises:
        UsageError: they are in another one, or the run does not say in which.
    """
    made = source.manifest.get("prompt") or {}
    if made.get("digest") == template.digest:
        return
    told = (
        f"`{made['name']}` ({made['digest'][:12]})" if made.get("digest") else "no prompt that is on record"
    )
    hint = f"upwell curate ... --prompt {template.name}"
    if made.get("name") == template.name:
        raise UsageError(
            f"the examples of `{source.path}` are in {told}, of another model or version: training and evaluation "
            f"would ask in `{template.name}` ({template.digest[:12]})",
            hint + " --model BASE",
        )
    raise UsageError(
        f"the examples of `{source.path}` are in {told}, but the recipe `{recipe}` trains and evaluates in "
        f"`{template.name}` ({template.digest[:12]})",
        f"{hint}, or upwell train ... --prompt {made.get('name', 'NAME')}",
    )


def check_lengths(
    rows: Rows, max_length: int, accepted: float, path: str, positions: int | None = None
) -> None:
    """See that few examples are left out, that some are there, and that the base has positions for each.

    Raises:
        UsageError: more than `accepted` of them are longer than a row, none is left, or one is longer than the base
            was made for.
    """
    seen = rows.examples + rows.too_long + rows.unusable
    if rows.share_too_long > accepted:
        raise UsageError(
            f"{rows.too_long:,} of {seen:,} examples ({rows.share_too_long:.2%}) are longer than a row of "
            f"{max_length:,} tokens and would be left out; at most {accepted:.2%} may be",
            f"--max-length {2 * max_length}, or --max-truncated {min(1.0, rows.share_too_long + 0.001):.3f}",
        )
    if not rows.examples:
        reasons = dict(sorted(rows.reasons.items(), key=lambda item: -item[1]))
        if rows.too_long:
            reasons = {f"longer than a row of {max_length:,} tokens": rows.too_long} | reasons
        raise UsageError(
            f"none of the {seen:,} examples of `{path}` can be trained on: "
            + ", ".join(f"{count:,} {reason}" for reason, count in reasons.items()),
            f"--max-length {2 * max_length}"
            if rows.too_long
            else "upwell curate ... --require answer makes examples that have a solution",
        )
    if positions is not None and rows.longest > positions:
        raise UsageError(
            f"the longest example has {rows.longest:,} tokens, and the base was made for {positions:,} at most",
            f"--max-length {positions}",
        )


@dataclass(frozen=True)
class Shown:
    """A decoded example: what is masked, and what is learnt."""

    masked: str
    learnt: str
    tokens: int
    learnt_tokens: int


def pieces_of(rows: Any, at: int) -> list[tuple[list[int], list[int]]]:
    """Token ids and labels of the examples in a row."""
    row = rows[at]
    found, start = [], 0
    for length in row.get("seq_lengths") or [len(row["input_ids"])]:
        found.append((row["input_ids"][start : start + length], row["labels"][start : start + length]))
        start += length
    return found


def show_masks(rows: Any, tokenizer: Any, eos: int) -> list[Shown]:
    """Three examples, decoded from the very rows that are trained on: the first, the middle and the last row's first.

    Raises:
        UsageError: one of them learns its prompt, or does not learn to end.
    """
    found = []
    for at in sorted({0, len(rows) // 2, len(rows) - 1})[:_SHOWN]:
        ids, labels = pieces_of(rows, at)[0]
        learnt = [label for label in labels if label != MASKED]
        if not learnt or labels[0] != MASKED or learnt != ids[-len(learnt) :] or learnt[-1] != eos:
            raise UsageError(
                f"row {at} does not mask its prompt and learn its completion up to the end of sequence",
                "delete the run's folder `tokens` and run the command again",
            )
        prompt = ids[: len(ids) - len(learnt)]
        found.append(Shown(tokenizer.decode(prompt), tokenizer.decode(learnt), len(ids), len(learnt)))
    return found


@dataclass(frozen=True)
class Isolation:
    """How far packed examples are from the same examples alone, in nats per learnt token."""

    examples: int
    tokens: int
    largest: float
    open: float
    """The largest distance if the pieces of a row did see each other: what the test would have found."""
    bound: float


def isolation(model: Any, rows: Any, pad: int, *, half: bool) -> Isolation | None:
    """Compare every learnt token of a packed row with the same token of its example alone. None where no row has two.

    Args:
        model: as it will be trained, in evaluation mode.
        half: whether it computes in bfloat16, where the bound is wider.

    Raises:
        UsageError: they are further apart than the bound, or the test could not tell.
    """
    at = _fullest(rows)
    if at is None:
        return None
    pieces = pieces_of(rows, at)
    row = rows[at]
    packed = _likelihoods(model, collator(pad, packed=True, pad_to=None)([row]))
    alone = [
        value
        for ids, labels in pieces
        for value in _likelihoods(
            model, collator(pad, packed=False, pad_to=None)([{"input_ids": ids, "labels": labels}])
        )
    ]
    plain = {"input_ids": row["input_ids"], "labels": _first_masked(row)}
    leaking = _likelihoods(model, collator(pad, packed=False, pad_to=None)([plain]))
    if not all(map(math.isfinite, alone)):
        raise UsageError(
            "the base gives likelihoods that are no numbers",
            "download or save the base again, or another --base",
        )
    bound = ISOLATION_HALF if half else ISOLATION
    found = Isolation(len(pieces), len(alone), _apart(packed, alone), _apart(leaking, alone), bound)
    if not found.largest <= bound:
        raise UsageError(
            f"packed examples see each other with this model and attention: a learnt token's likelihood is "
            f"{found.largest:.3g} nats off that of its example alone (at most {bound:g})",
            "--attention sdpa, or --rows longest",
        )
    if not found.open > bound:
        raise UsageError(
            f"the model does not tell whether packed examples see each other: without isolation the likelihoods are "
            f"only {found.open:.3g} nats apart",
            "check the weights of --base, or use --rows longest",
        )
    return found


def _fullest(rows: Any) -> int | None:
    """The row with the most pieces, where one has two."""
    if "seq_lengths" not in rows.column_names:
        return None
    import pyarrow.compute as compute

    counts = compute.list_value_length(rows.data.column("seq_lengths")).to_numpy()
    best = int(counts.argmax())
    return best if counts[best] > 1 else None


def _first_masked(row: dict[str, Any]) -> list[int]:
    """Labels in which the first token of each piece is masked, as it has nothing to be told from."""
    labels, start = list(row["labels"]), 0
    for length in row["seq_lengths"]:
        labels[start] = MASKED
        start += length
    return labels


def _likelihoods(model: Any, batch: dict[str, Any]) -> list[float]:
    """Negative log-likelihood of every learnt token, in order."""
    import torch

    device = next(model.parameters()).device
    labels = batch.pop("labels")[0]
    given = {key: value.to(device) if hasattr(value, "to") else value for key, value in batch.items()}
    with torch.inference_mode():
        logits = model(**given, use_cache=False).logits[0]
    places = (labels[1:] != MASKED).nonzero().flatten()
    found = torch.log_softmax(logits[places].float(), dim=-1)
    wanted = labels[places + 1].to(device)
    return [-value for value in found.gather(1, wanted[:, None]).flatten().tolist()]


def _apart(a: list[float], b: list[float]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def overfit(model: Any, rows: Any, pad: int, method: str, lora_rank: int) -> list[float]:
    """Take a few steps on one small batch and see its loss fall. The model is spoilt by it: load it anew.

    Returns:
        The loss before each step.

    Raises:
        UsageError: the loss does not fall.
    """
    import torch

    batch = collator(pad, packed=False, pad_to=None)(_small_batch(rows))
    device = next(model.parameters()).device
    batch = {key: value.to(device) for key, value in batch.items()}
    if method == "lora":
        from peft import LoraConfig, get_peft_model

        adapters = LoraConfig(
            r=lora_rank, lora_alpha=2 * lora_rank, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore", FutureWarning)  # of peft's on transformers
            torch.manual_seed(0)  # adapters begin at random, and the same command has to find the same
            model = get_peft_model(model, adapters)
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=_OVERFIT_RATE[method], weight_decay=0.0)
    losses = []
    for _ in range(_OVERFIT_STEPS):
        loss = model(**batch, use_cache=False).loss
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
    if not losses[-1] < _FALL * losses[0]:
        raise UsageError(
            f"{_OVERFIT_STEPS} steps on one batch do not lower its loss: {losses[0]:.3f} at first, "
            f"{losses[-1]:.3f} at last",
            "check the weights of --base; --preflight no-overfit leaves this test out",
        )
    return losses


def _small_batch(rows: Any) -> list[dict[str, Any]]:
    """The shortest examples of the first rows, few enough that the test is short."""
    pieces = sorted(
        (piece for at in range(min(64, len(rows))) for piece in pieces_of(rows, at)), key=lambda p: len(p[0])
    )
    chosen: list[dict[str, Any]] = []
    tokens = 0
    for ids, labels in pieces:
        if chosen and tokens + len(ids) > _OVERFIT_TOKENS:
            break
        chosen.append({"input_ids": ids, "labels": labels})
        tokens += len(ids)
        if len(chosen) == 4:
            break
    return chosen
