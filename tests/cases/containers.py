"""Files that say little, too much or half of the truth: cases 4, 8 to 11, 18, 21 and 23."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from . import drawings, files
from .doors import Outcome, Service
from .drawings import CELLS, COUNT, SMALL, SMALL_8, U8, U16, as_dtype
from .right import done, found, refused, sized
from .rows import AT, NINE, THIRTY, Row, Run, file_rows

DAMAGED = refused("IMAGE_UNDECODABLE")
GREY: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}


def palettes() -> Iterator[Row]:
    indices, greys = files.shuffled(U8)
    yield from file_rows(4, "palette of greys, TIFF", "a.tif", files.palette_tiff(indices, greys), THIRTY)
    yield from file_rows(4, "palette of greys, small TIFF", "a.tif", files.palette_tiff(*files.shuffled(SMALL_8)), NINE)
    packed = files.palette_tiff(indices, greys, compression="lzw", tile=(64, 64))
    yield from file_rows(4, "palette of greys, tiled LZW TIFF", "a.tif", packed, THIRTY)
    yield from file_rows(4, "palette of colours, TIFF", "a.tif", files.palette_tiff(*files.coloured(U8)), THIRTY)
    yield from file_rows(4, "palette of greys, PNG", "a.png", files.shuffled_png(U8), THIRTY)


def sets() -> Iterator[Row]:
    names = ["cells_C0.ome.tif", "cells_C1.ome.tif"]
    nuclei = as_dtype(drawings.cells(diameter=drawings.DIAMETER, seed=0) ** 3, np.uint16, high=2500)
    data = dict(zip(names, files.ome_set([U16, nuclei], names), strict=True))

    def command(asked: str, present: list[str]) -> Run:
        def run(service: Service, folder: Path) -> Outcome:
            for name in present:
                (folder / name).write_bytes(data[name])
            return service.segment(folder / asked, **AT)[folder / asked]

        return run

    for name, other in (names, reversed(names)):
        yield Row(8, f"{name} of a whole OME set", "command", THIRTY, command(name, names))
        missing = refused("IMAGE_UNDECODABLE|AXES_UNKNOWN", other)
        yield Row(8, f"{name} without {other}", "command", missing, command(name, [name]))
        yield Row(8, f"{name}, alone", "gRPC, file", missing, lambda s, _, n=name: s.call(data[n], **AT))
        yield Row(8, f"{name}, alone", "HTTP", missing, lambda s, _, n=name: s.post(data[n], **AT))


def damaged() -> Iterator[Row]:
    whole = files.jpeg(SMALL_8, level=95)
    colour = files.jpeg(np.stack([SMALL_8] * 3, axis=-1), level=95)
    for share in (0.5, 0.9, 0.99):
        yield from file_rows(9, f"JPEG, {share:.0%} of it", "a.jpg", whole[: int(len(whole) * share)], DAMAGED)
    yield from file_rows(9, "JPEG in colours, half of it", "a.jpg", colour[: len(colour) // 2], DAMAGED)
    yield from file_rows(9, "JPEG, whole", "a.jpg", whole, NINE)
    for what, name, data in (
        ("PNG", "a.png", files.png(SMALL)),
        ("TIFF", "a.tif", files.tiff(SMALL)),
        ("TIFF, Deflate", "a.tif", files.tiff(SMALL, compression="zlib")),
        ("TIFF, LZW tiles", "a.tif", files.tiff(SMALL, compression="lzw", tile=(32, 32))),
        ("TIFF, JPEG", "a.tif", files.tiff(SMALL_8, compression="jpeg", rowsperstrip=16)),
    ):
        yield from file_rows(9, f"{what}, 70 % of it", name, data[: int(len(data) * 0.7)], DAMAGED)
    jpeg_strips = files.tiff(SMALL_8, compression="jpeg", rowsperstrip=SMALL_8.shape[0])
    start = jpeg_strips.index(b"\xff\xd8")
    gone = jpeg_strips[: start + 900] + bytes(len(jpeg_strips) - start - 900)
    yield from file_rows(9, "TIFF, JPEG strip with a lost end", "a.tif", gone, DAMAGED)


def colours() -> Iterator[Row]:
    black = NINE | refused("IMAGE_UNDECODABLE", "CMYK")
    yield from file_rows(10, "JPEG in CMYK, black plane only", "a.jpg", files.black_jpeg(SMALL_8, "CMYK"), black)
    yield from file_rows(10, "JPEG in YCCK, black plane only", "a.jpg", files.black_jpeg(SMALL_8, "YCCK"), black)
    inks = np.stack([np.zeros_like(SMALL_8)] * 3 + [255 - SMALL_8], axis=-1)
    separated = NINE | refused("IMAGE_UNDECODABLE", "SEPARATED")
    yield from file_rows(10, "TIFF in CMYK", "a.tif", files.tiff(inks, photometric="separated"), separated)
    rgb = np.stack([U8 // 3, U8, U8 // 2], axis=-1)
    alpha = np.full(U8.shape, 255, np.uint8)
    half = alpha.copy()
    half[:, : U8.shape[1] // 2] = 128
    seen = found(COUNT, warns="alpha_ignored")
    options: dict[str, Any] = files.EXTRA_SAMPLES
    for what, name, data, right in (
        ("RGBA, TIFF", "a.tif", files.tiff(np.dstack([rgb, half]), **options), seen),
        (
            "RGBA, TIFF, planes apart",
            "a.tif",
            files.tiff(np.moveaxis(np.dstack([rgb, half]), 2, 0), planarconfig="separate", **options),
            seen,
        ),
        ("RGBA, PNG", "a.png", files.png(np.dstack([rgb, half])), seen),
        ("RGBA, PNG, all opaque", "a.png", files.png(np.dstack([rgb, alpha])), THIRTY),
        ("grey and alpha, PNG", "a.png", files.png(np.dstack([U8, half])), seen),
        ("grey and alpha, TIFF", "a.tif", files.tiff(np.dstack([U8, half]), extrasamples=["unassalpha"], **GREY), seen),
    ):
        yield from file_rows(11, what, name, data, right)


def sizes() -> Iterator[Row]:
    size = 0.325
    per_micrometre, per_centimetre = (1 / size, 1 / size), (1e4 / size, 1e4 / size)
    for what, data in (
        ("ImageJ", files.tiff(U16, imagej=True, resolution=per_micrometre, metadata={"unit": "um"})),
        ("ImageJ, micron", files.tiff(U16, imagej=True, resolution=per_micrometre, metadata={"unit": "micron"})),
        ("TIFF tags", files.tiff(U16, resolution=per_centimetre, resolutionunit="CENTIMETER")),
        (
            "OME-TIFF",
            files.tiff(U16, ome=True, metadata={"axes": "YX", "PhysicalSizeX": 325, "PhysicalSizeXUnit": "nm",
                                                "PhysicalSizeY": 325, "PhysicalSizeYUnit": "nm"}),
        ),
    ):  # fmt: skip
        for row in file_rows(18, f"pixels of {size} um, {what}", "a.tif", data, THIRTY & sized(size)):
            yield row if row.door != "gRPC, file" else replace(row, right=THIRTY)


def several_images() -> Iterator[Row]:
    two = refused("AXES_UNKNOWN|IMAGE_UNKNOWN|SERIES_UNKNOWN", "2 images", "series")
    for what, data in (
        ("OME", files.images_tiff([U16, U16], ome=True)),
        ("two sizes", files.images_tiff([U16, SMALL])),
        ("two types", files.images_tiff([U16, U8])),
    ):
        yield from file_rows(21, f"two images, {what}", "a.tif", data, two)
        yield from file_rows(21, f"two images, {what}, the first chosen", "a.tif", data, THIRTY, series=0, **AT)


def views() -> Iterator[Row]:
    turned = found(COUNT, warns="orientation_ignored")
    for orientation in (3, 6):
        data = files.oriented_jpeg(U8, orientation)
        yield from file_rows(23, f"JPEG with orientation {orientation}", "a.jpg", data, turned)
        tag = [(files.ORIENTATION, "H", 1, orientation, True)]
        yield from file_rows(23, f"TIFF with orientation {orientation}", "a.tif", files.tiff(U8, extratags=tag), turned)
    upright = files.oriented_jpeg(U8, 1)
    yield from file_rows(23, "JPEG with orientation 1", "a.jpg", upright, THIRTY)
    for what, pixels in (("8 bit", 255 - U8), ("16 bit", 65535 - U16), ("one bit", CELLS < 0.3)):
        data = files.tiff(pixels, photometric="miniswhite")
        yield from file_rows(
            23, f"TIFF in which 0 is white, {what}", "a.tif", data, THIRTY if what != "one bit" else done()
        )
