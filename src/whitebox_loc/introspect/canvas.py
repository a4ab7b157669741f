"""A blank image of the kind that a model takes, for questions that need no image."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from whitebox_loc.introspect.inputs import Inputs, check_fit, check_images, input_shapes

__all__ = ["beside", "blank"]


def blank(model: keras.Model, example: Any = None) -> Inputs:
    """Return one all-zero image that `model` takes, with the other inputs of `example`.

    Parameters
    ----------
    model : keras.Model
    example : array or structure of arrays, optional
        What the model takes; of several rows the first counts, and of the image only its
        shape. Needed where the model does not know the shape, or has several inputs.
    """
    if example is not None:
        given = check_images(example, name="example")
        check_fit("example", given, model)
        others = tuple(a[:1] for a in given.others)
        return Inputs(np.zeros_like(given.image[:1]), others, given.structure)
    shapes = input_shapes(model)
    if len(shapes) != 1 or len(shapes[0]) != 4 or None in shapes[0][1:]:
        raise ValueError(
            f"`example` must be given, an array (n, height, width, channels) or the structure "
            f"that the model takes: `model` {model.name!r} has inputs of shapes {shapes}, not one "
            "image of known size."
        )
    return Inputs(np.zeros((1, *shapes[0][1:]), np.float32), (), 0)


def beside(images: np.ndarray, example: Any = None) -> Inputs:
    """Return images as a model takes them, with the other inputs of `example` held fixed.

    Parameters
    ----------
    images : float array (n, height, width, channels)
    example : array or structure of arrays, optional
        What the model takes; of several rows the first counts. Needed for several inputs.
    """
    if example is None:
        return check_images(images)
    given = check_images(example, name="example")
    others = tuple(np.repeat(a[:1], len(images), axis=0) for a in given.others)
    return Inputs(check_images(images).image, others, given.structure)
