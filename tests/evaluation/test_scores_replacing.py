"""Deletion and insertion against slow rewrites, a model worked out by hand, and their laws."""

import itertools

import keras
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from whitebox_loc.data import Scene, render
from whitebox_loc.evaluation.audits.known_models import crossed_lines
from whitebox_loc.evaluation.scores import deletion, insertion
from whitebox_loc.evaluation.scores.signs import evidence_of

SIZE = (8, 10)
EDGES = ("top", "left", "bottom", "right")
rng = np.random.default_rng(0)


def linear(kernel):
    """A model whose four outputs are sums of pixels times `kernel` (height, width, 4)."""
    model = keras.Sequential(
        [
            keras.Input((*kernel.shape[:2], 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(4, use_bias=False, name="box"),
        ]
    )
    model.layers[-1].set_weights([kernel.reshape(-1, 4)])
    return model


def curve_by_loop(kernel, image, values, filled, counts, insert):
    """Distances in fractions, pixel by pixel in float64; no equal |values|."""
    order = sorted(range(values.size), key=lambda i: -abs(values.flat[i]))
    there = float((kernel * image).sum())
    distances = []
    for count in counts:
        mixed = (filled if insert else image).copy()
        for i in order[:count]:
            mixed.flat[i] = (image if insert else filled).flat[i]
        distances.append(abs(float((kernel * mixed).sum()) - there))
    return distances


def area_by_loop(places, heights):
    steps = [
        (b - a) * (u + v) / 2
        for (a, b), (u, v) in zip(
            itertools.pairwise(places), itertools.pairwise(heights), strict=True
        )
    ]
    return sum(steps) / (places[-1] - places[0])


@pytest.mark.parametrize("spacing", ["log", "linear"])
@pytest.mark.parametrize("fill", ["black", "mean", "blur"])
@pytest.mark.parametrize("score", [deletion, insertion])
def test_curves_and_areas_equal_a_slow_rewrite(score, fill, spacing):
    kernel = rng.normal(size=(*SIZE, 4)).astype("float32") / 10
    images = rng.random((3, *SIZE, 1), "float32")
    maps = rng.normal(size=(3, *SIZE)).astype("float32")
    scores, counts, curves = score(
        linear(kernel), images, maps, "left", fill=fill, spacing=spacing, steps=5,
        return_curve=True, batch_size=7,
    )  # fmt: skip
    wanted_counts = {"linear": [0, 16, 32, 48, 64, 80], "log": [0, 1, 2, 4, 8, 16, 32, 64, 80]}
    assert counts.tolist() == wanted_counts[spacing]
    places = {"linear": counts, "log": [-1, 0, 1, 2, 3, 4, 5, 6, np.log2(80)]}[spacing]
    for i, image in enumerate(images[..., 0].astype(np.float64)):
        filled = {
            "black": np.zeros_like(image),
            "mean": np.full_like(image, image.mean()),
            "blur": gaussian_filter(image, 1.0, mode="nearest"),
        }[fill]
        distances = curve_by_loop(
            kernel[..., 1].astype(np.float64), image, maps[i], filled, counts, score is insertion
        )
        # 80 terms below 0.5 in float32: an error of 1e-5, times 10 pixels; the blur's weights
        # differ in float32, too.
        np.testing.assert_allclose(curves[i], np.multiply(distances, 10), atol=1e-4)
        assert scores[i] == pytest.approx(area_by_loop(places, curves[i]), rel=1e-12)


def test_two_pixels_by_hand():
    kernel = np.zeros((1, 2, 4), "float32")
    kernel[0, :, 1] = [0.25, 0.5]
    model, images = linear(kernel), np.ones((2, 1, 2, 1), "float32")
    maps = np.array([[[2.0, 1.0]], [[-1.0, -2.0]]])
    scores, counts, curves = deletion(
        model, images, maps, "left", spacing="linear", steps=2, return_curve=True
    )
    assert counts.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(curves, [[0, 0.5, 1.5], [0, 1.0, 1.5]])  # times width 2
    np.testing.assert_array_equal(scores, [0.625, 0.875])
    np.testing.assert_array_equal(
        insertion(model, images, maps, "left", spacing="linear", steps=2), [0.875, 0.625]
    )


def test_units_are_pixels_of_the_coordinates_side():
    kernel = np.full((*SIZE, 4), 0.01, "float32")
    images, maps = np.ones((1, *SIZE, 1), "float32"), rng.random((1, *SIZE))
    model = linear(kernel)
    top, left, raw = (deletion(model, images, maps, target)[0] for target in ("top", "left", 0))
    assert top == pytest.approx(8 * raw)
    assert left == pytest.approx(10 * raw)


def test_equal_pixels_come_in_random_order_from_the_seed():
    kernel = rng.normal(size=(*SIZE, 4)).astype("float32")
    images, maps = rng.random((40, *SIZE, 1), "float32"), np.ones((40, *SIZE))
    model = linear(kernel)
    first, again, other = (deletion(model, images, maps, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()
    random = deletion(model, images, rng.random(maps.shape))
    # Two means over 40 images of the same distribution: a constant map is a random order.
    error = np.sqrt(first.var() / 40 + random.var() / 40)
    assert abs(first.mean() - random.mean()) < 4 * error


@pytest.mark.parametrize("score", [deletion, insertion])
@pytest.mark.parametrize("fill", ["black", "render"])
def test_scale_and_sign_of_a_map_do_not_matter_nor_does_the_batch(score, fill):
    model, scene = crossed_lines(SIZE), Scene(size=SIZE)
    boxes = np.array([[1, 2, 6, 8], [2, 2, 7, 9], [1, 1, 7, 8]])
    images, maps = render(boxes, scene), rng.normal(size=(3, *SIZE))
    world = {"fill": fill, "boxes": boxes, "scene": scene}
    wanted = score(model, images, maps, **world)
    np.testing.assert_array_equal(score(model, images, -8 * maps, **world), wanted)
    # Sums in batches of another size may round differently.
    np.testing.assert_allclose(
        score(model, images, maps, batch_size=2, **world), wanted, rtol=1e-5, atol=1e-5
    )
    swapped = score(model, images[::-1], maps[::-1], fill=fill, boxes=boxes[::-1], scene=scene)
    np.testing.assert_allclose(swapped, wanted[::-1], rtol=1e-5, atol=1e-5)


def render_by_loop(model, boxes, map_, move, insert):
    """Mean over all orders of edges with falling mass of the mean distance, in pixels of top."""
    scene = Scene(size=SIZE)
    mass = [np.abs(map_[evidence_of([boxes], scene, edge)[0]]).sum() for edge in EDGES]
    outward = (-move, -move, move, move)
    room = (boxes[0], boxes[1], SIZE[0] - boxes[2], SIZE[1] - boxes[3])

    def top(moved):
        box = list(boxes)
        for edge in moved:
            box[edge] += outward[edge] if room[edge] >= move else -outward[edge]
        return float(model(render([box], scene))[0, 0]) * SIZE[0]

    results = []
    for order in itertools.permutations(range(4)):
        if all(mass[a] >= mass[b] for a, b in itertools.pairwise(order)):
            sets = [order[k:] if insert else order[:k] for k in range(5)]
            distances = [abs(top(s) - top(())) for s in sets]
            results.append(area_by_loop(range(5), distances))
    return sum(results) / len(results)


@pytest.mark.parametrize("move", [1, 2])
@pytest.mark.parametrize("insert", [False, True])
def test_render_equals_a_slow_rewrite(insert, move):
    kernel = rng.normal(size=(*SIZE, 4)).astype("float32") / 10
    model, scene = linear(kernel), Scene(size=SIZE)
    boxes = np.array([[2, 2, 6, 8], [0, 0, 7, 9], [0, 2, 8, 10], [3, 3, 5, 6]])
    maps = rng.normal(size=(4, *SIZE))
    maps[2], maps[3] = 1.0, 0.0  # ties of equal edges, and of all
    found = (insertion if insert else deletion)(
        model, render(boxes, scene), maps, fill="render", boxes=boxes, scene=scene, move=move
    )
    wanted = [
        render_by_loop(model, box, map_, move, insert)
        for box, map_ in zip(boxes.tolist(), maps, strict=True)
    ]
    # float32 sums of 80 terms, times 8 pixels.
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_render_on_an_exact_model_by_hand():
    """Only the top edge moves the top, by 1 pixel: the curve jumps when it is that edge's turn."""
    scene, boxes = Scene(size=(12, 12)), np.array([[3, 3, 9, 9]])
    model, images = crossed_lines((12, 12)), render(boxes, scene)
    maps = np.zeros((4, 12, 12))
    maps[0, 2, 5], maps[1, 5, 2], maps[3] = 1, 1, 1  # above the box; left of it; nothing; all
    world = {"fill": "render", "scene": scene}
    for map_, first, last in (
        (maps[0], 0.875, 0.125),
        # Left comes first, then the other three in any order: jumps after 2, 3 or 4 moves.
        (maps[1], (2.5 + 1.5 + 0.5) / 12, (1.5 + 2.5 + 3.5) / 12),
        (maps[2], 0.5, 0.5),
        (maps[3], 0.5, 0.5),
    ):
        given = (model, images, map_[None])
        assert deletion(*given, boxes=boxes, **world)[0] == pytest.approx(first, abs=1e-6)
        assert insertion(*given, boxes=boxes, **world)[0] == pytest.approx(last, abs=1e-6)


def test_render_is_undefined_where_no_legal_move_is_left():
    scene, boxes = Scene(size=SIZE), np.array([[0, 2, 1, 6], [2, 2, 2, 6], [0, 0, 8, 10]])
    images = render(boxes, scene)
    found = deletion(
        crossed_lines(SIZE), images, np.ones((3, *SIZE)), fill="render", boxes=boxes, scene=scene
    )
    # One row at the border: its top cannot move in or out. No area. The whole image: inwards.
    np.testing.assert_array_equal(np.isnan(found), [True, True, False])


def test_random_appearance_is_the_same_for_all_variants():
    scene = Scene(size=SIZE, noise=0.1, foreground=(0.6, 1.0), background=(0.0, 0.3))
    boxes = np.array([[2, 2, 6, 8]] * 3)
    kernel = np.zeros((*SIZE, 4), "float32")
    kernel[0, 0] = 1  # reads the noise of a pixel that no edge reaches
    found = deletion(
        linear(kernel), render(boxes, scene), np.ones((3, *SIZE)), fill="render", boxes=boxes,
        scene=scene, seed=5,
    )  # fmt: skip
    np.testing.assert_array_equal(found, 0)


def test_errors_name_the_argument():
    model, images, maps = (
        crossed_lines(SIZE),
        np.ones((1, *SIZE, 1), "float32"),
        np.ones((1, *SIZE)),
    )
    with pytest.raises(ValueError, match="`fill` must be one of"):
        deletion(model, images, maps, fill="white")
    with pytest.raises(ValueError, match="`boxes` and `scene` must be given to draw images anew"):
        insertion(model, images, maps, fill="render")
    with pytest.raises(ValueError, match="`spacing` must be one of"):
        deletion(model, images, maps, spacing="loglog")
    with pytest.raises(ValueError, match=r"for each of the `images`, shape \(1, 8, 10\)"):
        deletion(model, images, maps[:, :4])
    with pytest.raises(ValueError, match="`scene` must have the size and channels of `images`"):
        deletion(model, images, maps, fill="render", boxes=[[0, 0, 1, 1]], scene=Scene())
    with pytest.raises(ValueError, match=r"`boxes` must have shape \(1, 4\)"):
        deletion(model, images, maps, fill="render", boxes=[[0, 0, 1, 1]] * 2, scene=Scene(SIZE))
    with pytest.raises(ValueError, match="`return_curve` must be False"):
        deletion(model, images, maps, fill="render", return_curve=True)
