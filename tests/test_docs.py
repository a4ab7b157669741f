"""The documentation knows what the tables hold."""

from pathlib import Path

import pytest

import whitebox_loc as wb

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", wb.introspect.METHODS)
def test_every_method_has_its_formula_on_the_page_of_its_family(name):
    family = wb.introspect.METHODS[name].family
    page = (DOCS / f"saliency_{family}.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith(("|", "**"))]
    assert any(f"`{name}`" in row for row in rows)


@pytest.mark.parametrize("name", wb.models.HEADS)
def test_every_head_is_explained(name):
    assert f'head="{name}"' in (DOCS / "network.md").read_text()


def test_every_page_is_linked():
    linked = (DOCS / "index.md").read_text()
    for page in DOCS.glob("*.md"):
        assert page.stem == "index" or f"\n{page.stem}\n" in linked
