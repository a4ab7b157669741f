"""One HTML file with everything in it, to open, print or send, from a template."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from whitebox_loc._files import replacing
from whitebox_loc._version import __version__

_PAGES = Environment(
    loader=PackageLoader("whitebox_loc.report", "templates"),
    autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    keep_trailing_newline=True,
)  # fmt: skip
_PAGES.filters["base64"] = lambda path: base64.b64encode(path.read_bytes()).decode("ascii")
_PAGES.tests["finite"] = math.isfinite


def write_page(path: Path, template: str, **values: Any) -> None:
    """Write the page of a template, a file in ``templates``, to `path`, figures embedded."""
    page = _PAGES.get_template(template).render(values, version=__version__)
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8")
