"""Randomization: the model stays, similarities equal rewrites, hand-made methods score as known."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import spearmanr

import whitebox_loc as wb
from whitebox_loc.evaluation.scores import efficient_randomization, randomization
from whitebox_loc.evaluation.scores.similarity import rank_correlation, structural_similarity

SIZE = (8, 8)
IMAGES = wb.data.generate(wb.data.Scene(size=SIZE), 3, seed=0).images
rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model():
    return wb.models.localizer(size=SIZE, head="dense", filters=(3, 3), seed=1)


def from_layer(name):
    """A method whose map is made of one layer's weights and nothing else."""

    def explain(model, images):
        kernel = model.get_layer(name).get_weights()[0].ravel()
        return np.broadcast_to(np.resize(kernel, SIZE), (len(images), *SIZE))

    return explain


def edges(model, images):
    return np.abs(np.diff(images[..., 0], axis=2, prepend=0))


def test_the_model_stays_as_it_is(model):
    before = [w.copy() for w in model.get_weights()]
    boxes = np.array(model(IMAGES))
    randomization(model, IMAGES, wb.introspect.saliency, samples=2)
    efficient_randomization(model, IMAGES, wb.introspect.saliency)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    np.testing.assert_array_equal(model(IMAGES), boxes)


def test_a_method_that_ignores_the_model_does_not_change(model):
    # Correlations of a map with itself: one rounding of float64.
    np.testing.assert_allclose(randomization(model, IMAGES, edges), 1, rtol=1e-12)
    np.testing.assert_allclose(randomization(model, IMAGES, edges, similarity="ssim"), 1)
    np.testing.assert_array_equal(efficient_randomization(model, IMAGES, edges), 0)


@pytest.mark.parametrize(
    ("order", "names"), [("top_down", ["box", "conv2", "conv1"]), ("bottom_up", None)]
)
def test_layers_are_randomized_one_after_another_and_stay_so(model, order, names):
    names = names or ["conv1", "conv2", "box"]
    for name in ("box", "conv2", "conv1"):
        scores, layers, steps = randomization(
            model, IMAGES, from_layer(name), order=order, return_layers=True
        )
        assert layers == names
        turn = layers.index(name)
        np.testing.assert_allclose(steps[:turn], 1, rtol=1e-12)
        assert (steps[turn:] < 0.9).all()
        # From its turn on the layer's weights are the same random ones.
        np.testing.assert_array_equal(steps[turn:], np.repeat(steps[turn : turn + 1], 3 - turn, 0))
        np.testing.assert_allclose(scores, steps.mean(0), rtol=1e-12)


def test_every_layer_of_a_nested_model_is_reached():
    inner = wb.models.localizer(size=SIZE, head="dense", filters=(3,))
    image = keras.Input((*SIZE, 1))
    outer = keras.Model(image, keras.layers.Rescaling(1.0, name="box")(inner(image)))
    before = outer.get_weights()
    *_, layers, _ = randomization(outer, IMAGES, edges, return_layers=True)
    assert [name.rpartition("/")[2] for name in layers] == ["box", "conv1"]
    assert all((a == b).all() for a, b in zip(before, outer.get_weights(), strict=True))


def test_sign_flips_pass_only_where_maps_are_compared_with_their_signs(model):
    """A method whose map turns round with the model's first weight."""
    values = rng.normal(size=(3, *SIZE))
    first = model.get_layer("box").get_weights()[0].flat[0]

    def flipping(model, images):
        kernel = model.get_layer("box").get_weights()[0]
        return values if kernel.flat[0] == first else -values

    np.testing.assert_allclose(randomization(model, IMAGES, flipping), 1, rtol=1e-12)
    np.testing.assert_allclose(
        randomization(model, IMAGES, flipping, absolute=False), -1, rtol=1e-12
    )


def test_smooth_maps_are_means_over_the_same_noise(model):
    """A method that returns the image: its mean over the noise, compared with itself."""
    seen = []

    def shown(model, images):
        seen.append(images.copy())
        return images[..., 0]

    np.testing.assert_allclose(
        randomization(model, IMAGES, shown, samples=3, noise=0.2, seed=5), 1, rtol=1e-12
    )
    # The model and its three random states, three noisy images each.
    assert len(seen) == 12
    for start in (3, 6, 9):
        np.testing.assert_array_equal(seen[start : start + 3], seen[:3])
    grain = np.stack(seen[:3]) - IMAGES
    assert grain.std() == pytest.approx(0.2, rel=0.1)  # 576 numbers: 3% standard error
    assert np.abs(grain[0] - grain[1]).max() > 0.1


def test_smoothing_helps_a_noisy_method(model):
    """Map = fixed part + noise of the image: means agree more than single maps."""

    def explain(model, images):
        return np.arange(64.0).reshape(SIZE) / 30 + rng.normal(size=(len(images), *SIZE))

    plain = randomization(model, IMAGES, explain).mean()
    smooth = randomization(model, IMAGES, explain, samples=25, noise=0.0).mean()
    assert smooth > plain + 0.2


def test_the_seed_decides(model):
    first, again, other = (
        randomization(model, IMAGES, wb.introspect.saliency, seed=s) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_a_map_that_ranks_nothing_is_undefined_and_one_that_becomes_so_is_unlike(model):
    blank = np.zeros((3, *SIZE))
    assert np.isnan(randomization(model, IMAGES, lambda m, x: blank)).all()
    assert np.isnan(efficient_randomization(model, IMAGES, lambda m, x: blank)).all()
    own = model.get_weights()[0]

    def dying(model, images):
        return edges(model, images) * (model.get_weights()[0] == own).all()

    _, _, steps = randomization(model, IMAGES, dying, order="bottom_up", return_layers=True)
    np.testing.assert_array_equal(steps, 0)


def test_complexity_rise_by_hand(model):
    """Two values half and half become 64 different ones: entropy log 2 becomes log 64."""
    own = model.get_weights()[0]
    two = np.repeat([[0.0, 1.0]], 32, axis=0).reshape(1, *SIZE)
    many = np.arange(64.0).reshape(1, *SIZE) * 1e-6 + 5

    def explain(model, images):
        return two if (model.get_weights()[0] == own).all() else many

    found = efficient_randomization(model, IMAGES[:1], explain, bins=64)
    assert found[0] == pytest.approx((math.log(64) - math.log(2)) / math.log(2), rel=1e-12)


@given(hnp.arrays(np.float64, (2, 2, 3, 3), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])))
def test_rank_correlation_equals_scipy(pair):
    first, second = pair
    for a, b, found in zip(first, second, rank_correlation(first, second), strict=True):
        if np.ptp(a) == 0:
            assert np.isnan(found)
        elif np.ptp(b) == 0:
            assert found == 0
        else:
            assert found == pytest.approx(spearmanr(a, b, axis=None).statistic, abs=1e-12)


def ssim_by_loop(a, b):
    """Weighted moments in windows of 11 x 11 around each pixel, mirrored at the border."""
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    bell = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(bell, bell) / bell.sum() ** 2
    wide = [np.pad(m, 5, mode="symmetric") for m in (a, b)]
    total = 0.0
    for y, x in np.ndindex(a.shape):
        u, v = (w[y : y + 11, x : x + 11] for w in wide)
        mu, mv = (weights * u).sum(), (weights * v).sum()
        su, sv = (weights * (u - mu) ** 2).sum(), (weights * (v - mv) ** 2).sum()
        both = (weights * (u - mu) * (v - mv)).sum()
        c1, c2 = 0.02**2, 0.06**2
        total += (2 * mu * mv + c1) * (2 * both + c2) / ((mu**2 + mv**2 + c1) * (su + sv + c2))
    return total / a.size


def test_ssim_equals_a_slow_rewrite():
    first = rng.normal(size=(2, 9, 12))
    second = first + rng.normal(size=first.shape) / 2
    found = structural_similarity(first, second)
    wanted = [ssim_by_loop(a, b) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    np.testing.assert_allclose(structural_similarity(first, 5 * first), 1, rtol=1e-12)
    assert np.isnan(structural_similarity(0 * first, second)).all()


def test_errors_name_the_argument(model):
    class Own(keras.Model):
        def __init__(self, width):
            super().__init__()
            self.dense = keras.layers.Dense(width)

        def call(self, x):
            return self.dense(keras.ops.mean(x, axis=(1, 2)))

    own = Own(4)
    own(IMAGES)
    with pytest.raises(ValueError, match="cannot be copied by"):
        randomization(own, IMAGES, edges)
    bare = keras.Sequential([keras.Input((*SIZE, 1)), keras.layers.Flatten()])
    with pytest.raises(ValueError, match="has no weights to randomize"):
        randomization(bare, IMAGES, edges)
    with pytest.raises(ValueError, match="`order` must be one of"):
        randomization(model, IMAGES, edges, order="up")
    with pytest.raises(ValueError, match="`similarity` must be one of"):
        randomization(model, IMAGES, edges, similarity="l2")
