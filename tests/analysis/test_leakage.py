"""`analyze leakage`: a model that saw a set with its numbers is flagged, one that did not is not."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import summary_of

from tiny_models import make_checkpoint
from upwell.analysis.settings import AnalyzeSettings
from upwell.analysis.stage import analyze
from upwell.errors import UsageError
from upwell.records import Draft, Loss
from upwell.runs import Run

NAMES = ("Ada", "Tom", "Mia", "Leo", "Eva", "Max", "Ida", "Sam", "Zoe", "Jon", "Amy", "Ben")


def word_problems(path: Path, seed: int, count: int = 16) -> str:
    """A file of problems whose solutions write their arithmetic down."""
    dice = random.Random(seed)
    lines = []
    for number in range(count):
        a, b, price = dice.randint(31, 89), dice.randint(101, 180), dice.randint(15, 29)
        who = f"{NAMES[number % 12]} {number}"
        question = f"{who} has {a} hens and gets {b} more, each worth ${price}. What are all worth?"
        solution = (
            f"{a}+{b}=<<{a}+{b}={a + b}>>{a + b} hens.\n"
            f"They are worth {a + b}*{price}=$<<{a + b}*{price}={(a + b) * price}>>{(a + b) * price}."
        )
        row = {
            "id": f"{seed}-{number}",
            "question": question,
            "solution": solution,
            "answer": str((a + b) * price),
        }
        lines.append(json.dumps(row) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets, a random model, and the same one after it has learnt the first set by heart."""
    room = tmp_path_factory.mktemp("leakage")
    for seed, name in ((21, "seen.jsonl"), (22, "unseen.jsonl")):
        word_problems(room / name, seed)
    shape: dict[str, Any] = {"max_position_embeddings": 512, "initializer_range": 0.08, "hidden_size": 96}
    make_checkpoint("llama", room / "base", **shape)
    make_checkpoint("llama", room / "learnt", **shape)
    learn(room / "learnt", room / "seen.jsonl")
    return room


def learn(folder: Path, path: Path) -> None:
    """Until the solutions come by themselves."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": row["question"]}], tokenize=False, add_generation_prompt=True
        )
        rows.append(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        rows[-1] += tokenizer(row["solution"], add_special_tokens=False)["input_ids"]
    ids = torch.full((len(rows), max(map(len, rows))), tokenizer.pad_token_id)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = torch.tensor(tokens)
    labels = ids.masked_fill(ids == tokenizer.pad_token_id, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(150):
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.3, "it has not learnt them"
    model.save_pretrained(folder)


def analysed(room: Path, out: Path, model: str, *sets: str, **settings: Any) -> dict[str, Any]:
    analyze(
        "leakage",
        [str(room / name) for name in sets],
        AnalyzeSettings(out=str(out), model=str(room / model), prompt="chat-plain", **settings),
    )
    return summary_of(out)


def test_a_set_known_by_heart_is_flagged(room: Path, tmp_path: Path) -> None:
    found = analysed(room, tmp_path / "out", "learnt", "seen.jsonl", "unseen.jsonl")
    assert "FLAGGED" in found["conclusions"][0]
    (row,) = [r for r in found["fits"] if r["part"] == "solution" and r["measure"] == "loss gap"]
    assert row["low"] > 0
    assert {p["measure"] for p in found["points"]} == {"loss gap", "Min-K% gap"}


@pytest.mark.parametrize(
    ("model", "sets"), [("learnt", ("unseen.jsonl", "seen.jsonl")), ("base", ("seen.jsonl", "unseen.jsonl"))]
)
def test_others_are_not(room: Path, tmp_path: Path, model: str, sets: tuple[str, str]) -> None:
    found = analysed(room, tmp_path / "out", model, *sets)
    assert "not flagged" in found["conclusions"][0]


def test_losses_are_those_of_the_model(room: Path, tmp_path: Path) -> None:
    """Against transformers' own loss, text by text: whatever was read beside it and however it was padded."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    analysed(room, tmp_path / "out", "learnt", "seen.jsonl", limit=5)
    tokenizer = AutoTokenizer.from_pretrained(room / "learnt")
    model = AutoModelForCausalLM.from_pretrained(
        room / "learnt", dtype=torch.float32, attn_implementation="eager"
    )
    rows = {row.key: row for row in Run.read(tmp_path / "out").rows("losses", Loss)}
    assert len(rows) == 20
    for line in (room / "seen.jsonl").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        key = next((key for key in rows if f"{one['id']}|question|original" in key), None)
        if key is None:
            continue
        ids = torch.tensor(
            [[tokenizer.bos_token_id, *tokenizer(one["question"], add_special_tokens=False)["input_ids"]]]
        )
        with torch.inference_mode():
            logprobs = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        assert rows[key].tokens == len(logprobs)
        assert rows[key].loss == pytest.approx(-float(logprobs.sum()), rel=1e-4)
        least = np.sort(logprobs.numpy())[: round(len(logprobs) * 0.2)]
        assert rows[key].lowest == pytest.approx(float(least.mean()), rel=1e-4)


def test_a_second_run_reads_only_what_is_owed(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from upwell.engines.embedded import losses

    whole = analysed(room, tmp_path / "whole", "base", "seen.jsonl", "unseen.jsonl")
    read, own = [], losses.Losses.of

    class Killed(Exception):
        pass

    def torn(self: Any, texts: Any, **others: Any) -> Any:
        for number, told in own(self, texts, **others):
            if len(read) == 40:
                read.append(-1)
                raise Killed
            read.append(number)
            yield number, told

    monkeypatch.setattr(losses.Losses, "of", torn)
    with pytest.raises(Killed):
        analysed(room, tmp_path / "torn", "base", "seen.jsonl", "unseen.jsonl")
    again = analysed(room, tmp_path / "torn", "base", "seen.jsonl", "unseen.jsonl")
    assert len(read) - 1 == len(list(Run.read(tmp_path / "torn").rows("losses", Loss))) == 2 * 16 * 4
    assert again["conclusions"] == whole["conclusions"]


def test_n_grams_of_what_was_trained_on(room: Path, tmp_path: Path) -> None:
    found = analysed(
        room,
        tmp_path / "out",
        "base",
        "seen.jsonl",
        "unseen.jsonl",
        train=str(room / "seen.jsonl"),
        ngram=13,
        limit=8,
    )
    shares = {Path(r["set"]).name: r["value"] for r in found["fits"] if "gram" in r["measure"]}
    assert shares == {"seen.jsonl": 1.0, "unseen.jsonl": 0.0}


def drafts(path: Path, teacher: str, seed: int) -> str:
    rows = [
        json.loads(line)
        for line in Path(word_problems(path.with_suffix(".jsonl"), seed, 12)).read_text().splitlines()
    ]
    with Run.open(path, verb="synthesize", settings={}, fingerprint={"seed": seed}) as run:
        for row in rows:
            texts = {name: row[name] for name in ("question", "answer", "solution")}
            run.append("drafts", [Draft(key=row["id"], method="rejection", teacher=teacher, **texts)])
        run.finish({"counts": {}})
    return str(path)


def test_distances_of_the_paper(room: Path, tmp_path: Path) -> None:
    test, other, train = (
        drafts(tmp_path / name, "t/1", seed) for name, seed in (("a", 3), ("b", 4), ("c", 21))
    )
    sources = [f"test={test}", f"reference={other}", f"train={train}"]
    settings = AnalyzeSettings(out=str(tmp_path / "out"), model=str(room / "learnt"), prompt="chat-plain")
    analyze("leakage", sources, settings)
    fits = {row["measure"]: row for row in summary_of(tmp_path / "out")["fits"]}
    assert fits["D1"]["low"] < 0 < fits["D1"]["high"]
    assert fits["D2"]["low"] > 0, "the train set is known by heart, the test set is not"
    stranger = drafts(tmp_path / "d", "t/2", 5)
    with pytest.raises(UsageError, match="different teachers"):
        analyze(
            "leakage",
            [f"test={test}", f"reference={stranger}"],
            AnalyzeSettings(out=str(tmp_path / "no"), model=str(room / "base")),
        )
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["test=a", "gsm8k"], "different questions"),
        (["seen.jsonl", "seen.jsonl"], "given twice"),
        (["train=RUN"], "no run at"),
    ],
)
def test_wrong_sources(
    room: Path, tmp_path: Path, sources: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(room)
    with pytest.raises(UsageError, match=message):
        analyze("leakage", sources, AnalyzeSettings(out=str(tmp_path / "out"), model=str(room / "base")))
    assert not (tmp_path / "out").exists()
