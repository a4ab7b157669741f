"""Stress tests of models whose errors are known: perfect, displaced, blind to a change."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from scipy.stats import binomtest

from whitebox_loc.data import SHAPES, Scene, as_scene
from whitebox_loc.training import evaluate
from whitebox_loc.training.shifts import SHIFTS, Shift
from whitebox_loc.training.stress_tests import (
    COORDINATES,
    Curve,
    _kind,
    _point,
    _wilson,
    stress,
)

SCENE = Scene(size=(24, 32), heights=(2, None), widths=(2, None))


class Reader(keras.Model):
    """Reads the box of what is brighter than a threshold, then moves its edges.

    Each edge is moved by `moves` pixels in images that are brighter than `above` in the first
    corner, which only a shift of the background makes so.
    """

    def __init__(self, threshold=0.5, moves=(0.0, 0.0, 0.0, 0.0), above=-1.0):
        super().__init__(name="reader")
        self.threshold, self.moves, self.above = threshold, moves, above

    def call(self, images):
        ops = keras.ops
        lit = ops.cast(images[..., 0] > self.threshold, "float32")
        ends = []
        for axis in (2, 1):
            line = ops.max(lit, axis=axis)
            length = line.shape[1]
            first = ops.cast(ops.argmax(line, axis=1), "float32")
            ends.append((first, length - ops.cast(ops.argmax(line[:, ::-1], axis=1), "float32")))
        (top, bottom), (left, right) = ends
        boxes = ops.stack([top, left, bottom, right], axis=-1)
        moved = ops.cast(images[:, :1, 0, 0] > self.above, "float32")
        boxes += moved * np.array(self.moves, "float32")
        return boxes / np.array([24, 32, 24, 32], "float32")


#: Where every pixel of the shape is above the threshold and nothing else is; a triangle's or a
#: diamond's box is its bounding box too.
EXACT = ["quadrant", "larger", "smaller", "wide", "tall", "occlusion", "cut", "distractors",
         "shapes"]  # fmt: skip


def test_a_perfect_model_bears_everything_that_it_reads():
    found = stress(Reader(), [*EXACT, "noise"], SCENE, n=60)
    for name in EXACT:
        curve = found.curves[name]
        assert (curve.exact_rate == 1).all()
        # A float32 fraction of 32 pixels is off by 32 * 6e-8 pixels on sides of at least 1.
        np.testing.assert_allclose(curve.mean_iou, 1, rtol=0, atol=4 * 32 * 6e-8)
        assert (curve.wrong == 0).all()
    # Noise of 0.2 lifts some of 768 pixels, 2.5 deviations below, above the threshold.
    assert found.curves["noise"].mean_iou[-1] < 0.95
    assert found.order() == ["noise"]


def test_grey_breaks_the_reader_where_the_background_passes_its_threshold():
    curve = stress(Reader(threshold=0.4), ["grey"], SCENE, n=40).curves["grey"]
    whole = stress(Reader(threshold=-1), ["grey"], SCENE, n=40).curves["grey"]
    below = curve.severities < 0.4
    assert (curve.exact_rate[below] == 1).all()
    # Beyond, all of the image is lit and the whole canvas is read as the box.
    np.testing.assert_array_equal(curve.mean_iou[~below], whole.mean_iou[~below])
    assert curve.breaks_at(0.95) == int(np.argmin(below))


def test_moved_edges_have_the_bias_that_was_put_in():
    moves = (-2.0, 0.0, 3.0, 1.0)
    found = stress(Reader(moves=moves, above=0.05), ["grey"], SCENE, n=50)
    curve = found.curves["grey"]
    np.testing.assert_allclose(curve.error[0], 0, atol=32 * 6e-8)  # a float32 fraction
    shifted = slice(1, 3)  # grey of 0.1 and 0.25: above 0.05, below the threshold
    # But where the shape covers the first corner of the canvas, edges move in any case.
    plain = evaluate(Reader(), SCENE, n=50)
    covered = ((plain.batch.boxes[:, :2] == 0).all(axis=1)).mean()
    assert covered == 0
    for i in range(*shifted.indices(5)):
        np.testing.assert_allclose(curve.bias[i], moves, atol=1e-5)
        np.testing.assert_allclose(curve.error[i], np.abs(moves), atol=1e-5)
        np.testing.assert_allclose(curve.spread[i], 0, atol=1e-5)
        assert curve.wrong[i].tolist() == [1, 0, 1, 1]
        assert curve.worst(i) == ["bottom"]
    text = found.verdict()
    assert "Worst: bottom, off by 3.0 px, wrong in 100%: it is moved (bias 3.0 px outwards" in text


def test_scores_are_those_of_evaluate():
    model = Reader(threshold=0.2, moves=(0.3, 0.0, 0.0, -1.0))
    curve = stress(model, ["blur"], SCENE, n=30, seed=5).curves["blur"]
    for i, severity in enumerate(curve.severities):
        result = evaluate(model, SHIFTS["blur"].scene(SCENE, severity), n=30, seed=5)
        assert curve.mean_iou[i] == result.mean_iou
        assert curve.exact_rate[i] == result.exact_rate
        np.testing.assert_allclose(curve.pixel_error[i], result.pixel_error, rtol=1e-12)
        signed = result.predictions - result.batch.boxes
        mean_square = (signed**2).mean(axis=0)
        np.testing.assert_allclose(curve.bias[i] ** 2 + curve.spread[i] ** 2, mean_square)
        np.testing.assert_allclose(curve.error[i].mean(), curve.pixel_error[i])


@pytest.mark.parametrize("n", [1, 7, 200])
@pytest.mark.parametrize("share", [0, 0.3, 1])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_wilson_agrees_with_scipy(n, share, confidence):
    hits = round(share * n)
    expected = binomtest(hits, n).proportion_ci(confidence, "wilson")
    np.testing.assert_allclose(_wilson(hits, n, confidence), tuple(expected), atol=1e-12)


def test_percentile_intervals_have_the_width_of_normal_theory():
    # Means of 400 images are normal to a percent. Percentiles of 4000 draws at 5% and 95% have a
    # deviation of sqrt(.05 * .95 / 4000) / .103 = 0.033 standard errors each: two of them, five
    # deviations, are 0.24 of a width of 3.29.
    model = Reader(moves=(0.0, 0.0, 4.0, 0.0), above=-1)
    options = {"n": 400, "seed": 2, "confidence": 0.9, "resamples": 4000}
    curve = stress(model, {"none": NONE}, SCENE, **options).curves["none"]
    result = evaluate(model, SCENE, n=400, seed=2)
    low, high = (curve.iou_interval[0] - result.mean_iou) / (result.ious.std() / 400**0.5)
    assert abs(high - low - 2 * 1.645) < 0.24
    assert abs(high + low) < 0.24
    np.testing.assert_allclose(curve.pixel_interval[0], 1, rtol=1e-5)  # 4 pixels of one edge in 4
    np.testing.assert_allclose(curve.error_interval[0][2], 4, rtol=1e-5)


def test_a_model_is_broken_where_the_whole_interval_is_below():
    curve = stress(Reader(), {"none": NONE}, SCENE, n=10).curves["none"]
    near = dataclasses.replace(
        curve, iou_interval=np.array([[0.97, 0.99], [0.94, 0.96], [0.9, 0.94], [0.96, 0.99]])
    )
    assert near.breaks_at(0.95) == 2
    assert near.breaks_at(0.98) == 1
    assert near.breaks_at(0.9) is None


NONE = Shift("none", lambda scene, severity: scene, (0, 1), 1, "nothing", "changes nothing")


def test_equal_scenes_are_measured_once_and_equally():
    seen = []

    class Counting(Reader):
        def call(self, images):
            seen.append(len(images))
            return super().call(images)

    found = stress(Counting(), {"none": NONE, "again": NONE}, SCENE, n=20)
    assert sum(seen) == 20
    curve = found.curves["none"]
    np.testing.assert_array_equal(curve.iou_interval[0], curve.iou_interval[1])


def test_the_same_seed_gives_the_same_numbers():
    first, again, other = (
        stress(Reader(), ["noise"], SCENE, n=30, seed=seed).rows() for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other
    assert [row["severity"] for row in first] == list(SHIFTS["noise"].severities)
    assert {f"{c}_error" for c in COORDINATES} < set(first[0])
    for row in first:
        assert row["mean_iou_low"] <= row["mean_iou"] <= row["mean_iou_high"]


def test_the_verdict_names_what_holds_and_orders_what_breaks():
    found = stress(Reader(threshold=0.4), ["cut", "contrast", "grey"], SCENE, n=60)
    # Contrast is lost beyond 60%: at 0.75, 1.5 times the moderate 0.5. Grey passes 0.4 at 0.5,
    # twice the moderate 0.25.
    assert found.order() == ["contrast", "grey"]
    lines = found.verdict().splitlines()
    assert lines[0] == "Stress test of 'reader': 60 images a point, 95% intervals."
    assert "exact 100.0%" in lines[1]
    assert lines[4] == "Never broken: cut."
    assert lines[6].startswith("- contrast 0.75 of 0.5 (share of contrast lost): IoU 0.")
    assert lines[7].startswith("- grey 0.5 of 0.25 (way to the shape's brightness): IoU 0.")
    assert found.moderate()["grey"] == found.curves["grey"].mean_iou[2]


def test_a_model_that_is_bad_anyway_is_not_blamed_on_shifts():
    text = stress(Reader(threshold=2), ["cut"], SCENE, n=30).verdict()
    assert text.endswith("The model is below it without any shift: train it first.")


LIMITED = Scene(size=(24, 32), foreground=(0.5, 1.0), background=(0.0, 0.3), position="border",
                shapes=tuple(SHAPES), heights=(6, None), widths=(6, None))  # fmt: skip


def test_what_a_scene_does_not_allow_is_left_out_and_named():
    possible = {}
    for name, shift in SHIFTS.items():
        for severity in shift.severities:
            try:
                possible.setdefault(name, []).append((severity, shift.scene(LIMITED, severity))[0])
            except ValueError:
                continue
    found = stress(Reader(), None, LIMITED, n=4)
    assert "shapes" not in found.curves
    assert found.impossible["shapes"] == (1,)
    for name, severities in possible.items():
        if len(severities) > 1:
            assert found.curves[name].severities.tolist() == severities
            missing = set(SHIFTS[name].severities) - set(severities)
            assert set(found.impossible.get(name, ())) == missing
    assert len(found.verdict().split("Not possible for this scene: ")) == 2
    assert "shapes 1" in found.verdict()
    assert set(found.moderate()) == {
        name for name, severities in possible.items() if SHIFTS[name].moderate in severities
    }


@pytest.mark.parametrize("name", ["augmented", "shapes", "border", "notebook"])
def test_default_shifts_take_every_named_scene(name):
    scene = as_scene(name, size=(24, 32))
    found = stress(Reader(), None, scene, n=2, resamples=2)
    assert set(found.curves) | set(found.impossible) == set(SHIFTS)


def test_a_named_shift_must_be_possible_and_is_refused_before_any_work():
    seen = []

    class Counting(Reader):
        def call(self, images):
            seen.append(len(images))
            return super().call(images)

    with pytest.raises(ValueError, match=r"^Shift 'shapes' of severity 1 .* is not possible"):
        stress(Counting(), ["noise", "shapes"], "shapes", n=2)
    assert not seen


def test_the_verdict_uses_the_key_of_a_shift_of_ones_own():
    text = stress(Reader(threshold=0.4), {"fog": SHIFTS["grey"]}, SCENE, n=20).verdict()
    assert "\n- fog 0.5 of 0.25" in text
    assert "surely" not in text


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([0, 0, 0, 1, -1, 0, 0, 0], "off by about a pixel"),  # wrong in a quarter, by one pixel
        ([0, 0, 0, 0, 0, 0, 0, 9], "jumps in some images"),
        ([0] * 999 + [9], "jumps in some images"),  # rare: the spread is 0.28
        ([5, -5, 6, -6, 1, -1, 2, -2], "scattered"),
        ([1, 1, 1, 1, 0, 1, 1, 1], "moved"),
        ([4, 3, 4, 3, 4, 3, 4, 3], "moved"),
    ],
)
def test_how_a_coordinate_goes(errors, kind):
    boxes = np.tile([4.0, 5.0, 14.0, 20.0], (len(errors), 1))
    found = boxes + np.outer(errors, [1, 0, 0, 0])
    result = SimpleNamespace(
        predictions=found, batch=SimpleNamespace(boxes=boxes), ious=np.full(len(errors), 0.5)
    )
    point = _point(result, 0.95, 1, 0)
    curve = Curve(NONE, np.zeros(1), **{key: np.stack([value]) for key, value in point.items()})
    wrong = np.abs([e for e in errors if e])
    np.testing.assert_allclose(curve.wrong_by[0], [wrong.mean(), 0, 0, 0])
    assert _kind(curve, 0, 0).startswith(f"it is {kind}" if kind[0] != "j" else f"it {kind}")


def test_worst_lists_what_cannot_be_told_apart():
    curve = stress(Reader(), {"none": NONE}, SCENE, n=10).curves["none"]
    error = np.array([[1.0, 4.0, 3.5, 0.5]] * 2)
    interval = np.stack([error - 0.4, error + 0.4], axis=-1)
    near = dataclasses.replace(curve, error=error, error_interval=interval)
    assert near.worst(0) == ["left", "bottom"]
    assert dataclasses.replace(near, error_interval=np.stack([error, error], -1)).worst(0) == [
        "left"
    ]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"n": 1}, ValueError, "`n` must be a whole number >= 2; got 1"),
        ({"shifts": []}, ValueError, "`shifts` must name at least one shift; got none"),
        ({"shifts": "blurr"}, ValueError, r"Did you mean 'blur'\?"),
        ({"confidence": 95}, ValueError, "`confidence` must be .*between 0 and 1; got 95"),
        ({"confidence": 0}, ValueError, "`confidence` must be above 0 and below 1; got 0"),
        ({"confidence": 1}, ValueError, "`confidence` must be above 0 and below 1; got 1"),
        (
            {"resamples": 0},
            ValueError,
            "`resamples` must be a whole number between 1 and 100000; got 0",
        ),
        ({"seed": -1}, ValueError, "`seed` must be a whole number >= 0; got -1"),
    ],
)
def test_errors(options, error, text):
    with pytest.raises(error, match=text):
        stress(Reader(), **({"shifts": ["blur"], "scene": SCENE, "n": 5} | options))
