"""The stage that trains: examples in, a checkpoint with its loss table out."""

from __future__ import annotations

import importlib.util
import math
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from upwell import prompts
from upwell.engines.checkpoints import Checkpoint, resolve
from upwell.errors import MissingExtra, UsageError
from upwell.measurement.plan import chat_of
from upwell.measurement.watch import Silent, Watch
from upwell.records import Step
from upwell.runs import Run
from upwell.runs.storage import write_atomically
from upwell.training import preflight
from upwell.training.checkpoints import CHECKPOINTS, MODEL, TOKENS, TRAINED, finish_model, forget, told_steps
from upwell.training.corpora import finished_examples
from upwell.training.cost import Work
from upwell.training.encoding import Encoder, end_of_sequence
from upwell.training.joining import follow, follows, leading
from upwell.training.launching import launch
from upwell.training.machine import Machine
from upwell.training.recipes import chosen, find_recipe
from upwell.training.rows import Rows, examples_of, make_rows, open_rows
from upwell.training.settings import PLANNED_ONLY, TrainSettings
from upwell.training.trainer import Job

STEPS = "steps"
"""Table of the losses."""
_PREFLIGHT = "preflight.json"


def train(
    examples: str, settings: TrainSettings, *, rung: int | None = None, watch: Watch | None = None
) -> Path:
    """Fine-tune a base model on a run of examples.

    The run directory ends up with the table `steps`, the trained checkpoint in `model/`, and `rejects` for examples
    that could not be learnt. Killed at any moment, the same call goes on at the last checkpoint, in the same order.

    Args:
        examples: finished run of `upwell curate`.
        settings: recipe, base, machines.
        rung: train on this rung of the run's ladder only.
        watch: told of the progress.

    Raises:
        UsageError: something would be wasted: settings, examples, template, lengths, isolation (see
            `upwell.training.preflight`); no step was taken.
        StorageError: the run directory cannot be written.
        UpwellError: a process of the training failed; the run is resumable.
    """
    watch = watch or Silent()
    if follows():
        follow()
        return Path(settings.out or "")
    with leading():
        return _train(examples, settings, rung, watch)


def _train(examples: str, settings: TrainSettings, rung: int | None, watch: Watch) -> Path:
    training = _Training(examples, settings, rung, watch)
    with training.open() as run:
        if run.summary is not None:
            watch.say(f"`{run.path}` is finished already: nothing to do")
            return run.path
        try:
            training.go(run)
        except UsageError:
            if not run.count(STEPS):
                forget(run.path, _PREFLIGHT)  # so that the command that mends it can have the same --out
            raise
    return Path(run.path)


class _Training:
    """One session."""

    def __init__(self, examples: str, settings: TrainSettings, rung: int | None, watch: Watch) -> None:
        _packages(settings.report_to)
        self._settings, self._watch, self._rung = settings, watch, rung
        for name in PLANNED_ONLY:
            if getattr(settings, name) not in (None, ()):
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} does nothing without --plan", f"leave {flag} out, or add --plan")
        if settings.out is None:
            raise UsageError("there is no run directory to train into", "--out runs/trained")
        self._source = finished_examples(examples)
        self._recipe = chosen(settings)
        self._base = resolve(self._recipe.base.value, say=watch.say)
        self._template = prompts.get(self._recipe.prompt.value, chat=chat_of(self._base))
        preflight.check_template(self._source, self._template, self._recipe.name)
        self._tokenizer = self._base.tokenizer()
        own = self._recipe.base.value == find_recipe(self._recipe.name).base.value
        self._eos, self._eos_id = end_of_sequence(self._recipe, self._tokenizer, own_base=own)
        if self._eos != self._recipe.eos.value:
            watch.say(
                f"completions end with `{self._eos}`, the base's own: it has no `{self._recipe.eos.value}`"
            )
        self._machine = Machine(self._recipe, self._base, settings, watch)

    def open(self) -> Run:
        """The run, new or to be gone on with."""
        settings, recipe = self._settings, self._recipe
        assert settings.out is not None
        values = {name: value.value for name, value in recipe.values() if name not in _ONLY_SPEED}
        return Run.open(
            settings.out,
            verb="train",
            settings={
                name: value
                for name, value in asdict(settings).items()
                if name not in (*PLANNED_ONLY, "plan", *_OF_LADDERS)
            },
            fingerprint={
                "recipe": {**values, "base": self._base.digest, "eos": self._eos},
                "examples": self._source.reference("examples")["digest"],
                "prompt": f"{self._template.name}@{self._template.digest[:12]}",
                "rows": settings.rows or ("packed" if recipe.packing.value else "longest"),
                "precision": "bfloat16" if self._machine.bfloat16 else "float32",
                "max_steps": settings.max_steps,
                "rung": self._rung,
            },
            inputs=[self._source.reference("examples")],
            identity={
                "model": {
                    "name": self._base.name,
                    "digest": self._base.digest,
                    "revision": self._base.revision,
                },
                "prompt": {"name": self._template.name, "digest": self._template.digest},
                "recipe": {
                    name: {"value": value.value, "source": value.source, "why": value.why}
                    for name, value in recipe.values()
                },
            },
        )

    def go(self, run: Run) -> None:
        recipe, settings, watch = self._recipe, self._settings, self._watch
        encoder = Encoder(self._tokenizer, self._eos_id, add_special_tokens=self._template.add_special_tokens)
        count = sum(1 for _ in examples_of(self._source, self._rung))
        if not count:  # of no rung there is always one: the run would not have been taken
            raise UsageError(
                f"`{self._source.path}` has no rung {self._rung}",
                f"upwell show {self._source.path} lists its rungs",
            )
        facts = make_rows(
            run, examples_of(self._source, self._rung), count, encoder,
            max_length=recipe.max_length.value, packed=recipe.packing.value, seed=recipe.seed.value, watch=watch,
        )  # fmt: skip
        preflight.check_lengths(
            facts, recipe.max_length.value, settings.max_truncated, str(self._source.path),
            self._base_config().get("max_position_embeddings"),
        )  # fmt: skip
        steps_per_epoch = math.ceil(facts.rows / recipe.batch_size.value)
        steps = settings.max_steps or steps_per_epoch * recipe.epochs.value
        work = self._machine.work(facts, steps, steps_per_epoch)
        told = self._tell_plan(facts, work)
        checks = self._preflight(run, facts, told)
        job = self._job(run, steps, work)
        seconds = 0.0 if (run.path / MODEL).exists() else self._train(run, job, steps)
        self._finish(run, facts, work, steps, seconds, checks)

    # -- before the first step ---------------------------------------------------------------------------------------

    def _tell_plan(self, facts: Rows, work: Work | None) -> dict[str, Any]:
        say, recipe, machine = self._watch.say, self._recipe, self._machine
        batch = machine.batch
        say(
            f"{facts.examples:,} examples, {facts.tokens:,} tokens per epoch ({facts.learnt:,} learnt) in "
            f"{facts.rows:,} rows of {recipe.max_length.value:,}"
            + (f"; {facts.too_long:,} longer than a row left out" if facts.too_long else "")
            + (f"; {facts.unusable:,} unusable left out" if facts.unusable else "")
        )
        if facts.seams:
            say(
                f"{facts.seams:,} completions would grow together with their prompt: split as evaluation splits them"
            )
        told: dict[str, Any] = {
            "rows": msgspec.to_builtins(facts),
            "batch": asdict(batch),
            "devices": machine.devices,
        }
        if work is not None:
            seconds = machine.seconds(work)
            told |= {
                "work": asdict(work),
                "planned_hours": None if seconds is None else seconds / 3600,
                "memory": machine.memory(),
            }
            say(
                f"{work.steps:,} steps ({work.warmup_steps:,} of warm-up) of {recipe.batch_size.value} rows: "
                f"{batch.rows} x {batch.passes} passes x {machine.devices} devices"
                + ("" if seconds is None else f"; about {_spell(seconds)} here by the plan")
                + ("" if told["memory"] is None else f", {told['memory'] / 1e9:,.1f} GB of memory")
            )
        return told

    def _preflight(self, run: Run, facts: Rows, told: dict[str, Any]) -> dict[str, Any]:
        """Prove on the model itself what can be; once a run."""
        path = run.path / _PREFLIGHT
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        except (OSError, msgspec.DecodeError):
            pass
        say, recipe = self._watch.say, self._recipe
        rows = open_rows(run.path / TOKENS)
        shown = preflight.show_masks(rows, self._tokenizer, self._eos_id)
        for one in shown:
            say(
                f"masked: {_ends(one.masked)!r}\nlearnt: {_ends(one.learnt)!r} "
                f"({one.learnt_tokens} of {one.tokens} tokens)"
            )
        found: dict[str, Any] = {**told, "shown": [asdict(one) for one in shown], "eos": self._eos}
        layers = self._machine.probe_layers()
        if layers is not None:
            say(f"pre-flight on the first {layers} layers: the whole model does not fit here")
        half = self._machine.attention.startswith("flash")
        model = self._machine.load(layers, half)
        model.eval()
        begun = time.monotonic()
        isolated = preflight.isolation(model, rows, self._pad, half=half) if recipe.packing.value else None
        if isolated is not None:
            found["isolation"] = asdict(isolated)
            say(
                f"packing: {isolated.tokens} learnt tokens of {isolated.examples} examples in one row are at most "
                f"{isolated.largest:.2g} nats off the same alone (bound {isolated.bound:g}; {isolated.open:.2g} "
                "if they saw each other)"
            )
        elif recipe.packing.value:
            say("packing: no row holds two examples, so nothing can leak")
        if self._settings.preflight == "full":
            if half:
                del model
                model = self._machine.load(layers, half=False, attention="sdpa")
            losses = preflight.overfit(model, rows, self._pad, recipe.method.value, recipe.lora_rank.value)
            found["overfit"] = losses
            say(f"overfit: {len(losses)} steps on one batch, loss {losses[0]:.3f} to {losses[-1]:.3f}")
        del model
        found["seconds"] = time.monotonic() - begun
        write_atomically(path, msgspec.json.encode(found))
        return found

    @property
    def _pad(self) -> int:
        found = self._tokenizer.pad_token_id
        return self._eos_id if found is None else int(found)

    # -- the steps -----------------------------------------------------------------------------------------------------

    def _job(self, run: Run, steps: int, work: Work | None) -> Job:
        recipe, settings, machine = self._recipe, self._settings, self._machine
        every = settings.save_every or machine.save_every(steps, work)
        lora = recipe.method.value == "lora"
        folder = run.path.resolve()
        return Job(
            base=str(self._base.folder.resolve()), tokens=str(folder / TOKENS), checkpoints=str(folder / CHECKPOINTS),
            trained=str(folder / TRAINED), packed=recipe.packing.value,
            pad_to=recipe.max_length.value if settings.rows == "full" else None,
            steps=steps, warmup_steps=math.ceil(steps * recipe.warmup_ratio.value), save_every=every,
            rows_per_device=machine.batch.rows, accumulation=machine.batch.passes,
            learning_rate=recipe.learning_rate.value,
            schedule=recipe.schedule.value, adam_betas=recipe.adam_betas.value, adam_epsilon=recipe.adam_epsilon.value,
            weight_decay=recipe.weight_decay.value, max_grad_norm=recipe.max_grad_norm.value, bfloat16=machine.bfloat16,
            attention=machine.attention, compile=recipe.compile.value and not machine.cpu,
            checkpointing=recipe.checkpointing.value, lora_rank=recipe.lora_rank.value if lora else None,
            sharding=machine.sharding, seed=recipe.seed.value, cpu=machine.cpu,
            pad=self._pad, report_to=settings.report_to, name=run.path.name,
        )  # fmt: skip

    def _train(self, run: Run, job: Job, steps: int) -> float:
        """Take the steps that are owed; returns the seconds of this session's."""
        trained = Path(job.trained)
        if (trained / "config.json").exists() or (trained / "adapter_config.json").exists():
            shutil.rmtree(
                trained
            )  # written by a session that was killed before it could say that it was whole
        there = run.keys(STEPS)
        begun, first = time.monotonic(), True

        def catch_up(before: int = steps + 1) -> None:
            told = [row for row in told_steps(Path(job.checkpoints)) if row["step"] < before]
            owed = [row for row in told if row["key"] not in there]
            run.append(STEPS, [msgspec.convert(row, Step) for row in owed])
            there.update(row["key"] for row in owed)

        def tell(event: dict[str, Any]) -> None:
            nonlocal first
            for name in ("loss", "gradient_norm"):
                if event[name] is not None and not math.isfinite(event[name]):
                    raise UsageError(
                        f"step {event['step']} has the {name.replace('_', ' ')} {event[name]}: no step after it "
                        "would learn anything",
                        f"--learning-rate {job.learning_rate / 4:g}, with another --out",
                    )
            if first:
                first = False
                # Again: processes that outlived a killed session may have ended a checkpoint since.
                catch_up(event["step"])
                self._watch.begin(f"training {run.path.name}", steps, event["step"] - 1)
            key = f"step-{event['step']:07d}"
            if key not in there:  # a step that is taken again after a kill has its row already
                run.append(STEPS, [Step(key=key, **event)])
            self._watch.say(_line(event, steps)) if _worth_a_line(event["step"], steps) else None
            self._watch.advance(1, tokens=event["tokens"])

        catch_up()
        launch(job, run.path, self._machine.devices, self._settings.ray, tell)
        self._watch.end()
        return time.monotonic() - begun

    def _finish(
        self, run: Run, facts: Rows, work: Work | None, steps: int, seconds: float, checks: dict[str, Any]
    ) -> None:  # fmt: skip
        import torch

        model = run.path / MODEL
        if not model.exists():
            self._watch.say("writing the model")
            kept = self._base_dtype()
            finish_model(
                run.path / TRAINED, model, base=self._base.folder, dtype=getattr(torch, kept),
                adapter=self._recipe.method.value == "lora", tokenizer=self._tokenizer, eos=self._eos_id,
                card=self._card(),
            )  # fmt: skip
        shutil.rmtree(run.path / TRAINED, ignore_errors=True)
        shutil.rmtree(run.path / CHECKPOINTS, ignore_errors=True)
        made = Checkpoint(run.path.name, model)
        run.finish(self._summary(run, facts, work, steps, seconds, checks, made))
        self._watch.say(f"model: {model}")

    def _base_dtype(self) -> str:
        """The dtype that the base's weights have on disk, where it is one to train in."""
        told = self._base_config()
        found = told.get("dtype") or told.get("torch_dtype")
        return found if found in ("float32", "bfloat16") else "bfloat16"

    def _base_config(self) -> dict[str, Any]:
        return msgspec.json.decode((self._base.folder / "config.json").read_bytes(), type=dict[str, Any])

    def _card(self) -> dict[str, Any]:
        return {
            "prompt": self._template.name, "prompt_digest": self._template.digest, "eos": self._eos,
            "stop": list(self._template.stop), "recipe": self._recipe.name, "base": self._base.name,
            "base_digest": self._base.digest,
        }  # fmt: skip

    def _summary(
        self, run: Run, facts: Rows, work: Work | None, steps: int, seconds: float, checks: dict[str, Any],
        made: Checkpoint,
    ) -> dict[str, Any]:  # fmt: skip
        table = sorted(run.rows(STEPS, Step), key=lambda row: row.step)
        tokens, spent = sum(row.tokens for row in table), sum(row.seconds for row in table)
        rate = tokens / spent if spent else None
        last = table[-min(10, len(table)) :]
        where = self._machine.hardware
        peak = where.peak * self._machine.devices if where is not None else None
        done = work.model_flops if work is not None else None
        return {
            "counts": {
                "steps": steps, "examples": facts.examples, "rows": facts.rows, "too_long": facts.too_long,
                "unusable": facts.unusable, "tokens": tokens,
            },
            "loss": {
                "first": table[0].loss, "last": table[-1].loss, "mean_of_last": sum(r.loss for r in last) / len(last),
                "averaged": len(last),
            },
            "seconds": {"training": spent, "session": seconds, "preflight": checks.get("seconds")},
            "tokens_per_second": rate,
            "mfu": done / spent / peak if done and spent and peak else None,
            "model": {"folder": MODEL, "digest": made.digest, "eos": self._eos, "prompt": self._template.name},
            "preflight": {key: checks.get(key) for key in ("isolation", "overfit", "planned_hours", "memory")},
        }  # fmt: skip


_ONLY_SPEED = ("attention", "compile", "sharding", "checkpointing", "hardware", "data", "base", "eos")
"""Values of a recipe that change no weight but by rounding, or stand in the fingerprint in another form."""
_OF_LADDERS = ("ladder", "same", "seeds", "problems", "limit", "samples", "max_tokens", "temperature")


def _packages(trackers: tuple[str, ...]) -> None:
    for package in ("torch", "transformers", "trl", "accelerate", "datasets", "peft"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra("training", package, "train")
    for tracker in trackers:
        if importlib.util.find_spec(tracker) is None:
            raise UsageError(
                f"--report-to {tracker}: that package is not installed", f"pip install {tracker}"
            )


def _ends(text: str, most: int = 160) -> str:
    """A text with its middle left out where it is long."""
    return text if len(text) <= most else text[: most // 2] + " ... " + text[-most // 2 :]


def _worth_a_line(step: int, steps: int) -> bool:
    return step in (1, steps) or step % max(1, steps // 10) == 0


def _line(event: dict[str, Any], steps: int) -> str:
    rate = event["tokens"] / event["seconds"] if event["seconds"] else 0.0
    return (
        f"step {event['step']:,} of {steps:,}: loss {event['loss']:.4f}, rate {event['learning_rate']:.3g}, "
        f"{rate:,.0f} tokens/s"
    )


def _spell(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
