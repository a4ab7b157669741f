"""Strategies: what they draw is legal, shrinks to the plainest, and is what was asked for."""

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

import whitebox_loc as wb
from whitebox_loc.testing import model_strategies


@pytest.fixture(scope="module")
def integrator():
    return wb.models.compiled("integrator", size=(5, 6))


SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(st.data(), SIZES, st.sampled_from([1, 8]), st.booleans())
def test_boxes_lie_ordered_inside_their_image_on_the_parts_asked_for(data, size, parts, empty):
    found = data.draw(wb.testing.boxes(size=size, n=(1, 3), parts=parts, empty=empty))
    top, left, bottom, right = found.T
    assert found.dtype == (np.int64 if parts == 1 else np.float64)
    assert 1 <= len(found) <= 3
    assert (found >= 0).all()
    assert (bottom <= size[0]).all()
    assert (right <= size[1]).all()
    assert (bottom - top >= (0 if empty else 1 / parts)).all()
    assert (right - left >= (0 if empty else 1 / parts)).all()
    np.testing.assert_array_equal(found * parts % 1, 0)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("empty", [False, True])
def test_every_box_of_a_small_image_is_drawn(parts, empty):
    """Also those that touch both borders: each is found by name."""
    rows, least = range(2 * parts + 1), 0 if empty else 1
    for top in rows:
        for bottom in range(top + least, 2 * parts + 1):
            wanted = np.array([[top, 0, bottom, parts]]) / parts
            drawn = wb.testing.boxes(size=(2, 1), n=1, parts=parts, empty=empty)
            found = find(drawn, lambda found, wanted=wanted: (found == wanted).all())
            np.testing.assert_array_equal(found, wanted)


@given(st.data(), st.sampled_from(wb.boxes.FORMATS))
def test_boxes_are_written_in_the_format_asked_for(data, format):
    found = data.draw(wb.testing.boxes(format, size=(8, 16)))
    # Sizes are powers of two: nothing is rounded.
    back = wb.boxes.convert(found, format, "yxyx", size=(8, 16))
    np.testing.assert_array_equal(back % 1, 0)
    assert (back[:, :2] < back[:, 2:]).all()
    assert (back <= [8, 16, 8, 16]).all()


@given(st.data(), wb.testing.scenes(size=SIZES))
def test_scenes_draw_images(data, scene):
    n = data.draw(st.integers(1, 2))
    found = data.draw(wb.testing.images(scene, n=n))
    assert found.shape == (n, *scene.size, scene.channels)
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()


@given(wb.testing.scenes(foreground=st.sampled_from([0.1, 0.4]), background=1.0))
def test_drawn_fields_may_contradict_the_usual_ones(scene):
    assert scene.foreground in (0.1, 0.4)
    assert scene.background == 1.0


FIELDS = {
    "channels": 3,
    "aspect": (0.5, 2.0),
    "region": "not_top_left",
    "texture": 0.9,
    "foreground": 0.2,
    "position": "notebook",
    "split": ("train", 0.5, 0),
    "noise": 0.4,
    "occlusion": 0.9,
}


@pytest.mark.parametrize("name", FIELDS)
@settings(max_examples=20)
@given(data=st.data())
def test_a_given_field_is_kept_and_contradicts_no_other(data, name):
    scene = data.draw(wb.testing.scenes(**{name: FIELDS[name]}))
    assert getattr(scene, name) == FIELDS[name]
    assert data.draw(wb.testing.images(scene, n=1)).shape[1:3] == (12, 16)


VARIED = (
    "channels", "shapes", "heights", "widths", "position", "foreground", "background", "noise",
    "blur", "texture", "background_gradient", "background_texture", "distractors", "inverted",
    "occlusion",
)  # fmt: skip


def test_scenes_vary_unless_they_are_plain():
    plain = wb.data.Scene(size=(12, 16))
    for name in VARIED:
        scene = find(
            wb.testing.scenes(),
            lambda scene, name=name: getattr(scene, name) != getattr(plain, name),
        )
        # All else shrinks to the plain scene.
        same = {k: v for k, v in vars(scene).items() if k != name}
        assert same == {k: v for k, v in vars(plain).items() if k != name}

    @given(wb.testing.scenes(plain=True))
    def are_all_one(scene):
        assert scene == plain

    are_all_one()


@given(wb.testing.images(wb.testing.scenes(plain=True, size=(5, 6)), n=(0, 3)))
def test_images_of_a_scene_show_its_boxes(integrator, found):
    if len(found):
        boxes = np.rint(integrator(found).numpy() * [5, 6, 5, 6]).astype(int)
        np.testing.assert_array_equal(wb.data.render(boxes, wb.data.Scene(size=(5, 6))), found)


@given(wb.testing.images(n=2, size=(3, 4), channels=2))
def test_any_images_have_pixels_whose_sums_are_exact(found):
    assert found.shape == (2, 3, 4, 2)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found * 8 % 1, 0)
    assert ((found >= 0) & (found <= 1)).all()
    assert found.sum(dtype=np.float32) == found[..., ::-1, :].sum(dtype=np.float64)


@pytest.mark.slow
def test_what_is_drawn_shrinks_to_the_plainest():
    always = lambda found: True  # noqa: E731
    np.testing.assert_array_equal(find(wb.testing.boxes(), always), [[0, 0, 1, 1]])
    np.testing.assert_array_equal(
        find(wb.testing.boxes(empty=True, n=(0, 3)), lambda found: len(found) > 1), np.zeros((2, 4))
    )
    assert find(wb.testing.scenes(), always) == wb.data.Scene(size=(12, 16))
    smallest = wb.data.render([[0, 0, 1, 1]], wb.data.Scene(size=(12, 16)))
    np.testing.assert_array_equal(find(wb.testing.images(wb.testing.scenes()), always), smallest)
    np.testing.assert_array_equal(find(wb.testing.images(), always), np.zeros((1, 12, 16, 1)))
    quick = settings(phases=[Phase.generate, Phase.shrink])
    model = find(wb.testing.localizers(heads=("profile", "dense")), always, settings=quick)
    assert model.name == "profile_localizer"
    convolutions = [layer.name for layer in model.layers if layer.name.startswith("conv")]
    assert convolutions == ["conv1"]
    assert model.get_layer("conv1").filters == 2


def test_localizers_are_built_once_and_have_the_weights_of_their_seed(monkeypatch):
    built = []

    def build(**settings):
        built.append(settings)
        return wb.models.localizer(**settings)

    monkeypatch.setattr(model_strategies, "localizer", build)
    monkeypatch.setattr(model_strategies, "_free", {})
    said = []
    monkeypatch.setattr(model_strategies, "note", said.append)

    @settings(max_examples=15, database=None)
    @given(wb.testing.localizers(size=(6, 8), heads=["dense", "profile"]))
    def have_the_weights_of_their_call(model):
        call = said[-1].removeprefix("whitebox_loc.models.localizer")
        fresh = eval(f"dict{call}")  # the call that a failing test prints
        fresh = wb.models.localizer(**fresh)
        assert fresh.name == model.name
        for a, b in zip(fresh.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    have_the_weights_of_their_call()
    assert len(said) > 1
    assert len(built) <= 4  # two heads with two numbers of filters


@settings(max_examples=5)
@given(st.data())
def test_two_localizers_of_one_example_are_two(data):
    drawn = wb.testing.localizers(size=(6, 8), heads="dense")
    models = [data.draw(drawn) for _ in range(3)]
    assert len({id(model) for model in models}) == 3


def test_a_model_that_a_test_has_changed_is_not_lent_again():
    drawn = wb.testing.localizers(size=(6, 8), heads="coordconv")
    seen = []

    @settings(max_examples=6, database=None)
    @given(drawn)
    def spoil(model):
        assert all(layer.trainable for layer in model.layers)
        assert "call" not in vars(model.layers[-1])
        seen.append(model)
        if len(seen) % 2:
            model.layers[-1].trainable = False
        else:
            model.layers[-1].call = model.layers[-1].call

    spoil()
    assert len({id(model) for model in seen}) == len(seen)


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda t: t.boxes("yxxy"), ValueError, r"`format` must be one of .* Did you mean 'yxyx'"),
        (lambda t: t.boxes(size=7), TypeError, r"`size` must be two whole numbers"),
        (
            lambda t: t.boxes(n=-1),
            ValueError,
            r"`n` must be a whole number between 0 and 1000; got -1\.",
        ),
        (
            lambda t: t.boxes(n=(3, 2)),
            ValueError,
            r"`n\[1\]` must be a whole number between 3 and 1000; got 2\.",
        ),
        (
            lambda t: t.boxes(parts=0),
            ValueError,
            r"`parts` must be a whole number between 1 and 1024; got 0\.",
        ),
        (lambda t: t.scenes(nose=1), TypeError, r"A scene has no field 'nose'; its fields are "),
        (lambda t: t.scenes(nose=st.just(1)), TypeError, r"A scene has no field 'nose'; its"),
        (lambda t: t.scenes(noise=-1), ValueError, r"`noise` must be a finite number >= 0"),
        (lambda t: t.images("unifrm"), ValueError, r"`scene` must be one of .* Did you mean"),
        (
            lambda t: t.images("uniform", size=(9, 9)),
            ValueError,
            r"`size` must be None beside a `scene`, which has its own; got \(9, 9\)\. Use "
            r"as_scene\(scene, size=\(9, 9\)\)\.",
        ),
        (lambda t: t.images(channels=0), ValueError, r"`channels` must be a whole number >= 1"),
        (lambda t: t.localizers(heads=()), TypeError, r"`heads` must be a name or a sequence of"),
        (lambda t: t.localizers(heads="cnn"), ValueError, r"`heads` must be one of"),
        (lambda t: t.localizers(classes=1), ValueError, r"`classes` must be a whole number >= 2"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_drawn(draw, error, message):
    with pytest.raises(error, match=message):
        draw(wb.testing)
