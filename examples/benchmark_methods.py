"""Score some methods on a trained and on two compiled models; add a metric in one function.

python examples/benchmark_methods.py [--out examples_out/bench] [--quick]
"""

import argparse

import numpy as np

import whitebox_loc as wb
from whitebox_loc.evaluation import Metric, benchmark

parser = argparse.ArgumentParser()
parser.add_argument("--out", default="examples_out/bench")
parser.add_argument("--quick", action="store_true", help="little of each, to see it run")
options = parser.parse_args()


def share_on_black(trial):
    """Return the share of a map's mass that lies on black pixels."""
    mass = np.abs(trial.maps.astype(np.float64))
    dark = (trial.images == 0).all(-1)
    with np.errstate(invalid="ignore"):
        return (mass * dark).sum((1, 2)) / mass.sum((1, 2))  # NaN for an empty map


mine = Metric(
    "share_on_black", share_on_black, "location", "none", True, (0, 1),
    formula=r"\sum_{p: x_p = 0} |a_p| / \sum_p |a_p|", paper="this example",
    fooled_by="any map that avoids the box",
)  # fmt: skip

scene = wb.data.Scene(size=(20, 20))
trained = wb.models.localizer(size=scene.size, seed=0)
wb.training.fit(trained, scene, steps=5 if options.quick else 100, progress=False)

results = benchmark(
    models={"trained": trained, "integrator": "integrator", "cheater": "wrong_edge"},
    methods={
        "gradient": "gradient",
        "gradient x input": "gradient_x_input",
        "integrated gradients": ("integrated_gradients", {"steps": 16}),
    },
    scenes={"uniform": scene},
    metrics=["rank_accuracy_task", "rank_accuracy_model", mine],
    out=options.out,  # run it again: nothing is computed twice
    n=4 if options.quick else 16,
    progress=False,
)
for model in ("integrator", "cheater"):
    print(f"\n{model}: model truth")
    print(results.table("rank_accuracy_model", model=model))
print("\ntrained: share of the map on black pixels")
print(results.table("share_on_black", model="trained"))
