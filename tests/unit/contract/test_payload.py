"""Large values are put behind a message and taken out of a serialized one, and all that is left is bounded."""

from __future__ import annotations

import time

import pytest
from cellserve_contract.payload import (
    MAX_STRUCTURE_BYTES,
    MIN_PAYLOAD_BYTES,
    ComplexMessageError,
    Detached,
    MalformedMessageError,
    take_payload,
)
from cellserve_proto import v1 as pb
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

FRAME, REQUEST = pb.SegmentStreamRequest.DESCRIPTOR, pb.SegmentRequest.DESCRIPTOR


def frame(data: bytes, **fields: object) -> pb.SegmentStreamRequest:
    array = pb.Array(data_type=pb.DATA_TYPE_UINT8, shape=[1, len(data)], data=data)
    image = pb.Image(raw=pb.RawImage(pixels=array, axes="YX"))
    return pb.SegmentStreamRequest(frame_id="f", request=pb.SegmentRequest(image=image, **fields))


@given(data=st.binary(max_size=64), times=st.integers(1, 400), outputs=st.lists(st.integers(0, 2**31 - 1), max_size=99))
def test_message_and_payload_together_are_the_message(data, times, outputs):
    message = frame(data * times, outputs=outputs, params={"model": "m", "diameter": 3.5})
    rest, payload = take_payload(message.SerializeToString(), FRAME)
    parsed = pb.SegmentStreamRequest.FromString(rest)
    if len(data * times) >= MIN_PAYLOAD_BYTES:
        assert (payload.path, parsed.request.image.raw.pixels.data) == ("request.image.raw.pixels.data", b"")
        parsed.request.image.raw.pixels.data = bytes(payload.data)
    else:
        assert payload.path == ""
    assert parsed == message


def test_the_payload_is_a_view():
    data = frame(bytes(100_000)).SerializeToString()
    payload = take_payload(data, FRAME)[1]
    assert payload.data.obj is data


@given(head=st.binary(max_size=99), part=st.binary(min_size=1, max_size=99))
def test_any_bytes_are_a_message_for_us_only_if_they_are_for_protobuf(head, part):
    data = head + part * (MIN_PAYLOAD_BYTES // len(part) + 1)
    try:
        rest, payload = take_payload(data, REQUEST)
        message = pb.SegmentRequest.FromString(rest)
    except (MalformedMessageError, ComplexMessageError, DecodeError):
        return
    assert payload.path or message == pb.SegmentRequest.FromString(data)


@pytest.mark.parametrize("cut", [1, 50, MIN_PAYLOAD_BYTES])
def test_a_message_that_is_cut_off(cut):
    data = frame(bytes(2 * MIN_PAYLOAD_BYTES)).SerializeToString()
    with pytest.raises(MalformedMessageError):
        take_payload(data[:-cut], FRAME)


@pytest.mark.parametrize(
    "message",
    [
        pb.SegmentRequest(outputs=[1] * 10**7),
        pb.SegmentRequest(image={"raw": {"pixels": {"shape": [1] * 10**7}}}),
        pb.SegmentRequest(request_id="x" * 10**7),
        pb.SegmentRequest(params={"model": "x" * MAX_STRUCTURE_BYTES}),
    ],
    ids=["outputs", "shape", "request id", "model"],
)
def test_structure_is_bounded_in_no_time(message):
    data = message.SerializeToString()
    start = time.perf_counter()
    with pytest.raises(ComplexMessageError):
        take_payload(data, REQUEST)
    assert time.perf_counter() - start < 0.2


def test_unpacked_repeated_fields_and_several_large_values_are_bounded():
    with pytest.raises(ComplexMessageError):
        take_payload(b"\x20\x01" * 10**6, REQUEST)
    twice = frame(bytes(MIN_PAYLOAD_BYTES)).request.SerializeToString() * 2
    with pytest.raises(ComplexMessageError):
        take_payload(twice, REQUEST)


@given(st.binary(max_size=300) | st.integers(0, 3).map(lambda n: bytes(128**n)), st.text("ZYX", max_size=3))
def test_a_detached_field_arrives_in_its_place(data, axes):
    """Each message occurs once in the bytes, so that they are as long as protobuf's own."""
    message = pb.SegmentStreamRequest(frame_id="f")
    message.request.image.raw.axes = axes
    message.request.image.raw.pixels.shape.extend([len(data)])
    message.request.image.pixel_size.y_um = 2
    detached = Detached(message, ("request", "image", "raw", "pixels", "data"), memoryview(data))
    whole = detached.serialize()
    assert detached.byte_size() == len(whole)
    message.request.image.raw.pixels.data = data
    assert pb.SegmentStreamRequest.FromString(whole) == message
    if data:  # protobuf leaves out an empty field
        assert len(whole) == message.ByteSize()
    parsed = Detached.parse(whole, pb.SegmentStreamRequest)
    if len(data) >= MIN_PAYLOAD_BYTES:
        assert (parsed.path, bytes(parsed.data)) == (detached.path, data)
    assert parsed.serialize() == whole if parsed.path else parsed.message == message
