"""How fast: raw Triton, images through the gateway, and stock Cellpose, in turns on the same machine."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
from cellserve import AsyncClient
from cellserve_preprocess import TileGrid
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient

IMAGE = (512, 512)
TILES_PER_IMAGE = len(TileGrid.cover(IMAGE))
CONCURRENCY = 8
DIAMETER = 30.0  # at which the family looks at an image in its own size


async def raw_tiles_per_s(triton: str, seconds: float) -> float:
    """Returns the tiles per second of Triton alone, full batches always waiting."""
    tiles = np.random.default_rng(0).normal(0.5, 0.3, (8, 2, 224, 224)).astype(np.float32)
    tensor = InferInput("image", list(tiles.shape), "FP32")
    tensor.set_data_from_numpy(tiles)
    client = InferenceServerClient(triton)
    loop = asyncio.get_running_loop()
    done = 0

    async def caller(end: float) -> None:
        nonlocal done
        while loop.time() < end:
            await client.infer("generalist", [tensor])
            done += len(tiles)

    start = loop.time()
    await asyncio.gather(*(caller(start + seconds) for _ in range(4)))
    rate = done / (loop.time() - start)
    await client.close()
    return rate


async def gateway_images_per_s(gateway: str, image: np.ndarray, images: int) -> float:
    """Returns the images per second through the gateway, CONCURRENCY at a time."""
    async with AsyncClient(gateway) as client:
        start = time.perf_counter()
        async for _, result in client.segment_many(
            ((i, image) for i in range(images)), diameter=DIAMETER, concurrency=CONCURRENCY
        ):
            if isinstance(result, Exception):
                raise result
            if result.timing.tiles != TILES_PER_IMAGE:
                raise RuntimeError(
                    f"{result.timing.tiles} tiles an image, not {TILES_PER_IMAGE}: the rates do not compare"
                )
        return images / (time.perf_counter() - start)


def cellpose_tiles_per_s(python: Path, weights: list[Path]) -> float:
    """Returns the tiles per second of stock Cellpose, all networks."""
    script = Path(__file__).parent / "peers" / "cellpose_tiles.py"
    command = [python, script, "--weights", *weights]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    rate: float = json.loads(result.stdout.splitlines()[-1])["tiles_per_s"][0]
    return rate


def throughput(
    at: dict[str, str], image: np.ndarray, peers: Path, weights: list[Path], rounds: int, images: int
) -> dict[str, float]:
    """Measures all three in turns and returns medians; ratios are medians of the rounds' ratios.

    Args:
        at: Addresses of the running pair.
        image: A real image, at least as large as IMAGE; its corner is used.
        peers: Python of the environment with Cellpose.
        weights: The checkpoints of the ensemble.
        rounds: Turns.
        images: Images through the gateway per turn.
    """
    corner = np.ascontiguousarray(image[: IMAGE[0], : IMAGE[1]])
    if corner.shape != IMAGE:
        raise ValueError(f"an image of at least {IMAGE} is needed, not {image.shape}")
    raw, gateway, cellpose = [], [], []
    asyncio.run(gateway_images_per_s(at["grpc"], corner, 2))  # first-touch costs belong to nobody
    for number in range(rounds):
        seconds = images * TILES_PER_IMAGE / 5  # tens of full batches
        before = asyncio.run(raw_tiles_per_s(at["triton"], seconds / 2))
        gateway.append(asyncio.run(gateway_images_per_s(at["grpc"], corner, images)))
        after = asyncio.run(raw_tiles_per_s(at["triton"], seconds / 2))
        raw.append((before + after) / 2)  # on both sides of the gateway's turn: a drifting machine cancels
        cellpose.append(cellpose_tiles_per_s(peers, weights))
        print(
            f"round {number + 1}: raw {raw[-1]:.2f} tiles/s, gateway {gateway[-1] * TILES_PER_IMAGE:.2f} tiles/s, "
            f"Cellpose {cellpose[-1]:.2f} tiles/s",
            flush=True,
        )
    share = [g * TILES_PER_IMAGE / r for g, r in zip(gateway, raw, strict=True)]
    ratio = [r / c for r, c in zip(raw, cellpose, strict=True)]
    return {
        "triton_tiles_per_s": statistics.median(raw),
        "gateway_images_per_s_512px_concurrency_8": statistics.median(gateway),
        "gateway_share_of_triton": statistics.median(share),
        "cellpose_tiles_per_s": statistics.median(cellpose),
        "triton_vs_cellpose": statistics.median(ratio),
    }
