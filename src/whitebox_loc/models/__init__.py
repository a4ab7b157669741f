"""Localization networks: the transparent localizer, its rivals, VGG16, and compiled models."""

from whitebox_loc.models.adapters import adapted
from whitebox_loc.models.choosing import Detections, detections
from whitebox_loc.models.compiled_models import COMPILED, Compiled
from whitebox_loc.models.compiled_models.building import (
    Mechanism,
    compiled,
    has_mechanism,
    mechanism,
)
from whitebox_loc.models.detectors import CenterMaps, center_maps, detector
from whitebox_loc.models.distributions import edge_distributions, edge_logits
from whitebox_loc.models.hub import DETECTORS, hub_detector
from whitebox_loc.models.initialization import reinitialize
from whitebox_loc.models.labels import class_count, label_logits
from whitebox_loc.models.localizers import HEADS, localizer
from whitebox_loc.models.vgg import vgg16

__all__ = [
    "COMPILED", "DETECTORS", "HEADS", "CenterMaps", "Compiled", "Detections", "Mechanism",
    "adapted", "center_maps", "class_count", "compiled", "detections", "detector",
    "edge_distributions", "edge_logits", "has_mechanism", "hub_detector", "label_logits",
    "localizer", "mechanism", "reinitialize", "vgg16",
]  # fmt: skip
