"""Diameters estimated from images, by the real networks and a size model that always predicts the same."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from cellserve_evaluation.metrics import average_precision
from cellserve_postprocess import STYLE_SIZE, SizeModel, median_diameter
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc

from .conftest import UNLIMITED, Gateway
from .messages import labels_of, raw

PREDICTED = 40.0  # the nuclei of the example measure 29
STYLE_TILES = 3 * 4  # 520 x 696 px and their margin, side by side


@pytest.fixture(scope="module")
def measuring(triton, start_gateway, request, tmp_path_factory) -> Gateway:
    """A gateway whose family has a size model; Triton's files stay as they are."""
    zeros = (0.0,) * STYLE_SIZE
    model = SizeModel(zeros, zeros, math.log(PREDICTED / 30), 30.0)
    described = json.loads((request.config.rootpath / "model_repository" / "generalist" / "model.json").read_text())
    described["size_model"] = dataclasses.asdict(model)
    repository = tmp_path_factory.mktemp("models")
    (repository / "generalist").mkdir()
    (repository / "generalist" / "model.json").write_text(json.dumps(described))
    return start_gateway(triton.grpc, model_repository=repository, max_tiles=500)


@pytest.fixture(scope="module")
def stub(measuring) -> Iterator[segmentation_pb2_grpc.SegmentationServiceStub]:
    with grpc.insecure_channel(measuring.address, UNLIMITED) as channel:
        yield segmentation_pb2_grpc.SegmentationServiceStub(channel)


@pytest.fixture(scope="module")
def answer(stub, image) -> pb.SegmentResponse:
    return stub.Segment(pb.SegmentRequest(image=raw(image("nuclei_fluorescence"))))


def test_the_family_says_that_it_measures(stub):
    assert stub.GetModel(pb.GetModelRequest(name="generalist")).model.has_size_model


def test_the_second_step_corrects_the_first(answer, truth):
    true = median_diameter(truth("nuclei_fluorescence"))
    assert answer.diameter_source == pb.DIAMETER_SOURCE_SIZE_MODEL
    assert answer.params.diameter == pytest.approx(true, rel=0.1)
    assert abs(PREDICTED / true - 1) > 0.3, "the prediction alone would not do"


def test_an_image_is_segmented_at_the_size_found(answer, truth, measuring, scrape):
    assert average_precision(truth("nuclei_fluorescence"), labels_of(answer), [0.5])[0] > 0.7
    assert (answer.model.name, answer.params.ensemble) == ("generalist", True)
    tiles = scrape(measuring)
    by_network = [tiles[f'cellserve_tiles_total{{network="generalist{name}"}}'] for name in ("_style", "_single", "")]
    assert by_network[0] == STYLE_TILES
    assert answer.timing.tiles == sum(by_network), "what the estimate took is told"
    assert scrape(measuring)['cellserve_stage_seconds_count{stage="estimate"}'] == 1


def test_estimate_diameter_is_what_segment_takes(stub, image, answer):
    estimate = stub.EstimateDiameter(pb.EstimateDiameterRequest(image=raw(image("nuclei_fluorescence"))))
    assert estimate.source == pb.DIAMETER_SOURCE_SIZE_MODEL
    assert estimate.model.name == "generalist_single"
    assert estimate.diameter == pytest.approx(answer.params.diameter, rel=0.01), "up to the order of a batch's sums"


def test_a_stream_estimates_too(stub, image):
    pixels = image("nuclei_fluorescence")[:200, :200].copy()
    frame = pb.SegmentStreamRequest(frame_id="a", request={"image": raw(pixels), "params": {"ensemble": False}})
    (reply,) = stub.SegmentStream(iter([frame]))
    assert reply.response.diameter_source == pb.DIAMETER_SOURCE_SIZE_MODEL
    assert reply.response.params.diameter == pytest.approx(29, rel=0.25)


def test_a_stated_diameter_is_kept(stub, image):
    request = pb.EstimateDiameterRequest(image=raw(image("nuclei_fluorescence")), params={"diameter": 17})
    response = stub.EstimateDiameter(request)
    assert (response.diameter, response.source) == (17, pb.DIAMETER_SOURCE_CALLER)


def test_an_image_without_objects_keeps_the_prediction(stub):
    response = stub.Segment(pb.SegmentRequest(image=raw(np.zeros((50, 60), np.uint8)), params={"ensemble": False}))
    assert response.params.diameter == pytest.approx(PREDICTED)
    assert not response.objects
