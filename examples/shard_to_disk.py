"""Write images to disk in shards, explain them shard by shard, and go on after a stop.

python examples/shard_to_disk.py [--out examples_out/shards] [--images 2000]
"""

import argparse

import numpy as np

import whitebox_loc as wb

parser = argparse.ArgumentParser()
parser.add_argument("--out", default="examples_out/shards")
parser.add_argument("--images", type=int, default=2000)
given = parser.parse_args()

scene = wb.data.Scene(size=(32, 32))
options = {"scene": scene, "n": given.images, "shard_size": 500, "progress": False}
# Two machines would each call with their own number; one may as well do both parts.
for worker in range(2):
    shards = wb.data.write_shards(folder=f"{given.out}/images", shard=(worker, 2), **options)
    print(f"after worker {worker}: shards {shards.missing()} are missing")

model = wb.models.localizer(size=scene.size, seed=0)
wb.training.fit(model, scene, steps=60, progress=False)
maps = wb.introspect.saliency_shards(
    model, shards, f"{given.out}/maps", target="top", method="gradient", progress=False
)

# As if a call had been stopped: what is missing is made again, and nothing else.
before = maps[1]
maps.path(1).unlink()
print(f"{len(maps) - len(maps.missing())} of {len(maps)} files of maps are left")
wb.introspect.saliency_shards(
    model, shards, f"{given.out}/maps", target="top", method="gradient", progress=False
)
print(f"made again, the same to the bit: {np.array_equal(maps[1], before)}")

# One shard and its maps are held at a time.
hits, count = 0.0, 0
for batch, array in zip(shards, maps, strict=True):
    evidence = wb.evaluation.evidence_mask(batch.boxes, scene.size, "top")
    mass = np.abs(array)
    hits += float(((mass * evidence).sum((1, 2)) / mass.sum((1, 2))).sum())
    count += len(batch)
print(f"share of the maps of `top` on its edge, {count} images: {hits / count:.2f}")
