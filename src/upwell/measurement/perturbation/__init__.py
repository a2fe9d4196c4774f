"""Problems with other numbers in them, whose new answers the worked solution proves."""

from upwell.measurement.perturbation.arithmetic import Unprovable
from upwell.measurement.perturbation.changing import Perturbed, changed, parent_of, perturbed

__all__ = ["Perturbed", "Unprovable", "changed", "parent_of", "perturbed"]
