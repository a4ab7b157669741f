"""Good calls of `whitebox_loc.training`. Those that train take one step."""

import keras
import numpy as np

import whitebox_loc as wb
from contract.bad_values import VALUES
from contract.calls import Call

QUICK = {"steps": 1, "seconds": 5.0, "batch_size": 2, "progress": False}
"""Tracing takes seconds all the same; without steps, the seconds end it."""

CALLS = [
    Call("training.History", lambda w: {"columns": {"step": [1, 2], "loss": [0.7, 0.6]}}),
    Call("training.History.append", lambda w: {"row": _row(w)}, on=lambda w: w.history),
    Call("training.History.__getitem__", lambda w: {"name": "loss"}, on=lambda w: w.history),
    Call("training.History.mean", lambda w: {"name": "loss", "last": 2}, on=lambda w: w.history),
    Call("training.History.plot", lambda w: {"axes": None}, on=lambda w: w.history),
    Call("training.History.to_csv", lambda w: {"path": w.path}, on=lambda w: w.history),
    Call(
        "training.breakdown",
        lambda w: {"result": w.evaluation, "by": "size", "bins": 2},
        nan=VALUES,
    ),
    Call("training.evaluate", lambda w: {"model": w.model, "scene": w.scene, "n": 3}),
    Call("training.evaluate", lambda w: {"model": w.classifier, "scene": w.shapes, "n": 3}),
    Call(
        "training.evaluate_detector",
        lambda w: {"model": w.detector, "scene": w.multi, "n": 3},
    ),
    Call("training.fit", lambda w: {"model": w.model, "scene": w.scene, **QUICK}, slow=True),
    Call(
        "training.fit",
        lambda w: {
            "model": w.classifier,
            "scene": w.shapes,
            "loss": wb.losses.BoxBCE(),
            "label_weight": 0.5,
            "optimizer": keras.optimizers.Adam(1e-3),
            "checkpoint": w.path.with_suffix(".npz"),
            **QUICK,
        },
        slow=True,
        nan=("0",),  # Of label_weight: no accuracy, as documented.
    ),
    Call(
        "training.fit_detector",
        lambda w: {"model": w.detector, "scene": w.multi, **QUICK},
        slow=True,
    ),
    Call("training.predict", lambda w: {"model": w.model, "images": w.images}),
    Call("training.predict_labels", lambda w: {"model": w.classifier, "images": w.images}),
    Call(
        "training.score_labels",
        lambda w: {
            "labels": np.array([0, 1, 1]),
            "probabilities": np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]]),
            "names": ("a", "b"),
        },
    ),
    Call(
        "training.stress",
        lambda w: {
            "model": w.model,
            "shifts": ["noise", "blur"],
            "scene": w.scene,
            "n": 2,
            "resamples": 3,
        },
    ),
    Call(
        "training.Curve.breaks_at",
        lambda w: {"least_iou": 0.9},
        on=lambda w: w.stress.curves["noise"],
    ),
    Call("training.Curve.worst", lambda w: {"index": 1}, on=lambda w: w.stress.curves["noise"]),
    Call("training.Stress.order", lambda w: {"least_iou": 0.9}, on=lambda w: w.stress),
    Call("training.Stress.verdict", lambda w: {"least_iou": 0.9}, on=lambda w: w.stress),
    Call(
        "training.Shift.scene",
        lambda w: {"scene": w.scene, "severity": 0.1},
        on=lambda w: wb.training.SHIFTS["noise"],
    ),
]

RECORDS = {
    "training.COORDCONV": "constant",
    "training.DETECTOR_COLUMNS": "constant",
    "training.SHIFTS": "constant",
    "training.Breakdown": "record that `breakdown` makes",
    "training.Classification": "record that `score_labels` makes",
    "training.DetectorEvaluation": "record that `evaluate_detector` makes",
    "training.Evaluation": "record that `evaluate` makes",
    "training.TrainingDivergedError": "error",
}


def _row(w):
    return dict.fromkeys(w.history.names, 1.0)
