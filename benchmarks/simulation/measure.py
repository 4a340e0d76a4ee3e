"""Measurements for the simulation, with a real Triton and a real gateway.

- The time that Triton computes a batch.
- The gateway's processor time for an image and its tiles.
- Latency and throughput of the whole service, for the validation of the simulation.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import imagecodecs
import numpy as np
from cellserve import AsyncClient, Client
from cellserve_preprocess import TILE, TileGrid, rescaled_shape
from numpy.typing import NDArray
from scipy.optimize import nnls
from tritonclient.grpc import InferenceServerClient, InferInput

from devtools import stack

from .deployment import Work

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "generalist"
BATCHES = range(1, 9)
DIAMETER = 30.0
"""Diameter at which images keep their size, in pixels."""
PROBES = ((256, 30.0), (512, 30.0), (512, 15.0), (1024, 60.0), (1024, 30.0), (2048, 60.0), (2048, 30.0))
"""Sides of images and stated diameters, in pixels. The proportions of pixels and tiles differ."""
SIDE = 512
"""Side of the images that callers send to the whole service, in pixels."""
QUIET = 0.03
"""Share of the machine that other processes may use."""
LISTEN_S = 4.0
"""Time without other processes before a part begins."""
IN_FLIGHT = {1: 10, 4: 16, 8: 24, 16: 32}
"""Images in flight, and images in all."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Run:
    """A run of images through the gateway.

    Attributes:
        in_flight: Images in flight at the same time.
        images: Images in all.
        tiles: Tiles of an image.
        megapixels: Size of an image.
        seconds: Time from the first image's start to the last image's answer.
        latency_s: Latency of each image for its caller.
        others: Share of the machine that other processes used in the meantime.
    """

    in_flight: int
    images: int
    tiles: int
    megapixels: float
    seconds: float
    latency_s: list[float]
    others: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """The measurements of a machine.

    Attributes:
        processor: Name of the processor.
        cores: Number of cores.
        batch_s: Samples of Triton's compute time for a batch, by the number of tiles.
        exchange_s: Samples of the time of one tile's request without waiting and computing.
        loop: Processor time of the gateway's event loop, which is one thread.
        threads: Processor time of all other threads.
        scatter: Samples of an image's processor time, as multiples of the sum of `loop` and `threads`.
        before: Share of the processor time of an image's pixels that is spent before its tiles are sent.
        runs: Runs of the whole service, for the validation.
        others: Share of the machine that other processes used during the samples. `Run` has its own value.
    """

    processor: str
    cores: int
    batch_s: dict[int, list[float]]
    exchange_s: list[float]
    loop: Work
    threads: Work
    scatter: list[float]
    before: float
    runs: list[Run]
    others: float

    def write(self, path: Path) -> None:
        """Writes the measurements as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a file that `write` wrote."""
        content = json.loads(path.read_text())
        content["batch_s"] = {int(tiles): samples for tiles, samples in content["batch_s"].items()}
        content |= {name: Work(**content[name]) for name in ("loop", "threads")}
        content["runs"] = [Run(**run) for run in content["runs"]]
        return cls(**content)


def measure(rounds: int, patience_s: float) -> Measured:
    """Measures this machine; takes about eight minutes on two quiet cores.

    Args:
        rounds: Samples of each batch size before, and of full batches after each run of the whole service.
        patience_s: Maximum time, for each part, to wait until other processes use at most QUIET of the machine. A
            disturbed part is measured again. The least disturbed measurement counts.
    """
    with tempfile.TemporaryDirectory(prefix="cellserve-") as folder, contextlib.ExitStack() as running:
        triton = stack.start_triton(Path(folder))
        running.callback(triton.stop)
        address = triton.wait_ready()["grpc"]
        gateway = stack.start_gateway(Path(folder), address)
        running.callback(gateway.stop)
        entrance = gateway.wait_ready()["grpc"]
        stack.wait_serving(entrance)
        direct = InferenceServerClient(address)
        running.callback(direct.close)
        batch_s: dict[int, list[float]] = {tiles: [] for tiles in BATCHES}
        exchange_s: list[float] = []
        noise = []

        def batches(tiles: int) -> None:
            samples, others = _quietly(lambda: [one_batch(direct, tiles) for _ in range(rounds)], patience_s)
            batch_s[tiles] += [computing for computing, _ in samples]
            exchange_s.extend(beside for _, beside in samples if tiles == 1)
            noise.append(others)

        for tiles in BATCHES:
            batches(tiles)
        (loop, threads, scatter, before), others = _quietly(
            lambda: gateway_work(entrance, gateway.pid, rounds), patience_s
        )
        noise.append(others)
        runs = []
        for in_flight, images in IN_FLIGHT.items():
            run, others = _quietly(partial(_sent, entrance, in_flight, images), patience_s)
            runs.append(replace(run, others=others))
            batches(max(BATCHES))  # a machine drifts
    cores = os.cpu_count() or 1
    return Measured(processor_name(), cores, batch_s, exchange_s, loop, threads, scatter, before, runs, max(noise))


def _quietly(part: Callable[[], T], patience_s: float) -> tuple[T, float]:
    """Measures a part on a quiet machine. Returns the result, and the share of other processes."""
    end = time.monotonic() + patience_s
    best: tuple[T, float] | None = None
    while True:
        while _disturbed(lambda: time.sleep(LISTEN_S))[1] > QUIET and time.monotonic() < end:
            pass
        found = _disturbed(part)
        print(f"measured; others took {found[1]:.1%} of the machine", flush=True)
        if best is None or found[1] < best[1]:
            best = found
        if best[1] <= QUIET or time.monotonic() > end:
            return best


def _disturbed(part: Callable[[], T]) -> tuple[T, float]:
    """Returns a part's result, and the share of the machine that other processes used in the meantime."""
    before, start = _used(), time.monotonic()
    result = part()
    machine, ours = (now - then for now, then in zip(_used(), before, strict=True))
    return result, max(0.0, machine - ours) / ((time.monotonic() - start) * (os.cpu_count() or 1))


def _used() -> tuple[float, float]:
    """Returns the seconds of processor time used by all (stolen time too), and by us and our servers."""
    tick = os.sysconf("SC_CLK_TCK")
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    parents, times = {}, {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # the process has ended
            fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
            parents[int(process.name)] = int(fields[1])
            times[int(process.name)] = int(fields[11]) + int(fields[12])
    ours = {os.getpid()}
    while more := {process for process, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return (user + nice + system + irq + softirq + steal) / tick, sum(times[process] for process in ours) / tick


def sample_image(side: int) -> NDArray[np.uint8]:
    """Returns a square image, tiled from a real one."""
    nuclei = imagecodecs.imread(ROOT / "examples" / "images" / "nuclei_fluorescence.png")[:512, :512]
    repeats = -(-side // len(nuclei))
    return np.ascontiguousarray(np.tile(nuclei, (repeats, repeats))[:side, :side])


def random_tiles(tiles: int) -> InferInput:
    """Returns the input tensor of a request, with values like those of images."""
    tensor = InferInput("image", [tiles, 2, TILE, TILE], "FP32")
    tensor.set_data_from_numpy(np.random.default_rng(tiles).normal(0.5, 0.3, tensor.shape()).astype(np.float32))
    return tensor


def one_batch(direct: InferenceServerClient, tiles: int) -> tuple[float, float]:
    """Returns Triton's compute time for one batch, and the time of the request without queue and compute time."""
    tensor = random_tiles(tiles)
    before = triton_spent(direct)
    start = time.perf_counter()
    direct.infer(NETWORK, [tensor])
    wall = time.perf_counter() - start
    while (after := triton_spent(direct))["batches"] == before["batches"]:
        time.sleep(0.001)  # Triton counts a batch a moment after it has answered
    spent = {name: after[name] - before[name] for name in after}
    computing = spent["compute_input"] + spent["compute_infer"] + spent["compute_output"]
    return computing, wall - computing - spent["queue"]


def triton_spent(direct: InferenceServerClient) -> dict[str, float]:
    """Returns Triton's counters for the network.

    "queue", "compute_input", "compute_infer" and "compute_output" are seconds. A batch counts once for each of its
    requests. In the seconds of "batch_compute" a batch counts once. "batches" and "tiles" are numbers.
    """
    network = direct.get_inference_statistics(NETWORK).model_stats[0]
    stages = ("queue", "compute_input", "compute_infer", "compute_output")
    spent = {stage: getattr(network.inference_stats, stage).ns / 1e9 for stage in stages}
    computed = sum(getattr(size, stage).ns / 1e9 for size in network.batch_stats for stage in stages[1:])
    counts = {"batches": float(network.execution_count), "tiles": float(network.inference_count)}
    return spent | counts | {"batch_compute": computed}


def gateway_work(entrance: str, pid: int, rounds: int) -> tuple[Work, Work, list[float], float]:
    """Returns `loop`, `threads`, `scatter` and `before` of `Measured`, from images sent one after another.

    One network is used instead of the ensemble, for speed. The gateway's work for a tile is the same.
    """
    rows, spent, before = [], [], []
    with Client(entrance) as client:
        for number in range(rounds + 1):
            for side, diameter in PROBES:
                start = processor_time(pid)
                result = client.segment(sample_image(side), diameter=diameter, ensemble=False)
                if number == 0:
                    continue  # the first round includes costs of first use
                spent.append(processor_time(pid) - start)
                grid = TileGrid.count(rescaled_shape((side, side), DIAMETER / diameter))
                assert result.timing.tiles == grid
                rows.append((1.0, side * side / 1e6, float(grid)))
                first = result.timing.decode_s + result.timing.preprocess_s
                last = result.timing.reassemble_s + result.timing.postprocess_s + result.timing.encode_s
                before.append(first / (first + last))
    design, observed = np.array(rows), np.array(spent)
    even = 1 / observed.sum(axis=1, keepdims=True)  # small images count as much as large ones
    loop, threads = (nnls(design * even, observed[:, column] * even[:, 0])[0] for column in (0, 1))
    scatter = observed.sum(axis=1) / (design @ (loop + threads))
    return Work(*map(float, loop)), Work(*map(float, threads)), scatter.tolist(), statistics.median(before)


def processor_time(pid: int) -> NDArray[np.float64]:
    """Returns the seconds of processor time of a process's main thread, and of its other threads."""
    whole = time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3): threads that have ended count, too
    main = int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9
    return np.array([main, whole - main])


def _sent(entrance: str, in_flight: int, images: int) -> Run:
    """Sends images through the gateway."""
    latency_s = []
    image = sample_image(SIDE)
    tiles = TileGrid.count((SIDE, SIDE))
    remaining = iter(range(images))

    async def caller(client: AsyncClient) -> None:
        for _ in remaining:
            start = time.perf_counter()
            result = await client.segment(image, diameter=DIAMETER)
            assert result.timing.tiles == tiles
            latency_s.append(time.perf_counter() - start)

    async def callers() -> float:
        async with AsyncClient(entrance) as client:
            start = time.perf_counter()
            await asyncio.gather(*(caller(client) for _ in range(in_flight)))
            return time.perf_counter() - start

    return Run(in_flight, images, tiles, image.size / 1e6, asyncio.run(callers()), latency_s)


def processor_name() -> str:
    """Returns the names of this machine's processors."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return ", ".join(sorted({line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}))
