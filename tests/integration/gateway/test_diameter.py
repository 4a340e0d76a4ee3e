"""Diameters estimated from images: the steps with the tiny networks, the accuracy with the trained ones."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import cv2
import grpc
import numpy as np
import pytest
from cellserve_evaluation.metrics import average_precision
from cellserve_postprocess import median_diameter
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc
from numpy.typing import NDArray

from .conftest import UNLIMITED, Gateway
from .messages import labels_of, raw

PREDICTED = 40.0
TRUE = 24.0
STYLE_TILES = 2 * 3  # 400 x 500 px, side by side


@pytest.fixture(scope="module")
def disks() -> NDArray[np.uint8]:
    """An image of disks of one diameter, in rows, on dark ground."""
    image = np.zeros((400, 500), np.uint8)
    for y in range(30, 380, 40):
        for x in range(30, 480, 40):
            cv2.circle(image, (x, y), round(TRUE / 2), 255, cv2.FILLED)
    return image


@pytest.fixture(scope="module")
def measuring(triton, start_gateway, tmp_path_factory) -> Gateway:
    """A gateway whose size model always predicts the same diameter; Triton's files stay as they are."""
    described = json.loads((triton.repository / "generalist" / "model.json").read_text())
    model = described["size_model"]
    model["log_diameter_mean"] = math.log(PREDICTED / model["diam_mean"])
    repository = tmp_path_factory.mktemp("models")
    (repository / "generalist").mkdir()
    (repository / "generalist" / "model.json").write_text(json.dumps(described))
    return start_gateway(triton.grpc, model_repository=repository, max_tiles=500)


@pytest.fixture(scope="module")
def stub(measuring) -> Iterator[segmentation_pb2_grpc.SegmentationServiceStub]:
    with grpc.insecure_channel(measuring.address, UNLIMITED) as channel:
        yield segmentation_pb2_grpc.SegmentationServiceStub(channel)


@pytest.fixture(scope="module")
def answer(stub, disks) -> pb.SegmentResponse:
    return stub.Segment(pb.SegmentRequest(image=raw(disks)))


def test_nuclei_are_measured(generalist_stub, image, truth):
    """The trained networks and their size model, on an image they were not trained on."""
    estimate = generalist_stub.EstimateDiameter(pb.EstimateDiameterRequest(image=raw(image("nuclei_fluorescence"))))
    assert estimate.source == pb.DIAMETER_SOURCE_SIZE_MODEL
    assert estimate.diameter == pytest.approx(median_diameter(truth("nuclei_fluorescence")), rel=0.1)


def test_one_large_object_is_measured(generalist_stub):
    """A blurred disk of 140 px with noise, which the size model takes for small objects."""
    image = cv2.circle(np.zeros((200, 200), np.float32), (105, 95), 70, 200, cv2.FILLED)
    image = cv2.GaussianBlur(image, (0, 0), 1.5) + np.random.default_rng(1).normal(30, 2, image.shape)
    estimate = generalist_stub.EstimateDiameter(pb.EstimateDiameterRequest(image=raw(image.astype(np.uint8))))
    assert estimate.diameter == pytest.approx(140, rel=0.1)


def test_the_family_says_that_it_measures(stub):
    assert stub.GetModel(pb.GetModelRequest(name="generalist")).model.has_size_model


def test_the_second_step_corrects_the_first(answer):
    assert answer.diameter_source == pb.DIAMETER_SOURCE_SIZE_MODEL
    assert answer.params.diameter == pytest.approx(TRUE, rel=0.1)
    assert abs(PREDICTED / TRUE - 1) > 0.3, "the prediction alone would not do"


def test_an_image_is_segmented_at_the_size_found(answer, disks, measuring, scrape):
    _, drawn = cv2.connectedComponents(disks)
    assert average_precision(drawn, labels_of(answer), [0.5])[0] > 0.9
    assert (answer.model.name, answer.params.ensemble) == ("generalist", True)
    tiles = scrape(measuring)
    by_network = [tiles[f'cellserve_tiles_total{{network="generalist{name}"}}'] for name in ("_style", "_single", "")]
    assert by_network[0] == STYLE_TILES
    assert answer.timing.tiles == sum(by_network), "what the estimate took is told"
    assert scrape(measuring)['cellserve_stage_seconds_count{stage="estimate"}'] == 1


def test_estimate_diameter_is_what_segment_takes(stub, disks, answer):
    estimate = stub.EstimateDiameter(pb.EstimateDiameterRequest(image=raw(disks)))
    assert estimate.source == pb.DIAMETER_SOURCE_SIZE_MODEL
    assert estimate.model.name == "generalist_single"
    assert estimate.diameter == pytest.approx(answer.params.diameter, rel=0.01), "up to the order of a batch's sums"


def test_a_stream_estimates_too(stub, disks):
    pixels = disks[:200, :200].copy()
    frame = pb.SegmentStreamRequest(frame_id="a", request={"image": raw(pixels), "params": {"ensemble": False}})
    (reply,) = stub.SegmentStream(iter([frame]))
    assert reply.response.diameter_source == pb.DIAMETER_SOURCE_SIZE_MODEL
    assert reply.response.params.diameter == pytest.approx(TRUE, rel=0.1)


def test_a_stated_diameter_is_kept(stub, disks):
    request = pb.EstimateDiameterRequest(image=raw(disks), params={"diameter": 17})
    response = stub.EstimateDiameter(request)
    assert (response.diameter, response.source) == (17, pb.DIAMETER_SOURCE_CALLER)


def test_an_image_that_shows_nothing_runs_no_tile(stub):
    blank = raw(np.zeros((50, 60), np.uint8))
    response = stub.Segment(pb.SegmentRequest(image=blank))
    family = stub.GetModel(pb.GetModelRequest(name="generalist")).model
    expected = family.training_diameter, pb.DIAMETER_SOURCE_TRAINING_DIAMETER
    assert (response.params.diameter, response.diameter_source) == expected
    assert not response.objects
    assert response.timing.tiles == 0
    estimate = stub.EstimateDiameter(pb.EstimateDiameterRequest(image=blank))
    assert (estimate.diameter, estimate.source) == expected
    for answer in (response, estimate):
        assert pb.WARNING_KIND_NOTHING_FOUND in {warning.kind for warning in answer.warnings}
