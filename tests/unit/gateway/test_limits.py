"""The limits that the gateway tells, and those that it keeps before a large image is sent."""

from __future__ import annotations

import dataclasses
from typing import Any

import cellserve
import numpy as np
import pytest
from cellserve.large import LargeCall
from cellserve.messages import Template, decode_limits
from cellserve_contract.payload import NO_PAYLOAD
from cellserve_gateway import __version__
from cellserve_gateway.app.limits import ServiceLimits
from cellserve_gateway.errors import ServiceError
from cellserve_gateway.fronts.grpc.call import Call
from cellserve_gateway.fronts.grpc.receiver import Received
from cellserve_gateway.fronts.grpc.service import SERVICE, SegmentationService
from cellserve_gateway.settings import Settings
from cellserve_preprocess import ParameterError
from cellserve_proto import v1 as pb

from .perfect import Setup, setup

SMALL = {
    "max_image_pixels": 10_000,
    "max_image_bytes": 60_000,
    "max_channels": 3,
    "max_transfer_bytes": 40_000,
    "max_tiles": 9,
    "max_stack_planes": 20,
    "max_stack_voxels": 30_000,
    "max_stack_tiles": 20,
}


async def asked(**settings) -> cellserve.Limits:
    """What a client learns of a gateway of some settings."""
    with setup(None, **settings) as made:
        service = SegmentationService(Settings(**settings), made.segmenter, made.admission)
        request = Received(pb.GetLimitsRequest(), NO_PAYLOAD, made.admission.reservation())
        answer = await service.GetLimits(request, made.context)
    return decode_limits(pb.GetLimitsResponse.FromString(answer.SerializeToString()))


async def test_the_limits_are_those_of_the_settings():
    changed = {name: 7 + number for number, name in enumerate([*SMALL, "max_message_bytes"])}
    told = await asked(**changed, default_deadline_s=50, max_deadline_s=40)
    assert dataclasses.asdict(told) == {
        "max_image_pixels": 7,
        "max_image_bytes": 8,
        "max_planes": 9,
        "max_transfer_bytes": 10,
        "max_tiles": 11,
        "max_stack_planes": 12,
        "max_stack_voxels": 13,
        "max_stack_tiles": 14,
        "max_message_bytes": 15,
        "default_deadline_s": 40,
        "max_deadline_s": 40,
        "server_version": __version__,
    }
    assert ServiceLimits.of(Settings(max_pixels_in_flight=3 * 224 * 224)).max_tiles == 3, "as many as are admitted"


class HeaderOnly:
    """What the door hands to `SegmentLarge` of a caller that waits for the answer to its header."""

    def __init__(self, header: bytes, made: Setup) -> None:
        self._header = pb.SegmentLargeRequest.FromString(header)
        self._made = made

    async def receive(self) -> Received:
        return Received(self._header, NO_PAYLOAD, self._made.admission.reservation())

    def upload(self, *_):
        raise AssertionError("the server asks for the image")


async def send(image: Any, method: str = "segment", *, packed: bool = False, **params: Any) -> None:
    """Sends the header of a large image to a gateway of small limits. Parameters are sent as they are."""
    template = Template.of(None, model="cells", compression="zlib" if packed else "none")
    request = getattr(template, method)(image)
    for name, value in params.items():
        setattr(request.message.params, name, value)
    settings = Settings(**SMALL)
    with setup(None, **SMALL) as made:
        service = SegmentationService(settings, made.segmenter, made.admission)
        call = Call(SERVICE.methods_by_name["SegmentLarge"], {}, made.context.deadline, None, settings, made.workers)
        header = LargeCall(request, "key").header().serialize()
        async for _ in service.SegmentLarge(HeaderOnly(header, made), call):
            pass


@pytest.mark.parametrize(
    ("shape", "dtype", "packed"),
    [
        ((1, 101, 100), "u1", False),
        ((4, 5, 5), "u1", False),
        ((3, 99, 99), "u2", False),
        ((1, 90, 90), "f8", False),
        ((1, 90, 90), "f8", True),
    ],
)
async def test_the_client_refuses_what_the_gateway_refuses(shape, dtype, packed):
    """In the same words, before the image is sent."""
    image, limits = cellserve.Image(np.zeros(shape, dtype), "CYX"), await asked(**SMALL)
    with pytest.raises(cellserve.CellServeError) as ours:
        cellserve.check_limits(image, limits, packed=packed)
    with pytest.raises(ServiceError) as theirs:
        await send(image, packed=packed)
    error = theirs.value
    assert (ours.value.reason, ours.value.metadata, ours.value.message) == (error.reason, error.metadata, error.message)


@pytest.mark.parametrize("method", ["segment", "diameter"])
@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"diameter": 1}, "IMAGE_TOO_LARGE"),
        ({"model": "nobody"}, "MODEL_UNKNOWN"),
        ({"cytoplasm_channel": 3}, "cytoplasm_channel"),
        ({"niter": 0}, "niter"),
    ],
)
async def test_a_large_image_is_not_sent_in_vain(method, params, reason):
    with pytest.raises((ServiceError, ParameterError)) as caught:
        await send(np.zeros((90, 90), np.uint8), method, **params)
    error = caught.value
    assert (error.parameter if isinstance(error, ParameterError) else error.reason) == reason


async def test_a_large_image_that_can_be_done_is_asked_for():
    for image in (np.zeros((90, 90), np.uint8), cellserve.EncodedImage(b"\x89PNG\r\n\x1a\n" + bytes(900))):
        with pytest.raises(AssertionError, match="asks for the image"):
            await send(image, diameter=30)
