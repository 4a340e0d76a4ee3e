"""The names of result files."""

from __future__ import annotations

from pathlib import Path

from cellserve.saving import ENDINGS, LARGE_ENDINGS, result_stem


def is_result(path: Path) -> bool:
    """Tells whether a file or folder has the name of a result."""
    return path.name.endswith((*ENDINGS.values(), *LARGE_ENDINGS.values()))


def result_names(image: Path) -> dict[str, str]:
    """Returns the names of the result files of an image, by what they hold; shortened where they would be too long."""
    stem = result_stem(image)
    return {kind: stem + ending for kind, ending in ENDINGS.items()}
