"""The training itself, on TRL's `SFTTrainer`: what runs in every process, whatever launched it."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from upwell.engines.checkpoints import first_line
from upwell.errors import UpwellError, UsageError
from upwell.training.checkpoints import last_whole, mark_whole, writing
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
    logging.getLogger("trl").setLevel(logging.ERROR)  # its remarks on settings that are meant
    if job.cpu:
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(job.base, local_files_only=True, trust_remote_code=False)
        if (
            tokenizer.pad_token_id is None
        ):  # TRL wants one by name; what is padded is masked by position, not by id
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(job.pad)
        arguments = _arguments(job)  # before the model: sharded loading reads them
        if job.sharding == "fsdp2":
            from accelerate.utils import enable_fsdp_ram_efficient_loading

            enable_fsdp_ram_efficient_loading()
        model = load_base(
            job.base, job.attention, torch.bfloat16 if job.lora_rank and job.bfloat16 else torch.float32
        )
    trainer = _trainer(job, arguments, model, tokenizer, tell)
    if job.sharding == "fsdp2" and not trainer.is_fsdp_enabled:  # accelerate would go on without a word
        raise UpwellError("accelerate does not shard on these devices", "--sharding none")
    found = last_whole(Path(job.checkpoints)) if trainer.is_world_process_zero() else None
    found = _agreed(found)
    if found is not None:
        _check_spread(found, job.sharding)
    with writing(Path(job.checkpoints)):
        trainer.train(resume_from_checkpoint=None if found is None else str(found))
    if job.sharding == "fsdp2":
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")  # else nothing is saved
    with writing(Path(job.trained)):
        trainer.save_model(job.trained)
    trainer.accelerator.wait_for_everyone()


def load_base(folder: str, attention: str, dtype: Any, layers: int | None = None) -> Any:
    """The base model, to be trained; only its first layers where `layers` says so.

    Raises:
        UsageError: it cannot be loaded, or not with this attention, or its files lack weights.
    """
    from transformers import AutoModelForCausalLM

    fewer = {} if layers is None else {"num_hidden_layers": layers}
    try:
        model, loaded = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **fewer,
        )
    except (ValueError, ImportError) as error:
        raise UsageError(
            f"the base in {folder} cannot be loaded with the attention `{attention}`: {first_line(error)}",
            "--attention eager",
        ) from None
    except Exception as error:  # noqa: BLE001  a broken weight file raises anything at all
        raise UsageError(
            f"the base in {folder} cannot be loaded: {first_line(error)}",
            "download or save the base again, or another --base",
        ) from None
    # transformers fills what the files lack with random numbers and goes on. (Where weights are sharded, only the first
    # process of a machine reads them.)
    lacking = sorted(map(str, [*loaded["missing_keys"], *loaded["mismatched_keys"]]))
    if lacking and os.environ.get("LOCAL_RANK", "0") == "0":
        raise UsageError(
            f"the weights in {folder} do not fit its config.json: {len(lacking)} tensors are missing or of another "
            f"shape, the first: {lacking[0]}",
            "download or save the base again, or another --base",
        )
    return model


def collator(pad: int, *, packed: bool, pad_to: int | None) -> Any:
    """TRL's collator: packed rows come without attention mask, with positions that begin anew in each piece."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    return DataCollatorForLanguageModeling(pad_token_id=pad, padding_free=packed, pad_to_multiple_of=pad_to)


def _arguments(job: Job) -> Any:
    from trl import SFTConfig

    recompute = job.checkpointing and not _recomputed_by_fsdp(job)
    # Transformers calls it activation_checkpointing of late, and the old name has a default of True in TRL.
    new = "activation_checkpointing" in SFTConfig.__dataclass_fields__
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
        **{"activation_checkpointing" if new else "gradient_checkpointing": recompute},
        seed=job.seed,
        data_seed=job.seed,
        use_cpu=job.cpu,
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would show the mean of other steps in place of a loss that is lost
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
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_pin_memory=not job.cpu,
        dataloader_num_workers=0,
        ddp_find_unused_parameters=False,  # there are none
        **_sharded(job),
    )


def _recomputed_by_fsdp(job: Job) -> bool:
    """Whether activations are recomputed by FSDP, not by the trainer, which would gather the weights twice.

    Not with adapters: FSDP renames the layers that it recomputes, and PEFT 0.21 then finds no adapters to save.
    """
    return job.checkpointing and job.sharding == "fsdp2" and job.lora_rank is None


def _sharded(job: Job) -> dict[str, Any]:
    """What the trainer is told of sharding. Weights, their gradients and the moments stay in float32 with bfloat16
    arithmetic: FSDP casts what it gathers, DeepSpeed keeps its own float32 copy."""
    if job.sharding == "fsdp2":
        return {
            "fsdp": True,
            "fsdp_config": {
                "version": 2,
                "activation_checkpointing": _recomputed_by_fsdp(job),
                # Every process writes its own part: a whole 70B with its moments is 840 GB in one process's memory.
                "state_dict_type": "SHARDED_STATE_DICT",
                # One process a machine reads the weights: in float32, eight times 70B are 2.2 TB.
                "cpu_ram_efficient_loading": True,
            },
        }
    return {"deepspeed": _ZERO3} if job.sharding == "zero3" else {}


def _trainer(job: Job, arguments: Any, model: Any, tokenizer: Any, tell: Tell) -> Any:
    from transformers import PrinterCallback
    from trl import SFTTrainer

    adapters = None
    if job.lora_rank is not None:
        from peft import LoraConfig

        adapters = LoraConfig(
            r=job.lora_rank, lora_alpha=2 * job.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM"
        )

    class Counting(SFTTrainer):  # type: ignore[misc]  # TRL is not followed
        """Remembers how many tokens the loss of a step is the mean over."""

        learnt: Any = 0

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            self.learnt = num_items_in_batch
            return super().training_step(model, inputs, num_items_in_batch)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of peft's on transformers
        trainer = Counting(
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
            learnt, seconds = int(trainer.learnt or 0), now - self.since
            # Into the checkpoints too, where rows are taken from that nobody was there to be told of.
            state.log_history[-1] |= {"learnt": learnt, "seconds": seconds}
            tell(
                {
                    "step": state.global_step,
                    "epoch": float(logs["epoch"]),
                    "loss": float(logs["loss"]),
                    "learning_rate": float(logs["learning_rate"]),
                    "gradient_norm": float(logs["grad_norm"]) if "grad_norm" in logs else None,
                    "tokens": seen - self.tokens,
                    "learnt": learnt,
                    "seconds": seconds,
                }
            )
            self.tokens, self.since = seen, now

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step >= state.max_steps:
                # What was trained is written next; and from a checkpoint of the last step, transformers takes another.
                control.should_save = False

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            trainer.accelerator.wait_for_everyone()  # every process has written its part
            if state.is_world_process_zero:
                mark_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}")
            self.since = time.monotonic()  # saving is no part of the next step

    return Teller()


def _check_spread(checkpoint: Path, sharding: str) -> None:
    """See that a checkpoint is one of this sharding: neither trainer nor accelerate reads another.

    Raises:
        UsageError: it is not.
    """
    if any(checkpoint.glob("global_step*")):
        made = "zero3"
    else:
        made = "fsdp2" if (checkpoint / "pytorch_model_fsdp_0").is_dir() else "none"
    if made != sharding:
        raise UsageError(
            f"`{checkpoint}` was written with the sharding `{made}`, and this command has `{sharding}`",
            f"--sharding {made}" + (" on more than one device" if made != "none" else ""),
        )


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
