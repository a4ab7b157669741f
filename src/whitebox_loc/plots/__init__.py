"""Figures from arrays: everything here draws and nothing computes.

Each function draws on the axes that it is given, or makes a figure where they are None, and returns
the axes: several as an array of the shape that stands beside the argument. Where
``matplotlib.pyplot`` has been imported, as in most notebooks, a new figure is shown like any
other; to save one, take it from the axes: ``axes.flat[0].figure.savefig("curves.png")``.
"""

from whitebox_loc.plots.classification import confusion_matrix, reliability_diagram
from whitebox_loc.plots.curves import edge_distributions, learning_curves
from whitebox_loc.plots.found_boxes import detections, detector_curves
from whitebox_loc.plots.grids import saliency_grid
from whitebox_loc.plots.images import boxes, feature_maps, kernels, saliency
from whitebox_loc.plots.leaderboard import leaderboard
from whitebox_loc.plots.matrices import cross_talk_matrix, response_matrix
from whitebox_loc.plots.robustness import stress_coordinates, stress_curves
from whitebox_loc.plots.style import COLORS
from whitebox_loc.plots.tables import heat_map
from whitebox_loc.plots.units import (
    ablation_matrix,
    maximized_images,
    probe_table,
    receptive_field,
    tuning_curves,
)

__all__ = [
    "COLORS",
    "ablation_matrix",
    "boxes",
    "confusion_matrix",
    "cross_talk_matrix",
    "detections",
    "detector_curves",
    "edge_distributions",
    "feature_maps",
    "heat_map",
    "kernels",
    "leaderboard",
    "learning_curves",
    "maximized_images",
    "probe_table",
    "receptive_field",
    "reliability_diagram",
    "response_matrix",
    "saliency",
    "saliency_grid",
    "stress_coordinates",
    "stress_curves",
    "tuning_curves",
]
