"""A scene checks its fields and says what is wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from whitebox_loc.data import SCENES, SHAPES, Scene, as_scene, generate


def test_named_scenes():
    names = ["uniform", "notebook", "small", "large", "thin", "border", "shapes", "augmented"]
    assert list(SCENES) == names
    assert SCENES["uniform"] == Scene()
    assert SCENES["shapes"].shapes == tuple(SHAPES)
    assert all(scene.size == (100, 100) and scene.channels == 1 for scene in SCENES.values())


def test_fields_are_normalised_and_frozen():
    scene = Scene(size=[4, 5], shapes="ring", heights=[1, 3], foreground=[0.5, 1], background=0)
    assert (scene.size, scene.shapes, scene.heights) == ((4, 5), ("ring",), (1, 3))
    assert (scene.foreground, scene.background) == ((0.5, 1.0), 0.0)
    assert hash(scene) == hash(dataclasses.replace(scene))
    with pytest.raises(dataclasses.FrozenInstanceError):
        scene.channels = 3


def test_a_limit_of_none_follows_the_image():
    scene = Scene(size=(20, 30), heights=(2, None))
    assert scene.limits() == ((2, 20), (1, 30), (1, 20))
    assert dataclasses.replace(scene, size=(40, 30)).limits()[0] == (2, 40)


def test_as_scene():
    assert as_scene("thin") is SCENES["thin"]
    scene = Scene(size=(8, 8))
    assert as_scene(scene) is scene
    assert as_scene("border", size=(9, 7), channels=3) == Scene(
        size=(9, 7), channels=3, position="border"
    )


NAMES = "['uniform', 'notebook', 'small', 'large', 'thin', 'border', 'shapes', 'augmented']"


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: as_scene("unifrom"),
            ValueError,
            f"`scene` must be one of {NAMES}; got 'unifrom'. Did you mean 'uniform'?",
        ),
        (lambda: as_scene(3), TypeError, f"`scene` must be one of {NAMES}; got 3."),
        (
            lambda: as_scene("thin", colour=1),
            TypeError,
            "A scene has no field 'colour'; its fields are ['size', 'channels', 'shapes', "
            "'heights', 'widths', 'short_side', 'aspect', 'position', 'foreground', "
            "'background', 'texture', 'noise', 'blur', 'distractors', 'region', 'split', "
            "'inverted', 'background_gradient', 'background_texture', 'occlusion'].",
        ),
        (
            lambda: Scene(size=(0, 4)),
            ValueError,
            "`size[0]` must be a whole number >= 1; got 0.",
        ),
        (
            lambda: Scene(shapes=()),
            TypeError,
            f"`shapes` must be a name or a tuple of names from {list(SHAPES)}; got ().",
        ),
        (
            lambda: Scene(shapes=("ring", "ring")),
            ValueError,
            "`shapes` must name each shape once; got ('ring', 'ring').",
        ),
        (
            lambda: Scene(heights=3),
            TypeError,
            "`heights` must be (least, greatest) in pixels, greatest None for no limit; got 3.",
        ),
        (
            lambda: Scene(widths=(5, 4)),
            ValueError,
            "`widths[1]` must be a whole number >= 5; got 4.",
        ),
        (
            lambda: Scene(aspect=(2.0, 1.0)),
            ValueError,
            "`aspect[1]` must be a finite number >= 2.0; got 1.0.",
        ),
        (
            lambda: Scene(foreground=1.5),
            ValueError,
            "`foreground` must be a finite number between 0 and 1; got 1.5.",
        ),
        (
            lambda: Scene(background=(0.2, 0.6), foreground=(0.5, 1)),
            ValueError,
            "`foreground` and `background` must not overlap, or the shape could be invisible; "
            "got (0.5, 1.0) and (0.2, 0.6).",
        ),
        (
            lambda: Scene(size=(8, 8), heights=(9, None)),
            ValueError,
            "No box fits this scene: `size` (8, 8), `heights` (9, None), `widths` (1, None), "
            "`short_side` (1, None), `aspect` None. Widen a limit or enlarge `size`.",
        ),
        (
            lambda: Scene(position="notebook", widths=(1, 5)),
            ValueError,
            "position='notebook' fixes the distribution of sides and takes no `widths`; "
            "got (1, 5). Use position='anywhere'.",
        ),
        (
            lambda: as_scene("notebook", size=(10, 40)),
            ValueError,
            "position='notebook' needs a `size` above 10 pixels both ways; got (10, 40).",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


@pytest.mark.parametrize("field", ["texture", "noise", "blur", "distractors"])
def test_appearance_cannot_be_negative(field):
    with pytest.raises(ValueError, match=f"`{field}` must be .*got -1"):
        Scene(**{field: -1})


def test_texture_never_hides_the_shape_or_its_border():
    scene = Scene(size=(20, 20), texture=0.9)
    batch = generate(scene, 500, seed=0)
    for image, box in zip(batch.images[..., 0], batch.boxes, strict=True):
        lit = np.argwhere(image > 0)
        assert [*lit.min(axis=0), *(lit.max(axis=0) + 1)] == box.tolist()
    with pytest.raises(ValueError, match=r"`texture` must be a finite number between 0 and 0\.9"):
        Scene(texture=1.0)
