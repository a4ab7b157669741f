"""Good calls of `whitebox_loc.losses`, `metrics` and `detection_losses`."""

import numpy as np

import whitebox_loc as wb
from contract.bad_values import VALUES
from contract.calls import Call

GRID = {"grid": (8, 8), "stride": 2, "size": (16, 16)}


def _pair(w):
    return {"y_true": w.rel_boxes, "y_pred": w.predictions}


def _targets(w):
    return wb.detection_losses.center_targets(w.crowd.rel_boxes, w.crowd.labels, **GRID)


def _logits(w):
    rows = np.zeros((3, 13, 2), np.float32)
    return {"row_logits": rows, "column_logits": np.zeros((3, 17, 2), np.float32)}


CALLS = [
    Call("losses.BoxBCE", lambda w: {"format": "rel_yxyx"}),
    Call("losses.BoxBCE.__call__", _pair, on=lambda w: wb.losses.BoxBCE()),
    Call("losses.IoULoss", lambda w: {"kind": "giou"}),
    Call("losses.IoULoss.__call__", _pair, on=lambda w: wb.losses.IoULoss("ciou", size=(12, 16))),
    Call("losses.SumLoss", lambda w: {"terms": [wb.losses.BoxBCE()], "weights": [2.0]}),
    Call(
        "losses.SumLoss.__call__",
        _pair,
        on=lambda w: wb.losses.SumLoss([wb.losses.BoxBCE(), wb.losses.IoULoss()]),
    ),
    Call("losses.edge_cross_entropy", lambda w: {"boxes": w.rel_boxes, **_logits(w)}),
    Call("losses.entropy_floor", lambda w: {"boxes": w.rel_boxes}),
    Call("metrics.MeanIoU", lambda w: {}),
    Call("metrics.MeanIoU.__call__", _pair, on=lambda w: wb.metrics.MeanIoU()),
    Call(
        "metrics.MeanIoU.update_state",
        lambda w: {**_pair(w), "sample_weight": np.ones(3)},
        on=lambda w: wb.metrics.MeanIoU(),
    ),
    Call("metrics.ExactRate", lambda w: {"size": (12, 16)}),
    Call("metrics.ExactRate.__call__", _pair, on=lambda w: wb.metrics.ExactRate((12, 16))),
    Call("metrics.PixelError", lambda w: {"size": (12, 16)}),
    Call("metrics.PixelError.__call__", _pair, on=lambda w: wb.metrics.PixelError((12, 16))),
    Call("metrics.ExcessBCE", lambda w: {}),
    Call("metrics.ExcessBCE.__call__", _pair, on=lambda w: wb.metrics.ExcessBCE()),
    Call(
        "metrics.mean_average_precision",
        lambda w: {"found": w.found, "truth": w.crowd, "size": (16, 16)},
        # NaN stands for classes and areas without boxes.
        nan=VALUES,
    ),
    Call(
        "detection_losses.center_cells",
        lambda w: {"boxes": w.crowd.rel_boxes, **GRID},
    ),
    Call(
        "detection_losses.center_targets",
        lambda w: {"boxes": w.crowd.rel_boxes, "labels": w.crowd.labels, **GRID},
    ),
    Call(
        "detection_losses.center_loss",
        lambda w: {
            "targets": _targets(w),
            "size_logits": np.zeros((3, 8, 8, 2), np.float32),
            "offset": np.zeros((3, 8, 8, 2), np.float32),
        },
    ),
    Call(
        "detection_losses.heat_map_loss",
        lambda w: {"targets": _targets(w), "logits": np.zeros((3, 8, 8, 1), np.float32)},
    ),
]

RECORDS = {
    "losses.OVERLAPS": "constant",
    "metrics.AREAS": "constant",
    "metrics.AveragePrecision": "record that `mean_average_precision` makes",
    "detection_losses.CenterTargets": "record that `center_targets` makes",
}
