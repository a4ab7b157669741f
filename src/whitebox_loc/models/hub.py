"""Detectors of KerasHub as models that this library reads: images in, candidates out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from whitebox_loc._types import Tensor
from whitebox_loc._validation import check_choice, check_int, check_size
from whitebox_loc.boxes import convert
from whitebox_loc.models.adapters import adapted

Reader = Callable[[Any], dict[str, Tensor]]
"""From the outputs of a detector to candidates."""


def hub_detector(
    detector: keras.Model,
    *,
    size: tuple[int, int] | None = None,
    channels: int = 3,
    prepare: Callable[[Tensor], Any] | None = None,
    check: bool = True,
    name: str | None = None,
) -> keras.Model:
    """Return a model around a KerasHub detector that puts out all of its candidates.

    Boxes are decoded as the detector itself does, but before any is thrown away: choosing has no
    derivative, and a candidate that was not chosen can be asked why.

    Parameters
    ----------
    detector : keras.Model
        Of a class in `DETECTORS`, such as ``keras_hub.models.RetinaNetObjectDetector``.
    size : (height, width), optional
        Of the images that the result takes, in pixels. By default that which the detector's
        preprocessor resizes to, or which the detector is built for.
    channels : {1, 3}, default 3
        Of the images that the result takes; one is repeated three times.
    prepare : callable, optional
        As in `adapted`. By default images are stretched to the size that the detector sees,
        bilinearly, and scaled from 0..255 as its preprocessor scales them, if it has one.
    check, name
        As in `adapted`. Boxes of a detector that has never been trained may lie far off the image.

    Returns
    -------
    keras.Model
        From images (n, height, width, channels) in [0, 1] to a dict of ``"boxes"`` (n, k, 4)
        ``rel_yxyx``, ``"scores"`` (n, k), the highest probability among classes, and
        ``"classes"`` (n, k, classes), the probability of each. k is the number of anchors or
        queries. Boxes may reach beyond the image.

    Raises
    ------
    ValueError, TypeError
        If there is no row for the detector's class, or the size is not known.

    Examples
    --------
    Not run here, since it downloads weights::

        detector = keras_hub.models.ObjectDetector.from_preset("retinanet_resnet50_fpn_coco")
        model = wb.models.hub_detector(detector)
        wb.introspect.saliency(model, images, lambda out: out["boxes"][:, 7, 0])
    """
    kinds = [kind.__name__ for kind in type(detector).__mro__]
    kind = next((kind for kind in kinds if kind in DETECTORS), kinds[0])
    row = DETECTORS[check_choice("type(detector)", kind, DETECTORS)]
    if check_int("channels", channels) not in (1, 3):
        raise ValueError(f"`channels` must be 1 or 3; got {channels}.")
    seen = _size_seen(detector) or size
    if seen is None:
        raise ValueError(
            "`size` must be given for a detector of open size without a preprocessor; got None. "
            "Pass size=(height, width) of your images in pixels."
        )
    size = check_size("size", seen if size is None else size)
    if prepare is None:
        prepare = _preparation(detector, size, check_size("size", seen))
    prepared = prepare(keras.KerasTensor((None, *size, channels)))
    read = row(detector, tuple(prepared.shape[1:]))
    return adapted(
        detector, read, prepare=prepare, size=size, channels=channels, check=check, name=name
    )


def _size_seen(detector: keras.Model) -> tuple[int, int] | None:
    """Return the height and width that a detector is meant for, or None."""
    converter = _converter(detector)
    if converter is not None and converter.image_size is not None:
        return converter.image_size
    own = detector.input_shape[1:3]
    return None if None in own else own


def _converter(detector: keras.Model) -> Any:
    return getattr(getattr(detector, "preprocessor", None), "image_converter", None)


def _preparation(
    detector: keras.Model, size: tuple[int, int], seen: tuple[int, int]
) -> Callable[[Tensor], Tensor]:
    converter = _converter(detector)
    scale, offset = (getattr(converter, n, None) for n in ("scale", "offset"))

    def prepare(images: Tensor) -> Tensor:
        x = ops.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
        x = ops.image.resize(x, seen) if size != seen else x
        if converter is not None:
            x = x * np.float32(255.0 * np.asarray(1.0 if scale is None else scale))
        return x if offset is None else x + np.float32(offset)

    return prepare


def _retinanet(detector: keras.Model, shape: tuple[int, int, int]) -> Reader:
    """Read offsets from anchors: the centre in anchor sizes, the size as a logarithm."""
    anchors = ops.concatenate(
        list(detector.anchor_generator(np.zeros((1, *shape), np.float32)).values())
    )
    form = detector.anchor_generator.bounding_box_format
    fractions = convert(np.asarray(anchors), form, "rel_center_yxhw", size=shape[:2])
    y, x, height, width = np.moveaxis(fractions, -1, 0)

    def read(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        dx, dy, log_width, log_height = ops.unstack(outputs["bbox_regression"], 4, axis=-1)
        centers = [dy * height + y, dx * width + x]
        boxes = [*centers, ops.exp(log_height) * height, ops.exp(log_width) * width]
        return _candidates(ops.stack(boxes, axis=-1), "rel_center_yxhw", outputs["cls_logits"])

    return read


def _d_fine(detector: keras.Model, shape: tuple[int, int, int]) -> Reader:
    """Read queries, whose boxes are fractions already."""
    return lambda outputs: _candidates(outputs["pred_boxes"], "rel_center_xywh", outputs["logits"])


def _candidates(boxes: Tensor, format: str, logits: Tensor) -> dict[str, Tensor]:
    classes = ops.sigmoid(logits)
    return {
        "boxes": convert(boxes, format, "rel_yxyx"),
        "scores": ops.max(classes, axis=-1),
        "classes": classes,
    }


DETECTORS: dict[str, Callable[[keras.Model, tuple[int, int, int]], Reader]] = {
    "RetinaNetObjectDetector": _retinanet,
    "DFineObjectDetector": _d_fine,
}
"""Class of a detector to what makes a `read` for it, from detector and shape of its images."""
