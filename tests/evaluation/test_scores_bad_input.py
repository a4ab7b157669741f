"""Scores refuse what would be a perfect score or NaN for no reason, and say what is wrong."""

import re

import keras
import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc import evaluation
from whitebox_loc.evaluation.audits.known_models import crossed_lines

SIZE = (6, 8)
SCENE = wb.data.Scene(size=SIZE)
BATCH = wb.data.generate(SCENE, 2, seed=0)
MAPS = np.ones((2, *SIZE))
MODEL = crossed_lines(SIZE)


def gradient(images):
    return np.ones(images.shape[:3])


def spoiled(array, value):
    """A copy with one bad number."""
    array = np.array(array, np.float64)
    array[1, 2, 3] = value
    return array


def of_method(model, images):
    return gradient(images)


WITH_IMAGES = {
    "deletion": lambda images: evaluation.deletion(MODEL, images, MAPS),
    "insertion": lambda images: evaluation.insertion(MODEL, images, MAPS),
    "infidelity": lambda images: evaluation.infidelity(MODEL, images, MAPS),
    "max_sensitivity": lambda images: evaluation.max_sensitivity(gradient, images),
    "randomization": lambda images: evaluation.randomization(MODEL, images, of_method),
    "efficient_randomization": lambda images: evaluation.efficient_randomization(
        MODEL, images, of_method
    ),
}

MASKS = np.ones((2, *SIZE), bool)

WITH_MAPS = {
    "deletion": lambda maps: evaluation.deletion(MODEL, BATCH.images, maps),
    "insertion": lambda maps: evaluation.insertion(MODEL, BATCH.images, maps),
    "infidelity": lambda maps: evaluation.infidelity(MODEL, BATCH.images, maps),
    "completeness_gap": lambda maps: evaluation.completeness_gap(maps, [0.0, 0.0]),
    "mass_accuracy": lambda maps: evaluation.mass_accuracy(maps, MASKS),
    "rank_accuracy": lambda maps: evaluation.rank_accuracy(maps, MASKS),
    "pointing_game": lambda maps: evaluation.pointing_game(maps, MASKS),
    "gini": evaluation.gini,
    "entropy": evaluation.entropy,
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", WITH_IMAGES)
def test_images_must_be_finite(name, value):
    message = f"`images` must be finite; got {value} at index (1, 2, 3, 0), 1 such of 96 in all."
    with pytest.raises(ValueError, match=re.escape(message)):
        WITH_IMAGES[name](spoiled(BATCH.images, value).astype("float32"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", WITH_MAPS)
def test_maps_must_be_finite(name, value):
    message = f"`maps` must be finite; got {value} at index (1, 2, 3), 1 such of 96 in all."
    with pytest.raises(ValueError, match=re.escape(message)):
        WITH_MAPS[name](spoiled(MAPS, value))


def test_every_score_of_maps_or_images_is_tried():
    scores = set(evaluation.scores.__all__) - {"METRICS", "Metric", "Trial", "evidence_signs"}
    assert scores == set(WITH_IMAGES) | set(WITH_MAPS)


def test_cross_talk_and_gaps_must_be_finite():
    with pytest.raises(ValueError, match=r"^`maps` must be finite; got nan at index \(1, 2, 3, 0"):
        evaluation.cross_talk(spoiled(np.ones((4, 5, 6, 8)), np.nan), [[0, 0, 2, 2]] * 5)
    with pytest.raises(ValueError, match=r"^`gap` must be finite; got nan at index \(1,\)"):
        evaluation.completeness_gap(MAPS, [0.0, np.nan])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: evaluation.infidelity(MODEL, BATCH.images, MAPS, noise=0.0),
            "`noise` must be a finite number above 0; got 0.0.",
        ),
        (
            lambda: evaluation.max_sensitivity(gradient, BATCH.images, radius=0.0),
            "`radius` must be a finite number above 0; got 0.0.",
        ),
        (
            lambda: evaluation.deletion(MODEL, BATCH.images, MAPS, steps="x"),
            "`steps` must be a whole number >= 1; got 'x' of type str.",
        ),
        (
            lambda: evaluation.mean_interval([1.0, 2.0], level=0),
            "`level` must be a finite number above 0 and at most 1; got 0.",
        ),
        (
            lambda: evaluation.max_sensitivity(None, BATCH.images),
            "`explain` must be a function from images to maps, of 1 argument; got None of type "
            "NoneType.",
        ),
    ],
    ids=["noise", "radius", "steps", "level", "explain"],
)
def test_bad_options_are_refused(call, message):
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert str(error.value) == message


def test_what_is_never_asked_is_undefined():
    """On a black image a black square changes nothing; any map would be faithful to that."""
    images = np.stack([np.zeros((*SIZE, 1)), np.ones((*SIZE, 1))]).astype("float32")
    found = evaluation.infidelity(MODEL, images, MAPS, perturbation="square", samples=3)
    assert np.isnan(found).tolist() == [True, False]
    # 1 + 1e-9 is 1 in float32, so that the bright image stays what it is; 0 + 1e-9 is not 0.
    found = evaluation.max_sensitivity(gradient, images, radius=1e-9)
    np.testing.assert_array_equal(found, [0, np.nan])


def test_an_edge_without_legal_moves_is_undefined():
    """One pixel has nowhere to go; each sample draws the same image."""
    scene, model = wb.data.Scene(size=(1, 1)), keras.Sequential([keras.Input((1, 1, 1))])
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(4))
    found = evaluation.infidelity(
        model, np.ones((1, 1, 1, 1), "float32"), [[[5.0]]],
        perturbation="render", boxes=[[0, 0, 1, 1]], scene=scene, samples=2,
    )  # fmt: skip
    assert np.isnan(found).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_interval_of_a_mean_drops_nothing(value):
    message = f"`values` must be finite; got {value} at index (1,), 2 such of 4 in all."
    with pytest.raises(ValueError, match=re.escape(message)):
        evaluation.mean_interval([1.0, value, 2.0, value])


def test_more_steps_than_pixels_are_a_step_a_pixel():
    """10**15 steps would not fit in memory; each count of pixels is met once."""
    curves = [
        evaluation.deletion(
            MODEL, BATCH.images, MAPS, spacing="linear", steps=steps, return_curve=True
        )
        for steps in (48, 10**15)
    ]
    assert curves[0][1].tolist() == list(range(49))
    for first, second in zip(*curves, strict=True):
        np.testing.assert_array_equal(first, second)


def kernel(name):
    """A map that is the weights of one layer."""

    def explain(model, images):
        weights = model.get_layer(name).get_weights()[0].ravel()
        return np.broadcast_to(np.resize(weights, SIZE), (len(images), *SIZE))

    return explain


def small(seed):
    return wb.models.localizer(size=SIZE, head="dense", filters=(3,), seed=seed)


@pytest.mark.parametrize("seed", [0, 3])
def test_random_weights_are_not_those_that_the_model_began_with(seed):
    """Of two draws of 27 weights or more Spearman is 0 give or take .2; of one draw twice, 1."""
    model = small(seed)
    for name in ("conv1", "box"):
        for again in (seed, np.random.default_rng(seed), np.random.SeedSequence(seed)):
            found = evaluation.randomization(
                model, BATCH.images, kernel(name), order="bottom_up", seed=again, return_layers=True
            )
            assert (np.abs(found[2][-1]) < 0.9).all()


@pytest.mark.parametrize("seed", [0, 3])
def test_the_random_model_of_efficient_randomization_is_another(seed):
    model, seen = small(seed), []

    def explain(model, images):
        seen.append([w.copy() for w in model.get_weights()])
        return np.arange(96.0).reshape(2, *SIZE)

    evaluation.efficient_randomization(model, BATCH.images, explain, seed=seed)
    # Conv and dense kernels differ in every number; biases begin with 0 in every model.
    for own, drawn in zip(*seen, strict=True):
        assert (own != drawn).all() == (own.ndim > 1)


def test_a_layer_that_stays_as_it_is_is_no_step():
    """A BatchNormalization that has learned nothing begins as it is: scale 1 and shift 0."""
    image = keras.Input((*SIZE, 1))
    dense = keras.layers.Dense(4, name="box")
    normalized = keras.layers.BatchNormalization(name="norm")(image)
    model = keras.Model(image, dense(keras.layers.Flatten()(normalized)))
    ask = {"explain": of_method, "return_layers": True}
    assert evaluation.randomization(model, BATCH.images, **ask)[1] == ["box"]
    model.get_layer("norm").gamma.assign([2.0])
    assert evaluation.randomization(model, BATCH.images, **ask)[1] == ["box", "norm"]


def test_a_model_without_random_initializers_cannot_be_randomized():
    dense = keras.layers.Dense(4, kernel_initializer="ones", name="box")
    model = keras.Sequential([keras.Input((*SIZE, 1)), keras.layers.Flatten(), dense], name="ones")
    for score in (evaluation.randomization, evaluation.efficient_randomization):
        message = (
            "`model` 'ones' cannot be randomized: the initializers of its layers draw the weights "
            "that it has. Give a layer a random initializer, such as 'glorot_uniform'."
        )
        with pytest.raises(ValueError, match=re.escape(message)):
            score(model, BATCH.images, of_method)
