"""An image that cannot be done in time is refused at once, by the speed that the real Triton has shown."""

from __future__ import annotations

import time

import grpc
import numpy as np
import pytest
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc

from .fronts import disks
from .messages import error_info, raw
from .test_triton_trouble import eventually


def test_tiles_that_cannot_be_done_in_time(slow_gateway, scrape):
    """96 px at a diameter of 1 px become some hundred tiles, which take seconds; the image itself is tiny."""
    small = raw(np.random.default_rng(0).integers(0, 255, (96, 96), np.uint8))
    request = pb.SegmentRequest(image=small, params=pb.SegmentParams(diameter=1, ensemble=False))
    large = raw(np.tile(disks(25), (25, 1))[:1500, :1500])
    with grpc.insecure_channel(slow_gateway.address) as channel:
        segment = segmentation_pb2_grpc.SegmentationServiceStub(channel).Segment
        measured = pb.SegmentRequest(image=large, params=pb.SegmentParams(diameter=30, ensemble=False))
        seconds, tiles = [], 0
        for _ in range(2):
            answer = segment(measured)
            seconds.append(answer.timing.inference_s)
            tiles = answer.timing.tiles

        def refused() -> grpc.RpcError | None:
            begin = time.monotonic()
            with pytest.raises(grpc.RpcError) as caught:
                segment(request, timeout=2)
            return caught.value if time.monotonic() - begin < 1 else None

        assert eventually(lambda: refused() is not None), "once the speed is known"
        before = scrape(slow_gateway)['cellserve_tiles_total{network="generalist_single"}']
        error = refused()
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        info = error_info(error)
        assert (info.reason, info.metadata["stage"]) == ("DEADLINE_EXCEEDED", "plan")
        assert scrape(slow_gateway)['cellserve_tiles_total{network="generalist_single"}'] == before
        needed, left = float(info.metadata["estimated_s"]), float(info.metadata["left_s"])
        assert left < 2 < needed
        assert needed / int(info.metadata["tiles"]) <= 1.05 * min(seconds) / tiles, "a bound: never slower than it was"
        assert segment(measured, timeout=3 * max(seconds) + 5).timing.tiles == tiles
