"""Figures from arrays: everything here draws and nothing computes."""

from whitebox_loc.plots.curves import edge_distributions, learning_curves
from whitebox_loc.plots.images import boxes, feature_maps, kernels, saliency
from whitebox_loc.plots.style import COLORS
from whitebox_loc.plots.tables import heat_map

__all__ = [
    "COLORS",
    "boxes",
    "edge_distributions",
    "feature_maps",
    "heat_map",
    "kernels",
    "learning_curves",
    "saliency",
]
