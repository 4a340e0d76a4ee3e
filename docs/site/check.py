"""Checks the built site: every internal link and anchor exists, and no page loads anything from another server.

    .venv/bin/python -m docs.site.check build/docs

Links that a reader may follow to other servers are allowed; `make docs CHECK_EXTERNAL_LINKS=1` checks them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

LOADED = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "link": "href",
    "object": "data",
    "script": "src",
    "source": "src",
    "video": "src",
}
"""Attributes by which a page loads something."""
IN_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?\s*((?:https?:)?//[^"')\s]+)""")
IN_SCRIPT = re.compile(r"""(?:import|from|importScripts|src\s*=)\s*\(?\s*["'`]((?:https?:)?//[^"'`]+)""")


@dataclass
class Page(HTMLParser):
    """What a page links to and loads.

    Attributes:
        links: Addresses of its links.
        loads: Addresses of what it loads.
        anchors: Its anchors.
    """

    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Makes the parser ready."""
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Takes the addresses of a tag."""
        values = {name: value or "" for name, value in attrs}
        if anchor := values.get("id") or values.get("name"):
            self.anchors.add(anchor)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if values.get(LOADED.get(tag, "")):
            self.loads.append(values[LOADED[tag]])
        if "style" in values:
            self.loads += IN_STYLE.findall(values["style"])

    def handle_data(self, data: str) -> None:
        """Takes the addresses in the text of a style or script."""
        if self.cdata_elem == "style":
            self.loads += IN_STYLE.findall(data)
        elif self.cdata_elem == "script":
            self.loads += IN_SCRIPT.findall(data)


def problems(site: Path) -> Iterator[str]:
    """Yields what is wrong with a site, one sentence each."""
    files = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]  # templates of the theme
    pages = {path.relative_to(site).as_posix(): _read(path) for path in files}
    if not pages:
        yield f"{site} has no pages"
    for name, page in pages.items():
        for address in page.loads:
            if _is_foreign(address) and not address.startswith("data:"):  # data stand in the page itself
                yield f"{name} loads {address}"
        for address in (*page.links, *page.loads):
            if not _is_foreign(address) and (problem := _broken(site, pages, name, address)):
                yield f"{name}: {problem}"
    for files_of, addresses in (("*.css", IN_STYLE), ("*.js", IN_SCRIPT)):
        for path in sorted(site.rglob(files_of)):
            for found in addresses.findall(path.read_text()):
                yield f"{path.relative_to(site)} loads {found}"


def _read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text())
    return page


def _is_foreign(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in ("", "http", "https")


def _broken(site: Path, pages: dict[str, Page], name: str, address: str) -> str:
    """Returns what is wrong with an internal address; "" if it is right."""
    target = urlsplit(urljoin(name, address))
    path = unquote(target.path).removeprefix("/") or "index.html"
    if not (site / path).is_file():
        return f"{address} does not exist"
    if target.fragment and path in pages and unquote(target.fragment) not in pages[path].anchors:
        return f"{address} has no such anchor"
    return ""


def main() -> int:
    """Command line."""
    site = Path(sys.argv[1])
    found = list(problems(site))
    if found:
        print("\n".join(found), file=sys.stderr)
        return 1
    print(f"{site}: internal links, anchors and resources are right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
