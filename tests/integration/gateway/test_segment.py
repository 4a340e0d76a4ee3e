"""Images through the real gateway and the real Triton. Tests of accuracy use the trained networks."""

from __future__ import annotations

import io
import json

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_evaluation.metrics import average_precision
from cellserve_postprocess import median_diameter
from cellserve_proto import v1 as pb
from cellserve_training.synthetic import COLONIES, SHEET, WEAK, synthesize
from numpy.typing import NDArray

from .messages import FAST, array_of, labels_of, raw

DIAMETERS = {"nuclei_fluorescence": 29.0, "nuclei_histology": 30.0, "cells_phase_contrast": 65.0}


@pytest.fixture(scope="module")
def nuclei(stub, image) -> pb.SegmentResponse:
    outputs = [pb.OUTPUT_OUTLINES, pb.OUTPUT_FLOWS, pb.OUTPUT_CELL_PROBABILITY, pb.OUTPUT_STYLE]
    request = pb.SegmentRequest(
        request_id="nuclei-1", image=raw(image("nuclei_fluorescence")), params={"diameter": 29}, outputs=outputs
    )
    return stub.Segment(request)


def test_nuclei_are_found(generalist_stub, image, truth):
    """The networks reach this on an image they were not trained on; a wrong channel or scale does not."""
    request = pb.SegmentRequest(image=raw(image("nuclei_fluorescence")), params={"diameter": 29})
    labels = labels_of(generalist_stub.Segment(request))
    assert average_precision(truth("nuclei_fluorescence"), labels, [0.5])[0] > 0.75


def test_objects_describe_the_labels(nuclei, image):
    labels = labels_of(nuclei)
    assert labels.shape == image("nuclei_fluorescence").shape
    assert [o.label for o in nuclei.objects] == list(range(1, labels.max() + 1))
    for found in nuclei.objects:
        ys, xs = np.nonzero(labels == found.label)
        box = found.bbox
        assert (box.y_min, box.x_min, box.y_max, box.x_max) == (ys.min(), xs.min(), ys.max() + 1, xs.max() + 1)
        assert found.area == len(ys) >= 15
        np.testing.assert_allclose([found.centroid.y, found.centroid.x], [ys.mean(), xs.mean()], rtol=1e-5)
        np.testing.assert_allclose(found.equivalent_diameter_area, 2 * np.sqrt(len(ys) / np.pi), rtol=1e-5)
        assert 0.5 < found.mean_probability <= 1
        assert 0 <= found.flow_error <= 0.4
        (contour,) = found.outlines
        outline = np.array(contour.points).reshape(-1, 2)
        assert (labels[outline[:, 0], outline[:, 1]] == found.label).all()


def test_maps_and_style(nuclei):
    labels, flows = labels_of(nuclei), array_of(nuclei.flows)
    assert flows.shape == (2, *labels.shape)
    assert 0.5 < np.median(np.hypot(*flows)[labels > 0]) < 1.5, "unit flows inside objects"
    assert (array_of(nuclei.cell_probability)[labels > 0] > 0).mean() > 0.99, "only filled holes are below"
    np.testing.assert_allclose(np.linalg.norm(nuclei.style), 1, rtol=1e-5)


@pytest.mark.parametrize("map_type", [pb.DATA_TYPE_FLOAT32, pb.DATA_TYPE_FLOAT16])
def test_maps_alone(stub, nuclei, image, map_type):
    """The maps are those that masks are recovered from; half precision rounds them and nothing else."""
    request = pb.SegmentRequest(
        image=raw(image("nuclei_fluorescence")), params=nuclei.params, maps_only=True, map_type=map_type
    )
    answer = stub.Segment(request)
    assert not answer.HasField("labels")
    assert not answer.objects
    maps = array_of(answer.maps)
    assert maps.dtype == (np.float16 if map_type == pb.DATA_TYPE_FLOAT16 else np.float32)
    tolerance = 0.02 + 0.02 * (map_type == pb.DATA_TYPE_FLOAT16)  # batches change low-order bits
    np.testing.assert_allclose(maps[:2] / 5, array_of(nuclei.flows), atol=tolerance)
    np.testing.assert_allclose(maps[2], array_of(nuclei.cell_probability), atol=10 * tolerance)


def test_pixel_sizes_and_warnings_come_back(stub):
    blank = raw(np.zeros((50, 60), np.uint8))
    blank.pixel_size.y_um = blank.pixel_size.x_um = 0.25
    answer = stub.Segment(pb.SegmentRequest(image=blank, params=FAST, omit_labels=True))
    assert answer.pixel_size == blank.pixel_size
    assert not answer.HasField("labels")
    assert [warning.kind for warning in answer.warnings] == [
        pb.WARNING_KIND_CONSTANT_PLANE, pb.WARNING_KIND_NOTHING_FOUND,
    ]  # fmt: skip
    assert answer.timing.tiles == 0
    dark = raw(np.eye(60, dtype=np.uint8) + 200)  # a line of one pixel: too thin for an object
    (warning,) = stub.Segment(pb.SegmentRequest(image=dark, params=FAST | {"cellprob_threshold": 19})).warnings
    assert warning.kind == pb.WARNING_KIND_NOTHING_FOUND
    assert float(warning.metadata["largest_logit"]) < 19


def test_a_file_tells_its_pixel_size_and_what_was_left_out(stub):
    """The request states no pixel size: the file does, of the image that was chosen."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(np.zeros((60, 50), np.uint8), metadata=None)
        file.write(
            np.arange(2000, dtype=np.uint16).reshape(40, 50),
            resolution=(20000, 40000),
            resolutionunit="CENTIMETER",
            extratags=[(274, 3, 1, 6, True)],
            metadata=None,
        )
    encoded = pb.EncodedImage(format=pb.EncodedImage.FORMAT_TIFF, data=buffer.getvalue(), series=1)
    answer = stub.Segment(pb.SegmentRequest(image=pb.Image(encoded=encoded), params=FAST))
    assert labels_of(answer).shape == (40, 50)
    assert (answer.pixel_size.y_um, answer.pixel_size.x_um) == (0.25, 0.5)
    assert answer.warnings[0].kind == pb.WARNING_KIND_ORIENTATION_IGNORED


def test_answer_says_how_it_was_made(nuclei, stub):
    assert nuclei.request_id == "nuclei-1"
    assert (nuclei.params.diameter, nuclei.diameter_source) == (29, pb.DIAMETER_SOURCE_CALLER)
    assert (nuclei.params.model, nuclei.params.cytoplasm_channel, nuclei.params.nucleus_channel) == (
        "generalist",
        0,
        -1,
    )
    assert nuclei.params.tile_overlap == 0.1
    model = stub.GetModel(pb.GetModelRequest(name="generalist")).model
    assert nuclei.model == model.versions[0]
    assert len(nuclei.model.sha256) == 64
    timing = nuclei.timing
    stages = (timing.decode_s, timing.preprocess_s, timing.inference_s, timing.reassemble_s, timing.postprocess_s)
    assert all(seconds > 0 for seconds in stages)
    assert sum(stages) <= timing.total_s
    assert timing.tiles == 3 * 4  # 538 x 720 px at diameter 30


def test_same_request_same_answer(stub, image, nuclei):
    again = stub.Segment(pb.SegmentRequest(image=raw(image("nuclei_fluorescence")), params=nuclei.params))
    assert nuclei.model.precision == pb.PRECISION_FLOAT32
    np.testing.assert_array_equal(labels_of(nuclei), labels_of(again), "the echoed parameters repeat the answer")


@pytest.mark.parametrize("name", ["nuclei_histology", "cells_phase_contrast"])
def test_other_microscopes(generalist_stub, image, truth, name):
    params = pb.SegmentParams(diameter=DIAMETERS[name], normalization={"invert": name == "nuclei_histology"})
    response = generalist_stub.Segment(pb.SegmentRequest(image=raw(image(name)), params=params))
    assert average_precision(truth(name), labels_of(response), [0.5])[0] > 0.2
    assert response.params.cytoplasm_channel == (-1 if name == "nuclei_histology" else 0)


def test_ways_to_send_agree(stub, image):
    pixels = image("nuclei_fluorescence")[:240, :240].copy()
    png = pb.EncodedImage(format=pb.EncodedImage.FORMAT_PNG, data=imagecodecs.png_encode(pixels))
    ways = [
        raw(pixels),
        raw(pixels.astype(np.uint16)),
        raw(pixels.astype(np.float32) * 7 + 100),  # percentiles take gain and offset out
        raw(pixels[None].copy(), "CYX"),
        pb.Image(encoded=png),
    ]
    answers = [labels_of(stub.Segment(pb.SegmentRequest(image=way, params={"diameter": 30}))) for way in ways]
    assert answers[0].max() > 3
    for labels in answers[1:]:
        assert average_precision(answers[0], labels, [0.9])[0] > 0.95


def test_single_network_is_the_ensembles_first(stub, image):
    pixels = image("nuclei_fluorescence")[:224, :224].copy()
    response = stub.Segment(pb.SegmentRequest(image=raw(pixels), params=FAST))
    assert response.model.name == "generalist_single"
    assert len(response.objects) > 5


def test_flips_and_overlap_cost_tiles(stub, image):
    pixels = image("nuclei_fluorescence")[:300, :300].copy()
    tiles = {}
    for name, params in {
        "plain": pb.SegmentParams(**FAST),
        "overlap": pb.SegmentParams(**FAST, tile_overlap=0.5),
        "augment": pb.SegmentParams(**FAST, augment=True),
    }.items():
        response = stub.Segment(pb.SegmentRequest(image=raw(pixels), params=params))
        tiles[name] = response.timing.tiles
        assert len(response.objects) > 10
    assert tiles == {"plain": 4, "overlap": 9, "augment": 9}


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 3), (223, 225)])
@pytest.mark.parametrize("value", [0, 7])
def test_images_without_objects(stub, shape, value):
    response = stub.Segment(pb.SegmentRequest(image=raw(np.full(shape, value, np.uint8)), params=FAST))
    assert labels_of(response).shape == shape
    assert not labels_of(response).any()
    assert len(response.objects) == 0


def test_border_and_size_options(stub, image):
    pixels = image("nuclei_fluorescence")[:260, :260].copy()
    plain = stub.Segment(pb.SegmentRequest(image=raw(pixels), params=FAST))
    inner = stub.Segment(pb.SegmentRequest(image=raw(pixels), params=FAST | {"exclude_on_edges": True}))
    labels = labels_of(inner)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    assert 0 < len(inner.objects) < len(plain.objects)
    assert not border.any()
    large = stub.Segment(pb.SegmentRequest(image=raw(pixels), params=FAST | {"min_size": 500}))
    assert 0 < len(large.objects) < len(plain.objects)
    assert min(o.area for o in large.objects) >= 500


def test_two_planes(generalist_stub):
    """Crowded cells whose borders do not show, drawn: nuclei are used unless the caller leaves them out, and tell the
    cells apart."""
    drawn = [synthesize(np.random.default_rng(seed), (224, 224), (SHEET, COLONIES), (WEAK,)) for seed in range(8)]

    def segment(pixels: NDArray[np.uint8], truth: NDArray[np.uint16], **params: object) -> pb.SegmentResponse:
        params |= {"ensemble": False, "diameter": median_diameter(truth)}
        return generalist_stub.Segment(pb.SegmentRequest(image=raw(pixels, "CYX"), params=params))

    def agreement(truth: NDArray[np.uint16], answer: pb.SegmentResponse) -> float:
        return average_precision(truth, labels_of(answer), [0.5])[0]

    default = [segment(*pair) for pair in drawn]
    assert {(d.params.cytoplasm_channel, d.params.nucleus_channel) for d in default} == {(0, 1)}
    with_nuclei = np.mean([agreement(truth, answer) for (_, truth), answer in zip(drawn, default, strict=True)])
    alone = np.mean([agreement(truth, segment(pixels, truth, nucleus_channel=-1)) for pixels, truth in drawn])
    print(f"average precision with nuclei {with_nuclei:.3f}, without {alone:.3f}")
    assert with_nuclei > 0.7
    assert with_nuclei > alone + 0.2, "nuclei tell cells apart"
    other = segment(*drawn[0], cytoplasm_channel=1, nucleus_channel=-1)
    assert (other.params.cytoplasm_channel, other.params.nucleus_channel) == (1, -1)
    assert agreement(labels_of(default[0]), other) < 0.3, "another plane, other objects"


def test_models(generalist_stub, request):
    answer = generalist_stub.ListModels(pb.ListModelsRequest())
    assert answer.default_model == "generalist"
    (family,) = [model for model in answer.models if model.name == "generalist"]
    assert [v.name for v in family.versions] == ["generalist", "generalist_single", "generalist_style"]
    assert (family.ready, family.tile_size, family.working_diameter) == (True, 224, 30)
    assert family.max_batch_size >= 4
    described = json.loads((request.config.rootpath / "model_repository" / "generalist" / "model.json").read_text())
    assert family.has_size_model == (described["size_model"] is not None)
    assert list(family.channels) == ["cytoplasm", "nucleus"]
