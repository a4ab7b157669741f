"""The original notebook's task with what it lacked: held-out data, IoU and the floor.

Its target was (row, col, height, width) / 100 with binary cross entropy, its network VGG16.
Here a network of a few thousand weights is trained on the same images and the same loss, with
and without the loss on the distributions over edges.

    python examples/the_original_notebook.py [--seconds 20] [--quick]
"""

import argparse

import whitebox_loc as wb

parser = argparse.ArgumentParser()
parser.add_argument("--seconds", type=float, default=20)
parser.add_argument("--quick", action="store_true", help="little of each, to see it run")
options = parser.parse_args()
seconds, n = (1, 100) if options.quick else (options.seconds, 2000)

# The generator as it was draws 5% empty boxes; an empty box cannot be found.
batch = wb.data.generate("notebook", 2000, seed=0)
print(f"{1 - batch.valid.mean():.1%} of the notebook's boxes are empty")

loss = wb.losses.BoxBCE("rel_yxhw")
for edge_weight in (0.0, 1.0):
    model = wb.models.localizer(seed=0)
    wb.training.fit(model, "notebook", seconds=seconds, loss=loss, edge_weight=edge_weight)
    result = wb.training.evaluate(model, "notebook", n=n)
    thin = wb.training.evaluate(model, "thin", n=n)
    print(
        f"edge_weight={edge_weight}: IoU {result.mean_iou:.4f}, exact {result.exact_rate:.1%}, "
        f"exact on thin boxes {thin.exact_rate:.1%}"
    )
