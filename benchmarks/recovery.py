"""Mask recovery on the same flow fields: ours on all threads and on one, Cellpose 3.1's, and our plain twin."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
from agreement import Difference, Masks, missing, picture
from cellserve import Client
from cellserve_evaluation.metrics import average_precision
from cellserve_parallel import ThreadGroup
from cellserve_postprocess import RecoveryParams, recover_masks, reference, warm_up
from fields import mosaic, network_maps, perfect_maps, samples
from numpy.typing import NDArray

SIZES = {1024: 700, 2048: 2_800}
"""Side of a mosaic in pixels, and its objects."""
LARGEST = (8192, 46_000, 28)
"""Side in pixels, objects, and their diameter in pixels: fields of 30 px are not that dense."""
TWIN_SIDE = 512
"""Side of the corner on which the plain twin is measured, in pixels: it is slow."""
ROUNDS = 5
THRESHOLDS = np.arange(0.5, 1, 0.05)
CELLPOSE = RecoveryParams(mask_rules="cellpose3")
THREADS = os.cpu_count() or 1


class Cellpose:
    """Cellpose's mask recovery, in a process of its environment that lives as long as this."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def recover(self, maps: Path, **outputs: Path) -> float:
        """Returns the seconds it takes for the maps in a file; writes its masks to `out`, and its `candidates`."""
        task = {"maps": str(maps)} | {name: str(path) for name, path in outputs.items()}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        seconds: float = json.loads(self._process.stdout.readline())["seconds"]
        return seconds


@contextlib.contextmanager
def cellpose(peers: Path) -> Iterator[Cellpose]:
    """Starts Cellpose, and ends it."""
    command = [peers, Path(__file__).parent / "peers" / "cellpose_recovery.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Cellpose(process)
        assert process.stdin is not None
        process.stdin.close()


def recovery(
    gateway: str, data: Path, peers: Path, pictures: Path, fields: int
) -> tuple[dict[str, float], list[Difference]]:
    """Measures speed, agreement and memory.

    Args:
        gateway: Address of the gateway, whose networks make flow fields.
        data: Folder of the data sets.
        peers: Python of the environment with Cellpose.
        pictures: Folder for pictures of the differences.
        fields: Number of test images whose masks are compared.

    Returns:
        Figures by name, and every object that differs under Cellpose's rules.
    """
    warm_up()
    pictures.mkdir(parents=True, exist_ok=True)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, cellpose(peers) as peer, Client(gateway) as client:
        folder = Path(name)
        for side, objects in SIZES.items():
            sample = mosaic(data, side, objects)
            figures |= _speed(f"recovery_{side}", network_maps(client, sample), peer, folder)
            figures |= _speed(f"recovery_{side}_label_flows", perfect_maps(sample.labels), peer, folder)
        figures |= _largest(data, folder)
        agreement, differences = _agreement(client, data, peer, folder, pictures, fields)
    return figures | agreement, differences


def _speed(name: str, maps: NDArray[np.float32], peer: Cellpose, folder: Path) -> dict[str, float]:
    """Measures in turns; ratios are medians of the rounds' ratios."""
    path = folder / "maps.npy"
    np.save(path, maps)
    params = RecoveryParams()
    seconds: dict[str, list[float]] = {"cellpose": [], "all_threads": [], "one_thread": []}
    with ThreadPoolExecutor(THREADS) as pool:
        threads = ThreadGroup(pool, THREADS - 1)
        peer.recover(path)  # first-touch costs belong to nobody
        for _ in range(ROUNDS):
            seconds["cellpose"].append(peer.recover(path))
            seconds["all_threads"].append(seconds_of(lambda: recover_masks(maps, params, threads)))
            seconds["one_thread"].append(seconds_of(lambda: recover_masks(maps, params)))
    ratios = {
        key: statistics.median(c / s for c, s in zip(seconds["cellpose"], seconds[key], strict=True))
        for key in ("all_threads", "one_thread")
    }
    figures = {
        f"{name}_cellpose_ms": statistics.median(seconds["cellpose"]) * 1e3,
        f"{name}_ms": statistics.median(seconds["all_threads"]) * 1e3,
        f"{name}_vs_cellpose": ratios["all_threads"],
        f"{name}_one_thread": ratios["one_thread"],
    }
    if maps.shape[1] == min(SIZES):
        corner = np.ascontiguousarray(maps[:, :TWIN_SIDE, :TWIN_SIDE])
        twin = seconds_of(lambda: reference.recover_masks(corner, params))
        figures[f"{name}_twin_vs_one_thread"] = twin / seconds_of(lambda: recover_masks(corner, params))
    print(f"{name}: " + ", ".join(f"{key} {statistics.median(s):.3f} s" for key, s in seconds.items()), flush=True)
    return figures


def seconds_of(work: Callable[[], object]) -> float:
    """Returns how long the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _largest(data: Path, folder: Path) -> dict[str, float]:
    """Recovers the largest image in a process of its own, and returns the memory that it takes."""
    path = folder / "largest.npy"
    np.save(path, perfect_maps(mosaic(data, *LARGEST).labels))
    measured = in_own_process(path)
    path.unlink()
    return {f"recovery_{LARGEST[0]}_{name}": value for name, value in measured.items()}


def in_own_process(maps: Path) -> dict[str, float]:
    """Recovers the maps in a file in a process of its own; returns what `main` prints."""
    result = subprocess.run([sys.executable, __file__, maps], check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(result.stdout)
    return measured


def _agreement(
    client: Client, data: Path, peer: Cellpose, folder: Path, pictures: Path, fields: int
) -> tuple[dict[str, float], list[Difference]]:
    """Compares masks of the same network outputs, by both rules."""
    tests = list(samples(data))
    chosen = [tests[i] for i in np.unique(np.linspace(0, len(tests) - 1, fields).astype(int))]
    scores: dict[str, list[tuple[float, bool]]] = {"paper": [], "cellpose3": []}
    differences = []
    for sample in chosen:
        maps = network_maps(client, sample, ensemble=False)
        np.save(folder / "maps.npy", maps)
        peer.recover(folder / "maps.npy", out=folder / "out.npz")
        masks = np.load(folder / "out.npz")["masks"]
        for rules, found in scores.items():
            labels = recover_masks(maps, RecoveryParams(mask_rules=rules)).labels  # type: ignore[arg-type]
            score = average_precision(masks, labels, THRESHOLDS).mean()
            found.append((float(score), int(labels.max(initial=0)) == int(masks.max(initial=0))))
        if scores["cellpose3"][-1][0] == 1:
            continue
        peer.recover(folder / "maps.npy", candidates=folder / "out.npz")
        with np.load(folder / "out.npz") as arrays:
            theirs = Masks("Cellpose", masks, arrays["candidates"], arrays["flow_errors"])
        candidates = recover_masks(maps, RecoveryParams(mask_rules="cellpose3", flow_threshold=0, min_size=0))
        ours = Masks("CellServe", recover_masks(maps, CELLPOSE).labels, candidates.labels, candidates.flow_errors)
        found_here = [*missing(sample.name, ours, theirs), *missing(sample.name, theirs, ours)]
        differences += found_here
        if found_here:
            drawn = imagecodecs.png_encode(picture(sample.image, ours.labels, theirs.labels))
            (pictures / f"recovery_{sample.name.replace('/', '_')}.png").write_bytes(drawn)
    figures: dict[str, float] = {"recovery_fields": len(chosen)}
    for rules, name in (("cellpose3", "recovery"), ("paper", "recovery_paper_rules")):
        figures[f"{name}_agreement"] = float(np.mean([score for score, _ in scores[rules]]))
        figures[f"{name}_same_number"] = float(np.mean([same for _, same in scores[rules]]))
    return figures, differences


def _memory(field: str) -> int:
    """Returns bytes of this process: VmRSS now, VmHWM at most. (What getrusage calls the most counts the parent.)"""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Recovers the masks of maps in a file, on all threads; prints objects, seconds, and the most memory used."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("maps", type=Path)
    options = parser.parse_args()
    warm_up()
    maps = np.load(options.maps)
    before = _memory("VmRSS")
    with ThreadPoolExecutor(THREADS) as pool:
        start = time.perf_counter()
        found = recover_masks(maps, RecoveryParams(), ThreadGroup(pool, THREADS - 1))
        seconds = time.perf_counter() - start
    most = _memory("VmHWM")
    print(
        json.dumps(
            {
                "objects": int(found.labels.max(initial=0)),
                "seconds": seconds,
                "peak_gib": most / 2**30,
                "own_bytes_per_pixel": (most - before) / maps[0].size,
            }
        )
    )


if __name__ == "__main__":
    main()
