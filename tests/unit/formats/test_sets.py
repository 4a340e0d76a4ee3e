"""OME-TIFF images that are spread over several files, and files of several images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cellserve_formats import ImageError, PixelSize, read_image

from .samples import GREY, tiff

PLANES = [GREY, GREY[::-1].copy(), GREY[:, ::-1].copy()]
NAMES = [f"cells_C{number}.ome.tif" for number in range(3)]
UUIDS = [f"urn:uuid:00000000-0000-0000-0000-00000000000{number}" for number in range(3)]


def plane(number: int, named: bool = True, **first: int) -> str:
    """TiffData of one plane: page 0 of the file of that number."""
    place = f'<UUID FileName="{NAMES[number]}">{UUIDS[number]}</UUID>' if named else ""
    at = " ".join(f'First{axis}="{value}"' for axis, value in first.items())
    return f'<TiffData IFD="0" PlaneCount="1" {at}>{place}</TiffData>'


def image(data: str, channels: int = 1, name: str = "cells", size: float = 0.5) -> str:
    return (
        f'<Image ID="Image:0" Name="{name}"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="30" '
        f'SizeY="20" SizeC="{channels}" SizeZ="1" SizeT="1" PhysicalSizeX="{size}" PhysicalSizeY="{size}">'
        f"{data}</Pixels></Image>"
    )


def document(content: str, uuid: str | None) -> str:
    known = f'UUID="{uuid}"' if uuid else ""
    space = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    return f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{space}" {known}>{content}</OME>'


def write(folder: Path, number: int, content: str, name: str | None = None, uuid: str | None = "own") -> Path:
    """Writes the file of a number, with one plane."""
    path = folder / (name or NAMES[number])
    text = document(content, UUIDS[number] if uuid == "own" else uuid)
    path.write_bytes(tiff(PLANES[number], description=text.encode(), metadata=None))
    return path


CHANNELS = image("".join(plane(number, C=number) for number in range(3)), channels=3)


def refused(source: bytes | Path, **options: object) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read_image(source, **options)
    return caught.value


@pytest.mark.parametrize("uuid", ["own", None])
@pytest.mark.parametrize("first", [0, 2])
def test_the_other_files_of_an_image_are_read(tmp_path, first, uuid):
    paths = [write(tmp_path, number, CHANNELS, uuid=uuid) for number in range(3)]
    found = read_image(paths[first], stacks=False)
    assert (found.axes, found.pixel_size, found.name) == ("CYX", PixelSize(0.5, 0.5), NAMES[first])
    np.testing.assert_array_equal(found.pixels, PLANES)


@pytest.mark.parametrize("uuid", ["own", None])
def test_missing_files_are_named(tmp_path, uuid):
    path = write(tmp_path, 1, CHANNELS, uuid=uuid)
    write(tmp_path, 0, CHANNELS)
    error = refused(path)
    assert error.reason == "IMAGE_UNDECODABLE"
    assert f"{NAMES[2]} is missing; put it into the same folder" in error.message
    assert error.metadata == {"missing": NAMES[2]}
    error = refused(path.read_bytes())
    assert "did not come with this one; segment it by the path" in error.message
    assert set(error.metadata["missing"].split(", ")) >= {NAMES[0], NAMES[2]}


def test_a_renamed_file_of_a_set_is_still_itself(tmp_path):
    for number in (0, 2):
        write(tmp_path, number, CHANNELS)
    np.testing.assert_array_equal(read_image(write(tmp_path, 1, CHANNELS, "renamed.tif")).pixels, PLANES)


@pytest.mark.parametrize("uuid", ["own", None])
def test_a_file_that_names_only_itself_is_whole(tmp_path, uuid):
    path = write(tmp_path, 1, image(plane(1)), "renamed.tif", uuid)
    for source in (path, path.read_bytes()):
        np.testing.assert_array_equal(read_image(source).pixels, PLANES[1])


def test_images_whose_planes_are_all_in_other_files_do_not_count(tmp_path):
    positions = "".join(image(plane(number), name=f"position {number}") for number in range(3))
    for number in range(3):
        path = write(tmp_path, number, positions)
        for source in (path, path.read_bytes()):
            np.testing.assert_array_equal(read_image(source).pixels, PLANES[number])


@pytest.mark.parametrize("as_tiff", [True, False])
def test_a_description_in_another_file(tmp_path, as_tiff):
    """Files of a set can leave the description to one of them, or to a file of its own."""
    master = NAMES[0] if as_tiff else "cells.companion.ome"
    pointer = f'<BinaryOnly MetadataFile="{master}" UUID="{UUIDS[0]}"/>'
    paths = [write(tmp_path, number, pointer) for number in range(3)]
    error = refused(paths[1].read_bytes())
    assert error.metadata == {"missing": master}
    if as_tiff:
        # The file with the description does not say where its own plane is.
        write(tmp_path, 0, image(plane(0, named=False, C=0) + plane(1, C=1) + plane(2, C=2), channels=3))
    else:
        assert refused(paths[1]).metadata == {"missing": master}
        (tmp_path / master).write_text(document(CHANNELS, None))
    for path in paths:
        np.testing.assert_array_equal(read_image(path).pixels, PLANES)


def test_descriptions_that_lead_nowhere(tmp_path):
    pointer = f'<BinaryOnly MetadataFile="{NAMES[0]}" UUID="{UUIDS[0]}"/>'
    write(tmp_path, 0, pointer)
    assert "does not describe the set" in refused(write(tmp_path, 1, pointer)).message


def several(tmp_path: Path) -> Path:
    first, second = image(plane(0, named=False), name="left"), image(plane(0, named=False), name="right", size=0.25)
    return write(tmp_path, 0, first + second)


def test_one_of_several_images_is_chosen(tmp_path):
    path = several(tmp_path)
    error = refused(path)
    assert (error.reason, error.metadata) == ("IMAGE_UNKNOWN", {"available": 2})
    assert "2 images (0: 20 Y x 30 X uint16 'left'; 1: 20 Y x 30 X uint16 'right'); choose one" in error.message
    for source in (path, path.read_bytes()):
        assert read_image(source, series=0).pixel_size == PixelSize(0.5, 0.5)
        assert read_image(source, series=1).pixel_size == PixelSize(0.25, 0.25)
        assert refused(source, series=2).reason == "IMAGE_UNKNOWN"


def test_many_images_are_counted_not_listed(tmp_path):
    images = "".join(image(plane(0, named=False), name=f"well {number}") for number in range(96))
    message = refused(write(tmp_path, 0, images)).message
    assert "96 images" in message
    assert "and 86 more" in message
    assert "well 10" not in message
