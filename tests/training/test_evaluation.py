import re

import keras
import numpy as np
import pytest

import whitebox_loc as wb

SCENE = wb.data.Scene(size=(16, 20), heights=(2, 10), widths=(2, 12))


class Reader(keras.Model):
    """Reads the box from white pixels, then moves its bottom edge by `extra` pixels."""

    def __init__(self, extra=0.0):
        super().__init__()
        self.extra = extra

    def call(self, images):
        ops = keras.ops
        found = []
        for axis in (2, 1):
            lit = ops.max(images[..., 0], axis=axis)
            length = lit.shape[1]
            first = ops.cast(ops.argmax(lit, axis=1), "float32")
            last = length - ops.cast(ops.argmax(ops.flip(lit, axis=1), axis=1), "float32")
            moved = last + (self.extra if axis == 2 else 0.0)
            found.append((first / length, moved / length))
        (top, bottom), (left, right) = found
        return ops.stack([top, left, bottom, right], axis=-1)


def test_a_perfect_model():
    result = wb.training.evaluate(Reader(), SCENE, n=300, batch_size=64)
    assert result.exact_rate == 1
    assert result.n == 300
    np.testing.assert_allclose(result.predictions, result.batch.boxes, atol=16 * 6e-8 * 20)
    # A float32 fraction of 20 pixels is off by 20 * 6e-8 pixels, four edges on boxes of at least 2.
    assert result.min_iou >= 1 - 4 * 20 * 6e-8 / 2
    assert 0 <= result.pixel_error <= 20 * 6e-8
    # Cross entropy is quadratic at its minimum, so a fraction off by 6e-8 costs nothing, except
    # at 0 and 1, where its slope is 1: the excess is below that plus float64 rounding.
    assert -1e-12 < result.excess < 6e-8


def test_one_pixel_too_low_has_the_iou_of_the_closed_form():
    result = wb.training.evaluate(Reader(extra=1.0), SCENE, n=200)
    height = result.batch.boxes[:, 2] - result.batch.boxes[:, 0]
    np.testing.assert_allclose(result.ious, height / (height + 1), rtol=1e-5)
    assert result.min_iou == result.ious.min()
    np.testing.assert_allclose(result.pixel_error, 0.25, rtol=1e-5)
    assert result.exact_rate == 0


def test_half_a_pixel_is_not_exact_but_less_is():
    assert wb.training.evaluate(Reader(extra=0.49), SCENE, n=50).exact_rate == 1
    assert wb.training.evaluate(Reader(extra=0.51), SCENE, n=50).exact_rate == 0


def test_held_out_images_are_not_those_of_training():
    held_out = wb.data.generate("uniform", 64, seed=0)
    trained = wb.data.batch_at("uniform", 0, batch_size=64, seed=0)
    # Two independent draws of 64 from 25 million boxes share one with probability 2e-4.
    shared = (held_out.boxes[:, None] == trained.boxes[None]).all(axis=-1)
    assert not shared.any()


def test_uint8_images_are_the_same_images():
    model = wb.models.localizer(size=(16, 20), head="dense", filters=(2,))
    floats, bytes_ = (
        wb.data.generate(SCENE, 5, seed=0, dtype=d).images for d in ("float32", "uint8")
    )
    np.testing.assert_array_equal(
        wb.training.predict(model, bytes_), wb.training.predict(model, floats)
    )
    with pytest.raises(TypeError, match=r"`images` must be floats in \[0, 1\] or uint8"):
        wb.training.predict(model, bytes_.astype(int))


def test_notebook_is_evaluated_on_boxes_only():
    result = wb.training.evaluate(Reader(), "notebook", n=400)
    assert result.batch.valid.all()
    assert result.exact_rate == 1


def test_batch_size_changes_nothing():
    model = wb.models.localizer(size=(16, 20), filters=(2,))
    a = wb.training.evaluate(model, SCENE, n=50, batch_size=50)
    b = wb.training.evaluate(model, SCENE, n=50, batch_size=7)
    # Equal images in batches of another size: float32 sums of another order.
    np.testing.assert_allclose(a.predictions, b.predictions, atol=20 * 1e-6)


def test_nan_predictions_are_an_error():
    model = wb.models.localizer(size=(16, 20), filters=(2,))
    model.set_weights([w * np.nan for w in model.get_weights()])
    with pytest.raises(ValueError, match="must predict finite boxes; 10 of 10 predictions"):
        wb.training.evaluate(model, SCENE, n=10)


@pytest.mark.parametrize(("by", "first"), [("size", "height"), ("position", "center_y")])
def test_breakdown_agrees_with_a_loop(by, first):
    result = wb.training.evaluate(Reader(extra=1.0), SCENE, n=300)
    table = wb.training.breakdown(result, by, bins=4)
    top, left, bottom, right = result.batch.boxes.T
    rows, columns = {
        "size": (bottom - top, right - left),
        "position": ((top + bottom) / 2, (left + right) / 2),
    }[by]
    assert table.names[0] == first
    for i in range(4):
        for j in range(4):
            inside = (rows >= 4 * i) & (rows < 4 * (i + 1)) & (columns >= 5 * j)
            inside &= columns < 5 * (j + 1)
            assert table.counts[i, j] == inside.sum()
            if inside.any():
                np.testing.assert_allclose(table.mean_iou[i, j], result.ious[inside].mean())
            else:
                assert np.isnan(table.mean_iou[i, j])


def test_what_finds_several_boxes_is_sent_to_its_own_functions():
    scene = wb.data.Scene(size=(16, 16))
    detector, multi = wb.models.detector((16, 16), filters=(2,)), wb.data.MultiScene(scene)
    message = "`model` must find one box an image here; it returns candidates of several "
    for function in (wb.training.fit, wb.training.evaluate):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            function(detector, scene)
    localizer = wb.models.localizer((16, 16))
    message = "`scene` must draw one box an image here; got a MultiScene, "
    for function in (wb.training.fit, wb.training.evaluate, wb.introspect.tuning):
        arguments = ("conv1", multi) if function is wb.introspect.tuning else (multi,)
        with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
            function(localizer, *arguments)
