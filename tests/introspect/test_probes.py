import keras
import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc.introspect import activations, probe, tuning
from whitebox_loc.introspect.units.probes import FACTORS

L = keras.layers
SIZE = (8, 10)
SCENE = wb.data.Scene(size=SIZE)


def sums():
    """A layer that holds the box's area and centre of mass times area, linearly in pixels."""
    image = keras.Input((*SIZE, 1), name="image")
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    kernel = np.stack([np.ones(SIZE), rows, columns], -1).reshape(-1, 3) / 80
    model = keras.Model(image, L.Dense(3, use_bias=False, name="sums")(L.Flatten()(image)))
    model.set_weights([kernel])
    return model


class Truth(L.Layer):
    """Reads the box off an image without noise, exactly: a layer that holds the answer."""

    def call(self, x):
        lit = keras.ops.cast(x[..., 0] > 0.5, "float32")
        found = []
        for axis, size in ((2, SIZE[0]), (1, SIZE[1])):
            on = keras.ops.max(lit, axis=axis)
            place = keras.ops.arange(size, dtype="float32")
            found.append(keras.ops.min(keras.ops.where(on > 0, place, 99.0), axis=1))
            found.append(keras.ops.max(keras.ops.where(on > 0, place + 1, -1.0), axis=1))
        top, bottom, left, right = found
        return keras.ops.stack([top, left, bottom, right], axis=1)


def knowing():
    image = keras.Input((*SIZE, 2))
    truth = Truth(name="truth")(image[..., :1])
    # Both channels show the same box and differ by noise alone, at four pixels.
    noise = L.Flatten(name="noise")(image[:, 2:4, 3:5, :1] - image[:, 2:4, 3:5, 1:])
    return keras.Model(image, L.Concatenate(name="both")([truth, noise]))


def test_a_layer_that_holds_the_box_is_read_perfectly():
    # 0.05 of noise never carries a pixel across the threshold of 0.5.
    scene = wb.data.Scene(size=SIZE, channels=2, noise=0.05)
    found = probe(knowing(), ["truth", "noise", "both"], scene, n=400, ridge=1e-9)
    assert found.factors == FACTORS
    linear = [FACTORS.index(f) for f in FACTORS if f != "area"]
    # Whole numbers of pixels are exact; the penalty of 1e-9 shrinks by as much.
    np.testing.assert_allclose(found.r2[[0, 2]][:, linear], 1, atol=1e-7)
    np.testing.assert_allclose(found.fold_r2[:, 0, linear], 1, atol=1e-7)
    # Area is a product, not a sum.
    assert 0.5 < found.r2[0, FACTORS.index("area")] < 0.99
    # Four useless features fitted on 320 images cost 4 / 320 of R2, give or take
    # sqrt(2 * 4) / 320 of luck; nine correlated factors get four times that.
    assert (found.r2[1] < 0.025).all()
    assert (found.r2[1] > -0.05).all()


def slow_r2(features, wanted, folds, ridge):
    """Ridge regression by an explicit system with the intercept in it, one factor at a time."""
    n, p = features.shape
    predicted = np.empty_like(wanted)
    parts = np.array_split(np.arange(n), folds)
    for part in parts:
        rest = [i for i in range(n) if i not in set(part.tolist())]
        x = features[rest].astype("float64")
        centred = x - x.mean(0)
        penalty = ridge * (centred**2).sum() / min(len(rest), p)
        design = np.hstack([x, np.ones((len(rest), 1))])
        lift = np.diag([penalty] * p + [0.0])
        for factor in range(wanted.shape[1]):
            solution = np.linalg.solve(design.T @ design + lift, design.T @ wanted[rest, factor])
            predicted[part, factor] = features[part] @ solution[:-1] + solution[-1]
    error = ((wanted - predicted) ** 2).sum(0)
    per_fold = [
        1 - ((wanted[q] - predicted[q]) ** 2).sum(0) / ((wanted[q] - wanted[q].mean(0)) ** 2).sum(0)
        for q in parts
    ]
    return 1 - error / ((wanted - wanted.mean(0)) ** 2).sum(0), per_fold


@pytest.mark.parametrize("n", [40, 300])  # fewer and more images than the 80 features
def test_readout_equals_the_normal_equations(n):
    from whitebox_loc.introspect.units.probes import _held_out, _scores

    rng = np.random.default_rng(0)
    features = rng.normal(size=(n, 80)).astype("float32")
    wanted = features[:, :3] @ rng.normal(size=(3, 2)) + rng.normal(size=(n, 2))
    for ridge in (1e-3, 1.0):
        r2, fold_r2 = _scores(wanted, _held_out(features, wanted, 5, ridge), 5)
        expected, per_fold = slow_r2(features, wanted, 5, ridge)
        # The penalty bounds the condition by 80 / 1e-3: 1e5 * 1e-16 and some.
        np.testing.assert_allclose(r2, expected, atol=1e-9)
        np.testing.assert_allclose(fold_r2, per_fold, atol=1e-9)


def test_features_are_what_the_layer_says():
    model = wb.models.localizer(size=SIZE)
    options = {"n": 120, "folds": 3, "seed": 4}
    flat = probe(model, "conv1", SCENE, **options)
    assert flat.units.tolist() == flat.features.tolist() == [12 * 14 * 8]
    drawn = probe(model, ["conv1", "box"], SCENE, max_features=50, **options)
    assert drawn.features.tolist() == [50, 4]
    assert drawn.units.tolist() == [1344, 4]
    for kind in ("mean", "max"):
        pooled = probe(model, "conv1", SCENE, features=kind, **options)
        assert pooled.features.tolist() == [8]
        copy = keras.Model(
            model.inputs[0],
            getattr(keras.ops, kind)(model.get_layer("conv1").output, axis=(1, 2)),
        )
        outside = keras.Model(model.inputs[0], L.Identity(name="pooled")(copy(model.inputs[0])))
        expected = probe(outside, "pooled", SCENE, **options)
        # Another order of sums of 168 float32 numbers, 1e-6, in regressions of condition 1e3.
        np.testing.assert_allclose(pooled.r2, expected.r2, atol=1e-3)
    again = probe(model, ["conv1", "box"], SCENE, max_features=50, batch_size=32, **options)
    np.testing.assert_allclose(again.r2, drawn.r2, atol=1e-3)


def test_a_scene_is_never_drawn_twice():
    tiny = wb.data.Scene(size=(3, 3))
    found = probe(sums_of((3, 3)), "pixels", tiny, n=500, folds=4)
    # 36 boxes fit; one box in two folds would be known by heart: 9 pixels cannot.
    assert found.fold_r2.shape == (4, 1, 9)
    counts = tuning(sums_of((3, 3)), "pixels", tiny, n=500, bins=3).counts
    np.testing.assert_array_equal(counts.sum(1), 36)
    # Tops of the 36 boxes: 3 heights at row 0, 2 at row 1, 1 at row 2, each with 6 widths.
    np.testing.assert_array_equal(counts[0], [18, 12, 6])
    with pytest.raises(ValueError, match="`folds` must be at most 18, half of the scene's 36"):
        probe(sums_of((3, 3)), "pixels", tiny, n=500, folds=20)


def sums_of(size):
    image = keras.Input((*size, 1))
    return keras.Model(image, L.Flatten(name="pixels")(image))


def test_a_factor_that_never_varies_has_no_r2():
    scene = wb.data.Scene(size=SIZE, heights=(3, 3))
    found = probe(sums_of(SIZE), "pixels", scene, n=100)
    assert np.isnan(found.r2[0, FACTORS.index("height")])
    assert np.isfinite(found.r2[0, FACTORS.index("top")])


@pytest.mark.parametrize("scene", ["plain", "notebook"])
def test_tuning_equals_a_direct_loop(scene):
    size = (20, 24)
    scene = wb.data.Scene(size=size, position="notebook" if scene == "notebook" else "anywhere")
    model = wb.models.localizer(size=size)
    factors = ("bottom", "width", "center_x", "area")
    found = tuning(model, "conv2", scene, factors=factors, bins=5, n=150, reduce="max", seed=3)
    assert found.edges.tolist() == [np.linspace(0, top, 6).tolist() for top in (20, 24, 24, 480)]

    # The images again, by way of the boxes of the counts: found through the same seed.
    from whitebox_loc.introspect.units.factors import distinct_images

    images, boxes, _ = distinct_images(scene, 150, 3)
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    lit = images[..., 0] > 0
    np.testing.assert_array_equal(
        lit.sum((1, 2)), (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    )
    responses = activations(model, images, "conv2")["conv2"].max((1, 2)).astype("float64")
    for row, factor in enumerate(factors):
        for b in range(5):
            inside = []
            for i, (top, left, bottom, right) in enumerate(boxes):
                value = {
                    "bottom": bottom,
                    "width": right - left,
                    "center_x": (left + right) / 2,
                    "area": (bottom - top) * (right - left),
                }[factor]
                low, high = found.edges[row, b : b + 2]
                if low <= value < high or (b == 4 and value == high):
                    inside.append(responses[i])
            assert found.counts[row, b] == len(inside)
            if inside:
                # Two float64 means of equal float32 numbers.
                np.testing.assert_allclose(found.mean[row, b], np.mean(inside, 0), atol=1e-6)
                np.testing.assert_allclose(found.std[row, b], np.std(inside, 0), atol=1e-6)
            else:
                assert np.isnan(found.mean[row, b]).all()


def test_tuning_of_known_units():
    found = tuning(sums(), "sums", SCENE, factors=["area"], bins=8, n=10**6)
    # All boxes; the first unit is the area / 80, so its mean lies inside the bin / 80.
    assert found.counts.sum() == wb.data.count_boxes(SCENE)
    full = found.counts[0] > 0
    low, high = found.edges[0, :-1][full] / 80, found.edges[0, 1:][full] / 80
    assert (low <= found.mean[0, full, 0]).all()
    assert (found.mean[0, full, 0] <= high + 1e-6).all()


def test_every_style_of_model(typically_styled):
    _, model, images = typically_styled
    shape = (images["image"] if isinstance(images, dict) else images).shape
    scene = wb.data.Scene(size=shape[1:3], channels=shape[3])
    before = [w.numpy().tobytes() for w in model.weights]
    found = probe(model, "box", scene, n=20, folds=2, example=images)
    assert np.isfinite(found.r2).all()
    curves = tuning(model, "box", scene, n=20, bins=2, example=images)
    assert curves.mean.shape == (4, 2, 4)
    assert [w.numpy().tobytes() for w in model.weights] == before


def test_errors_say_what_is_allowed():
    model = wb.models.localizer(size=SIZE)
    with pytest.raises(ValueError, match="`layers` must name at least one layer; got none"):
        probe(model, [], SCENE)
    with pytest.raises(ValueError, match="`ridge` must be above 0; got 0"):
        probe(model, "conv1", SCENE, ridge=0)
    with pytest.raises(ValueError, match=r"`features` must be one of \['flatten', 'mean', 'max'\]"):
        probe(model, "conv1", SCENE, features="pool")
    with pytest.raises(ValueError, match="`n` must be a whole number >= 10; got 9"):
        probe(model, "conv1", SCENE, n=9)
    with pytest.raises(ValueError, match="`factors` must be one of"):
        tuning(model, "conv1", SCENE, factors=["size"])
    with pytest.raises(ValueError, match="`layer` must name layers of model"):
        tuning(model, "conv9", SCENE)
