"""What is explained: coordinates, outputs, classes and units, of one box or several."""

from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.introspect.targets.builders import (
    LINKS,
    as_target,
    bin,
    candidate,
    detection,
    iou,
    label,
    loss,
    unit,
)
from whitebox_loc.introspect.targets.one_box import DERIVED, Target
from whitebox_loc.introspect.targets.several_boxes import PARTS

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
