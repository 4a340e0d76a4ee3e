"""Names of channels in TIFF files: OME-XML, ImageJ's labels."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tifffile
from cellserve_formats import Image, read_image, time_points
from cellserve_formats.lazy import open_image

from .samples import COLOUR, GREY, tiff

STACK = np.stack([GREY, GREY[::-1]])


def ome(pixels, axes, names, **options):
    return tiff(pixels, ome=True, metadata={"axes": axes, "Channel": {"Name": names}}, **options)


def imagej(pixels, axes, labels):
    return tiff(pixels, imagej=True, metadata={"axes": axes, "Labels": labels})


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (ome(STACK, "CYX", ["DAPI", " GFP \n 488 "]), ("DAPI", "GFP 488")),
        (ome(GREY, "YX", ["DAPI"]), ("DAPI",)),
        (ome(COLOUR, "YXS", ["camera"], photometric="rgb"), ()),
        (tiff(STACK, ome=True, metadata={"axes": "CYX"}), ()),
        (imagej(STACK, "CYX", ["DAPI", "GFP"]), ("DAPI", "GFP")),
        (imagej(np.stack([STACK] * 3), "ZCYX", ["DAPI", "GFP"] * 3), ("DAPI", "GFP")),
        (imagej(np.stack([STACK] * 3), "ZCYX", ["1", "2", "3", "4", "5", "6"]), ()),
        (imagej(STACK, "CYX", ["c:1/2 - cells.lif", "c:2/2 - cells.lif"]), ()),
        (imagej(STACK, "CYX", ["only one"]), ()),
        (imagej(STACK, "ZYX", ["DAPI", "DAPI"]), ()),
        (tiff(STACK, metadata=None, photometric="minisblack"), ()),
    ],
)
def test_names_that_the_file_states(tmp_path, data, names):
    assert read_image(data).channels == names
    (tmp_path / "a.tif").write_bytes(data)
    with open_image(tmp_path / "a.tif") as image:
        assert image.channels == names
        assert pickle.loads(pickle.dumps(image)).channels == names


@pytest.mark.parametrize(
    ("inside", "names"),
    [
        ('<Channel ID="C:0" Name="DAPI"/>', ()),
        ('<Channel ID="C:0" Name="DAPI"/><Channel ID="C:1"/>', ("DAPI", "")),
        ('<Channel ID="C:0"/><Channel ID="C:1"/>', ()),
        ("", ()),
    ],
)
def test_channels_without_a_name(inside, names):
    text = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="30" SizeY="20" SizeC="2" SizeZ="1" '
        'SizeT="1">'
        f'{inside}<TiffData IFD="0" PlaneCount="2"/></Pixels></Image></OME>'
    )
    data = tiff(STACK, description=text.encode(), metadata=None, photometric="minisblack")
    assert read_image(data).channels == names


def test_names_stay_with_time_points_and_pickles():
    image = Image(np.stack([STACK] * 3), "TCYX", channels=("DAPI", "GFP"))
    assert [point.channels for point in time_points(image)] == [("DAPI", "GFP")] * 3
    assert pickle.loads(pickle.dumps(image)).channels == ("DAPI", "GFP")
    assert Image(GREY, "YX").channels == ()


def test_names_of_a_set_of_positions(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        for names in (["DAPI", "GFP"], ["RFP", "Cy5"]):
            file.write(STACK, metadata={"axes": "CYX", "Channel": {"Name": names}}, photometric="minisblack")
    found = [read_image(tmp_path / "a.ome.tif", series=number).channels for number in range(2)]
    assert found == [("DAPI", "GFP"), ("RFP", "Cy5")]
