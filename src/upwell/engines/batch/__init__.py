"""Batch files of an OpenAI-compatible provider: written, submitted, polled, collected, and resumed after a kill."""

from upwell.engines.batch.engine import BatchEngine, batch_identity

__all__ = ["BatchEngine", "batch_identity"]
