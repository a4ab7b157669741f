"""Losses for boxes, all on pairs of ``rel_yxyx`` boxes, and weighted sums of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from whitebox_loc._types import ArrayLike, Size, Tensor
from whitebox_loc._validation import (
    check_boxes,
    check_choice,
    check_dtype,
    check_real,
    check_size,
    check_text,
    with_type,
)
from whitebox_loc.boxes import ciou, convert, diou, giou, iou
from whitebox_loc.boxes._arrays import (
    ROUNDING,
    check_fractions,
    check_pair,
    check_weights,
    finite_tensor,
    is_symbolic,
    numbers_of,
    to_tensor,
)
from whitebox_loc.boxes.entropy import TANGENT, cross_entropy, entropy
from whitebox_loc.boxes.formats import RELATIVE_FORMATS

__all__ = ["OVERLAPS", "BoxBCE", "IoULoss", "SumLoss", "edge_cross_entropy", "entropy_floor"]

OVERLAPS = {"iou": iou, "giou": giou, "diou": diou, "ciou": ciou}
"""The measures of overlap that `IoULoss` can take."""

REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none")


class _Summable(keras.losses.Loss):
    """A loss that can be added to another and multiplied by a number."""

    #: Whether the loss means something only if the true boxes are fractions of the image.
    fractions = False
    #: Arguments of the loss, beside those of all losses.
    arguments: tuple[str, ...] = ()

    def __init__(self, *, reduction: str | None, name: str, dtype: Any) -> None:
        if reduction is not None:
            check_choice("reduction", reduction, REDUCTIONS)
        check_text("name", name)
        super().__init__(name=name, reduction=reduction, dtype=check_dtype("dtype", dtype))

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike = None
    ) -> Tensor:
        """Return the loss of boxes (n, 4), reduced by `reduction`; see `keras.losses.Loss`.

        Other than pairs of finite boxes are a ValueError or TypeError. Inside a compiled function
        only shapes are looked at, and the loss is NaN where it would be wrong.
        """
        check_pair(y_true, y_pred, fractions=self.fractions)
        check_weights(sample_weight, y_pred)
        return super().__call__(y_true, y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this loss again."""
        own = {name: getattr(self, name) for name in self.arguments}
        return {**super().get_config(), **own, "dtype": self.dtype}

    def __add__(self, other: object) -> SumLoss:
        return SumLoss([self, other]) if isinstance(other, keras.losses.Loss) else NotImplemented

    def __radd__(self, other: object) -> SumLoss:
        return SumLoss([other, self]) if isinstance(other, keras.losses.Loss) else NotImplemented

    def __mul__(self, weight: float) -> SumLoss:
        return SumLoss([self], [weight])

    __rmul__ = __mul__


@keras.saving.register_keras_serializable(package="whitebox_loc")
class BoxBCE(_Summable):
    """Mean binary cross entropy of the four coordinates, as fractions, against soft targets.

    A fraction ``t`` is scored as the probability it could be: the minimum over the
    prediction is at ``t``, where the value is not 0 but the entropy of ``t`` (see
    `entropy_floor`). Predictions at or beyond 0 and 1 keep a finite value and a gradient
    that points back, see `whitebox_loc.boxes.entropy.cross_entropy`.

    Parameters
    ----------
    format : str
        Relative format in which coordinates are compared, a ``rel_`` name from
        `whitebox_loc.boxes.FORMATS`. Both arguments of the loss are ``rel_yxyx`` whatever this is.
    tangent : float
        Share of the target below which the logarithm is replaced by its tangent, in (0, 1).
    reduction, name, dtype
        As in `keras.losses.Loss`.

    Examples
    --------
    >>> truth = [[0.25, 0.25, 0.75, 0.75]]
    >>> round(float(BoxBCE()(truth, truth)), 4)
    0.5623
    >>> loss = BoxBCE("rel_yxhw") + 0.1 * IoULoss("giou")
    """

    fractions = True
    arguments = ("format", "tangent")

    def __init__(
        self,
        format: str = "rel_yxyx",
        *,
        tangent: float = TANGENT,
        reduction: str | None = "sum_over_batch_size",
        name: str = "box_bce",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.format = check_choice("format", format, RELATIVE_FORMATS)
        self.tangent = check_real("tangent", tangent)
        if not 0 < self.tangent < 1:
            raise ValueError(f"`tangent` must lie strictly between 0 and 1; got {tangent!r}.")

    def call(self, y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
        """Return the losses, shape (n,), of boxes of shape (n, 4)."""
        truth, prediction = to_tensor(y_true, halves=False), to_tensor(y_pred, halves=False)
        truth = convert(truth, "rel_yxyx", self.format)
        prediction = convert(prediction, "rel_yxyx", self.format)
        losses = keras.ops.mean(cross_entropy(truth, prediction, self.tangent), axis=-1)
        return _nan_outside(truth, losses)


@keras.saving.register_keras_serializable(package="whitebox_loc")
class IoULoss(_Summable):
    """One minus the overlap of the true and the predicted box.

    Parameters
    ----------
    kind : str
        ``"iou"``, ``"giou"``, ``"diou"`` or ``"ciou"``, see `whitebox_loc.boxes`. The
        plain IoU has no gradient where the boxes do not touch.
    size : (height, width), optional
        Image size in pixels, to measure the distances of DIoU and CIoU in pixels.
        Without it they are in fractions, distorted if the image is not square.
    reduction, name, dtype
        As in `keras.losses.Loss`.

    Notes
    -----
    Values are computed in float32 or better. The slope grows like one over the shorter side, so
    with float16 activations give the model a float32 output layer, as Keras advises.

    Examples
    --------
    >>> loss = IoULoss("giou")
    >>> float(loss([[0.0, 0.0, 0.5, 0.5]], [[0.0, 0.0, 0.5, 0.25]]))
    0.5
    """

    arguments = ("kind", "size")

    def __init__(
        self,
        kind: str = "iou",
        *,
        size: Size | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str = "iou_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.kind = check_choice("kind", kind, OVERLAPS)
        self.size = None if size is None else check_size("size", size)

    def call(self, y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
        """Return the losses, shape (n,), of boxes of shape (n, 4)."""
        return 1.0 - OVERLAPS[self.kind](y_pred, y_true, "rel_yxyx", size=self.size)


@keras.saving.register_keras_serializable(package="whitebox_loc")
class SumLoss(_Summable):
    """Weighted sum of losses, written ``BoxBCE() + 0.1 * IoULoss("giou")``.

    Parameters
    ----------
    terms : sequence of keras.losses.Loss
        At least one, all with the same reduction, which the sum applies once.
    weights : sequence of float, optional
        One a term; all 1 by default.
    name, dtype
        As in `keras.losses.Loss`.

    Examples
    --------
    >>> total = IoULoss() + 3 * IoULoss()
    >>> float(total([[0.0, 0.0, 0.5, 0.5]], [[0.0, 0.0, 0.5, 0.25]]))
    2.0
    """

    def __init__(
        self,
        terms: Sequence[keras.losses.Loss],
        weights: Sequence[float] | None = None,
        *,
        name: str = "sum_loss",
        dtype: Any = None,
    ) -> None:
        terms = _listed("terms", terms, "losses")
        weights = [1.0] * len(terms) if weights is None else _listed("weights", weights, "numbers")
        _check_terms(terms, weights)
        super().__init__(name=name, reduction=terms[0].reduction, dtype=dtype)
        weights = [check_real(f"weights[{i}]", weight) for i, weight in enumerate(weights)]
        # Flat, so that a + b + c has three terms and get_config is easy to read.
        self.terms: list[keras.losses.Loss] = []
        self.weights: list[float] = []
        for term, weight in zip(terms, weights, strict=True):
            several = isinstance(term, SumLoss)
            self.terms += term.terms if several else [term]
            self.weights += [weight * inner for inner in (term.weights if several else [1.0])]
        self.fractions = any(getattr(term, "fractions", False) for term in self.terms)

    def call(self, y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
        """Return the weighted sum of the terms' losses, shape (n,), of boxes (n, 4)."""
        pairs = zip(self.terms, self.weights, strict=True)
        weighted = [weight * term.call(y_true, y_pred) for term, weight in pairs]
        return sum(weighted[1:], weighted[0])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this loss again."""
        terms = [keras.saving.serialize_keras_object(term) for term in self.terms]
        return {"name": self.name, "terms": terms, "weights": self.weights, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SumLoss:
        """Build the sum from what `get_config` returned."""
        terms = [keras.saving.deserialize_keras_object(term) for term in config["terms"]]
        return cls(**{**config, "terms": terms})


def edge_cross_entropy(boxes: ArrayLike, row_logits: ArrayLike, column_logits: ArrayLike) -> Tensor:
    """Cross entropy of the profile localizer's distributions over edges.

    A coordinate that is the expectation of a softmax gets no gradient once the softmax
    is sure of a wrong position. Here the gradient is probability minus truth, which stays. An
    edge between two positions is shared by them in proportion (Li et al. 2020).

    Parameters
    ----------
    boxes : tensor (n, 4)
        True boxes in ``rel_yxyx``, within the image.
    row_logits, column_logits : tensors (n, height + 1, 2) and (n, width + 1, 2)
        Scores of the row boundaries as top and bottom, of the column boundaries as left and right.

    Returns
    -------
    tensor, scalar float32
        Mean over images and the four edges, in nats. Inside a compiled function, NaN if a box is
        not within the image.

    Raises
    ------
    ValueError, TypeError
        If boxes are not within the image, numbers are not finite, or shapes do not fit.

    References
    ----------
    X. Li et al., "Generalized focal loss: learning qualified and distributed
    bounding boxes for dense object detection", NeurIPS 2020, arXiv:2006.04388.

    Examples
    --------
    >>> import numpy as np
    >>> sure = np.array([[0, 9, 0, 0], [0, 0, 0, 9]], "float32").T[None]  # top 1, bottom 3 of 3
    >>> round(float(edge_cross_entropy([[1 / 3, 1 / 3, 1, 1]], sure, sure)), 4)
    0.0004
    """
    if not is_symbolic(boxes):
        # Swapped boxes have a right answer, since edges are scored one by one.
        check_fractions("boxes", boxes, ordered=False)
    boxes = to_tensor(boxes, halves=False)
    if len(boxes.shape) != 2:
        raise ValueError(
            f"`boxes` must have shape (n, 4), one box an image; got {tuple(boxes.shape)}."
        )
    row_logits = _check_logits("row_logits", row_logits, boxes)
    column_logits = _check_logits("column_logits", column_logits, boxes)
    top_bottom = _edge_nll(boxes[:, 0::2], row_logits)
    left_right = _edge_nll(boxes[:, 1::2], column_logits)
    losses = keras.ops.concatenate([top_bottom, left_right], axis=-1)
    # An edge beyond the last position would share nothing with any, and cost nothing.
    return keras.ops.mean(_nan_outside(boxes, keras.ops.mean(losses, axis=-1)))


def _check_logits(name: str, logits: ArrayLike, boxes: Tensor) -> Tensor:
    """Return scores of edges as tensor (n, positions, 2), n as in `boxes`."""
    tensor = finite_tensor(name, logits)
    n = boxes.shape[0]
    images = tensor.shape[0] if len(tensor.shape) else None
    if len(tensor.shape) != 3 or tensor.shape[2] != 2 or (None not in (n, images) and n != images):
        raise ValueError(
            f"`{name}` must have shape (n, positions, 2), n as in `boxes` of shape "
            f"{tuple(boxes.shape)}; got {tuple(tensor.shape)}."
        )
    return tensor


def _edge_nll(edges: Tensor, logits: Tensor) -> Tensor:
    ops = keras.ops
    log_p = ops.log_softmax(ops.cast(logits, "float32"), axis=1)
    last = log_p.shape[1] - 1
    positions = ops.expand_dims(ops.arange(last + 1, dtype="float32"), (0, 2))
    # The triangle of width one around the edge: 1 at a whole position, split in between.
    # A whole position that came through a fraction is off by float32 rounding only.
    distance = ops.abs(positions - ops.expand_dims(ops.cast(edges, "float32") * last, 1))
    return -ops.sum(ops.maximum(1.0 - distance, 0.0) * log_p, axis=1)


def entropy_floor(boxes: ArrayLike, format: str = "rel_yxyx") -> float:
    """Mean binary entropy of the coordinates: the least `BoxBCE` can reach on these targets.

    Parameters
    ----------
    boxes : array_like, shape (..., 4)
        True boxes in ``rel_yxyx``, all within the image.
    format : str
        The format of the `BoxBCE` it belongs to.

    Returns
    -------
    float
        In nats, in [0, log 2].

    Raises
    ------
    ValueError
        For boxes that reach beyond the image, are swapped, or are none.

    Examples
    --------
    >>> round(entropy_floor([[0.0, 0.0, 0.5, 1.0]]), 4)
    0.1733
    """
    check_choice("format", format, RELATIVE_FORMATS)
    array = check_boxes("boxes", numbers_of("boxes", boxes)).astype(np.float64)
    if array.size == 0:
        raise ValueError(f"`boxes` must hold at least one box; got shape {array.shape}.")
    fractions = convert(array, "rel_yxyx", format)
    wrong = np.argwhere(((fractions < 0) | (fractions > 1)).any(axis=-1))
    if len(wrong):
        where = tuple(int(i) for i in wrong[0])
        raise ValueError(
            f"`boxes` must be rel_yxyx boxes within the image; box {where} is "
            f"{array[where].tolist()}, {fractions[where].tolist()} in {format!r}. "
            'Convert pixel boxes with boxes.convert(boxes, "yxyx", "rel_yxyx", size=size).'
        )
    return float(entropy(fractions).mean())


def _nan_outside(fractions: Tensor, losses: Tensor) -> Tensor:
    """Return losses (n,), but NaN where `fractions` (n, k) are none, and a loss may be negative."""
    ops = keras.ops
    within = (fractions >= -ROUNDING) & (fractions <= 1 + ROUNDING)
    return ops.where(ops.all(within, axis=-1), losses, float("nan"))


def _listed(name: str, value: Any, what: str) -> list[Any]:
    try:
        return list(value)
    except TypeError:
        raise TypeError(f"`{name}` must be a sequence of {what}; got {with_type(value)}.") from None


def _check_terms(terms: list[Any], weights: list[Any]) -> None:
    if not terms or len(terms) != len(weights):
        raise ValueError(
            "`terms` must hold at least one loss and `weights` one number a term; "
            f"got {len(terms)} terms and {len(weights)} weights."
        )
    for i, term in enumerate(terms):
        if not isinstance(term, keras.losses.Loss):
            raise TypeError(f"`terms[{i}]` must be a keras.losses.Loss; got {with_type(term)}.")
    reductions = [term.reduction for term in terms]
    if len(set(reductions)) > 1:
        raise ValueError(
            "`terms` must all have the same reduction, because the sum reduces once; "
            f"got {reductions}. Build the terms with the same `reduction`."
        )
