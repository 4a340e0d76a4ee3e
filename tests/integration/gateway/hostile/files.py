"""Image files made to cost memory or time. Each is small, and claims or hides far more than it holds."""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Callable

import cv2
import imagecodecs
import numpy as np
import tifffile

GREY = np.arange(600, dtype=np.uint16).reshape(20, 30)
OME = """<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">
<Pixels DimensionOrder="{order}" ID="Pixels:0" {sizes} Type="uint16">
<Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="1" {first}/></Pixels></Image></OME>"""
SCN = """<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"><collection><image>
<pixels><dimension c="700000000" z="0" ifd="0"/></pixels></image></collection></scn>"""
SHORT, LONG = 3, 4
Entry = tuple[int, int, int, int]
"""Tag, type, count, and value or offset."""


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    """Returns a TIFF file."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def ome_claims(order: str = "XYCZT", first: str = "", **sizes: int) -> bytes:
    """Returns a small OME-TIFF file whose XML claims other sizes: SizeX="30" SizeY="20" and one plane if not given."""
    sizes = {"SizeX": 30, "SizeY": 20, "SizeC": 1, "SizeZ": 1, "SizeT": 1} | sizes
    text = OME.format(order=order, first=first, sizes=" ".join(f'{name}="{size}"' for name, size in sizes.items()))
    return tiff(GREY, description=text.encode(), metadata=None)


def _page(width: int, length: int, *entries: Entry) -> list[Entry]:
    plain = [(258, SHORT, 1, 8), (259, SHORT, 1, 1), (262, SHORT, 1, 1)]
    return sorted([(256, LONG, 1, width), (257, LONG, 1, length), *plain, *entries])


def _strips(rows: int, offsets: int, counts: int) -> list[Entry]:
    """Returns a page of one column whose strips of one row are named by two tables."""
    return _page(1, rows, (273, LONG, rows, offsets), (278, LONG, 1, 1), (279, LONG, rows, counts))


def _directory(entries: list[Entry], following: int) -> bytes:
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + packed + struct.pack("<I", following)


def _chain(entries: list[Entry], pages: int, first: int) -> bytes:
    """Returns some equal pages; the first stands at an offset."""
    size = len(_directory(entries, 0))
    ends = [first + size * (page + 1) for page in range(pages - 1)]
    return b"".join(_directory(entries, following) for following in [*ends, 0])


def _tables(strips: int) -> bytes:
    return struct.pack("<I", 8) * strips + struct.pack("<I", 1) * strips


def pages_of_strips(pages: int, strips: int) -> bytes:
    """Returns a TIFF file whose pages share two tables, the offsets and the sizes of their strips."""
    first = 8 + 8 * strips
    pages_ = _chain(_strips(strips, 8, 8 + 4 * strips), pages, first)
    return struct.pack("<2sHI", b"II", 42, first) + _tables(strips) + pages_


def smaller_copies(copies: int, strips: int, pages: int = 1) -> bytes:
    """Returns a TIFF file whose pages name the same smaller copy (SubIFD), of many strips, many times."""
    below = 8 + 8 * strips
    copy = _directory(_strips(strips, 8, 8 + 4 * strips), 0)
    pointers = below + len(copy)
    first = pointers + 4 * copies
    entries = [(273, LONG, 1, 8), (278, LONG, 1, 4), (279, LONG, 1, 16), (330, LONG, copies, pointers)]
    chain = _chain(_page(4, 4, *entries), pages, first)
    return struct.pack("<2sHI", b"II", 42, first) + _tables(strips) + copy + struct.pack("<I", below) * copies + chain


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Returns a chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(*chunks: bytes, width: int = 30, height: int = 20) -> bytes:
    """Returns a grey PNG file with chunks in front of its pixels."""
    head = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = zlib.compress(bytes((width + 1) * height), 9)
    return head + b"".join(chunks) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def png_texts(kind: bytes, count: int, unpacked: int) -> bytes:
    """Returns a PNG file with many compressed texts."""
    packed = zlib.compress(b"a" * unpacked, 9)
    content = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind] + packed
    return png_with(png_chunk(kind, content) * count)


def progressive_jpeg(side: int, scans: int) -> bytes:
    """Returns a progressive JPEG file whose last scan occurs many times."""
    _, encoded = cv2.imencode(".jpg", np.zeros((side, side), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    data = encoded.tobytes()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def jpeg_in_tiff(side: int, scans: int) -> bytes:
    """Returns a TIFF file with one strip, a progressive JPEG stream."""
    packed = progressive_jpeg(side, scans)
    packed += bytes(len(packed) % 2)
    place = [(273, LONG, 1, 8), (278, LONG, 1, side), (279, LONG, 1, len(packed))]
    page = [(256, LONG, 1, side), (257, LONG, 1, side), (258, SHORT, 1, 8), (259, SHORT, 1, 7), (262, SHORT, 1, 1)]
    return struct.pack("<2sHI", b"II", 42, 8 + len(packed)) + packed + _directory([*page, *place], 0)


def lzma_dictionary(size: int) -> bytes:
    """Returns a TIFF file with one strip of LZMA whose dictionary is large."""
    packed = lzma.compress(GREY.tobytes(), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": size, "preset": 0}])
    packed += bytes(len(packed) % 2)
    place = [(273, LONG, 1, 8), (278, LONG, 1, 20), (279, LONG, 1, len(packed))]
    page = [(256, LONG, 1, 30), (257, LONG, 1, 20), (258, SHORT, 1, 16), (259, SHORT, 1, 34925), (262, SHORT, 1, 1)]
    return struct.pack("<2sHI", b"II", 42, 8 + len(packed)) + packed + _directory([*page, *place], 0)


def zeros(compression: str, dtype: str = "u1", planes: int = 1, **options: object) -> bytes:
    """Returns a TIFF file of zeros, with the most pixels per plane that a gateway takes."""
    shape = (8192, 8192) if planes == 1 else (planes, 8192, 8192)
    return tiff(np.zeros(shape, dtype), compression=compression, **options)


def png_zeros(samples: int) -> bytes:
    """Returns a PNG file of zeros, 16 bits per sample."""
    return bytes(imagecodecs.png_encode(np.zeros((8192, 8192, samples), np.uint16)))


COUNT = 700_000_000
FILES: dict[str, Callable[[], bytes]] = {
    "OME-XML, SizeT": lambda: ome_claims(SizeT=COUNT),
    "OME-XML, SizeX and SizeY": lambda: ome_claims(SizeX=600_000, SizeY=COUNT // 1000),
    "OME-XML, sizes below zero": lambda: ome_claims(SizeX=-600_000, SizeY=-COUNT // 1000),
    "OME-XML, an axis of another name": lambda: ome_claims("XYCZQ", SizeQ=COUNT),
    "OME-XML, an axis five times": lambda: ome_claims("XYTTTTT", SizeT=60),
    "OME-XML, place of the first plane": lambda: ome_claims("XYCZQ", SizeQ=COUNT, first=f'FirstQ="{COUNT - 1}"'),
    "SCN-XML, channels": lambda: tiff(GREY, description=SCN.encode(), metadata=None),
    "tifffile, shape": lambda: tiff(GREY, description=f'{{"shape": [{COUNT}, 20, 30]}}', metadata=None),
    "ImageJ, images": lambda: tiff(GREY, description=f"ImageJ=1.53\nimages={COUNT}\nframes={COUNT}\n", metadata=None),
    "TIFF, 900 pages of 1,100 strips": lambda: pages_of_strips(900, 1100),
    "TIFF, 40 pages of 26,000 strips": lambda: pages_of_strips(40, 26_000),
    "TIFF, 1 page of 1,000,000 strips": lambda: pages_of_strips(1, 1_000_000),
    "TIFF, 900 smaller copies of 1,100 strips": lambda: smaller_copies(900, 1100),
    "TIFF, 30 times 30 smaller copies of 1,100 strips": lambda: smaller_copies(30, 1100, 30),
    "TIFF, 500,000 rows of one pixel, Deflate": lambda: tiff(
        np.zeros((500_000, 1), np.uint8), compression="zlib", rowsperstrip=1
    ),
    "TIFF, JPEG of 10,000 scans of 2048 x 2048": lambda: jpeg_in_tiff(2048, 10_000),
    "TIFF, LZMA with a dictionary of 1.5 GiB": lambda: lzma_dictionary(1536 << 20),
    "TIFF, 8192 x 8192 zeros, Deflate": lambda: zeros("zlib"),
    "TIFF, 8192 x 8192 zeros, LZW": lambda: zeros("lzw"),
    "TIFF, 4 planes of 16 bits, zeros": lambda: zeros("zlib", "u2", 4, metadata={"axes": "CYX"}, ome=True),
    "TIFF, 4 planes of 16 bits, big-endian": lambda: zeros(
        "zlib", ">u2", 4, metadata={"axes": "CYX"}, ome=True, byteorder=">"
    ),
    "TIFF, double precision": lambda: zeros("zlib", "f8"),
    "TIFF, double precision, one strip": lambda: zeros("zlib", "f8", rowsperstrip=8192),
    "TIFF, 4 planes of 16 bits, one strip each": lambda: zeros(
        "zlib", "u2", 4, metadata={"axes": "CYX"}, ome=True, rowsperstrip=8192
    ),
    "TIFF, whole numbers of 64 bits": lambda: zeros("zlib", "i8"),
    "TIFF, inverted greys of 32 bits": lambda: zeros("zlib", "u4", photometric="miniswhite"),
    "PNG, grey and alpha of 16 bits": lambda: png_zeros(2),
    "PNG, colours and alpha of 16 bits": lambda: png_zeros(4),
    "PNG, 1,000 zTXt of 8 MB": lambda: png_texts(b"zTXt", 1000, 7_900_000),
    "PNG, 1,000 iTXt of 8 MB": lambda: png_texts(b"iTXt", 1000, 7_900_000),
    "PNG, 1,000 iCCP of 8 MB": lambda: png_texts(b"iCCP", 1000, 7_900_000),
    "PNG, 500,000 tEXt": lambda: png_with(png_chunk(b"tEXt", b"k\0") * 500_000),
    "PNG, 8192 x 8192 zeros": lambda: bytes(imagecodecs.png_encode(np.zeros((8192, 8192), np.uint8))),
    "JPEG, 2,000 scans of 4096 x 4096": lambda: progressive_jpeg(4096, 2000),
    "JPEG, 100 scans of 8192 x 8192": lambda: progressive_jpeg(8192, 100),
}
"""Files of the default limits, by what is large in each."""
