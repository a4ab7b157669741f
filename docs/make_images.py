"""Draw the figures that the documentation shows: ``python docs/make_images.py``."""

from pathlib import Path

from matplotlib.figure import Figure

import whitebox_loc as wb

IMAGES = Path(__file__).parent / "images"
BOX = [32, 24, 72, 76]


def overview() -> Figure:
    """Draw a prediction, the learning curve, the beliefs and one map."""
    model = wb.models.localizer(seed=0)
    history = wb.training.fit(model, seconds=60, steps=64, progress=False)
    scene = wb.data.Scene()
    image = wb.data.render([BOX], scene)
    found = wb.training.predict(model, image)[0] * 100

    figure = Figure(figsize=(13, 3.1), layout="constrained")
    first, second, third, fourth = figure.subplots(1, 4, width_ratios=[1, 1.25, 1.7, 1.35])
    wb.plots.boxes(image[0], BOX, found, first, title="true and predicted box", legend=True)
    second.plot(history["step"], history["iou"], color=wb.plots.COLORS["line"], label="mean IoU")
    second.plot(
        history["step"], history["exact_rate"], "--", color=wb.plots.COLORS["predicted"],
        label="exact to the pixel",
    )  # fmt: skip
    second.set_title("learning", fontsize=9)
    second.set_xlabel("step")
    second.legend(frameon=False, fontsize=8, loc="lower right")
    beliefs = {k: p[0] for k, p in wb.models.edge_distributions(model, image).items()}
    wb.plots.edge_distributions(beliefs, BOX, third)
    target = wb.introspect.targets.bin("left", round(float(found[1])))
    values = wb.introspect.saliency(model, image, target, link="logit")[0]
    title = "gradient of the log-odds of its left edge"
    wb.plots.saliency(values, fourth, box=BOX, title=title, label="d nats / d brightness")
    fourth.set_xlim(BOX[1] - 10, BOX[3] + 10)
    fourth.set_ylim(BOX[2] + 10, BOX[0] - 10)
    return figure


def several_boxes() -> Figure:
    """Draw what a detector finds on eight held-out images."""
    multi = wb.data.MultiScene(wb.data.Scene(size=(64, 64)), boxes=(1, 4), gap=2)
    model = wb.models.detector(size=(64, 64))
    wb.training.fit_detector(model, multi, seconds=170, progress=False)
    batch = wb.data.generate(multi, 8, seed=2)
    found = wb.models.detections(model(batch.images))
    return wb.plots.detections(batch.images, found, batch)[0, 0].figure


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    overview().savefig(IMAGES / "overview.png", dpi=110)
    several_boxes().savefig(IMAGES / "several_boxes.png", dpi=90)
