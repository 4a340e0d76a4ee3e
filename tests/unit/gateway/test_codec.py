"""Messages to parameters, pixels and options; results to messages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cellserve_contract.arrays import PACK_LABELS_ABOVE, fill_array, view_array
from cellserve_contract.model_card import Family, NetworkFile
from cellserve_contract.params import ParameterError, SegmentParams
from cellserve_contract.payload import NO_PAYLOAD
from cellserve_contract.sizes import with_recovery_defaults
from cellserve_contract.warnings import WarningKind
from cellserve_gateway.app.context import Priority
from cellserve_gateway.app.decode import limits_of
from cellserve_gateway.app.networks import Network, Precision
from cellserve_gateway.app.params import DiameterSource, resolve
from cellserve_gateway.app.results import Segmentation
from cellserve_gateway.errors import InvalidImage, InvalidRequest, NotImplementedYet
from cellserve_gateway.fronts.grpc import answers, codec
from cellserve_gateway.fronts.grpc.answers import Result
from cellserve_gateway.settings import Settings
from cellserve_postprocess import ObjectTable, measure_objects
from cellserve_proto import v1 as pb

FAMILY = Family(
    name="generalist",
    description="",
    diam_mean=30.0,
    channels=("cytoplasm", "nucleus"),
    license="",
    provenance="",
    tile_size=224,
    networks={"generalist": NetworkFile("0" * 64, "fp16")},
)
NETWORK = Network("generalist", "1", "0" * 64, 8, "openvino 1.2.3", Precision.BFLOAT16)
PARAMS = with_recovery_defaults(resolve(SegmentParams(model="generalist"), 1, FAMILY)[0], 30)
LIMITS = limits_of(Settings())


def no_file(*_):
    raise AssertionError("no image file here")


def answer(labels: np.ndarray | None, **parts) -> Segmentation:
    objects = ObjectTable.empty()
    if labels is not None:
        errors = np.zeros(int(labels.max(initial=0)), np.float32)
        objects = measure_objects(labels, np.zeros(labels.shape, np.float32), errors)
    return Segmentation(labels, objects, PARAMS, DiameterSource.CALLER, NETWORK, **parts)


def encoded(result: Segmentation, **request) -> pb.SegmentResponse:
    """The answer as a caller receives it."""
    response = pb.SegmentResponse()
    asked = pb.SegmentRequest(**request)
    answers.fill_response(response, Result(result, FAMILY, codec.to_wanted(asked), codec.to_compression(asked)))
    return pb.SegmentResponse.FromString(response.SerializeToString())


def raw(pixels: np.ndarray, axes: str, **image) -> pb.Image:
    message = pb.Image(**image)
    message.raw.axes = axes
    fill_array(message.raw.pixels, pixels)
    return message


def test_the_answer_leaves_no_parameter_out():
    params = replace(PARAMS, stack_mode="stitch", anisotropy=2)  # of a stack: of an image they are unset
    echoed = encoded(replace(answer(np.zeros((3, 4), np.uint16)), params=params)).params
    assert {field.name for field, _ in echoed.ListFields()} == {
        field.name for field in pb.SegmentParams.DESCRIPTOR.fields
    }
    assert codec.to_params(echoed, "other") == params


def test_the_default_model():
    assert codec.to_params(pb.SegmentParams(), "generalist") == SegmentParams(model="generalist")
    assert codec.to_params(pb.SegmentParams(model="mine"), "generalist").model == "mine"


@pytest.mark.parametrize(
    ("planes", "given_channels", "expected"),
    [
        (1, (None, None), (0, -1)),
        (2, (None, None), (0, 1)),
        (3, (None, None), (-1, -1)),
        (2, (1, None), (1, -1)),
        (3, (1, 2), (1, 2)),
        (5, (4, 0), (4, 0)),
        (5, (4, None), (4, -1)),
    ],
)
def test_channels(planes, given_channels, expected):
    params = SegmentParams(model="generalist", cytoplasm_channel=given_channels[0], nucleus_channel=given_channels[1])
    resolved, source = resolve(params, planes, FAMILY)
    assert (resolved.cytoplasm_channel, resolved.nucleus_channel) == expected
    assert (resolved.diameter, source) == (30.0, DiameterSource.TRAINING_DIAMETER)


@pytest.mark.parametrize(
    ("planes", "channels"), [(4, (None, None)), (1, (1, None)), (2, (0, 2)), (2, (-2, None)), (1, (0, -2))]
)
def test_channels_refused(planes, channels):
    cytoplasm, nucleus = channels
    with pytest.raises(ParameterError):
        resolve(SegmentParams(cytoplasm_channel=cytoplasm, nucleus_channel=nucleus), planes, FAMILY)


def test_a_family_trained_without_nuclei():
    family = replace(FAMILY, channels=("cytoplasm",))
    resolved, _ = resolve(SegmentParams(model="generalist"), 2, family)
    assert (resolved.cytoplasm_channel, resolved.nucleus_channel) == (0, -1)
    with pytest.raises(ParameterError, match="without nuclei"):
        resolve(SegmentParams(model="generalist", nucleus_channel=1), 2, family)


@pytest.mark.parametrize(
    "convert",
    [
        lambda: codec.to_wanted(pb.SegmentRequest(outputs=[99])),  # type: ignore[list-item]
        lambda: codec.to_wanted(pb.SegmentRequest(outputs=[pb.OUTPUT_UNSPECIFIED])),
        lambda: codec.to_wanted(pb.SegmentRequest(outputs=[pb.OUTPUT_STYLE] * 1000)),
        lambda: codec.to_wanted(pb.SegmentRequest(outputs=[pb.OUTPUT_OUTLINES], maps_only=True)),
        lambda: codec.to_compression(pb.SegmentRequest(compression=9)),  # type: ignore[arg-type]
        lambda: codec.to_wanted(pb.SegmentRequest(map_type=pb.DATA_TYPE_UINT8)),
        lambda: codec.to_work_budget(pb.SegmentRequest(work_budget_s=0)),
        lambda: codec.to_work_budget(pb.SegmentRequest(work_budget_s=float("nan"))),
        lambda: codec.to_priority(7),
        lambda: codec.to_params(pb.SegmentParams(interpolation=9), "generalist"),  # type: ignore[arg-type]
        lambda: codec.to_params(pb.SegmentParams(mask_rules=9), "generalist"),  # type: ignore[arg-type]
    ],
)
def test_fields_that_make_no_sense(convert):
    with pytest.raises(InvalidRequest) as error:
        convert()
    assert error.value.reason == "FIELD_INVALID"
    assert error.value.metadata["field"]


def test_work_budgets():
    assert codec.to_work_budget(pb.SegmentRequest()) is None
    assert codec.to_work_budget(pb.EstimateDiameterRequest(work_budget_s=2.5)) == 2.5


def test_priorities():
    assert codec.to_priority(pb.PRIORITY_UNSPECIFIED) is Priority.BATCH
    assert codec.to_priority(pb.PRIORITY_ACQUISITION) is Priority.ACQUISITION


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        ("YX", (4, 5), (1, 1, 4, 5)),
        ("CYX", (2, 4, 5), (1, 2, 4, 5)),
        ("YXC", (4, 5, 3), (1, 3, 4, 5)),
        ("YXS", (4, 5, 3), (1, 3, 4, 5)),
        ("TCZYX", (1, 2, 1, 4, 5), (1, 2, 4, 5)),
        ("TZYX", (1, 1, 4, 5), (1, 1, 4, 5)),
        ("ZYX", (6, 4, 5), (6, 1, 4, 5)),
        ("CZYX", (2, 6, 4, 5), (6, 2, 4, 5)),
        ("TZCYX", (1, 6, 2, 4, 5), (6, 2, 4, 5)),
        ("ZYXS", (6, 4, 5, 3), (6, 3, 4, 5)),
    ],
)
def test_axes(axes, shape, expected):
    pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    found = codec.to_image(raw(pixels, axes), NO_PAYLOAD, LIMITS, no_file)
    assert found.pixels.shape == expected
    assert found.is_stack == (expected[0] > 1)
    names = axes.replace("S", "C")
    letters = [letter for letter in "ZCYX" if letter in names]
    (wanted,) = pixels if "T" in names else [pixels]
    wanted = np.transpose(wanted, [names.replace("T", "").index(letter) for letter in letters])
    np.testing.assert_array_equal(found.pixels.reshape(wanted.shape), wanted)


@pytest.mark.parametrize(("axes", "shape"), [("TYX", (3, 4, 5)), ("TZYX", (3, 2, 4, 5))])
def test_time_series_are_refused_by_name(axes, shape):
    with pytest.raises(InvalidImage, match=r"a time series .* a request holds one time point") as error:
        codec.to_image(raw(np.zeros(shape, np.uint8), axes), NO_PAYLOAD, LIMITS, no_file)
    assert error.value.reason == "AXES_UNKNOWN"


@pytest.mark.parametrize(
    ("axes", "shape", "reason"),
    [
        ("XX", (4, 5), "AXES_UNKNOWN"),
        ("QYX", (1, 4, 5), "AXES_UNKNOWN"),
        ("CX", (4, 5), "AXES_UNKNOWN"),
        ("", (4, 5), "AXES_UNKNOWN"),
        ("CYX", (4, 5), "IMAGE_SIZE_MISMATCH"),
        ("YX", (1,) * 9, "IMAGE_SIZE_MISMATCH"),
        ("ZYX", (0, 4, 5), "IMAGE_EMPTY"),
    ],
)
def test_axes_that_are_refused(axes, shape, reason):
    with pytest.raises(InvalidImage) as error:
        codec.to_image(raw(np.zeros(shape, np.uint8), axes), NO_PAYLOAD, LIMITS, no_file)
    assert error.value.reason == reason


@pytest.mark.parametrize("path", ["", "params", "params.normalization.percentiles", "image.raw.pixels"])
def test_fields_that_a_newer_caller_sends_are_refused_by_number(path):
    request = raw_request()
    codec.check_known(request)
    part = request
    for name in path.split(".") if path else ():
        part = getattr(part, name)
    part.MergeFromString(b"\xc2\x3e\x04news")  # field 1000
    with pytest.raises(NotImplementedYet, match="field 1000") as error:
        codec.check_known(request)
    assert error.value.metadata == {"feature": f"{part.DESCRIPTOR.name}.1000"}


def test_fields_of_newer_callers_are_found_in_lists_too():
    request = pb.SegmentRequest(image=raw(np.zeros((4, 5), np.uint8), "YX"))
    part = request.params.normalization.ranges.ranges.add(low=1, high=2)
    codec.check_known(request)
    part.MergeFromString(b"\xc2\x3e\x04news")  # field 1000
    with pytest.raises(NotImplementedYet, match="field 1000"):
        codec.check_known(request)


def raw_request() -> pb.SegmentRequest:
    request = pb.SegmentRequest(image=raw(np.zeros((4, 5), np.uint8), "YX"), outputs=[pb.OUTPUT_FLOWS])
    request.params.normalization.percentiles.low = 1
    return request


@pytest.mark.parametrize(
    "size", [{"y_um": 0, "x_um": 1}, {"y_um": 1}, {"y_um": 1, "x_um": float("inf")}, {"y_um": 1, "x_um": 1, "z_um": -1}]
)
def test_pixel_sizes_that_make_no_sense(size):
    with pytest.raises(InvalidImage) as error:
        codec.to_image(
            raw(np.zeros((4, 5), np.uint8), "YX", pixel_size=pb.PixelSize(**size)), NO_PAYLOAD, LIMITS, no_file
        )
    assert error.value.reason == "PIXEL_SIZE_INVALID"


@pytest.mark.parametrize("number", [pb.DATA_TYPE_UNSPECIFIED, pb.DATA_TYPE_FLOAT16, 77])
def test_types_that_no_image_has(number):
    image = raw(np.zeros((4, 5), np.float16), "YX")
    image.raw.pixels.data_type = number
    with pytest.raises(InvalidImage) as error:
        codec.to_image(image, NO_PAYLOAD, LIMITS, no_file)
    assert error.value.reason == "DATA_TYPE_UNSUPPORTED"


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("compression", [pb.COMPRESSION_NONE, pb.COMPRESSION_ZLIB, pb.COMPRESSION_UNSPECIFIED])
def test_labels_survive_the_wire(dtype, compression):
    labels = np.zeros((6, 7), dtype)
    labels[1:3, 2:5], labels[4, 6] = 1, 2
    response = encoded(answer(labels), compression=compression)
    assert (response.labels.compression == pb.COMPRESSION_ZLIB) == (compression == pb.COMPRESSION_ZLIB)
    np.testing.assert_array_equal(view_array(response.labels), labels)
    assert view_array(response.labels).dtype == dtype
    assert [o.label for o in response.objects] == [1, 2]
    first = response.objects[0]
    assert (first.area, first.centroid.z, first.centroid.y, first.centroid.x) == (6, 0, 1.5, 3.0)
    assert first.bbox == pb.BoundingBox(z_min=0, y_min=1, x_min=2, z_max=1, y_max=3, x_max=5)
    assert first.equivalent_diameter_area == pytest.approx(2 * (6 / np.pi) ** 0.5)
    assert not first.outlines
    assert (response.axes, response.diameter_source) == ("YX", pb.DIAMETER_SOURCE_CALLER)


def test_large_label_images_are_packed_unless_the_caller_decides():
    side = int((PACK_LABELS_ABOVE / 2) ** 0.5)
    small, large = np.zeros((side, side - 1), np.uint16), np.zeros((side, side + 1), np.uint16)
    assert encoded(answer(small)).labels.compression == pb.COMPRESSION_NONE
    packed = encoded(answer(large)).labels
    assert (packed.compression, view_array(packed).shape) == (pb.COMPRESSION_ZLIB, large.shape)
    assert len(packed.data) < large.nbytes / 20
    assert encoded(answer(large), compression=pb.COMPRESSION_NONE).labels.compression == pb.COMPRESSION_NONE


def test_labels_can_be_left_out():
    labels = np.ones((6, 7), np.uint16)
    response = encoded(answer(labels), omit_labels=True)
    assert not response.HasField("labels")
    assert len(response.objects) == 1


@pytest.mark.parametrize(("map_type", "dtype"), [(0, "f4"), (pb.DATA_TYPE_FLOAT32, "f4"), (pb.DATA_TYPE_FLOAT16, "f2")])
def test_maps_have_the_precision_asked_for(map_type, dtype):
    maps = np.random.default_rng(0).normal(0, 5, (3, 6, 7)).astype(np.float32)
    response = encoded(
        answer(None, maps=maps, flows=maps[:2], cell_probability=maps[2]), maps_only=True, map_type=map_type
    )
    for name, sent in (("maps", maps), ("flows", maps[:2]), ("cell_probability", maps[2])):
        np.testing.assert_array_equal(view_array(getattr(response, name)), sent.astype(dtype))
        assert view_array(getattr(response, name)).dtype == dtype
    assert not response.HasField("labels")
    assert not response.objects


def test_outlines_name_their_plane():
    labels = np.zeros((6, 7), np.uint16)
    labels[1, 2] = 1
    response = encoded(answer(labels, outlines=[{0: np.array([[1, 2]], np.int32)}]))
    assert list(response.objects[0].outlines) == [pb.Outline(z=0, points=[1, 2])]


def test_an_answer_says_how_it_was_made():
    response = encoded(answer(None, warnings=((WarningKind.NOTHING_FOUND, {"largest_logit": "-3"}),)))
    assert (response.model.weights, response.model.precision) == (pb.PRECISION_FLOAT16, pb.PRECISION_BFLOAT16)
    assert (response.model.family, response.model.runtime) == ("generalist", "openvino 1.2.3")
    assert response.server_version == answers.SERVER_VERSION
    (warning,) = response.warnings
    assert (warning.kind, dict(warning.metadata)) == (pb.WARNING_KIND_NOTHING_FOUND, {"largest_logit": "-3"})
    assert warning.message == WarningKind.NOTHING_FOUND.meaning
    assert warning.suggestion == WarningKind.NOTHING_FOUND.suggestion
