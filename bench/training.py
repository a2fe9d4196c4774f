"""Three ways to lay out rows, on the same examples and model: real tokens per second of each, and the losses.

    UPWELL_DATA=... python bench/training.py                                  # GSM8K train, SmolLM2, this machine
    UPWELL_DATA=... python bench/training.py --examples 64 --max-length 1024

`full` pads every example to the maximum length, as the papers' baseline does; `longest` pads to the longest of its
batch, TRL's default, with TRL's default of 8 rows a device; `packed` puts whole examples into rows. Each trains one
epoch over the same examples at a rate so low that the weights stand still, so the mean losses have to agree. Tokens are
those of examples: padding is not counted. Runs one after the other in one process; nothing else may run beside it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from upwell.curation.curate import curate
from upwell.curation.settings import CurateSettings
from upwell.records import Step
from upwell.runs import Run
from upwell.training import TrainSettings
from upwell.training.recipes import find_recipe
from upwell.training.stage import train

STILL = 1e-12
"""A learning rate that moves no weight."""
WAYS = ("full", "longest", "packed")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--recipe", default="smollm2-135m")
    parser.add_argument("--base", default=None)
    parser.add_argument("--precision", default="auto")
    parser.add_argument(
        "--rows-per-device",
        type=int,
        default=8,
        choices=(1, 2, 4, 8),
        help="of `longest`; the others take one at a time",
    )
    asked = parser.parse_args()
    aside = Path(tempfile.mkdtemp(prefix="bench-training-"))
    try:
        recipe = find_recipe(asked.recipe)
        examples = curate(
            ["gsm8k/train"],
            CurateSettings(
                out=str(aside / "set"), limit=asked.examples, prompt=recipe.prompt.value,
                model=asked.base or recipe.base.value if recipe.prompt.value == "chat" else None,
            ),
        )  # fmt: skip
        base = TrainSettings(
            recipe=asked.recipe, base=asked.base, learning_rate=STILL, epochs=1, max_length=asked.max_length,
            precision=asked.precision, preflight="no-overfit", save_every=10**6,
        )  # fmt: skip
        rates = {}
        for way in WAYS:
            # Where all rows are of one length, how many are worked on at once changes memory alone.
            rows = asked.rows_per_device if way == "longest" else 1
            settings = replace(base, rows=way, rows_per_device=rows, batch_size=8, out=str(aside / way))
            run = Run.read(train(str(examples), settings))
            steps = list(run.rows("steps", Step))
            assert run.summary is not None
            spent, tokens = sum(s.seconds for s in steps), sum(s.tokens for s in steps)
            rates[way] = tokens / spent
            # Each step's loss is a mean over its learnt tokens; over the epoch they are weighted by those of its rows.
            print(
                f"{way:8} {run.summary['counts']['rows']:5} rows {tokens:9,} tokens in {spent:8.1f} s: "
                f"{rates[way]:8.1f} tokens/s ({rates[way] / rates[WAYS[0]]:.2f}x)   loss {_loss(run, steps):.5f}",
                flush=True,
            )
        print(
            f"packed: {rates['packed'] / rates['full']:.2f}x padded to {asked.max_length}, "
            f"{rates['packed'] / rates['longest']:.2f}x padded to the longest of {asked.rows_per_device}"
        )
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _loss(run: Run, steps: list[Step]) -> float:
    weights = [step.learnt or 0 for step in steps]
    return sum(step.loss * weight for step, weight in zip(steps, weights, strict=True)) / sum(weights)


if __name__ == "__main__":
    main()
