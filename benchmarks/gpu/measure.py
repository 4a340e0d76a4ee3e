"""What one GPU does: batches, full load through gateways, a lone image, masks. Real Triton, real gateways, real images.

The server is the wheel's; ONNX Runtime's CUDA provider computes (backends/), not TensorRT, so NVIDIA's container should
be faster. CELLSERVE_TRITON_PYTHON names the server's environment: requirements.txt beside this file, nvidia-pytriton.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from cellserve import AsyncClient, Client  # noqa: E402
from simulation import measure  # noqa: E402
from tritonclient.grpc import InferenceServerClient  # noqa: E402
from tritonclient.grpc.aio import InferenceServerClient as AsyncServerClient  # noqa: E402

from devtools import stack  # noqa: E402

BATCHES = (1, 2, 4, 8, 16, 32, 48, 64)
SIDE = 1000
"""Of the images sent, in pixels: one megapixel, 36 tiles."""
GATEWAYS = (1, 2, 4)
IN_FLIGHT = 24
"""Images in flight per gateway: 800 tiles, more than Triton and the dispatcher hold."""
SENDERS = 4
LONE = (256, 512, 1000, 2000)
"""Sides of the images that are sent one at a time."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=ROOT / "examples" / "images", help="whose masks are kept")
    parser.add_argument("--precisions", nargs="+", default=["fp16", "none", "tf32"], help="see backends/")
    parser.add_argument("--loaded", nargs="+", default=["fp16", "none"], help="of these, with gateways under full load")
    parser.add_argument("--config", default="gpu", help="of the models: configs/NAME.pbtxt")
    parser.add_argument("--backends", type=Path, default=Path(__file__).parent / "backends")
    parser.add_argument("--rounds", type=int, default=20, help="samples of each batch size")
    parser.add_argument("--seconds", type=float, default=10, help="of full load, each time")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {"gpu": _gpu(), "processor": measure.processor_name(), "cores": os.cpu_count()}
    for precision in options.precisions:
        figures[precision] = _one(precision, options)
        (options.out / "gpu.json").write_text(json.dumps(figures, indent=1) + "\n")


def _one(precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measures everything with one arithmetic."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="cellserve-") as folder, contextlib.ExitStack() as running:
        start = time.monotonic()
        triton = stack.start_triton(
            Path(folder),
            *("--model-config-name", options.config, "--backends", str(options.backends), "--ready-timeout-s", "175"),
            environment={"CELLSERVE_GPU_PRECISION": precision},
        )
        running.callback(triton.stop)
        address = triton.wait_ready()["grpc"]
        figures["start_s"] = time.monotonic() - start
        direct = InferenceServerClient(address)
        running.callback(direct.close)
        most = direct.get_model_config(measure.NETWORK, as_json=True)["config"]["max_batch_size"]
        batch_s, exchange_s = {}, []
        for tiles in [tiles for tiles in BATCHES if tiles <= most]:
            samples = [measure.one_batch(direct, tiles) for _ in range(options.rounds + 3)][3:]
            batch_s[tiles] = [computing for computing, _ in samples]
            exchange_s += [beside for _, beside in samples if tiles == 1]
            _say(f"{precision}: batch of {tiles}: {tiles / statistics.median(batch_s[tiles]):.1f} tiles/s")
        figures |= {"batch_s": batch_s, "exchange_s": exchange_s}
        figures["direct"] = _directly(direct, address, most, options.seconds)
        _say(f"{precision}: sent directly, {SENDERS} processes: {figures['direct']['tiles_per_s']:.1f} tiles/s")
        figures["loads"] = []
        for count in GATEWAYS if precision in options.loaded else ():
            with contextlib.ExitStack() as gateways:
                figures["loads"].append(_loaded(direct, address, count, Path(folder), gateways, options))
        gateway = stack.start_gateway(Path(folder), address, instance="lone")
        running.callback(gateway.stop)
        entrance = gateway.wait_ready()["grpc"]
        stack.wait_serving(entrance)
        with Client(entrance) as client:
            paths = [path for path in sorted(options.images.glob("*.png")) if not path.stem.endswith("_masks")]
            masks = {path.stem: client.segment(imagecodecs.imread(path)).labels.astype(np.uint16) for path in paths}
            np.savez_compressed(options.out / f"masks_{precision}.npz", **masks)
            figures["lone"] = [asdict(_timed(client, side)) for side in LONE for _ in range(9)]
        for side in LONE:
            taken = [run["latency_s"][0] for run in figures["lone"] if run["megapixels"] == side**2 / 1e6]
            _say(f"{precision}: a lone image of {side} px: {statistics.median(taken):.3f} s")
        if precision in options.loaded:
            loop, threads, scatter, before = measure.gateway_work(entrance, gateway.pid, 3)
            figures |= {"loop": asdict(loop), "threads": asdict(threads), "scatter": scatter, "before": before}
            _say(f"{precision}: gateway: event loop {loop}, threads {threads}")
    return figures


def _timed(client: Client, side: int) -> measure.Run:
    """Sends one image through an idle service."""
    image = measure.sample_image(side)
    start = time.perf_counter()
    tiles = client.segment(image, diameter=measure.DIAMETER).timing.tiles
    seconds = time.perf_counter() - start
    return measure.Run(1, 1, tiles, image.size / 1e6, seconds, [seconds])


def _loaded(
    direct: InferenceServerClient,
    triton: str,
    count: int,
    folder: Path,
    gateways: contextlib.ExitStack,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Sends images through so many gateways, one process of callers each, for some seconds after as many to warm up."""
    running = [stack.start_gateway(folder, triton, instance=f"g{count}-{number}") for number in range(count)]
    for gateway in running:
        gateways.callback(gateway.stop)
    entrances = [gateway.wait_ready()["grpc"] for gateway in running]
    for entrance in entrances:
        stack.wait_serving(entrance)
    start = time.time() + 3 + options.seconds / 2
    end = start + options.seconds
    context = multiprocessing.get_context("spawn")
    with context.Pool(count) as pool:
        callers = [pool.apply_async(_call, (entrance, end)) for entrance in entrances]
        time.sleep(max(0.0, start - time.time()))
        before, spent = measure.triton_spent(direct), [measure.processor_time(gateway.pid) for gateway in running]
        time.sleep(max(0.0, end - time.time()))
        after = measure.triton_spent(direct)
        used = [measure.processor_time(gateway.pid) - then for gateway, then in zip(running, spent, strict=True)]
        answers = [answer for caller in callers for answer in caller.get(120)]
    timely = [answer for answer in answers if start <= answer[0] < end]
    tiles = sum(answer[2] for answer in timely)
    figures = {
        "gateways": count,
        "images_per_s": len(timely) / options.seconds,
        "tiles_per_s": tiles / options.seconds,
        "latency_s": statistics.median(answer[1] for answer in timely),
        "latency_95_s": float(np.quantile([answer[1] for answer in timely], 0.95)),
        "mean_batch": _mean_batch(before, after),
        "computing": (after["batch_compute"] - before["batch_compute"]) / options.seconds,
        "event_loop": [float(part[0]) / options.seconds for part in used],
        "threads": [float(part[1]) / options.seconds for part in used],
        "objects": sorted({answer[3] for answer in timely}),
    }
    _say(str(figures))
    return figures


def _call(entrance: str, end: float) -> list[tuple[float, float, int, int]]:
    """Keeps IN_FLIGHT images under way until `end`; returns when, after how long, with how many tiles and objects."""
    image, answers = measure.sample_image(SIDE), []

    async def caller(client: AsyncClient) -> None:
        while time.time() < end:
            start = time.time()
            result = await client.segment(image, diameter=measure.DIAMETER)
            now = time.time()
            answers.append((now, now - start, result.timing.tiles, len(result.objects)))

    async def callers() -> None:
        async with AsyncClient(entrance) as client:
            await asyncio.gather(*(caller(client) for _ in range(IN_FLIGHT)))

    asyncio.run(callers())
    return answers


def _directly(direct: InferenceServerClient, address: str, batch: int, seconds: float) -> dict[str, float]:
    """Sends full batches from several processes; what Triton alone does, transport included."""
    with multiprocessing.get_context("spawn").Pool(SENDERS) as pool:
        end = time.time() + 3 + seconds
        senders = [pool.apply_async(_send, (address, batch, end)) for _ in range(SENDERS)]
        time.sleep(max(0.0, end - seconds - time.time()))
        before = measure.triton_spent(direct)
        time.sleep(max(0.0, end - time.time()))
        after = measure.triton_spent(direct)
        for sender in senders:
            sender.get(120)
    return {"tiles_per_s": (after["tiles"] - before["tiles"]) / seconds, "mean_batch": _mean_batch(before, after)}


def _mean_batch(before: dict[str, float], after: dict[str, float]) -> float:
    return (after["tiles"] - before["tiles"]) / max(after["batches"] - before["batches"], 1)


def _send(address: str, batch: int, end: float) -> None:
    tensor = measure.random_tiles(batch)

    async def sender(client: AsyncServerClient) -> None:
        while time.time() < end:
            await client.infer(measure.NETWORK, [tensor])

    async def senders() -> None:
        client = AsyncServerClient(address)
        await asyncio.gather(*(sender(client) for _ in range(2)))
        await client.close()

    asyncio.run(senders())


def _gpu() -> str | None:
    command = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"]
    try:
        return subprocess.check_output(command, text=True).strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
