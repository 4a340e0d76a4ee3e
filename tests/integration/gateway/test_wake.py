"""A real Triton whose models take no time: nothing waits for the timer of its batcher."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from cellserve import Client

from devtools import stack

TIMER_S = 0.5
"""After which Triton looks at its queue by itself (docs/decisions/0005)."""
BACKENDS = Path(__file__).parent / "quick"


def test_an_image_alone_does_not_wait_for_the_timer(start_gateway, scrape, tmp_path):
    """Nine tiles: a batch of eight at most, and the rest comes while it runs. Unwoken, every other image waits."""
    triton = stack.start_triton(tmp_path, "--backends", str(BACKENDS))
    try:
        gateway = start_gateway(triton.wait_ready()["grpc"])
        image = np.random.default_rng(0).integers(0, 255, (512, 512), np.uint8)
        taken = []
        with Client(gateway.address) as client:
            for _ in range(16):
                start = time.perf_counter()
                assert client.segment(image, diameter=30).timing.tiles == 9
                taken.append(time.perf_counter() - start)
        print(f"seconds: {[round(seconds, 3) for seconds in sorted(taken)]}")
        assert scrape(gateway)['cellserve_triton_wakes_total{network="generalist"}'] > 0
        assert sum(seconds > TIMER_S for seconds in taken) <= 2, "of sixteen; a busy machine may be slow itself"
        gateway.process.stop()
    finally:
        triton.stop()
