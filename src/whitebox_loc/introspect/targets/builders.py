"""Targets: the scalar of a model's outputs that is explained.

A wrong argument is a ValueError or TypeError here; what the model has not is one on use.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from whitebox_loc import boxes as box_measures
from whitebox_loc._types import Array, ArrayLike, Size
from whitebox_loc._validation import (
    as_array,
    check_boxes,
    check_callable,
    check_choice,
    check_int,
    check_ints,
    check_size,
    shortened,
)
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.data import Scene, as_scene
from whitebox_loc.introspect.targets import one_box
from whitebox_loc.introspect.targets.one_box import DERIVED, Target
from whitebox_loc.introspect.targets.several_boxes import PARTS, Candidate, Detection

LINKS = ("identity", "logit")
"""The output itself, or the log-odds behind it."""


def iou(boxes: ArrayLike, format: str = "rel_yxyx", *, size: Size | None = None) -> Target:
    """Explain the IoU of the predicted box with given boxes.

    Parameters
    ----------
    boxes : array (n, 4) or (4,)
        One box an image, or one for all.
    format : str, default "rel_yxyx"
        Format of `boxes`, a name from `whitebox_loc.boxes.FORMATS`.
    size : (height, width), optional
        Image size in pixels, needed for formats in pixels.

    Returns
    -------
    Target
        Its gradient is zero where the two boxes do not overlap, and with respect to each edge
        that is where the given one is, within 2^-20 of the image: there the IoU has a kink.

    Examples
    --------
    >>> iou([0.2, 0.2, 0.9, 0.9]).label
    'iou'
    """
    return one_box.Overlap(_relative(boxes, format, size))


def loss(
    loss: Any, boxes: ArrayLike, format: str = "rel_yxyx", *, size: Size | None = None
) -> Target:
    """Explain a loss of the predicted box against given boxes.

    Parameters
    ----------
    loss : keras.Loss or callable
        Such as `whitebox_loc.losses.BoxBCE()`; or a function of the true and the predicted
        ``rel_yxyx`` boxes, tensors (n, 4), to losses (n,).
    boxes, format, size
        The true boxes, as for `iou`.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> loss(wb.losses.BoxBCE(), [0.2, 0.2, 0.9, 0.9]).label
    'loss'
    """
    check_callable("loss", loss, 2, "of true and predicted boxes, such as a keras.Loss")
    return one_box.Loss(loss, _relative(boxes, format, size))


def unit(layer: str, channel: int, position: tuple[int, ...] | None = None) -> Target:
    """Explain one channel of a layer: its mean over all places, or its value at one.

    Parameters
    ----------
    layer : str
        Path of the layer, ``path#2`` for the second of several calls.
    channel : int
        Index on the last axis; negative ones count from the end.
    position : tuple of int, optional
        Index on the axes between batch and channel, such as (row, column).

    Examples
    --------
    >>> unit("conv2", 3, position=(4, 5)).label
    'conv2[4, 5, 3]'
    """
    if not isinstance(layer, str):
        raise TypeError(f"`layer` must be the path of a layer; got {shortened(layer)}.")
    place = None if position is None else tuple(check_ints("position", position, empty=True))
    index = ", ".join(map(str, (*(place or ()), check_int("channel", channel))))
    return one_box.Unit(layer, int(channel), place, f"{layer}[{index}]")


def bin(coordinate: str, index: int) -> Target:
    """Explain the probability of one bin of a profile localizer's distribution over edges.

    With ``link="logit"`` its log-odds, from the scores in front of the softmax.

    Parameters
    ----------
    coordinate : {"top", "left", "bottom", "right"}
    index : int
        The boundary between pixels ``index - 1`` and ``index``; negative ones count from
        the last boundary.

    Examples
    --------
    >>> bin("top", 12).label
    'top=12'
    """
    check_choice("coordinate", coordinate, COORDINATES)
    index = check_int("index", index)
    return one_box.Bin(coordinate, index, f"{coordinate}={index}")


def label(which: ArrayLike, scene: Scene | str = "shapes") -> Target:
    """Explain the probability of a class, from the model's output ``"label"``.

    With ``link="logit"`` its log-odds, from the scores in front of the softmax.

    Parameters
    ----------
    which : str, int or int array (n,)
        The name of a shape of `scene`, the number of a class of the model, or one an image.
    scene : Scene or str, default "shapes"
        Where `which` is a name: the scene that the model was trained on, whose ``shapes[k]`` is
        class k.

    Examples
    --------
    >>> label("ring").label, label([5, 0]).label
    ('ring', 'own class')
    """
    if isinstance(which, str):
        shapes = as_scene(scene).shapes
        index = shapes.index(check_choice("which", which, shapes))
        return one_box.Label(which, np.array([index]), len(shapes))
    numbers = _numbers("which", which, "class", "the name of a shape, the number of a class")
    return one_box.Label(_named("class", numbers), np.atleast_1d(numbers))


def candidate(which: ArrayLike, part: str = "score", *, classes: ArrayLike = None) -> Target:
    """Explain one candidate of a model that finds several boxes.

    With ``link="logit"`` the log-odds of a score, coordinate or class, read in front of the
    sigmoid or softmax if there is one; without, a box beyond the image has none.

    Parameters
    ----------
    which : int or int array (n,)
        Number of a candidate, or one an image, such as ``detections.candidates[:, 0]``.
    part : str, default "score"
        A coordinate of its box, also a derived one such as ``"height"``; its ``"score"``; or
        ``"class"``, the probability of a class.
    classes : int or int array (n,), optional
        For the part ``"class"``: the number of the class, or one for each image.

    Examples
    --------
    >>> candidate(7, "top").label, candidate([7, 2], "class", classes=3).label
    ('top of candidate 7', 'class 3 of own candidate')
    """
    check_choice("part", part, PARTS)
    numbers = _numbers("which", which, "candidate")
    if (part == "class") != (classes is not None):
        raise ValueError(
            f"`classes` must be given for the part 'class' and for no other; got part={part!r}, "
            f"classes={shortened(classes)}."
        )
    labels = _numbers("classes", 0 if classes is None else classes, "class")
    if numbers.ndim and labels.ndim and len(numbers) != len(labels):
        raise ValueError(
            f"`classes` must be one number, or as many as `which`, {len(numbers)}; got "
            f"{len(labels)}."
        )
    name = _named("class", labels) if part == "class" else part
    data = np.stack(np.broadcast_arrays(np.atleast_1d(numbers), np.atleast_1d(labels)), 1)
    return Candidate(part, f"{name} of {_named('candidate', numbers)}", data)


def detection(
    boxes: ArrayLike,
    classes: ArrayLike = None,
    format: str = "rel_yxyx",
    *,
    size: Size | None = None,
) -> Target:
    """Explain how similar to a given box the most similar of a model's candidates is.

    With ``method="rise"`` the map is that of D-RISE. The similarity of a candidate is the IoU of
    its box with the given one, times its score, times the cosine between its probabilities of
    classes and the given ones. A model of one box has no scores, and its classes are ``"label"``.

    Parameters
    ----------
    boxes, format, size
        As for `iou`.
    classes : int, int array (n,) or float array (n, c), optional
        The class, one for each image, or its probabilities of each box. Without, classes do
        not count.

    References
    ----------
    V. Petsiuk et al., "Black-box explanation of object detectors via saliency maps", 2021,
    arXiv:2006.03204.

    Examples
    --------
    >>> detection([0.2, 0.2, 0.9, 0.9], classes=1).label
    'detection'
    """
    relative = _relative(boxes, format, size)
    if classes is None:
        return Detection(relative)
    array = as_array("classes", classes)
    if array.dtype.kind == "f":
        if array.ndim != 2 or not np.isfinite(array).all() or (array < 0).any():
            raise ValueError(
                "`classes` given as probabilities must have shape (n, c) and be finite and >= 0; "
                f"got shape {array.shape}."
            )
        return Detection(_beside(relative, array), "vector")
    numbers = _numbers("classes", classes, "class", "probabilities (n, c), the number of a class")
    return Detection(_beside(relative, np.atleast_1d(numbers)[:, None]), "label")


def as_target(target: Any, name: str = "target") -> Target:
    """Return the `target` of a public function, or its argument `name`, as a Target."""
    if isinstance(target, Target):
        return target
    if isinstance(target, str):
        return one_box.Coordinate(check_choice(name, target, (*COORDINATES, *DERIVED)))
    if isinstance(target, (int, np.integer)) and not isinstance(target, bool):
        return one_box.Output(int(target), f"output {target}")
    if callable(target):
        check_callable(name, target, 1, "of the outputs")
        return one_box.Custom(target, getattr(target, "__name__", type(target).__name__))
    raise TypeError(
        f"`{name}` must be one of {[*COORDINATES, *DERIVED]}, the number of an output, a function "
        "of the outputs, what a function in introspect.targets returns, or a list of those; "
        f"got {shortened(target)}."
    )


def as_targets(target: Any) -> list[Target]:
    """Return the `target` of a public function, one or a list of several, as Targets."""
    targets = list(target) if isinstance(target, (list, tuple)) else [target]
    if not targets:
        raise ValueError("`target` must name at least one target; got an empty list.")
    return [as_target(each) for each in targets]


def _relative(boxes: ArrayLike, format: str, size: Size | None) -> Array:
    boxes = check_boxes("boxes", boxes)
    if boxes.ndim > 2:
        raise ValueError(f"`boxes` must have shape (n, 4) or (4,); got {boxes.shape}.")
    check_choice("format", format, box_measures.FORMATS)
    if size is not None:
        check_size("size", size)
    relative = box_measures.convert(boxes, format, "rel_yxyx", size=size)
    return np.asarray(relative, np.float32).reshape(-1, 4)


def _numbers(name: str, value: ArrayLike, noun: str, allowed: str | None = None) -> Array:
    """Return a whole number >= 0, or one for each image, as int64 () or (n,)."""
    what = f"the number of a {noun}" if allowed is None else allowed
    numbers = as_array(name, value)
    if not numbers.size:
        raise ValueError(f"`{name}` is empty; give {what}, or one number for each image.")
    if numbers.dtype.kind not in "iu":
        raise TypeError(
            f"`{name}` must be {what}, or one number for each image; got {shortened(value)}."
        )
    if numbers.ndim > 1 or numbers.min() < 0:
        raise ValueError(
            f"`{name}` must be a {noun} number >= 0, or an array (n,) of such; got shape "
            f"{numbers.shape}, least {numbers.min()}."
        )
    return numbers.astype(np.int64)


def _named(noun: str, numbers: Array) -> str:
    return f"own {noun}" if numbers.ndim else f"{noun} {numbers}"


def _beside(boxes: Array, classes: Array) -> Array:
    """Return boxes and classes side by side, one row an image; a single row goes with all."""
    rows = {len(boxes), len(classes)} - {1}
    if len(rows) > 1:
        raise ValueError(
            f"`classes` must be one for all `boxes` or one a box, {len(boxes)}; got {len(classes)}."
        )
    count = max(rows, default=1)
    parts = [np.broadcast_to(a, (count, a.shape[1])) for a in (boxes, classes)]
    return np.concatenate(parts, axis=1, dtype=np.float32)
