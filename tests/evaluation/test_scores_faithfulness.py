"""Infidelity and the completeness gap: closed forms, slow rewrites, laws."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whitebox_loc.data import Scene, render
from whitebox_loc.evaluation.audits.known_models import crossed_lines
from whitebox_loc.evaluation.scores import completeness_gap, infidelity
from whitebox_loc.evaluation.scores.faithfulness import _edge_moves
from whitebox_loc.introspect import saliency

SIZE = (8, 10)
SCENE = Scene(size=SIZE)
BOXES = np.array([[1, 2, 7, 8], [2, 1, 6, 9]])
IMAGES = render(BOXES, SCENE)
WORLD = {"boxes": BOXES, "scene": SCENE}
MODEL = crossed_lines(SIZE)
SLOPES = saliency(MODEL, IMAGES, "top")
rng = np.random.default_rng(0)


def squares():
    """A model whose top is the sum of squared pixels over 80, not linear."""
    images = keras.Input((*SIZE, 1))
    total = keras.ops.mean(images**2, axis=(1, 2))
    return keras.Model(images, keras.layers.Concatenate(name="box")([total] * 4))


@pytest.mark.parametrize("perturbation", ["noise", "square", "render"])
@pytest.mark.parametrize("form", [{}, {"scaled": True}, {"scaled": True, "relative": True}])
def test_a_linear_model_with_its_gradient_has_none(perturbation, form):
    found = infidelity(
        MODEL, IMAGES, SLOPES, perturbation=perturbation, samples=64, **form, **WORLD
    )
    # float32 rounding of outputs near 0.5, 2**-25, times 8 pixels, squared: 6e-14; relative to
    # changes of 1 pixel.
    np.testing.assert_allclose(found, 0, atol=1e-11)


@pytest.mark.parametrize("perturbation", ["noise", "square", "render"])
def test_a_zero_map_has_the_mean_square_of_the_change(perturbation):
    blank = np.zeros_like(SLOPES)
    options = {"perturbation": perturbation, "samples": 64, **WORLD}
    assert (infidelity(MODEL, IMAGES, blank, **options) > 0).all()
    share = infidelity(MODEL, IMAGES, blank, scaled=True, relative=True, **options)
    np.testing.assert_array_equal(share, 1)


def test_noise_on_a_linear_model_has_a_closed_form():
    """E (I.(a - w))^2 = noise^2 |a - w|^2, in pixels squared."""
    wrong = SLOPES[:1] + rng.normal(size=(1, *SIZE)).astype("float32") / 8
    many = np.repeat(IMAGES[:1], 100, axis=0), np.repeat(wrong, 100, axis=0)
    found = infidelity(MODEL, *many, samples=40, noise=0.5).mean()
    exact = 0.25 * ((8 * (wrong - SLOPES[:1]).astype(np.float64)) ** 2).sum()
    # A mean of 4,000 squares of a Gaussian has a relative standard error of sqrt(2 / 4000), 2.2%.
    np.testing.assert_allclose(found, exact, rtol=5 * 0.0224)


def test_noise_on_a_quadratic_model_has_a_closed_form():
    """With a the gradient, I.a - (f(x) - f(x - I)) is |I|^2 / 80: second and fourth moments."""
    images = np.zeros((100, *SIZE, 1), "float32")
    found = infidelity(squares(), images, np.zeros((100, *SIZE)), samples=20, noise=0.5)
    # E |I|^4 = noise^4 (80^2 + 2 * 80), times (8 / 80)^2.
    # Four times the relative standard error of 2,000 values of |I|^4, sqrt(8 / 80 / 2000).
    assert found.mean() == pytest.approx(0.5**4 * (6400 + 160) * 0.01, rel=0.03)


def test_edge_moves_by_hand():
    """Each of the four edges moves equally often, by 1 to 3 pixels as far as is legal."""
    scene, box = Scene(size=(20, 20)), np.array([[5, 5, 15, 15]] * 100)
    model, images = crossed_lines((20, 20)), render(box, scene)
    found = infidelity(
        model, images, np.zeros((100, 20, 20)), perturbation="render", samples=40, boxes=box,
        scene=scene,
    )  # fmt: skip
    # top moves by 1, 2 or 3 pixels in a quarter of cases: (1 + 4 + 9) / 3 / 4; the standard
    # deviation of a square is 2.6, that of the mean 0.04.
    assert found.mean() == pytest.approx(14 / 12, abs=5 * 0.042)
    # Half a map explains half of each change, whatever it is.
    half = saliency(model, images, "top") / 2
    blank, halved = (
        infidelity(model, images, m, perturbation="render", boxes=box, scene=scene)
        for m in (np.zeros_like(half), half)
    )
    np.testing.assert_allclose(halved, blank / 4, rtol=1e-5)


def test_moved_boxes_stay_legal_at_every_border():
    """`render` refuses a box outside of the image; one without area would be drawn black."""
    scene, boxes = Scene(size=(4, 3)), np.array([[0, 0, 4, 3], [0, 0, 1, 1], [3, 2, 4, 3]])
    moves = _edge_moves(boxes, scene, None, 0)
    areas = np.stack([next(moves).sum((1, 2, 3)) for _ in range(100)])
    assert areas.min() >= 1
    # The whole image can lose one to three rows, or one or two columns; one pixel can gain them.
    assert set(areas[:, 0]) == {12, 9, 6, 3, 8, 4}
    assert set(areas[:, 1]) == set(areas[:, 2]) == {1, 2, 3, 4}


def test_squares_are_black_and_inside():
    """With a = 0 and f the mean of the image, the change is side^2 / 80 for every square."""
    images = np.ones((2, *SIZE, 1), "float32")
    found = infidelity(
        squares(), images, np.zeros((2, *SIZE)), perturbation="square", side=3, samples=50
    )
    np.testing.assert_allclose(found, (8 * 9 / 80) ** 2, rtol=1e-5)


@given(st.floats(-4, 4).filter(lambda f: abs(f) > 0.1))
def test_scaled_infidelity_does_not_know_the_unit_and_is_least(factor):
    wrong = SLOPES + np.float32(0.1) * np.roll(SLOPES, 1, axis=2)
    options = {"samples": 8, "relative": True}
    best = infidelity(MODEL, IMAGES, wrong, scaled=True, **options)
    again = infidelity(MODEL, IMAGES, np.float32(factor) * wrong, scaled=True, **options)
    np.testing.assert_allclose(again, best, rtol=1e-4, atol=1e-8)
    assert (best <= infidelity(MODEL, IMAGES, np.float32(factor) * wrong, **options) + 1e-9).all()
    assert ((best >= 0) & (best <= 1)).all()


def test_images_may_come_in_any_order_and_batch():
    wrong = np.roll(SLOPES, 2, axis=2)
    options = {"perturbation": "render", "samples": 4, "scene": SCENE}
    first = infidelity(MODEL, IMAGES, wrong, boxes=BOXES, batch_size=1, **options)
    np.testing.assert_allclose(
        infidelity(MODEL, IMAGES, wrong, boxes=BOXES, **options), first, rtol=1e-5
    )
    assert (first > 0).all()


def test_a_target_that_never_changes_has_no_share():
    model = crossed_lines(SIZE)
    model.layers[-1].set_weights([np.zeros((80, 4)), np.zeros(4)])
    options = {"samples": 3, "scaled": True, "relative": True}
    assert np.isnan(infidelity(model, IMAGES, SLOPES, **options)).all()


def test_completeness_gap_by_hand_and_from_saliency():
    maps = np.array([[[1.0, 2.0]], [[-1.0, 0.0]], [[0.0, 0.0]], [[1.0, 1.0]]])
    # Differences 2.4, -2, 0 and 2.
    found = completeness_gap(maps, [0.6, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(found, [0.25, 0.5, np.nan, 0.0], rtol=1e-15)
    exact, info = saliency(MODEL, IMAGES, "top", "integrated_gradients", steps=3, return_info=True)
    # Outputs of float32 near 0.5 against a difference of 2 / 8.
    np.testing.assert_allclose(completeness_gap(exact, info.gap), 0, atol=1e-6)
    shifted = exact + np.float32(1 / 80)
    gap = info.gap + 1
    difference = exact.sum((1, 2)) - info.gap
    np.testing.assert_allclose(completeness_gap(shifted, gap), np.abs(gap / difference), rtol=1e-5)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="`perturbation` must be one of"):
        infidelity(MODEL, IMAGES, SLOPES, perturbation="blur")
    with pytest.raises(ValueError, match="`side` must be a whole number between 1 and 8"):
        infidelity(MODEL, IMAGES, SLOPES, perturbation="square", side=9)
    with pytest.raises(ValueError, match="`samples`"):
        infidelity(MODEL, IMAGES, SLOPES, samples=0)
    with pytest.raises(ValueError, match="`boxes` and `scene` must be given"):
        infidelity(MODEL, IMAGES, SLOPES, perturbation="render")
    with pytest.raises(ValueError, match=r"`gap` must have shape \(2,\)"):
        completeness_gap(SLOPES, [1.0])
