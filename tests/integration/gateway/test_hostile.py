"""Hostile callers of the gRPC port: what each costs in memory and in time of the event loop, and how it is refused.

Limits are small, so that the attacks are quick; the mechanism is that of the defaults. `-s` shows the cost of each.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from .hostile import attacks
from .hostile.http2 import Http2Caller
from .hostile.watch import Cost, watched
from .messages import error_info, info_of

MIB = 1 << 20
MESSAGE, IN_FLIGHT, UPLOADING = 32 * MIB, 128 * MIB, 64 * MIB
BODY = attacks.file_message(30 * MIB)
CONVERSION = 2 * MESSAGE
"""gRPC turns one received message at a time into bytes, with two more copies of it."""
ALLOWANCE = 48 * MIB
"""Memory that the allocator keeps, and of the connections."""
STALL_S = 1.0
"""A quiet machine stays below .2 s (docs/decisions/0017). Tests run beside others on two cores."""
WORKING = 28
"""Bytes for each pixel of an image in work."""
TILES = 32 * 224 * 224 * 5 * 4
"""Bytes of the tiles of a request at Triton, and of their maps."""
TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def start(triton, start_gateway):
    limits = {"max_message_bytes": MESSAGE, "max_bytes_in_flight": IN_FLIGHT, "max_bytes_uploading": UPLOADING}
    return lambda **settings: start_gateway(triton.grpc, **(limits | settings))


@pytest.fixture(scope="module")
def target(start):
    return start(max_calls=100, max_connections=50, write_timeout_s=1)


@pytest.fixture(scope="module")
def guarded(triton, start_gateway, tmp_path_factory):
    """A gateway that wants tokens."""
    tokens = tmp_path_factory.mktemp("secrets") / "tokens"
    tokens.write_text(f"alice {TOKEN}\n")
    settings = {"max_message_bytes": MESSAGE, "max_bytes_in_flight": IN_FLIGHT, "max_bytes_uploading": UPLOADING}
    gateway = start_gateway(triton.grpc, serving=False, tokens_file=tokens, **settings)
    with grpc.insecure_channel(gateway.health) as channel:
        watched_health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=120)
        assert any(answer.status == health_pb2.HealthCheckResponse.SERVING for answer in watched_health)
    return gateway


@contextlib.contextmanager
def costing(gateway, most: int) -> Iterator[Cost]:
    """Fails if the body costs more memory, or holds up the event loop."""
    with watched(gateway.process.pid, gateway.health) as cost:
        yield cost
    print(cost)
    assert cost.peak - cost.before <= most + ALLOWANCE, str(cost)
    assert cost.stall_s < STALL_S, str(cost)


def stub(channel) -> segmentation_pb2_grpc.SegmentationServiceStub:
    return segmentation_pb2_grpc.SegmentationServiceStub(channel)


def test_a_body_without_a_token_is_not_received(guarded):
    with costing(guarded, 0):
        assert set(attacks.send_many(guarded.address, BODY, 12)) == {grpc.StatusCode.UNAUTHENTICATED}


def test_unfinished_bodies_without_a_token(guarded):
    with costing(guarded, 0):
        assert attacks.unfinished_bodies(guarded.address, 12, 30 * MIB, 0.5) < 3 * MIB, "windows of 64 KiB"


def test_many_bodies_wait_for_memory(target, in_flight):
    with costing(target, IN_FLIGHT + CONVERSION + MESSAGE):  # one body that has ended is not given back yet
        codes = attacks.send_many(target.address, BODY, 12)
    assert set(codes) == {grpc.StatusCode.INVALID_ARGUMENT}, "each was received, none is an image"
    assert in_flight(target) == {"requests": 0, "pixels": 0, "bytes": 0}


def test_slow_writers_hold_no_more_than_the_limit(target, in_flight):
    with costing(target, UPLOADING):
        taken = attacks.unfinished_bodies(target.address, 12, 30 * MIB, 1)
        assert 30 * MIB < taken < UPLOADING + 12 * MIB
    time.sleep(0.5)
    assert in_flight(target)["bytes"] == 0


def test_uploads_in_chunks_hold_no_more_than_the_limit(target, in_flight):
    with costing(target, UPLOADING):
        attacks.unfinished_uploads(target.address, 12, 30 * MIB)
    time.sleep(0.5)
    assert in_flight(target)["bytes"] == 0


@pytest.mark.parametrize("method", ["/cellserve.v1.SegmentationService/GetModel", "/grpc.health.v1.Health/Check"])
def test_methods_without_images_take_no_large_message(target, method):
    with costing(target, 2 * MESSAGE + CONVERSION), ThreadPoolExecutor(6) as pool:
        codes = set(pool.map(lambda _: attacks.send_raw(target.address, BODY, method), range(6)))
    assert codes <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_unknown_methods_cost_nothing(target):
    with costing(target, 0), ThreadPoolExecutor(6) as pool:
        codes = set(pool.map(lambda _: attacks.send_raw(target.address, BODY, "/x.Y/Z"), range(6)))
    assert codes == {grpc.StatusCode.UNIMPLEMENTED}


def test_packed_messages_are_not_unpacked(target):
    with costing(target, 0):
        unimplemented = str(grpc.StatusCode.UNIMPLEMENTED.value[0])
        assert set(attacks.gzip_bombs(target.address, 8, 30 * MIB)) == {unimplemented}


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (attacks.many_outputs, attacks.SEGMENT),
        (attacks.long_shape, attacks.SEGMENT),
        (attacks.many_starts, attacks.NETWORKS),
    ],
)
def test_repeated_fields_are_bounded(target, make, path):
    message = make(20_000_000)
    with (
        costing(target, 3 * len(message)),
        grpc.insecure_channel(target.address, attacks.UNLIMITED) as channel,
        pytest.raises(grpc.RpcError) as error,
    ):
        channel.unary_unary(path)(message)
    assert error_info(error.value).reason == "MESSAGE_TOO_COMPLEX"


def test_packed_planes_are_weighed_before_they_are_unpacked(target, in_flight):
    """Twelve small messages of planes that take 55 MB each in work: two of them are let in."""
    message = attacks.packed_planes(1100)
    assert len(message) < 10_000
    with costing(target, IN_FLIGHT + 2 * TILES):
        codes = attacks.send_many(target.address, message, 12, attacks.NETWORKS)
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert in_flight(target) == {"requests": 0, "pixels": 0, "bytes": 0}


def test_answers_that_nobody_reads_count_until_they_are_gone(target, in_flight):
    """Ten answers of 15 MB: some are held, the other calls are refused before any work."""
    with costing(target, IN_FLIGHT + 10 * WORKING * MIB), attacks.callers(target.address, 10, window=0) as connections:
        for connection in connections:
            request = attacks.blank_request(1024).SerializeToString()
            connection.send_message(connection.open(attacks.SEGMENT), request, end=True)
        end = time.monotonic() + 30
        while (held := in_flight(target))["requests"] and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(1.5)  # longer than a caller may take for an answer
        held = in_flight(target)
        assert 20 * MIB < held["bytes"] <= IN_FLIGHT, "gRPC still has the answers"
    end = time.monotonic() + 10
    while in_flight(target)["bytes"] and time.monotonic() < end:
        time.sleep(0.1)
    assert in_flight(target)["bytes"] == 0, "the connections are closed"
    assert "ANSWER_NOT_TAKEN" in target.log.read_text()


def test_unread_answers_in_chunks_count_until_they_are_gone(target, in_flight):
    with costing(target, IN_FLIGHT + 10 * WORKING * MIB):
        attacks.unread_large_answers(target.address, 10, 1024, 3)
    end = time.monotonic() + 10
    while in_flight(target)["bytes"] and time.monotonic() < end:
        time.sleep(0.1)
    assert in_flight(target)["bytes"] == 0, "the connections are closed"


@pytest.mark.parametrize("port", ["address", "health"])
def test_a_watch_without_a_window_delays_nobody(start, port):
    leaving = start(drain_s=30)
    stuck = Http2Caller(getattr(leaving, port), window=0)
    stuck.send_message(stuck.open(attacks.WATCH), b"", end=True)
    stuck.pump(0.5)
    with grpc.insecure_channel(leaving.health) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=2).status == health_pb2.HealthCheckResponse.SERVING
    assert exit_seconds(leaving) < 10
    stuck.close()


def test_those_who_follow_the_health_are_told_of_the_end(start):
    leaving = start(drain_s=30)
    with grpc.insecure_channel(leaving.address) as channel:
        answers = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(answers).status == health_pb2.HealthCheckResponse.SERVING
        assert exit_seconds(leaving) < 10
        assert [answer.status for answer in answers] == [health_pb2.HealthCheckResponse.NOT_SERVING]


def test_an_idle_stream_delays_no_end(start):
    leaving = start(drain_s=30)
    with attacks.callers(leaving.address, 1) as (caller,):
        stream = caller.open(attacks.STREAM)
        caller.pump(0.5)
        assert exit_seconds(leaving) < 10
        assert caller.status(stream, 5) == str(grpc.StatusCode.UNAVAILABLE.value[0])


def exit_seconds(gateway) -> float:
    start = time.monotonic()
    gateway.process._popen.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        gateway.process._popen.wait(40)
    return time.monotonic() - start


def test_followers_of_the_health_are_bounded(start):
    few = start(max_watchers=3)
    with grpc.insecure_channel(few.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        following = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
        assert all(next(answers).status for answers in following)
        with pytest.raises(grpc.RpcError) as error:
            next(health.Watch(health_pb2.HealthCheckRequest()))
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        following[0].cancel()
        time.sleep(0.2)
        assert next(health.Watch(health_pb2.HealthCheckRequest())).status


def test_an_answer_over_the_limit_is_refused_before_the_work(start, scrape):
    """One frame fails for its size; the stream goes on, and nothing counts as OK that did not arrive."""
    small = start(max_message_bytes=4 * MIB)
    large = attacks.blank_request(1024)
    with grpc.insecure_channel(small.address, attacks.UNLIMITED) as channel:
        begun = time.monotonic()
        with pytest.raises(grpc.RpcError) as error:
            stub(channel).Segment(large)
        assert time.monotonic() - begun < 1
        assert error_info(error.value).reason == "ANSWER_TOO_LARGE"
        frames = [("large", large), ("small", attacks.blank_request(64))]
        requests = [pb.SegmentStreamRequest(frame_id=name, request=request) for name, request in frames]
        answers = {answer.frame_id: answer for answer in stub(channel).SegmentStream(iter(requests))}
    assert info_of(answers["large"]).reason == "ANSWER_TOO_LARGE"
    assert len(answers["small"].response.labels.data) == 2 * 64 * 64
    counted = scrape(small)
    assert 'cellserve_requests_total{code="OK",method="Segment"}' not in counted
    assert counted['cellserve_errors_total{method="SegmentStream",reason="ANSWER_TOO_LARGE"}'] == 1
    assert 'cellserve_tiles_total{network="generalist_single"}' not in counted or (
        counted['cellserve_tiles_total{network="generalist_single"}'] == 1
    ), "the small frame alone was worked on"


def test_a_malformed_frame_ends_its_stream_with_a_reason(target):
    good = pb.SegmentStreamRequest(frame_id="good", request=attacks.blank_request(64)).SerializeToString()
    with grpc.insecure_channel(target.address, attacks.UNLIMITED) as channel:
        call = channel.stream_stream(attacks.STREAM, response_deserializer=pb.SegmentStreamResponse.FromString)(
            iter([good, b"\xff\xff\xff"])
        )
        answers = []
        with pytest.raises(grpc.RpcError) as error:
            answers.extend(call)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(error.value).reason == "MESSAGE_MALFORMED"
    assert "Traceback" not in target.log.read_text()


def test_frames_before_a_malformed_one_are_answered(target):
    good = pb.SegmentStreamRequest(frame_id="good", request=attacks.blank_request(64)).SerializeToString()
    with attacks.callers(target.address, 1) as (caller,):
        stream = caller.open(attacks.STREAM)
        caller.send_message(stream, good)
        caller.send_message(stream, b"\xff\xff\xff", end=True)
        assert caller.status(stream) == str(grpc.StatusCode.INVALID_ARGUMENT.value[0])
        assert caller.received[stream] > 2 * 64 * 64


def test_a_message_larger_than_declared_is_refused(target):
    with grpc.insecure_channel(target.address, attacks.UNLIMITED) as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(attacks.SEGMENT)(BODY, metadata=[("cellserve-message-bytes", "100000")])
    assert error_info(error.value).reason == "MESSAGE_SIZE_MISMATCH"


def test_connections_are_bounded(target):
    """A port scan of our own: 80 connections, of which 50 stay."""
    host, port = target.address.rsplit(":", 1)
    with costing(target, 0), contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_connection((host, int(port)))) for _ in range(80)]
        time.sleep(1)
        assert 30 <= sum(map(_closed, sockets)) < 45


def _closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def test_a_connection_that_says_nothing_is_closed(start):
    hasty = start(handshake_timeout_s=1)
    host, port = hasty.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as silent:
        begun = time.monotonic()
        while silent.recv(4096):
            pass
    assert time.monotonic() - begun < 5


def test_calls_are_bounded(target):
    """Beyond the limit calls are refused at once, and what the others have sent stays in small windows."""
    with costing(target, 2 * UPLOADING):
        assert attacks.many_streams(target.address, 10, 60, 0.5) <= 100


def test_large_headers_are_refused(target):
    with attacks.callers(target.address, 1) as (caller,):
        stream = caller.open("/grpc.health.v1.Health/Check", {f"x-{number}": "a" * 30_000 for number in range(2)})
        caller.send_message(stream, b"", end=True)
        assert caller.status(stream, 5) is None
        assert caller.closed


def test_every_rpc_asks_for_the_token_except_health(guarded):
    """Walks what the server itself lists. The table that this test prints is part of the documentation."""
    with grpc.insecure_channel(guarded.address) as channel:
        rows = {path: _answer(channel, path) for path in _methods(channel)}
    width = max(map(len, rows))
    print(*(f"{path:{width}}  {code}" for path, code in rows.items()), sep="\n")
    open_to_all = {path for path, code in rows.items() if code != "UNAUTHENTICATED"}
    assert open_to_all == {"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"}
    assert len(rows) >= 10


def _methods(channel) -> list[str]:
    """Returns the paths of all methods of all services that reflection lists; asks with the token."""
    from google.protobuf import descriptor_pb2
    from grpc_reflection.v1alpha import reflection_pb2

    def ask(**question: str) -> reflection_pb2.ServerReflectionResponse:
        call = channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        request = reflection_pb2.ServerReflectionRequest(**question)
        return next(call(iter([request]), metadata=[("authorization", f"Bearer {TOKEN}")]))

    paths = []
    for service in ask(list_services="").list_services_response.service:
        answer = ask(file_containing_symbol=service.name).file_descriptor_response
        for data in answer.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(data)
            for described in file.service:
                if f"{file.package}.{described.name}" == service.name:
                    paths += [f"/{service.name}/{method.name}" for method in described.method]
    return paths


def _answer(channel, path: str) -> str:
    try:
        next(channel.stream_stream(path)(iter([b""]), timeout=5))
    except grpc.RpcError as error:
        return error.code().name
    return "OK"
