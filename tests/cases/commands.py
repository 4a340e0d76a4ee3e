"""Files of the command line, and names: cases 1 to 3 and 12 to 14."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from . import files
from .doors import Outcome, Service
from .drawings import CELLS, SMALL, SMALL_8, SMALL_COUNT
from .right import done, found, says, status
from .rows import AT, NINE, Row, Run, array_row, file_rows, printed, rest, several, together

STRICT = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii:strict"}


def batches() -> Iterator[Row]:
    three = np.stack([SMALL, SMALL // 2, SMALL // 4])
    small = files.tiff(SMALL)
    for what, middle, axes in (
        ("three planes, OME", files.tiff(three, ome=True, metadata={"axes": "CYX"}), {}),
        ("three planes, ImageJ", files.tiff(three, imagej=True, metadata={"axes": "CYX"}), {}),
        ("three planes, plain TIFF", files.tiff(three, photometric="minisblack", metadata=None), {"axes": "CYX"}),
        ("RGB, planes apart", files.tiff(np.stack([SMALL_8] * 3), photometric="rgb", planarconfig="separate"), {}),
    ):
        batch = {"a.tif": small, "b.tif": middle, "c.tif": small, "d.tif": small}
        yield Row(1, f"{what}, among others", "command", found(4 * SMALL_COUNT), several(batch, concurrency=1, **axes))
    yield array_row(1, "three planes, array", three, NINE, "CYX")
    mask = CELLS > 0.3
    for what, name, data in (
        ("one bit, TIFF", "a.tif", files.tiff(mask)),
        ("one bit, PNG", "a.png", files.one_bit_png(mask)),
    ):
        yield Row(2, f"{what}, before another", "command", done(), several({name: data, "b.tif": small}))
        yield from file_rows(2, what, name, data, done())
    yield array_row(2, "booleans, array", mask, done())
    yield Row(2, "an empty file among others", "command", done() & status(1), rest({"a.tif": b"", "b.tif": small}))
    yield Row(2, "text among others", "command", done() & status(1), rest({"a.tif": b"text", "b.tif": small}))
    yield Row(2, "a file that is gone, among others", "command", done() & status(1), rest({"b.tif": small}, "a.tif"))


def names() -> Iterator[Row]:
    small, not_utf8 = files.tiff(SMALL), os.fsdecode(b"cells-\xff.tif")
    for what, name, environment in (
        ("a name that is not UTF-8", not_utf8, STRICT),
        ("a name that is not UTF-8, UTF-8 terminal", not_utf8, {}),
        ("umlauts, strict ASCII terminal", "Z\u00fcge.tif", STRICT),
        ("a name of two lines", "two\nlines.tif", STRICT),
    ):
        both = several({name: small, "other.tif": small}, environment=environment)
        yield Row(3, what, "command", found(2 * SMALL_COUNT), both)
        for words, arguments in (("px", ["diameter"]), ("9 objects", ["segment", "--diameter", "22"])):
            run = printed(*arguments, name=name, data=small, environment=environment)
            yield Row(3, what, f"command, {arguments[0]}", status(0) & says(words), run)
    for name in ("cells:a:.tif", "cells [red]b.tif", "cells :smile:.tif"):
        yield Row(12, name, "command", NINE, several({name: small}))
        for arguments, shown in (
            (["segment", "--diameter", "22"], name.removesuffix(".tif") + "_cp_masks.tif"),
            (["diameter"], name),
        ):
            run = printed(*arguments, name=name, data=small)
            yield Row(12, name, f"command, {arguments[0]}", status(0) & says(shown), run)
    for what, link in (("a symlink and its file", Path.symlink_to), ("a hard link and its file", Path.hardlink_to)):
        yield Row(13, what, "command", found(2 * SMALL_COUNT), _linked(small, link))
    for what, stem in (("a name of 229 bytes", "n" * 225), ("229 bytes in letters of two", "\u00fc" * 112 + "n")):
        yield Row(14, what, "command", NINE, several({f"{stem}.tif": small}))
    twins = {f"{'n' * 250}{letter}.tif": small for letter in "ab"}
    yield Row(
        14, "two names of 255 bytes that differ in the last letter", "command", found(2 * SMALL_COUNT), several(twins)
    )


def _linked(data: bytes, link: Callable[[Path, Path], None]) -> Run:
    """Returns a command for a file and a link to the file."""

    def run(service: Service, folder: Path) -> Outcome:
        (folder / "a.tif").write_bytes(data)
        link(folder / "b.tif", folder / "a.tif")
        return together(service.segment(folder / "a.tif", folder / "b.tif", **AT))

    return run
