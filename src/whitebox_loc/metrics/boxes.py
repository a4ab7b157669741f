"""Keras metrics of pairs of ``rel_yxyx`` boxes."""

from __future__ import annotations

from typing import Any

import keras

from whitebox_loc._types import Tensor
from whitebox_loc._validation import check_choice, check_dtype, check_size, check_text
from whitebox_loc.boxes import convert, iou
from whitebox_loc.boxes._arrays import ROUNDING, check_pair, check_weights
from whitebox_loc.boxes.entropy import cross_entropy, entropy
from whitebox_loc.boxes.formats import RELATIVE_FORMATS


class _MeanOverBoxes(keras.metrics.Metric):
    """Mean of one number a box since the last reset, in float64; NaN before the first box."""

    #: Whether the number means something only if the true boxes are fractions of the image.
    fractions = True

    def __init__(self, name: str, dtype: Any = None) -> None:
        super().__init__(name=check_text("name", name), dtype=check_dtype("dtype", dtype))
        # A float32 sum stops growing at 2**24 boxes.
        self.total = self.add_variable((), "zeros", dtype="float64", name="total")
        self.weight = self.add_variable((), "zeros", dtype="float64", name="weight")

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> None:
        """Add a batch of true and predicted boxes, each of shape (n, 4) in ``rel_yxyx``.

        `sample_weight` is None or one weight a box, of shape (n,) or (n, 1).

        Raises
        ------
        ValueError, TypeError
            If these are no pairs of finite boxes, or weights are negative. Inside a compiled
            function only shapes are looked at, and NaN makes the result NaN.
        """
        check_pair(y_true, y_pred, fractions=self.fractions)
        check_weights(sample_weight, y_pred)
        truth = keras.ops.cast(y_true, "float64")
        prediction = keras.ops.cast(y_pred, "float64")
        values = keras.ops.cast(self.per_box(truth, prediction), "float64")
        values = keras.ops.where(self._meant(truth, prediction), values, float("nan"))
        weights = keras.ops.ones_like(values)
        if sample_weight is not None:
            factors = keras.ops.cast(sample_weight, "float64")
            weights = weights * keras.ops.reshape(factors, keras.ops.shape(values))
        self.total.assign_add(keras.ops.sum(weights * values))
        self.weight.assign_add(keras.ops.sum(weights))

    def _meant(self, truth: Tensor, prediction: Tensor) -> Tensor:
        """Return which pairs are finite and, if they must be, fractions, bool (n,)."""
        ops = keras.ops
        meant = ops.isfinite(truth) & ops.isfinite(prediction)
        if self.fractions:
            meant = meant & (truth >= -ROUNDING) & (truth <= 1 + ROUNDING)
        return ops.all(meant, axis=-1)

    def per_box(self, truth: Tensor, prediction: Tensor) -> Tensor:
        """Return one number a box, shape (n,), from float64 boxes of shape (n, 4)."""
        raise NotImplementedError

    def result(self) -> Tensor:
        """Return the weighted mean over all boxes so far, a float64 scalar."""
        return self.total / self.weight


@keras.saving.register_keras_serializable(package="whitebox_loc")
class MeanIoU(_MeanOverBoxes):
    """Mean intersection over union of the true and the predicted boxes, in [0, 1].

    Examples
    --------
    >>> metric = MeanIoU()
    >>> metric.update_state([[0.0, 0.0, 0.5, 0.5]], [[0.0, 0.0, 0.5, 0.25]])
    >>> float(metric.result())
    0.5
    """

    fractions = False

    def __init__(self, *, name: str = "mean_iou", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def per_box(self, truth: Tensor, prediction: Tensor) -> Tensor:
        """Return the IoU of each pair, shape (n,)."""
        return iou(prediction, truth, "rel_yxyx")


class _InPixels(_MeanOverBoxes):
    """A metric that needs the image size."""

    def __init__(self, size: tuple[int, int], name: str, dtype: Any = None) -> None:
        self.size = check_size("size", size)
        super().__init__(name=name, dtype=dtype)

    def pixels(self, boxes: Tensor) -> Tensor:
        return convert(boxes, "rel_yxyx", "yxyx", size=self.size)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this metric again."""
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable(package="whitebox_loc")
class PixelError(_InPixels):
    """Mean absolute error in pixels over top, left, bottom and right.

    Parameters
    ----------
    size : (height, width)
        Image size in pixels.

    Examples
    --------
    >>> metric = PixelError((100, 200))
    >>> metric.update_state([[0.0, 0.0, 0.5, 0.5]], [[0.0, 0.0, 0.5, 0.25]])
    >>> float(metric.result())  # right is 50 pixels off, the others 0
    12.5
    """

    def __init__(
        self, size: tuple[int, int], *, name: str = "pixel_error", dtype: Any = None
    ) -> None:
        super().__init__(size, name=name, dtype=dtype)

    def per_box(self, truth: Tensor, prediction: Tensor) -> Tensor:
        """Return the mean over four coordinates, shape (n,)."""
        return keras.ops.mean(keras.ops.abs(self.pixels(truth) - self.pixels(prediction)), axis=-1)


@keras.saving.register_keras_serializable(package="whitebox_loc")
class ExactRate(_InPixels):
    """Share of boxes whose four coordinates, rounded to whole pixels, are all the true ones.

    Both boxes are rounded, so float32 fractions of whole pixels are whole again.

    Parameters
    ----------
    size : (height, width)
        Image size in pixels.

    Examples
    --------
    >>> metric = ExactRate((10, 10))
    >>> truth = [[0.1, 0.2, 0.5, 0.5], [0.1, 0.2, 0.5, 0.5]]
    >>> metric.update_state(truth, [[0.12, 0.2, 0.5, 0.5], [0.16, 0.2, 0.5, 0.5]])
    >>> float(metric.result())
    0.5
    """

    def __init__(
        self, size: tuple[int, int], *, name: str = "exact_rate", dtype: Any = None
    ) -> None:
        super().__init__(size, name=name, dtype=dtype)

    def per_box(self, truth: Tensor, prediction: Tensor) -> Tensor:
        """Return whether each box is exact, shape (n,)."""
        same = keras.ops.round(self.pixels(truth)) == keras.ops.round(self.pixels(prediction))
        return keras.ops.all(same, axis=-1)


@keras.saving.register_keras_serializable(package="whitebox_loc")
class ExcessBCE(_MeanOverBoxes):
    """Binary cross entropy above its floor, the entropy of the targets: 0 at best.

    Parameters
    ----------
    format : str
        The format of the `whitebox_loc.losses.BoxBCE` it belongs to.

    Examples
    --------
    >>> metric = ExcessBCE()
    >>> metric.update_state([[0.25, 0.25, 0.75, 0.75]], [[0.25, 0.25, 0.75, 0.75]])
    >>> round(abs(float(metric.result())), 12)
    0.0
    """

    def __init__(
        self, format: str = "rel_yxyx", *, name: str = "excess_bce", dtype: Any = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.format = check_choice("format", format, RELATIVE_FORMATS)

    def per_box(self, truth: Tensor, prediction: Tensor) -> Tensor:
        """Return the mean excess over four coordinates, shape (n,)."""
        truth = convert(truth, "rel_yxyx", self.format)
        prediction = convert(prediction, "rel_yxyx", self.format)
        return keras.ops.mean(cross_entropy(truth, prediction) - entropy(truth), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this metric again."""
        return {**super().get_config(), "format": self.format}
