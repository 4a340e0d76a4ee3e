"""Bad input: a clear error with a reason, at once, and nothing else disturbed."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path

import grpc
import numpy as np
import pytest
import tifffile
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc

from .messages import FAST, error_info, raw

GOOD = raw(np.zeros((8, 8), np.uint8))
Format = pb.EncodedImage.Format


def pixels(**changes) -> pb.Image:
    array = {"data_type": pb.DATA_TYPE_UINT8, "shape": [8, 8], "data": bytes(64)} | changes
    return pb.Image(raw=pb.RawImage(pixels=pb.Array(**array), axes="YX"))


def encoded(format: Format, data: bytes) -> pb.Image:
    return pb.Image(encoded=pb.EncodedImage(format=format, data=data))


def not_finite(value: float) -> pb.Image:
    image = np.zeros((8, 8), np.float32)
    image[3, 4] = value
    return raw(image)


def png_bomb() -> bytes:
    """A well-formed PNG of 400 bytes that unpacks to 4 GB of zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 65_000, 65_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(300_000)))
        + chunk(b"IEND", b"")
    )


def real_png() -> bytes:
    return (Path(__file__).parents[3] / "examples" / "images" / "nuclei_fluorescence.png").read_bytes()


def tiff(shape: tuple[int, int] = (100, 100)) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.random.default_rng(0).integers(0, 255, shape, np.uint8), compression="zlib")
    return buffer.getvalue()


PNG, TIFF = pb.EncodedImage.FORMAT_PNG, pb.EncodedImage.FORMAT_TIFF
BOMB = pb.Array(
    data_type=pb.DATA_TYPE_UINT8, shape=[100, 100], compression=pb.COMPRESSION_ZLIB, data=zlib.compress(bytes(10**8))
)
CASES = {
    "no image": ({}, "INVALID_ARGUMENT", "IMAGE_EMPTY"),
    "zero rows": ({"image": pixels(shape=[0, 8], data=b"")}, "INVALID_ARGUMENT", "IMAGE_EMPTY"),
    "negative rows": ({"image": pixels(shape=[-8, 8])}, "INVALID_ARGUMENT", "IMAGE_EMPTY"),
    "one byte short": ({"image": pixels(data=bytes(63))}, "INVALID_ARGUMENT", "IMAGE_SIZE_MISMATCH"),
    "one byte more": ({"image": pixels(data=bytes(65))}, "INVALID_ARGUMENT", "IMAGE_SIZE_MISMATCH"),
    "no dtype": ({"image": pixels(data_type=0)}, "INVALID_ARGUMENT", "DATA_TYPE_UNSUPPORTED"),
    "unknown dtype": ({"image": pixels(data_type=77)}, "INVALID_ARGUMENT", "DATA_TYPE_UNSUPPORTED"),
    "unknown axes": ({"image": raw(np.zeros((8, 8), np.uint8), "XY")}, "INVALID_ARGUMENT", "AXES_UNKNOWN"),
    "volume": ({"image": raw(np.zeros((4, 8, 8), np.uint8), "ZYX")}, "INVALID_ARGUMENT", "STACK_MODE_MISSING"),
    "time series": ({"image": raw(np.zeros((4, 8, 8), np.uint8), "TYX")}, "INVALID_ARGUMENT", "AXES_UNKNOWN"),
    "pixel size": ({"image": pb.Image(raw=GOOD.raw, pixel_size={"y_um": 1})}, "INVALID_ARGUMENT", "PIXEL_SIZE_INVALID"),
    "outlines of maps": ({"image": GOOD, "maps_only": True, "outputs": [1]}, "INVALID_ARGUMENT", "FIELD_INVALID"),
    "no work allowed": ({"image": GOOD, "work_budget_s": 0.0}, "INVALID_ARGUMENT", "FIELD_INVALID"),
    "NaN": ({"image": not_finite(np.nan)}, "INVALID_ARGUMENT", "PIXELS_NOT_FINITE"),
    "infinity": ({"image": not_finite(np.inf)}, "INVALID_ARGUMENT", "PIXELS_NOT_FINITE"),
    "unknown model": ({"image": GOOD, "params": {"model": "x"}}, "NOT_FOUND", "MODEL_UNKNOWN"),
    "diameter": ({"image": GOOD, "params": {"diameter": 0.5}}, "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE"),
    "overlap": ({"image": GOOD, "params": {"tile_overlap": 0.9}}, "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE"),
    "niter": ({"image": GOOD, "params": {"niter": 0}}, "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE"),
    "channel": ({"image": GOOD, "params": {"cytoplasm_channel": 1}}, "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE"),
    "nuclei in a plane that is not there": (
        {"image": raw(np.zeros((2, 8, 8), np.uint8), "CYX"), "params": {"nucleus_channel": 2}},
        "INVALID_ARGUMENT",
        "PARAMETER_OUT_OF_RANGE",
    ),
    "four planes": (
        {"image": raw(np.zeros((8, 8, 4), np.uint8), "YXC")},
        "INVALID_ARGUMENT",
        "PARAMETER_OUT_OF_RANGE",
    ),
    "unknown output": ({"image": GOOD, "outputs": [9]}, "INVALID_ARGUMENT", "FIELD_INVALID"),
    "unknown priority": ({"image": GOOD, "priority": 9}, "INVALID_ARGUMENT", "FIELD_INVALID"),
    "long id": ({"image": GOOD, "request_id": "x" * 129}, "INVALID_ARGUMENT", "FIELD_INVALID"),
    "id with line break": ({"image": GOOD, "request_id": "a\nb"}, "INVALID_ARGUMENT", "FIELD_INVALID"),
    "not a PNG": ({"image": encoded(PNG, b"GIF89a")}, "INVALID_ARGUMENT", "IMAGE_UNDECODABLE"),
    "truncated PNG": ({"image": encoded(PNG, real_png()[:5000])}, "INVALID_ARGUMENT", "IMAGE_UNDECODABLE"),
    "PNG of no pixels": ({"image": encoded(PNG, png_bomb()[:16] + bytes(99))}, "INVALID_ARGUMENT", "IMAGE_EMPTY"),
    "truncated TIFF": ({"image": encoded(TIFF, tiff()[:-600])}, "INVALID_ARGUMENT", "IMAGE_UNDECODABLE"),
    "TIFF bomb": ({"image": encoded(TIFF, tiff((2001, 2000)))}, "INVALID_ARGUMENT", "IMAGE_TOO_LARGE"),
    "not a TIFF": ({"image": encoded(TIFF, b"II*\x00" + bytes(99))}, "INVALID_ARGUMENT", "IMAGE_UNDECODABLE"),
    "no format": (
        {"image": encoded(pb.EncodedImage.FORMAT_UNSPECIFIED, b"x")},
        "INVALID_ARGUMENT",
        "IMAGE_UNDECODABLE",
    ),
    "PNG bomb": ({"image": encoded(PNG, png_bomb())}, "INVALID_ARGUMENT", "IMAGE_TOO_LARGE"),
    "zlib bomb": (
        {"image": pb.Image(raw=pb.RawImage(pixels=BOMB, axes="YX"))},
        "INVALID_ARGUMENT",
        "IMAGE_SIZE_MISMATCH",
    ),
    "too many pixels": ({"image": raw(np.zeros((2001, 2000), np.uint8))}, "INVALID_ARGUMENT", "IMAGE_TOO_LARGE"),
    "huge shape": ({"image": pixels(shape=[2**62, 2**62])}, "INVALID_ARGUMENT", "IMAGE_TOO_LARGE"),
    "too many tiles": (
        {"image": raw(np.zeros((1000, 1000), np.uint8)), "params": {"diameter": 2}},
        "INVALID_ARGUMENT",
        "IMAGE_TOO_LARGE",
    ),
}


ONE_TILE = {
    "height": 8,
    "width": 8,
    "starts_y": [-8],
    "starts_x": [-8],
    "rows": {"first": 0, "end": 1},
    "columns": {"first": 0, "end": 1},
}


def planes(zeros: tuple[int, ...] = (1, 1, 8, 8), dtype: type = np.float32, **changes) -> dict:
    array = {"data_type": pb.DATA_TYPE_FLOAT32, "shape": zeros, "data": np.zeros(zeros, dtype).tobytes()}
    return {"planes": array | changes}


def grid(**changes) -> dict:
    return {"grid": ONE_TILE | changes}


def rows(count: int) -> dict:
    """So many rows of tiles, all at the same place."""
    return grid(starts_y=[-8] * count, rows={"first": 0, "end": count})


NETWORKS_CASES = {
    "no planes": ({"planes": {}}, "INVALID_ARGUMENT", "DATA_TYPE_UNSUPPORTED"),
    "zero planes": (planes((0, 1, 8, 8)), "INVALID_ARGUMENT", "IMAGE_EMPTY"),
    "doubles": (planes(dtype=np.float64, data_type=6), "INVALID_ARGUMENT", "DATA_TYPE_UNSUPPORTED"),
    "whole numbers": (planes(dtype=np.int32, data_type=8), "INVALID_ARGUMENT", "DATA_TYPE_UNSUPPORTED"),
    "two axes": (planes((8, 8)), "INVALID_ARGUMENT", "IMAGE_SIZE_MISMATCH"),
    "three channels": (planes((1, 3, 8, 8)), "INVALID_ARGUMENT", "IMAGE_SIZE_MISMATCH"),
    "not the extent of the tiles": (planes((1, 1, 8, 9)), "INVALID_ARGUMENT", "IMAGE_SIZE_MISMATCH"),
    "one byte short": (planes(data=bytes(255)), "INVALID_ARGUMENT", "IMAGE_SIZE_MISMATCH"),
    "zlib bomb": (planes(compression=2, data=BOMB.data), "INVALID_ARGUMENT", "IMAGE_SIZE_MISMATCH"),
    "NaN": (planes(data=np.full(64, np.nan, np.float32).tobytes()), "INVALID_ARGUMENT", "PIXELS_NOT_FINITE"),
    "infinity": (planes(data=np.full(64, np.inf, np.float32).tobytes()), "INVALID_ARGUMENT", "PIXELS_NOT_FINITE"),
    "huge planes": (planes(shape=(1, 1, 1 << 40, 1 << 40), data=b""), "INVALID_ARGUMENT", "IMAGE_TOO_LARGE"),
    "too many planes": (planes((1025, 1, 8, 8)), "INVALID_ARGUMENT", "IMAGE_TOO_LARGE"),
    "too many tiles of a plane": (rows(501), "INVALID_ARGUMENT", "IMAGE_TOO_LARGE"),
    "too many tiles of all planes": (planes((101, 1, 8, 8)) | rows(200), "INVALID_ARGUMENT", "IMAGE_TOO_LARGE"),
    "too many sums": (
        planes((1024, 1, 8, 107)) | grid(width=107),
        "INVALID_ARGUMENT",
        "ANSWER_TOO_LARGE",
    ),
    "no grid": ({"grid": {}}, "INVALID_ARGUMENT", "FIELD_INVALID"),
    "no tiles": (grid(starts_x=[]), "INVALID_ARGUMENT", "FIELD_INVALID"),
    "a row of tiles too early": (grid(starts_y=[-9]), "INVALID_ARGUMENT", "FIELD_INVALID"),
    "a row of tiles too late": (grid(starts_y=[0]), "INVALID_ARGUMENT", "FIELD_INVALID"),
    "tiles that end too early": (grid(width=800, starts_x=[-8, 192, 392]), "INVALID_ARGUMENT", "FIELD_INVALID"),
    "tiles that end too late": (grid(width=800, starts_x=[-8, 192, 392, 600]), "INVALID_ARGUMENT", "FIELD_INVALID"),
    "tiles out of order": (grid(width=800, starts_x=[-8, 392, 192, 584]), "INVALID_ARGUMENT", "FIELD_INVALID"),
    "tiles that leave out pixels": (grid(width=800, starts_x=[-8, 217, 392, 584]), "INVALID_ARGUMENT", "FIELD_INVALID"),
    "a huge image of one tile": (grid(height=1 << 62), "INVALID_ARGUMENT", "FIELD_INVALID"),
    "a negative image": (grid(height=-8), "INVALID_ARGUMENT", "FIELD_INVALID"),
    "a part of no tile": (grid(rows={"first": 0, "end": 0}), "INVALID_ARGUMENT", "FIELD_INVALID"),
    "a part that is not there": (grid(rows={"first": 0, "end": 2}), "INVALID_ARGUMENT", "FIELD_INVALID"),
    "a part before the first tile": (grid(columns={"first": -1, "end": 1}), "INVALID_ARGUMENT", "FIELD_INVALID"),
    "unknown model": ({"model": "x"}, "NOT_FOUND", "MODEL_UNKNOWN"),
    "unknown priority": ({"priority": 9}, "INVALID_ARGUMENT", "FIELD_INVALID"),
    "no work allowed": ({"work_budget_s": 0.0}, "INVALID_ARGUMENT", "FIELD_INVALID"),
    "long id": ({"request_id": "x" * 129}, "INVALID_ARGUMENT", "FIELD_INVALID"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(stub, case):
    request, code, reason = CASES[case]
    check_refused(lambda: stub.Segment(pb.SegmentRequest(**request)), code, reason)


@pytest.mark.parametrize("case", NETWORKS_CASES)
def test_planes_refused(stub, gateway, scrape, case):
    request, code, reason = NETWORKS_CASES[case]
    tiles = 'cellserve_tiles_total{network="generalist"}'
    before = scrape(gateway).get(tiles)
    message = pb.RunNetworksRequest(**planes() | grid() | request)
    info = check_refused(lambda: stub.RunNetworks(message), code, reason)
    if "grid" in request and reason == "FIELD_INVALID":
        assert info.metadata["field"].startswith("grid.")
    assert scrape(gateway).get(tiles) == before, "before any work"


def check_refused(call, code: str, reason: str):
    """Checks that a call is refused at once and in words; returns the facts."""
    start = time.perf_counter()
    with pytest.raises(grpc.RpcError) as error:
        call()
    assert time.perf_counter() - start < 2, "at once"
    assert error.value.code().name == code
    info = error_info(error.value)
    assert info.reason == reason
    assert len(error.value.details()) > 20, "a sentence for a person"
    assert "Traceback" not in error.value.details()
    return info


def test_whole_message_too_large(triton, start_gateway):
    """gRPC itself refuses what exceeds the message limit, before it is in memory."""
    small = start_gateway(triton.grpc, max_message_bytes=100_000)
    with grpc.insecure_channel(small.address) as channel:
        stub = segmentation_pb2_grpc.SegmentationServiceStub(channel)
        with pytest.raises(grpc.RpcError) as error:
            stub.Segment(pb.SegmentRequest(image=raw(np.zeros((400, 400), np.uint8))))
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    small.process.stop()


def test_unknown_names(stub):
    with pytest.raises(grpc.RpcError) as error:
        stub.GetModel(pb.GetModelRequest(name="nobody"))
    info = error_info(error.value)
    assert (info.reason, "generalist" in info.metadata["available"]) == ("MODEL_UNKNOWN", True)


@pytest.mark.parametrize("path", ["/x", "/a/b/c", "/cellserve.v1.SegmentationService/Nothing", "/"])
def test_unknown_methods(gateway, path):
    with grpc.insecure_channel(gateway.address) as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(path)(b"")
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_bytes_that_are_no_message(gateway):
    with grpc.insecure_channel(gateway.address) as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/cellserve.v1.SegmentationService/Segment")(b"\xff\xff\xff")
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(error.value).reason == "MESSAGE_MALFORMED"


def test_what_an_image_unpacks_to_counts(slow_gateway, in_flight):
    """A small file of a large image is weighed at its real size."""
    halves = pb.Array(
        data_type=pb.DATA_TYPE_UINT8,
        shape=[2000, 2000],
        compression=pb.COMPRESSION_ZLIB,
        data=zlib.compress(bytes(2_000_000) + b"\1" * 2_000_000),
    )
    with grpc.insecure_channel(slow_gateway.address, [("grpc.max_receive_message_length", -1)]) as channel:
        stub = segmentation_pb2_grpc.SegmentationServiceStub(channel)
        image = pb.Image(raw=pb.RawImage(pixels=halves, axes="YX"))
        call = stub.Segment.future(pb.SegmentRequest(image=image, params=FAST))
        largest = 0.0
        while not call.done():
            largest = max(largest, in_flight(slow_gateway)["bytes"])
    assert call.result().labels.shape == [2000, 2000]
    assert largest >= 4_000_000 + 2_000_000, "the pixels, and the labels of the answer"


def test_the_gateway_goes_on(stub, gateway, in_flight):
    """After all of the above the process still answers, and nothing is counted as in flight."""
    assert in_flight(gateway) == {"requests": 0, "pixels": 0, "bytes": 0}
    assert stub.Segment(pb.SegmentRequest(image=GOOD, params=FAST)).labels.shape == [8, 8]
