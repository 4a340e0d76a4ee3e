"""`run_networks` of both clients against a scripted server."""

from __future__ import annotations

import cellserve
import grpc
import numpy as np
import pytest
from cellserve import AsyncClient
from cellserve_preprocess import TileGrid
from cellserve_proto.v1 import segmentation_pb2_grpc

from .scripted_server import Service, failure

GRID = TileGrid.cover((700, 500), 0.1, augment=True).part(range(1, 3), range(0, 2))


@pytest.fixture
def planes() -> np.ndarray:
    rows, columns = GRID.extent
    shape = (2, 1, rows.stop - rows.start, columns.stop - columns.start)
    return np.random.default_rng(1).random(shape, np.float32)


async def test_planes_and_grid_are_sent_and_sums_come_back(either, service, planes):
    service.failures.append(failure(grpc.StatusCode.UNAVAILABLE, "drains", "DRAINING"))  # and the call is made again
    result = await either.run_networks(
        planes, GRID, model="generalist", ensemble=False, priority="acquisition", request_id="r-1"
    )
    assert (result.sums.dtype, result.sums.shape) == (np.int32, (2, 3, *planes.shape[2:]))
    np.testing.assert_array_equal(result.sums[:, 1:2], 2 * np.rint(planes * 2.0**20).astype(np.int32))
    assert (result.model.sha256, result.model.precision) == ("ab" * 32, "bfloat16")
    assert (result.server_version, result.request_id) == ("9.9", "r-1")
    assert not result.sums.flags.owndata, "a view of the message"
    request = service.requests[-1]
    assert (request.model, request.ensemble, request.priority) == ("generalist", False, 1)
    grid = request.grid
    assert (grid.height, grid.width, grid.augment) == (700, 500, True)
    assert (grid.rows.first, grid.rows.end, grid.columns.first, grid.columns.end) == (1, 3, 0, 2)
    assert list(grid.starts_y) == [start - 8 for start in GRID.starts_y]
    assert list(grid.starts_x) == [start - 8 for start in GRID.starts_x]
    assert int(service.metadata[-1]["cellserve-message-bytes"]) >= request.ByteSize()


async def test_a_call_that_the_server_does_not_know(serve, planes):
    class Older(Service):
        RunNetworks = segmentation_pb2_grpc.SegmentationServiceServicer.RunNetworks

    async with AsyncClient(serve(Older())) as client:
        with pytest.raises(cellserve.InvalidRequestError) as caught:
            await client.run_networks(planes, GRID)
    assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED


async def test_refusals_before_anything_is_sent(either, service, planes):
    for wrong in ({"priority": "urgent"}, {"deadline_s": 0}):
        with pytest.raises(cellserve.InvalidRequestError):
            await either.run_networks(planes, GRID, **wrong)
    assert not service.requests


@pytest.mark.parametrize("field", ["shape", "type"])
async def test_sums_that_do_not_fit_the_planes(serve, planes, field):
    class Wrong(Service):
        def RunNetworks(self, request, context):
            answer = super().RunNetworks(request, context)
            if field == "shape":
                answer.sums.shape[:] = (*answer.sums.shape[:2], *reversed(answer.sums.shape[2:]))
            else:
                answer.sums.data_type = 3
            return answer

    async with AsyncClient(serve(Wrong())) as client:
        with pytest.raises(cellserve.ServerError, match="makes no sense") as caught:
            await client.run_networks(planes, GRID, request_id="r-2")
    assert (caught.value.reason, caught.value.request_id) == ("ANSWER_INVALID", "r-2")
