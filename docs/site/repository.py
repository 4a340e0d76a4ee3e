"""Links from pages to files and folders of the repository that are no pages of the site.

On GitHub such a link opens the file. In the site it leads below `repository_url`; without that setting it is plain
text, with the path as tooltip. A link to something that does not exist is a warning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

ROOT = Path(__file__).parents[2]
LOGGER = logging.getLogger(__name__)


class RepositoryLinks(SphinxTransform):
    """Replaces links that lead out of the folder of the pages."""

    default_priority = 5  # before Sphinx collects downloads

    def apply(self, **kwargs: Any) -> None:
        """Replaces the links of one page."""
        for node in list(self.document.findall(_is_path)):
            # MyST drops the suffix of what it takes for a page.
            target = node["reftarget"].partition("#")[0]
            name = f"{target}.md" if node["refdomain"] == "doc" else target
            base = self.env.srcdir if node["refdomain"] == "doc" else Path(self.env.doc2path(self.env.docname)).parent
            path = (base / name).resolve()
            if path.is_relative_to(Path(self.env.srcdir).resolve()) and not path.is_dir():
                continue
            if path.exists():
                node.replace_self(self._link(node, path.relative_to(ROOT).as_posix()))
            else:
                LOGGER.warning("the link leads to %s, which does not exist", name, location=node, type="repository")

    def _link(self, node: nodes.Element, path: str) -> nodes.Element:
        url = self.config.repository_url
        link = nodes.reference(refuri=f"{url.rstrip('/')}/{path}") if url else nodes.inline(classes=["repository"])
        link["reftitle"] = path
        link += [child.deepcopy() for child in node.children]
        return link


def _is_path(node: nodes.Node) -> bool:
    """Tells whether a node is a link that MyST made of a relative path."""
    return (
        isinstance(node, addnodes.pending_xref | addnodes.download_reference)
        and node.get("reftype") == "myst"
        and not node["reftarget"].startswith("#")
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_config_value("repository_url", "", "env", types=frozenset({str}))
    app.add_transform(RepositoryLinks)
    return {"version": "1", "parallel_read_safe": True}
