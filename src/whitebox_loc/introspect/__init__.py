"""Looking inside any Keras localizer: layers, filters and signed maps of coordinates."""

from whitebox_loc.introspect import targets
from whitebox_loc.introspect.attribution import (
    BlindSpot,
    BlindSpotWarning,
    DetectionMaps,
    MapShards,
    SaliencyInfo,
    blind_spots,
    read_maps,
    saliency,
    saliency_of_detections,
    saliency_shards,
)
from whitebox_loc.introspect.interventions import (
    Ablation,
    EdgeMoves,
    Response,
    Restoration,
    ablate,
    activation_patching,
    edge_moves,
    patch,
    response,
)
from whitebox_loc.introspect.methods import METHODS
from whitebox_loc.introspect.receptive import (
    ReceptiveField,
    effective_receptive_field,
    receptive_field,
)
from whitebox_loc.introspect.tracing import LayerInfo, activations, list_layers
from whitebox_loc.introspect.units import (
    Maximized,
    Probe,
    TopImages,
    Tuning,
    kernels,
    maximize,
    probe,
    top_images,
    tuning,
)

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
