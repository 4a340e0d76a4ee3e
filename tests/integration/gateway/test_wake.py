"""A real Triton as quick as a GPU: nothing waits for the timer of its batcher."""

from __future__ import annotations

import numpy as np
from cellserve import Client

TIMER_S = 0.5
"""After which Triton looks at its queue by itself (docs/decisions/0005)."""


def test_an_image_alone_does_not_wait_for_the_timer(start_slow_triton, start_gateway, scrape):
    """Nine tiles: a batch of eight at most, and the rest comes while it runs. Unwoken, every other image waits."""
    triton = start_slow_triton(batch_s=0.015, tile_s=0.002)  # a GPU's speed
    try:
        gateway = start_gateway(triton.grpc)
        image = np.eye(512, dtype=np.uint8)  # not constant: a constant image runs no tile
        taken = []
        with Client(gateway.address) as client:
            for _ in range(16):
                timing = client.segment(image, diameter=30).timing
                assert timing.tiles == 9
                taken.append(timing.inference_s)
        print(f"seconds: {[round(seconds, 3) for seconds in sorted(taken)]}")
        assert scrape(gateway)['cellserve_triton_wakes_total{network="generalist"}'] > 0
        assert sum(seconds > TIMER_S for seconds in taken) <= 2, "of sixteen; a busy machine may be slow itself"
        gateway.process.stop()
    finally:
        triton.stop()
