"""Answers of Tritons that differ: each answer names what computed it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import numpy as np
import pytest
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc

from .conftest import UNLIMITED
from .fronts import disks
from .messages import FAST, raw

ELSEWHERE = """

def statement(compiled: ov.CompiledModel, sha256: str) -> bytes:
    return json.dumps({"runtime": "openvino elsewhere", "precision": "bf16", "sha256": sha256}).encode()
"""
"""What the backend would state on another processor."""


@pytest.fixture(scope="module")
def other_triton(start_triton, request, tmp_path_factory) -> str:
    """Address of a Triton as on another processor."""
    backends = tmp_path_factory.mktemp("backends")
    real: Path = request.config.rootpath / "deploy" / "triton" / "backends" / "onnxruntime" / "model.py"
    (backends / "onnxruntime").mkdir()
    (backends / "onnxruntime" / "model.py").write_text(real.read_text() + ELSEWHERE)
    return start_triton("--backends", str(backends)).grpc


async def test_each_answer_names_the_servers_that_computed_it(triton, other_triton, start_gateway):
    gateway = start_gateway(f"{triton.grpc},{other_triton}")
    async with grpc.aio.insecure_channel(gateway.address, UNLIMITED) as channel:
        stub = segmentation_pb2_grpc.SegmentationServiceStub(channel)

        async def computed_by(pixels: np.ndarray) -> tuple[int, str]:
            model = (await stub.Segment(pb.SegmentRequest(image=raw(pixels), params=FAST))).model
            return model.precision, model.runtime

        of_one_tile = {await computed_by(disks(2)) for _ in range(8)}
        many_tiles = await computed_by(np.tile(disks(20), (20, 1)))
        at_once = await asyncio.gather(*(computed_by(disks(2)) for _ in range(8)))

    runtimes = dict(of_one_tile)
    assert runtimes.keys() == {pb.PRECISION_FLOAT32, pb.PRECISION_BFLOAT16}, "the servers take turns"
    assert runtimes[pb.PRECISION_BFLOAT16] == "openvino elsewhere"
    assert many_tiles == (pb.PRECISION_BFLOAT16, ", ".join(sorted(runtimes.values()))), "the coarsest tile decides"
    assert set(at_once) <= of_one_tile
