"""Random small checkpoints of the model families, with a real tokenizer, made in a second."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer() -> Any:
    """Byte-level, 256 bytes and three special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(t) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", bos_token="<|im_start|>", pad_token="<|endoftext|>"
    )
    made.chat_template = CHAT
    return made


def config(family: str, **changes: Any) -> Any:
    """A configuration of two or three layers, chosen so that every feature of the family is in play."""
    import transformers as t

    shape: dict[str, Any] = dict(
        vocab_size=300, hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=256, bos_token_id=257, eos_token_id=258, pad_token_id=256,
        initializer_range=0.3, tie_word_embeddings=False,
    )  # fmt: skip
    shape |= changes
    if family == "llama":
        return t.LlamaConfig(**shape)
    if family == "mistral":
        return t.MistralConfig(**shape, sliding_window=12)
    if family == "qwen2":
        return t.Qwen2Config(**shape, use_sliding_window=True, sliding_window=10, max_window_layers=1)
    if family == "qwen3":
        return t.Qwen3Config(**shape, head_dim=16)
    if family == "gemma":
        return t.GemmaConfig(**shape, head_dim=8)
    if family == "gemma2":
        return t.Gemma2Config(**shape, head_dim=8, sliding_window=9, query_pre_attn_scalar=8)
    if family == "gemma3":
        return t.Gemma3TextConfig(**shape, head_dim=8, sliding_window=7, query_pre_attn_scalar=8)
    raise ValueError(family)


def make_checkpoint(family: str, folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write a random checkpoint of the family into a folder."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    with contextlib.redirect_stderr(io.StringIO()):
        model = AutoModelForCausalLM.from_config(config(family, **changes), dtype=torch.float32)
        model.save_pretrained(folder)
        tokenizer().save_pretrained(folder)
    return folder
