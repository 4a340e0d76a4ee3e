"""A volume of 512 x 512 x 64 voxels through `SegmentLarge`: memory, a broken connection, a cancelled call.

Takes minutes: LARGE_VOLUME=1 runs it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cellserve
import numpy as np
import pytest
from cellserve_gateway.app.segmenter import ANSWER_COPIES
from cellserve_gateway.app.stack_plan import VOXEL_BYTES

from tests.processes import resident

from .conftest import Gateway
from .dropping import dropping
from .test_cancellation import used
from .test_large import at_triton, wait_until

pytestmark = [
    pytest.mark.skipif("LARGE_VOLUME" not in os.environ, reason="takes minutes: LARGE_VOLUME=1 runs it"),
    pytest.mark.timeout(1800),
]
SHAPE = (64, 512, 512)
OPTIONS = {"diameter": 60, "anisotropy": 1}
MIB = 1 << 20
DROPPED = 16 * MIB


class Stopped(Exception):
    """The caller has seen enough."""


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    """Bright balls of 60 pixels on a dark ground."""
    pixels = np.random.default_rng(0).normal(100, 3, SHAPE).astype(np.uint16)
    z, y, x = np.ogrid[-31:31, -31:31, -31:31]
    ball = z**2 + y**2 + x**2 < 30**2
    for at_y in range(0, 440, 70):
        for at_x in range(0, 440, 70):
            pixels[1:63, at_y : at_y + 62, at_x : at_x + 62][ball] += 900
    return pixels


@pytest.fixture(scope="module")
def gateway(triton, start_gateway) -> Iterator[Gateway]:
    return start_gateway(triton.grpc, default_deadline_s=1500, max_deadline_s=1500)


def test_memory_and_a_broken_connection(gateway, stack, in_flight):
    with cellserve.Client(gateway.address) as client:
        client.segment_volume(stack[:16, :96, :96].copy(), **OPTIONS)  # whatever is loaded once
    before = resident(gateway.process.pid)
    Path(f"/proc/{gateway.process.pid}/clear_refs").write_text("5")  # the peak begins anew
    stages, begun, admitted = [], time.monotonic(), []

    def follow(progress: cellserve.Progress) -> None:
        stages.append(progress)
        if progress.stage == "upload":
            admitted.append(in_flight(gateway)["bytes"])

    with dropping(gateway.address, DROPPED) as proxy, cellserve.Client(proxy.address, deadline_s=1500) as client:
        result = client.segment_volume(stack, progress=follow, **OPTIONS)
    seconds, peak = time.monotonic() - begun, resident(gateway.process.pid, "VmHWM") - before
    assert len(result.objects) == 49
    assert min(admitted) >= stack.nbytes, "the memory is reserved before the upload"
    _, again = proxy.sent
    assert again < stack.nbytes - DROPPED + 2 * MIB
    bound = VOXEL_BYTES * stack.size + stack.nbytes + ANSWER_COPIES * result.labels.nbytes
    facts = {
        "seconds": round(seconds, 1),
        "tiles": stages[-1].tiles_total,
        "peak_mib": peak // MIB,
        "bound_mib": bound // MIB,
        "image_bytes": stack.nbytes,
        "sent_bytes": proxy.sent,
    }
    print(json.dumps(facts))
    assert peak < bound
    assert in_flight(gateway) == {"requests": 0, "pixels": 0, "bytes": 0}


@pytest.mark.parametrize("stage", ["inference", "recovery"])
def test_a_cancelled_call_frees_everything_within_a_second(gateway, stack, in_flight, scrape, stage):
    reached, stop = threading.Event(), threading.Event()

    def follow(progress: cellserve.Progress) -> None:
        if progress.stage == stage and (stage != "inference" or progress.tiles_done > 50):
            reached.set()
            stop.wait(2)
            raise Stopped

    def segment() -> None:
        with cellserve.Client(gateway.address, deadline_s=1500) as client, pytest.raises(Stopped):
            client.segment_volume(stack, progress=follow, **OPTIONS)

    caller = threading.Thread(target=segment)
    caller.start()
    assert reached.wait(1500)
    assert in_flight(gateway)["bytes"] > VOXEL_BYTES * stack.size
    stop.set()
    begun = time.monotonic()
    wait_until(lambda: not any(in_flight(gateway).values()), 1)
    wait_until(lambda: not at_triton(scrape(gateway)), begun + 1 - time.monotonic())
    freed = time.monotonic() - begun
    time.sleep(max(0, begun + 1 - time.monotonic()))
    before = used(gateway)
    time.sleep(0.5)
    print(f"{stage}: freed after {freed:.2f} s; processor time from 1 to 1.5 s: {used(gateway) - before:.2f} s")
    assert used(gateway) - before < 0.15, "no thread works on"
    caller.join()
