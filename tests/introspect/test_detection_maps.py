"""Maps of found boxes, on networks wired by hand so that it is known where they must lie."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc.introspect import saliency, saliency_of_detections, targets
from whitebox_loc.introspect.attribution import detection_maps
from whitebox_loc.introspect.tracing import capture

LAYERS = keras.layers
SIZE = (12, 20)
EDGES = ("top", "left", "bottom", "right")
BOXES = np.array([[2, 1, 5, 6], [6, 12, 10, 19], [3, 11, 8, 15]])


def halves(leak=0.0):
    """Candidate j finds the box in half j of the image, and sees nothing of the other half.

    With a `leak`, every coordinate also moves by so much of the other half's mean brightness.
    """
    height, width = SIZE[0], SIZE[1] // 2
    reader = wb.models.compiled("integrator", size=(height, width))
    x = keras.Input((*SIZE, 1))
    parts = [LAYERS.Cropping2D(((0, 0), (j * width, (1 - j) * width)))(x) for j in range(2)]
    boxes = [
        LAYERS.Rescaling([1.0, 0.5, 1.0, 0.5], offset=[0.0, 0.5 * j, 0.0, 0.5 * j])(reader(part))
        for j, part in enumerate(parts)
    ]
    if leak:
        means = [LAYERS.GlobalAveragePooling2D()(part) for part in parts]
        boxes = [
            LAYERS.Add()([box, LAYERS.Rescaling(leak)(LAYERS.RepeatVector(4)(other)[..., 0])])
            for box, other in zip(boxes, means[::-1], strict=True)
        ]
    scores = LAYERS.Concatenate()([LAYERS.GlobalMaxPooling2D()(part) for part in parts])
    joined = LAYERS.Reshape((2, 4))(LAYERS.Concatenate()(boxes))
    return keras.Model(x, {"boxes": joined, "scores": scores})


@pytest.fixture(scope="module")
def model():
    return halves()


def draw():
    """Two boxes in the first image, one in the second."""
    scene = wb.data.Scene(size=SIZE)
    single = wb.data.render(BOXES, scene)
    return np.stack([single[0] + single[1], single[2]])


IMAGES = draw()


def detect(model, images=IMAGES):
    """Every candidate with a score over a half, the surest first."""
    boxes, scores = (model(images)[name].numpy() for name in ("boxes", "scores"))
    order = np.argsort(-scores, axis=1, kind="stable")
    kept = np.take_along_axis(scores, order, 1) > 0.5
    return SimpleNamespace(
        candidates=np.where(kept, order, -1),
        boxes=np.take_along_axis(boxes, order[..., None], 1),
        scores=np.take_along_axis(scores, order, 1),
        labels=np.where(kept, 0, -1),
    )


def test_the_hand_built_network_is_exact(model):
    found = detect(model)
    assert found.candidates.tolist() == [[0, 1], [1, -1]]
    pixels = found.boxes[found.candidates >= 0] * [12, 20, 12, 20]
    np.testing.assert_allclose(pixels, BOXES, atol=1e-5)


def other_half(result):
    """The maps where their candidate cannot see: of the first on the right, of the others left."""
    return [m[..., 10:] if c == 0 else m[..., :10] for m, c in zip(
        result.maps, result.candidates, strict=True)]  # fmt: skip


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "lrp", "edge_move"])
def test_maps_of_a_box_are_exactly_zero_on_another(model, method):
    options = {"each": {"boxes": BOXES}} if method == "edge_move" else {}
    result = saliency_of_detections(model, IMAGES, detect(model), method=method, **options)
    assert result.images.tolist() == [0, 0, 1]
    assert result.places.tolist() == [0, 1, 0]
    assert result.candidates.tolist() == [0, 1, 1]
    assert result.maps.shape == (3, 4, *SIZE)
    assert all((np.abs(m).max((1, 2)) > 0).all() for m in result.maps)
    assert all((m == 0).all() for m in other_half(result))


def test_windows_reach_as_far_as_they_are_wide(model):
    result = saliency_of_detections(
        model, IMAGES, detect(model), method="occlusion", patch=5, stride=1
    )
    # Of a window of 5 pixels that hides one of this half, four may lie beyond.
    assert (result.maps[0, ..., 14:] == 0).all()
    assert (result.maps[1:, ..., :6] == 0).all()
    # The last box begins at column 11 and is 5 rows high, so that one window hides its left edge.
    assert (result.of_part("left")[2, 3:8, 7:10] != 0).all()


def test_moved_edges_lie_on_the_evidence_of_their_own_box(model):
    result = saliency_of_detections(
        model, IMAGES, detect(model), method="edge_move", each={"boxes": BOXES}, batch_size=2
    )
    for part in EDGES:
        own = wb.evaluation.evidence_mask(BOXES, SIZE, part)
        np.testing.assert_allclose(wb.evaluation.mass_accuracy(result.of_part(part), own), 1)
        swapped = wb.evaluation.evidence_mask(BOXES[[1, 0, 2]], SIZE, part)
        share = wb.evaluation.mass_accuracy(result.of_part(part), swapped)
        np.testing.assert_allclose(share, [0, 0, 1])


def test_a_leak_shows_on_the_other_box(model):
    result = saliency_of_detections(halves(leak=0.3), IMAGES, detect(model), "top")
    for found in other_half(result):
        np.testing.assert_allclose(found, 0.3 / 120, rtol=1e-5)


def test_without_each_the_box_around_all_boxes_is_moved(model):
    found = detect(model)
    around = saliency_of_detections(model, IMAGES, found, method="edge_move")
    alone = saliency_of_detections(model, IMAGES, found, method="edge_move", each={"boxes": BOXES})
    # Of the two boxes in the first image, the first is the upper one.
    assert (around.of_part("bottom")[0] == 0).all()
    assert (around.of_part("top")[1] == 0).all()
    assert (np.abs(alone.maps).max((2, 3)) > 0).all()
    np.testing.assert_array_equal(around.maps[2], alone.maps[2])


def network(inputs=1):
    """Random weights: four candidates of two classes, and maybe a second input."""
    x = keras.Input((*SIZE, 1), name="image")
    flat = LAYERS.Flatten()(LAYERS.Conv2D(3, 4, strides=2, activation="relu")(x))
    number = keras.Input((2,), name="number")
    flat = flat if inputs == 1 else LAYERS.Concatenate()([flat, number])
    low = LAYERS.Rescaling(0.5)(LAYERS.Dense(8, activation="sigmoid")(flat))
    high = LAYERS.Rescaling(0.5, offset=0.5)(LAYERS.Dense(8, activation="sigmoid")(flat))
    boxes = LAYERS.Concatenate()([LAYERS.Reshape((4, 2))(low), LAYERS.Reshape((4, 2))(high)])
    classes = LAYERS.Softmax()(LAYERS.Reshape((4, 2))(LAYERS.Dense(8)(flat)))
    outputs = {
        "boxes": boxes,
        "scores": LAYERS.Dense(4, activation="sigmoid")(flat),
        "classes": classes,
    }
    made = keras.Model(x if inputs == 1 else {"image": x, "number": number}, outputs)
    generator = np.random.default_rng(5)
    for weight in made.trainable_weights:
        weight.assign(generator.normal(0, 0.3, weight.shape))
    return made


@pytest.fixture(scope="module")
def random_model():
    return network()


PICTURES = np.random.default_rng(0).random((3, *SIZE, 1), np.float32)
CANDIDATES = np.array([[3, 0], [-1, -1], [2, -1]])
LABELS = np.array([[1, 0], [-1, -1], [1, -1]])


def found_by(model, images=PICTURES):
    outputs = {name: value.numpy() for name, value in model(images).items()}
    at = np.maximum(CANDIDATES, 0)
    return SimpleNamespace(
        candidates=CANDIDATES,
        labels=LABELS,
        boxes=np.take_along_axis(outputs["boxes"], at[..., None], 1),
        scores=np.take_along_axis(outputs["scores"], at, 1),
    ), outputs


PLACES = [(0, 3, 1), (0, 0, 0), (2, 2, 1)]  # image, candidate and label of each found box


def test_every_part_is_that_of_its_own_candidate(random_model):
    found, outputs = found_by(random_model)
    whole = ("top", "left", "area", "score")
    parts = (*whole, "class", "detection")
    result = saliency_of_detections(random_model, PICTURES, found, parts)
    assert result.parts == parts
    for index, (n, k, label) in enumerate(PLACES):
        asked = [targets.candidate(k, p) for p in whole]
        asked.append(targets.candidate(k, "class", classes=label))
        vector = outputs["classes"][n, [k]]
        asked.append(targets.detection(outputs["boxes"][n, k], vector))
        expected = saliency(random_model, PICTURES[[n]], asked)[:, 0]
        np.testing.assert_allclose(result.maps[index], expected, rtol=1e-4, atol=1e-7)
    assert len(result) == 3
    np.testing.assert_array_equal(result.of_image(0), result.maps[:2])
    assert result.of_image(1).shape == (0, len(parts), *SIZE)
    np.testing.assert_array_equal(result.of_part("left"), result.maps[:, 1])
    np.testing.assert_array_equal(result.labels, [1, 0, 1])
    np.testing.assert_array_equal(result.boxes, [outputs["boxes"][n, k] for n, k, _ in PLACES])
    np.testing.assert_array_equal(result.scores, [outputs["scores"][n, k] for n, k, _ in PLACES])


def test_log_odds(random_model):
    found, _ = found_by(random_model)
    result = saliency_of_detections(random_model, PICTURES, found, ("score", "class"), link="logit")
    for index, (n, k, label) in enumerate(PLACES):
        asked = [targets.candidate(k), targets.candidate(k, "class", classes=label)]
        expected = saliency(random_model, PICTURES[[n]], asked, link="logit")[:, 0]
        np.testing.assert_allclose(result.maps[index], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["rise", "smoothgrad"])
def test_batches_do_not_matter(random_model, method):
    found, _ = found_by(random_model)
    maps = []
    for size in (1, 2, 256):
        seed = np.random.default_rng(4)
        result = saliency_of_detections(random_model, PICTURES, found, ("top", "detection"), method,
                                        batch_size=size, samples=8, seed=seed)  # fmt: skip
        maps.append(result.maps)
    # Sums of 8 float32 numbers of size 1.
    for other in maps[1:]:
        np.testing.assert_allclose(other, maps[0], rtol=0, atol=1e-5)
    assert np.abs(maps[0]).max() > 1e-3


@pytest.mark.parametrize("method", ["rise", "occlusion", "gradient"])
def test_masked_images_serve_all_boxes_of_an_image(random_model, method, monkeypatch):
    asked = []

    def counted(model, images, wanted, *args, **options):
        asked.append((len(images), len(wanted)))
        return saliency(model, images, wanted, *args, **options)

    monkeypatch.setattr(detection_maps, "saliency", counted)
    found, _ = found_by(random_model)
    options = {"rise": {"samples": 8}, "occlusion": {}, "gradient": {}}[method]
    parts = ("bottom", "score")
    result = saliency_of_detections(random_model, PICTURES, found, parts, method, **options)
    # One image has two boxes and one has one; the third has none.
    assert asked == ([(3, 2)] if method == "gradient" else [(1, 2), (1, 4)])
    for index, (n, k, _) in enumerate(PLACES):
        own = [targets.candidate(k, part) for part in parts]
        expected = saliency(random_model, PICTURES[[n]], own, method, **options)[:, 0]
        # Sums and differences of some ten float32 numbers of size 1.
        np.testing.assert_allclose(result.maps[index], expected, rtol=1e-4, atol=2e-6)
        assert np.abs(expected).max() > 1e-3


def test_other_candidates_need_no_other_compiled_function(random_model):
    found, _ = found_by(random_model)
    saliency_of_detections(random_model, PICTURES, found)
    before = list(capture._caches[random_model][1])
    lower = SimpleNamespace(**{**vars(found), "candidates": np.minimum(CANDIDATES, 1)})
    first = saliency_of_detections(random_model, PICTURES, lower)
    assert first.candidates.tolist() == [1, 0, 1]
    assert set(capture._caches[random_model][1]) == set(before)


def test_models_of_several_inputs():
    model = network(inputs=2)
    images = {"image": PICTURES, "number": np.random.default_rng(1).random((3, 2), np.float32)}
    found, _ = found_by(model, images)
    result = saliency_of_detections(model, images, found, "score", batch_size=2)
    for index, (n, k, _) in enumerate(PLACES):
        one = {name: value[[n]] for name, value in images.items()}
        expected = saliency(model, one, targets.candidate(k))
        np.testing.assert_allclose(result.maps[index, :1], expected, rtol=1e-4, atol=1e-7)


def test_nothing_found(random_model):
    found, _ = found_by(random_model)
    nothing = SimpleNamespace(**{**vars(found), "candidates": np.full((3, 2), -1)})
    result = saliency_of_detections(random_model, PICTURES, nothing)
    assert result.maps.shape == (0, 4, *SIZE)
    assert result.boxes.shape == (0, 4)
    assert result.of_image(0).shape == (0, 4, *SIZE)

    single = wb.models.localizer(SIZE, filters=(2,))
    with pytest.raises(ValueError, match="candidates"):
        saliency_of_detections(single, PICTURES, nothing)


def change(**fields):
    return lambda found: SimpleNamespace(**{**vars(found), **fields})


BAD = [
    (lambda found: 3, {}, TypeError, "`found` must be Detections, with the arrays"),
    (change(candidates=CANDIDATES[:2]), {}, ValueError, r"must have shape \(3, detections\)"),
    (change(candidates=CANDIDATES + 0.5), {}, TypeError, "`found.candidates` must be whole num"),
    (change(labels=LABELS[:, :1]), {}, ValueError, r"`found.labels` must have shape \(3, 2\)"),
    (change(candidates=CANDIDATES + 1), {}, ValueError, "`found.candidates` must lie in 0 .. 3"),
    (change(labels=LABELS + 2), {"parts": "class"}, ValueError, "`found.labels` must lie in 0"),
    (change(), {"parts": ()}, ValueError, "`parts` must name at least one part"),
    (change(), {"parts": ("up",)}, ValueError, "`parts` must be one of"),
    (change(), {"each": 3}, TypeError, "`each` must be a dict"),
    (change(), {"each": {"boxes": BOXES[:2]}}, ValueError, r"`each\['boxes'\]` must hold one"),
    (change(), {"batch_size": 0}, ValueError, "`batch_size` must be a whole number >= 1"),
]


@pytest.mark.parametrize(("make", "options", "error", "text"), BAD)
def test_bad_input(random_model, make, options, error, text):
    found, _ = found_by(random_model)
    with pytest.raises(error, match=text):
        saliency_of_detections(random_model, PICTURES, make(found), **options)
