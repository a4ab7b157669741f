"""The figures of a tour: computes with the library, draws with `plots`, one file each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from whitebox_loc import evaluation, introspect, plots
from whitebox_loc._files import replacing
from whitebox_loc._types import Array
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.models import edge_distributions, edge_logits
from whitebox_loc.plots.style import crop
from whitebox_loc.training import Evaluation, History, breakdown

SOME = 64
"""Images from which means over images are made."""

PATCH = 11
"""Greatest side in pixels of a receptive field that is shown by itself."""


@dataclass(frozen=True)
class Drawn:
    """A figure in a file, with what a reader needs to understand it."""

    path: Path
    title: str
    caption: str


@dataclass(frozen=True)
class Subject:
    """What the figures of a tour are drawn from."""

    model: keras.Model
    history: History
    result: Evaluation

    def example(self) -> tuple[int, Array, Array]:
        """Return index, image (1, ...) and box where the box is of middle size and inside."""
        boxes, (height, width) = self.result.batch.boxes, self.result.batch.scene.size
        middle = np.array([0.3 * height, 0.25 * width, 0.65 * height, 0.75 * width])
        index = int(np.abs(boxes - middle).sum(axis=1).argmin())
        return index, self.result.batch.images[[index]], boxes[index]


def draw_all(
    model: keras.Model, history: History, evaluations: dict[str, Evaluation], folder: Path,
    stage: Callable[[str], None] = lambda name: None,
) -> list[Drawn]:  # fmt: skip
    """Draw every row of `FIGURES` that applies to the model, as PNG files in `folder`.

    The figures show the first of the evaluations.
    """
    subject = Subject(model, history, next(iter(evaluations.values())))
    rows = []
    for name, (draw, title, caption) in FIGURES.items():
        stage(f"draw {name}")
        figure = draw(subject)
        path = folder / f"{name}.png"
        if figure is None:
            # One left by an earlier tour of another head would belong to no report.
            path.unlink(missing_ok=True)
            continue
        with replacing(path) as part:
            figure.savefig(part, dpi=130)
        rows.append(Drawn(path, title, caption))
    return rows


def _predictions(subject: Subject) -> Figure:
    result, each = subject.result, 4
    order = np.argsort(result.ious, kind="stable")
    middle = len(order) // 2
    groups = {
        "worst": order[:each],
        "median": order[max(middle - each // 2, 0) :][:each],
        "best": order[::-1][:each],
    }
    figure, axes = _axes(len(groups), each, (8.4, 7.2))
    for row, (name, indices) in zip(axes, groups.items(), strict=True):
        for ax, index in zip(row, indices, strict=False):
            image, true = result.batch.images[index], result.batch.boxes[index]
            plots.boxes(image, true, result.predictions[index], ax)
            zoomed = _zoom(ax, true, image.shape[:2])
            ax.set_title(f"{name}: IoU {result.ious[index]:.4f}{zoomed}", fontsize=9)
        for ax in row[len(indices) :]:
            ax.set_axis_off()
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _zoom(ax: Any, box: Array, size: tuple[int, int]) -> str:
    """Show the surroundings of a box that would vanish under its outlines."""
    top, left, bottom, right = box
    side = max(bottom - top, right - left) + 8
    if min(bottom - top, right - left) > 0.08 * min(size) or side >= min(size):
        return ""
    row, column = (top + bottom) / 2 - 0.5, (left + right) / 2 - 0.5
    ax.set_facecolor("0.5")
    ax.set_ylim(row + side / 2, row - side / 2)
    ax.set_xlim(column - side / 2, column + side / 2)
    return f" ({side} px wide)"


def _learning_curves(subject: Subject) -> Figure:
    figure, axes = _axes(2, 3, (10.8, 5.2))
    subject.history.plot(axes=axes)
    return figure


def _iou_by(subject: Subject) -> Figure:
    figure, axes = _axes(1, 2, (11.0, 4.6))
    tables = [breakdown(subject.result, by) for by in ("size", "position")]
    # One scale for both, and never so narrow that rounding looks like structure.
    low = min(0.9, *(float(np.nanmin(table.mean_iou)) for table in tables))
    titles = ("Mean IoU by size", "Mean IoU by position")
    for ax, table, title in zip(axes.flat, tables, titles, strict=True):
        names = [f"{name.replace('_', ' ')} of the true box (pixels)" for name in table.names]
        plots.heat_map(
            table.mean_iou, table.row_edges, table.column_edges, ax,
            labels=(names[0], names[1]), title=title, bar="mean IoU", limits=(low, 1.0),
        )  # fmt: skip
    return figure


def _activations(subject: Subject) -> Figure:
    _, image, _ = subject.example()
    maps = {
        path: values[0]
        for path, values in introspect.activations(subject.model, image).items()
        if values.ndim == 4 and path.rpartition("/")[2].startswith("conv")
    }
    firsts = {path: values[..., :8] for path, values in maps.items()}
    figure = Figure(figsize=(11.5, 1.75 * len(firsts)), layout="constrained")
    parts = figure.subfigures(len(firsts), 1, squeeze=False)[:, 0]
    for part, (path, values) in zip(parts, firsts.items(), strict=True):
        channels = maps[path].shape[-1]
        note = "" if channels <= 8 else f" (first 8 of {channels} channels)"
        axes = part.subplots(1, values.shape[-1], squeeze=False)
        plots.feature_maps(values, axes, title=f"{path}{note}")
    return figure


def _kernels(subject: Subject) -> Figure:
    first = _convolutions(subject.model)[0]
    weights = introspect.kernels(subject.model, first)[:, :, :3, :16]
    inputs, outputs = weights.shape[2:]
    figure, axes = _axes(inputs, outputs, (1.0 * outputs, 1.25 * inputs))
    plots.kernels(weights, axes, title=f"Kernels of {first}")
    return figure


def _distributions(subject: Subject) -> Figure | None:
    if edge_logits(subject.model) is None:
        return None
    _, image, box = subject.example()
    distributions = edge_distributions(subject.model, image)
    one = {name: values[0] for name, values in distributions.items()}
    figure, axes = _axes(1, 1, (7.0, 2.8))
    plots.edge_distributions(one, box, axes[0, 0])
    return figure


def _saliency(subject: Subject) -> Figure:
    index, image, box = subject.example()
    rows: list[tuple[str, str, list[Any], str]] = [
        ("gradient of {}", "d fraction / d brightness", list(COORDINATES), "identity")
    ]
    if edge_logits(subject.model) is not None:
        bins, link, _ = _unsaturated(subject, index)
        rows.append(("log-odds of the {} found", "d nats / d brightness", bins, link))
    figure, axes = _axes(len(rows), 5, (14.0, 2.3 * len(rows)))
    for row, (title, label, targets, link) in zip(axes, rows, strict=True):
        maps = introspect.saliency(subject.model, image, target=targets, link=link)
        plots.boxes(image[0], box, None, row[0], title="image and true box")
        for ax, name, values in zip(row[1:], COORDINATES, maps, strict=True):
            plots.saliency(values[0], ax, box=box, title=title.format(name), label=label)
        for ax in row:
            crop(ax, box, margin=10)
    return figure


def _families(subject: Subject) -> Figure:
    index, image, box = subject.example()
    last = _convolutions(subject.model)[-1]
    methods: dict[str, dict[str, Any]] = {
        "gradient": {},
        "integrated_gradients": {"baseline": (0.0, 1.0)},
        "gradcam": {"layer": last},
        "occlusion": {"patch": 8, "stride": 4},
        "lrp": {},
    }
    targets, link, label = _unsaturated(subject, index)
    maps = [
        introspect.saliency(subject.model, image, targets, name, link=link, **options)[:, 0]
        for name, options in methods.items()
    ]
    figure, axes = _axes(len(methods), 4, (9.0, 1.9 * len(methods)))
    figure.get_layout_engine().set(rect=(0.03, 0, 0.97, 1))  # type: ignore[union-attr, call-arg]
    names = [name.replace("_", "\n") for name in methods]
    columns = [label.format(name) for name in COORDINATES]
    plots.saliency_grid(maps, names, columns, axes, box=box, margin=12)
    return figure


def _maximized(subject: Subject) -> Figure:
    layer = _convolutions(subject.model)[-1]
    channels = list(range(min(8, subject.model.get_layer(layer).filters)))
    images = subject.result.batch.images[:1]
    shape = introspect.activations(subject.model, images, layer)[layer].shape
    middle = (shape[1] // 2, shape[2] // 2)
    top, left, bottom, right = introspect.receptive_field(subject.model, layer).window(middle)
    if max(bottom - top, right - left) > PATCH:
        best = introspect.maximize(subject.model, layer, channels, steps=100)
        patches = best.images
    else:
        # One place sees a few pixels: no need for long waves or shifts, and the rest is cut.
        best = introspect.maximize(
            subject.model, layer, channels, position=middle, steps=100, fourier=False, jitter=0
        )
        patches = best.images[:, max(int(top), 0) : int(bottom), max(int(left), 0) : int(right)]
    pairs = zip(channels, best.values, strict=True)
    labels = [f"channel {channel}: {value:.2f}" for channel, value in pairs]
    figure, axes = _axes(1, len(labels), (1.5 * len(labels) + 1, 1.9))
    plots.maximized_images(patches, labels, axes)
    return figure


def _tuning(subject: Subject) -> Figure:
    layer = _convolutions(subject.model)[-1]
    scene = subject.result.batch.scene
    curves = introspect.tuning(subject.model, layer, scene, bins=12, n=600)
    channels = range(min(8, curves.mean.shape[-1]))
    count = len(curves.factors)
    figure, axes = _axes(1, count, (2.8 * count + 1, 2.8))
    title = f"{layer}: mean over places"
    plots.tuning_curves(
        curves.edges, curves.mean, curves.factors, curves.std, axes, channels=channels, title=title
    )
    return figure


def _moves(subject: Subject) -> Figure:
    batch = subject.result.batch
    boxes, images = batch.boxes[:SOME], batch.images[:SOME]
    moves = introspect.edge_moves(subject.model, boxes, batch.scene, labels=batch.labels[:SOME])
    figure, axes = _axes(1, 3, (14.5, 4.4))
    plots.response_matrix(moves.matrix, moves.interval, axes[0, 0], title="Answers to moved edges")
    for method, ax in zip(("edge_move", "gradient"), axes[0, 1:], strict=True):
        maps = introspect.saliency(subject.model, images, COORDINATES, method)
        talk = evaluation.cross_talk(maps, boxes)
        plots.cross_talk_matrix(
            talk, [talk.low, talk.high], ax, elsewhere=talk.elsewhere, title=f"Maps of {method}"
        )
    return figure


def _axes(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Array]:
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _convolutions(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


def _unsaturated(subject: Subject, index: int) -> tuple[list[Any], str, str]:
    """Return targets, link and unit that explain each edge without saturating."""
    if edge_logits(subject.model) is None:
        return list(COORDINATES), "identity", "{}"
    edges = np.rint(subject.result.predictions[index]).astype(int)
    bins = [introspect.targets.bin(*pair) for pair in zip(COORDINATES, edges, strict=True)]
    return bins, "logit", "log-odds of {}"


Draw = Callable[[Subject], Figure | None]

FIGURES: dict[str, tuple[Draw, str, str]] = {
    "predictions": (
        _predictions, "Predictions",
        "Held-out images with the least, the middle and the greatest IoU. The true box is "
        "drawn solid, the predicted one dashed. Small boxes are shown enlarged; grey lies outside "
        "the image.",
    ),
    "learning_curves": (
        _learning_curves, "Learning curves",
        "Measured on each fresh batch before the step that learns from it. Cross entropy "
        "against soft targets cannot fall below their own entropy, the floor. Log axes leave out "
        "values that rounding made zero or negative.",
    ),
    "iou_by_size_and_position": (
        _iou_by, "IoU by size and by position",
        "Mean IoU of held-out boxes in bins of ten by ten; grey bins hold no box.",
    ),
    "distributions": (
        _distributions, "Distribution over the place of each edge",
        "Each coordinate is the expectation of a distribution over the boundaries between "
        "pixels. Dotted lines: the true edges.",
    ),
    "activations": (
        _activations, "Activations",
        "Outputs of the convolutions for one held-out image, one signed scale a layer.",
    ),
    "kernels": (_kernels, "Kernels", "Weights of the first convolution, signed."),
    "maximized": (
        _maximized, "Images that maximize channels",
        "Found by gradient ascent so that a channel of the last convolution is as active as "
        "possible, with the activation reached: the pixels that one of its places sees or, where "
        "those are many, the whole image for the mean over places. A channel that stays at 0 is "
        "closed by its ReLU wherever the search began.",
    ),
    "tuning": (
        _tuning, "Tuning",
        "Mean response of the last convolution's channels (mean over places) by the true box: "
        "lines are means, bands one standard deviation over boxes.",
    ),
    "saliency": (
        _saliency, "Gradient of each coordinate",
        "What would change if a pixel became brighter, to first order: red raises, blue lowers. "
        "First row: the coordinate itself. A network that is sure of an edge answers a small "
        "change with almost none, so look at the scale before the pattern. Second row, for a "
        "network with distributions over edges: the log-odds of the boundary that it found, "
        "which do not saturate. Shown is the surroundings of the box, outlined in grey.",
    ),
    "families": (
        _families, "Four coordinates, one method of each family",
        "Each row has its own scale. Explained are the coordinates or, for a network with "
        "distributions over edges, the log-odds of the boundaries that it found. The methods do "
        "not agree, because they ask different questions; a map that looks convincing is not yet "
        "true.",
    ),
    "moves": (
        _moves, "Is it true? Moved edges against maps",
        "Left, by intervention: pixels by which each predicted coordinate answers when one true "
        "edge moves by a pixel on a newly drawn, legal image. The identity is perfect. Middle and "
        "right: the share of each coordinate's map on each edge, for maps made from these moves "
        "and for gradients. All with 95% intervals.",
    ),
}  # fmt: skip
"""Figure name to (function, title, caption). To add a figure, add a function and a row."""
