"""One HTML file with everything in it, to open, print or send."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from whitebox_loc._files import replacing
from whitebox_loc.report.figures import Drawn

__all__ = ["STYLE", "embedded", "write"]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #ccc; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1.5rem 0 2.5rem; } img { max-width: 100%; height: auto; }
figcaption { color: #444; max-width: 45rem; } code { background: #f2f2f2; padding: 0 .2rem; }
"""

COLUMNS = {
    "mean_iou": ("mean IoU", "{:.4f}"),
    "min_iou": ("least IoU", "{:.4f}"),
    "exact_rate": ("exact to the pixel", "{:.2%}"),
    "pixel_error": ("mean error (pixels)", "{:.4f}"),
    "bce": ("BCE (nats)", "{:.4f}"),
    "floor": ("floor (nats)", "{:.4f}"),
    "excess": ("excess (nats)", "{:.1e}"),
    "n": ("images", "{:d}"),
}


def write(path: Path, summary: str, metrics: dict[str, Any], drawn: Sequence[Drawn]) -> None:
    """Write the report of a tour to `path`, with its figures embedded."""
    training = metrics["training"]
    parts = [
        f"<h1>How this network finds a box</h1><p>Head <code>{escape(metrics['head'])}</code>, "
        f"{metrics['weights']:,} weights, seed {metrics['seed']}. Trained for "
        f"{training['seconds']:.1f} s ({training['steps']} steps, stopped by "
        f"{escape(training['stopped_by'])}) on <code>{escape(metrics['scene'])}</code>.</p>",
        "<h2>Held-out images</h2>",
        _table(metrics["held_out"]),
        *(embedded(each) for each in drawn),
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>whitebox_loc tour</title><style>{STYLE}</style></head>\n<body>"
        + "\n".join(parts)
        + f"<footer><p>whitebox_loc {escape(metrics['whitebox_loc'])}</p></footer>\n"
        f"<!--\n{escape(summary)}\n--></body></html>\n"
    )
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8")


def _table(held_out: dict[str, dict[str, Any]]) -> str:
    head = "".join(f"<th>{title}</th>" for title, _ in COLUMNS.values())
    rows = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(f"<td>{form.format(scores[key])}</td>" for key, (_, form) in COLUMNS.items())
        + "</tr>"
        for name, scores in held_out.items()
    )
    return f"<table><tr><th>scene</th>{head}</tr>{rows}</table>"


def embedded(drawn: Drawn) -> str:
    """Return a figure with its title and caption, its file within the text."""
    image = base64.b64encode(drawn.path.read_bytes()).decode("ascii")
    return (
        f"<h2>{escape(drawn.title)}</h2><figure>"
        f'<img alt="{escape(drawn.title)}" src="data:image/png;base64,{image}">'
        f"<figcaption>{escape(drawn.caption)}</figcaption></figure>"
    )
