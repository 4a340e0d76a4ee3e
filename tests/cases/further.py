"""Files and situations that users of other microscopy programs report: cases 40 to 52."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from . import files
from .doors import Outcome, Service, is_crash, last_line
from .drawings import CELLS, SMALL, SMALL_COUNT, U8, U16, as_dtype
from .right import done, found, refused, says, status, warned
from .rows import NINE, THIRTY, Row, Run, array_row, file_rows, rest


def unusual_pixels() -> Iterator[Row]:
    for what, dtype, low, high in (
        ("half precision", np.float16, 0, 100),
        ("signed 16 bit, as of CT", np.int16, -1000, 2000),
        ("signed 8 bit", np.int8, -120, 120),
        ("unsigned 32 bit, to 4e9", np.uint32, 0, 4e9),
    ):
        image = as_dtype(CELLS, dtype, low=low, high=high)
        yield from file_rows(40, f"{what}, TIFF", "a.tif", files.tiff(image), THIRTY)
        yield array_row(40, f"{what}, array", image, THIRTY)
    zeros = as_dtype(CELLS, np.float32)
    zeros[zeros < 0.04] = -0.0
    yield from file_rows(40, "negative zeros, TIFF", "a.tif", files.tiff(zeros), THIRTY)
    for predictor, code in ((2, ">u2"), (2, ">i4"), (3, ">f4"), (3, ">f2"), (3, "<f8")):
        image = as_dtype(CELLS, np.dtype(code), high=3000)
        data = files.tiff(image, byteorder=code[0], compression="lzw", predictor=predictor)
        yield from file_rows(41, f"TIFF, LZW with predictor {predictor}, {code}", "a.tif", data, THIRTY)
    for bits in (10, 12):
        data = files.packed_tiff(np.minimum(as_dtype(CELLS, np.uint16, high=1000), 1023)[:, :208], bits)
        yield from file_rows(42, f"TIFF of {bits} bits without gaps", "a.tif", data, THIRTY)
    padded = np.minimum(U16, 4095) << 4
    yield from file_rows(42, "TIFF of 12 bits, in the upper bits of 16", "a.tif", files.tiff(padded), THIRTY)
    chunks = [(b"gAMA", (45455).to_bytes(4)), (b"sBIT", b"\x0c"), (b"sRGB", b"\0")]
    for chunk in chunks:
        yield from file_rows(43, f"PNG of 16 bits with {chunk[0].decode()}", "a.png", files.png_16(U16, chunk), THIRTY)
    yield from file_rows(43, "PNG, interlaced", "a.png", files.interlaced_png(U8), THIRTY)


def unknown_pixels() -> Iterator[Row]:
    frame = as_dtype(CELLS, np.float32)
    lost = refused("PIXELS_NOT_FINITE", "NaN", "replace")
    for what, value in (("NaN", np.nan), ("the lowest number as no data", np.finfo(np.float32).min)):
        frame[:, :9] = value
        yield from file_rows(44, f"a border of {what}, TIFF", "a.tif", files.tiff(frame), lost)
        yield array_row(44, f"a border of {what}, array", frame, lost)
    sparse = files.without_tile(files.tiff(U16, tile=(64, 64)))
    hole = warned("tiles_missing") | refused("IMAGE_UNDECODABLE", "missing")
    yield from file_rows(45, "TIFF with a tile left out", "a.tif", sparse, hole)
    floats = files.without_tag(files.tiff(as_dtype(CELLS, np.float32, low=1, high=9)), 339)
    yield from file_rows(46, "TIFF, single precision that the tags do not name", "a.tif", floats, THIRTY)


def planes() -> Iterator[Row]:
    stopped = refused("IMAGE_UNDECODABLE", "planes that it describes are not there")
    for claim in ({"SizeC": 3}, {"SizeT": 10}):
        data = files.ome_tiff(U16, **claim)
        yield from file_rows(47, f"OME-TIFF of one page that claims {claim}", "a.tif", data, stopped)
    frames = files.tiff(U16, metadata=None, description="ImageJ=1.53t\nimages=5\nframes=5\n")
    yield from file_rows(47, "ImageJ, one page that claims five frames", "a.tif", frames, stopped)
    for what, data in (
        ("a colour table", files.tiff(U8, imagej=True, metadata={"LUTs": [_ramp(0, 1, 0)]})),
        ("a grey table, 16 bit", files.tiff(U16, imagej=True, metadata={"LUTs": [_ramp(1, 1, 1)]})),
    ):
        yield from file_rows(48, f"ImageJ, one page, {what}", "a.tif", data, THIRTY)
    pair = np.dstack([U16, U16])
    unnamed = refused("AXES_UNKNOWN", "YXC")
    yield from file_rows(49, "two channels last, without names", "a.tif", files.tiff(pair, metadata=None), unnamed)
    yield array_row(49, "two channels last, without names, array", pair, unnamed)
    yield array_row(49, "two channels last, named, array", pair, THIRTY, "YXC")
    codec = refused("IMAGE_UNDECODABLE", "compressed with")
    for name in ("jpeg2000", "webp", "jpegxr"):
        data = files.tiff(np.dstack([U8] * 3), compression=name, tile=(64, 64))
        yield from file_rows(50, f"TIFF compressed with {name}", "a.tif", data, codec)


def _ramp(*colours: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.outer(colours, np.arange(256)).astype(np.uint8)


def surroundings() -> Iterator[Row]:
    small = files.tiff(SMALL)
    yield Row(51, "standard output closed", "command", NINE & status(0), _shell(">&-"))
    yield Row(51, "standard error closed", "command", NINE & status(0), _shell("2>&-"))
    yield Row(51, "standard input closed", "command", NINE & status(0), _shell("<&-"))
    yield Row(51, "standard output full", "command", status(1) & says("no space"), _shell(">/dev/full"))
    yield Row(51, "a reader that leaves", "command", found(SMALL_COUNT), _shell("| true"))
    blocked = rest({"a.tif": small, "b.tif": small}, folders=["a_cp_masks.tif"])
    yield Row(52, "a folder has the name of a result", "command", done() & status(1), blocked)
    blocked = rest({"a.tif": small, "b.tif": small}, folders=["a_overlay.png"])
    yield Row(52, "a folder has the name of the overlay", "command", done() & status(1), blocked)


def _shell(redirection: str) -> Run:
    """Returns a command whose output goes elsewhere. Its outcome is that of the label image."""

    def run(service: Service, folder: Path) -> Outcome:
        path = folder / "a.tif"
        path.write_bytes(files.tiff(SMALL))
        command = f'"{sys.executable}" -m cellserve segment --diameter 22 --address {service.address} "{path}"'
        finished = subprocess.run(
            ["bash", "-c", f"{command} {redirection}; exit ${{PIPESTATUS[0]}}"], capture_output=True, check=False
        )
        labels = folder / "a_cp_masks.tif"
        return Outcome(
            int(tifffile.imread(labels).max()) if labels.exists() else None,
            message=last_line(finished.stderr),
            crashed=is_crash(finished.stderr),
            status=finished.returncode,
        )

    return run
