"""KernelSHAP, LIME, Sobol indices and HSIC against enumeration, closed forms and matrices."""

from itertools import chain, combinations
from math import factorial

import keras
import numpy as np
import pytest
from scipy.stats import qmc

from whitebox_loc.introspect import saliency
from whitebox_loc.introspect.methods.perturbation.masks import segment_labels
from whitebox_loc.introspect.methods.perturbation.surrogates import _coalitions

# A float32 model with sums of up to 100 terms is exact to 100 * 2**-24 = 6e-6 of their size.
CLOSE = 2e-5
LABELS = np.array([[7, 7, 1, 1], [7, 0, 0, 1], [5, 5, 0, 3]])  # 5 segments, of uneven sizes


class Net:
    """Flatten, Dense(6, tanh), Dense(2): the model, and the same in float64."""

    def __init__(self, size=(8, 6), channels=2, seed=0):
        random = np.random.default_rng(seed)
        shapes = [(size[0] * size[1] * channels, 6), (6,), (6, 2), (2,)]
        self.weights = [random.normal(size=s).astype("float32") / s[0] ** 0.5 for s in shapes]
        self.model = keras.Sequential(
            [
                keras.Input((*size, channels)),
                keras.layers.Flatten(),
                keras.layers.Dense(6, activation="tanh"),
                keras.layers.Dense(2),
            ]
        )
        self.model.set_weights(self.weights)
        self.images = random.random((3, *size, channels)).astype("float32")

    def __call__(self, image):
        a, b, c, d = (w.astype(float) for w in self.weights)
        return np.tanh(image.astype(float).ravel() @ a + b) @ c + d

    def masked(self, image, shown, labels, base=0.0):
        """Outputs (s, 2) where a share (s, m) of each segment is shown."""
        mixed = [m[..., None] * image + (1 - m[..., None]) * base for m in shown[:, labels]]
        return np.array([self(x) for x in mixed])


def linear(size, channels):
    model = keras.Sequential(
        [keras.Input((*size, channels)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    return model, model.get_weights()[0].astype(float).reshape(*size, channels, 2)


def even(values, labels):
    """Maps whose sum over each segment is its value (..., m)."""
    return (values / np.bincount(labels.ravel()))[..., labels]


@pytest.mark.parametrize("method", ["kernel_shap", "lime"])
@pytest.mark.parametrize("samples", [40, 1000])
@pytest.mark.parametrize("segments", [(2, 3), LABELS])
def test_linear_models_are_explained_exactly(method, samples, segments):
    # With 6 and 5 segments, 1000 samples enumerate all sets for kernel_shap and 40 do so
    # for the second only. Either way the fit of a linear function is the function.
    model, weights = linear((3, 4), channels=2)
    images = np.random.default_rng(1).random((4, 3, 4, 2), "float32")
    base = np.random.default_rng(2).random((3, 4, 2), "float32")
    found = saliency(
        model, images, [0, 1], method, segments=segments, samples=samples, baseline=base
    )
    effects = np.einsum("yxck,nyxc->knyx", weights, images.astype(float) - base)
    labels = segment_labels(segments, (3, 4))
    sums = np.stack([effects[..., labels == s].sum(-1) for s in range(labels.max() + 1)], -1)
    np.testing.assert_allclose(found, even(sums, labels), rtol=0, atol=CLOSE)


def shapley(value, count):
    """Shapley values by their definition: a sum over all sets without the player."""
    found = np.zeros(count)
    for player in range(count):
        others = [p for p in range(count) if p != player]
        subsets = chain.from_iterable(combinations(others, size) for size in range(count))
        for subset in subsets:
            size = len(subset)
            weight = factorial(size) * factorial(count - size - 1) / factorial(count)
            found[player] += weight * (value({*subset, player}) - value(set(subset)))
    return found


@pytest.mark.parametrize("base", [0.0, 0.8])
def test_kernel_shap_is_exact_on_all_256_sets(base):
    net, labels = Net(), segment_labels((4, 2), (8, 6))
    found, info = saliency(
        net.model, net.images, [0, 1], "kernel_shap", segments=(4, 2), samples=256,
        baseline=base, return_info=True,
    )  # fmt: skip
    assert info.passes == 3 * 256
    for n, image in enumerate(net.images):
        shown = (np.arange(256)[:, None] >> np.arange(8)) & 1
        values = net.masked(image, shown, labels, base)
        for k in range(2):
            exact = shapley(lambda s, v=values[:, k]: v[sum(1 << p for p in s)], 8)
            np.testing.assert_allclose(found[k, n], even(exact, labels), rtol=0, atol=CLOSE)
    # The maps are rounded to float32, 48 numbers of about 0.1.
    np.testing.assert_allclose(info.gap, 0, atol=1e-6)
    black = net(np.full_like(net.images[0], base))
    np.testing.assert_allclose(info.reference, np.tile(black[:, None], 3), atol=CLOSE)


def test_sampled_kernel_shap_approaches_the_exact_one_and_stays_complete():
    net = Net(seed=4)
    options = {"segments": (4, 2), "return_info": True}
    exact, _ = saliency(net.model, net.images, [0, 1], "kernel_shap", samples=256, **options)
    errors = []
    for samples in (32, 128):
        runs = [
            saliency(net.model, net.images, [0, 1], "kernel_shap", samples=samples, seed=s,
                     **options)
            for s in range(8)
        ]  # fmt: skip
        for _, info in runs:
            assert info.passes == 3 * samples
            np.testing.assert_allclose(info.gap, 0, atol=1e-6)
        errors.append(np.mean([(maps - exact) ** 2 for maps, _ in runs]))
    scale = np.mean(exact**2)
    # Four times the samples, a quarter of the squared error; half is left for chance.
    assert errors[1] < errors[0] / 2 < scale * 0.05


def test_drawn_sets_come_in_pairs_with_the_chances_of_the_kernel():
    shown, weights = _coalitions(14, 8002, 0)
    assert not shown[0].any()
    assert shown[1].all()
    first, second = shown[2:4002], shown[4002:]
    np.testing.assert_array_equal(first, ~second)
    assert (weights == 1).all()
    # Kernel weight of a set times number of sets of that size: 1 / (size (14 - size)).
    chances = np.array([1 / (s * (14 - s)) for s in range(1, 14)])
    counts = np.bincount(first.sum(1), minlength=15)[1:14]
    # 4.5 standard errors of a share are at most 4.5 * sqrt(1 / 4 / 4000) = 0.036.
    np.testing.assert_allclose(counts / 4000, chances / chances.sum(), atol=0.036)
    np.testing.assert_allclose(first.mean(0), 0.5, atol=0.036)


def test_one_segment_has_the_whole_difference():
    net = Net()
    found = saliency(net.model, net.images, [0, 1], "kernel_shap", segments=(1, 1))
    whole = np.array([net(x) - net(0 * x) for x in net.images]).T
    np.testing.assert_allclose(found.sum((2, 3)), whole, atol=1e-6 + CLOSE)
    assert np.ptp(found, axis=(2, 3)).max() == 0


@pytest.mark.parametrize(("ridge", "width"), [(0.0, 0.25), (1.0, 0.5)])
def test_lime_is_a_weighted_ridge_fit(ridge, width):
    net, labels = Net(), segment_labels((2, 3), (8, 6))
    found = saliency(
        net.model, net.images, [0, 1], "lime", segments=(2, 3), samples=50, seed=3,
        ridge=ridge, kernel_width=width,
    )  # fmt: skip
    shown = np.random.default_rng(3).random((50, 6)) < 0.5
    shown[0] = True
    # Rows of the constant and the six segments, times the root of their weight; below them
    # the ridge, which leaves the constant alone.
    length = np.sqrt(shown.sum(1))
    cosine = shown @ np.ones(6) / np.where(length, length, 1) / np.sqrt(6)
    root = np.exp(-((1 - cosine) ** 2) / width**2) ** 0.5
    rows = np.column_stack([np.ones(50), shown]) * root[:, None]
    rows = np.vstack([rows, np.sqrt(ridge) * np.eye(7)[1:]])
    for n, image in enumerate(net.images):
        values = net.masked(image, shown.astype(float), labels) * root[:, None]
        right = np.vstack([values, np.zeros((6, 2))])
        fit = np.linalg.lstsq(rows, right, rcond=None)[0][1:].T
        # The inverse of the weighted design enlarges the model's rounding some ten times.
        np.testing.assert_allclose(found[:, n], even(fit, labels), rtol=0, atol=10 * CLOSE)


def shares_model(function, cells):
    """A model whose output is a function of what is seen of each cell of a white image."""
    inputs = keras.Input((2 * cells, 2, 1))
    seen = keras.layers.Flatten()(keras.layers.AveragePooling2D(2)(inputs))
    outputs = keras.layers.Lambda(lambda u: function(u)[:, None])(seen)
    return keras.Model(inputs, outputs), np.ones((1, 2 * cells, 2, 1), "float32")


def ishigami(seen):
    x = np.pi * (2 * seen - 1)
    sin = keras.ops.sin(x)
    return sin[:, 0] + 7 * sin[:, 1] ** 2 + 0.1 * x[:, 2] ** 4 * sin[:, 0]


def product(seen):
    # (1 + a u) with u = sqrt(3) (2 m - 1), of mean 0 and variance 1.
    return keras.ops.prod(1 + np.array([1.0, 0.5, 0.25, 0.0]) * 3**0.5 * (2 * seen - 1), axis=1)


def ishigami_indices():
    b, pi = 0.1, np.pi
    first = 0.5 * (1 + b * pi**4 / 5) ** 2
    both = b**2 * pi**8 * (1 / 18 - 1 / 50)
    second = 7**2 / 8
    return np.array([first + both, second, both]) / (first + both + second)


def product_indices():
    squares = np.array([1.0, 0.5, 0.25, 0.0]) ** 2
    total = np.prod(1 + squares)
    return squares * total / (1 + squares) / (total - 1)


@pytest.mark.parametrize(
    ("function", "exact"), [(ishigami, ishigami_indices()), (product, product_indices())]
)
def test_sobol_finds_the_analytic_indices(function, exact):
    cells = len(exact)
    model, images = shares_model(function, cells)
    found = saliency(model, images, 0, "sobol", segments=(cells, 1), samples=2048)
    assert (found[0, ::2] == found[0, 1::2]).all()
    # Of 2048 independent samples, half the mean squared difference over the variance has a
    # standard error of at most 2 / sqrt(2048) = 0.044 for these functions (kurtosis of the
    # difference < 16); the sequence does better. A first-order index would be off by 0.24.
    np.testing.assert_allclose(found[0, ::2, 0], exact, atol=0.04)


def test_sobol_against_loops():
    net, labels = Net(size=(3, 4)), segment_labels(LABELS, (3, 4))
    found = saliency(net.model, net.images, [0, 1], "sobol", segments=LABELS, samples=16, seed=2)
    sequence = qmc.Sobol(10, scramble=True, seed=np.random.default_rng(2)).random(16)
    first, second = sequence[:, :5], sequence[:, 5:]
    for n, image in enumerate(net.images):
        for k in range(2):
            base = net.masked(image, first, labels)[:, k]
            others = []
            for segment in range(5):
                mixed = first.copy()
                mixed[:, segment] = second[:, segment]
                others.append(net.masked(image, mixed, labels)[:, k])
            variance = np.var(np.concatenate([base, *others]))
            index = [np.mean((base - other) ** 2) / 2 / variance for other in others]
            np.testing.assert_allclose(found[k, n], np.array(index)[labels], atol=1e-4)


def test_hsic_against_matrices():
    net, labels = Net(size=(3, 4)), segment_labels(LABELS, (3, 4))
    found = saliency(net.model, net.images, [0, 1], "hsic", segments=LABELS, samples=30, seed=6)
    shown = np.random.default_rng(6).random((30, 5)) < 0.5
    center = np.eye(30) - 1 / 30
    for n, image in enumerate(net.images):
        for k in range(2):
            values = net.masked(image, shown.astype(float), labels)[:, k]
            distance = np.abs(values[:, None] - values)
            width = np.median([distance[i, j] for i, j in combinations(range(30), 2)])
            gauss = np.exp(-(distance**2) / (2 * width**2))
            for segment in range(5):
                same = (shown[:, segment, None] == shown[:, segment]) - 0.5
                expected = np.trace(same @ center @ gauss @ center) / 29**2
                at = found[k, n][labels == segment]
                # Values are exact to some 1e-6, distances to 1e-5 of the median.
                np.testing.assert_allclose(at, expected, rtol=1e-3, atol=1e-6)


def test_hsic_tells_what_matters():
    # Only the first of three cells matters, and gives two targets, 0 and 1. The width is the
    # median distance, 1 or, where that is 0, the mean, some 1/2. Then L is (1 - e) / 2 times
    # z z' and a constant, with e = exp(-1 / 2) or exp(-2), and HSIC is (1 - e) / 4 for the
    # first cell; for another, as much times its squared chance correlation with the first.
    model, images = shares_model(lambda seen: keras.ops.cast(seen[:, 0] > 0.5, "float32"), 3)
    for seed in range(4):
        found = saliency(model, images, 0, "hsic", segments=(3, 1), samples=512, seed=seed)
        first = found[0, 0, 0]
        exact = (1 - np.exp([-0.5, -2])) / 4
        # The share of ones is 1/2 up to 4 standard errors, 0.09, and its variance 1/4 to 3 %.
        assert (np.abs(first / exact - 1) < 0.05).any()
        assert found[0, 2:].max() < 4**2 / 512 * first * 1.05


def test_hsic_takes_rounding_for_no_distance():
    # Two cells together move the target: in 10 of 16 pairs it is the same, and the width is the
    # mean distance, 0.25 * 6 / 16. One unit in the last place more or less, which the third
    # cell adds, is what another processor may add: it must not become the width.
    def target(seen, noise):
        both = keras.ops.cast((seen[:, 0] > 0.5) & (seen[:, 1] > 0.5), "float32")
        return 0.5 + 0.25 * both + noise * seen[:, 2]

    def maps(noise):
        model, images = shares_model(lambda seen: target(seen, noise), 3)
        return saliency(model, images, 0, "hsic", segments=(3, 1), samples=256)

    # exp(-(d / w)^2 / 2) moves by at most 1.4 rounding / w, and a map by at most half of it.
    np.testing.assert_allclose(maps(2.0**-24), maps(0.0), rtol=0, atol=2.0**-24 / 0.09)
    assert maps(0.0).max() > 0.01


def test_segments():
    grid = segment_labels((2, 3), (4, 5))
    expected = [[0, 0, 1, 1, 2]] * 2 + [[3, 3, 4, 4, 5]] * 2
    np.testing.assert_array_equal(grid, expected)
    np.testing.assert_array_equal(segment_labels((8, 8), (3, 2)), np.arange(6).reshape(3, 2))
    np.testing.assert_array_equal(
        segment_labels(LABELS, (3, 4)), [[4, 4, 1, 1], [4, 0, 0, 1], [3, 3, 0, 2]]
    )


ERRORS = [
    ("lime", {"segments": (0, 1)}, r"`segments` of a grid must be at least \(1, 1\); got \(0, 1\)"),
    ("sobol", {"segments": np.zeros((6, 8), int)}, r"`segments` must be two .*\(8, 6\) .*\(6, 8\)"),
    ("hsic", {"segments": (1.0, 2.0)}, r"`segments` must be two .*of dtype float64"),
    ("kernel_shap", {"samples": 3}, "`samples` must be a whole number >= 4; got 3"),
    ("kernel_shap", {"samples": 10}, "`samples` must be larger: 10 masks do not tell 16 segments"),
    ("lime", {"samples": 10}, "`samples` must be larger: 10 masks do not tell 16 segments"),
    ("lime", {"kernel_width": 0}, "`kernel_width` must be a finite number >= 0.001; got 0"),
    ("lime", {"ridge": -1.0}, "`ridge` must be a finite number >= 0.0; got -1.0"),
    ("sobol", {"samples": 24}, "`samples` must be a power of 2, .*got 24. Take 32."),
    ("hsic", {"samples": 1}, "`samples` must be a whole number between 2 and 20000; got 1"),
]


@pytest.mark.parametrize(("method", "options", "message"), ERRORS)
def test_bad_options(method, options, message):
    net = Net()
    with pytest.raises(ValueError, match=message):
        saliency(net.model, net.images, 0, method, **options)
