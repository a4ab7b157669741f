"""Detectors of KerasHub with random weights; skipped where keras_hub is not installed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb

hub = pytest.importorskip("keras_hub")

SIZE = 64
WIDE = (SIZE, 96, 3)


def retinanet(image_shape=(SIZE, SIZE, 3), **options):
    """Return a small RetinaNet whose boxes and scores differ from anchor to anchor."""
    encoder = hub.models.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[7], stackwise_num_filters=[64] * 4,
        stackwise_num_blocks=[1] * 4, stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block", image_shape=image_shape,
    )  # fmt: skip
    backbone = hub.models.RetinaNetBackbone(
        encoder, min_level=3, max_level=5, use_p5=False, image_shape=image_shape
    )
    detector = hub.models.RetinaNetObjectDetector(
        backbone, num_classes=3, pre_logits_num_conv_layers=1, **options
    )
    generator = np.random.default_rng(0)
    for weight in (*detector.box_head.weights, *detector.classification_head.weights):
        weight.assign(generator.normal(0, 0.03, weight.shape))
    return detector


def d_fine():
    """Return a small D-FINE with ten queries."""
    encoder = hub.models.HGNetV2Backbone(
        stem_channels=[3, 8, 8],
        stackwise_stage_filters=[
            [8, 8, 16, 1, 1, 3], [16, 8, 32, 1, 1, 3], [32, 8, 32, 1, 1, 5], [32, 8, 32, 1, 1, 5],
        ],
        apply_downsample=[False, True, True, True],
        use_lightweight_conv_block=[False, False, True, True],
        depths=[1, 1, 1, 1], hidden_sizes=[16, 32, 32, 32], embedding_size=8,
        use_learnable_affine_block=True, hidden_act="relu", image_shape=(SIZE, SIZE, 3),
        out_features=["stage3", "stage4"],
    )  # fmt: skip
    backbone = hub.models.DFineBackbone(
        backbone=encoder, decoder_in_channels=[16, 16], encoder_hidden_dim=16, num_denoising=0,
        num_labels=3, hidden_dim=16, learn_initial_query=False, num_queries=10,
        anchor_image_size=(SIZE, SIZE), feat_strides=[16, 32], num_feature_levels=2,
        encoder_in_channels=[32, 32], encode_proj_layers=[1], num_attention_heads=2,
        encoder_ffn_dim=16, num_encoder_layers=1, hidden_expansion=0.34, depth_multiplier=0.5,
        eval_idx=-1, num_decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16,
        decoder_n_points=[2, 2], lqe_hidden_dim=8, num_lqe_layers=2,
        out_features=["stage3", "stage4"], image_shape=(SIZE, SIZE, 3),
    )  # fmt: skip
    detector = hub.models.DFineObjectDetector(backbone, num_classes=3)
    generator = np.random.default_rng(0)
    for weight in detector.weights:
        if not np.any(weight):  # untrained, no box depends on the image
            weight.assign(generator.normal(0, 0.1, weight.shape))
    return detector


def images(n=2, shape=(SIZE, SIZE, 3), seed=0):
    return np.random.default_rng(seed).random((n, *shape), np.float32)


class Everything(keras.layers.Layer):
    """Stands where a detector chooses, and keeps all that it would choose from."""

    bounding_box_format = "yxyx"

    def call(self, boxes, classes, images=None):
        return {"boxes": boxes, "classes": keras.ops.sigmoid(classes)}


@pytest.mark.parametrize(
    ("build", "shape"),
    [(lambda: retinanet(WIDE), WIDE), (d_fine, (SIZE, SIZE, 3))],
    ids=["retinanet", "d_fine"],
)
def test_candidates_are_what_the_detector_chooses_from(build, shape):
    detector = build()
    model = wb.models.hub_detector(detector)
    pictures = images(shape=shape)
    detector._prediction_decoder = Everything()
    expected = detector.decode_predictions(detector(pictures, training=False), pictures)
    found = model(pictures)
    boxes = wb.boxes.convert(np.asarray(expected["boxes"]), "yxyx", "rel_yxyx", size=shape[:2])
    # Anchors are up to three images large; a handful of roundings each.
    np.testing.assert_allclose(found["boxes"], boxes, rtol=0, atol=10 * 2**-24 * 4)
    np.testing.assert_allclose(found["classes"], expected["classes"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found["scores"], found["classes"].numpy().max(-1))
    assert np.ptp(found["boxes"].numpy(), axis=(0, 1)).min() > 0.01


def test_gradient_is_that_of_a_tape_on_the_detector():
    detector = retinanet()
    before = [(id(layer), layer.call.__func__) for layer in detector._flatten_layers()]
    weights = [w.numpy().tobytes() for w in detector.weights]
    model = wb.models.hub_detector(detector)
    maps = wb.introspect.saliency(
        model, images(), [lambda out: out["boxes"][:, 7, 0], lambda out: out["scores"][:, 7]]
    )
    assert [(id(layer), layer.call.__func__) for layer in detector._flatten_layers()] == before
    assert [w.numpy().tobytes() for w in detector.weights] == weights

    # Anchor 7 is one of the first cell: centre 0, sides rounded to whole pixels, from level 3.
    pictures = tf.constant(images())
    anchor = detector.anchor_generator(pictures)["P3"][7].numpy()
    center, height = (anchor[0] + anchor[2]) / 2, anchor[2] - anchor[0]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(pictures)
        raw = detector(pictures, training=False)
        shift, stretch = raw["bbox_regression"][:, 7, 1], raw["bbox_regression"][:, 7, 3]
        top = (center + shift * height - tf.exp(stretch) * height / 2) / SIZE
        score = tf.reduce_max(tf.sigmoid(raw["cls_logits"][:, 7]), -1)
    for found, value in zip(maps, (top, score), strict=True):
        expected = tf.reduce_sum(tape.gradient(value, pictures), -1).numpy()
        # The same sums in another order, some twenty layers of a few hundred products.
        atol = 1000 * np.finfo(np.float32).eps * np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
        assert np.abs(expected).max() > 0


def test_gradient_of_a_query_is_that_of_a_tape():
    detector = d_fine()
    pictures = tf.constant(images())
    with tf.GradientTape() as tape:
        tape.watch(pictures)
        boxes = detector(pictures, training=False)["pred_boxes"]
        left = boxes[:, 4, 0] - boxes[:, 4, 2] / 2
    expected = tf.reduce_sum(tape.gradient(left, pictures), -1).numpy()
    assert np.abs(expected).max() > 0
    found = wb.introspect.saliency(
        wb.models.hub_detector(detector), images(), lambda out: out["boxes"][:, 4, 1]
    )
    atol = 1000 * np.finfo(np.float32).eps * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_lrp_goes_through_a_retinanet():
    # Up to the decoded box, whose size is an exponential.
    model = wb.models.hub_detector(retinanet())
    found = wb.introspect.saliency(model, images(1), lambda out: out["boxes"][:, 7, 0], "lrp")
    assert np.isfinite(found).all()
    assert np.abs(found).max() > 0


def test_images_are_prepared_as_the_preprocessor_does():
    converter = hub.layers.RetinaNetImageConverter(
        image_size=(SIZE, SIZE), scale=[1 / 255, 2 / 255, 3 / 255], offset=[0.1, 0.2, 0.3]
    )
    preprocessor = hub.models.RetinaNetObjectDetectorPreprocessor(converter)
    detector = retinanet(image_shape=(None, None, 3), preprocessor=preprocessor)
    model = wb.models.hub_detector(detector, size=(32, 32), channels=1)
    grey = images(shape=(32, 32, 1))
    raw = detector(converter(np.repeat(grey, 3, -1) * 255), training=False)
    classes = tf.sigmoid(raw["cls_logits"])
    np.testing.assert_allclose(model(grey)["classes"], classes, rtol=0, atol=1e-5)
    assert wb.models.hub_detector(detector).input_shape == (None, SIZE, SIZE, 3)


def test_layers_are_reached_by_their_paths():
    detector = retinanet()
    model = wb.models.hub_detector(detector)
    paths = [row.path for row in wb.introspect.list_layers(model)]
    path = next(p for p in paths if p.endswith("stack3_block0_out"))
    assert path.startswith(f"{detector.name}/")
    found = wb.introspect.saliency(
        model, images(1), lambda out: out["boxes"][:, 700, 0], "gradcam", layer=path
    )
    assert np.abs(found).max() > 0
    halved = wb.introspect.patch(model, images(1), {path: lambda a: a * 0.5})
    assert np.abs(halved["scores"] - model(images(1))["scores"]).max() > 1e-4


# KerasHub has a `compile` of its own, which Keras does not repeat on loading.
@pytest.mark.filterwarnings("ignore:`compile.*was not called:UserWarning")
def test_a_saved_one_opens(tmp_path):
    model = wb.models.hub_detector(retinanet())
    model.save(tmp_path / "detector.keras")
    again = keras.models.load_model(tmp_path / "detector.keras")
    for key, found in model(images()).items():
        np.testing.assert_array_equal(again(images())[key], found)


def test_open_size():
    with pytest.raises(ValueError, match="`size` must be given for a detector of open size"):
        wb.models.hub_detector(retinanet(image_shape=(None, None, 3)))
