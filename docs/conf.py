"""Sphinx configuration; built with ``sphinx-build -W docs docs/_build/html``."""

import whitebox_loc

project = "whitebox_loc"
copyright = "2026, the whitebox_loc developers"
author = "the whitebox_loc developers"
release = version = whitebox_loc.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "whitebox_loc"
exclude_patterns = ["_build", "generated"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True


def write_method_tables(app: object) -> None:
    """Write one table a family from METHODS, which the pages include."""
    from pathlib import Path

    from whitebox_loc.introspect import METHODS

    folder = Path(__file__).parent / "generated"
    folder.mkdir(exist_ok=True)
    for family in {method.family for method in METHODS.values()}:
        lines = ["| method | options | cannot see | paper |", "|---|---|---|---|"]
        for method in METHODS.values():
            if method.family == family:
                options = ", ".join(f"`{k}={v!r}`" for k, v in method.options.items()) or "none"
                cells = (f"`{method.name}`", options, method.blind_to, method.paper)
                lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
        (folder / f"{family}.md").write_text("\n".join(lines) + "\n")


def write_metric_tables(app: object) -> None:
    """Write one table a kind from METRICS, and the audits of all metrics."""
    from pathlib import Path

    from whitebox_loc.evaluation.audits.auditing import audit, audit_table
    from whitebox_loc.evaluation.scores import METRICS

    folder = Path(__file__).parent / "generated"
    folder.mkdir(exist_ok=True)
    for kind in {metric.kind for metric in METRICS.values()}:
        head = ("metric", "formula", "truth", "range", "better", "what fools it", "paper")
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for metric in METRICS.values():
            if metric.kind == kind:
                low, high = (f"{x:g}".replace("inf", "∞") for x in metric.range)
                better = "high" if metric.higher_is_better else "low"
                cells = (
                    f"`{metric.name}`",
                    f"${metric.formula}$",
                    metric.truth,
                    f"{low} … {high}",
                    better,
                    metric.fooled_by,
                    metric.paper,
                )
                lines.append("| " + " | ".join(cells) + " |")
        (folder / f"metrics_{kind}.md").write_text("\n".join(lines) + "\n")
    (folder / "audits.md").write_text(audit_table(audit(name) for name in METRICS))


def setup(app: object) -> None:
    """Connect the hooks."""
    app.connect("builder-inited", write_method_tables)
    app.connect("builder-inited", write_metric_tables)
