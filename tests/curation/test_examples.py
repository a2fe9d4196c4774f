"""Examples: the prompt that evaluation uses, the solution as it is to be learnt, and where both came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_inputs import curated, draft, examples, make_run

from upwell import prompts
from upwell.curation.examples import Maker, pieces
from upwell.errors import UsageError
from upwell.records import Draft


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What curation looks at of a checkpoint: its tokenizer and chat template. The weights are none."""
    import tiny_models

    folder = tmp_path_factory.mktemp("checkpoint") / "bytes"
    tiny_models.tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder


HASHES = "48 / 2 = <<48/2=24>>24\n48 + 24 = <<48+24=72>>72\n#### 72"


def made(solution: str, prompt: str = "plain", answer: str = "72", **settings: Any) -> tuple[str, str]:
    maker = Maker(prompts.get(prompt), **settings)
    one = maker.example(draft("k", question="Clips?", solution=solution, answer=answer), 2)
    assert one.rung == 2
    return one.prompt, one.completion


@pytest.mark.parametrize("prompt", ["plain", "boxed", "xwin-math", "alpaca", "deepseek-math"])
def test_prompt_and_completion_join_with_white_space_and_the_prompt_is_the_one_of_evaluation(
    prompt: str,
) -> None:
    asked, answered = made("It is 72.", prompt)
    assert asked == prompts.get(prompt).render("Clips?")
    between = (asked + answered)[len(asked.rstrip()) : (asked + answered).index("It is")]
    assert between.isspace() and not (asked[-1].isspace() and answered[0].isspace())


@pytest.mark.parametrize(
    ("final", "solution", "completion"),
    [
        ("keep", HASHES, HASHES),
        ("boxed", HASHES, HASHES.replace("\n#### 72", "\nThe final answer is $\\boxed{72}$.")),
        ("boxed", "So \\boxed{72}.", "So \\boxed{72}."),
        ("hashes", "So \\boxed{72}.", "So \\boxed{72}.\n#### 72"),
        ("hashes", HASHES, HASHES),
        ("sentence", HASHES, HASHES.replace("\n#### 72", "\nThe answer is: 72")),
        ("sentence", "The answer is 72.", "The answer is 72."),
    ],
)  # fmt: skip
def test_the_final_answer_is_put_behind_solutions_that_lack_it(
    final: str, solution: str, completion: str
) -> None:
    assert made(solution, final=final)[1].strip() == completion


def test_a_solution_without_a_known_answer_gets_none_made_up() -> None:
    assert made("It is so.", final="boxed", answer="")[1].strip() == "It is so."


def test_an_answer_with_braces_is_put_in_whole() -> None:
    assert made("So.", final="boxed", answer="\\frac{1}{2}")[1].endswith("\\boxed{\\frac{1}{2}}$.")


def test_calculator_notes_can_go() -> None:
    assert made(HASHES, calculator=False)[1].strip() == "48 / 2 = 24\n48 + 24 = 72\n#### 72"


def test_lineage_names_seeds_and_replies(tmp_path: Path) -> None:
    drafts: list[Draft] = [
        draft("gsm8k/train/1/xwin-0", parents=("gsm8k/train/1",), replies=("gsm8k/train/1/xwin-0@question",)),
        draft("gsm8k/train/2#7", parents=("gsm8k/train/2",)),
    ]
    found = examples(curated(make_run(tmp_path / "in", "synthesize", drafts=drafts), out=tmp_path / "out"))
    new, drawn = found["gsm8k/train/1/xwin-0"], found["gsm8k/train/2#7"]
    assert new.problem == new.key and new.lineage == ("gsm8k/train/1", "gsm8k/train/1/xwin-0@question")
    assert drawn.problem == "gsm8k/train/2" and drawn.lineage == ("gsm8k/train/2",)


def test_chat_prompts_come_from_the_models_own_template(tmp_path: Path, checkpoint: Path) -> None:
    path = make_run(tmp_path / "in", "synthesize", drafts=[draft("k")])
    run = curated(path, out=tmp_path / "out", model=str(checkpoint))
    (one,) = examples(run).values()
    assert one.prompt != one.question and one.question in one.prompt and prompts.BOXED in one.prompt
    assert run.manifest["prompt"]["name"] == "chat" and run.manifest["model"]["digest"]
    with pytest.raises(UsageError, match="needs a model") as error:
        curated(path, out=tmp_path / "other", prompt="chat")
    assert "--model" in (error.value.hint or "")
    with pytest.raises(UsageError, match="a checkpoint is needed"):
        curated(path, out=tmp_path / "other", model="server:http://localhost:1#m")


def test_tokens_are_counted_by_the_models_tokenizer_where_a_ladder_is_by_tokens(
    tmp_path: Path, checkpoint: Path
) -> None:
    path = make_run(tmp_path / "in", "synthesize", drafts=[draft(f"k{n}") for n in range(20)])
    run = curated(path, out=tmp_path / "out", model=str(checkpoint), ladder="all", ladder_by="tokens")
    assert run.summary is not None
    # A byte-level tokenizer: as many tokens as the solution has bytes.
    assert run.summary["tokens"]["completion"] == sum(len(one.completion) for one in examples(run).values())


def test_pieces() -> None:
    assert pieces("So 48/2 = 24.") == 1 + 2 + 1 + 1 + 1 + 2 + 1
