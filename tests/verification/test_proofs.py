"""Proofs: symmetry against enumeration, planted faults, closed forms of hand-set networks."""

import json
import math
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc import verification
from whitebox_loc.verification import enumeration, prove


def hand_set(size, scale=60.0, fault=None):
    """A profile localizer of known weights: an edge has logit `scale`, all else logit 0.

    With fault "dot" the top of a box of one pixel has logit ``-scale``, with "dot at the border"
    only where the box touches the top of the canvas.
    """
    model = wb.models.localizer(size, filters=(2,), line_filters=4)
    weights = {v.path: np.zeros(v.shape, np.float32) for v in model.weights}
    pixel, dot = weights["conv1/kernel"][..., 0, 0], weights["conv1/kernel"][..., 0, 1]
    pixel[1, 1] = 1
    dot[:] = -1
    dot[1, 1] = 1  # lit, and no neighbour is
    for axis in ("row", "column"):
        boundary, bias = (weights[f"{axis}_boundary/{name}"] for name in ("kernel", "bias"))
        boundary[:, 0, 0] = [-1, 1]  # dark before, lit behind
        boundary[:, 0, 1] = [1, -1]
        boundary[1, 1, 2] = 1  # a dot behind
        bias[3] = 1
        context = weights[f"{axis}_context/kernel"]
        context[1] = np.eye(4)
        if fault == "dot at the border":
            context[0, 3, 2] = -1  # within the canvas another boundary stands before
        logits = weights[f"{axis}_logits/kernel"][0]
        logits[0, 0] = logits[1, 1] = scale
        if fault and axis == "row":
            logits[2, 0] = -2 * scale
    for variable in model.weights:
        variable.assign(weights[variable.path])
    return model


def slow(value):
    """Return a parameter of the slow tests."""
    return pytest.param(value, marks=pytest.mark.slow)


def boxes_of(size):
    height, width = size
    return height * (height + 1) * width * (width + 1) // 4


@pytest.mark.parametrize("size", [(24, 24), (7, 13)])
def test_an_exact_network_is_proved(size):
    proof = prove(hand_set(size), progress=False)
    assert (proof.holds, proof.how, proof.boxes) == (True, "symmetry", boxes_of(size))
    # A softmax of logits 60 and 0 is off by e^-60 times the canvas; the rest is rounding: of 60,
    # and of at most 2 (n + 1) + 8 operations on positions up to n, in halves of 2^-23.
    n = max(size)
    assert proof.worst_error < (4 * n + 20) * n * 2**-24
    assert (proof.wrong, proof.undecided, len(proof.counterexamples)) == (0, 0, 0)
    # Of one pixel, four edges off by e each share 1 - 2e a side, and at most 1 + 2e is answered.
    e = proof.worst_error
    assert proof.least_iou > (1 - 2 * e) ** 2 / (1 + (1 + 2 * e) ** 2 - (1 - 2 * e) ** 2) - 1e-12
    assert str(proof).startswith(f"right on every one of {proof.boxes:,} boxes, by symmetry")


@pytest.mark.parametrize("size", [(24, 24), (9, 30)])
@pytest.mark.parametrize("scale", [slow(3.0), 4.5])
def test_symmetry_and_enumeration_agree_where_much_is_wrong(size, scale):
    """With edges so weak, far boundaries draw the answers away: few boxes to most are wrong."""
    model = hand_set(size, scale, fault="dot")
    proof = prove(model, how="symmetry", progress=False)
    count = prove(model, how="enumeration", progress=False)
    assert proof.boxes == count.boxes == boxes_of(size)
    assert proof.holds is count.holds is False
    assert proof.wrong <= count.wrong <= proof.wrong + proof.undecided
    assert proof.undecided < count.wrong / 100
    # The bounds are as wide as float32's roundings of logits below 10 and of positions.
    slack = 200 * max(size) * 2**-24
    assert count.worst_error - slack < proof.worst_error < count.worst_error + slack * 10
    assert count.least_iou - slack * 10 < proof.least_iou <= count.least_iou + slack
    assert len(proof.counterexamples) == len(count.counterexamples) == 100


def as_set(boxes):
    return set(map(tuple, np.asarray(boxes).tolist()))


def test_the_planted_wrong_box_is_found():
    """Of 300 boxes one is wrong: one pixel, at the top of a canvas of one column."""
    model = hand_set((24, 1), fault="dot at the border")
    for how in ("symmetry", "enumeration"):
        proof = prove(model, how=how, progress=False)
        assert (proof.holds, proof.wrong, proof.boxes) == (False, 1, 300)
        assert proof.worst_box == (0, 0, 1, 1)
        assert proof.counterexamples.tolist() == [[0, 0, 1, 1]]


def test_planted_wrong_boxes_are_found_among_ninety_thousand():
    model = hand_set((24, 24), fault="dot at the border")
    proofs = [prove(model, how=how, progress=False) for how in ("symmetry", "enumeration")]
    expected = {(0, column, 1, column + 1) for column in range(24)}
    for proof in proofs:
        assert proof.wrong == 24
        assert as_set(proof.counterexamples) == expected
        assert proof.undecided == 0


@pytest.mark.parametrize(
    "scene", ["thin", slow("border"), slow(wb.data.Scene(size=(20, 16), aspect=(1, 2)))]
)
def test_other_scenes_have_other_boxes(scene):
    model = hand_set((20, 16), 4.5, fault="dot")
    symmetry, count = (
        prove(model, scene, how, progress=False) for how in verification.proofs.HOW[1:]
    )
    drawn = scene if isinstance(scene, wb.data.Scene) else wb.data.as_scene(scene, size=(20, 16))
    assert symmetry.boxes == count.boxes == wb.data.count_boxes(drawn)
    assert symmetry.wrong <= count.wrong <= symmetry.wrong + symmetry.undecided
    assert 0 < count.wrong <= count.boxes


def test_grey_levels_and_channels():
    scene = wb.data.Scene(size=(12, 12), channels=3, foreground=0.75, background=0.25)
    model = wb.models.localizer((12, 12), channels=3, seed=1)
    proof = prove(model, scene, "symmetry", progress=False)
    count = prove(model, scene, "enumeration", progress=False)
    # A grey background and the black frame have an edge between them, which patterns tell.
    assert proof.worst_error == pytest.approx(count.worst_error, abs=1e-2)
    assert proof.worst_error >= count.worst_error
    assert proof.holds is count.holds is False


def test_every_canvas():
    proof = prove(hand_set((24, 24)), canvas="any", progress=False)
    assert (proof.holds, proof.up_to, proof.how) == (True, 4096, "every canvas")
    side = 4096
    assert proof.boxes == sum(n * (n + 1) // 2 for n in range(1, side + 1)) ** 2
    assert proof.worst_error < 0.1


@pytest.mark.parametrize("scale", [slow(8.0), 11.0])
def test_how_far_the_claim_for_every_canvas_holds(scale):
    """On n lines a box at the top is answered too low by the mean of all n boundaries below."""

    def off(n):
        mass = math.exp(-scale)
        return mass * n * (n + 1) / 2 / (1 + n * mass)

    largest = next(n for n in range(1, 10_000) if off(n) > 0.5) - 1
    proof = prove(hand_set((24, 24), scale), canvas="any", progress=False)
    assert proof.holds
    # Not one line more than is true; less by the lines that the shortest canvases have.
    assert largest - 12 <= proof.up_to <= largest


@pytest.mark.parametrize("up_to", [slow(1), 3, 4])
def test_only_canvases_up_to_the_longest_side_count(up_to):
    """A box at the top is off by .49 px on 3 lines, by .74 px on 4."""
    proof = prove(hand_set((24, 24), 2.2), canvas="any", up_to=up_to, progress=False)
    count = prove(hand_set((up_to, 1), 2.2), how="enumeration", progress=False)
    assert proof.holds is count.holds is (up_to <= 3)
    assert max(proof.canvas) <= up_to
    # Fifty roundings of positions (2 * 19 + 12 of a situation's), fifty of logits and shares.
    assert proof.worst_error == pytest.approx(count.worst_error, abs=100 * 2**-24 * up_to)


def test_what_is_repeated_may_be_more_than_rounding():
    """Logits 20 and 0: 4,096 boundaries draw 8e-6 of the mass, a hundred roundings."""
    n, mass = 4096, math.exp(-20)
    proof = prove(hand_set((24, 24), 20.0), canvas="any", progress=False)
    assert (proof.holds, proof.up_to) == (True, n)
    # Mass times distance; all of the mass lost in both sums; and of 25 terms of a situation
    # 2 * 25 + 8 roundings of the farthest position, and 4 of the length.
    assert proof.worst_error < 1.01 * (mass * n * n / 2 + 2 * mass * n * n + 62 * n * 2**-24)


@pytest.mark.parametrize("n", [slow(3), 30, slow(61)])
def test_the_bound_for_every_canvas_holds_on_each(n):
    scale = 9.0
    most = prove(hand_set((24, 24), scale), canvas="any", up_to=n, progress=False)
    for size in ((n, min(n, 4)), (min(n, 5), n)):
        one = prove(hand_set(size, scale), how="enumeration", progress=False)
        assert one.worst_error <= most.worst_error
        assert one.least_iou >= most.least_iou


def test_a_wrong_box_spoils_the_claim_for_every_canvas():
    proof = prove(hand_set((24, 24), fault="dot"), canvas="any", progress=False)
    assert (proof.holds, proof.up_to, proof.boxes) == (False, 0, 0)
    assert str(proof).startswith(f"wrong on {proof.canvas[0]} x {proof.canvas[1]}, by symmetry")
    top, left, bottom, right = proof.worst_box
    assert (bottom - top, right - left) == (1, 1)
    # That box is wrong on the canvas that is named.
    model = hand_set(proof.canvas, fault="dot")
    image = wb.data.render([proof.worst_box], wb.data.Scene(size=proof.canvas))
    assert abs(model(image)[0, 0] * proof.canvas[0] - top) > 0.5


def test_what_float32_may_round_is_not_proved(monkeypatch):
    """An answer half a pixel off, within rounding: neither right nor wrong."""
    # Top and the boundary below it at equal logits: the expectation lies in the middle.
    model = hand_set((8, 8))
    context = model.get_layer("row_context")
    kernel, bias = context.get_weights()
    kernel[0, 0, 0] = 1  # an edge counts as one at the next boundary, too
    context.set_weights([kernel, bias])
    proof = prove(model, progress=False)
    assert proof.holds is None
    assert proof.wrong == 0
    assert proof.undecided == proof.boxes == boxes_of((8, 8))


def test_enumeration_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(enumeration, "PART", 200)
    model, out = hand_set((9, 9), 4.5), tmp_path / "out"
    whole = prove(model, how="enumeration", progress=False)
    part, done = enumeration._part, []

    def stopped(answer, scene, start):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(start)
        return part(answer, scene, start)

    monkeypatch.setattr(enumeration, "_part", stopped)
    with pytest.raises(KeyboardInterrupt):
        prove(model, how="enumeration", out=out, progress=False)
    assert len(json.loads((out / "parts.json").read_text())["parts"]) == 4
    again = []
    monkeypatch.setattr(enumeration, "_part", lambda *a: (again.append(a[2]), part(*a))[1])
    proof = prove(model, how="enumeration", out=out, progress=False)
    assert not set(again) & set(done)
    assert len(again) + len(done) == math.ceil(boxes_of((9, 9)) / 200)
    for name in ("boxes", "wrong", "worst_error", "worst_box", "least_iou"):
        assert getattr(proof, name) == getattr(whole, name)
    with pytest.raises(ValueError, match="belongs to another model or scene"):
        prove(hand_set((9, 9), 5.0), how="enumeration", out=out, progress=False)
    (out / "parts.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        prove(model, how="enumeration", out=out, progress=False)


def test_an_executor_runs_the_parts(monkeypatch):
    monkeypatch.setattr(enumeration, "PART", 500)
    model = hand_set((9, 9), 4.5)
    with ThreadPoolExecutor(2) as pool:
        proof = prove(model, how="enumeration", executor=pool, progress=False)
    alone = prove(model, how="enumeration", progress=False)
    assert proof.counterexamples.tolist() == alone.counterexamples.tolist()
    assert (proof.wrong, proof.worst_error) == (alone.wrong, alone.worst_error)


def test_a_model_that_answers_nan_is_wrong_on_every_box():
    x = keras.Input((4, 5, 1))
    y = keras.ops.log(keras.layers.Dense(4)(keras.layers.Flatten()(x)) * 0 - 1)
    proof = prove(keras.Model(x, y), progress=False)
    assert (proof.wrong, proof.holds, proof.least_iou) == (proof.boxes, False, 0)


@pytest.mark.parametrize("name", wb.models.COMPILED)
def test_compiled_models(name):
    """What the table says of each: exact, or wrong on some box."""
    proof = prove(wb.models.compiled(name, (10, 10)), progress=False)
    assert proof.how == "enumeration"
    assert proof.holds is wb.models.COMPILED[name].exact


def test_a_proof_is_saved_with_its_model(tmp_path):
    model = hand_set((9, 9), fault="dot")
    proof = prove(model, progress=False)
    path = proof.save(tmp_path / "proof.json")
    other = verification.Proof.load(path, model)
    assert str(other) == str(proof)
    assert other.counterexamples.tolist() == proof.counterexamples.tolist()
    assert other.worst_box == proof.worst_box
    with pytest.raises(ValueError, match="the proof of another model"):
        verification.Proof.load(path, hand_set((9, 9)))
    path.write_text('{"boxes": 3}')
    with pytest.raises(ValueError, match="holds no proof"):
        verification.Proof.load(path, model)


def spoiled():
    model = hand_set((8, 8))
    model.weights[0].assign(np.full(model.weights[0].shape, np.nan))
    return model


@pytest.mark.parametrize(
    ("model", "options", "text"),
    [
        (spoiled, {}, "`model` must have finite weights; 'conv1/kernel'"),
        (lambda: hand_set((8, 8)), {"scene": "augmented"}, "one plain rectangle"),
        (lambda: hand_set((12, 12)), {"scene": "notebook"}, "position 'notebook'"),
        (
            lambda: hand_set((8, 8)),
            {"scene": wb.data.Scene(size=(8, 8), foreground=(0.5, 1.0))},
            "must have one foreground",
        ),
        (
            lambda: hand_set((8, 8)),
            {"scene": wb.data.Scene(size=(9, 8))},
            "must have the model's size",
        ),
        (
            lambda: wb.models.localizer((8, 8), head="context"),
            {"how": "symmetry"},
            r"`how` 'symmetry' does not hold .* \(Pad\): the argument by symmetry knows no windows",
        ),
        (
            lambda: wb.models.localizer((8, 8), head="dense"),
            {"canvas": "any"},
            r"`canvas` 'any' needs .*'conv1' \(Conv2D\): with strides \(2, 2\)",
        ),
        (lambda: hand_set((8, 8)), {"canvas": "any", "scene": "thin"}, "for all boxes"),
        (lambda: hand_set((8, 8)), {"canvas": "any", "how": "enumeration"}, "for all boxes"),
        (lambda: wb.models.detector((16, 16)), {}, "an output 'box'"),
        (lambda: keras.Sequential([keras.layers.Dense(4)]), {}, "`model`"),
    ],
)
def test_refusals(model, options, text):
    with pytest.raises(ValueError, match=text):
        prove(model(), progress=False, **options)
