"""A vLLM server of our own: started, watched, stopped, otherwise the server engine. vLLM itself is never imported."""

from upwell.engines.vllm.engine import VllmEngine, vllm_identity

__all__ = ["VllmEngine", "vllm_identity"]
