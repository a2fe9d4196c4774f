"""Model names: what is found, and what is refused with which words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from upwell.engines.checkpoints import Checkpoint, resolve
from upwell.errors import UsageError


def test_a_local_folder_keeps_only_its_name(tiny_llama: Path) -> None:
    found = resolve(str(tiny_llama))
    assert (found.name, found.folder) == ("llama", tiny_llama)
    assert "im_start" in str(found.chat_template())
    assert found.special_token("eos_token") == "<|im_end|>"


def test_digest_tells_checkpoints_apart(tiny_llama: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_llama, tmp_path / "copy")
    assert Checkpoint("a", tiny_llama).digest == Checkpoint("b", copy).digest
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 3] ^= 1  # anywhere: training may move a single layer
    weights.write_bytes(data)
    assert Checkpoint("a", tiny_llama).digest != Checkpoint("b", copy).digest


def test_digest_is_of_what_shapes_a_response(tiny_llama: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_llama, tmp_path / "copy")
    same = Checkpoint("a", tiny_llama).digest
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"transformers_version": "6.0"}))
    (copy / "trainer_state.json").write_text("{}")
    assert Checkpoint("b", copy).digest == same
    (copy / "merges.txt").write_text("a b")
    assert Checkpoint("b", copy).digest != same


def test_what_is_refused(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, words in {
        "": "empty",
        "no-such-model": "no model `no-such-model`",
        "nobody/nothing": "could not be fetched",
        str(tiny_llama / "config.json"): "is a file",
        str(tmp_path): "no config.json",
    }.items():
        with pytest.raises(UsageError, match=words) as caught:
            resolve(name)
        assert caught.value.hint
    bare = shutil.copytree(tiny_llama, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(UsageError, match="no weights"):
        resolve(str(bare))
    (bare / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UsageError, match="pickle"):
        resolve(str(bare))


def test_a_broken_tokenizer_is_named(tiny_llama: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(tiny_llama, tmp_path / "broken")
    (broken / "tokenizer.json").write_text("{")
    with pytest.raises(UsageError, match="tokenizer"):
        Checkpoint("broken", broken).tokenizer()
    (broken / "tokenizer_config.json").write_text("[")
    (broken / "chat_template.jinja").unlink()
    with pytest.raises(UsageError, match=r"tokenizer_config\.json"):
        Checkpoint("broken", broken).chat_template()


def test_several_chat_templates(tiny_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "several")
    (folder / "chat_template.jinja").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = [{"name": "tool", "template": "T"}, {"name": "default", "template": "D"}]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert Checkpoint("several", folder).chat_template() == "D"
