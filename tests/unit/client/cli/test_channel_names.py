"""Channels that options name as the image file does."""

from __future__ import annotations

import json
from importlib import metadata

import numpy as np
import pytest
import tifffile
from cellserve import SegmentParams, engines
from cellserve.channel_names import ChannelNames
from cellserve.errors import CellServeError, InvalidRequestError

NAMES = ("DAPI", "Gfp", "GFP", "488")


@pytest.mark.parametrize(
    ("name", "number"), [("DAPI", 0), ("dapi", 0), ("GFP", 2), ("Gfp", 1), ("488", 3)], ids=lambda value: str(value)
)
def test_names_become_numbers(name, number):
    params = SegmentParams(diameter=30, nucleus_channel=1)
    assert ChannelNames(cytoplasm_channel=name).resolved(params, NAMES) == SegmentParams(
        diameter=30, cytoplasm_channel=number, nucleus_channel=1
    )
    assert ChannelNames(nucleus_channel=name).resolved(params, NAMES).nucleus_channel == number


@pytest.mark.parametrize("number", [-1, 0, 2, 4, 500])
def test_numbers_stay(number):
    params = SegmentParams(cytoplasm_channel=number)
    assert ChannelNames().resolved(params, NAMES) == params
    assert ChannelNames().resolved(params, ()) == params


def test_a_number_that_no_channel_has_can_be_a_name():
    params = SegmentParams(cytoplasm_channel=488, nucleus_channel=1)
    assert ChannelNames().resolved(params, NAMES).cytoplasm_channel == 3
    assert ChannelNames().resolved(params, ("2", "1")).nucleus_channel == 1, "a channel has this number"


@pytest.mark.parametrize(
    ("name", "channels", "message"),
    [
        ("Cy5", NAMES, "no channel of the file has the name 'Cy5' of --nucleus-channel; its channels are 0 'DAPI', 1"),
        ("gfp", NAMES, "2 channels of the file have the name 'gfp'"),
        ("A", ("A", "A"), "2 channels of the file have the name 'A'"),
        ("DAPI", (), "the file does not name its channels, so that --nucleus-channel cannot be 'DAPI'"),
    ],
)
def test_names_that_say_no_channel(name, channels, message):
    with pytest.raises(InvalidRequestError) as caught:
        ChannelNames(nucleus_channel=name).resolved(SegmentParams(), channels)
    assert caught.value.message.startswith(message)
    assert (caught.value.reason, caught.value.metadata["parameter"]) == ("PARAMETER_OUT_OF_RANGE", "nucleus_channel")


@pytest.fixture
def named(tmp_path, image):
    """Two files whose channels have the same names in another order, and one without names."""
    for name, channels in {"a": ["DAPI", "GFP", "RFP"], "b": ["RFP", "DAPI", "GFP"], "none": None}.items():
        described = {} if channels is None else {"Channel": {"Name": channels}}
        pixels = np.stack([image] * 3)
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, ome=True, metadata={"axes": "CYX", **described})
    return tmp_path


def used(requests):
    found = [getattr(request, "segment", request).params for request in requests]
    return sorted((params.cytoplasm_channel, params.nucleus_channel) for params in found)


def test_each_image_says_which_channel_is_meant(run, service, named):
    result = run("segment", named / "a.tif", named / "b.tif", "--cytoplasm-channel", "gfp", "--nucleus-channel", "DAPI")
    assert result.exit_code == 0, result.output
    assert used(service.requests) == [(1, 0), (2, 1)]
    assert "a.tif" in result.stdout
    assert "cells in plane 2 of 3, nuclei in plane 1" in result.stdout


def test_a_name_and_a_number(run, service, named):
    result = run("segment", named / "b.tif", "--cytoplasm-channel", "0", "--nucleus-channel", "DAPI", "--json")
    params = json.loads(result.stdout)["params"]
    assert (params["cytoplasm_channel"], params["nucleus_channel"]) == (0, 1)
    assert used(service.requests) == [(0, 1)]


def test_time_points_of_a_series(run, service, tmp_path, image):
    pixels = np.stack([np.stack([image] * 2)] * 2)
    metadata = {"axes": "TCYX", "Channel": {"Name": ["GFP", "DAPI"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, ome=True, metadata=metadata)
    result = run("segment", tmp_path / "a.ome.tif", "--cytoplasm-channel", "GFP", "--nucleus-channel", "DAPI")
    assert result.exit_code == 0, result.output
    assert used(service.requests) == [(0, 1), (0, 1)]


def test_diameter_takes_names(run, service, named):
    result = run("diameter", named / "a.tif", "--cytoplasm-channel", "RFP", "--nucleus-channel", "DAPI")
    assert result.exit_code == 0, result.output
    assert used(service.requests) == [(2, 0)]


@pytest.mark.parametrize("command", ["segment", "diameter"])
def test_a_file_without_the_name_fails_alone_and_lists_its_names(run, service, named, command):
    result = run(command, named / "a.tif", named / "none.tif", "--cytoplasm-channel", "Cy5")
    assert result.exit_code == 1
    assert "'Cy5' of --cytoplasm-channel; its channels are 0 'DAPI', 1 'GFP', 2 'RFP'" in result.stderr
    assert "the file does not name its channels" in result.stderr
    assert "give the number of the channel, from 0: --cytoplasm-channel 0" in result.stderr
    assert not service.requests


def test_out_of_range_numbers_are_refused_as_before(run):
    result = run("segment", "a.tif", "--cytoplasm-channel", "70000")
    assert result.exit_code == 2
    assert "--cytoplasm-channel" in result.stderr


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_large_images_are_told_numbers(run, monkeypatch, tmp_path, version):
    zarr = pytest.importorskip("zarr")
    store = tmp_path / "image.zarr"
    axes = [{"name": letter, "type": "space"} for letter in "cyx"]
    scale = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    multiscales = {
        "version": version,
        "axes": axes,
        "datasets": [{"path": "0", "coordinateTransformations": scale}],
    }
    described = {"multiscales": [multiscales], "omero": {"channels": [{"label": "GFP"}, {"label": "DAPI"}]}}
    group = zarr.open_group(store, mode="w", zarr_format=2 if version == "0.4" else 3)
    group.create_array("0", data=np.zeros((2, 20, 30), np.uint16))
    group.attrs.update(described if version == "0.4" else {"ome": {"version": version, **described}})
    told = []

    def engine(source, out, params, **options):
        told.append(params)
        raise CellServeError("the test ends here")

    class Entry:
        def load(self):
            return engine

    monkeypatch.setattr(metadata, "entry_points", lambda group: [Entry()] if group == engines.GROUP else [])
    assert "the test ends here" in run("segment", store, "--nucleus-channel", "dapi").stderr
    assert told == [SegmentParams(nucleus_channel=1)]
    assert "no channel of the file has the name 'Cy5'" in run("segment", store, "--nucleus-channel", "Cy5").stderr
    assert len(told) == 1
