"""The best linear localizer: its closed form against least squares over all boxes."""

import numpy as np
import pytest

import whitebox_loc as wb


@pytest.mark.parametrize("size", [(5, 7), (6, 6), (2, 3), (1, 4)], ids=str)
def test_closed_form_is_the_least_squares_solution(size):
    scene = wb.data.Scene(size=size)
    boxes = wb.data.nth_boxes(scene, range(wb.data.count_boxes(scene)))
    pixels = wb.data.render(boxes, scene).reshape(len(boxes), -1).astype("float64")
    design = np.concatenate([pixels, np.ones((len(boxes), 1))], axis=1)
    # With as many independent images as unknowns the solution is the only one; a canvas of
    # one row has too few boxes only where a row's edges are constant, and then 0 is smallest.
    solution, _, rank, _ = np.linalg.lstsq(design, boxes.astype("float64"), rcond=None)
    assert rank == design.shape[1]
    kernel, bias = wb.models.compiled("dense_linear", size).get_layer("corners").get_weights()
    # float32 weights of size at most about the canvas.
    np.testing.assert_allclose(kernel, solution[:-1], rtol=0, atol=1e-5)
    np.testing.assert_allclose(bias, solution[-1], rtol=0, atol=1e-5)


def test_weights_are_lines():
    kernel = wb.models.compiled("dense_linear", (20, 30)).get_layer("corners").get_weights()[0]
    top, left = (kernel[:, i].reshape(20, 30).astype("float64") for i in (0, 1))
    np.testing.assert_array_equal(top, np.broadcast_to(top[:, :1], top.shape))
    np.testing.assert_array_equal(left, np.broadcast_to(left[:1], left.shape))
    # Second differences of float32 numbers below 0.1.
    np.testing.assert_allclose(np.diff(top[:, 0], 2), 0, atol=1e-7)
    np.testing.assert_allclose(np.diff(left[0], 2), 0, atol=1e-7)


def test_it_is_better_than_a_constant_and_not_exact():
    batch = wb.data.generate(wb.data.Scene(), 500, seed=0)
    found = wb.models.compiled("dense_linear")(batch.images).numpy() * 100
    error = np.square(found - batch.boxes).mean()
    assert 25 < error < np.square(batch.boxes - batch.boxes.mean(0)).mean()


def test_a_pixel_without_weight_is_not_used():
    # Where the line crosses 0 on a row: for 3 x 3 pixels it does so nowhere, for others it may.
    for size in [(3, 3), (9, 5), (1, 4)]:
        model = wb.models.compiled("dense_linear", size)
        kernel = model.get_layer("corners").get_weights()[0].T.reshape(4, 1, *size)
        used = wb.models.mechanism(model).used(np.zeros((1, *size, 1), "float32"))
        np.testing.assert_array_equal(used, np.abs(kernel) > 1e-9)
