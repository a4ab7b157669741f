"""Certificates: the truth passes, maps that cannot be true fail, each on the right mechanism."""

from pathlib import Path

import keras
import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc.evaluation.certificates.certification import MAJORITY, SILENCE, _checks, certify
from whitebox_loc.evaluation.truth import evidence_mask

EDGES = ("top", "left", "bottom", "right")
N = 8
ALL = tuple(wb.models.COMPILED)


def truth(model, images, coordinate):
    """What `used` says: passes everywhere."""
    return wb.models.mechanism(model).used(images)[EDGES.index(coordinate)].astype("float32")


def signed_truth(model, images, coordinate):
    """Signs do not matter."""
    return -1e-3 * truth(model, images, coordinate)


def noise(model, images, coordinate):
    return np.random.default_rng(0).normal(size=images.shape[:3])


def uniform(model, images, coordinate):
    return np.ones(images.shape[:3])


def blank(model, images, coordinate):
    return np.zeros(images.shape[:3])


def boxes_in(images):
    lit = images[..., 0] > 0
    found = []
    for image in lit:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        found.append([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
    return np.array(found)


def task_truth(model, images, coordinate):
    """What the image says, whatever the model does."""
    return evidence_mask(boxes_in(images), images.shape[1:3], coordinate).astype("float32")


def edge_detector(model, images, coordinate):
    padded = np.pad(images[..., 0], ((0, 0), (1, 1), (1, 1)))
    vertical = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    return np.hypot(vertical, padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2])


def top_for_all(model, images, coordinate):
    """A map that does not depend on the coordinate, and is true to top."""
    return truth(model, images, "top")


@pytest.mark.parametrize("method", [truth, signed_truth], ids=lambda f: f.__name__)
def test_the_truth_passes_everywhere(method):
    found = certify(method, n=N)
    assert found.passed
    assert found.failures == ()
    assert found.mechanisms == ALL
    # Four coordinates on four scenes, at least one check each.
    assert len(found.rows) >= 16 * len(ALL)
    assert {row.check for row in found.rows} == {"share", "shown", "silence"}


@pytest.mark.parametrize(
    ("method", "failures"),
    [
        # Without order, all but `dense_linear`, of which every pixel is used, must be missed.
        (noise, set(ALL) - {"dense_linear"}),
        (uniform, set(ALL) - {"dense_linear"}),
        # Blank maps are true of `constant` alone.
        (blank, set(ALL) - {"constant"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_maps_that_know_nothing_fail(method, failures):
    assert set(certify(method, n=N).failures) == failures


def test_task_truth_is_not_model_truth():
    found = certify(task_truth, n=N)
    # The edge lies where the model answers from, or the model uses nearly everything.
    assert {"integrator", "max_projection", "soft_argmax", "border_reader"}.isdisjoint(
        found.failures
    )
    # These answer from another edge, or from none.
    assert {"left_right_swapped", "corner_only", "constant"} <= set(found.failures)
    failed = {(r.mechanism, r.coordinate) for r in found.rows if not r.passed}
    assert {c for m, c in failed if m == "left_right_swapped"} == {"left", "right"}
    assert {c for m, c in failed if m == "corner_only"} == {"bottom", "right"}


def test_an_edge_detector_fails():
    failures = set(certify(edge_detector, n=N).failures)
    assert {"integrator", "left_right_swapped", "constant"} <= failures


def test_a_map_that_is_the_same_for_all_coordinates_fails():
    failed = {
        row.coordinate
        for row in certify(top_for_all, n=N, mechanisms=["integrator"]).rows
        if not row.passed
    }
    assert failed == {"left", "bottom", "right"}


def test_no_map_that_ignores_the_model_passes_on_two_that_use_disjoint_pixels():
    # The reason for the threshold: boxes two wide or more, any map, shares add up to at most 1.
    scene = wb.data.Scene(size=(8, 9), widths=(2, None))
    images = wb.data.generate(scene, 50, seed=0).images
    left = [
        wb.models.mechanism(wb.models.compiled(name, (8, 9))).used(images)[1]
        for name in ("max_projection", "left_right_swapped")
    ]
    assert not (left[0] & left[1]).any()
    assert left[0].any((1, 2)).all()
    assert left[1].any((1, 2)).all()
    assert MAJORITY == 1 / 2


def one_check(maps, used):
    (row,) = _checks(np.array(maps, float), np.array(used, bool), ("m", "s", "top"), 0)
    return row


def test_share_by_hand():
    # Two images of 1 x 4 pixels: 3 of 4 and 9 of 10 of the size on used pixels.
    row = one_check([[[3, -1, 0, 0]], [[0, 0, -1, 9]]], [[[1, 0, 0, 0]], [[0, 0, 0, 1]]])
    assert (row.check, row.passed) == ("share", True)
    assert row.value == pytest.approx((0.75 + 0.9) / 2)
    assert row.threshold == 0.5
    # Resampling two values gives both alone with probability 1/4 each.
    assert row.low == pytest.approx(0.75)
    assert row.high == pytest.approx(0.9)


def test_share_must_exceed_half_and_the_area():
    used = [[[1, 1, 1, 0]]] * 4
    assert one_check([[[1, 1, 1, 1]]] * 4, used).threshold == 0.75
    assert not one_check([[[1, 1, 1, 1]]] * 4, used).passed
    assert one_check([[[1, 1, 1, 0.9]]] * 4, used).passed
    one = [[[1, 0, 0, 0]]] * 4
    assert not one_check([[[1, 1, 0, 0]]] * 4, one).passed
    assert one_check([[[1.1, 1, 0, 0]]] * 4, one).passed


def test_an_uncertain_share_does_not_pass():
    # The mean is above one half, but one image in four is all wrong.
    maps = [[[1, 0]], [[1, 0]], [[1, 0]], [[0, 1]]]
    row = one_check(maps, [[[1, 0]]] * 4)
    assert row.value == 0.75
    assert row.low < 0.5
    assert not row.passed


def test_a_blank_map_has_no_share():
    row = one_check([[[0, 0]], [[1, 0]], [[0, 0]]], [[[1, 0]]] * 3)
    assert row.value == pytest.approx(1 / 3)
    assert (row.passed, row.note) == (False, "blank on 2 of 3 images")


def test_silence_shown_and_maps_that_are_not_finite():
    nothing, everything = [[[0, 0]]], [[[1, 1]]]
    assert one_check([[[SILENCE, -SILENCE]]], nothing).passed
    row = one_check([[[0, -2 * SILENCE]]], nothing)
    assert (row.check, row.passed, row.value) == ("silence", False, 2 * SILENCE)
    assert one_check([[[0, 1e-9]]], everything).passed
    row = one_check([[[0, 0]]], everything)
    assert (row.check, row.passed, row.note) == ("shown", False, "blank on 1 of 1 images")
    for used in (nothing, everything, [[[0, 1]]]):
        for wrong in (np.nan, np.inf):
            row = one_check([[[wrong, 1]]], used)
            assert (row.passed, row.note) == (False, "not finite")


def test_maps_that_are_not_finite_are_said_in_words():
    def undefined(model, images, coordinate):
        return np.full(images.shape[:3], np.nan)

    found = certify(undefined, mechanisms=["constant", "dense_linear", "integrator"], n=2)
    assert found.failures == found.mechanisms
    verdicts = [found.verdict(name) for name in found.mechanisms]
    assert verdicts[0] == "failed 16 of 16; maps not finite where nothing is used"
    assert verdicts[1] == "failed 16 of 16; not finite (top on 'uniform')"
    assert verdicts[2].endswith(", not finite")


@pytest.mark.parametrize("raises", [False, True])
def test_a_method_that_changes_the_model_fails_and_spoils_nothing(raises):
    def spoil(model, images, coordinate):
        maps = truth(model, images, "top") if coordinate == "top" else blank(model, images, "")
        model.set_weights([0 * w for w in model.get_weights()])
        if raises:
            raise RuntimeError("and then gave up")
        return maps

    found = certify(spoil, mechanisms="wrong_edge", n=2)
    assert found.errors == ("wrong_edge",)
    assert found.verdict("wrong_edge") == (
        "error: RuntimeError: and then gave up" if raises
        else "error: changed the model: its weights are not what they were"
    )  # fmt: skip
    assert certify(truth, mechanisms="wrong_edge", n=2).passed


def test_a_row_added_or_replaced_at_run_time_is_certified(monkeypatch):
    def row(weight, used):
        def build(size, channels):
            image = keras.Input((*size, channels))
            brightest = keras.layers.GlobalMaxPooling2D()(image)
            answer = keras.layers.Dense(
                4, kernel_initializer=keras.initializers.Constant(weight), bias_initializer="ones"
            )
            return keras.Model(image, answer(brightest), name="toy")

        return wb.models.Compiled(
            "toy", build, lambda lit: np.full((4, *lit.shape), used),
            honest=False, exact=False, summary="sees the brightest pixel",
        )  # fmt: skip

    monkeypatch.setitem(wb.models.COMPILED, "toy", row(1.0, True))
    found = certify("gradient", mechanisms="toy", n=2)
    assert found.passed
    assert {r.check for r in found.rows} == {"shown"}
    # Now a constant: nothing is used, and the gradient of the old model would not be silent.
    monkeypatch.setitem(wb.models.COMPILED, "toy", row(0.0, False))
    found = certify("gradient", mechanisms="toy", n=2)
    assert found.passed
    assert {r.check for r in found.rows} == {"silence"}


def test_an_exception_is_the_failure_of_its_mechanism():
    def picky(model, images, coordinate):
        if model.name == "area_only":
            raise RuntimeError("cannot explain this\nand more")
        return truth(model, images, coordinate)

    found = certify(picky, mechanisms=["integrator", "area_only"], n=2)
    assert (found.failures, found.errors) == (("area_only",), ("area_only",))
    assert found.verdict("area_only") == "error: RuntimeError: cannot explain this"
    assert found.verdict("integrator") == "passed"


def test_the_text_names_method_and_mechanism():
    found = certify(uniform, mechanisms=["integrator", "constant", "dense_linear"], n=N)
    assert repr(found) == (
        f"<Certificate of uniform: failed on integrator, constant; {len(found.rows)} checks>"
    )
    first, *lines = found.table().splitlines()
    assert first == "uniform: failed"
    assert [line.split()[:2] for line in lines] == [
        ["integrator", "failed"],
        ["constant", "failed"],
        ["dense_linear", "passed"],
    ]
    assert "on used pixels" in lines[0]
    assert "maps of up to 1 where nothing is used" in lines[1]
    with pytest.raises(ValueError, match=r"`mechanism` must be one of \['integrator'"):
        found.verdict("corner_only")


def test_gradients_are_blind_to_a_saturated_softmax_only():
    # Known: the softmax is saturated. The other two are piecewise linear with the right slopes.
    names = ["integrator", "max_projection", "soft_argmax"]
    assert certify("gradient", mechanisms=names).failures == ("soft_argmax",)


def test_options_reach_the_method():
    # A patch of 8 pixels blurs a map of 16 rows; single pixels hit the lit row or nothing.
    coarse = certify("occlusion", mechanisms=["area_only"], n=4, patch=8)
    assert coarse.options == {"patch": 8}
    assert (
        coarse.rows != certify("occlusion", mechanisms=["area_only"], n=4, patch=2, stride=2).rows
    )


def test_the_same_seed_gives_the_same_certificate():
    first, again = (certify(noise, mechanisms=["edge_filter"], n=4, seed=3) for _ in range(2))
    assert first.rows == again.rows
    assert first.rows != certify(noise, mechanisms=["edge_filter"], n=4, seed=4).rows


def test_own_scenes():
    scenes = {"tiny": wb.data.Scene(size=(5, 6))}
    found = certify(truth, scenes=scenes, mechanisms=["integrator"], n=4)
    assert {row.scene for row in found.rows} == {"tiny"}
    assert found.passed


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "gradients"}, ValueError, "Did you mean 'gradient'"),
        ({"method": "gradient", "steps": 3}, TypeError, "has no option 'steps'"),
        ({"method": noise, "steps": 3}, TypeError, "takes no options"),
        ({"method": "gradient", "mechanisms": ["magic"]}, ValueError, r"`mechanisms\[0\]` must be"),
        (
            {"method": "gradient", "mechanisms": []},
            ValueError,
            "`mechanisms` must name at least one",
        ),
        ({"method": "gradient", "mechanisms": "magic"}, ValueError, "`mechanisms` must be one"),
        ({"method": "gradient", "n": 1}, ValueError, "`n` must be a whole number >= 2"),
        ({"method": "gradient", "scenes": {}}, TypeError, "`scenes` must be a mapping"),
        (
            {"method": "gradient", "scenes": {"grey": wb.data.Scene((8, 8), noise=0.1)}},
            ValueError,
            "`scenes` must be plain",
        ),
        (
            {
                "method": "gradient",
                "scenes": {"a": wb.data.Scene((8, 8)), "b": wb.data.Scene((8, 9))},
            },
            ValueError,
            "must all have one size",
        ),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        certify(**arguments)


def test_a_callable_of_wrong_shape_is_named():
    found = certify(lambda model, images, coordinate: images, mechanisms=["constant"], n=2)
    assert "`method` must return maps of shape (8, 16, 20)" in found.verdict("constant")


def test_every_method_and_baseline_has_its_certificate_in_the_documentation():
    names = [*wb.introspect.METHODS, "random", "edge_detector", "blurred_task_evidence"]
    page = (Path(__file__).parents[2] / "docs" / "certificates.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| [`")]
    assert [row.split("`")[1] for row in rows] == names
    for name in names:
        assert f"\n### {name}\n" in page
    header = next(line for line in page.splitlines() if line.startswith("| method |"))
    assert header == "| method | " + " | ".join(f"`{name}`" for name in ALL) + " |"
