"""Images of distinct boxes, and the factors of a box that units are compared with."""

from __future__ import annotations

import numpy as np

from whitebox_loc._types import Array
from whitebox_loc._validation import check_int, check_memory
from whitebox_loc.data import Scene, count_boxes, generate, nth_boxes, render
from whitebox_loc.introspect.targets import COORDINATES, DERIVED

FACTORS = (*COORDINATES, *DERIVED)
"""What probes read out: the four coordinates and what is made of them."""


def distinct_images(scene: Scene, n: int, seed: int) -> tuple[Array, Array, Array]:
    """Return images, boxes (m, 4) in pixels and labels, in random order, no box twice."""
    notebook = scene.position == "notebook"
    total = n if notebook else count_boxes(scene)
    n = min(n, total)
    check_memory("n", n, 4.0 * n * np.prod(scene.size, dtype=float) * scene.channels, "images")
    generator = np.random.default_rng(check_int("seed", seed, low=0))
    if notebook:
        batch = generate(scene, n, seed=seed, valid_only=True)
        order = np.sort(np.unique(batch.boxes, axis=0, return_index=True)[1])
        return batch.images[order], batch.boxes[order], batch.labels[order]
    boxes = nth_boxes(scene, generator.choice(total, n, replace=False))
    labels = generator.integers(len(scene.shapes), size=len(boxes))
    return render(boxes, scene, labels=labels, seed=seed), boxes, labels


def factors_of(boxes: Array, size: tuple[int, int]) -> Array:
    """Return all factors (n, 9) of boxes in pixels, in fractions of an image of `size`."""
    relative = boxes / np.array([*size, *size], np.float64)
    columns = list(relative.T)
    return np.stack([*columns, *(make(*columns) for make in DERIVED.values())], axis=1)
