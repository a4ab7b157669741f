"""Blind spots: what a map will not show, said before it is drawn.

python examples/ask_what_cannot_be_seen.py [--quick]
"""

import argparse

import whitebox_loc as wb

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="little of each, to see it run")
quick = parser.parse_args().quick

scene = wb.data.Scene(size=(16, 16) if quick else (32, 32))
model = wb.models.localizer(size=scene.size, seed=0)
wb.training.fit(model, scene, steps=3 if quick else 100, progress=False)
images = wb.data.generate(scene, 2 if quick else 16, seed=1).images

questions = [
    ("top", "gradient", {}),
    ("top", "gradient_x_input", {}),
    ("top", "integrated_gradients", {}),
    ("top", "integrated_gradients", {"baseline": (0.0, 1.0)}),
    ("top", "gradcam", {"layer": "conv2", "relu": True}),
]
for target, method, options in questions:
    print(f"{method} of {target} with {options or 'defaults'}:")
    spots = wb.introspect.blind_spots(model, images, target, method, warn=False, **options)
    for spot in spots:
        print(f"  {spot.kind}: {spot.message}")
    if not spots:
        print("  no known blind spot")
