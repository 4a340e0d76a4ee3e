"""Generates the pages of docs/reference that follow from declarations of the code.

    .venv/bin/python -m docs.generate           writes the pages
    .venv/bin/python -m docs.generate --check   fails if a page is not what it would write

One module of this package writes one page. The Python reference has no module: Sphinx reads the docstrings.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import commands, errors, http, limits, parameters, settings

FOLDER = Path(__file__).parents[1] / "reference"
PAGES = {
    "commands.md": commands.page,
    "errors.md": errors.page,
    "http.md": http.page,
    "limits.md": limits.page,
    "parameters.md": parameters.page,
    "settings.md": settings.page,
}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a page is stale")
    pages = {FOLDER / name: page() for name, page in PAGES.items()}
    if parser.parse_args().check:
        stale = [path.name for path, text in pages.items() if not path.exists() or path.read_text() != text]
        if stale:
            print(f"docs/reference: {', '.join(stale)} stale; run 'make proto'", file=sys.stderr)
        return int(bool(stale))
    for path, text in pages.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
