"""What the generated pages have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yields the lines of a table."""
    head = list(head)
    yield _row(head)
    yield "|" + "---|" * len(head)
    yield from map(_row, rows)


def page(*lines: str) -> str:
    """Returns the text of a page."""
    return "\n".join([*lines, ""])


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
