"""What is explained: coordinates, outputs, classes and units, of one box or several."""

from whitebox_loc.introspect.targets.builders import (
    COORDINATES,
    DERIVED,
    LINKS,
    PARTS,
    Target,
    as_target,
    bin,
    candidate,
    detection,
    iou,
    label,
    loss,
    unit,
)

__all__ = [
    "COORDINATES",
    "DERIVED",
    "LINKS",
    "PARTS",
    "Target",
    "as_target",
    "bin",
    "candidate",
    "detection",
    "iou",
    "label",
    "loss",
    "unit",
]
