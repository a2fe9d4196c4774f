"""The training itself, on TRL's `SFTTrainer`: what runs in every process, whatever launched it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from upwell.training.checkpoints import last_whole, mark_whole
from upwell.training.rows import open_rows

Tell = Callable[[dict[str, Any]], None]
"""Told of every optimizer step, by the first process only."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """All that a process needs to know. Paths are those of a file system that every process sees."""

    base: str
    """Folder of the base model."""
    tokens: str
    checkpoints: str
    trained: str
    """Folder for what comes out: all weights, or adapters."""
    packed: bool
    pad_to: int | None
    """Length that every row is padded to, where it is not that of the longest of its batch."""
    steps: int
    warmup_steps: int
    save_every: int
    rows_per_device: int
    accumulation: int
    learning_rate: float
    schedule: str
    adam_betas: tuple[float, float]
    adam_epsilon: float
    weight_decay: float
    max_grad_norm: float
    bfloat16: bool
    """Arithmetic in bfloat16, master weights in float32."""
    attention: str
    compile: bool
    checkpointing: bool
    sharding: str
    lora_rank: int | None
    seed: int
    cpu: bool
    pad: int
    """Id of the token that pads; it is masked wherever it stands."""
    report_to: tuple[str, ...] = ()
    name: str = ""


def run_job(job: Job, tell: Tell) -> None:
    """Train, from the last whole checkpoint where there is one, and leave the result in `job.trained`.

    One process of one or of many (`torchrun` and Ray set what torch.distributed wants). The order of the rows depends
    on the seed alone, and a resumed training goes through the very same steps.
    """
    import torch
    from transformers import AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    from upwell.engines.embedded.loading import quiet

    disable_progress_bar()  # of the weights' files; the caller shows the steps
    if job.cpu:
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(job.base, local_files_only=True, trust_remote_code=False)
        if (
            tokenizer.pad_token_id is None
        ):  # TRL wants one by name; what is padded is masked by position, not by id
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(job.pad)
        arguments = _arguments(job, tokenizer)  # before the model: sharded loading reads them
        model = load_base(
            job.base, job.attention, torch.bfloat16 if job.lora_rank and job.bfloat16 else torch.float32
        )
    trainer = _trainer(job, arguments, model, tokenizer, tell)
    found = last_whole(Path(job.checkpoints)) if trainer.is_world_process_zero() else None
    found = _agreed(found)
    trainer.train(resume_from_checkpoint=None if found is None else str(found))
    trainer.save_model(job.trained)
    trainer.accelerator.wait_for_everyone()


def load_base(folder: str, attention: str, dtype: Any, layers: int | None = None) -> Any:
    """The base model, to be trained; only its first layers where `layers` says so."""
    from transformers import AutoModelForCausalLM

    fewer = {} if layers is None else {"num_hidden_layers": layers}
    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation=attention,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        **fewer,
    )


def collator(pad: int, *, packed: bool, pad_to: int | None) -> Any:
    """TRL's collator: packed rows come without attention mask, with positions that begin anew in each piece."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    return DataCollatorForLanguageModeling(pad_token_id=pad, padding_free=packed, pad_to_multiple_of=pad_to)


def _arguments(job: Job, tokenizer: Any) -> Any:
    from trl import SFTConfig

    sharded: dict[str, Any] = {}
    recompute = job.checkpointing
    if job.sharding == "fsdp2":
        # With FSDP the recomputation is its own: the trainer's would gather the weights twice.
        sharded = {"fsdp": True, "fsdp_config": {"version": 2, "activation_checkpointing": recompute}}
        recompute = False
    elif job.sharding == "zero3":
        sharded = {"deepspeed": _ZERO3}
    return SFTConfig(
        output_dir=job.checkpoints,
        max_steps=job.steps,
        warmup_steps=job.warmup_steps,
        per_device_train_batch_size=job.rows_per_device,
        gradient_accumulation_steps=job.accumulation,
        learning_rate=job.learning_rate,
        lr_scheduler_type=job.schedule,
        optim="adamw_torch",
        adam_beta1=job.adam_betas[0],
        adam_beta2=job.adam_betas[1],
        adam_epsilon=job.adam_epsilon,
        weight_decay=job.weight_decay,
        max_grad_norm=job.max_grad_norm,
        bf16=job.bfloat16,
        tf32=None if job.cpu else True,
        torch_compile=job.compile,
        gradient_checkpointing=recompute,
        seed=job.seed,
        data_seed=job.seed,
        use_cpu=job.cpu,
        logging_steps=1,
        save_strategy="steps",
        save_steps=job.save_every,
        save_total_limit=2,
        disable_tqdm=True,
        report_to=list(job.report_to) or "none",
        run_name=job.name or None,
        max_length=None,
        packing=False,
        padding_free=job.packed,
        pad_to_multiple_of=job.pad_to,
        pad_token=tokenizer.pad_token,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_pin_memory=not job.cpu,
        dataloader_num_workers=0,
        **sharded,
    )


def _trainer(job: Job, arguments: Any, model: Any, tokenizer: Any, tell: Tell) -> Any:
    from transformers import PrinterCallback
    from trl import SFTTrainer

    adapters = None
    if job.lora_rank is not None:
        from peft import LoraConfig

        adapters = LoraConfig(
            r=job.lora_rank, lora_alpha=2 * job.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM"
        )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=open_rows(Path(job.tokens)),
        processing_class=tokenizer,
        peft_config=adapters,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_teller(tell, trainer))
    return trainer


def _teller(tell: Tell, trainer: Any) -> Any:
    """A callback that tells of every step and marks checkpoints as whole."""
    from transformers import TrainerCallback

    class Teller(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
        def __init__(self) -> None:
            self.tokens, self.since = 0, time.monotonic()

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.since = time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not state.is_world_process_zero or "loss" not in logs:
                return
            now, seen = time.monotonic(), int(logs.get("num_tokens", self.tokens))
            tell(
                {
                    "step": state.global_step,
                    "epoch": float(logs["epoch"]),
                    "loss": float(logs["loss"]),
                    "learning_rate": float(logs["learning_rate"]),
                    "gradient_norm": float(logs["grad_norm"]) if "grad_norm" in logs else None,
                    "tokens": seen - self.tokens,
                    "seconds": now - self.since,
                }
            )
            self.tokens, self.since = seen, now

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            trainer.accelerator.wait_for_everyone()  # every process has written its part
            if state.is_world_process_zero:
                mark_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}")
            self.since = time.monotonic()  # saving is no part of the next step

    return Teller()


def _agreed(found: Path | None) -> Path | None:
    """The first process's word on where to go on, in every process."""
    import torch.distributed as distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return found
    told = [found]
    distributed.broadcast_object_list(told, src=0)
    return told[0]


_ZERO3: dict[str, Any] = {
    "zero_optimization": {
        "stage": 3,
        "overlap_comm": True,
        "stage3_gather_16bit_weights_on_model_save": True,
    },
    "bf16": {"enabled": "auto"},
    "gradient_clipping": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
}
