"""A vLLM server of our own: started, watched, stopped, otherwise the server engine. vLLM itself is never imported."""

from upwell.engines.vllm.command import vllm_identity
from upwell.engines.vllm.engine import VllmEngine

__all__ = ["VllmEngine", "vllm_identity"]
