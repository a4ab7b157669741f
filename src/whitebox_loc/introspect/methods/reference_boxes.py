"""Boxes as an option of a method, one an image or one for all."""

from __future__ import annotations

import numpy as np

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import check_boxes
from whitebox_loc.introspect.targets.query import Query


def boxes_of_rows(boxes: ArrayLike, query: Query) -> Array:
    """Return a box for each image of the query, (n, 4)."""
    array = check_boxes("boxes", boxes)
    if array.shape not in ((4,), (1, 4), (query.given, 4)):
        raise ValueError(
            f"`boxes` must have shape ({query.given}, 4), one box an image, or (4,); got "
            f"{np.shape(boxes)}."
        )
    array = array.reshape(-1, 4)
    return array[np.zeros_like(query.rows) if len(array) == 1 else query.rows]
