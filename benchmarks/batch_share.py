"""`cellserve batch` on a folder of files against the Python client on the same images, through the same gateway."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from cellserve import AsyncClient
from numpy.typing import NDArray
from throughput import CONCURRENCY, DIAMETER

SIDE = 448
"""Of the images, in pixels: nine tiles."""


def batch_share(address: str, data: Path, rounds: int, images: int) -> dict[str, float]:
    """Measures in turns; ratios are medians of the rounds' ratios.

    The client reads and writes no file. What the command does besides is therefore in the ratio: its start, reading
    files, writing label images and tables, the journal, the report.

    Args:
        address: The gateway.
        data: Folder of the data sets.
        rounds: Turns.
        images: Images in a turn.
    """
    crops = _crops(data, images)
    speeds: dict[str, list[float]] = {"client": [], "batch": []}
    with tempfile.TemporaryDirectory(prefix="cellserve-") as name:
        folder = Path(name)
        (folder / "images").mkdir()
        for number, crop in enumerate(crops):
            tifffile.imwrite(folder / "images" / f"{number}.tif", crop)
        asyncio.run(_segment_all(address, crops[:4]))  # first-touch costs belong to nobody
        for number in range(rounds):
            before = asyncio.run(_segment_all(address, crops))
            seconds = _run(address, folder / "images", folder / f"out {number}")
            after = asyncio.run(_segment_all(address, crops))  # on both sides: a drifting machine cancels
            speeds["client"].append(images / statistics.mean((before, after)))
            speeds["batch"].append(images / seconds)
            print(
                f"batch: round {number + 1}: " + ", ".join(f"{key} {s[-1]:.2f} images/s" for key, s in speeds.items())
            )
    return {
        "batch_images_per_s_448px": statistics.median(speeds["batch"]),
        "batch_share_of_gateway": statistics.median(
            ours / theirs for ours, theirs in zip(speeds["batch"], speeds["client"], strict=True)
        ),
    }


def _crops(data: Path, count: int) -> list[NDArray[np.uint8]]:
    """Returns squares of real images, each from another place."""
    numbers = np.random.default_rng(0)
    sources = [image for image in map(imagecodecs.imread, sorted(data.glob("*/test/*_img.png"))) if _fits(image)]
    crops = []
    for number in range(count):
        image = sources[number % len(sources)]
        y, x = (int(numbers.integers(0, length - SIDE + 1)) for length in image.shape)
        crops.append(np.ascontiguousarray(image[y : y + SIDE, x : x + SIDE]))
    return crops


def _fits(image: NDArray[np.uint8]) -> bool:
    return image.ndim == 2 and min(image.shape) >= SIDE


async def _segment_all(address: str, crops: list[NDArray[np.uint8]]) -> float:
    """Segments images, CONCURRENCY at a time; returns the seconds."""
    async with AsyncClient(address) as client:
        start = time.perf_counter()
        async for _, result in client.segment_many(crops, diameter=DIAMETER, concurrency=CONCURRENCY):
            if isinstance(result, Exception):
                raise result
        return time.perf_counter() - start


def _run(address: str, images: Path, out: Path) -> float:
    """Runs the command; returns the seconds of the process."""
    program = str(Path(sys.executable).with_name("cellserve"))
    command = [program, "batch", str(images), "--out", str(out), "--address", address, "--diameter", f"{DIAMETER:g}"]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - start
    if len(list(out.glob("*_cp_masks.tif"))) != len(list(images.iterdir())):
        raise RuntimeError("the command lost images")
    return seconds
