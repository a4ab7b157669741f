"""What class activation maps share: a layer's feature maps, and their way onto the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Tensor
from whitebox_loc._validation import check_bool, check_choice, shortened
from whitebox_loc.introspect.methods.interpolation import hats, spread
from whitebox_loc.introspect.methods.record import Read
from whitebox_loc.introspect.targets.query import Query
from whitebox_loc.introspect.tracing.capture import Forward
from whitebox_loc.introspect.tracing.graphs import tensors_behind
from whitebox_loc.introspect.tracing.layers import find_layers, named_layers, split_call

ALIGNMENTS = ("auto", "center", "stretch")
"""How a layer's map is laid on the image, see `on_image`."""


def check_options(query: Query, layer: Any, relu: Any, align: Any) -> None:
    """Check the options that all class activation maps have."""
    if layer is not None:
        if not isinstance(layer, str):
            raise TypeError(
                f"`layer` must be the path of a layer, or None; got {shortened(layer)}."
            )
        find_layers(query.model, [layer], "layer")
    check_bool("relu", relu)
    check_choice("align", align, ALIGNMENTS)


def feature_maps(
    query: Query, read: Read, images: Tensor, layer: str | None
) -> tuple[str, Tensor, list[Tensor]]:
    """Return the call name and output (n, h, w, c) of a layer, by default the last, and targets."""
    layers, targets = all_feature_maps(query, read, images, layer)
    return *layers[0], targets


def all_feature_maps(
    query: Query, read: Read, images: Tensor, layer: str | None
) -> tuple[list[tuple[str, Tensor]], list[Tensor]]:
    """Return what `layers_with_places` does, and the targets, in a trace."""
    watch = list(named_layers(query.model)) if layer is None else [layer]
    targets, passed = read(images, watch=watch, require=layer is not None)
    return layers_with_places(query, passed, targets, layer), targets


def layers_with_places(
    query: Query, passed: Forward, targets: list[Tensor], layer: str | None = None
) -> list[tuple[str, Tensor]]:
    """Return call names and outputs (n, h, w, c) of `layer`, or of all on the way, last first."""
    upstream = [tensors_behind([target]) for target in targets]
    if layer is not None:
        if split_call(layer)[0] not in passed.calls:
            raise ValueError(f"`layer` {layer!r} is not called when the model runs in inference.")
        output = passed.single_call(layer).output
        if not _has_places(output):
            shapes = [tuple(t.shape) for t in tf.nest.flatten(output)]
            raise ValueError(
                "`layer` must put out floats of shape (n, height, width, channels), with more than "
                f"one place; {layer!r} puts out {shapes}. Name a layer in front of it, such as a "
                "convolution; `list_layers(model)` shows the shapes."
            )
        for label, behind in zip(query.labels, upstream, strict=True):
            if output.ref() not in behind:
                raise ValueError(
                    f"`layer` {layer!r} does not lie between the image and target {label!r}, "
                    "which does not depend on it. Name a layer on the way, or None for the last "
                    "that serves all targets."
                )
        return [(layer, output)]
    outputs: dict[Any, tuple[str, Tensor]] = {}
    for name, call in reversed(passed.named_calls().items()):
        output = call.output
        if _has_places(output) and all(output.ref() in behind for behind in upstream):
            # A model inside the model puts out what its last layer does.
            outputs.setdefault(output.ref(), (name, output))
    if outputs:
        return list(outputs.values())
    raise ValueError(
        f"`layer` is None, but model {query.model.name!r} has no layer whose output has shape "
        f"(n, height, width, channels) and that targets {list(query.labels)} depend on. Use a "
        "method without feature maps, such as 'gradient' or 'occlusion'."
    )


def on_image(maps: Tensor, size: tuple[int, int], align: str) -> Tensor:
    """Lay maps (m, h, w, c) of a layer on the image: (m, height, width, c).

    ``"stretch"`` takes the h x w places for equal parts of the image and interpolates
    linearly, the usual definition. ``"center"`` takes a place for a pixel, and the middle of
    the map for the middle of the image, which is exact for layers of stride 1; what they lack is
    0. ``"auto"`` is the second for maps of 3/4 to 3/2 the height and width of the image.
    """
    near = all(
        3 * n <= 4 * m and 2 * m <= 3 * n for m, n in zip(maps.shape[1:3], size, strict=True)
    )
    if align == "stretch" or (align == "auto" and not near):
        return _stretched(maps, size)
    return _centered(maps, size)


def _stretched(maps: Tensor, size: tuple[int, int]) -> Tensor:
    # `tf.image.resize` is the same sum, one place after the other; these are matrix products.
    rows, columns = (
        # Middles of the image's pixels, in units of the parts.
        hats((np.arange(m) + 0.5) * n / m - 0.5, n)
        for n, m in zip(maps.shape[1:3], size, strict=True)
    )
    laid = spread_all(tf.transpose(maps, (0, 3, 1, 2)), rows, columns)
    # Without a transposition where there is one channel, as in all finished maps.
    return laid[:, 0, ..., None] if maps.shape[-1] == 1 else tf.transpose(laid, (0, 2, 3, 1))


def spread_all(planes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return ``rows @ plane @ columns.T`` of planes (a, b, h, w)."""
    # Planes in one batch: TensorFlow 2.21 crashes where a matrix meets a batch of two axes.
    laid = spread(tf.reshape(planes, (-1, *planes.shape[2:])), rows, columns)
    return tf.reshape(laid, (*tf.unstack(tf.shape(planes)[:2]), *laid.shape[1:]))


def _centered(maps: Tensor, size: tuple[int, int]) -> Tensor:
    for axis, length in enumerate(size, start=1):
        extra = maps.shape[axis] - length
        if extra % 2:
            # The middles lie half a place apart: the mean of neighbours lies between them.
            if extra < 0:
                maps = tf.pad(maps, [[1, 1] if a == axis else [0, 0] for a in range(4)])
            places = np.arange(maps.shape[axis] - 1)
            maps = (tf.gather(maps, places, axis=axis) + tf.gather(maps, places + 1, axis=axis)) / 2
    return tf.image.resize_with_crop_or_pad(maps, *size)


def _has_places(output: Tensor) -> bool:
    shape = getattr(output, "shape", None)
    if shape is None or shape.rank != 4 or not output.dtype.is_floating:
        return False
    height, width = shape[1:3]
    return None not in (height, width) and height * width > 1
