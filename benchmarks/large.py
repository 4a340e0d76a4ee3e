"""Images of any size: `cellserve segment` on one large image, beside images of one megapixel, through the same gateway.

The networks are tiny (`tests/integration/tiny.py`), so that everything else shows.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile
from cellserve import AsyncClient
from cellserve_formats.ome_zarr import OmeZarrWriter
from fields import PATCH, mosaic
from numpy.typing import NDArray
from throughput import CONCURRENCY

from devtools import stack
from tests.integration import tiny

SIDE = 8000
"""Of the large image, in pixels."""
SMALL = 1000
"""Side of the images of one megapixel."""
IMAGES = 64
"""Of one megapixel: as many pixels as the large image has."""
DIAMETER = 30.0
"""Of the objects: the networks see the images in their own size."""
PERIOD = 16 * PATCH
"""Side of the mosaic that a large image repeats, in pixels."""
DENSITY = 700 / 1024**2
"""Objects per pixel."""
CHUNK = 1024


def large_share(data: Path, rounds: int) -> dict[str, float]:
    """Measures in turns; `data` is the folder of the data sets. Ratios are medians of the rounds' ratios.

    The same command segments one large image, and as many pixels in images of one megapixel. The Python client
    segments these, too: it reads and writes no files.
    """
    seconds: dict[str, list[float]] = {"large": [], "small": [], "client": []}
    with tempfile.TemporaryDirectory(prefix="cellserve-") as name, tiny_service(Path(name)) as address:
        folder = Path(name)
        image, small, files = folder / "large.ome.zarr", _cut(_period(data)), folder / "small"
        write_mosaic(image, data, SIDE)
        files.mkdir()
        for number, pixels in enumerate(small):
            tifffile.imwrite(files / f"{number}.tif", pixels)
        asyncio.run(_segment_all(address, small[:2]))
        for number in range(rounds):
            seconds["client"].append(asyncio.run(_segment_all(address, small)))
            seconds["small"].append(segment(address, files, folder / f"small {number}"))
            seconds["large"].append(segment(address, image, folder / f"large {number}"))
            print(f"large: round {number + 1}: " + ", ".join(f"{key} {s[-1]:.1f} s" for key, s in seconds.items()))
    figures = {
        "large_megapixels_per_s": SIDE**2 / 1e6 / statistics.median(seconds["large"]),
        "small_megapixels_per_s": IMAGES * SMALL**2 / 1e6 / statistics.median(seconds["small"]),
    }
    for key, figure in (("small", "large_share_of_gateway"), ("client", "large_share_of_client")):
        figures[figure] = statistics.median(s / one for s, one in zip(seconds[key], seconds["large"], strict=True))
    return figures


@contextmanager
def tiny_service(folder: Path) -> Iterator[str]:
    """Runs a gateway and a Triton with the tiny networks; yields the address."""
    repository = tiny.write_repository(folder / "models")
    with stack.running(folder, model_repository=repository) as at:
        yield at["grpc"]


def segment(address: str, image: Path, out: Path) -> float:
    """Runs `cellserve segment` on an image or a folder; returns the seconds of the process. No picture is drawn."""
    start = time.perf_counter()
    subprocess.run([*command(address, image, out), "--save", "masks,csv"], check=True, capture_output=True)
    return time.perf_counter() - start


def command(address: str, image: Path, out: Path) -> list[str]:
    """Returns the command that segments an image, told the diameter of its objects."""
    program = Path(sys.executable).with_name("cellserve")
    return [*map(str, (program, "segment", image, "--out", out)), "--address", address, "--diameter", f"{DIAMETER:g}"]


def write_mosaic(path: Path, data: Path, side: int) -> None:
    """Writes a square mosaic of real images as OME-Zarr, uint8, block by block."""
    period = _period(data)
    writer = OmeZarrWriter(path, "YX", (side, side), np.uint8, chunks=(CHUNK, CHUNK))
    starts = range(0, side, CHUNK)
    for y in starts:
        for x in starts:
            region = slice(y, min(y + CHUNK, side)), slice(x, min(x + CHUNK, side))
            rows, columns = (np.arange(part.start, part.stop) % PERIOD for part in region)
            writer.write(region, period[np.ix_(rows, columns)])
    writer.finish()


def _period(data: Path) -> NDArray[np.uint8]:
    return mosaic(data, PERIOD, round(DENSITY * PERIOD**2), DIAMETER).image


def _cut(period: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Images of one megapixel at different places of the mosaic, which repeats."""
    places = np.random.default_rng(0).integers(0, PERIOD, (IMAGES, 2))
    return [period[np.ix_(np.arange(y, y + SMALL) % PERIOD, np.arange(x, x + SMALL) % PERIOD)] for y, x in places]


async def _segment_all(address: str, images: list[NDArray[np.uint8]]) -> float:
    """Segments images, CONCURRENCY at a time; returns the seconds."""
    async with AsyncClient(address) as client:
        start = time.perf_counter()
        async for _, result in client.segment_many(images, diameter=DIAMETER, concurrency=CONCURRENCY):
            if isinstance(result, Exception):
                raise result
        return time.perf_counter() - start
