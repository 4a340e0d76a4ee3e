"""Measures the memory of the isolated reader beside the pixels of an image, in a process that does nothing else.

Pixels that move from one process to another while both are measured can count twice on a busy machine. A copy is there
every time: the least of several measurements counts.

python -m tests.unit.formats.pixels_once     prints JSON: bytes beside the pixels, by name of the image
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
from cellserve_formats import Limits
from cellserve_formats.isolated import IsolatedReader

from tests.processes import memory, peak_memory

from .samples import tiff

MEASUREMENTS = 3
IMAGES: dict[str, tuple[tuple[int, ...], str, dict[str, Any]]] = {
    "double precision": ((4000, 4000), "f8", {}),
    "64 bit": ((4000, 4000), "i8", {}),
    "planes first": ((4, 4000, 4000), "u2", {"metadata": {"axes": "CYX"}, "ome": True}),
    "transparency": ((4000, 4000, 4), "u2", {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
}


def beside_pixels(reader: IsolatedReader, shape: tuple[int, ...], dtype: str, options: dict[str, Any]) -> int:
    """Returns the bytes that all processes of the reader take at most beside the pixels, and the transparency."""
    data = tiff(np.full(shape, 7, dtype), compression="zlib", **options)
    asked = []

    def grant(size: int) -> contextlib.AbstractContextManager[None]:
        asked.append(size)
        return contextlib.nullcontext()

    before = memory()
    with peak_memory() as peak:
        image = reader.read(data, limits=Limits(), seconds=10, grant=grant)
    assert np.all(image.pixels == 7)
    alpha = asked[0] // 3 if "extrasamples" in options else 0
    return peak() - before - asked[0] - alpha


def main() -> None:
    """Command line."""
    with contextlib.closing(IsolatedReader()) as reader:
        reader.read(tiff(np.zeros((8, 8), np.uint8)), limits=Limits(), seconds=4)
        least = {
            name: min(beside_pixels(reader, *image) for _ in range(MEASUREMENTS)) for name, image in IMAGES.items()
        }
        print(json.dumps(least))


if __name__ == "__main__":
    main()
