"""Good calls of `whitebox_loc.data`."""

import numpy as np

import whitebox_loc as wb
from contract.calls import Call


def _saved(w):
    path = w.path.with_suffix(".npz")
    wb.data.save(w.batch, path)
    return path


def _shards(w):
    return wb.data.write_shards(w.scene, 4, w.path, shard_size=2, progress=False)


PARTS = {"scene": ("boxes", "labels"), "boxes": ("labels",)}
"""Boxes and labels that do not fit each other or the scene: either may be named."""

CALLS = [
    Call("data.Scene", lambda w: {"size": (12, 16), "heights": (3, 8), "widths": (3, 9)}),
    Call(
        "data.Scene",
        lambda w: {
            "size": (12, 16),
            "shapes": ("rectangle", "ring"),
            "heights": (5, 8),
            "widths": (5, 8),
            "foreground": (0.5, 1.0),
            "distractors": (0, 1),
            "aspect": (0.5, 2.0),
            "split": ("train", 0.8, 0),
        },
    ),
    Call("data.Scene.limits", lambda w: {}, on=lambda w: w.scene),
    Call("data.MultiScene", lambda w: {"scene": w.multi.scene, "boxes": (1, 2), "gap": 1}),
    Call(
        "data.Batch",
        lambda w: {
            "images": w.images,
            "boxes": w.boxes,
            "labels": w.batch.labels,
            "valid": w.batch.valid,
            "scene": w.scene,
        },
        # A record: `generate` makes it, and what is put in comes out.
        keep=("images", "boxes", "labels", "valid", "scene"),
    ),
    Call("data.as_scene", lambda w: {"scene": "uniform", "size": (12, 16), "noise": 0.1}),
    Call("data.batch_at", lambda w: {"scene": w.scene, "index": 1, "batch_size": 2}),
    Call("data.batch_at", lambda w: {"scene": w.multi, "index": 0, "batch_size": 2}),
    Call("data.count_boxes", lambda w: {"scene": w.scene}),
    Call("data.dataset", lambda w: {"scene": w.scene, "batch_size": 2}),
    Call("data.generate", lambda w: {"scene": w.scene, "n": 2}),
    Call("data.generate", lambda w: {"scene": w.multi, "n": 2}),
    Call("data.load", lambda w: {"path": _saved(w)}),
    Call("data.nth_boxes", lambda w: {"scene": w.scene, "numbers": np.array([0, 5])}),
    Call("data.read_shards", lambda w: {"folder": _shards(w).folder}),
    Call("data.render", lambda w: {"boxes": w.boxes, "scene": w.scene}, also=PARTS),
    Call(
        "data.render",
        lambda w: {"boxes": w.shape_batch.boxes, "scene": w.shapes, "labels": [0, 1, 0]},
        also=PARTS,
    ),
    Call(
        "data.render_soft",
        lambda w: {"boxes": w.rel_boxes, "size": (12, 16)},
        # The numbers of tensors are not looked at.
        nan=("tensor of nan",),
    ),
    Call("data.save", lambda w: {"batch": w.batch, "path": w.path.with_suffix(".npz")}),
    Call("data.shape_mask", lambda w: {"shape": "ring", "height": 6, "width": 7}),
    Call("data.Shards.images_in", lambda w: {"index": 1}, on=_shards),
    Call("data.Shards.path", lambda w: {"index": 1}, on=_shards),
    Call("data.Shards.make", lambda w: {"index": 1}, on=_shards),
    Call("data.Shards.__getitem__", lambda w: {"index": 1}, on=_shards),
    Call("data.Shards.missing", lambda w: {}, on=_shards),
    Call(
        "data.write_shards",
        lambda w: {"scene": w.scene, "n": 3, "folder": w.path, "shard_size": 2, "progress": False},
    ),
]

RECORDS = {
    "data.REGIONS": "constant",
    "data.SCENES": "constant",
    "data.SHAPES": "constant",
    "data.ImageRangeWarning": "warning",
    "data.MultiBatch": "record that `generate` makes",
}
