"""Intensities and sizes out of the ordinary: cases 5 to 7, 19, 20 and 22."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from . import drawings, files
from .drawings import CELLS, SMALL, U16, as_dtype
from .right import done, found, near, refused, says, status, warned, within
from .rows import THIRTY, Row, array_row, file_rows, printed


def values() -> Iterator[Row]:
    for what, dtype, low, high in (
        ("single precision, 0 to .0005", np.float32, 0, 5e-4),
        ("double precision, 0 to 1e-12", np.float64, 0, 1e-12),
        ("single precision, -1e-5 to 0", np.float32, -1e-5, 0),
        ("single precision, to 1e20", np.float32, 0, 1e20),
    ):
        image = as_dtype(CELLS, dtype, low=low, high=high)
        yield from file_rows(5, f"{what}, TIFF", "a.tif", files.tiff(image), THIRTY)
        yield array_row(5, f"{what}, array", image, THIRTY)
    for what, dtype, low in (
        ("double precision, 1e9 + 0 to 20", np.float64, 1e9),
        ("unsigned 32 bit, 4e9 + 0 to 2000", np.uint32, 4e9),
        ("signed 32 bit, -2e9 + 0 to 2000", np.int32, -2e9),
        ("unsigned 64 bit, 1e12 + 0 to 2000", np.uint64, 1e12),
    ):
        image = as_dtype(CELLS, dtype, low=low, high=low + (20 if dtype is np.float64 else 2000))
        yield from file_rows(6, f"{what}, TIFF", "a.tif", files.tiff(image), THIRTY)
        yield array_row(6, f"{what}, array", image, THIRTY)
    one = found(1) | warned("percentiles_equal")
    for dtype in (np.uint8, np.uint16, np.float32):
        image = drawings.one_on_zero(dtype=dtype)
        yield from file_rows(
            7, f"a cell on exact zeros, {np.dtype(dtype)}", "a.tif", files.tiff(image), one, diameter=12
        )
        yield array_row(7, f"a cell on exact zeros, {np.dtype(dtype)}, array", image, one, diameter=12)


def diameters() -> Iterator[Row]:
    giant = drawings.giant()
    doubt = ("diameter_uncertain", "diameter_at_limit", "size_untested")
    right = near(140) | warned(*doubt)
    yield from file_rows(19, "one cell of 140 px, no diameter", "a.tif", files.tiff(giant), right, flow_threshold=0.4)
    yield array_row(19, "one cell of 140 px, no diameter, array", giant, right, flow_threshold=0.4)
    for what, image in (
        ("zeros", np.zeros((175, 210), np.uint16)),
        ("one value, 700", np.full((175, 210), 700, np.uint16)),
        ("one value, .1", np.full((175, 210), 0.1)),
    ):
        empty = found(0, warns="constant_plane nothing_found") | found(
            0, warns="constant_plane diameter_uncertain nothing_found"
        )
        yield from file_rows(20, what, "a.tif", files.tiff(image), empty, flow_threshold=0.4)
        yield array_row(20, f"{what}, array", image, empty, flow_threshold=0.4)
        nothing = says("warning", never=("(estimated from the image)",)) & status(0)
        yield Row(20, what, "command, diameter", nothing, printed("diameter", name="a.tif", data=files.tiff(image)))
        nothing = says("warning", "0 objects") & status(0)
        yield Row(20, what, "command, no JSON", nothing, printed("segment", name="a.tif", data=files.tiff(image)))


def edges() -> Iterator[Row]:
    late = refused("DEADLINE_EXCEEDED|WORK_BUDGET_EXCEEDED|IMAGE_TOO_LARGE") & within(3)
    image = SMALL[:96, :96]
    yield Row(
        22,
        "96 px at diameter 1, deadline of 8 s",
        "gRPC, array",
        late,
        lambda s, _: s.call(image, diameter=1, deadline_s=8),
    )
    data = files.tiff(image)
    yield Row(
        22, "96 px at diameter 1, deadline of 8 s", "HTTP", late, lambda s, _: s.post(data, diameter=1, deadline_s=8)
    )
    wide = np.tile(U16, (3, 3))
    for height, width in ((2, 2), (1, 1), (1, 500), (500, 1), (222, 222)):
        thin, what = np.ascontiguousarray(wide[:height, :width]), f"{height} x {width} px"
        yield from file_rows(22, what, "a.tif", files.tiff(thin), done() & within(60))
        yield array_row(22, f"{what}, array", thin, done() & within(60))
