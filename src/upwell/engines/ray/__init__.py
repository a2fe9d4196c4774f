"""Any engine, replicated over a Ray cluster."""

from upwell.engines.ray.engine import RayEngine

__all__ = ["RayEngine"]
