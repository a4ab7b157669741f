"""Saliency: signed maps by any method, what they cannot show, and maps on disk."""

from whitebox_loc.introspect.attribution.blindness import BlindSpot, BlindSpotWarning, blind_spots
from whitebox_loc.introspect.attribution.detection_maps import DetectionMaps, saliency_of_detections
from whitebox_loc.introspect.attribution.map_files import MapShards, read_maps, saliency_shards
from whitebox_loc.introspect.attribution.maps import SaliencyInfo, saliency

__all__ = [
    "BlindSpot",
    "BlindSpotWarning",
    "DetectionMaps",
    "MapShards",
    "SaliencyInfo",
    "blind_spots",
    "read_maps",
    "saliency",
    "saliency_of_detections",
    "saliency_shards",
]
