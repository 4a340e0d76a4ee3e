"""The product: tiles of different callers' images share Triton's batches."""

from __future__ import annotations

import asyncio
import json
import urllib.request

import grpc
import numpy as np
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc

from .conftest import UNLIMITED
from .messages import FAST, raw


def statistics(http: str, network: str) -> tuple[int, int]:
    """Returns how many tiles Triton has run a network on, and in how many executions."""
    with urllib.request.urlopen(f"http://{http}/v2/models/{network}/stats", timeout=10) as answer:
        (model,) = json.load(answer)["model_stats"]
    return model["inference_count"], model["execution_count"]


def different_images(image) -> list[np.ndarray]:
    """Sixteen cuts of sixteen sizes, of one to six tiles."""
    whole = image("nuclei_fluorescence")
    return [np.ascontiguousarray(whole[: 150 + 20 * i, : 430 - 18 * i]) for i in range(16)]


async def test_sixteen_callers_share_batches(slow_triton, slow_gateway, image):
    images = different_images(image)

    async def caller(pixels: np.ndarray) -> pb.SegmentResponse:
        async with grpc.aio.insecure_channel(slow_gateway.address, UNLIMITED) as channel:
            stub = segmentation_pb2_grpc.SegmentationServiceStub(channel)
            return await stub.Segment(pb.SegmentRequest(image=raw(pixels), params={"diameter": 30}))

    tiles_before, executions_before = statistics(slow_triton.http, "generalist")
    answers = await asyncio.gather(*map(caller, images))
    tiles_after, executions_after = statistics(slow_triton.http, "generalist")

    tiles, executions = tiles_after - tiles_before, executions_after - executions_before
    assert tiles == sum(answer.timing.tiles for answer in answers), "no tile is lost, none runs twice"
    print(f"{tiles} tiles of 16 images in {executions} executions: {tiles / executions:.2f} a batch")
    assert tiles / executions >= 4
    for pixels, answer in zip(images, answers, strict=True):
        assert tuple(answer.labels.shape) == pixels.shape, "each caller gets its own image"


async def test_batched_equals_alone(slow_gateway, image):
    """In f32, no bit of an answer depends on whose tiles shared the batch."""
    images = different_images(image)[::4]
    async with grpc.aio.insecure_channel(slow_gateway.address, UNLIMITED) as channel:
        stub = segmentation_pb2_grpc.SegmentationServiceStub(channel)
        alone = [await stub.Segment(_request(pixels)) for pixels in images]
        together = await asyncio.gather(*(stub.Segment(_request(pixels)) for pixels in images))
    for one, other in zip(alone, together, strict=True):
        assert one.model.precision == other.model.precision == pb.PRECISION_FLOAT32
        assert len(one.objects) > 3
        assert (one.flows, one.labels, one.objects) == (other.flows, other.labels, other.objects)


def _request(pixels: np.ndarray) -> pb.SegmentRequest:
    return pb.SegmentRequest(image=raw(pixels), params=FAST, outputs=[pb.OUTPUT_FLOWS])
