"""Runs the programs of `examples/` as their users run them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
NUCLEI = ROOT / "examples" / "images" / "nuclei_fluorescence.png"


def run(command: list[str], *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in an environment that says nothing else of the service."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CELLSERVE_")}
    return subprocess.run(
        [*command, *map(str, arguments)], env=ours | environment, capture_output=True, text=True, timeout=120
    )
