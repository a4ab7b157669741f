"""Train a localizer for a few seconds and see on which boxes it is exact.

python examples/train_and_evaluate.py [--seconds 20] [--quick]
"""

import argparse

import whitebox_loc as wb

parser = argparse.ArgumentParser()
parser.add_argument("--seconds", type=float, default=20)
parser.add_argument("--quick", action="store_true", help="little of each, to see it run")
options = parser.parse_args()
seconds, n = (1, 50) if options.quick else (options.seconds, 1000)

model = wb.models.localizer(seed=0)
history = wb.training.fit(model, "uniform", seconds=seconds, target_iou=0.999)
print(history)

for name in ("uniform", "notebook", "small", "large", "thin", "border"):
    result = wb.training.evaluate(model, name, n=n)
    print(f"{name:<10} IoU {result.mean_iou:.4f}   exact {result.exact_rate:.1%}")
