"""The table of cases: inputs on which segmentation services answer wrongly or in silence, and what is right.

Numbers of cases are those of the first collection. Rows of one number are of one kind: other containers, bit depths,
writers and doors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import drawings, files
from .doors import Outcome, Service, is_crash
from .drawings import CELLS, COUNT, SMALL, SMALL_8, SMALL_COUNT, U8, U16, as_dtype
from .right import Right, done, found, near, refused, says, sized, status, warned, within

AT = {"diameter": drawings.DIAMETER}
THIRTY, NINE = found(COUNT), found(SMALL_COUNT)
DAMAGED = refused("IMAGE_UNDECODABLE")
STRICT = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii:strict"}

Run = Callable[[Service, Path], Outcome]


@dataclass(frozen=True)
class Row:
    """One input at one door.

    Attributes:
        case: Number of the case.
        what: The input.
        door: How the input reaches the service.
        right: What is right.
        run: Makes the input in an empty folder, and tells what came.
    """

    case: int
    what: str
    door: str
    right: Right
    run: Run


def rows() -> Iterator[Row]:
    """Yields all rows, in the order of the cases."""
    for group in (
        _batches,
        _names,
        _palettes,
        _values,
        _sets,
        _damaged,
        _colours,
        _sizes,
        _diameters,
        _images,
        _time,
        _views,
    ):
        yield from group()


def _file(case: int, what: str, name: str, data: bytes, right: Right, **params: Any) -> Iterator[Row]:
    """Yields a file at each door. gRPC has no JPEG."""
    params = params or AT

    def command(service: Service, folder: Path) -> Outcome:
        (folder / name).write_bytes(data)
        return service.segment(folder / name, **params)[folder / name]

    yield Row(case, what, "command", right, command)
    if not data.startswith(b"\xff\xd8"):
        yield Row(case, what, "gRPC, file", right, lambda service, _: service.call(data, **params))
    yield Row(case, what, "HTTP", right, lambda service, _: service.post(data, **params))


def _array(case: int, what: str, pixels: NDArray[Any], right: Right, axes: str | None = None, **params: Any) -> Row:
    """Returns an array at the gRPC door."""
    return Row(case, what, "gRPC, array", right, lambda service, _: service.call(pixels, axes, **(params or AT)))


def _several(contents: dict[str, bytes], **params: Any) -> Run:
    """Returns a command for several files. Its outcome has all objects; a file without a result is named."""

    def run(service: Service, folder: Path) -> Outcome:
        for name, data in contents.items():
            (folder / name).write_bytes(data)
        return together(service.segment(*(folder / name for name in contents), **(AT | params)))

    return run


def together(outcomes: dict[Path, Outcome]) -> Outcome:
    """Returns the sum of outcomes; the first one without a result, if there is any."""
    failed = next(((path, o) for path, o in outcomes.items() if o.objects is None), None)
    if failed:
        return replace(failed[1], message=f"{failed[0].name!r}: {failed[1].message}")
    parts = list(outcomes.values())
    kinds = tuple(sorted({kind for part in parts for kind in part.warnings}))
    return replace(parts[0], objects=sum(part.objects or 0 for part in parts), warnings=kinds)


def _printed(*arguments: str, name: str, data: bytes, environment: dict[str, str] | None = None) -> Run:
    """Returns a command for one file. Its outcome is all that was printed."""

    def run(service: Service, folder: Path) -> Outcome:
        (folder / name).write_bytes(data)
        done = service.run(arguments[0], *arguments[1:], folder / name, environment=environment)
        text = " ".join((done.stdout + b" " + done.stderr).decode(errors="replace").split())
        return Outcome(message=text, crashed=is_crash(done.stderr), status=done.returncode)

    return run


def _batches() -> Iterator[Row]:
    three = np.stack([SMALL, SMALL // 2, SMALL // 4])
    small = files.tiff(SMALL)
    for what, middle, axes in (
        ("three planes, OME", files.tiff(three, ome=True, metadata={"axes": "CYX"}), {}),
        ("three planes, ImageJ", files.tiff(three, imagej=True, metadata={"axes": "CYX"}), {}),
        ("three planes, plain TIFF", files.tiff(three, photometric="minisblack", metadata=None), {"axes": "CYX"}),
        ("RGB, planes apart", files.tiff(np.stack([SMALL_8] * 3), photometric="rgb", planarconfig="separate"), {}),
    ):
        batch = {"a.tif": small, "b.tif": middle, "c.tif": small, "d.tif": small}
        yield Row(1, f"{what}, among others", "command", found(4 * SMALL_COUNT), _several(batch, concurrency=1, **axes))
    yield _array(1, "three planes, array", three, NINE, "CYX")
    mask = CELLS > 0.3
    for what, name, data in (
        ("one bit, TIFF", "a.tif", files.tiff(mask)),
        ("one bit, PNG", "a.png", files.one_bit_png(mask)),
    ):
        yield Row(2, f"{what}, before another", "command", done(), _several({name: data, "b.tif": small}))
        yield from _file(2, what, name, data, done())
    yield _array(2, "booleans, array", mask, done())
    yield Row(2, "an empty file among others", "command", done() & status(1), _rest({"a.tif": b"", "b.tif": small}))
    yield Row(2, "text among others", "command", done() & status(1), _rest({"a.tif": b"text", "b.tif": small}))
    yield Row(2, "a file that is gone, among others", "command", done() & status(1), _rest({"b.tif": small}, "a.tif"))


def _rest(contents: dict[str, bytes], *absent: str) -> Run:
    """Returns a command for several files, of which the first one fails. Its outcome is that of the others."""

    def run(service: Service, folder: Path) -> Outcome:
        for name, data in contents.items():
            (folder / name).write_bytes(data)
        outcomes = service.segment(*(folder / name for name in (*absent, *contents)), **AT)
        failed = next(iter(outcomes))
        if not outcomes[failed].reason:
            return outcomes[failed]
        return together({path: outcome for path, outcome in outcomes.items() if path != failed})

    return run


def _names() -> Iterator[Row]:
    small, not_utf8 = files.tiff(SMALL), os.fsdecode(b"cells-\xff.tif")
    for what, name, environment in (
        ("a name that is not UTF-8", not_utf8, STRICT),
        ("a name that is not UTF-8, UTF-8 terminal", not_utf8, {}),
        ("umlauts, strict ASCII terminal", "Z\u00fcge.tif", STRICT),
        ("a name of two lines", "two\nlines.tif", STRICT),
    ):

        def both(
            service: Service, folder: Path, name: str = name, environment: dict[str, str] = environment
        ) -> Outcome:
            paths = [folder / name, folder / "other.tif"]
            for path in paths:
                path.write_bytes(small)
            return together(service.segment(*paths, environment=environment, **AT))

        yield Row(3, what, "command", found(2 * SMALL_COUNT), both)
        plain = status(0) & says("px")
        yield Row(
            3, what, "command, diameter", plain, _printed("diameter", name=name, data=small, environment=environment)
        )
        plain = status(0) & says("9 objects")
        arguments = ("segment", "--diameter", "22")
        yield Row(
            3, what, "command, no JSON", plain, _printed(*arguments, name=name, data=small, environment=environment)
        )
    for name in ("cells:a:.tif", "cells [red]b.tif", "cells :smile:.tif"):
        yield Row(12, name, "command", NINE, _several({name: small}))
        for command in (("segment", "--diameter", "22", "--no-csv", "--no-overlay"), ("diameter",)):
            right = status(0) & says(name if command[0] == "diameter" else name.removesuffix(".tif") + "_cp_masks.tif")
            yield Row(12, name, f"command, {command[0]}", right, _printed(*command, name=name, data=small))
    for what, link in (("a symlink and its file", Path.symlink_to), ("a hard link and its file", Path.hardlink_to)):

        def linked(service: Service, folder: Path, link: Any = link) -> Outcome:
            (folder / "a.tif").write_bytes(small)
            link(folder / "b.tif", folder / "a.tif")
            return together(service.segment(folder / "a.tif", folder / "b.tif", **AT))

        yield Row(13, what, "command", found(2 * SMALL_COUNT), linked)
    long = "n" * 225 + ".tif"
    assert len(long) == 229
    yield Row(14, "a name of 229 bytes", "command", NINE, _several({long: small}))
    yield Row(
        14, "a name of 229 bytes in two-byte letters", "command", NINE, _several({"\u00fc" * 112 + "n.tif": small})
    )
    too_long = "n" * 251 + ".tif"
    right = done() & status(1)
    yield Row(
        14, "a name too long for results, others go on", "command", right, _rest({too_long: small, "b.tif": small})
    )


def _palettes() -> Iterator[Row]:
    indices, greys = files.shuffled(U8)
    yield from _file(4, "palette of greys, TIFF", "a.tif", files.palette_tiff(indices, greys), THIRTY)
    yield from _file(4, "palette of greys, small TIFF", "a.tif", files.palette_tiff(*files.shuffled(SMALL_8)), NINE)
    packed = files.palette_tiff(indices, greys, compression="lzw", tile=(64, 64))
    yield from _file(4, "palette of greys, tiled LZW TIFF", "a.tif", packed, THIRTY)
    yield from _file(4, "palette of colours, TIFF", "a.tif", files.palette_tiff(*files.coloured(U8)), THIRTY)
    yield from _file(4, "palette of greys, PNG", "a.png", files.shuffled_png(U8), THIRTY)


def _values() -> Iterator[Row]:
    for what, dtype, low, high in (
        ("single precision, 0 to .0005", np.float32, 0, 5e-4),
        ("double precision, 0 to 1e-12", np.float64, 0, 1e-12),
        ("single precision, -1e-5 to 0", np.float32, -1e-5, 0),
        ("single precision, to 1e20", np.float32, 0, 1e20),
    ):
        image = as_dtype(CELLS, dtype, low=low, high=high)
        yield from _file(5, f"{what}, TIFF", "a.tif", files.tiff(image), THIRTY)
        yield _array(5, f"{what}, array", image, THIRTY)
    for what, dtype, low in (
        ("double precision, 1e9 + 0 to 20", np.float64, 1e9),
        ("unsigned 32 bit, 4e9 + 0 to 2000", np.uint32, 4e9),
        ("signed 32 bit, -2e9 + 0 to 2000", np.int32, -2e9),
        ("unsigned 64 bit, 1e12 + 0 to 2000", np.uint64, 1e12),
    ):
        image = as_dtype(CELLS, dtype, low=low, high=low + (20 if dtype is np.float64 else 2000))
        yield from _file(6, f"{what}, TIFF", "a.tif", files.tiff(image), THIRTY)
        yield _array(6, f"{what}, array", image, THIRTY)
    one = found(1) | warned("percentiles_equal")
    for dtype in (np.uint8, np.uint16, np.float32):
        image = drawings.one_on_zero(dtype=dtype)
        yield from _file(7, f"a cell on exact zeros, {np.dtype(dtype)}", "a.tif", files.tiff(image), one, diameter=12)
        yield _array(7, f"a cell on exact zeros, {np.dtype(dtype)}, array", image, one, diameter=12)


def _sets() -> Iterator[Row]:
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


def _damaged() -> Iterator[Row]:
    whole = files.jpeg(SMALL_8, level=95)
    colour = files.jpeg(np.stack([SMALL_8] * 3, axis=-1), level=95)
    for share in (0.5, 0.9, 0.99):
        yield from _file(9, f"JPEG, {share:.0%} of it", "a.jpg", whole[: int(len(whole) * share)], DAMAGED)
    yield from _file(9, "JPEG in colours, half of it", "a.jpg", colour[: len(colour) // 2], DAMAGED)
    yield from _file(9, "JPEG, whole", "a.jpg", whole, NINE)
    for what, name, data in (
        ("PNG", "a.png", files.png(SMALL)),
        ("TIFF", "a.tif", files.tiff(SMALL)),
        ("TIFF, Deflate", "a.tif", files.tiff(SMALL, compression="zlib")),
        ("TIFF, LZW tiles", "a.tif", files.tiff(SMALL, compression="lzw", tile=(32, 32))),
        ("TIFF, JPEG", "a.tif", files.tiff(SMALL_8, compression="jpeg", rowsperstrip=16)),
    ):
        yield from _file(9, f"{what}, 70 % of it", name, data[: int(len(data) * 0.7)], DAMAGED)
    jpeg_strips = files.tiff(SMALL_8, compression="jpeg", rowsperstrip=SMALL_8.shape[0])
    start = jpeg_strips.index(b"\xff\xd8")
    gone = jpeg_strips[: start + 900] + bytes(len(jpeg_strips) - start - 900)
    yield from _file(9, "TIFF, JPEG strip with a lost end", "a.tif", gone, DAMAGED)


def _colours() -> Iterator[Row]:
    black = NINE | refused("IMAGE_UNDECODABLE", "CMYK")
    yield from _file(10, "JPEG in CMYK, black plane only", "a.jpg", files.black_jpeg(SMALL_8, "CMYK"), black)
    yield from _file(10, "JPEG in YCCK, black plane only", "a.jpg", files.black_jpeg(SMALL_8, "YCCK"), black)
    inks = np.stack([np.zeros_like(SMALL_8)] * 3 + [255 - SMALL_8], axis=-1)
    separated = NINE | refused("IMAGE_UNDECODABLE", "SEPARATED")
    yield from _file(10, "TIFF in CMYK", "a.tif", files.tiff(inks, photometric="separated"), separated)
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
        yield from _file(11, what, name, data, right)


GREY: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}


def _training() -> Iterator[Row]:
    image = as_dtype(drawings.cells(3, 3, seed=2), np.uint8, high=240)
    labels = drawings.labels_of(3, 3, seed=2)
    numbers = np.append(0, np.random.default_rng(0).permutation(np.arange(1, 256))[:SMALL_COUNT]).astype(np.uint8)
    drawn, colours = numbers[labels], np.random.default_rng(1).integers(0, 256, (256, 3), np.uint8)
    mask = np.where(labels, 255, 0).astype(np.uint8)
    classes = np.where(labels, labels % 2 + 1, 0).astype(np.uint8)
    refusal = status(1) & says("separate objects; give each object a number of its own")
    nine = status(0) & found(SMALL_COUNT)
    for case, what, image_name, labels_name, data, right in (
        (15, "0 and 255, TIFF", "a_img.tif", "a_masks.tif", files.tiff(mask), refusal),
        (15, "0 and 255, PNG", "a_img.tif", "a_masks.png", files.png(mask), refusal),
        (15, "one bit, TIFF", "a_img.tif", "a_masks.tif", files.tiff(mask > 0), refusal),
        (15, "0 and 1, single precision", "a_img.tif", "a_masks.tif", files.tiff(np.float32(mask > 0)), refusal),
        (15, "two classes", "a_img.tif", "a_masks.tif", files.tiff(classes), refusal),
        (15, "numbers in single precision", "a_img.tif", "a_masks.tif", files.tiff(labels.astype(np.float32)), nine),
        (15, "in colours", "a_img.tif", "a_masks.png", files.png(colours[labels]), status(1) & says("3 planes")),
        (15, "JPEG", "a_img.tif", "a_masks.jpg", files.jpeg(drawn), status(1) & says("JPEG changes labels")),
        (15, "another size", "a_img.tif", "a_masks.png", files.png(drawn[1:]), status(1) & says("labels of shape")),
        (15, "one object over all", "a_img.tif", "a_masks.png", files.png(mask | 255), status(1) & says("whole image")),
        (15, "negative", "a_img.tif", "a_masks.tif", files.tiff(labels.astype(np.int32) - 1), status(1) & says("-1")),
        (16, "labels in .TIF", "a_img.tif", "a_masks.TIF", files.tiff(drawn), nine),
        (16, "all in capitals", "A_IMG.TIF", "A_MASKS.PNG", files.png(drawn), nine),
        (16, "image in capitals", "A.TIFF", "a_masks.tif", files.tiff(drawn), nine),
        (16, "OME-TIFF endings", "a_img.ome.tif", "a_masks.ome.tif", files.tiff(drawn), nine),
        (17, "palette, PNG", "a_img.tif", "a_masks.png", files.palette_png(drawn, colours), nine),
        (17, "palette of 4 bits, PNG", "a_img.tif", "a_masks.png", files.palette_png(labels, colours, depth=4), nine),
        (17, "palette, TIFF", "a_img.tif", "a_masks.tif", files.palette_tiff(drawn, colours), nine),
    ):

        def evaluate(
            service: Service,
            folder: Path,
            image_name: str = image_name,
            labels_name: str = labels_name,
            data: bytes = data,
        ) -> Outcome:
            (folder / image_name).write_bytes(files.tiff(image))
            (folder / labels_name).write_bytes(data)
            return service.evaluate(folder)

        yield Row(case, f"labels: {what}", "cellserve-train", right, evaluate)


def _sizes() -> Iterator[Row]:
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
        for row in _file(18, f"pixels of {size} um, {what}", "a.tif", data, THIRTY & sized(size)):
            yield row if row.door != "gRPC, file" else replace(row, right=THIRTY)


def _diameters() -> Iterator[Row]:
    giant = drawings.giant()
    doubt = ("diameter_uncertain", "diameter_at_limit", "size_untested", "nothing_found")
    right = near(140) | warned(*doubt)
    for row in _file(19, "one cell of 140 px, no diameter", "a.tif", files.tiff(giant), right, flow_threshold=0.4):
        yield row
    yield _array(19, "one cell of 140 px, no diameter, array", giant, right, flow_threshold=0.4)
    for what, image in (
        ("zeros", np.zeros((175, 210), np.uint16)),
        ("one value, 700", np.full((175, 210), 700, np.uint16)),
        ("one value, .1", np.full((175, 210), 0.1)),
    ):
        empty = found(0, warns="constant_plane nothing_found") | found(
            0, warns="constant_plane diameter_uncertain nothing_found"
        )
        yield from _file(20, what, "a.tif", files.tiff(image), empty, flow_threshold=0.4)
        yield _array(20, f"{what}, array", image, empty, flow_threshold=0.4)
        nothing = says("warning", never=("(estimated from the image)",)) & status(0)
        yield Row(20, what, "command, diameter", nothing, _printed("diameter", name="a.tif", data=files.tiff(image)))
        nothing = says("warning", "0 objects") & status(0)
        yield Row(20, what, "command, no JSON", nothing, _printed("segment", name="a.tif", data=files.tiff(image)))


def _images() -> Iterator[Row]:
    two = refused("AXES_UNKNOWN|IMAGE_UNKNOWN|SERIES_UNKNOWN", "2 images", "series")
    for what, data in (
        ("OME", files.images_tiff([U16, U16], ome=True)),
        ("two sizes", files.images_tiff([U16, SMALL])),
        ("two types", files.images_tiff([U16, U8])),
    ):
        yield from _file(21, f"two images, {what}", "a.tif", data, two)
        yield from _file(21, f"two images, {what}, the first chosen", "a.tif", data, THIRTY, series=0, **AT)


def _time() -> Iterator[Row]:
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
    for shape in ((2, 2), (1, 1), (1, 500), (500, 1), (222, 222)):
        thin = np.zeros(shape, np.uint16)
        thin[...] = as_dtype(drawings.cells(15, 15, seed=3), np.uint16, high=4000)[: shape[0], : shape[1]]
        yield from _file(22, f"{shape[0]} x {shape[1]} px", "a.tif", files.tiff(thin), done() & within(20))
        yield _array(22, f"{shape[0]} x {shape[1]} px, array", thin, done() & within(20))


def _views() -> Iterator[Row]:
    turned = found(COUNT, warns="orientation_ignored")
    for orientation in (3, 6):
        data = files.oriented_jpeg(U8, orientation)
        yield from _file(23, f"JPEG with orientation {orientation}", "a.jpg", data, turned)
        tag = [(files.ORIENTATION, "H", 1, orientation, True)]
        yield from _file(23, f"TIFF with orientation {orientation}", "a.tif", files.tiff(U8, extratags=tag), turned)
    upright = files.oriented_jpeg(U8, 1)
    yield from _file(23, "JPEG with orientation 1", "a.jpg", upright, THIRTY)
    for what, pixels in (("8 bit", 255 - U8), ("16 bit", 65535 - U16), ("one bit", CELLS < 0.3)):
        data = files.tiff(pixels, photometric="miniswhite")
        yield from _file(
            23, f"TIFF in which 0 is white, {what}", "a.tif", data, THIRTY if what != "one bit" else done()
        )
