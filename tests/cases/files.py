"""Files that the cases draw. Each function returns the bytes of a file."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from tests.unit.formats.samples import PNG_SIGNATURE, palette_png, png_chunk

ORIENTATION = 274
EXTRA_SAMPLES = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
_OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    """Returns a TIFF file; options as of tifffile.imwrite."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def images_tiff(images: Sequence[NDArray[Any]], **options: Any) -> bytes:
    """Returns a TIFF file of several images; options as of tifffile.TiffWriter."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, **options) as file:
        for number, image in enumerate(images):
            file.write(image, metadata={"axes": "YX", "Name": f"position {number + 1}"})
    return buffer.getvalue()


def png(pixels: NDArray[Any]) -> bytes:
    """Returns a PNG file."""
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))


def one_bit_png(pixels: NDArray[np.bool_]) -> bytes:
    """Returns a PNG file of one bit per pixel."""
    height, width = pixels.shape
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(pixels, axis=1))
    return PNG_SIGNATURE + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def jpeg(pixels: NDArray[np.uint8], **options: Any) -> bytes:
    """Returns a JPEG file; options as of imagecodecs.jpeg8_encode."""
    return bytes(imagecodecs.jpeg8_encode(pixels, **options))


def shuffled(image: NDArray[np.uint8], seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns an image as indices into a palette in random order, and the palette [256, 3] of greys."""
    greys = np.random.default_rng(seed).permutation(256).astype(np.uint8)
    return np.argsort(greys).astype(np.uint8)[image], np.repeat(greys[:, None], 3, axis=1)


def coloured(image: NDArray[np.uint8], seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns an image as indices into a palette in random order, and the palette [256, 3] of greens."""
    indices, palette = shuffled(image, seed)
    return indices, palette // np.array([4, 1, 2], np.uint8)


def palette_tiff(indices: NDArray[np.uint8], palette: NDArray[np.uint8], **options: Any) -> bytes:
    """Returns a TIFF file with a palette."""
    table = np.ascontiguousarray(palette.T).astype(np.uint16) * 257
    return tiff(indices, photometric="palette", colormap=table, **options)


def shuffled_png(image: NDArray[np.uint8]) -> bytes:
    """Returns a PNG file with a palette in random order."""
    return palette_png(*shuffled(image))


def oriented_jpeg(pixels: NDArray[np.uint8], orientation: int) -> bytes:
    """Returns a JPEG file whose EXIF part tells viewers to turn the image."""
    data = jpeg(pixels, level=98)
    directory = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, ORIENTATION, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + directory
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def black_jpeg(image: NDArray[np.uint8], colours: str) -> bytes:
    """Returns a JPEG file in CMYK or YCCK whose picture is in the black plane alone, as printers generate black."""
    none = np.full_like(image, 255)  # Adobe stores inks inverted
    planes = np.stack([none, none, none, image], axis=-1)
    return jpeg(planes, level=95, colorspace="CMYK", outcolorspace=colours)


def ome_set(planes: Sequence[NDArray[Any]], names: Sequence[str]) -> list[bytes]:
    """Returns OME-TIFF files of one image, one plane in each file."""
    height, width = planes[0].shape
    uuids = [f"urn:uuid:00000000-0000-4000-8000-{number:012}" for number in range(len(names))]
    channels = "".join(f'<Channel ID="Channel:0:{c}" SamplesPerPixel="1"/>' for c in range(len(names)))
    parts = "".join(
        f'<TiffData FirstC="{c}" FirstT="0" FirstZ="0" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name}">{uuid}</UUID></TiffData>'
        for c, (name, uuid) in enumerate(zip(names, uuids, strict=True))
    )
    pixels = (
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{planes[0].dtype}" SizeX="{width}" SizeY="{height}" '
        f'SizeC="{len(names)}" SizeZ="1" SizeT="1">{channels}{parts}</Pixels>'
    )
    return [
        tiff(
            plane,
            metadata=None,
            description=f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{_OME}" UUID="{uuid}">'
            f'<Image ID="Image:0">{pixels}</Image></OME>',
        )
        for plane, uuid in zip(planes, uuids, strict=True)
    ]


def png_16(pixels: NDArray[np.uint16], *chunks: tuple[bytes, bytes]) -> bytes:
    """Returns a PNG file of 16 bits with further chunks, pairs of type and content, in front of the pixels."""
    height, width = pixels.shape
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    extra = b"".join(png_chunk(*chunk) for chunk in chunks)
    return PNG_SIGNATURE + header + extra + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def interlaced_png(pixels: NDArray[np.uint8]) -> bytes:
    """Returns a PNG file of 8 bits whose rows come in seven passes."""
    height, width = pixels.shape
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1))
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    parts = [pixels[y::down, x::along] for y, x, down, along in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts for row in part)
    return PNG_SIGNATURE + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def packed_tiff(pixels: NDArray[np.uint16], bits: int) -> bytes:
    """Returns a TIFF file whose pixels take 10, 12 or 14 bits each, without gaps inside of a row."""
    octets = pixels.astype(">u2").view(np.uint8).reshape(*pixels.shape, 2)
    data = np.packbits(np.unpackbits(octets, axis=-1)[..., 16 - bits :].reshape(len(pixels), -1), axis=1).tobytes()
    height, width = pixels.shape
    numbers = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(data)}
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, number) for tag, number in numbers.items())
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(numbers)) + tags + bytes(4)


def without_tag(data: bytes, tag: int) -> bytes:
    """Returns a TIFF file in whose first page one tag has become a private one."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        at = file.pages[0].tags[tag].offset
    return data[:at] + struct.pack("<H", 65000) + data[at + 2 :]


def without_tile(data: bytes) -> bytes:
    """Returns a TIFF file of tiles that lacks its first tile, as sparse files do."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = [file.pages[0].tags[tag] for tag in (324, 325)]  # TileOffsets, TileByteCounts
    for tag in tags:
        end = tag.valueoffset + (2 if tag.dtype == tifffile.DATATYPE.SHORT else 4)
        data = data[: tag.valueoffset] + bytes(end - tag.valueoffset) + data[end:]
    return data


def ome_tiff(pixels: NDArray[Any], **sizes: int) -> bytes:
    """Returns an OME-TIFF file of one page whose XML claims other sizes: SizeC, SizeZ or SizeT."""
    height, width = pixels.shape
    counts = {"SizeX": width, "SizeY": height, "SizeC": 1, "SizeZ": 1, "SizeT": 1} | sizes
    attributes = " ".join(f'{name}="{value}"' for name, value in counts.items())
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{_OME}"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{pixels.dtype}" {attributes}><TiffData/></Pixels>'
        "</Image></OME>"
    )
    return tiff(pixels, metadata=None, description=text)
