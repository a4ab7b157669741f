"""Maps of every box that a detector finds, each coordinate by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Model, Tensor
from whitebox_loc._validation import (
    as_array,
    check_choice,
    check_int,
    check_model,
    shortened,
    with_type,
)
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.introspect.attribution.choices import method_row
from whitebox_loc.introspect.attribution.maps import saliency
from whitebox_loc.introspect.methods import Method
from whitebox_loc.introspect.targets.one_box import Target
from whitebox_loc.introspect.targets.outputs import candidate_outputs
from whitebox_loc.introspect.targets.several_boxes import PARTS, Candidate, Detection
from whitebox_loc.introspect.tracing.capture import forward, traced
from whitebox_loc.introspect.tracing.inputs import Inputs, check_images


@dataclass(frozen=True, eq=False)
class DetectionMaps:
    """Maps of d found boxes, in the order of images and, within one, of the detections.

    Attributes
    ----------
    maps : float32 array (d, parts, height, width)
        Signed, as `saliency` returns them.
    parts : tuple of str
    images, places, candidates, labels : int64 arrays (d,)
        The image that each box was found in, its place among the image's detections, its
        candidate and its label.
    boxes, scores : float arrays (d, 4), ``rel_yxyx``, and (d,)
    """

    maps: Array
    parts: tuple[str, ...]
    images: Array
    places: Array
    candidates: Array
    boxes: Array
    scores: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.maps)

    def of_image(self, index: int) -> Array:
        """Return the maps (detections, parts, height, width) of one image's boxes."""
        return self.maps[self.images == check_int("index", index, low=0)]

    def of_part(self, part: str) -> Array:
        """Return the maps (d, height, width) of one part, as scores of maps take them."""
        return self.maps[:, self.parts.index(check_choice("part", part, self.parts))]


def saliency_of_detections(
    model: Model,
    images: ArrayLike,
    found: Any,
    parts: Sequence[str] = COORDINATES,
    method: str | Method = "gradient",
    *,
    link: str = "identity",
    batch_size: int = 256,
    each: Mapping[str, Any] | None = None,
    **options: Any,
) -> DetectionMaps:
    """Return the maps of every box that a model has found in every image.

    Parameters
    ----------
    model : keras.Model
        A model with the outputs ``"boxes"`` (n, k, 4), ``rel_yxyx``, ``"scores"`` (n, k) and,
        if it has classes, ``"classes"`` (n, k, c).
    images, method, link, batch_size, **options
        As for `saliency`. At most `batch_size` found boxes are explained at a time; methods of
        the perturbation family, but with `each`, explain all boxes of an image at once.
    found : Detections
        What was found in these images: an object with the arrays ``candidates`` (n, m), -1 for
        padding, ``boxes`` (n, m, 4), ``scores`` and ``labels`` (n, m).
    parts : sequence of str, default ("top", "left", "bottom", "right")
        Any of `targets.PARTS`; ``"class"`` is that of the box's own label. Or ``"detection"``,
        the similarity of the most similar candidate to the found box and the probabilities of its
        classes: with ``method="rise"`` the maps of D-RISE.
    each : dict, optional
        Options of the method that hold one thing a box, in the order of the result, such as
        ``{"boxes": ...}`` (d, 4) for ``"edge_move"``.

    Raises
    ------
    ValueError, TypeError
        As `saliency`.

    References
    ----------
    For ``"detection"`` V. Petsiuk et al., 2021, arXiv:2006.03204.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model, images = wb.models.detector(size=(16, 16)), np.ones((2, 16, 16, 1), "float32")
    >>> found = wb.models.detections(model(images), threshold=0, overlap=1, most=2)
    >>> result = saliency_of_detections(model, images, found, ("top", "score"))
    >>> result.maps.shape, result.images.tolist()
    ((4, 2, 16, 16), [0, 0, 1, 1])
    """
    inputs, names = check_images(images, check_model(model)), _check_parts(parts)
    places, boxes = _real_boxes(found, len(inputs))
    if not len(places):
        _outputs(model, inputs[:1])  # refuses a model without candidates here, too
    step = check_int("batch_size", batch_size, low=1)
    own = _check_each(each, len(places))
    if isinstance(options.get("seed"), np.random.Generator):
        # All slices draw the same, so that maps do not depend on the batch size.
        options["seed"] = int(options["seed"].integers(2**63))
    maps = np.zeros((len(places), len(names), *inputs.image.shape[1:3]), np.float32)
    for group in _groups(places[:, 0], method, shared=not own):
        many = max(1, step // len(group))
        for start in range(0, group.shape[1], many):
            numbers = group[:, start : start + many]
            part = inputs[places[numbers[0], 0]]
            targets = [t for row in numbers for t in _targets(model, part, names, boxes, row)]
            options |= {name: value[numbers[0]] for name, value in own.items()}
            values = saliency(
                model, part.packed, targets, method, link=link, batch_size=step, **options
            )
            values = values.reshape(len(numbers), len(names), *values.shape[1:])
            maps[numbers] = values.swapaxes(1, 2)
    return DetectionMaps(maps, names, places[:, 0], places[:, 1], **boxes)


def _groups(images: Array, method: str | Method, *, shared: bool) -> list[Array]:
    """Return numbers of found boxes (together, n): those of a column are explained at once."""
    # Masked images cost the more by far, and serve all boxes of an image. For other methods each
    # further target is another way back, and another number of them another compilation.
    if not shared or method_row(method).family != "perturbation":
        return [np.arange(len(images))[None]]
    _, first, counts = np.unique(images, return_index=True, return_counts=True)
    return [
        first[counts == count] + np.arange(count)[:, None] for count in np.unique(counts).tolist()
    ]


def _targets(
    model: Model, inputs: Inputs, names: tuple[str, ...], boxes: Mapping[str, Array], numbers: Array
) -> list[Target]:
    """Return one target a part for images of which each has one of the boxes `numbers`."""
    candidates, labels = boxes["candidates"][numbers], boxes["labels"][numbers]
    _, scores, *classes = _outputs(model, inputs if "detection" in names else inputs[:1])
    counts = (scores.shape[1], classes[0].shape[-1] if classes else 1)
    for name, values, count in (("candidates", candidates, 0), ("labels", labels, 1)):
        needed = name == "candidates" or "class" in names
        if needed and (values.max() >= counts[count] or values.min() < 0):
            raise ValueError(
                f"`found.{name}` must lie in 0 .. {counts[count] - 1} for this model; got "
                f"{values.min()} .. {values.max()}."
            )
    data = np.stack([candidates, labels if "class" in names else 0 * labels], axis=1)
    targets: list[Target] = []
    for name in names:
        if name == "detection":
            own = [boxes["boxes"][numbers]]
            own += [c[np.arange(len(candidates)), candidates] for c in classes]
            kind = "vector" if classes else "box"
            targets.append(Detection(np.concatenate(own, 1, dtype=np.float32), kind))
        else:
            targets.append(Candidate(name, f"{name} of own candidate", data, counts))
    return targets


def _outputs(model: Model, inputs: Inputs) -> list[Array]:
    """Return boxes, scores and, if there are any, classes."""

    def build(*tensors: Tensor) -> list[Tensor]:
        outputs = candidate_outputs(forward(model, inputs.pack(tensors)))
        return [tf.cast(t, tf.float32) for t in outputs if t is not None]

    run = traced(model, "candidates", inputs, build)
    return [tensor.numpy() for tensor in run(*inputs.tensors())]


def _real_boxes(found: Any, n: int) -> tuple[Array, dict[str, Array]]:
    """Return image and place (d, 2) of each detection, and what is known about it."""
    names = ("candidates", "boxes", "scores", "labels")
    missing = [name for name in names if not hasattr(found, name)]
    if missing:
        raise TypeError(
            f"`found` must be Detections, with the arrays {list(names)}; got "
            f"{type(found).__name__} without {missing}."
        )
    arrays = {name: as_array(f"found.{name}", getattr(found, name)) for name in names}
    if arrays["candidates"].dtype.kind not in "iu":
        raise TypeError(
            "`found.candidates` must be whole numbers, -1 for padding; got dtype "
            f"{arrays['candidates'].dtype}."
        )
    shape = arrays["candidates"].shape
    if len(shape) != 2 or shape[0] != n:
        raise ValueError(
            f"`found.candidates` must have shape ({n}, detections), a row for each of the {n} "
            f"`images`; got {shape}."
        )
    for name in names:
        full = (*shape, 4) if name == "boxes" else shape
        if arrays[name].shape != full:
            raise ValueError(f"`found.{name}` must have shape {full}; got {arrays[name].shape}.")
    real = arrays["candidates"] >= 0
    return np.argwhere(real), {name: array[real] for name, array in arrays.items()}


def _check_parts(parts: Any) -> tuple[str, ...]:
    if not isinstance(parts, (str, list, tuple)):
        raise TypeError(
            f"`parts` must be a list of names; got {with_type(parts)}. Some of "
            f"{[*PARTS, 'detection']}."
        )
    names = (parts,) if isinstance(parts, str) else tuple(parts)
    if not names:
        raise ValueError("`parts` must name at least one part; got none.")
    return tuple(check_choice("parts", name, (*PARTS, "detection")) for name in names)


def _check_each(each: Any, count: int) -> dict[str, Array]:
    if each is not None and not isinstance(each, Mapping):
        raise TypeError(f"`each` must be a dict of options; got {shortened(each)}.")
    options = {name: as_array(f"each[{name!r}]", value) for name, value in (each or {}).items()}
    for name, value in options.items():
        if value.shape[:1] != (count,):
            raise ValueError(
                f"`each[{name!r}]` must hold one thing a found box, {count}; got shape "
                f"{value.shape}."
            )
    return options
