"""Good calls of `whitebox_loc.models`."""

import whitebox_loc as wb
from contract.calls import Call

CALLS = [
    Call("models.adapted", lambda w: {"model": w.plain, "read": "rel_xyxy"}),
    Call(
        "models.adapted",
        lambda w: {"model": w.plain, "read": lambda boxes: boxes, "prepare": lambda x: 2 * x},
    ),
    Call("models.center_maps", lambda w: {"model": w.detector}),
    Call("models.class_count", lambda w: {"model": w.classifier, "shape": (12, 16, 1)}),
    Call("models.compiled", lambda w: {"name": "integrator", "size": (12, 16)}),
    Call("models.detections", lambda w: {"outputs": w.detector(w.crowd.images)}),
    Call(
        "models.detector",
        lambda w: {"size": (16, 16), "classes": 2, "filters": (3, 4)},
    ),
    Call("models.edge_distributions", lambda w: {"model": w.model, "images": w.images}),
    Call("models.edge_logits", lambda w: {"model": w.model}),
    Call("models.has_mechanism", lambda w: {"model": w.compiled}),
    Call("models.label_logits", lambda w: {"model": w.classifier}),
    Call(
        "models.localizer",
        lambda w: {"size": (12, 16), "classes": 2, "filters": (3, 4), "line_filters": 4},
    ),
    Call("models.mechanism", lambda w: {"model": w.compiled}),
    Call(
        "models.Mechanism.used",
        lambda w: {"images": w.images},
        on=lambda w: wb.models.mechanism(w.compiled),
    ),
    Call("models.reinitialize", lambda w: {"model": w.model, "seed": 1}),
    Call("models.vgg16", lambda w: {"size": (32, 32)}, slow=True),
]

RECORDS = {
    "models.COMPILED": "constant",
    "models.DETECTORS": "constant",
    "models.HEADS": "constant",
    "models.CenterMaps": "record that `center_maps` makes",
    "models.Compiled": "record of a row of `COMPILED`",
    "models.Detections": "record that `detections` makes",
    "models.hub_detector": "takes a detector of KerasHub, an optional requirement that has tests "
    "of its own",
}
