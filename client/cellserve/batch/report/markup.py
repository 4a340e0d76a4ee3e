"""HTML that is escaped by construction: a text becomes part of a page through `tag` only."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable

# Controls of the direction of writing let a name look like another one.
_DIRECTIONS = frozenset(map(chr, (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))))
_PARTS = re.compile(r"(?<=[_/\\ -])(?=[^_/\\ -])")
_VOID = frozenset({"br", "img", "link", "meta"})


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | None | Iterable["Child"]
"""Content of an element: `Html` as it is, other text escaped, None left out."""


def tag(name: str, *children: Child, **attributes: str | int | None) -> Html:
    """Returns an element.

    Args:
        name: Name of the element, such as "td".
        *children: Its content.
        **attributes: Its attributes. In their names "_" stands for "-"; a trailing "_" is dropped. None leaves an
            attribute out.
    """
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    start = "".join(f' {key}="{_escaped(str(value))}"' for key, value in pairs if value is not None)
    return Html(f"<{name}{start}>" if name in _VOID else f"<{name}{start}>{joined(children)}</{name}>")


def joined(children: Iterable[Child]) -> Html:
    """Returns elements and texts one after the other."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Html):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(_escaped(child))
        elif child is not None:
            parts.append(joined(child))
    return Html("".join(parts))


def prose(text: str) -> Html:
    """Returns sentences in which backticks mark what is typed."""
    return joined(tag("code", part) if at % 2 else part for at, part in enumerate(text.split("`")))


def named(name: str) -> Html:
    """Returns the name of a file or an image, which may break into lines between its parts."""
    parts = _PARTS.split(visible(name))
    return tag("span", [joined((part, Html("<wbr>"))) for part in parts[:-1]], parts[-1], class_="name")


def measured(text: str) -> Html:
    """Returns a time or a speed. Two runs with the same results differ in these alone."""
    return tag("span", text, class_="time")


def section(name: str, heading: str, *children: Child) -> Html:
    """Returns a section of a page; links find the section by its name."""
    return tag("section", tag("h2", heading, id=name), *children, aria_labelledby=name)


def table(
    caption: Child, headings: Iterable[str], rows: Iterable[Iterable[Child]], numbers: Iterable[int] = ()
) -> Html:
    """Returns a table.

    Args:
        caption: What the table shows.
        headings: Headings of the columns.
        rows: Their cells; the first cell of a row is its heading.
        numbers: Which columns hold numbers, from 0.
    """
    right, headings = frozenset(numbers), tuple(headings)
    kinds = ["number" if at in right else None for at in range(len(headings))]
    head = [tag("th", heading, scope="col", class_=kind) for heading, kind in zip(headings, kinds, strict=True)]
    body = [
        tag(
            "tr",
            [
                tag("td", cell, class_=kinds[at]) if at else tag("th", cell, scope="row", class_=kinds[at])
                for at, cell in enumerate(row)
            ],
        )
        for row in rows
    ]
    cells = tag("table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", body))
    return tag("div", cells, class_="wide")


def visible(text: str) -> str:
    """Returns a text whose control characters are written out, such as "\\n" and "\\x1b".

    Bytes of a file name that are no UTF-8 are written as "\\xff".
    """
    if text.isprintable():
        return text
    return "".join(character if _is_harmless(character) else _written_out(character) for character in text)


def _is_harmless(character: str) -> bool:
    if character in _DIRECTIONS or ord(character) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(character) <= 0xFDEF:
        return False
    return unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")


def _written_out(character: str) -> str:
    if 0xDC80 <= ord(character) <= 0xDCFF:  # how Python decodes such a byte
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


def _escaped(text: str) -> str:
    return html.escape("\n".join(map(visible, text.split("\n"))))
