"""Every way of an image file to the pipeline gives the same pixels, warnings and refusals."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve import CellServeError, EncodedImage
from cellserve.messages import Template
from cellserve_contract.payload import NO_PAYLOAD
from cellserve_formats import Limits
from cellserve_gateway.app.decode import Decoded
from cellserve_gateway.app.files import ImageFiles
from cellserve_gateway.errors import ServiceError
from cellserve_gateway.fronts.grpc.codec import ImageDecoder
from cellserve_gateway.fronts.http.uploads import Upload
from cellserve_gateway.settings import Settings
from cellserve_parallel import CancellationToken
from cellserve_proto import v1 as pb

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 4096, (40, 30), np.uint16)
BYTES = RNG.integers(0, 256, (40, 30), np.uint8)
COLOUR = RNG.integers(0, 256, (40, 30, 3), np.uint8)
RGBA = np.dstack([COLOUR, BYTES])
PLANES_FIRST = np.moveaxis(RGBA, 2, 0)
ALPHA = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
TABLE = np.stack([RNG.permutation(256) for _ in range(3)]).astype(np.uint16) * 257
LIMITS = Limits(pixels=1_000_000, bytes=8_000_000, planes=8, pages=100, metadata_bytes=1_000_000)


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


FILES = {
    "grey": tiff(GREY),
    "bits": tiff(GREY > 2000),
    "int8": tiff(GREY.astype(np.int8)),
    "int32": tiff(GREY.astype(np.int32) - 2000),
    "int64": tiff(GREY.astype(np.int64) << 40),
    "float16": tiff(GREY.astype(np.float16)),
    "float64": tiff(GREY + 1e9),
    "zero is white": tiff(GREY, photometric="miniswhite"),
    "palette": tiff(BYTES, colormap=TABLE),
    "grey palette": tiff(BYTES, colormap=np.stack([TABLE[0]] * 3)),
    "rgb": tiff(COLOUR, photometric="rgb"),
    "rgba": tiff(RGBA, **ALPHA),
    "planar rgba": tiff(PLANES_FIRST, planarconfig="separate", **ALPHA),
    "channels": tiff(
        np.stack([GREY] * 3), ome=True, metadata={"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 1}
    ),
    "imagej": tiff(np.stack([GREY] * 2), imagej=True, resolution=(4, 2), metadata={"axes": "CYX", "unit": "um"}),
    "turned": tiff(GREY, extratags=[(274, 3, 1, 6, True)]),
    "jpeg inside": tiff(COLOUR, photometric="rgb", compression="jpeg", tile=(16, 16)),
    "png": imagecodecs.png_encode(GREY),
    "png rgba": imagecodecs.png_encode(RGBA),
    "grey and alpha": tiff(RGBA[..., :2], photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]),
    "jpeg": imagecodecs.jpeg8_encode(COLOUR),
    "jpeg cmyk": imagecodecs.jpeg8_encode(RGBA, colorspace="CMYK", outcolorspace="CMYK"),
    "jpeg cut off": imagecodecs.jpeg8_encode(COLOUR)[:-100],
    "tiff cut off": tiff(np.stack([GREY] * 3), imagej=True, metadata={"axes": "CYX"})[:5000],
    "stack": tiff(np.stack([GREY] * 3), imagej=True, metadata={"axes": "ZYX"}),
    "unnamed planes": tiff(np.stack([GREY] * 3), photometric="minisblack"),
    "not finite": tiff(np.full((9, 11), np.inf, np.float16)),
    "complex": tiff(GREY.astype(np.complex64)),
    "text": b"no image at all",
}


@pytest.fixture(scope="module")
def files() -> Iterator[ImageFiles]:
    settings = Settings(max_image_pixels=1_000_000, max_image_bytes=8_000_000, max_channels=8)
    with contextlib.closing(ImageFiles(settings)) as files:
        yield files


def decoder(files: ImageFiles, image: object, series: int | None = None) -> tuple[pb.Image, object, ImageDecoder]:
    """The message of an image as it arrives, the warnings of the client's reader, and the decoder of the message."""
    request = Template.of(None, series=series, stack_mode="stitch").segment(image)
    message = pb.SegmentRequest.FromString(request.serialize()).image
    decode_file = partial(_decode_file, files)
    return message, request.warnings, ImageDecoder(message, lambda: NO_PAYLOAD, LIMITS, decode_file)


def _decode_file(files: ImageFiles, data: bytes, kind: str, series: int | None) -> Decoded:
    return files.decode(data, CancellationToken(), kind, series)


def over_grpc(files: ImageFiles, image: object) -> tuple[Decoded, object, object]:
    """The way of an image through the client and the gRPC front: what arrives, and the pixel size of the answer."""
    _, warnings, decode = decoder(files, image)
    decoded = decode()
    size = decode.pixel_size
    return decoded, (*warnings, *decoded.warnings), size and tuple(size)


def over_http(files: ImageFiles, data: bytes) -> tuple[Decoded, object, object]:
    upload = Upload(data, None, None, files, CancellationToken())
    decoded = upload.decode()
    return decoded, decoded.warnings, upload.image.pixel_size and tuple(upload.image.pixel_size)


def outcome(call, files: ImageFiles, argument: object) -> tuple[object, ...]:
    try:
        decoded, warnings, size = call(files, argument)
    except (CellServeError, ServiceError) as error:
        return ("refused", error.reason)
    return (decoded.pixels.shape, decoded.pixels.dtype, decoded.pixels.tobytes(), warnings, size)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_the_same_image_whichever_way_it_comes(files: ImageFiles, tmp_path: Path, name: str):
    data, path = FILES[name], tmp_path / "file"
    path.write_bytes(data)
    expected = outcome(over_grpc, files, path)
    assert outcome(over_grpc, files, EncodedImage(data)) == expected
    assert outcome(over_http, files, data) == expected


def test_the_list_has_images_and_refusals(files: ImageFiles):
    refused = {name for name, data in FILES.items() if outcome(over_http, files, data)[0] == "refused"}
    assert refused == {"jpeg cmyk", "jpeg cut off", "tiff cut off", "not finite", "complex", "text"}
    assert outcome(over_http, files, FILES["stack"])[0] == outcome(over_http, files, FILES["unnamed planes"])[0]
    assert all(outcome(over_http, files, FILES[name])[3] for name in ("rgba", "planar rgba", "turned", "png rgba"))


def test_one_of_several_images_is_chosen_over_every_way(files: ImageFiles, tmp_path: Path):
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(GREY, metadata=None)
        file.write(GREY[:10], metadata=None)
    path = tmp_path / "two.tif"
    path.write_bytes(buffer.getvalue())
    for image in (path, EncodedImage(buffer.getvalue())):
        for series, height in enumerate((40, 10)):
            assert decoder(files, image, series)[2]().planes.shape == (1, height, 30)
    data = buffer.getvalue()
    for series, height in enumerate((40, 10)):
        upload = Upload(data, None, series, files, CancellationToken())
        assert upload.decode().planes.shape == (1, height, 30)
    for refused in (outcome(over_grpc, files, EncodedImage(data)), outcome(over_http, files, data)):
        assert refused == ("refused", "IMAGE_UNKNOWN")
