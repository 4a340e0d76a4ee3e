"""`RunNetworks` on real networks (tiny ones): parts that make the whole, and work that nobody waits for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import cellserve
import grpc
import numpy as np
import pytest
from cellserve.networks import networks_request
from cellserve_postprocess import MapSums, to_maps
from cellserve_preprocess import Normalization, TileGrid, normalize, select_channels
from cellserve_proto import v1 as pb

from .messages import error_info


@pytest.fixture(scope="module")
def client(gateway) -> Iterator[cellserve.Client]:
    with cellserve.Client(gateway.address) as client:
        yield client


@pytest.fixture(scope="module")
def pixels(image) -> np.ndarray:
    """Real nuclei, [520, 696]."""
    return image("nuclei_fluorescence")


@pytest.fixture(scope="module")
def planes(pixels) -> np.ndarray:
    """The input of the networks, [2, Y, X]."""
    return normalize(select_channels(pixels[np.newaxis], 0, -1), Normalization()).planes


def joined(client, planes: np.ndarray, grid: TileGrid, side: int) -> np.ndarray:
    """Sums of a plane [2, Y, X], asked for in parts of `side` x `side` tiles."""
    whole = MapSums(grid)
    for row in range(0, len(grid.starts_y), side):
        for column in range(0, len(grid.starts_x), side):
            part = grid.part(grid.rows[row : row + side], grid.columns[column : column + side])
            found = client.run_networks(planes[np.newaxis, :, *part.extent], part)
            whole.join(MapSums(part, found.sums[0]))
    return whole.sums


@pytest.mark.parametrize("augment", [False, True])
def test_parts_make_what_one_request_makes(client, pixels, planes, augment):
    options = {"diameter": 30, "augment": augment}  # the working diameter of the networks
    one = client.segment(pixels, maps_only=True, **options)
    grid = TileGrid.cover(pixels.shape, augment=augment)
    assert len(grid) == one.timing.tiles > 9
    whole = client.run_networks(planes[np.newaxis], grid)
    assert (whole.model, whole.server_version) == (one.model, one.server_version)
    for side in (1, 2):
        np.testing.assert_array_equal(joined(client, planes, grid, side), whole.sums[0])
    np.testing.assert_array_equal(to_maps(whole.sums[0].copy()), one.maps)


def test_several_planes_in_a_call(client, gateway, planes):
    """A plane without nuclei, one with nuclei alone, and one of zeros; by the network alone that the caller names."""
    planes = np.stack([planes, planes[::-1], np.zeros_like(planes)])[:, :, :200, :300]
    grid = TileGrid.cover(planes.shape[2:])
    together = client.run_networks(planes, grid, ensemble=False, request_id="three planes")
    assert together.model.name == "generalist_single"
    for plane, sums in zip(planes, together.sums, strict=True):
        np.testing.assert_array_equal(client.run_networks(plane[np.newaxis], grid, ensemble=False).sums[0], sums)
    assert together.sums[2, 2].any(), "the networks' answer to zeros is not zero"
    alone = client.run_networks(planes[:, :1], grid, ensemble=False)
    np.testing.assert_array_equal(alone.sums[[0, 2]], together.sums[[0, 2]])
    assert (client.run_networks(planes[:1], grid).sums != together.sums[:1]).any(), "the ensemble"
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines() if '"three planes"' in line]
    facts = {"method": "RunNetworks", "code": "OK", "shape": [3, 2, 200, 300], "tiles": 6, "model": "generalist_single"}
    assert len(lines) == 1
    assert lines[0].items() >= facts.items()


@pytest.fixture(scope="module")
def long_request() -> pb.RunNetworksRequest:
    """Seconds of work: many rows of tiles lie at the same place."""
    once = TileGrid.cover((300, 300))
    grid = TileGrid((300, 300), (0,) * 150 + once.starts_y, once.starts_x)
    planes = np.zeros((9, 1, 300, 300), np.float32)
    request = networks_request(planes, grid, "", False, "batch", "long")
    return pb.RunNetworksRequest.FromString(request.serialize())


def test_a_cancelled_call_frees_all_at_once(stub, gateway, in_flight, long_request):
    sums = 9 * 3 * 300 * 300 * 4
    call = stub.RunNetworks.future(long_request)
    wait(lambda: in_flight(gateway)["bytes"] > long_request.ByteSize() + 3 * sums)
    time.sleep(0.2)
    assert not call.done()
    call.cancel()
    wait(lambda: not any(in_flight(gateway).values()), seconds=1)


def test_a_spent_work_budget_ends_the_work(stub, gateway, in_flight, long_request):
    request = pb.RunNetworksRequest()
    request.CopyFrom(long_request)
    request.work_budget_s = 0.2
    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        stub.RunNetworks(request)
    assert time.monotonic() - start < 1
    assert error_info(caught.value).reason == "WORK_BUDGET_EXCEEDED"
    wait(lambda: not any(in_flight(gateway).values()), seconds=1)


def wait(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
