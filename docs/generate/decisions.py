"""decisions/index.md: the list of all decisions."""

from __future__ import annotations

from pathlib import Path

from . import markdown

FOLDER = Path(__file__).parents[1] / "decisions"
HEAD = """# Decisions

Why things are as they are: one page for each choice that somebody will ask about. A page has context, decision,
consequences and alternatives. `make proto` generates this list.
"""
TREE = """
```{toctree}
:hidden:
:glob:

0*
```"""


def page() -> str:
    """Returns the page."""
    return markdown.page(
        HEAD, *map(_line, sorted(FOLDER.glob("0*.md"))), "", "Next: [architecture](../architecture.md).", TREE
    )


def _line(path: Path) -> str:
    number, _, title = path.read_text().partition("\n")[0].removeprefix("# ").partition(" ")
    return f"- {number.removesuffix('.')}: [{title}]({path.name})"
