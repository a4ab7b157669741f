"""DeepLIFT with the rescale rule, and its mean over baselines, DeepSHAP.

The model runs on an image and on a baseline. A multiplier m of a number x says how much of
the target's difference each unit of x's difference accounts for; multipliers of one
operation times the differences of its inputs add up to the difference of its output, exactly,
so that a map adds up to target at the image minus target at the baseline:

- linear operations: the derivative;
- one number to one number (ReLU, sigmoid, exp ...): ``(y - y0) / (x - x0)``, the rescale rule;
- products: the derivative half-way, at ``(x + x0) / 2``, which is exact for two factors;
- a maximum: all goes to the winner of whichever pass has the larger maximum (to equal ones
  as the operation's derivative shares it);
- softmax: its derivative with each probability replaced by the logarithmic mean
  ``l = (p - p0) / log(p / p0)`` of both passes: ``m_i = l_i (m_i' - sum_j l_j m_j' / sum_j l_j)``.
  Since ``p_i - p0_i = l_i (d_i - sum_j l_j d_j / sum_j l_j)`` for differences d of the scores,
  nothing is lost.

Targets (area, a function of the outputs) are operations like all others. What chooses by a
condition that depends on the image has no rule: the IoU target does, to guard the empty union.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Model, Tensor
from whitebox_loc.introspect.methods.baselines import baseline_images, mean_target
from whitebox_loc.introspect.methods.obstacles import refuse, unknown
from whitebox_loc.introspect.methods.propagation.lrp import Owners, read_everything
from whitebox_loc.introspect.methods.propagation.operations import (
    ACTIVATIONS,
    MATRICES,
    MAXIMA,
    MOVES,
    SUMS,
    Operation,
    Pairs,
    Route,
    again,
    as_float32,
    owners,
    pull,
    sent_back,
)
from whitebox_loc.introspect.methods.record import Maps, Read
from whitebox_loc.introspect.targets.query import Query


def deeplift(query: Query, *, baseline: ArrayLike = 0.0) -> Maps:
    """Share out the difference from a baseline, a number or an image.

    A map adds up to the target at the image minus the target at the baseline.
    """
    bases = baseline_images(baseline, query.images.shape[1:])
    if len(bases) != 1:
        raise ValueError(
            f"`baseline` must be one number or one image; got {len(bases)}. Use "
            "method='deep_shap' for the mean over several."
        )
    return _mean_over(query, bases)


def deep_shap(query: Query, *, baseline: ArrayLike = (0.0, 1.0)) -> Maps:
    """Average DeepLIFT over several baselines: numbers, images, or eight images of a scene."""
    return _mean_over(query, baseline_images(baseline, query.images.shape[1:]))


def _mean_over(query: Query, bases: Array) -> Maps:
    def build(read: Read, images: Tensor, baselines: Tensor) -> Tensor:
        return _shares(query.model, read, images, baselines)

    run = query.function("deeplift", build, extra=[bases])
    maps = np.zeros((query.targets, len(query), *query.images.shape[1:3]), np.float32)
    for rows, part in query.tiles(len(bases)):
        sums = run(*query.tensors(rows), tf.constant(bases[part]))
        maps[:, rows] += sums.numpy() / len(bases)
        # The image and the baseline of each pair.
        query.count(2 * (rows.stop - rows.start) * (part.stop - part.start))
    if not np.isfinite(maps).all():
        raise ValueError(
            "`baseline`: the model computes with infinity there or at an image (1 / 0, the "
            "logarithm of 0), and the difference from infinity cannot be shared out. Use another "
            "baseline, such as 0.5."
        )

    return Maps(maps, lambda: mean_target(query, bases))


def _shares(model: Model, read: Read, images: Tensor, baselines: Tensor) -> Tensor:
    """Return maps (k, r, h, w), summed over the baselines (s, h, w, c)."""
    count, shape = tf.shape(baselines)[0], images.shape[1:]
    points = tf.tile(images, [count, 1, 1, 1])
    starts = tf.repeat(baselines, tf.shape(images)[0], axis=0)
    starts.set_shape(points.shape)
    values, passed = read_everything(model, lambda x, **o: read(x, count, **o), points)
    others, _ = read(starts, count)
    owner = owners(model, passed)
    maps = []
    for value, other in zip(values, others, strict=True):
        route = Route.between(points, [value], floats=False)
        twin = _twins(route, Route.between(starts, [other], floats=False))
        back = _Back(route, twin, owner)
        for operation in route.operations:
            back.check(operation)
        multipliers = sent_back(route, [(value, tf.ones_like(value))], back)
        shares = tf.reduce_sum(multipliers * (points - starts), -1)
        maps.append(tf.reduce_sum(tf.reshape(shares, (count, -1, *shape[:2])), 0))
    return tf.stack(maps)


def _twins(route: Route, other: Route) -> dict[Operation, Operation]:
    """Return the same operation of the other pass for each operation."""
    kinds = [[o.type for o in r.operations] for r in (route, other)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            "Method 'deeplift' compares two passes of the model, and this model does not run "
            "the same operations each time it is called. Use method='integrated_gradients'."
        )
    return dict(zip(route.operations, other.operations, strict=True))


class _Back:
    """How multipliers go back through each operation of a route."""

    def __init__(self, route: Route, twin: dict[Operation, Operation], owner: Owners) -> None:
        self.route, self.twin, self.owner = route, twin, owner

    def __call__(self, operation: Operation, values: list[Tensor]) -> Pairs:
        return _RULES[operation.type](self, operation, values)

    def check(self, operation: Operation) -> None:
        """Raise if there is no rule for an operation."""
        active = self.route.active(operation)
        why = unknown(operation, active, _RULES)
        if operation.type in ("Select", "SelectV2") and 0 in active:
            why = "it chooses between two signals by a condition that depends on the image"
        elif operation.type in _CONVOLUTIONS and len(active) > 1:
            why = "its weights depend on the image"
        if why is not None:
            raise refuse("deeplift", operation, self.owner.get(operation), why)

    def _both(
        self, tensors: Sequence[Tensor], twins: Sequence[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        return [(as_float32(a), as_float32(b)) for a, b in zip(tensors, twins, strict=True)]

    def inputs(self, operation: Operation) -> list[tuple[Tensor, Tensor]]:
        """Return each input in both passes."""
        return self._both(operation.inputs, self.twin[operation].inputs)

    def linear(self, operation: Operation, values: list[Tensor]) -> Pairs:
        return pull(operation, self.route.active(operation), values)

    def product(self, operation: Operation, values: list[Tensor]) -> Pairs:
        active = self.route.active(operation)
        middle = list(operation.inputs)
        # A product with a constant is linear: half-way would cost memory for nothing.
        if len(active) > 1 or operation.type == "Square":
            for i in active:
                first, second = self.inputs(operation)[i]
                middle[i] = (first + second) / 2.0
        return pull(operation, active, values, at=middle)

    def quotient(self, operation: Operation, values: list[Tensor]) -> Pairs:
        (above, above0), (below, below0) = self.inputs(operation)
        inverse, middle = (1 / below + 1 / below0) / 2.0, (above + above0) / 2.0
        # A product of the numerator and of the inverse, whose own secant is -1 / (b b0).
        secant = tf.stop_gradient(-middle / (below * below0))
        terms = above * tf.stop_gradient(inverse) + below * secant
        # 0 in both passes accounts for nothing, and over a tiny denominator (log-odds are
        # corrected by such a 0) its two parts would cancel with all their rounding.
        used = tf.where((above == 0) & (above0 == 0), 0.0, values[0])
        slopes = tf.gradients(terms, [above, below], used, stop_gradients=[above, below])
        return [(operation.inputs[i], slopes[i]) for i in self.route.active(operation)]

    def secant(self, operation: Operation, values: list[Tensor]) -> Pairs:
        (index,) = self.route.active(operation)
        first, second = self.inputs(operation)[index]
        ((output, output0),) = self._both(operation.outputs, self.twin[operation].outputs)
        middle = [as_float32(t) for t in operation.inputs]
        middle[index] = (first + second) / 2.0
        run = again(operation, middle)[0]
        slope = tf.gradients(run, middle[index])[0]
        near = tf.abs(first - second) <= _NEAR[operation.type](first, second)
        ratio = tf.math.divide_no_nan(output - output0, first - second)
        return [(operation.inputs[index], values[0] * tf.where(near, slope, ratio))]

    def largest(self, operation: Operation, values: list[Tensor]) -> Pairs:
        active = self.route.active(operation)
        inputs = self.inputs(operation)
        ((output, output0),) = self._both(operation.outputs, self.twin[operation].outputs)
        rise, fall = tf.maximum(output - output0, 0.0), tf.minimum(output - output0, 0.0)
        if operation.type in ("Min", "Minimum"):
            rise, fall = fall, rise
        won = pull(operation, active, [values[0] * rise])
        won0 = pull(operation, active, [values[0] * fall], at=[b for _, b in inputs])
        return [
            (tensor, tf.math.divide_no_nan(here + there, inputs[i][0] - inputs[i][1]))
            for i, (tensor, here), (_, there) in zip(active, won, won0, strict=True)
        ]

    def softmax(self, operation: Operation, values: list[Tensor]) -> Pairs:
        ((scores, scores0),) = self.inputs(operation)
        logs, logs0 = tf.nn.log_softmax(scores), tf.nn.log_softmax(scores0)
        gap = tf.abs(logs - logs0)
        # (p - p0) / log(p / p0), from the larger of both so that nothing cancels.
        ratio = tf.where(gap > 0, tf.math.divide_no_nan(-tf.math.expm1(-gap), gap), 1.0)
        mean = tf.exp(tf.maximum(logs, logs0)) * ratio
        weights = mean / tf.reduce_sum(mean, -1, keepdims=True)
        average = tf.reduce_sum(weights * values[0], -1, keepdims=True)
        return [(operation.inputs[0], mean * (values[0] - average))]


def _never(first: Tensor, second: Tensor) -> Tensor:
    # The pieces are straight or the difference is exact enough: only 0 / 0 needs a slope.
    return tf.zeros_like(first)


def _absolute(first: Tensor, second: Tensor) -> Tensor:
    # Below, the rounding of y - y0, 2^-24 / difference, would exceed what the slope half-way
    # is wrong by, difference^2 / 24 times a third derivative of about 1.
    return tf.fill(tf.shape(first), 0.01)


def _relative(first: Tensor, second: Tensor) -> Tensor:
    return 0.01 * tf.minimum(tf.abs(first), tf.abs(second))


_NEAR: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    **dict.fromkeys(ACTIVATIONS | {"Abs"}, _never),
    **dict.fromkeys(("Sigmoid", "Tanh", "Softplus", "Exp", "Expm1", "Erf", "Erfc"), _absolute),
    **dict.fromkeys(("Log", "Log1p", "Sqrt", "Rsqrt", "Reciprocal", "Inv"), _relative),
}

_CONVOLUTIONS = frozenset(MATRICES) - {"MatMul", "BatchMatMulV2"}

_RULES: dict[str, Callable[[_Back, Operation, list[Tensor]], Pairs]] = {
    **dict.fromkeys(MOVES | SUMS | _CONVOLUTIONS | {"StopGradient"}, _Back.linear),
    **dict.fromkeys(
        ("Mul", "MatMul", "BatchMatMulV2", "Square", "SquaredDifference"), _Back.product
    ),
    **dict.fromkeys(_NEAR, _Back.secant),
    **dict.fromkeys(MAXIMA | {"Min", "Minimum"}, _Back.largest),
    "RealDiv": _Back.quotient,
    "Softmax": _Back.softmax,
}
