"""Probes: what a linear readout finds in a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from scipy import linalg

from whitebox_loc._types import Array, ArrayLike, Model, Tensor
from whitebox_loc._validation import check_choice, check_int, check_model, check_real
from whitebox_loc.data import Scene, as_scene
from whitebox_loc.introspect.tracing.capture import forward, traced
from whitebox_loc.introspect.tracing.inputs import Inputs, beside
from whitebox_loc.introspect.tracing.layers import find_layers, layer_names, split_call
from whitebox_loc.introspect.tracing.reading import REDUCTIONS, layer_output, run_in_batches
from whitebox_loc.introspect.tracing.refusals import check_answer
from whitebox_loc.introspect.units.factors import FACTORS, distinct_images, factors_of

FEATURES = ("flatten", "mean", "max")
"""What a probe sees of a layer: every unit, or each channel's mean or maximum over places."""


@dataclass(frozen=True, eq=False)
class Probe:
    """How well a linear readout of each layer finds each factor of the box.

    Attributes
    ----------
    layers : tuple of str
    factors : tuple of str
    r2 : float64 array (layers, factors)
        1 - (squared error) / (squared deviation from the mean), over all held-out images: 1
        is perfect, 0 no better than the mean, below 0 worse. NaN for a factor that does not
        vary.
    fold_r2 : float64 array (folds, layers, factors)
        The same within each fold.
    units, features : int arrays (layers,)
        Numbers each layer has, and numbers that the readout saw.
    accuracy : float64 array (layers,)
        Share of held-out images whose shape the largest of one readout a shape names; NaN for
        one shape.
    """

    layers: tuple[str, ...]
    factors: tuple[str, ...]
    r2: Array
    fold_r2: Array
    units: Array
    features: Array
    accuracy: Array


def probe(
    model: Model,
    layers: str | Sequence[str],
    scene: Scene | str = "uniform",
    *,
    n: int = 1000,
    folds: int = 5,
    ridge: float = 1e-2,
    features: str = "flatten",
    max_features: int = 4096,
    seed: int = 0,
    example: ArrayLike = None,
    batch_size: int = 256,
) -> Probe:
    """Return how much of box and shape can be read linearly from layers, on images held out.

    Parameters
    ----------
    model, scene, example, batch_size
        As for `tuning`.
    layers : str or sequence of str
        Paths as `list_layers` gives them, ``path#2`` for the second of several calls.
    n, seed : int
        Number of images, and what they, their order and features are drawn by.
    folds : int, default 5
        Each part of the images is predicted by a readout fitted on the others.
    ridge : float, default 1e-2
        Penalty of the squared weights, relative to the mean variance along the directions
        that the features span. Above 0. If R2 is well below 0, raise it, or `n`.
    features : {"flatten", "mean", "max"}, default "flatten"
        What the readout sees: every unit, or each channel's mean or maximum over places.
    max_features : int, default 4096
        Of a layer with more, so many are drawn, the same for all images: a lower bound.

    Returns
    -------
    Probe
        Factors: top, left, bottom, right, height, width, center_y, center_x, area.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above.

    Notes
    -----
    A high value says that the information is there in linear form, not that the network
    uses it; for that see `ablate` and `activation_patching`.

    References
    ----------
    G. Alain, Y. Bengio, "Understanding intermediate layers using linear classifier
    probes", 2016, arXiv:1610.01644.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model, scene = wb.models.localizer(size=(12, 16)), wb.data.Scene(size=(12, 16))
    >>> readouts = probe(model, ["conv1", "row_profile"], scene, n=100)
    >>> readouts.r2.shape, readouts.units.tolist(), readouts.factors[:2]
    ((2, 9), [2560, 112], ('top', 'left'))
    """
    check_model(model)
    names = layer_names(layers)
    find_layers(model, names)
    if check_real("ridge", ridge, low=0) == 0:
        raise ValueError("`ridge` must be above 0; got 0. Use 1e-9 for next to none.")
    check_choice("features", features, FEATURES)
    check_int("max_features", max_features, low=1)
    check_int("folds", folds, low=2)
    scene = as_scene(scene)
    images, boxes, labels = distinct_images(scene, check_int("n", n, low=2 * folds), seed)
    if len(images) < 2 * folds:
        raise ValueError(
            f"`folds` must be at most {len(images) // 2}, half of the scene's {len(images)} "
            f"images; got {folds}."
        )
    truth, one_hot = factors_of(boxes, images.shape[1:3]), np.eye(len(scene.shapes))[labels]
    inputs, rows = beside(images, example), []
    check_int("batch_size", batch_size, low=1)
    for name in names:
        values, size = _features(model, inputs, name, features, max_features, seed, batch_size)
        check_answer(f"Readouts of layer {name!r}", values, model)
        readouts = _held_out(values, np.concatenate([truth, one_hot], axis=1), folds, ridge)
        scores = _scores(truth, readouts[:, : len(FACTORS)], folds)
        named = (readouts[:, len(FACTORS) :].argmax(1) == labels).mean()
        accuracy = named if len(scene.shapes) > 1 else np.nan
        rows.append((*scores, size, values.shape[1], accuracy))
    r2, fold_r2, units, used, accuracy = zip(*rows, strict=True)
    return Probe(
        layers=tuple(names),
        factors=FACTORS,
        r2=np.stack(r2),
        fold_r2=np.stack(fold_r2, axis=1),
        units=np.array(units),
        features=np.array(used),
        accuracy=np.array(accuracy),
    )


def _features(
    model: Model, inputs: Inputs, layer: str, kind: str, most: int, seed: int, batch_size: int
) -> tuple[Array, int]:
    """Return what a probe sees of a layer (n, features), and how many numbers the layer has.

    Units are drawn inside the pass, to save memory.
    """
    output = layer_output(model, inputs[:1].packed, layer, "layers")
    count = output[0].size if kind == "flatten" else output.shape[-1]
    generator = np.random.default_rng(seed)
    drawn = np.sort(generator.choice(count, most, replace=False)) if count > most else None

    def build(*tensors: Tensor) -> Tensor:
        passed = forward(model, inputs.pack(tensors), watch=[split_call(layer)[0]])
        values = tf.cast(passed.single_call(layer).output, tf.float32)
        if kind != "flatten":
            values = REDUCTIONS[kind](values, list(range(1, values.shape.rank - 1)))
        flat = tf.reshape(values, (-1, count))
        return flat if drawn is None else tf.gather(flat, drawn, axis=1)

    run = traced(model, ("features", layer, kind, most, seed), inputs, build)
    return run_in_batches(run, inputs, batch_size), output[0].size


def _held_out(features: Array, truth: Array, folds: int, ridge: float) -> Array:
    """Return what is read of each row (n, k) by a readout fitted on the other folds."""
    readouts, everything = np.empty_like(truth), np.arange(len(truth))
    for part in np.array_split(everything, folds):
        rest = np.setdiff1d(everything, part)
        readouts[part] = _ridge(features[rest], truth[rest], features[part], ridge)
    return readouts


def _scores(truth: Array, readouts: Array, folds: int) -> tuple[Array, Array]:
    """Return R2 over all rows (factors,) and within each fold (folds, factors)."""
    error, parts = truth - readouts, np.array_split(np.arange(len(truth)), folds)
    return _r2(error, truth), np.stack([_r2(error[part], truth[part]) for part in parts])


def _ridge(x: Array, y: Array, new: Array, ridge: float) -> Array:
    """Predict `new` (m, p) by ridge regression of y (n, k) on x (n, p), with intercept.

    In float64, by whichever of the two normal equations is smaller: p by p, or n by n.
    """
    mean_x, mean_y = x.mean(0, np.float64), y.mean(0)
    x, new = x - mean_x, new - mean_x
    wide = x.shape[1] > x.shape[0]
    gram = x @ x.T if wide else x.T @ x
    scale = np.trace(gram) / len(gram)
    if scale == 0:
        return np.broadcast_to(mean_y, (len(new), y.shape[1]))
    gram[np.diag_indices_from(gram)] += ridge * scale
    if wide:
        return new @ (x.T @ linalg.solve(gram, y - mean_y, assume_a="pos")) + mean_y
    return new @ linalg.solve(gram, x.T @ (y - mean_y), assume_a="pos") + mean_y


def _r2(error: Array, truth: Array) -> Array:
    spread = ((truth - truth.mean(0)) ** 2).sum(0)
    varies = np.ptp(truth, axis=0) > 0
    return np.where(varies, 1 - (error**2).sum(0) / np.where(varies, spread, 1.0), np.nan)
