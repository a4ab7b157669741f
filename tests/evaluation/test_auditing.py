"""Audits find what is known to be wrong with metrics, and metrics broken on purpose."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc._statistics import mean_interval
from whitebox_loc.data import Scene, render
from whitebox_loc.evaluation.audits.auditing import audit, audit_table
from whitebox_loc.evaluation.audits.controls import CONTROLS
from whitebox_loc.evaluation.audits.known_models import crossed_lines
from whitebox_loc.evaluation.scores import METRICS, gini, mass_accuracy
from whitebox_loc.evaluation.scores.signs import evidence_of

BLIND = {"constant", "random", "one_pixel", "empty"}


def broken(name, function):
    return replace(METRICS[name], function=function)


def test_crossed_lines_is_exact_for_every_box_over_the_centre():
    size, scene = (8, 6), Scene(size=(8, 6), channels=2)
    boxes = np.array(
        [[t, c, b, r] for t in range(4) for c in range(3) for b in range(5, 9) for r in range(4, 7)]
    )  # fmt: skip
    model = crossed_lines(size, channels=2)
    found = model(render(boxes, scene)).numpy() * [8, 6, 8, 6]
    # Sums of at most 8 terms in float32, times 8.
    np.testing.assert_allclose(found, boxes, atol=1e-5)
    slopes = wb.introspect.saliency(model, render(boxes[:1], scene), "top")[0]
    wanted = np.zeros(size)
    wanted[:4, 3] = -1 / 8
    np.testing.assert_allclose(slopes, wanted, rtol=1e-6)
    with pytest.raises(ValueError, match="`size` must be two even numbers"):
        crossed_lines((7, 8))


@pytest.mark.parametrize(
    "name",
    [
        "mass_accuracy_task", "mass_accuracy_model", "signed_mass_accuracy_task",
        "rank_accuracy_task", "signed_rank_accuracy_task", "deletion", "insertion", "infidelity",
        "infidelity_scaled", "completeness_gap",
    ],
)  # fmt: skip
def test_metrics_that_rank_all_controls_as_they_should(name):
    found = audit(name, n=48)
    assert found.misranked == ()
    assert found.sees_signs == METRICS[name].signed
    assert found.verdict.startswith("ranks all controls as it should")
    assert ("cannot see signs" in found.verdict) == (not METRICS[name].signed)


@pytest.mark.parametrize(
    ("name", "better", "worse"),
    [
        ("sparseness", "oracle", "one_pixel"),
        ("complexity", "blurred_oracle", "one_pixel"),
    ],
)
def test_simplicity_ranks_a_single_pixel_above_the_truth(name, better, worse):
    found = audit(name, n=16)
    assert (better, worse) in found.wrong
    assert f"puts {worse} above oracle, blurred_oracle" in found.verdict


@pytest.mark.parametrize(
    ("name", "better", "same"),
    [
        ("pointing_game_task", "oracle", "blurred_oracle"),
        ("max_sensitivity", "oracle", "constant"),
        ("randomization", "oracle", "random"),
    ],
)
def test_known_blindness_is_found(name, better, same):
    found = audit(name, n=48)
    assert (better, same) in found.tied
    assert f"cannot tell {better} from " in found.verdict


def test_the_verdict_on_the_page_is_what_comes_out():
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    assert f"# '{audit('pointing_game_task').verdict}'\n" in page


def test_randomization_sees_that_the_edge_detector_ignores_the_model():
    found = audit("randomization", n=48)
    assert ("oracle", "edge_detector") not in found.misranked
    assert found.scores["edge_detector"].mean == pytest.approx(1)
    assert abs(found.scores["oracle"].mean) < 0.2


def test_a_metric_with_its_direction_turned_round_is_reported():
    turned = replace(METRICS["mass_accuracy_task"], higher_is_better=False)
    found = audit(turned, n=32)
    assert ("oracle", "blurred_oracle") in found.wrong
    assert {b for a, b in found.wrong if a == "oracle"} >= {"edge_detector", "constant", "random"}


def test_a_metric_that_always_says_the_same_is_reported():
    found = audit(broken("mass_accuracy_task", lambda trial: np.ones(len(trial))), n=8)
    assert found.wrong == ()
    # The edge detector and 4 blind ones, the blurred oracle and those 5, the oracle and those 6.
    assert len(found.tied) == 4 + 5 + 6
    assert {b for a, b in found.tied if a == "edge_detector"} == BLIND


def test_noise_in_place_of_a_metric_is_not_taken_for_knowledge():
    rng = np.random.default_rng(0)
    found = audit(broken("mass_accuracy_task", lambda trial: rng.random(len(trial))), n=64)
    assert len(found.tied) >= 12


def test_an_empty_map_that_counts_as_a_hit_is_reported():
    """The mistake of taking NaN for True."""

    def careless(trial):
        found = METRICS["mass_accuracy_task"].function(trial)
        return np.where(np.isnan(found), 1.0, found)

    found = audit(broken("mass_accuracy_task", careless), n=16)
    assert ("oracle", "empty") in found.tied
    assert ("edge_detector", "empty") in found.wrong


def test_a_metric_that_claims_signs_it_does_not_see_is_reported():
    boasting = replace(METRICS["mass_accuracy_task"], signed=True)
    assert ("oracle", "sign_flipped") in audit(boasting, n=16).tied


def test_a_metric_of_the_wrong_edge_is_reported():
    def wrong_edge(trial):
        mask = evidence_of(trial.boxes, trial.scene, "bottom", trial.labels)
        return mass_accuracy(trial.maps, mask)

    found = audit(broken("mass_accuracy_task", wrong_edge), n=32)
    assert ("blurred_oracle", "edge_detector") in found.wrong
    assert ("oracle", "edge_detector") in found.misranked


def test_scores_are_means_and_intervals_over_images():
    found = audit("sparseness", n=16, seed=3, level=0.9)
    values = gini(np.eye(256)[:16].reshape(16, 16, 16))  # as of any single pixel
    one = found.scores["one_pixel"]
    assert (one.mean, one.low, one.high) == pytest.approx((values[0],) * 3)
    assert one.defined == 1
    empty = found.scores["empty"]
    assert math.isnan(empty.mean)
    assert empty.defined == 0
    assert found.undefined == ("empty",)
    random = found.scores["random"]
    assert random.low < random.mean < random.high
    wider = audit("sparseness", n=16, seed=3, level=0.999).scores["random"]
    assert wider.high - wider.low > random.high - random.low


@pytest.mark.parametrize("coordinate", ["left", "bottom", "right"])
def test_every_coordinate_can_be_audited(coordinate):
    for name in ("signed_mass_accuracy_task", "mass_accuracy_model", "infidelity"):
        assert audit(name, n=24, coordinate=coordinate).misranked == ()


@pytest.mark.parametrize("name", ["integrator", "wrong_edge"])
def test_pixels_of_a_compiled_model_can_take_the_place_of_the_lines(name):
    found = audit("mass_accuracy_model", model=name)
    assert found.scores["oracle"].mean == 1
    assert found.misranked == ()
    # The constant model uses nothing: an empty mask is undefined, and no hit.
    assert "undefined for the oracle" in audit("pointing_game_model", n=8, model="constant").verdict
    used = wb.models.mechanism(wb.models.compiled(name, size=(16, 16))).used(
        wb.data.generate(Scene(size=(16, 16)), 64, seed=0).images
    )
    # A constant map has its share of the mask on it.
    assert found.scores["constant"].mean == pytest.approx(used[0].mean())


def test_the_seed_decides():
    first, again, other = (audit("rank_accuracy_model", n=16, seed=s) for s in (0, 0, 1))
    assert first == again
    assert first.scores["random"] != other.scores["random"]


def test_options_reach_the_metric():
    near = audit("pointing_game_task", n=16, tolerance=30)
    assert near.scores["random"].mean == 1


def test_an_undefined_oracle_is_said():
    hollow = broken("mass_accuracy_task", lambda trial: np.full(len(trial), np.nan))
    assert audit(hollow, n=8).verdict == "undefined for the oracle; cannot see signs"


def test_the_table_has_a_column_a_control_and_the_verdict():
    found = [audit(name, n=8) for name in ("sparseness", "mass_accuracy_task")]
    head, line, *rows = audit_table(found).splitlines()
    assert head.split(" | ")[1:-1] == list(CONTROLS)
    assert line.count("---") == len(CONTROLS) + 2
    assert [row.split("`")[1] for row in rows] == ["sparseness", "mass_accuracy_task"]
    assert rows[0].endswith(f"| {found[0].verdict} |")
    assert f"| {found[0].scores['oracle'].mean:.3g} |" in rows[0]
    assert " – |" in rows[1]


def test_intervals_of_pairs_are_paired():
    """Images differ far more than the two maps do on each: only pairs can tell them apart."""
    base = np.random.default_rng(0).normal(size=32) * 100

    def noisy(trial):
        better = not (trial.maps > 0).any()  # oracle of top: negative only
        return base + 0.01 * better

    found = audit(broken("mass_accuracy_task", noisy), n=32)
    assert ("oracle", "edge_detector") not in found.misranked
    low, high = mean_interval(base)
    assert high - low > 10


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"`metric` must be one of .* Did you mean 'sparseness'"):
        audit("sparsness")
    with pytest.raises(ValueError, match="`n` must be a whole number >= 8"):
        audit("sparseness", n=2)
    with pytest.raises(ValueError, match="`coordinate` must be one of"):
        audit("sparseness", coordinate="area")
    with pytest.raises(ValueError, match="`model` must be None for metric 'deletion'"):
        audit("deletion", model="integrator")
    with pytest.raises(ValueError, match="must return one number an image, shape"):
        audit(broken("sparseness", lambda trial: np.ones(3)))
    for wrong in (np.inf, -np.inf):
        with pytest.raises(ValueError, match=f"'sparseness' must be finite or NaN; it is {wrong}"):
            audit(broken("sparseness", lambda trial, w=wrong: np.full(len(trial), w)), n=8)
