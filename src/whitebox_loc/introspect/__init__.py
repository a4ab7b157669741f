"""Looking inside any Keras localizer: layers, filters and signed maps of coordinates."""

from whitebox_loc.introspect import targets
from whitebox_loc.introspect.ablation import Ablation, Restoration, ablate, activation_patching
from whitebox_loc.introspect.attribution import SaliencyInfo, saliency
from whitebox_loc.introspect.blindness import BlindSpot, BlindSpotWarning, blind_spots
from whitebox_loc.introspect.detection_maps import DetectionMaps, saliency_of_detections
from whitebox_loc.introspect.edges import EdgeMoves, edge_moves
from whitebox_loc.introspect.exemplars import TopImages, top_images
from whitebox_loc.introspect.filters import kernels
from whitebox_loc.introspect.map_files import MapShards, read_maps, saliency_shards
from whitebox_loc.introspect.maximization import Maximized, maximize
from whitebox_loc.introspect.methods import METHODS
from whitebox_loc.introspect.patching import patch
from whitebox_loc.introspect.probes import Probe, Tuning, probe, tuning
from whitebox_loc.introspect.reading import LayerInfo, activations, list_layers
from whitebox_loc.introspect.receptive import (
    ReceptiveField,
    effective_receptive_field,
    receptive_field,
)
from whitebox_loc.introspect.slopes import Response, response

__all__ = [
    "METHODS",
    "Ablation",
    "BlindSpot",
    "BlindSpotWarning",
    "DetectionMaps",
    "EdgeMoves",
    "LayerInfo",
    "MapShards",
    "Maximized",
    "Probe",
    "ReceptiveField",
    "Response",
    "Restoration",
    "SaliencyInfo",
    "TopImages",
    "Tuning",
    "ablate",
    "activation_patching",
    "activations",
    "blind_spots",
    "edge_moves",
    "effective_receptive_field",
    "kernels",
    "list_layers",
    "maximize",
    "patch",
    "probe",
    "read_maps",
    "receptive_field",
    "response",
    "saliency",
    "saliency_of_detections",
    "saliency_shards",
    "targets",
    "top_images",
    "tuning",
]
