"""Positions and time points of TIFF, PNG and JPEG files, and of sets of OME-TIFF files."""

from __future__ import annotations

import io
import os
import threading
import tracemalloc

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_contract.warnings import WarningKind
from cellserve_formats import ImageError, Limits, PixelSize, read_image
from cellserve_formats.contents import open_images

from .samples import ALPHA, COLOUR, GREY, palette_png, patched_tag, tiff
from .test_sets import NAMES, PLANES, image, plane, write

RNG = np.random.default_rng(5)
LENGTHS = {"T": 3, "C": 2, "Z": 4, "Y": 20, "X": 30}


def pixels_of(axes, dtype=np.uint16):
    return RNG.integers(0, 4000, [LENGTHS[letter] for letter in axes], np.uint16).astype(dtype)


def time_point(pixels, axes, number):
    return np.take(pixels, number, axes.index("T")) if "T" in axes else pixels


def check_time_points(path, pixels, axes, given=None):
    """Every time point has its pixels, and no axis T."""
    with open_images(path, axes=given) as file:
        (position,) = file.positions
        assert (position.axes, position.shape, position.dtype) == (axes, pixels.shape, pixels.dtype)
        assert position.time_points == (LENGTHS["T"] if "T" in axes else 1)
        for number in range(position.time_points):
            found = file.read(position, number)
            assert (found.axes, found.pixels.dtype) == (axes.replace("T", ""), pixels.dtype)
            np.testing.assert_array_equal(found.pixels, time_point(pixels, axes, number))


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("axes", ["YX", "TYX", "TCYX", "TZCYX", "CTZYX", "ZTYX"])
def test_time_points_of_ome_tiff(tmp_path, axes, compression):
    pixels = pixels_of(axes)
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, ome=True, metadata={"axes": axes}, compression=compression)
    check_time_points(tmp_path / "a.ome.tif", pixels, axes)


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("axes", ["TYX", "TCYX", "TZYX", "TZCYX"])
def test_time_points_of_imagej(tmp_path, axes, truncated):
    pixels = pixels_of(axes)
    metadata = {"axes": axes, "finterval": 12.5, "unit": "um", "spacing": 2.0}
    options = {"resolution": (2, 4), "truncate": truncated}
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata=metadata, **options)
    check_time_points(tmp_path / "a.tif", pixels, axes)
    with open_images(tmp_path / "a.tif") as file:
        (position,) = file.positions
        found, whole = file.read(position, 1), read_image(tmp_path / "a.tif")
    assert position.pixel_size == found.pixel_size == whole.pixel_size == PixelSize(0.25, 0.5, 2.0)
    assert position.frame_interval_s == found.frame_interval_s == 12.5
    assert found.name == whole.name == "a.tif"


def test_a_word_of_the_caller_names_the_pages(tmp_path):
    pixels = pixels_of("TYX")
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata=None, photometric="minisblack")
    check_time_points(tmp_path / "a.tif", pixels, "TYX", given="TYX")
    with open_images(tmp_path / "a.tif") as file:
        assert (file.positions[0].axes, file.positions[0].time_points) == ("ZYX", 1)


def test_pages_of_several_time_points_are_read_whole_once(tmp_path, monkeypatch):
    pixels = pixels_of("TYX", np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:  # one page of three planes
        file.write(pixels, volumetric=True, tile=(16, 16, 16), photometric="minisblack", metadata={"axes": "TYX"})
    reads = []
    as_array = tifffile.TiffPageSeries.asarray
    monkeypatch.setattr(
        tifffile.TiffPageSeries, "asarray", lambda self, **options: reads.append(1) or as_array(self, **options)
    )
    check_time_points(tmp_path / "a.tif", pixels, "TYX")
    assert len(reads) == 1


def test_only_the_pages_of_a_time_point_are_read(tmp_path):
    pixels = pixels_of("TCYX")
    data = bytearray(tiff(pixels, compression="zlib", ome=True, metadata={"axes": "TCYX"}))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        damaged = file.pages[2]  # the first channel of time point 1
        start, size = damaged.dataoffsets[0], damaged.databytecounts[0]
    data[start : start + size] = b"\xff" * size
    (tmp_path / "a.tif").write_bytes(data)
    with open_images(tmp_path / "a.tif") as opened:
        (position,) = opened.positions
        for number in (0, 2):
            np.testing.assert_array_equal(opened.read(position, number).pixels, pixels[number])
        with pytest.raises(ImageError) as caught:
            opened.read(position, 1)
        assert caught.value.reason == "IMAGE_UNDECODABLE"


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (COLOUR, {"photometric": "rgb"}),
        (np.dstack([COLOUR, ALPHA]), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        (
            np.dstack([GREY, GREY[::-1]]),
            {"photometric": "minisblack", "extrasamples": ["unassalpha"], "planarconfig": 1},
        ),
        (GREY, {"photometric": "miniswhite"}),
        (GREY.astype(np.int32) - 5, {}),
        (GREY.astype(np.float16), {}),
        (GREY > 2000, {}),
        (COLOUR[..., 0], {"photometric": "palette", "colormap": RNG.integers(0, 65536, (3, 256), np.uint16)}),
        (GREY.astype(">u2"), {"byteorder": ">"}),
    ],
)
def test_one_image_is_what_read_image_reads(tmp_path, pixels, options):
    (tmp_path / "a.tif").write_bytes(tiff(pixels, metadata=None, **options))
    whole = read_image(tmp_path / "a.tif")
    with open_images(tmp_path / "a.tif") as file:
        (position,) = file.positions
        found = file.read(position)
    assert (position.axes, position.shape) == (found.axes, found.pixels.shape)
    assert (found.axes, found.pixels.dtype, found.warnings) == (whole.axes, whole.pixels.dtype, whole.warnings)
    assert (found.name, found.pixel_size) == (whole.name, whole.pixel_size)
    np.testing.assert_array_equal(found.pixels, whole.pixels)


def test_files_of_several_images(tmp_path):
    with tifffile.TiffWriter(tmp_path / "plain.tif") as file:
        for pixels in (GREY, pixels_of("CYX"), GREY[:7]):
            file.write(pixels, metadata={"axes": "CYX"[-pixels.ndim :]}, photometric="minisblack")
    with open_images(tmp_path / "plain.tif") as file:
        assert [position.shape for position in file.positions] == [(20, 30), (2, 20, 30), (7, 30)]
        for position in reversed(file.positions):
            whole = read_image(tmp_path / "plain.tif", series=position.number)
            np.testing.assert_array_equal(file.read(position).pixels, whole.pixels)


def positions_tiff(path, count=3):
    stacks = [pixels_of("TCYX") for _ in range(count)]
    with tifffile.TiffWriter(path, ome=True) as file:
        for number, stack in enumerate(stacks):
            names = {"Name": ["DAPI", f"GFP {number}"]}
            metadata = {"axes": "TCYX", "Name": f"B{number}", "Channel": names, "TimeIncrement": 60.0 + number}
            file.write(stack, metadata=metadata, photometric="minisblack")
    return stacks


def test_positions_of_one_ome_tiff(tmp_path):
    stacks = positions_tiff(tmp_path / "a.ome.tif")
    with open_images(tmp_path / "a.ome.tif") as file:
        assert file.files == (tmp_path / "a.ome.tif",)
        assert [position.name for position in file.positions] == ["B0", "B1", "B2"]
        assert [position.channels for position in file.positions] == [("DAPI", f"GFP {n}") for n in range(3)]
        assert [position.frame_interval_s for position in file.positions] == [60.0, 61.0, 62.0]
        for number in (2, 0, 1):
            for at in range(3):
                found = file.read(file.positions[number], at)
                assert found.channels == ("DAPI", f"GFP {number}")
                np.testing.assert_array_equal(found.pixels, stacks[number][at])


@pytest.mark.parametrize("uuid", ["own", None])
def test_every_file_of_a_set_names_the_same_owner(tmp_path, uuid):
    channels = image("".join(plane(number, C=number) for number in range(3)), channels=3)
    paths = [write(tmp_path, number, channels, uuid=uuid) for number in range(3)]
    for path in paths:
        with open_images(path) as file:
            assert file.files == tuple(paths)
            (position,) = file.positions
            assert (position.name, position.axes, position.shape) == ("cells", "CYX", (3, 20, 30))
            np.testing.assert_array_equal(file.read(position).pixels, PLANES)


def test_files_with_a_position_each_are_no_set(tmp_path):
    positions = "".join(image(plane(number), name=f"position {number}") for number in range(3))
    paths = [write(tmp_path, number, positions) for number in range(3)]
    paths[0].unlink()
    for number in (1, 2):
        with open_images(paths[number]) as file:
            assert file.files == (paths[number],)
            assert [position.name for position in file.positions] == [f"position {number}"]
            np.testing.assert_array_equal(file.read(0).pixels, PLANES[number])


def test_positions_that_share_files_are_one_set(tmp_path):
    pairs = [(0, 1), (1, 2)]
    content = "".join(
        image("".join(plane(number, C=at) for at, number in enumerate(pair)), 2, name=f"{pair}") for pair in pairs
    )
    paths = [write(tmp_path, number, content) for number in range(3)]
    for path in paths:
        with open_images(path) as file:
            assert file.files == tuple(paths)
            for pair, position in zip(pairs, file.positions, strict=True):
                assert position.name == f"{pair}"
                np.testing.assert_array_equal(file.read(position).pixels, [PLANES[number] for number in pair])
    paths[2].unlink()
    with open_images(paths[0]) as file:
        np.testing.assert_array_equal(file.read(0).pixels, PLANES[:2])
        assert file.positions[1].error.reason == "IMAGE_UNDECODABLE"
        with pytest.raises(ImageError, match=f"{NAMES[2]} is missing"):
            file.read(1)


def test_a_damaged_position_does_not_hinder_the_others(tmp_path):
    good = image(plane(0), name="good")
    bad = good.replace('SizeX="30"', 'SizeX="31"').replace("good", "bad")
    path = write(tmp_path, 0, bad + good)
    with open_images(path) as file:
        assert [position.name for position in file.positions] == ["bad", "good"]
        assert file.positions[0].error is not None
        with pytest.raises(ImageError):
            file.read(0)
        np.testing.assert_array_equal(file.read(1).pixels, PLANES[0])


def test_positions_are_described_without_their_pixels(tmp_path, monkeypatch):
    positions_tiff(tmp_path / "a.ome.tif", 2)
    for name in ("TiffPage", "TiffPageSeries"):
        monkeypatch.delattr(getattr(tifffile, name), "asarray")
    with open_images(tmp_path / "a.ome.tif") as file:
        assert [position.shape for position in file.positions] == [(3, 2, 20, 30)] * 2


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("grey.png", imagecodecs.png_encode(GREY)),
        ("colour.png", imagecodecs.png_encode(COLOUR)),
        ("alpha.png", imagecodecs.png_encode(np.dstack([COLOUR, ALPHA]))),
        ("grey_alpha.png", imagecodecs.png_encode(np.dstack([ALPHA, ALPHA[::-1]]))),
        ("palette.png", palette_png(ALPHA, RNG.integers(0, 256, (256, 3)))),
        ("grey_palette.png", palette_png(ALPHA, np.repeat(np.arange(256), 3).reshape(256, 3))),
        ("grey.jpg", imagecodecs.jpeg8_encode(ALPHA)),
        ("colour.jpg", imagecodecs.jpeg8_encode(COLOUR)),
    ],
)
def test_png_and_jpeg_are_described_by_their_headers(tmp_path, monkeypatch, name, data):
    (tmp_path / name).write_bytes(data)
    whole = read_image(tmp_path / name)
    with monkeypatch.context() as patched:
        for decoder in ("png_decode", "jpeg8_decode"):
            patched.setattr(imagecodecs, decoder, None)
        file = open_images(tmp_path / name)
    with file:
        (position,) = file.positions
        found = file.read(position)
        assert (position.axes, position.shape, position.dtype) == (whole.axes, whole.pixels.shape, whole.pixels.dtype)
        assert (found.name, found.axes, found.warnings) == (name, whole.axes, whole.warnings)
        np.testing.assert_array_equal(found.pixels, whole.pixels)


def test_limits_hold_for_a_time_point(tmp_path):
    pixels = pixels_of("TCYX")
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": "TCYX"})
    with open_images(tmp_path / "a.tif", limits=Limits(bytes=pixels[0].nbytes)) as file:
        np.testing.assert_array_equal(file.read(0, 2).pixels, pixels[2])
    with (
        open_images(tmp_path / "a.tif", limits=Limits(bytes=pixels[0].nbytes - 1)) as file,
        pytest.raises(ImageError) as caught,
    ):
        file.read(0, 2)
    assert caught.value.reason == "IMAGE_TOO_LARGE"
    with pytest.raises(ImageError) as caught:
        open_images(tmp_path / "a.tif", limits=Limits(pages=5))
    assert caught.value.metadata["resource"] == "pages"


def test_damaged_and_unknown_files(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(GREY)[:-40])
    (tmp_path / "b.txt").write_text("no image")
    (tmp_path / "empty.png").touch()
    for name in ("a.tif", "b.txt", "empty.png"):
        with pytest.raises(ImageError) as caught, open_images(tmp_path / name) as file:
            file.read(0)
        assert caught.value.reason == "IMAGE_UNDECODABLE"
    with pytest.raises(FileNotFoundError):
        open_images(tmp_path / "missing.tif")
    with pytest.raises(ImageError, match="no Zarr store"):
        open_images(tmp_path)


def test_numbers_that_are_not_there(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY)
    with open_images(tmp_path / "a.tif") as file:
        for number, point in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            with pytest.raises(IndexError):
                file.read(number, point)


def test_a_pipe_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(tiff(GREY),))
    writer.start()
    with open_images(tmp_path / "pipe") as file:
        writer.join()
        np.testing.assert_array_equal(file.read(0).pixels, GREY)


def test_missing_tiles_of_a_time_point_are_counted(tmp_path):
    pixels = pixels_of("TYX")
    data = tiff(pixels, tile=(16, 16), metadata={"axes": "TYX"}, ome=True)
    (tmp_path / "a.tif").write_bytes(without_tile(data, page=1))
    with open_images(tmp_path / "a.tif") as file:
        assert file.read(0, 0).warnings == ()
        ((kind, facts),) = file.read(0, 1).warnings
        assert (kind, facts) == (WarningKind.TILES_MISSING, {"missing": "1", "tiles": "4"})


def without_tile(data, page):
    """Tile 0 of a page is said to be empty."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[page].tags["TileByteCounts"]
    size = {3: 2, 4: 4}[int(tag.dtype)]
    return data[: tag.valueoffset] + b"\0" * size + data[tag.valueoffset + size :]


@pytest.mark.parametrize(("tag", "value"), [(279, 1 << 31), (273, (1 << 32) - 1)])  # StripByteCounts, StripOffsets
def test_strips_that_are_not_in_the_file_take_no_memory(tmp_path, tag, value):
    data = tiff(GREY, compression="zlib", metadata=None, rowsperstrip=20)
    (tmp_path / "a.tif").write_bytes(patched_tag(data, tag, value))
    tracemalloc.start()
    try:
        with open_images(tmp_path / "a.tif") as file, pytest.raises(ImageError, match="not in the file"):
            file.read(0)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
