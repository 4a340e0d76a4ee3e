"""Crops that stand for an image, and the diameter by crops."""

import numpy as np
import pytest
from cellserve_contract.params import SegmentParams
from cellserve_formats.lazy import open_image
from cellserve_large import Connection, Gateways
from cellserve_large.crops import crops, fingerprint
from cellserve_large.diameter import estimate, with_diameter
from cellserve_large.store import Store

from .servers import FAMILY, VERSION, FakeClient, other

PARAMS = SegmentParams(model="generalist", cytoplasm_channel=0, nucleus_channel=-1)


def image(shape, axes):
    return open_image(np.arange(np.prod(shape)).reshape(shape).astype(np.float32), axes=axes)


@pytest.mark.parametrize(
    ("shape", "axes", "count"),
    [
        ((400, 900), "YX", 9),
        ((90, 90), "YX", 1),
        ((250, 900), "YX", 6),
        ((3, 1000, 120), "CYX", 3),
        ((20, 300, 300), "ZYX", 9),
        ((4, 30, 30), "ZYX", 4),
        ((30, 50, 700, 2), "ZYXC", 9),
    ],
)
def test_crops_are_spread_and_do_not_overlap(shape, axes, count):
    found = list(crops(image(shape, axes), 100))
    assert len(found) == count
    seen = np.zeros(shape, np.int8)
    for region in found:
        seen[region] += 1
    assert seen.max() == 1
    sizes = {tuple(part.stop - part.start for part, axis in zip(r, axes, strict=True) if axis in "YX") for r in found}
    assert sizes == {tuple(min(100, n) for n, axis in zip(shape, axes, strict=True) if axis in "YX")}
    if "Z" in axes:
        assert len({region[axes.index("Z")].start for region in found}) == count, "each in a plane of its own"


def test_a_fingerprint_tells_images_apart():
    pixels = np.arange(200 * 300, dtype=np.uint16).reshape(200, 300)
    same, changed = pixels.copy(), pixels.copy()
    changed[100, 150] += 1
    prints = [fingerprint(open_image(array)) for array in (pixels, same, changed, pixels.astype(np.float32))]
    assert prints[0] == prints[1]
    assert prints[2] != prints[0] != prints[3]


def test_the_diameter_is_the_median_of_the_crops_in_which_something_was_found():
    client = FakeClient([20, None, 40, 22, None, 21, 26, 24, 23])
    found = estimate(image((3200, 3200), "YX"), PARAMS, client.estimate_diameter)
    assert (found.diameter, found.crops, found.found) == (23, 9, 7)
    assert str(found).startswith("the diameter is 23.0 px, the median of the estimates from 7 of 9 crops")
    nothing = estimate(image((90, 90), "YX"), PARAMS, FakeClient([None]).estimate_diameter)
    assert (nothing.diameter, nothing.found) == (FAMILY.training_diameter, 0)
    assert "no object was found" in str(nothing)


@pytest.mark.parametrize(
    ("axes", "channels", "sent", "kept"),
    [("YXC", (2, -1), (0, -1), [2]), ("CYX", (2, 0), (0, 1), [2, 0]), ("CYX", (-1, 1), (-1, 1), [0, 1, 2])],
)
def test_crops_have_the_channels_that_are_used(axes, channels, sent, kept):
    whole = image((3, 60, 50) if axes == "CYX" else (60, 50, 3), axes)
    client = FakeClient([20])
    params = SegmentParams(cytoplasm_channel=channels[0], nucleus_channel=channels[1])
    estimate(whole, params, client.estimate_diameter)
    ((crop, asked),) = client.crops
    assert (asked.cytoplasm_channel, asked.nucleus_channel) == sent
    pixels = np.moveaxis(whole.read([slice(None)] * 3), axes.index("C"), 0)
    np.testing.assert_array_equal(crop.pixels, pixels[kept])


def test_a_run_that_goes_on_keeps_its_estimate(tmp_path, monkeypatch):
    client, notes = FakeClient([20, 30]), []
    monkeypatch.setattr(Connection, "client", lambda self: client)
    networks = Gateways(connection=Connection(), ensemble=True, network=VERSION)

    def ask(params=PARAMS, identity=0):
        return with_diameter(
            image((90, 90), "YX"), params, FAMILY, networks, Store(tmp_path), {"image": identity}, notes.append
        )

    assert ask()[:2] == ask()[:2]
    assert (ask()[0].diameter, ask()[1], len(client.crops), len(set(notes))) == (20, "size_model", 1, 1)
    assert ask(identity=1)[0].diameter == 30, "another image has its own"
    stated = SegmentParams(diameter=2.0)
    params, source, ((kind, _),) = ask(stated)
    assert (params, source, kind.name) == (stated, "caller", "SIZE_UNTESTED")


def test_a_family_without_a_size_model_uses_its_training_diameter(tmp_path):
    networks = Gateways(connection=Connection(), ensemble=True, network=VERSION)
    params, source, warnings = with_diameter(
        image((9, 9), "YX"), PARAMS, other(FAMILY, has_size_model=False), networks, Store(tmp_path), {}, print
    )
    assert (params.diameter, source, warnings[0][0].name) == (33, "training_diameter", "DIAMETER_NOT_MEASURED")
