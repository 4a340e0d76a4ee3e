"""Sphinx's configuration of the documentation site. `make docs` builds the site into build/docs.

Two variables change the build:

- CELLSERVE_ADDRESS: a running service. With it, the notebooks are executed. Without it, they are shown without results.
- REPOSITORY_URL: where the repository is published, such as https://example.org/cellserve/blob/main. With it, links to
  files of the repository outside of docs/ lead there. Without it, they become plain text.
"""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

from sphinx.util.inspect import TypeAliasForwardRef

sys.path.insert(0, str(Path(__file__).parents[1]))

project = "CellServe"
author = copyright = "the CellServe developers"
version = release = metadata.version("cellserve")
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docs.site.repository",
]
exclude_patterns = ["README.md"]
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!cellserve\.[A-Z]\w+$).*")]  # only public names have a place in the reference

# Markdown
myst_heading_anchors = 4
highlight_language = "none"

# Notebooks
nb_execution_mode = "force" if os.environ.get("CELLSERVE_ADDRESS") else "off"
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_execution_timeout = 600  # seconds per cell
os.environ["JUPYTER_PATH"] = str(Path(__file__).parent / "site" / "jupyter")  # kernels that print errors only

# The Python reference
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_type_aliases = {"ImageLike": "ImageLike"}
TypeAliasForwardRef.__repr__ = lambda self: self.name  # within another type, Sphinx prints the representation
default_role = "py:obj"  # names in docstrings become links where they are public
toc_object_entries_show_parents = "hide"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Links
repository_url = os.environ.get("REPOSITORY_URL", "")
linkcheck_ignore = [r"http://localhost\b"]

# Pages: no font, script or style comes from another server.
html_theme = "pydata_sphinx_theme"
html_title = "CellServe"
html_static_path = ["site/static"]
html_css_files = ["site.css"]
html_copy_source = False
html_sidebars = {page: [] for page in ("index", "install", "tutorial", "background")}
html_show_sphinx = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
