"""The tables of docs/decisions/0023: what image files cost the processes that decode them.

    python -m tests.integration.gateway.hostile.decoding [--runs 3] [NAME ...]
    python -m tests.integration.gateway.hostile.decoding --ordinary [--runs 3]

The first table has hostile files. Limits are the defaults of a gateway. Memory is sampled: private memory of the caller
and of all processes below, and the memory that passes the pixels. Memory beside is memory above the start, without the
file and without the pixels of the image in the type of the file. A file that is refused before its pixels are read has
none. The largest memory and the median time of the runs are printed.

The second table has an image of camera noise, 1024 x 1024 px, uint16: milliseconds until its pixels are read here and
in a process of their own, in turns. The medians of 30 reads are printed, the least and the largest of the runs.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator

import imagecodecs
import numpy as np
from cellserve_formats import ImageError, read_image
from cellserve_formats.isolated import IsolatedReader
from cellserve_formats.isolated.process import MORE_WORKING_BYTES
from cellserve_gateway.app.decode import limits_of
from cellserve_gateway.settings import Settings

from tests.processes import memory, peak_memory

from . import files

MIB = 1 << 20
READS = 30


def hostile(reader: IsolatedReader, settings: Settings, runs: int, names: list[str]) -> None:
    """Prints a row for each hostile file."""
    print("| file | bytes | pixels, MiB | memory beside, MiB | time, s | answer |\n|---|---|---|---|---|---|")
    for name, make in files.FILES.items():
        if names and not any(part in name for part in names):
            continue
        data = make()
        beside, times = [], []
        for _ in range(runs):
            time.sleep(0.5)
            before, start, needs = memory(), time.perf_counter(), [0]

            @contextlib.contextmanager
            def grant(size: int, needs: list[int] = needs) -> Iterator[None]:
                needs.append(size)
                yield

            with peak_memory() as largest:
                try:
                    reader.read(data, limits=limits_of(settings), seconds=settings.decode_s, grant=grant)
                    answer = "read"
                except ImageError as error:
                    answer = f"`{error.reason}`"
                times.append(time.perf_counter() - start)
            pixels = needs[-1] - MORE_WORKING_BYTES * (MORE_WORKING_BYTES in needs)
            beside.append(largest() - before - len(data) - pixels)
        sizes = f"{len(data):,} | {pixels / MIB:.0f} | {max(0, *beside) / MIB:.0f}"
        print(f"| {name} | {sizes} | {statistics.median(times):.1f} | {answer} |", flush=True)


def ordinary(reader: IsolatedReader, settings: Settings, runs: int) -> None:
    """Prints a row for each kind of ordinary file."""
    pixels = np.random.default_rng(0).poisson(300, (1024, 1024)).astype(np.uint16)
    kinds = {
        "TIFF, plain": files.tiff(pixels),
        "TIFF, Deflate": files.tiff(pixels, compression="zlib"),
        "PNG": bytes(imagecodecs.png_encode(pixels)),
    }
    limits = limits_of(settings)
    print("| file | in the gateway, ms | in a process, ms | more, ms |\n|---|---|---|---|")
    for name, data in kinds.items():
        ways: list[Callable[[], object]] = [
            lambda data=data: read_image(data, limits=limits),
            lambda data=data: reader.read(data, limits=limits, seconds=settings.decode_s),
        ]
        medians = []
        for _ in range(runs):
            times: list[list[float]] = [[], []]
            for _ in range(READS):
                for way, taken in zip(ways, times, strict=True):
                    start = time.perf_counter()
                    way()
                    taken.append(time.perf_counter() - start)
                    time.sleep(0.02)  # the next process gets ready
            here, there = (1e3 * statistics.median(taken) for taken in times)
            medians.append((here, there, there - here))
        columns = (f"{min(column):.1f} to {max(column):.1f}" for column in zip(*medians, strict=True))
        print(f"| {name}, {len(data) / 1e6:.1f} MB | {' | '.join(columns)} |", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ordinary", action="store_true", help="the second table")
    parser.add_argument("names", nargs="*", help="hostile files whose name contains one of these; default: all")
    options = parser.parse_args()
    settings = Settings()
    with contextlib.closing(IsolatedReader()) as reader:
        reader.start()
        if options.ordinary:
            ordinary(reader, settings, options.runs)
        else:
            hostile(reader, settings, options.runs, options.names)


if __name__ == "__main__":
    main()
