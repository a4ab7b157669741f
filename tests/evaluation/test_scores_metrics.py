"""The table: every row scores a trial, asks for what it needs, and compares with its truth."""

import pickle
import re
from dataclasses import replace

import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc.evaluation import scores
from whitebox_loc.evaluation.scores import METRICS, Trial
from whitebox_loc.evaluation.scores.record import KINDS, TRUTHS, check_values
from whitebox_loc.evaluation.truth import evidence_mask

SIZE = (10, 12)
# Grey and noisy: where no two pixels are alike, no score hangs on how ties are broken.
SCENE = wb.data.Scene(
    size=SIZE, shapes=("rectangle", "ellipse"), heights=(2, 7), widths=(2, 8),
    foreground=0.8, background=0.2, noise=0.05,
)  # fmt: skip
# Their random numbers are drawn for the whole batch: an image alone meets others.
DRAWN_FOR_THE_BATCH = {
    "deletion_render", "insertion_render", "infidelity", "infidelity_scaled", "infidelity_render",
    "max_sensitivity", "smooth_randomization",
}  # fmt: skip


@pytest.fixture(scope="module")
def trial():
    batch = wb.data.generate(SCENE, 4, seed=0)
    model = wb.models.localizer(size=SIZE, head="dense", filters=(3,))
    maps, info = wb.introspect.saliency(
        model, batch.images, "left", "integrated_gradients", steps=4, return_info=True
    )

    def explain(model, images):
        return wb.introspect.saliency(model, images, "left", "integrated_gradients", steps=4)

    return Trial(
        maps, batch.images, batch.boxes, "left", SCENE, batch.labels, model=model,
        explain=explain, used=np.random.default_rng(0).random(maps.shape) < 0.3, gap=info.gap,
    )  # fmt: skip


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_row_keeps_the_contract(metric, trial):
    batch_invariant = metric.name not in DRAWN_FOR_THE_BATCH
    wb.testing.check_metric(metric, trial=trial, batch_invariant=batch_invariant)
    found = metric.score(trial)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_row_asks_for_what_it_needs(metric, trial):
    for part in metric.needs:
        with pytest.raises(ValueError, match=f"Metric '{metric.name}' needs `trial.{part}`"):
            metric.score(replace(trial, **{part: None}))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_row_is_documented_and_travels_to_a_worker(metric):
    assert metric.kind in KINDS
    assert metric.truth in TRUTHS
    assert metric.formula.count("{") == metric.formula.count("}")
    assert re.search(r"(arXiv:\d{4}\.\d{5}|doi:\S+)", metric.paper)
    assert len(metric.fooled_by) > 10
    assert pickle.loads(pickle.dumps(metric)) == metric


def test_names_tell_the_truth_they_compare_with():
    for name, metric in METRICS.items():
        assert name.endswith("_task") == (metric.truth == "task")
        if metric.kind == "location":
            assert name.endswith(f"_{metric.truth}")
            assert ("used" in metric.needs) == (metric.truth == "model")


@pytest.mark.parametrize("name", ["mass_accuracy", "rank_accuracy", "pointing_game"])
def test_location_rows_take_the_mask_of_their_truth(name, trial):
    score = getattr(scores, name)
    shapes = [SCENE.shapes[label] for label in trial.labels]
    assert set(shapes) == {"rectangle", "ellipse"}
    mask = evidence_mask(trial.boxes, SIZE, "left", shape=shapes)
    np.testing.assert_array_equal(METRICS[f"{name}_task"].score(trial), score(trial.maps, mask))
    np.testing.assert_array_equal(
        METRICS[f"{name}_model"].score(trial), score(trial.maps, trial.used)
    )
    # Brighter evidence of the left edge moves it to the left.
    np.testing.assert_array_equal(
        METRICS[f"signed_{name}_task"].score(trial), score(trial.maps, mask, signs=-1)
    )


def test_rows_pass_on_the_trials_seed_world_and_options(trial):
    world = {"boxes": trial.boxes, "scene": SCENE, "labels": trial.labels, "seed": 3}
    given = (trial.model, trial.images, trial.maps, "left")
    seeded = replace(trial, seed=3)
    for name, direct in (
        ("deletion", scores.deletion(*given, fill="black", **world)),
        ("deletion_blur", scores.deletion(*given, fill="blur", **world)),
        ("deletion_render", scores.deletion(*given, fill="render", **world)),
        ("insertion_render", scores.insertion(*given, fill="render", **world)),
        ("infidelity", scores.infidelity(*given, **world)),
        (
            "infidelity_render",
            scores.infidelity(*given, perturbation="render", scaled=True, relative=True, **world),
        ),
    ):
        np.testing.assert_array_equal(METRICS[name].score(seeded), direct)
    mean = METRICS["insertion"].score(seeded, fill="mean")
    np.testing.assert_array_equal(mean, scores.insertion(*given, fill="mean", **world))
    plain, smooth = (METRICS[n].score(seeded) for n in ("randomization", "smooth_randomization"))
    own = (trial.model, trial.images, trial.explain)
    np.testing.assert_array_equal(plain, scores.randomization(*own, seed=3))
    np.testing.assert_array_equal(smooth, scores.randomization(*own, samples=8, seed=3))


def test_an_unknown_option_is_refused(trial):
    with pytest.raises(TypeError, match="colour"):
        METRICS["deletion"].score(trial, colour="red")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "localisation"}, r"`kind` must be one of .*Did you mean 'location'"),
        ({"truth": "tasks"}, r"`truth` must be one of .*Did you mean 'task'"),
        ({"truth": ""}, "`truth` must be one of"),
    ],
)
def test_a_row_of_unknown_kind_or_truth_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(METRICS["sparseness"], **change)


def test_what_a_metric_returned_is_checked():
    found = check_values("mine", [1, np.nan], 2)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [1, np.nan])
    with pytest.raises(ValueError, match=r"'mine' must return one number an image, shape \(2,\)"):
        check_values("mine", [1.0], 2)
    with pytest.raises(ValueError, match="'mine' must be finite or NaN; it is -inf on image 1"):
        check_values("mine", [1.0, -np.inf], 2)
