"""Metrics for boxes: Keras metrics of pairs of ``rel_yxyx`` boxes, and average precision."""

from whitebox_loc.metrics.average_precision import AREAS, AveragePrecision, mean_average_precision
from whitebox_loc.metrics.boxes import ExactRate, ExcessBCE, MeanIoU, PixelError

__all__ = [
    "AREAS",
    "AveragePrecision",
    "ExactRate",
    "ExcessBCE",
    "MeanIoU",
    "PixelError",
    "mean_average_precision",
]
