import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb
from whitebox_loc.introspect import activations, receptive_field, top_images

SIZE = (10, 14)
SCENE = wb.data.Scene(size=SIZE, noise=0.2)


def brute_force(model, layer, channel, images, k):
    """Sort all responses of all images: strongest first, then in the order of the stream."""
    output = activations(model, images, layer)[layer][..., channel]
    flat = output.reshape(len(output), -1)
    order = sorted(range(len(output)), key=lambda i: (-flat[i].max(), i))[:k]
    places = [np.unravel_index(flat[i].argmax(), output.shape[1:]) for i in order]
    return order, flat[order].max(axis=1), places


@pytest.mark.parametrize("layer", ["conv2", "row_profile", "box"])
@pytest.mark.parametrize("batch_size", [7, 256])
def test_equals_sorting_everything(layer, batch_size):
    model = wb.models.localizer(size=SIZE)
    images = wb.data.generate(SCENE, 50, seed=0).images
    found = top_images(model, layer, [3, 0], images, k=8, batch_size=batch_size)
    field = receptive_field(model, layer)
    for one, channel in zip(found, (3, 0), strict=True):
        order, values, places = brute_force(model, layer, channel, images, 8)
        assert one.indices.tolist() == order
        # Batches of another size add in another order: sums of 72 products of size 1.
        np.testing.assert_allclose(one.values, values, rtol=1e-5)
        np.testing.assert_array_equal(one.positions, np.reshape(places, (8, -1)))
        np.testing.assert_array_equal(one.images, images[order])
        for place, window, patch, image in zip(
            places, one.windows, one.patches, one.images, strict=True
        ):
            np.testing.assert_array_equal(window, field.window(place, channel))
            top, left, bottom, right = window
            np.testing.assert_array_equal(patch, image[top:bottom, left:right])


def test_a_unit_sees_nothing_outside_its_patch():
    model = wb.models.localizer(size=SIZE)
    found = top_images(model, "conv2", 1, SCENE, k=3, n=40)
    for image, window, place, value in zip(
        found.images, found.windows, found.positions, found.values, strict=True
    ):
        top, left, bottom, right = window
        kept = np.random.default_rng(0).random(image.shape, np.float32)
        kept[top:bottom, left:right] = image[top:bottom, left:right]
        seen = activations(model, kept[None], "conv2")["conv2"][(0, *place, 1)]
        np.testing.assert_allclose(seen, value, rtol=1e-5)


def test_streams_of_every_kind_give_the_same():
    model = wb.models.localizer(size=SIZE)
    batches = [wb.data.batch_at(SCENE, i, batch_size=8, seed=2).images for i in range(3)]
    images = np.concatenate(batches)[:20]
    expected = top_images(model, "conv1", 2, images, k=5)
    kinds = {
        "scene": (SCENE, {"n": 20, "batch_size": 8, "seed": 2}),
        "generator": ((b for b in batches), {"n": 20}),
        "pairs": (((b, None) for b in batches), {"n": 20}),
        "endless": (wb.data.dataset(SCENE, batch_size=8, seed=2), {"n": 20}),
        "tensor": (tf.constant(images), {}),
    }
    for name, (stream, options) in kinds.items():
        found = top_images(model, "conv1", 2, stream, k=5, **options)
        np.testing.assert_array_equal(found.indices, expected.indices, err_msg=name)
        np.testing.assert_array_equal(found.images, expected.images, err_msg=name)


def test_equal_responses_keep_the_order_of_the_stream_and_few_images_are_enough():
    model = wb.models.localizer(size=SIZE)
    images = np.zeros((6, *SIZE, 1), "float32")
    found = top_images(model, "conv1", -1, images, k=9, batch_size=2)
    assert found.indices.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.channel == 7


def test_memory_does_not_grow_with_the_stream():
    model = wb.models.localizer(size=SIZE)
    batches, most = [], 0

    def stream():
        nonlocal most
        for index in range(12):
            images = wb.data.batch_at(SCENE, index, batch_size=4).images
            batches.append(weakref.ref(images))
            most = max(most, sum(batch() is not None for batch in batches))
            yield images

    # An image of every batch may be kept, and yet no batch: only this and the one before,
    # which the loop over the stream still holds.
    found = top_images(model, "conv1", 0, stream(), k=48)
    assert len(found.indices) == 48
    assert most <= 3


def test_every_style_of_model(typically_styled):
    style, model, images = typically_styled
    layer = "again#2" if style == "shared_layer" else None
    layer = layer or next(
        row.path for row in wb.introspect.list_layers(model) if row.path.endswith("conv1")
    )
    found = top_images(model, layer, 1, images, k=2)
    order, values, _ = brute_force(model, layer, 1, images, 2)
    assert found.indices.tolist() == order
    np.testing.assert_allclose(found.values, values, rtol=2e-3 if "16" in style else 1e-5)


def test_scenes_for_a_model_of_several_inputs(build_model):
    model, images = build_model("several_inputs")
    scene = wb.data.Scene(size=images["image"].shape[1:3])
    found = top_images(model, "conv1", 0, scene, k=2, n=10, example=images)
    assert found.images.shape == (2, 8, 10, 1)


def test_errors_say_what_is_allowed():
    model = wb.models.localizer(size=SIZE)
    with pytest.raises(
        TypeError, match=r"`images` must be an array of images, a Scene, .* got 5 of type int"
    ):
        top_images(model, "conv1", 0, 5)
    with pytest.raises(ValueError, match="`images` must hold at least one image; got none"):
        top_images(model, "conv1", 0, iter([]))
    with pytest.raises(ValueError, match=r"`channel` must be .* between -8 and 7; got 8"):
        top_images(model, "conv1", [0, 8], SCENE, n=4)
    with pytest.raises(ValueError, match="`k` must be a whole number >= 1; got 0"):
        top_images(model, "conv1", 0, SCENE, k=0)
    with pytest.raises(ValueError, match="`layer` must name layers"):
        top_images(keras.Model(model.inputs, model.outputs), "conv9", 0, SCENE, n=4)
