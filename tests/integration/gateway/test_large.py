"""`SegmentLarge`: the same answer in chunks, and every way to send the chunks wrong."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator

import cellserve
import grpc
import numpy as np
import pytest
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc

from .conftest import Gateway
from .dropping import dropping
from .messages import FAST, array_of, error_info, raw
from .test_cancellation import used

MIB = 1 << 20
ARRAYS = {
    pb.RESULT_ARRAY_LABELS: "labels",
    pb.RESULT_ARRAY_FLOWS: "flows",
    pb.RESULT_ARRAY_CELL_PROBABILITY: "cell_probability",
    pb.RESULT_ARRAY_MAPS: "maps",
}


@pytest.fixture(scope="module")
def small(triton, start_gateway) -> Gateway:
    """A gateway of small messages."""
    return start_gateway(triton.grpc, max_message_bytes=2 * MIB, max_transfer_bytes=32 * MIB)


@pytest.fixture(scope="module")
def stub(small) -> Iterator[segmentation_pb2_grpc.SegmentationServiceStub]:
    with grpc.insecure_channel(small.address) as channel:
        yield segmentation_pb2_grpc.SegmentationServiceStub(channel)


@pytest.fixture(scope="module")
def pixels(image) -> np.ndarray:
    """Real nuclei, 2.9 MB."""
    return np.tile(image("nuclei_fluorescence").astype(np.uint16) << 4, (2, 2))


def header(pixels: np.ndarray, **request: object) -> pb.SegmentLargeRequest:
    segment = pb.SegmentRequest(image=raw(pixels), params=FAST, **request)
    segment.image.raw.pixels.ClearField("data")
    return pb.SegmentLargeRequest(header=pb.SegmentLargeHeader(segment=segment, image_bytes=pixels.nbytes))


def chunk(offset: int, data: bytes, crc32: int | None = None) -> pb.SegmentLargeRequest:
    crc32 = zlib.crc32(data) if crc32 is None else crc32
    return pb.SegmentLargeRequest(chunk=pb.Chunk(offset=offset, data=data, crc32=crc32))


def chunks(data: bytes, size: int = MIB) -> Iterable[pb.SegmentLargeRequest]:
    return (chunk(offset, data[offset : offset + size]) for offset in range(0, len(data), size))


def segment(stub, pixels: np.ndarray, size: int = MIB, **request: object) -> pb.SegmentResponse:
    """Calls SegmentLarge; returns the answer as one message."""
    messages = [header(pixels, **request), *chunks(pixels.tobytes(), size)]
    first, *parts = stub.SegmentLarge(iter(messages))
    assert first.upload.received_bytes == 0
    assert parts[0].work.stage == pb.WORK_STAGE_PREPROCESS
    parts = [part for part in parts if not part.HasField("work")]
    answer, data = parts[0].result, {}
    for part in parts[1:]:
        if part.HasField("objects"):
            answer.objects.extend(part.objects.objects)
            continue
        piece, whole = part.chunk.chunk, data.setdefault(part.chunk.array, bytearray())
        assert (piece.offset, piece.crc32) == (len(whole), zlib.crc32(piece.data))
        assert len(piece.data) <= MIB
        whole += piece.data
    for number, whole in data.items():
        getattr(answer, ARRAYS[number]).data = bytes(whole)
    return answer


@pytest.mark.parametrize("compression", [pb.COMPRESSION_UNSPECIFIED, pb.COMPRESSION_ZLIB, pb.COMPRESSION_NONE])
def test_the_answer_of_one_message(stub, gateway, pixels, compression):
    pixels = pixels[:520].copy()
    wanted = {
        "outputs": [pb.OUTPUT_OUTLINES, pb.OUTPUT_FLOWS, pb.OUTPUT_CELL_PROBABILITY, pb.OUTPUT_MAPS, pb.OUTPUT_STYLE],
        "compression": compression,
        "map_type": pb.DATA_TYPE_FLOAT16,
        "request_id": "large-1",
    }
    with grpc.insecure_channel(gateway.address, [("grpc.max_receive_message_length", -1)]) as channel:
        one = segmentation_pb2_grpc.SegmentationServiceStub(channel).Segment(
            pb.SegmentRequest(image=raw(pixels), params=FAST, **wanted)
        )
    ours = segment(stub, pixels, **wanted)
    assert len(ours.objects) > 128, "more than one batch"
    for name in ARRAYS.values():
        np.testing.assert_array_equal(array_of(getattr(ours, name)), array_of(getattr(one, name)))
    for answer in (ours, one):
        answer.ClearField("timing")
    assert ours == one


@pytest.mark.parametrize("size", [1000, 65_537, MIB])
def test_the_size_of_the_chunks_does_not_matter(stub, pixels, size):
    part = pixels[:200, :300].copy()
    np.testing.assert_array_equal(array_of(segment(stub, part, size).labels), array_of(segment(stub, part).labels))


def test_the_client_takes_the_way_by_itself(small, pixels):
    """The request exceeds the limit of this gateway's messages; then the answer alone does."""
    with cellserve.Client(small.address) as client:
        large = client.segment(pixels, **FAST)
        part = client.segment(pixels[:600, :800], outputs=["flows"], **FAST)
        estimate = client.estimate_diameter(pixels)
    assert large.labels.shape == pixels.shape
    assert len(large.objects) == large.labels.max() > 400
    assert part.flows.shape == (2, 600, 800)
    assert 15 < estimate.diameter < 60
    assert '"method": "SegmentLarge"' in small.log.read_text()


GOOD = np.zeros((1100, 1000), np.uint8)
DATA = GOOD.tobytes()
CASES = {
    "nothing": ([], "MESSAGE_MALFORMED"),
    "no header": ([chunk(0, b"1")], "MESSAGE_MALFORMED"),
    "no work": ([pb.SegmentLargeRequest(header=pb.SegmentLargeHeader(image_bytes=9))], "MESSAGE_MALFORMED"),
    "no bytes": ([header(GOOD[:0])], "IMAGE_EMPTY"),
    "too many bytes": ([header(np.broadcast_to(np.uint8(0), (6000, 6000)))], "IMAGE_TOO_LARGE"),
    "two headers": ([header(GOOD), header(GOOD)], "CHUNK_INVALID"),
    "a gap": ([header(GOOD), chunk(0, DATA[:1000]), chunk(1001, DATA[:1000])], "CHUNK_INVALID"),
    "a chunk again": ([header(GOOD), chunk(0, DATA[:1000]), chunk(0, DATA[:1000])], "CHUNK_INVALID"),
    "an empty chunk": ([header(GOOD), chunk(0, b"")], "CHUNK_INVALID"),
    "a chunk that is too large": ([header(GOOD), chunk(0, DATA[: MIB + 1])], "CHUNK_INVALID"),
    "a damaged chunk": ([header(GOOD), chunk(0, DATA[:9000], crc32=1)], "CHUNK_INVALID"),
    "more than declared": ([header(GOOD[:2]), chunk(0, DATA[:2001])], "CHUNK_INVALID"),
    "an end too early": ([header(GOOD), chunk(0, DATA[:1000])], "MESSAGE_MALFORMED"),
    "a long key": (
        [pb.SegmentLargeRequest(header=pb.SegmentLargeHeader(idempotency_key="k" * 129, image_bytes=9, segment={}))],
        "FIELD_INVALID",
    ),
    "another size than the shape": (
        [
            pb.SegmentLargeRequest(
                header=pb.SegmentLargeHeader(segment=header(GOOD).header.segment, image_bytes=len(DATA) - 1)
            ),
            *chunks(DATA[:-1]),
        ],
        "IMAGE_SIZE_MISMATCH",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refusals(stub, small, in_flight, case):
    messages, reason = CASES[case]
    begun = time.monotonic()
    with pytest.raises(grpc.RpcError) as error:
        list(stub.SegmentLarge(iter(messages)))
    assert error_info(error.value).reason == reason
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert time.monotonic() - begun < 2
    assert in_flight(small) == {"requests": 0, "pixels": 0, "bytes": 0}


def test_an_answer_over_the_limit_of_transfers(stub, scrape, small):
    pixels = np.zeros((2000, 2000), np.uint8)
    before = scrape(small).get('cellserve_errors_total{method="SegmentLarge",reason="ANSWER_TOO_LARGE"}', 0)
    outputs = [pb.OUTPUT_FLOWS]
    with pytest.raises(grpc.RpcError) as error:
        segment(stub, pixels, outputs=outputs)
    assert error_info(error.value).reason == "ANSWER_TOO_LARGE"
    after = scrape(small)['cellserve_errors_total{method="SegmentLarge",reason="ANSWER_TOO_LARGE"}']
    assert after == before + 1, "counted once"


def test_an_abandoned_upload_frees_its_memory(stub, small, in_flight):
    call = stub.SegmentLarge(abandoned())
    assert next(call).HasField("upload")
    held = in_flight(small)["bytes"]
    assert len(DATA) <= held <= len(DATA) + 2 * MIB, "the image and one message"
    call.cancel()
    wait_until(lambda: not in_flight(small)["bytes"], 5)


def test_an_upload_goes_on_after_its_connection_broke(small, pixels, in_flight):
    """5 MB of 11.5 MB arrive before the connection is reset, and 2 MB more before it is reset again."""
    image = np.tile(pixels, (2, 2))
    seen: list[cellserve.Progress] = []
    with dropping(small.address, 5_000_000, 2_000_000) as proxy, cellserve.Client(proxy.address) as client:
        broken = client.segment(image, **FAST | {"diameter": 60}, progress=seen.append)
    with cellserve.Client(small.address) as client:
        whole = client.segment(image, **FAST | {"diameter": 60})
    np.testing.assert_array_equal(broken.labels, whole.labels)
    assert [progress.stage for progress in seen].count("upload") == 3
    first, second, third = proxy.sent
    assert first + second + third < image.nbytes + 2.5 * MIB, "a chunk is lost at most, and what was on its way"
    assert third < image.nbytes - 5_000_000
    assert in_flight(small) == {"requests": 0, "pixels": 0, "bytes": 0}


def test_the_memory_of_a_broken_upload_is_freed_after_the_stated_time(triton, start_gateway, in_flight):
    gateway = start_gateway(triton.grpc, upload_resume_s=0.5)
    with grpc.insecure_channel(gateway.address) as channel:
        call = segmentation_pb2_grpc.SegmentationServiceStub(channel).SegmentLarge(abandoned("key"))
        assert next(call).HasField("upload")
        time.sleep(0.1)
        call.cancel()
        wait_until(lambda: in_flight(gateway)["bytes"] == len(DATA), 1)
        wait_until(lambda: in_flight(gateway)["bytes"] == 0, 2)


def test_progress_and_cancellation_in_the_middle_of_the_work(slow_gateway, in_flight, scrape):
    stack = np.random.default_rng(0).integers(0, 1000, (24, 300, 300), np.uint16)
    reports = []
    with grpc.insecure_channel(slow_gateway.address) as channel:
        call = segmentation_pb2_grpc.SegmentationServiceStub(channel).SegmentLarge(iter(volume(stack)))
        next(call)
        for part in call:
            reports.append((time.monotonic(), part.work))
            if part.work.HasField("left_s"):
                break
        assert in_flight(slow_gateway)["bytes"] > 48 * stack.size
        call.cancel()
        begun = time.monotonic()
        wait_until(lambda: not any(in_flight(slow_gateway).values()), 1)
        wait_until(lambda: not at_triton(scrape(slow_gateway)), begun + 1 - time.monotonic())
    assert min(np.diff([at for at, _ in reports])) > 0.3
    last = reports[-1][1]
    assert (last.stage, last.sections_total) == (pb.WORK_STAGE_INFERENCE, 624)
    assert last.tiles_done < last.tiles_total > 624
    assert last.left_s > 1
    before = used(slow_gateway)
    time.sleep(0.5)
    assert used(slow_gateway) - before < 0.15, "no thread works on"


def volume(stack: np.ndarray) -> Iterator[pb.SegmentLargeRequest]:
    params = {"diameter": 30, "ensemble": False, "stack_mode": pb.STACK_MODE_VOLUME, "anisotropy": 1}
    segment = pb.SegmentRequest(image=raw(stack, "ZYX"), params=params)
    segment.image.raw.pixels.ClearField("data")
    yield pb.SegmentLargeRequest(header=pb.SegmentLargeHeader(segment=segment, image_bytes=stack.nbytes))
    yield from chunks(stack.tobytes())


def at_triton(metrics: dict[str, float]) -> float:
    """Returns the tiles that wait for Triton or are there."""
    names = "cellserve_triton_requests_in_flight{", "cellserve_triton_requests_waiting{"
    return sum(value for name, value in metrics.items() if name.startswith(names))


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def abandoned(key: str = "") -> Iterator[pb.SegmentLargeRequest]:
    first = header(GOOD)
    first.header.idempotency_key = key
    yield first
    yield chunk(0, DATA[:1000])
    time.sleep(3)
