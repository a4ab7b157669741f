"""Good calls of `whitebox_loc.plots`."""

import numpy as np

import whitebox_loc as wb
from contract.calls import Call

NAMES = ["top", "left", "bottom", "right"]
EDGES = np.linspace(0, 1, 4)


def _columns(names):
    return {name: np.array([1.0, 2.0]) for name in names}


CALLS = [
    Call("plots.ablation_matrix", lambda w: {"values": np.ones((2, 4)), "rows": ["a", "b"]}),
    Call("plots.boxes", lambda w: {"image": w.images[0], "true": w.boxes[0]}),
    Call("plots.confusion_matrix", lambda w: {"confusion": np.array([[3, 1], [0, 4]])}),
    Call(
        "plots.cross_talk_matrix",
        lambda w: {
            "values": np.eye(4),
            "interval": np.stack([np.eye(4) - 0.1, np.eye(4) + 0.1]),
            "elsewhere": np.zeros(4),
        },
    ),
    Call(
        "plots.detections",
        lambda w: {"images": w.crowd.images, "found": w.found, "truths": w.crowd},
    ),
    Call(
        "plots.detector_curves",
        lambda w: {"columns": _columns(wb.training.DETECTOR_COLUMNS)},
    ),
    Call(
        "plots.edge_distributions",
        lambda w: {
            "distributions": {n: np.full(13 if n in ("top", "bottom") else 17, 0.1) for n in NAMES},
            "true": [2, 3, 8, 9],
        },
    ),
    Call("plots.feature_maps", lambda w: {"maps": np.random.default_rng(0).random((6, 8, 3))}),
    Call(
        "plots.heat_map",
        lambda w: {"values": np.ones((3, 3)), "row_edges": EDGES, "column_edges": EDGES},
    ),
    Call(
        "plots.kernels", lambda w: {"weights": np.random.default_rng(0).normal(size=(3, 3, 1, 4))}
    ),
    Call(
        "plots.leaderboard",
        lambda w: {
            "means": np.full((2, 3), 0.5),
            "lows": np.full((2, 3), 0.4),
            "highs": np.full((2, 3), 0.6),
            "rows": ["a", "b"],
            "columns": ["x", "y", "z"],
        },
    ),
    Call(
        "plots.learning_curves",
        lambda w: {"columns": _columns(wb.training.history.COLUMNS)},
    ),
    Call("plots.maximized_images", lambda w: {"images": w.images, "labels": ["a", "b", "c"]}),
    Call(
        "plots.probe_table",
        lambda w: {"r2": np.full((2, 3), 0.5), "layers": ["a", "b"], "factors": ["x", "y", "z"]},
    ),
    Call("plots.receptive_field", lambda w: {"background": w.images[0], "window": [2, 3, 5, 6]}),
    Call(
        "plots.reliability_diagram",
        lambda w: {
            "edges": EDGES,
            "confidence": np.array([0.2, 0.5, 0.8]),
            "accuracy": np.array([0.1, 0.5, 0.9]),
            "counts": np.array([3, 4, 5]),
        },
    ),
    Call("plots.response_matrix", lambda w: {"values": np.eye(4)}),
    Call("plots.saliency", lambda w: {"values": w.maps[0, 0], "box": w.boxes[0]}),
    Call(
        "plots.saliency_grid",
        lambda w: {"maps": w.maps[:2], "rows": ["a", "b"], "columns": ["x", "y", "z"]},
    ),
    Call("plots.stress_coordinates", lambda w: {"curves": w.stress.curves}),
    Call("plots.stress_curves", lambda w: {"curves": w.stress.curves}),
    Call(
        "plots.tuning_curves",
        lambda w: {
            "edges": np.tile(EDGES, (2, 1)),
            "mean": np.ones((2, 3, 4)),
            "factors": ["top", "area"],
            "std": np.ones((2, 3, 4)),
        },
    ),
]

RECORDS = {"plots.COLORS": "constant"}
