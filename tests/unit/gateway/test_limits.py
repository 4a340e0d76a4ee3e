"""The limits that the gateway tells, and those that it keeps."""

from __future__ import annotations

import dataclasses

import cellserve
import numpy as np
import pytest
from cellserve.messages import decode_limits
from cellserve_gateway import __version__
from cellserve_gateway.app.decode import from_array, limits_of
from cellserve_gateway.app.limits import ServiceLimits
from cellserve_gateway.errors import ServiceError
from cellserve_gateway.fronts.grpc.large import header_of
from cellserve_gateway.fronts.grpc.receiver import Received
from cellserve_gateway.fronts.grpc.service import SegmentationService
from cellserve_gateway.fronts.grpc.wire import NO_PAYLOAD
from cellserve_gateway.settings import Settings
from cellserve_proto import v1 as pb

from .perfect import setup

SMALL = {"max_image_pixels": 10_000, "max_image_bytes": 60_000, "max_channels": 3, "max_transfer_bytes": 40_000}


async def asked(**settings) -> cellserve.Limits:
    """What a client learns of a gateway of some settings."""
    with setup(None, **settings) as made:
        service = SegmentationService(Settings(**settings), made.segmenter)
        request = Received(pb.GetLimitsRequest(), NO_PAYLOAD, made.admission.reservation())
        answer = await service.GetLimits(request, made.context)
    return decode_limits(pb.GetLimitsResponse.FromString(answer.SerializeToString()))


async def test_the_limits_are_those_of_the_settings():
    changed = {name: 7 + number for number, name in enumerate([*SMALL, "max_message_bytes", "max_tiles"])}
    told = await asked(**changed, default_deadline_s=50, max_deadline_s=40)
    assert dataclasses.asdict(told) == {
        "max_image_pixels": 7,
        "max_image_bytes": 8,
        "max_planes": 9,
        "max_transfer_bytes": 10,
        "max_message_bytes": 11,
        "max_tiles": 12,
        "default_deadline_s": 40,
        "max_deadline_s": 40,
        "server_version": __version__,
    }
    assert ServiceLimits.of(Settings(max_pixels_in_flight=3 * 224 * 224)).max_tiles == 3, "as many as are admitted"


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1, 101, 100), "u1"), ((4, 5, 5), "u1"), ((3, 90, 90), "f4"), ((1, 90, 90), "f8"), ((0, 5, 5), "u1")],
)
async def test_the_client_refuses_what_the_gateway_refuses(shape, dtype):
    """With the same words."""
    pixels, limits = np.zeros(shape, dtype), await asked(**SMALL)
    with pytest.raises(cellserve.CellServeError) as ours:
        cellserve.check_limits(cellserve.Image(pixels, "CYX"), limits)
    with pytest.raises(ServiceError) as theirs:
        receive(pixels)
    error = theirs.value
    assert (ours.value.reason, ours.value.metadata, ours.value.message) == (error.reason, error.metadata, error.message)


def receive(pixels: np.ndarray) -> None:
    """The checks of the gateway on pixels [C, Y, X] that come in chunks."""
    settings = Settings(**SMALL)
    header = pb.SegmentLargeHeader(segment=pb.SegmentRequest(), image_bytes=max(1, pixels.nbytes))
    header_of(pb.SegmentLargeRequest(header=header), settings.max_transfer_bytes)
    from_array(pixels.tobytes(), False, pixels.dtype, pixels.shape, "CYX", limits_of(settings))
