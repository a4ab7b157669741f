"""Good calls of `whitebox_loc.introspect` and its targets."""

import numpy as np

import whitebox_loc as wb
from contract.bad_values import VALUES
from contract.calls import Call

FEW = {"samples": 4}
OPTIONS = {
    "gradient": {},
    "integrated_gradients": {"steps": 2, "rule": "trapezoid", "baseline": 0.0},
    "expected_gradients": {**FEW, "baseline": (0.0, 1.0), "seed": 0},
    "blur_ig": {"steps": 2, "rule": "trapezoid", "max_sigma": 2.0},
    "smoothgrad": {"base": "gradient", **FEW, "noise": 0.1, "seed": 0},
    "gradcam": {"layer": None, "relu": False, "align": "auto"},
    "scorecam": {"layer": None, "relu": False, "align": "auto", "baseline": 0.0, "softmax": False},
    "ablationcam": {"layer": None, "relu": False, "align": "auto"},
    "lrp": {"rule": "epsilon", "epsilon": 0.1, "bias": False},
    "deeplift": {"baseline": 0.0},
    "deep_shap": {"baseline": (0.0, 1.0)},
    "occlusion": {"patch": 4, "stride": 4, "baseline": 0.0},
    "rise": {**FEW, "cells": 3, "probability": 0.5, "baseline": 0.0, "seed": 0},
    "drise": {**FEW, "cells": 3, "probability": 0.5, "baseline": 0.0, "seed": 0, "boxes": None},
    "kernel_shap": {"segments": (2, 2), "samples": 16, "baseline": 0.0, "seed": 0},
    "lime": {
        "segments": (2, 2),
        "samples": 16,
        "kernel_width": 0.25,
        "ridge": 0.0,
        "baseline": 0.0,
        "seed": 0,
    },
    "sobol": {"segments": (2, 2), **FEW, "baseline": 0.0, "seed": 0},
    "hsic": {"segments": (2, 2), "samples": 16, "baseline": 0.0, "seed": 0},
    "edge_move": {"boxes": None, "scene": None, "labels": None, "step": 1},
}
"""One method of each signature."""


def _saliency(method):
    def arguments(w):
        options = OPTIONS[method]
        return {"model": w.model, "images": w.images[:2], "method": method, **options}

    return Call("introspect.saliency", arguments)


def _shards(w):
    return wb.introspect.saliency_shards(w.model, [w.batch], w.path, progress=False)


def _layer(w):
    infos = wb.introspect.list_layers(w.model)
    return next(info.path for info in infos if info.kind == "Conv2D")


def _field(w):
    return wb.introspect.receptive_field(w.model, _layer(w))


def _detection_maps(w):
    return wb.introspect.saliency_of_detections(w.detector, w.crowd.images, w.found)


CALLS = [
    *map(_saliency, OPTIONS),
    Call(
        "introspect.saliency",
        lambda w: {"model": w.model, "images": w.images, "target": "height", "return_info": True},
    ),
    Call(
        "introspect.blind_spots",
        lambda w: {"model": w.model, "images": w.images, "warn": False},
        slow=True,
    ),
    Call(
        "introspect.saliency_of_detections",
        lambda w: {"model": w.detector, "images": w.crowd.images, "found": w.found},
        slow=True,
    ),
    Call("introspect.DetectionMaps.of_image", lambda w: {"index": 1}, on=_detection_maps),
    Call("introspect.DetectionMaps.of_part", lambda w: {"part": "left"}, on=_detection_maps),
    Call(
        "introspect.saliency_shards",
        lambda w: {"model": w.model, "batches": [w.batch], "folder": w.path, "progress": False},
        # A path to shards is the folder of these.
        also={"batches": ("folder",)},
    ),
    Call("introspect.read_maps", lambda w: {"folder": _shards(w).folder}),
    Call("introspect.MapShards.path", lambda w: {"index": 0}, on=_shards),
    Call("introspect.MapShards.__getitem__", lambda w: {"index": 0}, on=_shards),
    Call("introspect.MapShards.stored", lambda w: {"index": 0, "maps": w.maps[0]}, on=_shards),
    Call("introspect.MapShards.save", lambda w: {"index": 0, "maps": w.maps[0]}, on=_shards),
    Call(
        "introspect.ablate",
        lambda w: {"model": w.model, "images": w.images, "layer": _layer(w), "boxes": w.rel_boxes},
    ),
    Call(
        "introspect.activation_patching",
        lambda w: {
            "model": w.model,
            "clean": w.images,
            "corrupted": w.images[::-1],
            "layers": _layer(w),
        },
        # Where clean and corrupted images have one output, the share is 0 / 0, as documented.
        nan=("array zero", "array first only"),
    ),
    Call("introspect.activations", lambda w: {"model": w.model, "images": w.images}),
    Call(
        "introspect.edge_moves",
        lambda w: {"model": w.model, "boxes": w.boxes, "scene": w.scene},
    ),
    Call(
        "introspect.effective_receptive_field",
        lambda w: {"model": w.model, "layer": _layer(w), "n": 2},
    ),
    Call("introspect.kernels", lambda w: {"model": w.model, "layer": _layer(w)}),
    Call("introspect.list_layers", lambda w: {"model": w.model}),
    Call(
        "introspect.maximize",
        lambda w: {"model": w.model, "layer": _layer(w), "channel": 0, "steps": 1},
    ),
    Call("introspect.maximize", lambda w: {"model": w.model, "target": "top", "steps": 1}),
    Call(
        "introspect.patch",
        lambda w: {"model": w.model, "images": w.images, "replacements": {_layer(w): 0.0}},
    ),
    Call(
        "introspect.probe",
        lambda w: {
            "model": w.model,
            "layers": _layer(w),
            "scene": w.scene,
            "n": 12,
            "folds": 2,
            "max_features": 8,
        },
    ),
    Call("introspect.receptive_field", lambda w: {"model": w.model, "layer": _layer(w)}),
    Call(
        "introspect.ReceptiveField.window", lambda w: {"position": (2, 2), "channel": 0}, on=_field
    ),
    Call(
        "introspect.response",
        lambda w: {"model": w.model, "boxes": w.boxes[:1], "scene": w.scene},
        slow=True,
    ),
    Call(
        "introspect.top_images",
        lambda w: {
            "model": w.model,
            "layer": _layer(w),
            "channel": 0,
            "images": w.images,
            "k": 2,
        },
    ),
    Call(
        "introspect.tuning",
        lambda w: {"model": w.model, "layer": _layer(w), "scene": w.scene, "n": 8, "bins": 2},
        # Bins without images, and shapes that the scene does not have.
        nan=VALUES,
    ),
    Call("introspect.targets.as_target", lambda w: {"target": "top"}),
    Call("introspect.targets.bin", lambda w: {"coordinate": "top", "index": 3}),
    Call("introspect.targets.candidate", lambda w: {"which": 3, "part": "score"}),
    Call(
        "introspect.targets.detection",
        lambda w: {"boxes": w.rel_boxes, "classes": np.array([[1.0], [1.0], [1.0]])},
    ),
    Call("introspect.targets.iou", lambda w: {"boxes": w.rel_boxes}),
    Call("introspect.targets.label", lambda w: {"which": "ring", "scene": "shapes"}),
    Call("introspect.targets.loss", lambda w: {"loss": wb.losses.BoxBCE(), "boxes": w.rel_boxes}),
    Call("introspect.targets.unit", lambda w: {"layer": _layer(w), "channel": 0}),
]

RECORDS = {
    "introspect.METHODS": "constant",
    "introspect.Ablation": "record that `ablate` makes",
    "introspect.BlindSpot": "record that `blind_spots` makes",
    "introspect.BlindSpotWarning": "warning",
    "introspect.EdgeMoves": "record that `edge_moves` makes",
    "introspect.LayerInfo": "record that `list_layers` makes",
    "introspect.Maximized": "record that `maximize` makes",
    "introspect.Probe": "record that `probe` makes",
    "introspect.Response": "record that `response` makes",
    "introspect.Restoration": "record that `activation_patching` makes",
    "introspect.SaliencyInfo": "record that `saliency` makes",
    "introspect.TopImages": "record that `top_images` makes",
    "introspect.Tuning": "record that `tuning` makes",
    "introspect.targets.COORDINATES": "constant",
    "introspect.targets.DERIVED": "constant",
    "introspect.targets.LINKS": "constant",
    "introspect.targets.PARTS": "constant",
    "introspect.targets.Target": "class without arguments, made by the functions of its module",
}
