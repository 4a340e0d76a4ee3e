"""Generates the pages of docs/ that follow from something else: declarations of the code, other pages.

    .venv/bin/python -m docs.generate           writes the pages
    .venv/bin/python -m docs.generate --check   fails if a page is not what it would write

One module of this package writes one page. The Python reference has no module: Sphinx reads the docstrings.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import columns, commands, decisions, errors, http, limits, parameters, settings

FOLDER = Path(__file__).parents[1]
PAGES = {
    "decisions/index.md": decisions.page,
    "reference/columns.md": columns.page,
    "reference/commands.md": commands.page,
    "reference/errors.md": errors.page,
    "reference/http.md": http.page,
    "reference/limits.md": limits.page,
    "reference/parameters.md": parameters.page,
    "reference/settings.md": settings.page,
}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a page is stale")
    pages = {FOLDER / name: page() for name, page in PAGES.items()}
    if parser.parse_args().check:
        stale = [str(path) for path, text in pages.items() if not path.exists() or path.read_text() != text]
        if stale:
            print(f"stale: {', '.join(stale)}; run 'make proto'", file=sys.stderr)
        return int(bool(stale))
    for path, text in pages.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
