"""The names of result files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cellserve.saving import ENDINGS

LONGEST = 255
"""Bytes of a name on common file systems."""


def is_result(path: Path) -> bool:
    """Tells whether a file has the name of a result."""
    return path.name.endswith(tuple(ENDINGS.values()))


def result_names(image: Path) -> dict[str, str]:
    """Returns the names of the result files of an image, by what they hold; shortened where they would be too long."""
    stem = _short(image.stem)
    return {kind: stem + ending for kind, ending in ENDINGS.items()}


def _short(stem: str) -> str:
    """Returns the name of a file without ending; longer ones than results can have end in a checksum instead."""
    name, most = os.fsencode(stem), LONGEST - max(map(len, ENDINGS.values()))
    if len(name) <= most:
        return stem
    mark = f"~{hashlib.sha256(name).hexdigest()[:8]}"
    kept = stem
    while len(os.fsencode(kept)) > most - len(mark):  # whole characters
        kept = kept[:-1]
    return kept + mark
