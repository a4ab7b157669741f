"""The page of a leaderboard: one section a truth, each metric with its audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from whitebox_loc import plots
from whitebox_loc._files import replacing
from whitebox_loc.evaluation.audits.auditing import Audit
from whitebox_loc.evaluation.benchmarking.results import Results
from whitebox_loc.evaluation.scores import METRICS
from whitebox_loc.evaluation.scores.record import KINDS, TRUTHS
from whitebox_loc.report import html
from whitebox_loc.report.figures import Drawn
from whitebox_loc.report.standings import Standing, standing

KNOW_NOTHING = ("random", "edge_detector")
"""Baselines that any explanation of a model has to beat."""

Section = tuple[str, str, tuple[str, ...], str, str]
"""(part of the results, truth, kinds of metrics, title, caption)."""

_MAIN: dict[str, Section] = {
    "localizer_task": (
        "localizer", "task", ("location",), "Task truth, trained localizer",
        "Maps of a trained localizer against the evidence of each edge in the image. A network "
        "may look elsewhere: a true explanation of such a network scores low here.",
    ),
    "mechanisms_model": (
        "mechanisms", "model", ("location",), "Model truth, compiled models",
        "Maps of networks whose weights were computed, against the pixels that each network "
        "really uses; cheaters among them. Means over the networks.",
    ),
    "mechanisms_faithful": (
        "mechanisms", "model", ("faithfulness",), "Model truth by intervention, compiled models",
        "How well maps predict what the same networks do when their input is changed. Means "
        "over the networks.",
    ),
    "localizer_faithful": (
        "localizer", "model", ("faithfulness", "sanity"),
        "Model truth by intervention, trained localizer",
        "How well maps predict what the trained localizer does when its input is changed, and "
        "whether they change when its weights are drawn anew.",
    ),
    "localizer_none": (
        "localizer", "none", ("stability", "complexity"), "No truth, trained localizer",
        "Stability and simplicity of the maps. Good values do not make an explanation true.",
    ),
    "mechanisms_task": (
        "mechanisms", "task", ("location",), "Task truth, compiled models",
        "Maps of the compiled models against the evidence of each edge in the image. Cheaters look "
        "elsewhere: true explanations of them score low here. Means over the networks.",
    ),
    "mechanisms_none": (
        "mechanisms", "none", ("stability", "complexity"), "No truth, compiled models",
        "Stability and simplicity of the maps of the compiled models. Good values do not make an "
        "explanation true. Means over the networks.",
    ),
}  # fmt: skip


def _others() -> dict[str, Section]:
    """Return a section for the rest of the kinds of each part and truth."""
    networks = {"localizer": "trained localizer", "mechanisms": "compiled models"}
    names = {"task": "Task truth", "model": "Model truth", "none": "No truth"}
    sections: dict[str, Section] = {}
    for part, truth in product(networks, TRUTHS):
        here = [kinds for p, t, kinds, *_ in _MAIN.values() if (p, t) == (part, truth)]
        kinds = tuple(kind for kind in KINDS if not any(kind in row for row in here))
        title = f"{names[truth]}, {networks[part]}: other metrics"
        caption = f"Metrics of other kinds: {', '.join(kinds)}."
        sections[f"{part}_{truth}_other"] = (part, truth, kinds, title, caption)
    return sections


SECTIONS = _MAIN | _others()
"""Name to section. One truth a section; every kind and truth is in one for each part."""


def draw_tables(
    parts: Mapping[str, Results], audits: Mapping[str, Audit], folder: Path
) -> dict[str, tuple[Standing, Drawn]]:
    """Return the table of every section that has one, with its figure in `folder`.

    Only metrics with an audit are shown.
    """
    tables = {}
    for name, (part, truth, kinds, title, caption) in SECTIONS.items():
        metrics = [m for m in audits if METRICS[m].truth == truth and METRICS[m].kind in kinds]
        table = standing(parts[part], metrics)
        path = folder / f"{name}.png"
        if table is None:
            path.unlink(missing_ok=True)
            continue
        with replacing(path) as temporary:
            _figure(table, audits).savefig(temporary, dpi=110)
        tables[name] = (table, Drawn(path, title, f"{caption} {LEGEND}"))
    return tables


ACROSS = 6
"""Panels beside each other."""

LEGEND = (
    "Points are means, bars 95% intervals. Diamonds on grey and dotted lines are the baselines: "
    "noise, the edges of the image, and the truth, blurred: its pixels for metrics of location, "
    "the map of moved edges (edge_move) for other metrics of model truth. A hollow point is a mean "
    "over fewer networks and coordinates, since the method or the metric does not apply to the "
    "others. "
    "Beneath each panel: how many pairs of control maps the metric puts in the wrong order, or "
    "cannot tell apart, in its audit."
)


def _figure(table: Standing, audits: Mapping[str, Audit]) -> Figure:
    count = len(table.metrics)
    lines = -(-count // ACROSS)
    size = (1.9 * min(count, ACROSS) + 1.8, lines * (1.2 + 0.19 * len(table.methods)))
    figure = Figure(figsize=size, layout="constrained")
    for index, line in enumerate(figure.subfigures(lines, 1, squeeze=False)[:, 0]):
        part = slice(index * ACROSS, (index + 1) * ACROSS)
        _line(table, audits, part, line.subplots(1, min(count, ACROSS), squeeze=False)[0])
    return figure


def _line(table: Standing, audits: Mapping[str, Audit], part: slice, axes: Any) -> None:
    metrics = table.metrics[part]
    plots.leaderboard(
        table.means[:, part], table.lows[:, part], table.highs[:, part], table.methods,
        [_title(name) for name in metrics], axes[: len(metrics)], baselines=table.baselines,
        incomplete=table.counts[:, part] < table.most,
        notes=[f"audit: {len(audits[m].wrong)} wrong, {len(audits[m].tied)} tied" for m in metrics],
    )  # fmt: skip
    for ax in axes[len(metrics) :]:
        ax.set_axis_off()


def _title(metric: str) -> str:
    words = metric.replace("_", " ")
    if len(words) > 20:
        first, _, last = words.rpartition(" ")
        words = f"{first}\n{last}"
    return f"{words}\n{'higher' if METRICS[metric].higher_is_better else 'lower'} is better"


def write_page(
    path: Path, summary: str, plan: Any, seed: int, results: Results,
    audits: Mapping[str, Audit], tables: Mapping[str, tuple[Standing, Drawn]],
) -> None:  # fmt: skip
    """Write the page to `path`, with its figures embedded."""
    failures = Counter((row["model"], row["method"], row["error"]) for row in results.failures())
    html.write_page(
        path, "leaderboard.html.j2", summary=summary, plan=plan, seed=seed, audits=audits,
        tables=tables, failures=failures, metrics=METRICS, know_nothing=KNOW_NOTHING,
    )  # fmt: skip
