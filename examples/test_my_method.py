"""Property-based tests of a saliency method, a metric and a localizer of your own.

pytest examples/test_my_method.py, or python examples/test_my_method.py
"""

import numpy as np
from hypothesis import given, settings

import whitebox_loc as wb

SIZE = (12, 16)
INTEGRATOR = wb.models.compiled("integrator", SIZE)


def central_difference(model, images, target, step=1 / 16):
    """By how much a coordinate moves as each pixel brightens: a method of one's own."""
    column = ("top", "left", "bottom", "right").index(target)
    n, height, width, _ = images.shape
    moves = np.eye(height * width, dtype=np.float32).reshape(-1, height, width, 1) * step
    maps = []
    for image in images:
        up, down = (np.asarray(model(image + way * moves))[:, column] for way in (1, -1))
        maps.append((up - down) / (2 * step))
    return np.reshape(maps, (n, height, width))


def share_inside(trial):
    """Return how much of |map| lies inside the box: a metric of one's own."""
    rows, columns = np.arange(SIZE[0])[:, None], np.arange(SIZE[1])
    top, left, bottom, right = trial.boxes.T[:, :, None, None]
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    mass = np.abs(trial.maps).astype(np.float64)
    return (mass * inside).sum((1, 2)) / mass.sum((1, 2))


def test_the_method_keeps_the_contract():
    """Finite, signed, each image by itself, and the model left as it is."""
    wb.testing.check_explainer(central_difference)


def test_the_method_is_exact_on_a_linear_model():
    """Of a linear model the gradient is known: each pixel's weight."""
    model = wb.models.compiled("dense_linear", SIZE)
    images = wb.data.generate(wb.data.Scene(size=SIZE), 2, seed=0).images

    def gradient(model, images, target):
        return wb.introspect.saliency(model, images, target, "gradient")

    # A coordinate is a sum of 192 terms, rounded as often by 2^-24 of sums below 2; two of them
    # are compared, over twice the step of 1/16.
    tolerance = 2 * 192 * 2**-24 * 2 * 8
    wb.testing.check_explainer(
        central_difference, model=model, images=images, oracle=gradient, tolerance=tolerance
    )


def test_the_metric_keeps_the_contract():
    """One number an image, which a loop over images finds as well."""

    def slowly(trial):
        shares = []
        for map_, (top, left, bottom, right) in zip(trial.maps, trial.boxes, strict=True):
            mass = np.abs(map_.astype(np.float64))
            shares.append(mass[top:bottom, left:right].sum() / mass.sum())
        return shares

    wb.testing.check_metric(share_inside, oracle=slowly)


@settings(max_examples=20, deadline=None)
@given(wb.testing.localizers(), wb.testing.images(wb.testing.scenes(channels=1)))
def test_boxes_lie_inside_the_image(model, images):
    """Coordinates are fractions, whatever the weights and the scene."""
    found = model(images).numpy()
    assert ((found >= 0) & (found <= 1)).all()


@settings(max_examples=50, deadline=None)
@given(wb.testing.boxes(size=SIZE))
def test_a_compiled_model_finds_every_box(boxes):
    """Its answers are the truth, up to the precision that its row promises."""
    images = wb.data.render(boxes, wb.data.Scene(size=SIZE))
    precision = wb.models.COMPILED["integrator"].precision / min(SIZE)
    wb.testing.check_localizer(
        INTEGRATOR,
        images=images,
        oracle=lambda images: boxes / [*SIZE, *SIZE],
        tolerance=precision,
    )


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print(f"{name}: holds")
