"""Sphinx configuration; built with ``sphinx-build -W docs docs/_build/html``."""

import whitebox_loc

project = "whitebox_loc"
copyright = "2026, the whitebox_loc developers"
author = "the whitebox_loc developers"
release = version = whitebox_loc.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "whitebox_loc"
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
