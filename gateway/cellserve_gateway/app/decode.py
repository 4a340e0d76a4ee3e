"""Bytes to pixels: raw arrays, PNG and TIFF, every size checked before memory is spent on it."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from dataclasses import dataclass

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from cellserve_gateway.errors import ImageTooLarge, InvalidImage
from cellserve_gateway.settings import Settings

Pixels = NDArray[np.generic]

DTYPES = tuple(np.dtype(name) for name in ("uint8", "uint16", "uint32", "int16", "float32", "float64"))
MAX_INTENSITY = 1e30  # larger ones overflow single precision on the way
AXES = ("YX", "CYX", "YXC")
MAX_TIFF_PAGES = 1000  # a damaged chain of pages can be endless
# Codecs that unpack into the memory the header announces, no more. Others bring image sizes of their own.
TIFF_COMPRESSIONS = tuple(
    getattr(tifffile.COMPRESSION, name)
    for name in ("NONE", "LZW", "DEFLATE", "ADOBE_DEFLATE", "PACKBITS", "ZSTD", "LZMA")
)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_PLANES = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}  # colour type to planes; a palette may expand to RGBA


@dataclass(frozen=True, slots=True)
class Limits:
    """Largest image taken."""

    pixels: int
    bytes: int
    channels: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Returns the limits that the settings name."""
        return cls(settings.max_image_pixels, settings.max_image_bytes, settings.max_channels)

    def check(self, planes: int, height: int, width: int, itemsize: int) -> int:
        """Checks the size an image has once unpacked.

        Returns:
            Its bytes.

        Raises:
            InvalidImage: An axis is empty.
            ImageTooLarge: It exceeds a limit.
        """
        if min(planes, height, width) < 1:
            raise InvalidImage(
                f"the image is empty: {planes} planes of {height} x {width} pixels", reason="IMAGE_EMPTY"
            )
        size = planes * height * width * itemsize
        for what, value, limit in (
            ("pixels", height * width, self.pixels),
            ("planes", planes, self.channels),
            ("bytes", size, self.bytes),
        ):
            if value > limit:
                raise ImageTooLarge(
                    f"the image has {value:,} {what}; the limit is {limit:,}", resource=what, value=value, limit=limit
                )
        return size


def from_array(
    data: bytes, compressed: bool, dtype: np.dtype[np.generic], shape: tuple[int, ...], axes: str, limits: Limits
) -> Pixels:
    """Returns the planes of a raw image.

    Args:
        data: Elements in C order, little-endian; one zlib stream if compressed.
        compressed: Whether `data` is a zlib stream.
        dtype: One of DTYPES.
        shape: Length of each axis.
        axes: One of AXES.
        limits: Largest image taken.

    Returns:
        [C, Y, X] of `dtype`, a view of `data` where possible; finite.

    Raises:
        InvalidImage: Unknown axes, an empty axis, a byte count that does not fit, or pixels that are not finite.
        ImageTooLarge: It exceeds a limit.
    """
    if axes not in AXES:
        raise InvalidImage(
            f"axes '{axes[:32]}' are unknown; use one of {', '.join(AXES)}",
            reason="AXES_UNKNOWN",
            allowed=",".join(AXES),
        )
    if len(shape) != len(axes):
        raise InvalidImage(f"the shape has {len(shape)} axes, '{axes}' names {len(axes)}", reason="IMAGE_SIZE_MISMATCH")
    length = dict(zip(axes, shape, strict=True))
    expected = limits.check(length.get("C", 1), length["Y"], length["X"], dtype.itemsize)
    if compressed:
        data = _inflate(data, expected)
    if len(data) != expected:
        raise InvalidImage(
            f"{'x'.join(map(str, shape))} of {dtype} are {expected:,} bytes; {len(data):,}"
            f"{' or more' if compressed and len(data) > expected else ''} came",
            reason="IMAGE_SIZE_MISMATCH",
            expected_bytes=expected,
        )
    pixels = np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape)
    return _planes(pixels, axes)


def from_png(data: bytes, limits: Limits) -> Pixels:
    """Returns the planes of a PNG file, without alpha: [C, Y, X], uint8 or uint16. Errors as in `from_array`."""
    if not data.startswith(PNG_SIGNATURE) or len(data) < 33 or data[12:16] != b"IHDR":
        raise InvalidImage("the data is not a PNG file", reason="IMAGE_UNDECODABLE")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    limits.check(PNG_PLANES.get(colour, 4), height, width, 2 if depth == 16 else 1)
    try:
        pixels = imagecodecs.png_decode(data)
    except Exception as error:  # the codec's own exception types are not public
        raise InvalidImage("the PNG file is damaged", reason="IMAGE_UNDECODABLE") from error
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = pixels[..., :-1]
    return _planes(pixels, "YX" if pixels.ndim == 2 else "YXC")


def from_tiff(data: bytes, limits: Limits) -> Pixels:
    """Returns the planes of a TIFF file's one image: [C, Y, X]. Errors as in `from_array`."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            if next(itertools.islice(file.pages, MAX_TIFF_PAGES, None), None) is not None:
                raise InvalidImage(f"the TIFF file holds more than {MAX_TIFF_PAGES} pages", reason="AXES_UNKNOWN")
            images = [series for series in file.series if not series.keyframe.is_reduced]
            if len(images) > 1:
                raise InvalidImage(f"the TIFF file holds {len(images)} images; one is taken", reason="AXES_UNKNOWN")
            series = images[0]
            dtype = series.dtype
            kept = [(axis, n) for axis, n in zip(series.axes, series.shape, strict=True) if n != 1 or axis in "YX"]
            axes, shape = "".join(axis for axis, _ in kept), tuple(n for _, n in kept)
            known = {"YX": "YX", "CYX": "CYX", "SYX": "CYX", "YXS": "YXC", "YXC": "YXC"}.get(axes)
            if known is None:
                raise InvalidImage(
                    f"the TIFF file holds {axes} of {'x'.join(map(str, shape))}; one image of YX, CYX or YXS is taken",
                    reason="AXES_UNKNOWN",
                )
            if dtype is None or dtype.newbyteorder("=") not in DTYPES:
                raise unsupported_dtype(str(dtype))
            length = dict(zip(known, shape, strict=True))
            limits.check(length.get("C", 1), length["Y"], length["X"], dtype.itemsize)
            page = series.keyframe
            if page.compression not in TIFF_COMPRESSIONS or None in tuple(series.pages):
                raise InvalidImage(
                    f"the TIFF file is compressed with {page.compression!r}, or parts of it are in other files",
                    reason="IMAGE_UNDECODABLE",
                )
            if page.is_tiled:  # a tile can be larger than the image, and is unpacked whole
                limits.check(1, page.tilelength, page.tilewidth, dtype.itemsize * page.samplesperpixel)
            # One decoding thread: requests share the processor through the gateway's own pool.
            pixels = series.asarray(maxworkers=1).reshape(shape)
            if known == "YXC" and page.photometric == tifffile.PHOTOMETRIC.RGB:
                pixels = pixels[..., :3]  # what follows red, green and blue is alpha
    except (InvalidImage, ImageTooLarge):
        raise
    except Exception as error:  # a damaged file fails in many ways inside the parser and the codecs
        raise InvalidImage("the data is not a TIFF file, or it is damaged", reason="IMAGE_UNDECODABLE") from error
    return _planes(pixels, known)


def unsupported_dtype(name: str) -> InvalidImage:
    """Returns the error for a pixel type that is not taken."""
    allowed = ", ".join(map(str, DTYPES))
    return InvalidImage(
        f"pixels of type {name} are not taken; use {allowed}", reason="DATA_TYPE_UNSUPPORTED", allowed=allowed
    )


def _inflate(data: bytes, expected: int) -> bytes:
    """Unpacks a zlib stream, at most one byte more than expected: a bomb stays small."""
    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(data, expected + 1)
    except zlib.error as error:
        raise InvalidImage("the pixels are not a zlib stream", reason="IMAGE_UNDECODABLE") from error
    if len(unpacked) == expected and (not stream.eof or stream.unused_data):
        raise InvalidImage("the zlib stream is cut off, or followed by other bytes", reason="IMAGE_UNDECODABLE")
    return unpacked


def _planes(pixels: Pixels, axes: str) -> Pixels:
    if pixels.dtype.kind == "f":
        good = np.abs(pixels) <= MAX_INTENSITY  # false for NaN
        if not good.all():
            bad = int(good.size - np.count_nonzero(good))
            raise InvalidImage(
                f"{bad:,} pixels are NaN, infinite or beyond {MAX_INTENSITY:g}", reason="PIXELS_NOT_FINITE", pixels=bad
            )
    if axes == "YX":
        return pixels[np.newaxis]
    return pixels if axes == "CYX" else np.moveaxis(pixels, -1, 0)
