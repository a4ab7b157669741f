"""What the default localizer must reach: slow, run with ``pytest -m slow``."""

import pytest

import whitebox_loc as wb


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["uniform", "notebook"])
def test_nine_of_ten_seeds_find_nearly_every_box(scene):
    # A budget of steps instead of seconds, so that the outcome does not depend on the machine;
    # 200 steps take about 12 seconds on two cores.
    good = 0
    for seed in range(10):
        model = wb.models.localizer(seed=seed)
        assert model.count_params() <= 10_000
        wb.training.fit(model, scene, steps=200, seed=seed, progress=False)
        result = wb.training.evaluate(model, scene, n=2000, seed=1000 + seed)
        good += result.mean_iou >= 0.99 and result.exact_rate >= 0.99
    assert good >= 9
