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
from upwell.analysis.found import Found
from upwell.analysis.ngrams import overlap, runs_met
from upwell.analysis.settings import AnalyzeSettings
from upwell.analysis.stage import analyze
from upwell.analysis.texts import Texts
from upwell.errors import UsageError
from upwell.measurement.watch import Silent
from upwell.records import Draft, Example, Loss, Problem
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


@pytest.fixture(scope="module")
def same_ids(room: Path) -> tuple[str, str]:
    """The two sets with ids in common."""
    for name in ("seen", "unseen"):
        rows = [json.loads(line) for line in (room / f"{name}.jsonl").read_text().splitlines()]
        lines = [json.dumps(row | {"id": str(number)}) + "\n" for number, row in enumerate(rows)]
        (room / f"{name}-by-number.jsonl").write_text("".join(lines), encoding="utf-8")
    return "seen-by-number.jsonl", "unseen-by-number.jsonl"


def test_sets_with_the_same_ids_have_losses_of_their_own(
    room: Path, same_ids: tuple[str, str], tmp_path: Path
) -> None:
    def values(found: dict[str, Any]) -> dict[Any, float]:
        return {(row["set"], row["part"], row["measure"]): row["value"] for row in found["points"]}

    both = analysed(room, tmp_path / "both", "learnt", *same_ids)
    keys = [row.key for row in Run.read(tmp_path / "both").rows("losses", Loss)]
    assert len(keys) == len(set(keys)) == 2 * 16 * 4
    alone = [values(analysed(room, tmp_path / name, "learnt", name)) for name in same_ids]
    assert values(both) == pytest.approx(alone[0] | alone[1], rel=1e-4)
    assert "FLAGGED" in both["conclusions"][0]


def test_a_run_with_keys_that_name_no_set_is_read_anew(
    room: Path, same_ids: tuple[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    new = analysed(room, out, "learnt", *same_ids, limit=5)
    table = out / "losses.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    old = [row | {"key": row["key"].partition("|")[2], "loss": 1.0} for row in rows]
    table.write_text("".join(json.dumps(row) + "\n" for row in old))
    assert analysed(room, out, "learnt", *same_ids, limit=5)["points"] == new["points"]
    assert len(table.read_text().splitlines()) == 2 * len(rows)


def test_the_same_texts_twice_are_refused(room: Path, tmp_path: Path) -> None:
    copy = tmp_path / "seen.jsonl"
    copy.write_bytes((room / "seen.jsonl").read_bytes())
    with pytest.raises(UsageError, match="the same texts"):
        analysed(room, tmp_path / "out", "base", "seen.jsonl", str(copy))
    assert not (tmp_path / "out").exists()


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


TWELVE = "How many eggs do nine hens lay in seven weeks of rain?"
LONG = "Ada buys four pens, gives two of them to Tom and then finds six more at home. How many has she?"


def curated(path: Path, *questions: str, finished: bool = True) -> str:
    with Run.open(path, verb="curate", settings={}, fingerprint={}) as run:
        for number, question in enumerate(questions):
            prompt = f"Solve what follows, step by step.\nQuestion: {question}\nAnswer:"
            told = "They lay what hens lay in such weather, which is not much. The answer is: 12"
            run.append(
                "examples", [Example(key=str(number), prompt=prompt, completion=told, problem=str(number))]
            )
        if finished:
            run.finish({})
    return str(path)


class Counting(Silent):
    """Counts the rows that it is told of."""

    rows = 0

    def advance(self, rows: int = 1, *, tokens: int | None = 0, usd: float = 0.0) -> None:
        self.rows += rows


def overlapped(source: str, *questions: str, ngram: int = 13) -> tuple[Found, int]:
    problems = [Problem(key=str(number), question=text, answer="1") for number, text in enumerate(questions)]
    several = [Texts("mine", "0" * 64, [(problem, None) for problem in problems])]
    watch, found = Counting(), Found(points=[], conclusions=[])
    seen = runs_met(several, source, ngram, watch)
    overlap(several, seen, AnalyzeSettings(out="", train=source, ngram=ngram), found)
    return found, watch.rows


def test_a_question_shorter_than_an_n_gram_is_found_in_a_longer_text(tmp_path: Path) -> None:
    source = curated(tmp_path / "set", LONG, TWELVE.upper().replace(" ", "  "))
    found, rows = overlapped(source, TWELVE, TWELVE.replace("rain", "snow"))
    assert rows == 2
    assert found.fits[0]["value"] == 0.5
    assert found.conclusions[0].startswith("mine: 1 of 2 questions (50.0 %")
    assert "(shorter ones: all of theirs)" in found.conclusions[0]
    assert "too short" not in found.conclusions[0].lower()


def test_a_question_of_a_few_words_is_too_short_to_tell(tmp_path: Path) -> None:
    source = curated(tmp_path / "set", "What is 3 + 4, Tom?", TWELVE)
    found, _ = overlapped(source, "What is 3?", LONG)
    assert found.fits[0]["value"] == 0 and found.fits[0]["problems"] == 1
    assert "Too short to tell, with fewer than 8 words: 1 more." in found.conclusions[0]
    alone, _ = overlapped(source, "What is 3?")
    assert alone.fits == []
    assert alone.conclusions == ["mine: too short to tell, with fewer than 8 words: all of 1 questions."]
    # Who asks for n-grams of three words has them.
    assert overlapped(source, "What is 3?", ngram=3)[0].fits[0]["value"] == 1


def test_a_long_question_is_found_by_a_part_of_it_only_where_that_is_there(tmp_path: Path) -> None:
    for trained, value in ((TWELVE, 0), (LONG.replace("How many has she?", "What now?"), 1)):
        found, _ = overlapped(curated(tmp_path / str(value), trained), LONG)
        assert found.fits[0]["value"] == value
        assert found.conclusions[0].endswith(f"share a run of 13 words with `{tmp_path / str(value)}`.")


def test_what_was_trained_on_has_to_be_examples(room: Path, tmp_path: Path) -> None:
    wrong = {
        curated(tmp_path / "torn", TWELVE, finished=False): "is not finished",
        curated(tmp_path / "empty"): "holds no examples",
        str(tmp_path): "no run at",
        "nothing.jsonl": "nothing",
    }
    for source, message in wrong.items():
        with pytest.raises(UsageError, match=message):
            analysed(room, tmp_path / "out", "base", "seen.jsonl", limit=2, train=source)
    assert not (tmp_path / "out").exists()


def drafts(path: Path, teacher: str, seed: int) -> str:
    """With keys that other runs have too."""
    rows = [
        json.loads(line)
        for line in Path(word_problems(path.with_suffix(".jsonl"), seed, 12)).read_text().splitlines()
    ]
    with Run.open(path, verb="synthesize", settings={}, fingerprint={"seed": seed}) as run:
        for number, row in enumerate(rows):
            texts = {name: row[name] for name in ("question", "answer", "solution")}
            run.append("drafts", [Draft(key=str(number), method="rejection", teacher=teacher, **texts)])
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
    # In other roles the same losses are read, each still of its own run.
    table = (tmp_path / "out" / "losses.jsonl").read_bytes()
    swapped = [f"train={test}", f"reference={other}", f"test={train}"]
    analyze("leakage", swapped, settings)
    back = {row["measure"]: row for row in summary_of(tmp_path / "out")["fits"]}
    assert back["D2"]["value"] == -fits["D2"]["value"]
    assert (tmp_path / "out" / "losses.jsonl").read_bytes() == table and table.count(b"\n") == 36
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
