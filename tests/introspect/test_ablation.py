import keras
import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc.introspect import ablate, activation_patching

L = keras.layers
SIZE = (6, 8)
SCENE = wb.data.Scene(size=SIZE)


def rows_and_columns():
    """Channel 0 alone carries rows (top, bottom), channel 1 alone carries columns.

    Weights and biases are whole numbers of 1024ths: sums of black and white pixels are exact.
    """
    image = keras.Input((*SIZE, 1), name="image")
    copies = L.Conv2D(2, 1, use_bias=False, name="copies")(image)
    box = L.Dense(4, name="box")(L.Flatten()(copies))
    model = keras.Model(image, box)
    weights = np.random.default_rng(0).integers(10, 21, (*SIZE, 2, 4)) / 1024
    weights[..., 0, [1, 3]] = 0
    weights[..., 1, [0, 2]] = 0
    model.get_layer("copies").set_weights([np.ones((1, 1, 1, 2))])
    bias = np.array([100, 200, 300, 400]) / 1024
    model.get_layer("box").set_weights([weights.reshape(-1, 4), bias])
    return model, weights


def curved():
    """A small network with everything between the layer and the box nonlinear."""
    image = keras.Input((*SIZE, 1), name="image")
    x = L.Conv2D(3, 3, activation="tanh", name="conv1")(image)
    x = L.Conv2D(2, 2, activation="tanh", name="conv2")(x)
    model = keras.Model(image, L.Dense(4, activation="sigmoid", name="box")(L.Flatten()(x)))
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0, 0.7, w.shape) for w in model.get_weights()])
    return model


def halves(model, layer):
    """The model as two: images to the layer's output, and that to boxes."""
    middle = model.get_layer(layer).output
    return keras.Model(model.inputs[0], middle), keras.Model(middle, model.output)


# Sums of at most 100 float32 products below 1, three layers deep, each rounded by 6e-8.
CLOSE = 2e-5


def test_each_channel_changes_what_it_carries():
    model, weights = rows_and_columns()
    batch = wb.data.generate(SCENE, 7, seed=0)
    found = ablate(model, batch.images, "copies")
    # Without channel c, a box loses the sum over pixels of image * weights of c.
    lost = np.einsum("nyx,yxck->cnk", batch.images[..., 0], weights)
    np.testing.assert_allclose(found.change, -lost, atol=CLOSE)
    assert (found.change[0][:, [1, 3]] == 0).all()
    assert (found.change[1][:, [0, 2]] == 0).all()
    assert (np.abs(found.change[0][:, [0, 2]]) > 0).all()
    assert found.channels.tolist() == [0, 1]


def slow_ablation(model, layer, images, channel, instead):
    head, tail = halves(model, layer)
    boxes = []
    for i in range(len(images)):
        inside = np.array(head(images[i : i + 1]))
        inside[..., channel] = instead[i : i + 1, ..., channel]
        boxes.append(np.array(tail(inside))[0])
    return np.stack(boxes)


@pytest.mark.parametrize("mode", ["zero", "mean", "resample"])
def test_ablation_equals_a_rebuilt_network(mode):
    model, images = curved(), wb.data.generate(SCENE, 6, seed=1).images
    inside = np.array(halves(model, "conv1")[0](images))
    found = ablate(model, images, "conv1", [2, 0, -2], mode, seed=5, batch_size=4)
    assert found.channels.tolist() == [2, 0, 1]
    np.testing.assert_allclose(found.before, model(images), atol=CLOSE)
    if mode == "resample":
        # Which image stands in is drawn inside: find it among all others.
        fits = np.array(
            [
                slow_ablation(model, "conv1", images, 2, np.roll(inside, shift, axis=0))
                for shift in range(1, 6)
            ]
        )
        gaps = np.abs(fits - found.after[0]).max(axis=2)
        shifts = gaps.argmin(axis=0)
        assert (gaps.min(axis=0) < CLOSE).all()
        instead = inside[(np.arange(6) - shifts - 1) % 6]
        assert len({a.tobytes() for a in instead}) == 6
    else:
        value = inside.mean(axis=0) if mode == "mean" else 0.0
        instead = np.zeros_like(inside) + value
    for row, channel in enumerate(found.channels):
        expected = slow_ablation(model, "conv1", images, channel, instead)
        np.testing.assert_allclose(found.after[row], expected, atol=CLOSE)
    np.testing.assert_array_equal(found.change, found.after - found.before)


def test_overlap_is_measured_with_the_truth_or_with_the_intact_box():
    model, _ = rows_and_columns()
    kernel, _ = model.get_layer("box").get_weights()
    # Bottom and right stay above top and left, whatever is ablated.
    model.get_layer("box").set_weights([kernel / 10, np.array([0.1, 0.2, 0.6, 0.7])])
    batch = wb.data.generate(SCENE, 5, seed=2)
    alone = ablate(model, batch.images, "copies")
    assert (alone.iou_before == 1).all()
    found = ablate(model, batch.images, "copies", boxes=batch.boxes, format="yxyx")
    before = wb.boxes.iou(found.before, batch.rel_boxes, "rel_yxyx")
    # float64 in both; the boxes of the batch are rounded to float32 here and not there.
    np.testing.assert_allclose(found.iou_before, before, atol=1e-6)
    for row in range(2):
        after = wb.boxes.iou(found.after[row], batch.rel_boxes, "rel_yxyx")
        np.testing.assert_allclose(found.iou_change[row], after - before, atol=1e-6)
        change = wb.boxes.iou(found.after[row], found.before, "rel_yxyx") - 1
        np.testing.assert_allclose(alone.iou_change[row], change, atol=1e-12)
        assert (change < 0).all()


def moved_edges():
    clean = wb.data.render([[1, 1, 4, 5], [0, 2, 3, 7]], SCENE)
    return clean, wb.data.render([[2, 1, 4, 5], [2, 2, 3, 7]], SCENE)


def test_patching_names_the_channel_and_the_rows_that_carry_an_edge():
    model, _ = rows_and_columns()
    clean, corrupted = moved_edges()
    # Only rows 1 (first image) and 0, 1 (second) differ: elsewhere there is nothing to mend.
    whole = activation_patching(model, clean, corrupted, ["copies", "box"])
    for name in ("copies", "box"):
        np.testing.assert_allclose(whole[name].restored, 1, atol=1e-4)
    channels = activation_patching(model, clean, corrupted, "copies", by="channel")["copies"]
    # Rounding of boxes of size 1, 1e-7, over changes of at least 4 * 0.01.
    expected = [[1, 0, 1, 0], [0, 1, 0, 1]]
    np.testing.assert_allclose(channels.share, expected, atol=1e-5)
    rows = activation_patching(model, clean, corrupted, "copies", by="row")["copies"]
    assert rows.patched.shape == (6, 2, 4)
    np.testing.assert_allclose(rows.restored[:, 0], np.eye(6)[1][:, None] * np.ones(4), atol=1e-5)
    assert (np.abs(rows.restored[:2, 1]) > 0.1).all()
    np.testing.assert_allclose(rows.restored[2:, 1], 0, atol=1e-5)
    # The network is linear below the box: what the parts restore adds up to all.
    places = activation_patching(model, clean, corrupted, "copies", by="place")["copies"]
    assert places.share.shape == (*SIZE, 4)
    np.testing.assert_allclose(places.share.sum((0, 1)), 1, atol=1e-4)
    columns = activation_patching(model, clean, corrupted, "copies", by="column")["copies"]
    np.testing.assert_allclose(columns.share, places.share.sum(0), atol=1e-4)


@pytest.mark.parametrize("by", ["layer", "channel", "row", "column", "place"])
def test_patching_equals_a_rebuilt_network(by):
    model, (clean, corrupted) = curved(), moved_edges()
    head, tail = halves(model, "conv1")
    good, bad = np.array(head(clean)), np.array(head(corrupted))
    parts = {
        "layer": {(): np.s_[:]},
        "channel": {(c,): np.s_[..., c] for c in range(3)},
        "row": {(y,): np.s_[:, y] for y in range(4)},
        "column": {(x,): np.s_[:, :, x] for x in range(6)},
        "place": {(y, x): np.s_[:, y, x] for y in range(4) for x in range(6)},
    }[by]
    found = activation_patching(model, clean, corrupted, "conv1", by=by, batch_size=1)["conv1"]
    np.testing.assert_allclose(found.clean, model(clean), atol=CLOSE)
    np.testing.assert_allclose(found.corrupted, model(corrupted), atol=CLOSE)
    for index, part in parts.items():
        mixed = bad.copy()
        mixed[part] = good[part]
        np.testing.assert_allclose(found.patched[index], tail(mixed), atol=CLOSE)
    assert found.patched.shape == (*(np.max(list(parts), axis=0) + 1).astype(int), 2, 4)


def test_shares_are_computed_image_by_image_and_over_all():
    found = wb.introspect.Restoration(
        "x",
        "layer",
        clean=np.array([[0.5, 0.2, 0.3, 0.3], [0.4, 0.2, 0.3, 0.3]]),
        corrupted=np.array([[0.1, 0.2, 0.3, 0.3], [0.2, 0.2, 0.2, 0.3 + 5e-5]]),
        patched=np.array([[0.3, 0.9, 0.3, 0.3], [0.4, 0.2, 0.3, 0.3]]),
    )
    nan = np.nan
    np.testing.assert_allclose(found.restored, [[0.5, nan, nan, nan], [1, nan, 1, nan]])
    # (0.2 * 0.4 + 0.2 * 0.2) / (0.4**2 + 0.2**2)
    np.testing.assert_allclose(found.share, [0.6, nan, 1, nan])


def test_every_style_of_model(typically_styled, read_box):
    style, model, images = typically_styled
    layer = "again#2" if style == "shared_layer" else None
    layer = layer or next(
        row.path for row in wb.introspect.list_layers(model) if row.path.endswith("conv1")
    )
    before = [w.numpy().tobytes() for w in model.weights]
    found = ablate(model, images, layer, 1, "mean")
    boxes = np.asarray(read_box(model(images), style), np.float32)
    # Halves have 11 bits and pass five layers.
    close = 5e-3 if style == "mixed_float16" else CLOSE
    np.testing.assert_allclose(found.before, boxes, atol=close)
    mean = wb.introspect.activations(model, images, layer)[layer].mean(0)

    def with_mean(output):
        instead = keras.ops.cast(mean[..., 1:2], output.dtype) + 0 * output[..., 1:2]
        return keras.ops.concatenate([output[..., :1], instead, output[..., 2:]], -1)

    patched = read_box(wb.introspect.patch(model, images, {layer: with_mean}), style)
    np.testing.assert_allclose(found.after[0], patched, atol=close)
    flipped = {k: v[::-1] for k, v in images.items()} if isinstance(images, dict) else images[::-1]
    box = activation_patching(model, images, flipped, "box")["box"]
    np.testing.assert_allclose(box.patched, boxes, atol=close)
    assert [w.numpy().tobytes() for w in model.weights] == before


def test_errors_say_what_is_allowed():
    model, (images, other) = curved(), moved_edges()
    with pytest.raises(ValueError, match=r"`mode` must be one of \['zero', 'mean', 'resample'\]"):
        ablate(model, images, "conv1", mode="median")
    with pytest.raises(ValueError, match=r"`channels` must be .* between -3 and 2; got 3"):
        ablate(model, images, "conv1", 3)
    with pytest.raises(ValueError, match="`channels` must hold at least one whole number; got"):
        ablate(model, images, "conv1", [])
    with pytest.raises(ValueError, match="'resample' needs at least two images; got 1"):
        ablate(model, images[:1], "conv1", mode="resample")
    with pytest.raises(ValueError, match=r"`boxes` must have shape \(2, 4\).*got \(1, 4\)"):
        ablate(model, images, "conv1", boxes=[[0, 0, 1, 1]])
    with pytest.raises(ValueError, match="must hold the same number of images"):
        activation_patching(model, images, other[:1], "conv1")
    with pytest.raises(ValueError, match="`layers` must name at least one layer"):
        activation_patching(model, images, other, [])
    with pytest.raises(ValueError, match="`by` 'column' needs a layer with rows and columns"):
        activation_patching(model, images, other, "box", by="column")
    with pytest.raises(ValueError, match="`layers` must name layers of model"):
        activation_patching(model, images, other, "conv9")
