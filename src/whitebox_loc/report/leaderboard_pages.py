"""The page of a leaderboard: one section a truth, each metric with its audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from html import escape
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import whitebox_loc
from whitebox_loc import plots
from whitebox_loc._files import replacing
from whitebox_loc.evaluation.audits.auditing import Audit
from whitebox_loc.evaluation.benchmarking.results import Results
from whitebox_loc.evaluation.scores import METRICS
from whitebox_loc.evaluation.scores.record import KINDS, TRUTHS
from whitebox_loc.report.figures import Drawn
from whitebox_loc.report.html import STYLE, embedded
from whitebox_loc.report.standings import Standing, standing

__all__ = ["SECTIONS", "draw_tables", "write_page"]

KNOW_NOTHING = ("random", "edge_detector")
"""Baselines that any explanation of a model has to beat."""

OWN_STYLE = """
td, th { font-size: .8rem; padding: .2rem .5rem; } .wide { overflow-x: auto; }
tr.baseline td { background: #f0f0f0; } td.beaten { color: #999; } td small { color: #777; }
tr.audit td { font-size: .7rem; text-align: right; vertical-align: top; color: #8a3b00;
              min-width: 7rem; } td.text { text-align: left; }
"""

Section = tuple[str, str, tuple[str, ...], str, str]
"""(part of the results, truth, kinds of metrics, title, caption)."""

_MAIN: dict[str, Section] = {
    "localizer_task": (
        "localizer", "task", ("location",),
        "Task truth, trained localizer",
        "Maps of a trained localizer against the evidence of each edge in the image. A network "
        "may look elsewhere: a true explanation of such a network scores low here.",
    ),
    "mechanisms_model": (
        "mechanisms", "model", ("location",),
        "Model truth, compiled models",
        "Maps of networks whose weights were computed, against the pixels that each network "
        "really uses; cheaters among them. Means over the networks.",
    ),
    "mechanisms_faithful": (
        "mechanisms", "model", ("faithfulness",),
        "Model truth by intervention, compiled models",
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
        "localizer", "none", ("stability", "complexity"),
        "No truth, trained localizer",
        "Stability and simplicity of the maps. Good values do not make an explanation true.",
    ),
    "mechanisms_task": (
        "mechanisms", "task", ("location",),
        "Task truth, compiled models",
        "Maps of the compiled models against the evidence of each edge in the image. Cheaters look "
        "elsewhere: true explanations of them score low here. Means over the networks.",
    ),
    "mechanisms_none": (
        "mechanisms", "none", ("stability", "complexity"),
        "No truth, compiled models",
        "Stability and simplicity of the maps of the compiled models. Good values do not make an "
        "explanation true. Means over the networks.",
    ),
}  # fmt: skip


def _others() -> dict[str, Section]:
    """Return a section for the rest of the kinds of each part and truth."""
    networks = {"localizer": "trained localizer", "mechanisms": "compiled models"}
    names = {"task": "Task truth", "model": "Model truth", "none": "No truth"}
    found: dict[str, Section] = {}
    for part, truth in product(networks, TRUTHS):
        here = [kinds for p, t, kinds, *_ in _MAIN.values() if (p, t) == (part, truth)]
        kinds = tuple(kind for kind in KINDS if not any(kind in known for known in here))
        title = f"{names[truth]}, {networks[part]}: other metrics"
        caption = f"Metrics of other kinds: {', '.join(kinds)}."
        found[f"{part}_{truth}_other"] = (part, truth, kinds, title, caption)
    return found


SECTIONS = _MAIN | _others()
"""Name to section. One truth a section; every kind and truth is in one for each part."""


def draw_tables(
    parts: Mapping[str, Results], audits: Mapping[str, Audit], folder: Path
) -> dict[str, tuple[Standing, Drawn]]:
    """Return the table of every section that has one, with its figure in `folder`.

    Only metrics with an audit are shown.
    """
    drawn = {}
    for name, (part, truth, kinds, title, caption) in SECTIONS.items():
        metrics = [m for m in audits if METRICS[m].truth == truth and METRICS[m].kind in kinds]
        table = standing(parts[part], metrics)
        path = folder / f"{name}.png"
        if table is None:
            path.unlink(missing_ok=True)
            continue
        with replacing(path) as temporary:
            _figure(table, audits).savefig(temporary, dpi=110)
        drawn[name] = (table, Drawn(path, title, f"{caption} {LEGEND}"))
    return drawn


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
    for part, line in enumerate(figure.subfigures(lines, 1, squeeze=False)[:, 0]):
        shown = slice(part * ACROSS, (part + 1) * ACROSS)
        _line(table, audits, shown, line.subplots(1, min(count, ACROSS), squeeze=False)[0])
    return figure


def _line(table: Standing, audits: Mapping[str, Audit], shown: slice, axes: Any) -> None:
    metrics = table.metrics[shown]
    found = [audits[name] for name in metrics]
    plots.leaderboard(
        table.means[:, shown], table.lows[:, shown], table.highs[:, shown], table.methods,
        [_wrapped(f"{name.replace('_', ' ')}\n{_better(name)}") for name in metrics],
        axes[: len(metrics)], baselines=table.baselines,
        incomplete=table.counts[:, shown] < table.most,
        notes=[f"audit: {len(a.wrong)} wrong, {len(a.tied)} tied" for a in found],
    )  # fmt: skip
    for ax in axes[len(metrics) :]:
        ax.set_axis_off()


def _wrapped(title: str) -> str:
    words, better = title.split("\n")
    if len(words) > 20:
        first, _, rest = words.rpartition(" ")
        words = f"{first}\n{rest}"
    return f"{words}\n{better}"


def _better(metric: str) -> str:
    return "higher is better" if METRICS[metric].higher_is_better else "lower is better"


def write_page(
    path: Path, summary: str, plan: Any, seed: int, results: Results,
    audits: Mapping[str, Audit], tables: Mapping[str, tuple[Standing, Drawn]],
) -> None:  # fmt: skip
    """Write the page to `path`, with its figures embedded."""
    height, width = plan.size
    parts = [
        "<h1>Which explanations are true?</h1>"
        f"<p>{plan.n} images of {height} x {width} pixels, seed {seed}, coordinates "
        f"{', '.join(plan.coordinates)}; localizer trained for {plan.steps} steps; compiled "
        f"models {', '.join(plan.mechanisms)}. A number in grey is no better than the best of "
        f"the baselines {' and '.join(KNOW_NOTHING)}. Task truth and model truth are never in "
        "one table.</p>",
        *(embedded(drawn) + _table(table, audits) for table, drawn in tables.values()),
        _metrics(audits), _failures(results),
    ]  # fmt: skip
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>whitebox_loc leaderboard</title><style>{STYLE}{OWN_STYLE}</style></head>\n<body>"
        + "\n".join(parts)
        + f"<footer><p>whitebox_loc {escape(whitebox_loc.__version__)}</p></footer>\n"
        f"<!--\n{escape(summary)}\n--></body></html>\n"
    )
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8")


def _table(table: Standing, audits: Mapping[str, Audit]) -> str:
    head = "".join(f"<th>{escape(m)}<br><small>{_better(m)}</small></th>" for m in table.metrics)
    verdicts = "".join(f"<td>{escape(audits[m].verdict)}</td>" for m in table.metrics)
    good = table.beaten(METRICS, KNOW_NOTHING)
    lines = []
    for index, method in enumerate(table.methods):
        kind = ' class="baseline"' if method in table.baselines else ""
        cells = "".join(_cell(table, index, j, good[index, j]) for j in range(len(table.metrics)))
        lines.append(f"<tr{kind}><td>{escape(method)}</td>{cells}</tr>")
    return (
        f'<div class="wide"><table><tr><th>method</th>{head}</tr>'
        f'<tr class="audit"><td>audit</td>{verdicts}</tr>{"".join(lines)}</table></div>'
    )


def _cell(table: Standing, row: int, column: int, good: bool) -> str:
    mean, low, high = (t[row, column] for t in (table.means, table.lows, table.highs))
    if not np.isfinite(mean):
        return "<td>–</td>"
    beaten = "" if good or table.methods[row] in table.baselines else ' class="beaten"'
    count = table.counts[row, column]
    share = "" if count == table.most else f"<br><small>{count} of {table.most}</small>"
    return f"<td{beaten}>{mean:.3g}<br><small>{low:.3g} – {high:.3g}</small>{share}</td>"


def _metrics(audits: Mapping[str, Audit]) -> str:
    lines = [
        f"<tr><td>{escape(name)}</td><td>{METRICS[name].truth}</td><td>{METRICS[name].kind}</td>"
        f'<td class="text">{escape(found.verdict)}</td>'
        f'<td class="text">{escape(METRICS[name].fooled_by)}</td>'
        f'<td class="text">{escape(METRICS[name].paper)}</td></tr>'
        for name, found in audits.items()
    ]
    return (
        "<h2>Metrics and their audits</h2><p>Each metric scored maps of known quality: the truth "
        "itself, the truth blurred, and maps that know nothing. What it misranks it cannot be "
        'trusted with.</p><div class="wide"><table><tr><th>metric</th><th>truth</th><th>kind</th>'
        f"<th>audit</th><th>fooled by</th><th>paper</th></tr>{''.join(lines)}</table></div>"
    )


def _failures(results: Results) -> str:
    failed = Counter((r["model"], r["method"], r["error"]) for r in results.failures())
    if not failed:
        return "<p>No method and no metric failed.</p>"
    lines = [
        "<tr>" + "".join(f'<td class="text">{escape(str(part))}</td>' for part in (*key, count))
        + "</tr>"
        for key, count in failed.items()
    ]  # fmt: skip
    return (
        "<h2>Failures</h2><p>These methods or metrics ended with an error, or do not apply to "
        "the network.</p><table><tr><th>model</th><th>method</th><th>error</th><th>rows</th></tr>"
        f"{''.join(lines)}</table>"
    )
