"""Pages of the documentation: links, next steps, a complete Python reference. `make docs` checks the site itself."""

from __future__ import annotations

import itertools
import re
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import cellserve
import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[3]
FOLDERS = [
    path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "." and path.name not in ("build", "dist")
]
FILES = [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in sorted(folder.rglob("*.md")))]
PAGES = [path for path in FILES if path.is_relative_to(ROOT / "docs") and path.name != "README.md"]
PARSER = MarkdownIt("commonmark").enable("table")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def anchors(path: Path) -> set[str]:
    """The anchors that GitHub and MyST give to headings."""
    tokens = PARSER.parse(path.read_text())
    headings = [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    texts = [re.sub(r"`|\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


def links(path: Path) -> list[str]:
    children = [child for token in PARSER.parse(path.read_text()) for child in token.children or ()]
    return [
        str(child.attrs.get("href") or child.attrs.get("src"))
        for child in children
        if child.type in ("link_open", "image")
    ]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_links_lead_somewhere(path):
    broken = []
    for link in links(path):
        parts = urlsplit(link)
        target = (path.parent / parts.path).resolve() if parts.path else path
        if parts.scheme:
            continue
        if not target.exists() or (parts.fragment and target.suffix == ".md" and parts.fragment not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_page_ends_with_the_next_step(path):
    """After the next step there may be a list of pages for the site only."""
    text = re.sub(r"```\{toctree\}.*?```\s*", "", path.read_text(), flags=re.DOTALL)
    last = text.rstrip().rpartition("\n\n")[2]
    assert last.startswith("Next: ")
    assert "](" in last


def test_the_reference_has_every_public_name():
    page = (ROOT / "docs/reference/python.md").read_text()
    found = re.findall(r"^\.\. auto\w+:: (\w+)$", page, flags=re.MULTILINE)
    assert sorted(found) == sorted(cellserve.__all__)
