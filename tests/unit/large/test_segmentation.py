"""Segmentation in blocks against the way of one request."""

import dataclasses
import itertools
import os
import pickle
import subprocess
import sys
from collections import Counter
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from cellserve_contract.params import Normalization, ParameterError, SegmentParams
from cellserve_contract.warnings import WarningKind
from cellserve_formats.lazy import open_image
from cellserve_large import Box, FolderBusyError, LargeError, OtherRunError, maps, pixels, segment, tiles
from cellserve_large.pixels import Channels
from cellserve_preprocess import select_channels

from .networks import SlopeNetworks, segment_in_memory

WORKING_DIAMETER = 15.0
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])}


def blobs(shape, diameter, seed=0, height=2000.0):
    """Soft discs or balls on noise, uint16."""
    rng = np.random.default_rng(seed)
    image = rng.normal(500, 20, shape)
    places = np.indices(shape)
    for corner in np.ndindex(*(max(1, int(length / diameter / 1.2)) for length in shape)):
        centre = rng.normal((np.array(corner) + 0.5) * diameter * 1.2, diameter / 12)
        distance = sum((axis - at) ** 2 for axis, at in zip(places, centre, strict=True))
        image += height * np.exp(-distance / (diameter / 2.5) ** 2)
    return image.clip(0, 65535).astype(np.uint16)


def assert_segmented(folder, image, params, side=None, **options):
    """Segmentation in blocks gives what one request gives; returns the result."""
    axes = "CZYX" if image.ndim == 4 else "CYX"
    labels, objects, warnings = segment_in_memory(image, params, WORKING_DIAMETER)
    found = segment(
        open_image(image, axes=axes),
        params,
        SlopeNetworks(),
        folder,
        working_diameter=WORKING_DIAMETER,
        side=side,
        **options,
    )
    result = found.read(Box.whole(found.grid.shape))
    assert result.dtype == labels.dtype
    np.testing.assert_array_equal(result, labels)
    for name in ("label", "bbox", "centroid", "area", "equivalent_diameter_area", "flow_error"):
        np.testing.assert_array_equal(getattr(found.objects, name), getattr(objects, name), err_msg=name)
    np.testing.assert_allclose(found.objects.mean_probability, objects.mean_probability, rtol=1e-6)
    assert found.warnings == warnings
    return found


@pytest.fixture(params=[(1, 12_000), (4, 100_000)], ids=["small blocks", "larger blocks"])
def blocks(request, monkeypatch):
    """Bounds of blocks that cut even small images."""
    most_tiles, bytes_ = request.param
    monkeypatch.setattr(tiles, "MOST_TILES", most_tiles)
    monkeypatch.setattr(pixels, "BLOCK_BYTES", bytes_)
    monkeypatch.setattr(maps, "BAND_BYTES", bytes_)


def params(diameter, **others):
    return SegmentParams(
        diameter=diameter, **{"cytoplasm_channel": 0, "nucleus_channel": -1, "flow_threshold": 1} | others
    )


@pytest.mark.parametrize(
    ("diameter", "options"),
    [
        (WORKING_DIAMETER, {}),
        (9.0, {"normalization": Normalization(invert=False, low=3, high=98)}),
        (31.0, {"augment": True, "tile_overlap": 0.3}),
    ],
    ids=["at scale", "enlarged", "reduced, augmented"],
)
def test_images(tmp_path, blocks, diameter, options):
    shape = (250, 230) if diameter < 20 else (500, 450)
    found = assert_segmented(tmp_path, blobs(shape, diameter)[np.newaxis], params(diameter, **options), 150)
    assert len(found.objects) > 30
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {"intensities.json", "masks", "result", "run.json", "run.lock", "sums-0.json", "warnings.json"}


def test_two_channels_with_a_border_of_fill(tmp_path, blocks):
    image = np.stack([blobs((230, 220), 15.0, seed) for seed in range(3)])
    image[:, :20], image[:, :, -25:] = 0, 0
    image[:, 100:110, 100:110] = 0
    found = assert_segmented(tmp_path, image, params(15.0, cytoplasm_channel=2, nucleus_channel=0), 120)
    assert len(found.objects) > 30
    assert [kind for kind, _ in found.warnings] == [WarningKind.BORDER_LEFT_OUT] * 2


def test_colours(tmp_path, blocks):
    image = np.stack([blobs((150, 160), 15.0, seed) // 10 for seed in range(3)]).clip(0, 255).astype(np.uint8)
    assert len(assert_segmented(tmp_path, image, params(13.0, cytoplasm_channel=-1), 120).objects) > 30


def test_small_objects_are_recovered_at_the_networks_scale(tmp_path, blocks):
    found = assert_segmented(tmp_path, blobs((90, 110), 5.0)[np.newaxis], params(5.0), 100)
    assert len(found.objects) > 50
    assert found.grid.shape == (90, 110)


@pytest.mark.parametrize("anisotropy", [1.0, 2.5])
def test_volumes(tmp_path, blocks, anisotropy):
    volume = blobs((40, 46, 40), 14.0)
    volume = volume if anisotropy == 1 else volume[1::3]
    options = params(14.0, stack_mode="volume", anisotropy=anisotropy, flow_threshold=0)
    assert len(assert_segmented(tmp_path, volume[np.newaxis], options, 24).objects) > 5


def test_a_volume_of_two_channels_with_fill(tmp_path, blocks):
    volume = np.stack([blobs((18, 50, 44), 13.0, seed) for seed in range(2)])
    volume[:, :, :8] = 0
    options = params(13.0, stack_mode="volume", anisotropy=1.0, nucleus_channel=1, view_smoothing=0.2, flow_threshold=0)
    found = assert_segmented(tmp_path, volume, options, 30)
    assert len(found.objects) > 5
    assert [kind for kind, _ in found.warnings] == [WarningKind.BORDER_LEFT_OUT] * 2


@pytest.mark.parametrize(
    ("image", "facts"),
    [
        (np.full((1, 60, 70), 9, np.uint16), {}),
        (np.random.default_rng(0).integers(0, 9, (1, 60, 70)).astype(np.uint16), {"largest_logit"}),
    ],
    ids=["constant", "noise"],
)
@pytest.mark.parametrize("diameter", [5.0, 15.0])
def test_nothing_is_found(tmp_path, image, facts, diameter):
    options = params(diameter, cellprob_threshold=20)
    found = segment(
        open_image(image, axes="CYX"), options, SlopeNetworks(), tmp_path, working_diameter=WORKING_DIAMETER
    )
    assert not found.read(Box.whole((60, 70))).any()
    kind, told = found.warnings[-1]
    assert (kind, set(told)) == (WarningKind.NOTHING_FOUND, set(facts))


def test_threads_give_the_same_and_tell_of_progress(tmp_path, monkeypatch):
    monkeypatch.setattr(tiles, "MOST_TILES", 1)
    monkeypatch.setattr(pixels, "BLOCK_BYTES", 30_000)
    told = []
    with ThreadPoolExecutor(3) as pool:
        assert_segmented(
            tmp_path,
            blobs((250, 230), 15.0)[np.newaxis],
            params(15.0),
            150,
            executor=pool,
            progress=lambda *what: told.append(what),
        )
    done = [name for name, done, of in told if done == of]
    assert done == ["read", "networks", "follow", "regions", "label", "measure", "finish"]


class Pickling(Executor):
    """Hands everything over as to the worker of a cluster."""

    def __init__(self, threads):
        self.pool = ThreadPoolExecutor(threads)

    def submit(self, function, *arguments):
        function, arguments = pickle.loads(pickle.dumps((function, arguments)))
        return self.pool.submit(function, *arguments)

    def shutdown(self, *args, **options):
        self.pool.shutdown(*args, **options)


@pytest.mark.parametrize("mode", [None, "volume"])
def test_workers_get_copies(tmp_path, mode):
    shape, options = (120, 130), {}
    if mode:
        shape, options = (12, 40, 44), {"stack_mode": mode, "anisotropy": 1.0}
    image = blobs(shape, 13.0)
    zarr.create_array(tmp_path / "a.zarr", data=image, chunks=(5,) * image.ndim)
    with Pickling(2) as executor, open_image(tmp_path / "a.zarr", axes="ZYX"[-image.ndim :]) as stored:
        found = segment(
            stored, params(13.0, **options), SlopeNetworks(), tmp_path / "run", working_diameter=15.0, executor=executor
        )
    labels, _, _ = segment_in_memory(image[np.newaxis], params(13.0, **options), WORKING_DIAMETER)
    assert labels.max() > 3
    np.testing.assert_array_equal(found.read(Box.whole(shape)), labels)


@pytest.mark.parametrize(
    ("axes", "chunks", "channels"),
    [
        ("CZYX", (1, 1, 60, 70), (2, 0)),
        ("ZYXC", (2, 20, 20, 3), (2, 1)),
        ("CZYX", (3, 4, 16, 16), (-1, -1)),
        ("YXS", (25, 16, 3), (-1, 1)),
    ],
)
def test_chunks_are_read_once(monkeypatch, axes, chunks, channels):
    monkeypatch.setattr(pixels, "BLOCK_BYTES", 12_000)
    lengths = {"C": 3, "S": 3, "Z": 9, "Y": 60, "X": 70}
    pixels_ = np.random.default_rng(0).integers(0, 2**16, [lengths[letter] for letter in axes]).astype(np.uint16)
    image = open_image(zarr.create_array({}, data=pixels_, chunks=chunks), axes=axes)
    reads = Counter()
    read = image._source.load

    def counted(region):
        reads.update(
            itertools.product(*(range(p.start // n, -(-p.stop // n)) for p, n in zip(region, chunks, strict=True)))
        )
        return read(region)

    image._source = dataclasses.replace(image._source, load=counted)
    planes = Channels(image, *channels)
    stack = np.transpose(pixels_, [axes.index(letter) for letter in "CSZYX" if letter in axes])
    stack = stack.reshape(3, *planes.shape)
    expected = select_channels(stack, *channels)[: planes.count]
    grid = planes.grid()
    assert len(grid) > 1
    for block in range(len(grid)):
        box = grid.box(block)
        np.testing.assert_array_equal(planes.read(box), expected[:, *box.within(Box.whole(planes.shape))])
    assert set(reads.values()) == {1}


@pytest.mark.parametrize(("channels", "read"), [((-1, -1), 40), ((0, 39), 2), ((3, -1), 1)])
def test_blocks_count_the_bytes_of_all_channels_that_are_read(channels, read):
    stack = np.broadcast_to(np.zeros((), np.uint16), (40, 3000, 4000))
    planes = Channels(open_image(stack, axes="CYX"), *channels)
    grid = planes.grid()
    largest = max(grid.box(block).size for block in range(len(grid)))
    assert largest * read * 2 <= pixels.BLOCK_BYTES < largest * read * 2 * 8


class Refusing:
    """Networks that must not be asked."""

    def run(self, planes, grid):
        raise AssertionError("the networks were asked again")


def test_a_finished_run_is_not_computed_again(tmp_path):
    image = blobs((100, 110), 15.0)[np.newaxis]
    first = assert_segmented(tmp_path, image, params(15.0))
    again = segment(
        open_image(image, axes="CYX"), params(15.0), Refusing(), tmp_path, working_diameter=WORKING_DIAMETER
    )
    np.testing.assert_array_equal(again.read(Box.whole((100, 110))), first.read(Box.whole((100, 110))))
    assert again.warnings == first.warnings


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"params": params(16.0)}, "diameter is 15.0 there and 16.0 here"),
        ({"params": params(15.0, tile_overlap=0.2)}, "tile_overlap is 0.1 there"),
        ({"working_diameter": 17.0}, "working_diameter is 15.0 there"),
        ({"identity": "b"}, "identity is a there and b here"),
        ({"image": open_image(np.ones((60, 71), np.uint8))}, "shape is"),
    ],
)
def test_a_folder_of_another_run_is_refused(tmp_path, changed, message):
    same = {
        "image": open_image(np.ones((60, 70), np.uint8)),
        "params": params(15.0),
        "networks": SlopeNetworks(),
        "working_diameter": 15.0,
        "identity": "a",
    }
    segment(folder=tmp_path, **same)
    with pytest.raises(OtherRunError, match=message):
        segment(folder=tmp_path, **same | changed)


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    image = open_image(blobs((100, 110), 15.0))

    class Curious(SlopeNetworks):
        def run(self, planes, grid):
            with pytest.raises(FolderBusyError, match=f"another run works in the run folder {tmp_path}"):
                segment(image, params(15.0), self, tmp_path, working_diameter=WORKING_DIAMETER)
            return super().run(planes, grid)

    segment(image, params(15.0), Curious(), tmp_path, working_diameter=WORKING_DIAMETER)


@pytest.mark.parametrize(
    ("shape", "axes", "options", "message"),
    [
        ((3, 50, 60), "TYX", {}, "time series"),
        ((3, 2, 50, 60), "SCYX", {}, "channels and colour samples"),
        ((3, 50, 60), "ZYX", {}, "stack mode is None"),
        ((3, 50, 60), "ZYX", {"stack_mode": "stitch", "anisotropy": 1}, "stack mode is stitch"),
        ((50, 60), "YX", {"stack_mode": "volume", "anisotropy": 1}, "is no stack"),
    ],
)
def test_what_is_not_segmented(tmp_path, shape, axes, options, message):
    image = open_image(np.ones(shape, np.uint8), axes=axes)
    with pytest.raises(LargeError, match=message):
        segment(image, params(15.0, **options), SlopeNetworks(), tmp_path, working_diameter=15.0)


def test_a_channel_that_is_not_there(tmp_path):
    image = open_image(np.ones((50, 60), np.uint8))
    with pytest.raises(ParameterError, match="nucleus_channel"):
        segment(image, params(15.0, nucleus_channel=1), SlopeNetworks(), tmp_path, working_diameter=15.0)


def test_a_run_that_is_killed_twice_ends_with_the_same_labels(tmp_path):
    image = blobs((250, 230), 15.0)
    np.save(tmp_path / "image.npy", image)
    script = Path(__file__).with_name("killed_segmentation.py")
    arguments = [tmp_path / "image.npy", tmp_path / "run", tmp_path / "labels.npy"]
    subprocess.run([sys.executable, script, *arguments], env=ENVIRONMENT, check=True, timeout=120)
    labels, _, _ = segment_in_memory(image[np.newaxis], params(15.0), WORKING_DIAMETER)
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), labels)
    assert not list((tmp_path / "run").rglob(".*"))
