"""The original notebook's network: VGG16, Flatten, Dense(4, sigmoid)."""

from __future__ import annotations

import os

import keras
import numpy as np

from whitebox_loc._validation import MOST_SIDE, check_path, check_size
from whitebox_loc.models.initialization import reinitialize


def vgg16(
    weights: str | os.PathLike[str] | None = None,
    *,
    size: tuple[int, int] = (100, 100),
    seed: int | np.random.Generator = 0,
) -> keras.Model:
    """Build VGG16 without its classifier, followed by Flatten and Dense(4, sigmoid).

    Parameters
    ----------
    weights : None, "imagenet" or path, default None
        Weights of the convolutions: random, downloaded by Keras (59 MB, needs a
        network connection once), or a ``.weights.h5`` file of VGG16 without top.
    size : (int, int), default (100, 100)
        Height and width of the images in pixels, both at least 32.
    seed : int or numpy.random.Generator, default 0
        Source of the initial weights that are not loaded.

    Returns
    -------
    keras.Model
        ``(n, height, width, 3)`` in [0, 1] to ``(n, 4)`` boxes in ``rel_yxyx``.

    Raises
    ------
    ConnectionError, FileNotFoundError
        If ``"imagenet"`` is neither cached nor downloadable, or there is no file at the path.
    ValueError
        If the canvas is smaller than 32 pixels or the file does not fit VGG16.

    References
    ----------
    K. Simonyan and A. Zisserman, "Very deep convolutional networks for
    large-scale image recognition", ICLR 2015, arXiv:1409.1556.

    Examples
    --------
    >>> vgg16(size=(32, 32)).output_shape
    (None, 4)
    """
    if weights is not None:
        weights = check_path("weights", weights)
    height, width = check_size("size", size, high=MOST_SIDE)
    if min(height, width) < 32:
        raise ValueError(
            f"`size` must be at least (32, 32), since VGG16 halves it five times; got {size}."
        )
    shape = (height, width, 3)
    backbone = keras.applications.VGG16(include_top=False, weights=None, input_shape=shape)
    features = keras.layers.Flatten(name="flatten")(backbone.output)
    boxes = keras.layers.Dense(4, activation="sigmoid", name="box", dtype="float32")(features)
    model = reinitialize(keras.Model(backbone.input, boxes, name="vgg16_localizer"), seed=seed)
    if weights is not None:
        _load(backbone, weights)
    return model


def _load(backbone: keras.Model, weights: str | os.PathLike[str]) -> None:
    if str(weights) == "imagenet":
        # Keras reports every failure of the download as a bare Exception.
        try:
            pretrained = keras.applications.VGG16(include_top=False, weights="imagenet")
        except Exception as error:
            raise ConnectionError(
                "weights='imagenet' needs the VGG16 weights, which could not be downloaded: "
                f"{error}. Connect once, or pass the path of a downloaded weights file."
            ) from error
        backbone.set_weights(pretrained.get_weights())
        return
    path = os.fspath(weights)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"`weights` must be None, 'imagenet' or the path of a weights file; "
            f"there is no file {path!r}."
        )
    try:
        backbone.load_weights(path)
    except Exception as error:
        raise ValueError(
            f"`weights` file {path!r} does not hold the weights of VGG16 without top: {error}"
        ) from error
