"""What it costs the client to build a request: time beside one `tobytes`, and memory beside the image.

    python benchmarks/request.py [SIDE]

Each figure is a median of processes of their own, because memory that a process once had stays its own. Memory is the
peak of the resident set: allocations of protobuf are invisible to tracemalloc.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from cellserve.messages import Template

REPEATS = 15
PROCESSES = 3


def measure(side: int, serialize: bool) -> dict[str, float]:
    """Measures one way in this process.

    Args:
        side: Rows and columns of a uint16 image.
        serialize: Whether the request is serialised, as gRPC does when it sends it.

    Returns:
        Processor seconds relative to `tobytes`, and peak memory relative to the image, which itself is not counted.
    """
    pixels = np.random.default_rng(0).integers(0, 65535, (side, side), np.uint16)
    template = Template.of(None)

    def build() -> object:
        request = template.segment(pixels)
        return request.serialize() if serialize else request

    template.segment(pixels[:64, :64]).serialize()  # imports and first calls
    before = _peak_bytes()
    build()
    memory = (_peak_bytes() - before) / pixels.nbytes
    pairs = [(_seconds(build), _seconds(pixels.tobytes)) for _ in range(REPEATS)]  # in turns: both see the same load
    return {
        "time_of_tobytes": statistics.median(ours / copy for ours, copy in pairs),
        "memory_of_image": memory,
        "tobytes_s": statistics.median(copy for _, copy in pairs),
    }


def measure_apart(side: int, serialize: bool) -> dict[str, float]:
    """Returns medians of `measure` over fresh processes."""
    context = multiprocessing.get_context("spawn")
    found = []
    for _ in range(PROCESSES):
        with context.Pool(1) as pool:
            found.append(pool.apply(measure, (side, serialize)))
    return {name: statistics.median(entry[name] for entry in found) for name in found[0]}


def _seconds(work: Callable[[], object]) -> float:
    """Returns the processor seconds until the result is there; its end is not counted."""
    start = time.process_time()
    result = work()
    seconds = time.process_time() - start
    del result
    return seconds


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    length = int(sys.argv[1]) if len(sys.argv) > 1 else 4096
    figures = {name: measure_apart(length, name == "serialized") for name in ("built", "serialized")}
    print(json.dumps({"side": length} | figures, indent=2))
