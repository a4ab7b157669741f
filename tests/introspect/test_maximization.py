import keras
import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc.introspect import activations, maximize

L = keras.layers
SIZE = (6, 7)


def linear(channels=1, units=4):
    """Units that weigh all pixels: the best image is 1 where the weight is above 0."""
    inputs = keras.Input((*SIZE, channels))
    model = keras.Model(inputs, L.Conv2D(units, SIZE, name="conv")(inputs))
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(*SIZE, channels, units)).astype("float32")
    model.set_weights([kernel, rng.normal(size=units)])
    return model, kernel, model.get_weights()[1]


def curved(channels=1):
    inputs = keras.Input((*SIZE, channels), name="image")
    x = L.Conv2D(5, 3, activation="tanh", padding="same", name="conv1")(inputs)
    x = L.Conv2D(3, 3, activation="tanh", name="conv2")(x)
    model = keras.Model(inputs, L.Dense(4, activation="sigmoid", name="box")(L.Flatten()(x)))
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_of_a_linear_unit_reach_the_closed_form(channels):
    model, kernel, bias = linear(channels)
    # The slope never changes, so Adam moves every pixel by the learning rate in every step:
    # from within 0.05 of one half, 12 steps of 0.05 reach 0 or 1.
    found = maximize(model, "conv", fourier=False, jitter=0, steps=12, learning_rate=0.05, seed=1)
    best = np.moveaxis(kernel > 0, -1, 0)
    np.testing.assert_array_equal(found.images, best)
    expected = np.where(kernel > 0, kernel, 0).sum((0, 1, 2)) + bias
    # Sums of at most 126 float32 numbers of size about 1.
    np.testing.assert_allclose(found.values, expected, rtol=1e-5)
    assert found.labels == ("conv[0]", "conv[1]", "conv[2]", "conv[3]")


@pytest.mark.parametrize("channels", [1, 3])
def test_waves_of_a_linear_unit_come_near_the_closed_form(channels):
    model, kernel, bias = linear(channels)
    found = maximize(model, "conv", jitter=0, steps=300)
    best = np.where(kernel > 0, kernel, 0).sum((0, 1, 2))
    least = np.where(kernel < 0, kernel, 0).sum((0, 1, 2))
    # The sigmoid never gets to 0 or 1. Where every |logit| is at least L, the share of
    # best - least is sigmoid(L) or more; the smallest weights, whose pixels lag behind, are
    # allowed the rest: 0.95 is sigmoid(3).
    share = (found.values - bias - least) / (best - least)
    assert (share > 0.95).all()
    assert (share < 1).all()
    # Grey has the share of half the sum of all weights.
    grey = (kernel.sum((0, 1, 2)) / 2 - least) / (best - least)
    # 0.01 of noise, a quarter of it behind the sigmoid, over at most 126 weights.
    start = (found.start - bias - least) / (best - least)
    np.testing.assert_allclose(start, grey, atol=0.01)


@pytest.mark.parametrize("fourier", [True, False])
def test_many_channels_at_once_are_the_same_as_one_by_one(fourier):
    model = curved()
    options = {"steps": 15, "fourier": fourier, "total_variation": 0.1, "seed": 3}
    together = maximize(model, "conv2", [2, 0, 1], **options)
    in_parts = maximize(model, "conv2", [2, 0, 1], batch_size=2, **options)
    for row, channel in enumerate((2, 0, 1)):
        alone = maximize(model, "conv2", channel, **options)
        # 15 steps of 0.05; the direction of each is off by the rounding of sums of 45
        # products, 1e-5 relative, wherever the slope is not itself near zero.
        np.testing.assert_allclose(together.images[row], alone.images[0], atol=2e-3)
        np.testing.assert_allclose(together.values[row], alone.values[0], atol=1e-4)
        np.testing.assert_allclose(in_parts.values[row], alone.values[0], atol=1e-4)
    again = maximize(model, "conv2", [2, 0, 1], **options)
    np.testing.assert_array_equal(together.images, again.images)
    other = maximize(model, "conv2", [2, 0, 1], **{**options, "seed": 4})
    assert np.abs(other.images - together.images).max() > 1e-3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fourier", [True, False])
def test_values_are_the_responses_to_the_images(channels, fourier):
    model = curved(channels)
    found = maximize(model, "conv2", steps=40, fourier=fourier)
    means = activations(model, found.images, "conv2", reduce="mean")["conv2"]
    np.testing.assert_allclose(found.values, np.diag(means), atol=1e-5)
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert (found.values > found.start).all()
    # Each image is the best of the three for its own channel.
    assert (means.argmax(0) == np.arange(3)).all()
    place = maximize(model, "conv2", 1, position=(2, -1), steps=20, fourier=fourier)
    single = activations(model, place.images, "conv2")["conv2"][0, 2, 4, 1]
    np.testing.assert_allclose(place.values, [single], atol=1e-5)


def test_targets_of_every_kind():
    model = curved()
    targets = [
        "top",
        "area",
        3,
        lambda box: box[:, 0] - box[:, 1],
        wb.introspect.targets.iou([0.2, 0.2, 0.9, 0.9]),
        wb.introspect.targets.unit("conv1", 2),
    ]
    found = maximize(model, target=targets, steps=20)
    box = np.asarray(model(found.images), np.float64)
    area = (box[1, 2] - box[1, 0]) * (box[1, 3] - box[1, 1])
    # The predicted box may be swapped, which counts as empty: (bottom - top) below 0.
    side = np.minimum(box[4, 2:], 0.9) - np.maximum(box[4, :2], 0.2)
    own = np.prod(np.maximum(box[4, 2:] - box[4, :2], 0))
    both = np.prod(np.maximum(side, 0))
    iou = both / (own + 0.7**2 - both)
    unit = activations(model, found.images, "conv1")["conv1"][5, ..., 2].mean()
    expected = [box[0, 0], area, box[2, 3], box[3, 0] - box[3, 1], iou, unit]
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    assert (found.values[[0, 1, 2, 3, 5]] > found.start[[0, 1, 2, 3, 5]]).all()
    assert found.labels[:3] == ("top", "area", "output 3")


def test_total_variation_smooths_and_jitter_blurs():
    model = curved()

    def variation(images):
        return np.abs(np.diff(images, axis=1)).sum() + np.abs(np.diff(images, axis=2)).sum()

    options = {"steps": 60, "fourier": False}
    free = maximize(model, "conv2", 0, jitter=0, **options)
    for changed in ({"jitter": 0, "total_variation": 3.0}, {"jitter": 3}):
        bound = maximize(model, "conv2", 0, **changed, **options)
        assert variation(bound.images) < 0.8 * variation(free.images)
        assert bound.values[0] < free.values[0]


def test_first_waves_have_the_stated_size():
    from whitebox_loc.introspect.units.maximization import _waves

    rng = np.random.default_rng(0)
    for size in ((9, 12), (16, 7)):
        weights = _waves(*size)
        noise = rng.normal(size=(2000, *weights.shape, 2)) @ [1, 1j]
        pixels = np.fft.irfft2(noise * weights, size)
        # The sum of squares of 2000 images that few waves dominate: at worst 2000 draws of
        # one number, whose standard deviation is off by 1 / sqrt(2 * 2000) = 1.6%.
        assert abs(pixels.std() - 1) < 0.06


def test_every_style_of_model(typically_styled):
    style, model, images = typically_styled
    layer = "again#2" if style == "shared_layer" else None
    layer = layer or next(
        row.path for row in wb.introspect.list_layers(model) if row.path.endswith("conv1")
    )
    before = [w.numpy().tobytes() for w in model.weights]
    found = maximize(model, layer, [0, 2], steps=8, example=images)
    # In one of the styles a ReLU keeps channels at zero in all places of the first image.
    alive = found.start != 0
    assert alive.any() == (style != "shared_layer")
    assert (found.values > found.start)[alive].all()
    assert (found.values == found.start)[~alive].all()
    assert found.images.shape[0] == 2
    assert [w.numpy().tobytes() for w in model.weights] == before


def test_errors_say_what_is_allowed():
    model = curved()
    with pytest.raises(TypeError, match="Give either `layer` or `target`; got layer='conv1'"):
        maximize(model, "conv1", target="top")
    with pytest.raises(TypeError, match="Give either `layer` or `target`; got layer=None"):
        maximize(model)
    with pytest.raises(ValueError, match="`target` must name at least one target"):
        maximize(model, target=[])
    with pytest.raises(ValueError, match="`channel` must hold at least one whole number"):
        maximize(model, "conv1", [])
    with pytest.raises(ValueError, match=r"`channel` must be .* between -5 and 4; got 5"):
        maximize(model, "conv1", 5)
    with pytest.raises(ValueError, match=r"`position` must have 2 indices for layer 'conv1'"):
        maximize(model, "conv1", 0, position=3)
    with pytest.raises(ValueError, match="must be about one image here; got 2 boxes"):
        maximize(model, target=wb.introspect.targets.iou([[0, 0, 1, 1]] * 2))
    with pytest.raises(
        ValueError, match="`steps` must be a whole number between 1 and 1000000; got 0"
    ):
        maximize(model, "conv1", 0, steps=0)
