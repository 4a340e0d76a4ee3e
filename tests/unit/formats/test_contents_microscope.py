"""Positions and time points of microscopes' own formats, by bioio; a file of Zeiss that is made here."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from cellserve_contract.extras import MissingExtraError
from cellserve_formats import ImageError, Limits, PixelSize
from cellserve_formats.contents import PLUGINS, open_images

from .samples import tiff

czi = pytest.importorskip("pylibCZIrw.czi")
pytest.importorskip("bioio_czi")

RNG = np.random.default_rng(3)
PIXELS = RNG.integers(0, 4000, (2, 3, 2, 40, 50), np.uint16)  # scene, time point, channel, y, x
SCENES = "<Dimensions><S><Scenes>{}</Scenes></S>"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("czi") / "cells.czi"
    with czi.create_czi(str(file)) as writer:
        for scene, point, channel in np.ndindex(PIXELS.shape[:3]):
            plane = {"T": point, "C": channel, "Z": 0}
            pixels = PIXELS[scene, point, channel][..., np.newaxis]
            writer.write(pixels, plane=plane, scene=scene, location=(200 * scene, 0))
        writer.write_metadata("cells", channel_names={0: "DAPI", 1: "GFP"}, scale_x=0.25e-6, scale_y=0.5e-6)
    # The writer does not list the scenes in the metadata, as microscopes do.
    with czi.edit_czi(str(file)) as editor, editor.edit_session() as metadata:
        scenes = "".join(f'<Scene Index="{index}" Name="P{index + 1}"/>' for index in range(2))
        metadata.set_xml(metadata.get_xml().replace("<Dimensions>", SCENES.format(scenes), 1))
    return file


def test_scenes_channels_and_time_points(path):
    with open_images(path) as file:
        assert file.files == (path,)
        assert [(position.number, position.name) for position in file.positions] == [(0, "P1"), (1, "P2")]
        for position in reversed(file.positions):
            assert (position.axes, position.shape, position.dtype) == ("TCYX", (3, 2, 40, 50), np.uint16)
            assert (position.channels, position.time_points) == (("DAPI", "GFP"), 3)
            assert (position.pixel_size, position.folder) == (PixelSize(0.5, 0.25), None)
            for number in (2, 0, 1):
                found = file.read(position, number)
                assert (found.axes, found.name, found.channels) == ("CYX", "cells.czi", ("DAPI", "GFP"))
                assert (found.pixels.dtype, found.pixel_size) == (np.uint16, PixelSize(0.5, 0.25))
                np.testing.assert_array_equal(found.pixels, PIXELS[position.number, number])


def test_limits_hold_for_a_time_point(path):
    size = PIXELS[0, 0].nbytes
    with open_images(path, limits=Limits(bytes=size)) as file:
        np.testing.assert_array_equal(file.read(1, 2).pixels, PIXELS[1, 2])
    with open_images(path, limits=Limits(bytes=size - 1)) as file, pytest.raises(ImageError) as caught:
        file.read(1, 2)
    assert caught.value.reason == "IMAGE_TOO_LARGE"
    with pytest.raises(ImageError, match="2 images; the limit is 1"):
        open_images(path, limits=Limits(pages=1))


def test_a_colour_image(tmp_path):
    colours = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    with czi.create_czi(str(tmp_path / "a.czi")) as writer:
        writer.write(colours[..., ::-1])  # the format stores blue first
        writer.write_metadata("a", channel_names={0: "camera"}, scale_x=0.25e-6, scale_y=0.25e-6)
    with open_images(tmp_path / "a.czi") as file:
        (position,) = file.positions
        found = file.read(position)
    assert (position.axes, position.shape, position.channels) == ("YXS", (20, 30, 3), ())
    assert found.axes == "YXS"
    np.testing.assert_array_equal(found.pixels, colours)


def test_channels_without_names(tmp_path):
    with czi.create_czi(str(tmp_path / "a.czi")) as writer:
        for channel in range(2):
            writer.write(PIXELS[0, 0, channel][..., np.newaxis], plane={"C": channel})
        writer.write_metadata("a", scale_x=0.25e-6, scale_y=0.25e-6)
    with open_images(tmp_path / "a.czi") as file:
        assert file.positions[0].channels == ()
        np.testing.assert_array_equal(file.read(0).pixels, PIXELS[0, 0])


def test_a_file_that_is_cut_off(path, tmp_path):
    (tmp_path / "half.czi").write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ImageError, match="bioio-czi cannot read the file"):
        open_images(tmp_path / "half.czi")


@pytest.mark.parametrize(("ending", "plugin"), PLUGINS.items())
def test_without_bioio_the_message_names_the_plugin(tmp_path, monkeypatch, ending, plugin):
    monkeypatch.setitem(sys.modules, "bioio", None)
    (tmp_path / f"cells{ending.upper()}").write_bytes(tiff(PIXELS[0, 0]))  # .vsi files are TIFF files of a preview
    with pytest.raises(MissingExtraError, match=f"pip install bioio {plugin}$"):
        open_images(tmp_path / f"cells{ending.upper()}")


def test_without_the_plugin_the_message_names_it(tmp_path):
    (tmp_path / "cells.lif").write_bytes(b"\x70\0\0\0")
    with pytest.raises(MissingExtraError, match=r"pip install bioio bioio-lif$"):
        open_images(tmp_path / "cells.lif")


def test_other_files_do_not_need_bioio(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bioio", None)
    (tmp_path / "cells.txt").write_text("no image")
    with pytest.raises(ImageError, match=r"neither TIFF nor PNG nor JPEG.* \.czi, "):
        open_images(tmp_path / "cells.txt")
    with pytest.raises(FileNotFoundError):
        open_images(tmp_path / "missing.czi")
