"""A server that is newer than the client: fields, numbers, parts and reasons that the client does not know."""

from __future__ import annotations

import zlib

import cellserve
import cellserve.large
import grpc
import numpy as np
import pytest
from cellserve_preprocess import TileGrid
from cellserve_proto import v1 as pb

from .scripted_server import LIMITS, Service, failure

NEW_FIELD = b"\xc2\x3e\x04news"
"""Field 1000 of any message, a string."""
NEW = 99
"""A number that no enumeration has yet."""


class Newer(Service):
    """Says more than the client knows, in every message."""

    def Segment(self, request, context):
        answer = super().Segment(request, context)
        extend(answer)
        return answer

    def SegmentLarge(self, requests, context):
        for part in super().SegmentLarge(requests, context):
            if part.HasField("result"):
                extend(part.result)
                yield pb.SegmentLargeResponse.FromString(NEW_FIELD)
                chunk = pb.Chunk(data=b"1", crc32=zlib.crc32(b"1"))
                yield pb.SegmentLargeResponse(chunk=pb.ResultChunk(array=NEW, chunk=chunk))
            yield part

    def EstimateDiameter(self, request, context):
        answer = super().EstimateDiameter(request, context)
        answer.MergeFromString(NEW_FIELD)
        answer.source = NEW
        return answer

    def RunNetworks(self, request, context):
        answer = super().RunNetworks(request, context)
        answer.MergeFromString(NEW_FIELD)
        answer.model.precision = NEW
        return answer

    def ListModels(self, request, context):
        answer = super().ListModels(request, context)
        answer.models[0].MergeFromString(NEW_FIELD)
        answer.models[0].versions[0].precision = NEW
        return answer

    def GetLimits(self, request, context):
        answer = super().GetLimits(request, context)
        answer.limits.MergeFromString(NEW_FIELD)
        answer.limits.ClearField("max_tiles")
        return answer


def extend(answer: pb.SegmentResponse) -> None:
    answer.MergeFromString(NEW_FIELD)
    answer.diameter_source = answer.model.precision = NEW
    for found in answer.objects:
        found.MergeFromString(NEW_FIELD)
    answer.warnings.add(kind=NEW, message="News.", suggestion="Try news.", metadata={"a": "b"})


@pytest.fixture
def service() -> Service:
    return Newer()


@pytest.mark.parametrize("large", [False, True])
async def test_results(either, image, monkeypatch, large):
    if large:
        monkeypatch.setattr(cellserve.large, "LARGE_BYTES", 10_000)
    result = await either.segment(image)
    assert (len(result.objects), result.labels.max()) == (3, 3)
    assert (result.diameter_source, result.model.precision, result.model.sha256) == ("", "", "ab" * 32)
    (warning,) = result.warnings
    assert (warning.kind, warning.message, warning.suggestion) == ("", "News.", "Try news.")
    assert warning.metadata == {"a": "b"}


async def test_other_answers(either, image):
    assert (await either.estimate_diameter(image)).source == ""
    (model,) = (await either.models()).models
    assert (model.name, model.versions[0].precision) == ("generalist", "")
    grid = TileGrid.cover((30, 40))
    assert (await either.run_networks(np.ones((1, 2, 30, 40), np.float32), grid)).model.precision == ""
    limits = await either.limits()
    assert (limits.max_tiles, limits.max_planes) == (0, LIMITS.max_planes)


async def test_reasons(either, image, service):
    service.failures.append(failure(grpc.StatusCode.INVALID_ARGUMENT, "it rains", "RAIN", where="here"))
    with pytest.raises(cellserve.InvalidRequestError) as caught:
        await either.segment(image, request_id="r-1")
    assert (caught.value.reason, caught.value.metadata) == ("RAIN", {"where": "here"})
    assert str(caught.value) == "it rains [RAIN, request r-1]"
