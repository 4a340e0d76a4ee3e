"""The limits of a server, and images that exceed one: refused before anything is sent."""

from __future__ import annotations

import dataclasses

import cellserve
import grpc
import numpy as np
import pytest
from cellserve import EncodedImage, Image, Limits, check_limits
from cellserve_proto import v1 as pb

from .scripted_server import failure

LIMITS = Limits(
    max_image_pixels=100_000,
    max_image_bytes=600_000,
    max_planes=4,
    max_tiles=50,
    max_transfer_bytes=400_000,
    max_message_bytes=300_000,
    default_deadline_s=300,
    max_deadline_s=600,
    max_stack_planes=40,
    max_stack_voxels=1_000_000,
    max_stack_tiles=500,
    server_version="9.9",
)


async def test_a_server_tells_its_limits(either):
    assert await either.limits() == LIMITS


def test_all_limits_of_the_contract_are_told():
    told = {field.name for field in dataclasses.fields(Limits)} - {"server_version"}
    assert told == {field.name for field in pb.Limits.DESCRIPTOR.fields}


async def test_an_older_server_tells_no_limits(either, service):
    service.limits_failure = failure(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
    assert await either.limits() is None


async def test_other_failures_of_the_question_are_errors(either, service):
    service.limits_failure = failure(grpc.StatusCode.UNAUTHENTICATED, "send a token", "TOKEN_MISSING")
    with pytest.raises(cellserve.AuthenticationError):
        await either.limits()


def gray(rows: int, columns: int, dtype: str = "u1") -> Image:
    return Image(np.zeros((rows, columns), dtype), "YX")


@pytest.mark.parametrize(
    "image",
    [
        gray(250, 400),
        gray(250, 400, "?"),
        gray(250, 400, "f4"),
        Image(np.zeros((1, 4, 1, 250, 400), "u1"), "TCZYX"),
        Image(np.zeros((30, 250, 400), "u1"), "TYX"),  # each time point is a request
        Image(np.zeros((250, 400, 4), "u1"), "YXS"),
        EncodedImage(bytes(400_000)),
    ],
)
def test_an_image_at_the_limits_passes(image):
    check_limits(image, LIMITS)


@pytest.mark.parametrize(
    ("image", "packed", "resource", "value", "limit"),
    [
        (gray(251, 400), False, "pixels", 100_400, 100_000),
        (Image(np.zeros((5, 9, 9), "u1"), "CYX"), False, "channels", 5, 4),
        (Image(np.zeros((41, 9, 9), "u1"), "ZYX"), False, "planes", 41, 40),
        (Image(np.zeros((11, 300, 310), "u1"), "ZYX"), True, "voxels", 1_023_000, 1_000_000),
        (gray(250, 401, "f4"), False, "bytes", 401_000, 400_000),
        (Image(np.zeros((2, 250, 400), "f4"), "CYX"), True, "bytes", 800_000, 600_000),
        (Image(np.zeros((2, 41, 9, 9), "u1"), "TZYX"), False, "planes", 41, 40),
        (EncodedImage(bytes(400_001)), False, "bytes", 400_001, 400_000),
    ],
)
def test_an_image_over_a_limit_is_refused(image, packed, resource, value, limit):
    with pytest.raises(cellserve.InvalidRequestError) as caught:
        check_limits(image, LIMITS, source="cells.tif", packed=packed)
    error = caught.value
    assert (error.reason, error.code) == ("IMAGE_TOO_LARGE", grpc.StatusCode.INVALID_ARGUMENT)
    assert error.metadata == {"resource": resource, "value": str(value), "limit": str(limit)}
    for part in ("cells.tif: ", f"{value:,} {resource}", f"{limit:,}: "):
        assert part in error.message


def test_packed_pixels_may_be_sent_if_they_fit_once_unpacked():
    check_limits(Image(np.zeros((250, 300), "f8"), "YX"), LIMITS, packed=True)


def test_unknown_limits_let_everything_pass():
    image = Image(np.zeros((9, 2000, 50), "u1"), "CYX")
    check_limits(image, None)
    check_limits(image, dataclasses.replace(LIMITS, max_planes=0, max_transfer_bytes=0, max_image_bytes=0))
    with pytest.raises(cellserve.InvalidRequestError, match="9 channels"):
        check_limits(image, dataclasses.replace(LIMITS, max_transfer_bytes=0))
