"""From examples to a trained model: recipes with their sources, and plans of what they take."""

from upwell.training.planner import plan
from upwell.training.settings import TrainSettings

__all__ = ["TrainSettings", "plan"]
