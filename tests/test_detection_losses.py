import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from whitebox_loc.detection_losses import center_loss, center_targets, heat_map_loss

SIZE, STRIDE, GRID = (18, 13), 4, (5, 4)
CELLS = np.array(SIZE) / STRIDE


def some_boxes(seed, n=3, k=4, classes=3):
    """Boxes anywhere in the image, empty and colliding ones too, and padding."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.integers([19, 14], size=(n, k, 2, 2)), axis=2)
    labels = rng.integers(-1, classes, size=(n, k))
    boxes = corners.reshape(n, k, 4) / np.array([*SIZE, *SIZE])
    return np.where(labels[..., None] >= 0, boxes, 0).astype("float32"), labels


def slow_targets(boxes, labels, classes):
    """One cell and one box at a time, in float64."""
    n = len(boxes)
    heat, weight = np.zeros((n, *GRID, classes)), np.zeros((n, *GRID))
    size, offset = np.zeros((n, *GRID, 2)), np.full((n, *GRID, 2), np.nan)
    for i in range(n):
        for y in range(GRID[0]):
            for x in range(GRID[1]):
                best = 0.0
                for box, label in zip(boxes[i].astype("float64"), labels[i], strict=True):
                    if label < 0:
                        continue
                    side, middle = box[2:] - box[:2], (box[:2] + box[2:]) / 2 * CELLS
                    # Boxes lie on whole pixels; their fractions are rounded to float32.
                    home = np.minimum(np.floor(middle + 1e-6), np.array(GRID) - 1)
                    spread = np.maximum(0.09 * side * CELLS, 0.01)
                    peak = np.exp(-0.5 * (((np.array([y, x]) - home) / spread) ** 2).sum())
                    kind = label if classes > 1 else 0
                    heat[i, y, x, kind] = max(heat[i, y, x, kind], peak)
                    if peak > best:
                        best, size[i, y, x], offset[i, y, x] = peak, side, middle - [y, x]
                weight[i, y, x] = best if best > 0.05 else 0
    return heat, weight, size, offset


@given(st.integers(0, 2**32), st.sampled_from([1, 3]))
@settings(max_examples=30)
def test_targets_match_a_slow_rewrite(seed, classes):
    boxes, labels = some_boxes(seed)
    found = center_targets(boxes, labels, GRID, STRIDE, SIZE, classes)
    heat, weight, size, offset = slow_targets(boxes, labels, classes)
    # float32: the exponent, of up to a few hundred where the peak is 0 anyway, has a relative
    # error of some 1e-6, and peaks above 1e-6 have exponents below 14.
    np.testing.assert_allclose(found.heat, heat, atol=2e-5)
    np.testing.assert_allclose(found.weight, weight, atol=2e-5)
    asked = weight > 0
    # Where two peaks are equally high it is open which box owns the cell.
    rivals = np.sort(np.stack([slow_targets(boxes[:, [j]], labels[:, [j]], 1)[0][..., 0]
                               for j in range(4)]), axis=0)  # fmt: skip
    asked &= rivals[-1] - rivals[-2] > 1e-4
    np.testing.assert_allclose(found.size.numpy()[asked], size[asked], atol=1e-6)
    np.testing.assert_allclose(found.offset.numpy()[asked], offset[asked], atol=1e-5)
    assert float(found.count) == (labels >= 0).sum()
    np.testing.assert_allclose(found.cells, CELLS)


def slow_heat_map_loss(heat, count, logits):
    total = 0.0
    for y, scores in zip(
        heat.reshape(-1, heat.shape[-1]), logits.reshape(-1, heat.shape[-1]), strict=True
    ):
        shares = np.exp(scores) / (1 + np.exp(scores).sum())
        for target, p in zip(y, shares, strict=True):
            if target == 1:
                total -= (1 - p) ** 2 * np.log(p)
            else:
                total -= (1 - target) ** 4 * p**2 * np.log(1 - p)
    return total / max(count, 1)


def slow_center_loss(targets, logits, offset):
    weight, size, true = (np.asarray(part, "float64") for part in targets[1:4])
    wrong_size = wrong_place = 0.0
    for cell in np.argwhere(weight > 0):
        cell = tuple(cell)
        said = 1 / (1 + np.exp(-logits[cell]))
        side = np.maximum(size[cell], 1e-6)
        wrong_size += weight[cell] * np.abs(np.log(said) - np.log(side)).sum()
        wrong_place += weight[cell] * (np.abs(offset[cell] - true[cell]) / (side * CELLS)).sum()
    total = max(weight.sum(), 1e-6)
    return wrong_size / total, wrong_place / total


@given(st.integers(0, 2**32), st.sampled_from([1, 3]))
@settings(max_examples=30)
def test_losses_match_slow_rewrites(seed, classes):
    boxes, labels = some_boxes(seed)
    targets = center_targets(boxes, labels, GRID, STRIDE, SIZE, classes)
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (3, *GRID, classes)).astype("float32")
    expected = slow_heat_map_loss(
        targets.heat.numpy().astype("float64"), (labels >= 0).sum(), logits.astype("float64")
    )
    # Sums of up to 180 float32 terms, each of a relative error of some 1e-6.
    np.testing.assert_allclose(heat_map_loss(targets, logits), expected, rtol=2e-5)
    sizes, offset = rng.normal(0, 3, (2, 3, *GRID, 2)).astype("float32")
    found = center_loss(targets, sizes, offset)
    slow = slow_center_loss(targets, sizes.astype("float64"), offset.astype("float64"))
    np.testing.assert_allclose(found, slow, rtol=2e-5)


def test_a_perfect_network_costs_nothing():
    boxes, labels = some_boxes(2, n=1, k=1, classes=1)
    labels = np.maximum(labels, 0)
    boxes[:] = np.float32([2 / 18, 1 / 13, 12 / 18, 9 / 13])
    targets = center_targets(boxes, labels, GRID, STRIDE, SIZE)
    said = tf.where(targets.heat >= 1, 30.0, -30.0)
    assert float(heat_map_loss(targets, said)) < 1e-12
    logits = tf.math.log(targets.size / (1 - targets.size))
    of_size, of_place = center_loss(targets, logits, targets.offset)
    assert float(of_size) < 1e-5  # a logarithm of a float32 share, twice
    assert float(of_place) == 0


@pytest.mark.parametrize("level", [0.0, 1e4, -1e4, 1e30, -1e30])
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("kind", ["some", "none", "empty", "whole"])
def test_losses_and_gradients_are_finite(level, classes, kind):
    boxes, labels = some_boxes(0)
    if kind == "none":
        boxes, labels = np.zeros_like(boxes), np.full_like(labels, -1)
    if kind == "empty":
        boxes, labels = np.ones_like(boxes), np.zeros_like(labels)
    if kind == "whole":
        boxes, labels = np.tile(np.float32([0, 0, 1, 1]), (3, 4, 1)), np.zeros_like(labels)
    targets = center_targets(boxes, labels, GRID, STRIDE, SIZE, classes)
    heat = tf.fill((3, *GRID, classes), np.float32(level))
    # The places are divided by sides of as little as 1e-6, so they cannot be as far off.
    sizes = tf.fill((3, *GRID, 2), np.float32(level))
    offset = tf.fill((3, *GRID, 2), np.float32(np.sign(level) * min(abs(level), 1e25)))
    with tf.GradientTape() as tape:
        tape.watch([heat, sizes, offset])
        loss = heat_map_loss(targets, heat) + sum(center_loss(targets, sizes, offset))
    assert np.isfinite(loss)
    for gradient in tape.gradient(loss, [heat, sizes, offset]):
        assert np.isfinite(gradient).all()


def test_a_box_at_the_far_border_has_its_centre_in_the_last_cell():
    targets = center_targets([[[1.0, 1.0, 1.0, 1.0]]], [[0]], (4, 4), 2, (8, 8))
    assert np.argwhere(targets.heat.numpy()[0, ..., 0] == 1).tolist() == [[3, 3]]
