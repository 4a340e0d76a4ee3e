"""Runs the table of cases on a running service, and prints what came and what is right.

python -m tests.cases [--case N]... [--json FILE] [--jobs N] [--single]

CELLSERVE_ADDRESS and CELLSERVE_HTTP_URL name the service; `make cases` starts one. Exit status 1 if a row is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cellserve

from .doors import Outcome, Service
from .rows import Row
from .table import rows


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=int, action="append", help="only rows of this number")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--single", action="store_true", help="network 0 alone: quicker")
    parser.add_argument("--jobs", type=int, default=2, help="rows at a time")
    arguments = parser.parse_args()
    chosen = [row for row in rows() if not arguments.case or row.case in arguments.case]
    results, wrong = [], 0
    print("| case | input | door | what came | right | |\n|---|---|---|---|---|---|")
    address, url = os.environ["CELLSERVE_ADDRESS"], os.environ["CELLSERVE_HTTP_URL"]
    with cellserve.Client(address, deadline_s=600) as client, ThreadPoolExecutor(arguments.jobs) as pool:
        service = Service(address, url, client, ensemble=not arguments.single)
        for row, outcome in zip(chosen, pool.map(lambda row: _run(row, service), chosen), strict=True):
            right = row.right.holds(outcome)
            wrong += not right
            results.append([row.case, row.what, row.door, _short(outcome), row.right.text, "ok" if right else "WRONG"])
            print("| " + " | ".join(str(cell).replace("|", "/") for cell in results[-1]) + " |", flush=True)
    print(f"\n{len(chosen) - wrong} of {len(chosen)} rows are right")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    return 1 if wrong else 0


def _run(row: Row, service: Service) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="cellserve-case-") as folder:
        try:
            return row.run(service, Path(folder))
        except Exception as error:  # a row that cannot be run is a wrong row, and the next one follows
            return Outcome(message=f"{type(error).__name__}: {error}", crashed=True)


def _short(outcome: Outcome, length: int = 160) -> str:
    text = " ".join(str(outcome).split()).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= length else f"{text[:length]}..."


if __name__ == "__main__":
    sys.exit(main())
