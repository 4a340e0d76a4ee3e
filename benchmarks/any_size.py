"""What `cellserve segment` promises for images of any size, on one large image: bounded memory, and runs that go on.

    python benchmarks/any_size.py memory --data DIR/data --side 20000
    python benchmarks/any_size.py kills --data DIR/data --side 8000 --kills 10
    python benchmarks/any_size.py blocks --data DIR/data --side 6000
    python benchmarks/any_size.py workers --side 7000

`memory` prints the peak memory of the whole process. `kills` ends a run by SIGKILL at random moments, starts it again
each time, and compares the labels with those of an undisturbed run. `blocks` compares the labels of several block
sizes with those of one request. The networks are tiny, and compute in float32. `workers` compares one worker of a Dask
cluster with three, beside a scripted server that takes a fixed time for each call.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import imagecodecs  # noqa: E402
import numpy as np  # noqa: E402
import zarr  # noqa: E402
from cellserve import Client  # noqa: E402
from cellserve_formats.ome_zarr import OmeZarrWriter  # noqa: E402
from cellserve_proto import v1 as pb  # noqa: E402

from large import CHUNK, DIAMETER, command, tiny_service, write_mosaic  # noqa: E402
from tests.clusters import dask_cluster  # noqa: E402
from tests.unit.client.scripted_server import Service, start  # noqa: E402

LABELS = "large_cp_masks.ome.zarr"
SIDES = (256, 500, 1024)
"""Of blocks, in pixels."""
POLL_S = 0.1
START_S = 1.0
"""Seconds before a run works on its first block."""
DELAY_S = 3.0
"""Of the scripted server, for each call."""


def main() -> int:
    """Command line; the exit status tells whether the promise is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "kills", "blocks", "workers"))
    parser.add_argument(
        "--data", type=Path, help="labelled data sets: <set>/train/<name>_img.png. Without: an example, repeated"
    )
    parser.add_argument("--side", type=int, default=8000, help="of the image, in pixels")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--limit-gib", type=float, default=2.0, help="of the memory of the process")
    parser.add_argument("--folder", type=Path, help="for the image and the results; about 30 bytes a pixel")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cellserve-", dir=options.folder) as name:
        folder = Path(name)
        image = folder / "large.ome.zarr"
        if options.what == "workers":
            _write_squares(image, options.side)
            return _workers(folder, image)
        if options.data:
            write_mosaic(image, options.data, options.side)
        else:
            _write_example(image, options.side)
        with tiny_service(folder) as address:
            if options.what == "blocks":
                return _blocks(address, folder, image)
            run = command(address, image, folder / "undisturbed")
            seconds, peak = _watched(run)
            print(json.dumps({"side": options.side, "seconds": round(seconds, 1), "peak_gib": round(peak, 3)}))
            if options.what == "memory":
                return int(peak > options.limit_gib)
            moments = random.Random(options.seed)
            disturbed = command(address, image, folder / "disturbed")
            for number in range(options.kills):
                # In all, less than one run.
                wait = START_S + moments.uniform(0, 1.4) * max(0.0, seconds - START_S) / options.kills
                print(f"kill {number + 1} after {wait:.1f} s: {_killed(disturbed, wait)}", flush=True)
            subprocess.run(disturbed, check=True)
            different = _differences(folder / "undisturbed" / LABELS, folder / "disturbed" / LABELS)
            print(f"{different} pixels differ")
            return int(different > 0)


def _blocks(address: str, folder: Path, image: Path) -> int:
    """Compares the labels of one request with those of blocks of several sizes; returns 1 if a pixel differs."""
    pixels = np.asarray(zarr.open_array(image / "0", mode="r"))
    with Client(address, deadline_s=600) as client:
        result = client.segment(pixels, diameter=DIAMETER)
    print(f"one request: {len(result.objects)} objects", flush=True)
    whole = folder / "whole"
    zarr.create_array(whole / "0", data=result.labels, chunks=(CHUNK, CHUNK))
    different = 0
    for side in SIDES:
        out = folder / f"blocks-{side}"
        seconds, _ = _watched([*command(address, image, out), "--save", "masks,csv", "--block-size", str(side)])
        some = _differences(whole, out / LABELS)
        print(f"blocks of {side} px: {seconds:.1f} s, {some} pixels differ", flush=True)
        different += some
    return int(different > 0)


class Slow(Service):
    """Takes a fixed time for each call of the networks, however many calls come at once."""

    def GetLimits(self, request, context):
        """Names the limits of a gateway that matter here."""
        return pb.GetLimitsResponse(limits=pb.Limits(max_message_bytes=10 << 20), server_version="9.9")

    def RunNetworks(self, request, context):
        """Answers after the fixed time."""
        time.sleep(DELAY_S)
        return super().RunNetworks(request, context)


def _write_example(path: Path, side: int) -> None:
    """Writes an example image, repeated."""
    example = imagecodecs.imread(ROOT / "examples" / "images" / "nuclei_fluorescence.png")
    writer = OmeZarrWriter(path, "YX", (side, side), example.dtype, chunks=(CHUNK, CHUNK))
    for y in range(0, side, CHUNK):
        for x in range(0, side, CHUNK):
            region = slice(y, min(y + CHUNK, side)), slice(x, min(x + CHUNK, side))
            rows, columns = (
                np.arange(part.start, part.stop) % length for part, length in zip(region, example.shape, strict=True)
            )
            writer.write(region, example[np.ix_(rows, columns)])
    writer.finish()


def _write_squares(path: Path, side: int) -> None:
    """Writes an image with a bright square in each chunk: little work but that of the server."""
    writer = OmeZarrWriter(path, "YX", (side, side), np.uint8, chunks=(CHUNK, CHUNK))
    for y in range(0, side, CHUNK):
        for x in range(0, side, CHUNK):
            pixels = np.full((min(CHUNK, side - y), min(CHUNK, side - x)), 30, np.uint8)
            pixels[100:130, 100:130] = 200
            writer.write((slice(y, y + len(pixels)), slice(x, x + pixels.shape[1])), pixels)
    writer.finish()


def _workers(folder: Path, image: Path) -> int:
    """Compares clusters of one and of three workers; returns 1 if three are less than 2.5 times as fast."""
    seconds = {}
    server, _, port = start(Slow())
    try:
        for count in (1, 3):
            place = folder / f"cluster {count}"
            place.mkdir()
            with dask_cluster(place, count) as (scheduler, _):
                out = folder / f"workers-{count}"
                run = [*command(f"127.0.0.1:{port}", image, out), "--scheduler", scheduler, "--save", "masks,csv"]
                seconds[count], _ = _watched(run)
            print(f"{count} workers: {seconds[count]:.1f} s", flush=True)
    finally:
        server.stop(None)
    different = _differences(*(folder / f"workers-{count}" / LABELS for count in seconds))
    ratio = seconds[1] / seconds[3]
    print(f"three workers are {ratio:.2f} times as fast as one; {different} pixels differ")
    return int(ratio < 2.5 or different > 0)


def _watched(run: Sequence[str]) -> tuple[float, float]:
    """Runs a command; returns its seconds and the peak of its resident memory in GiB, files mapped included."""
    start = time.perf_counter()
    peak = 0
    with subprocess.Popen(run) as process:
        while process.poll() is None:
            with contextlib.suppress(OSError, StopIteration):
                status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                peak = max(peak, int(next(line for line in status if line.startswith("VmHWM")).split()[1]))
            time.sleep(POLL_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(run))
    return time.perf_counter() - start, peak / 2**20


def _killed(run: Sequence[str], after_s: float) -> str:
    """Runs a command for some seconds, then kills it; returns what came of it."""
    with subprocess.Popen(run, stderr=subprocess.DEVNULL) as process:
        try:
            return f"ended by itself with status {process.wait(after_s)}"
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return "killed"


def _differences(first: Path, second: Path) -> int:
    """Returns how many pixels of two label images differ."""
    ours, theirs = (zarr.open_array(path / "0", mode="r") for path in (first, second))
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        raise ValueError(f"{ours.dtype} of {ours.shape} is not {theirs.dtype} of {theirs.shape}")
    return sum(int(np.count_nonzero(a != b)) for a, b in zip(_bands(ours), _bands(theirs), strict=True))


def _bands(array: zarr.Array) -> Iterator[np.ndarray]:
    for first in range(0, array.shape[0], CHUNK):
        yield np.asarray(array[first : first + CHUNK])


if __name__ == "__main__":
    sys.exit(main())
