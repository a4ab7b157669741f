"""White shapes on black: scenes, images with known boxes, and pipelines of them.

Nothing here imports TensorFlow until `dataset` or `render_soft` is called.

>>> batch = generate(Scene(size=(32, 32)), 16, seed=0)
>>> batch.images.shape
(16, 32, 32, 1)
"""

from whitebox_loc._validation import ImageRangeWarning
from whitebox_loc.data.crowds import MultiBatch, MultiScene
from whitebox_loc.data.datasets import Batch, batch_at, dataset, generate
from whitebox_loc.data.render import render
from whitebox_loc.data.sampling import count_boxes, nth_boxes
from whitebox_loc.data.scenes import SCENES, Scene, as_scene
from whitebox_loc.data.shapes import SHAPES, shape_mask
from whitebox_loc.data.sharding import Shards, read_shards, write_shards
from whitebox_loc.data.soft import render_soft
from whitebox_loc.data.splits import REGIONS
from whitebox_loc.data.storage import load, save

__all__ = [
    "REGIONS", "SCENES", "SHAPES", "Batch", "ImageRangeWarning", "MultiBatch", "MultiScene",
    "Scene", "Shards", "as_scene", "batch_at", "count_boxes", "dataset", "generate", "load",
    "nth_boxes", "read_shards", "render", "render_soft", "save", "shape_mask", "write_shards",
]  # fmt: skip
