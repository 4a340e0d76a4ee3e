"""The names of result files."""

from __future__ import annotations

from pathlib import Path

from cellserve.saving import ENDINGS


def is_result(path: Path) -> bool:
    """Tells whether a file or folder has the name of a result."""
    return path.name.endswith(ENDINGS)
