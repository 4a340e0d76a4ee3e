"""What a hostile caller does to one address. Each function returns when the attack is over; none fails by itself."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import grpc
import numpy as np
from cellserve.networks import networks_request
from cellserve_preprocess import TileGrid
from cellserve_proto import v1 as pb

from .http2 import Http2Caller

SEGMENT = "/cellserve.v1.SegmentationService/Segment"
NETWORKS = "/cellserve.v1.SegmentationService/RunNetworks"
LARGE = "/cellserve.v1.SegmentationService/SegmentLarge"
STREAM = "/cellserve.v1.SegmentationService/SegmentStream"
WATCH = "/grpc.health.v1.Health/Watch"
MIB = 1 << 20
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def send_raw(address: str, message: bytes, path: str = SEGMENT, timeout_s: float = 60.0) -> grpc.StatusCode:
    """Sends a message of the caller's own making over a connection of its own; returns the status."""
    options = [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options) as channel:
        try:
            channel.unary_unary(path)(message, timeout=timeout_s)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def send_many(address: str, message: bytes, calls: int, path: str = SEGMENT) -> list[grpc.StatusCode]:
    """Sends the same message in many calls at a time, each over a connection of its own."""
    with ThreadPoolExecutor(calls) as pool:
        return list(pool.map(lambda _: send_raw(address, message, path), range(calls)))


def file_message(size: int) -> bytes:
    """Returns a request whose image is a file of `size` zeros: no format is named, so decoding fails at once."""
    return pb.SegmentRequest(image=pb.Image(encoded=pb.EncodedImage(data=bytes(size)))).SerializeToString()


def packed(field: int, count: int) -> bytes:
    """Returns a packed repeated field of `count` ones, in wire format."""
    return _field(field, b"\1" * count)


def many_outputs(count: int) -> bytes:
    """Returns a SegmentRequest whose `outputs` has `count` entries."""
    return packed(4, count)


def long_shape(count: int) -> bytes:
    """Returns a SegmentRequest whose array's `shape` has `count` entries."""
    return _field(2, _field(1, _field(1, packed(2, count))))


def many_starts(count: int) -> bytes:
    """Returns a RunNetworksRequest whose grid has `count` rows of tiles."""
    return _field(2, packed(3, count))


def packed_planes(edge: int) -> bytes:
    """Returns a small RunNetworksRequest of one large plane of zeros: 12 bytes a pixel are the answer."""
    grid = TileGrid.cover((edge, edge))
    request = networks_request(np.zeros((1, 1, edge, edge), np.float32), grid, "", False, "batch", None).message
    request.planes.compression = pb.COMPRESSION_ZLIB
    request.planes.data = zlib.compress(bytes(4 * edge * edge), 9)
    return request.SerializeToString()


def gzip_bombs(address: str, calls: int, unpacked: int) -> list[str | None]:
    """Sends messages that gzip packs a thousandfold; returns their gRPC status."""
    compressor = zlib.compressobj(9, wbits=31)
    message = compressor.compress(file_message(unpacked)) + compressor.flush()
    with callers(address, calls) as connections:
        streams = [connection.open(SEGMENT, {"grpc-encoding": "gzip"}) for connection in connections]
        for connection, stream in zip(connections, streams, strict=True):
            connection.send_message(stream, message, compressed=True, end=True)
        return [connection.status(stream, 20.0) for connection, stream in zip(connections, streams, strict=True)]


def unread_answers(address: str, calls: int, edge: int, hold_s: float) -> None:
    """Asks for flows and probabilities of an empty image of edge x edge pixels, and gives the answers no window."""
    message = blank_request(edge).SerializeToString()
    with callers(address, calls, window=0) as connections:
        for connection in connections:
            connection.send_message(connection.open(SEGMENT), message, end=True)
        end = time.monotonic() + hold_s
        while time.monotonic() < end:
            for connection in connections:
                connection.pump(0.02)


def unfinished_uploads(address: str, calls: int, size: int) -> None:
    """Begins uploads in chunks, and leaves out the last chunk. Holds those that the server reads no further."""
    image = pb.Image(encoded=pb.EncodedImage(format=pb.EncodedImage.FORMAT_TIFF))
    header = pb.SegmentLargeHeader(segment=pb.SegmentRequest(image=image), image_bytes=size)
    first = pb.SegmentLargeRequest(header=header).SerializeToString()
    data, pieces = bytes(MIB), size // MIB - 1
    crc32 = zlib.crc32(data)
    with callers(address, calls) as connections, ThreadPoolExecutor(calls) as pool:

        def send(caller: Http2Caller) -> None:
            stream = caller.open(LARGE)
            caller.send_message(stream, first)
            caller.pump(0.2)
            for index in range(pieces):
                chunk = pb.Chunk(offset=index * MIB, data=data, crc32=crc32)
                message = pb.SegmentLargeRequest(chunk=chunk).SerializeToString()
                if caller.send_message(stream, message) < len(message):
                    return

        list(pool.map(send, connections))
        time.sleep(1)


def unread_large_answers(address: str, calls: int, edge: int, hold_s: float) -> None:
    """Asks for large answers in chunks, and reads none of them."""
    request = blank_request(edge)
    data = request.image.raw.pixels.data
    request.image.raw.pixels.ClearField("data")
    header = pb.SegmentLargeHeader(segment=request, image_bytes=len(data))
    chunk = pb.Chunk(data=data, crc32=zlib.crc32(data))
    with callers(address, calls) as connections:
        for caller in connections:
            stream = caller.open(LARGE)
            caller.send_message(stream, pb.SegmentLargeRequest(header=header).SerializeToString())
            caller.send_message(stream, pb.SegmentLargeRequest(chunk=chunk).SerializeToString(), end=True)
        time.sleep(hold_s)


def blank_request(edge: int, **fields: object) -> pb.SegmentRequest:
    """Returns a small request of a large empty image, with a large answer: 12 bytes a pixel and the labels."""
    pixels = pb.Array(
        data_type=pb.DATA_TYPE_UINT8,
        shape=[edge, edge],
        compression=pb.COMPRESSION_ZLIB,
        data=zlib.compress(bytes(edge * edge), 9),
    )
    given = {
        "image": pb.Image(raw=pb.RawImage(pixels=pixels, axes="YX")),
        "params": {"ensemble": False, "diameter": 200},
        "outputs": [pb.OUTPUT_FLOWS, pb.OUTPUT_CELL_PROBABILITY],
    }
    return pb.SegmentRequest(**(given | fields))


def unfinished_bodies(address: str, calls: int, size: int, hold_s: float, path: str = SEGMENT) -> int:
    """Sends all but the last byte of large messages, then waits; returns the bytes that the gateway took."""
    message = file_message(size)[:-1]
    with callers(address, calls) as connections, ThreadPoolExecutor(calls) as pool:
        taken = sum(
            pool.map(lambda each: each.send_message(each.open(path), message, declared=len(message) + 1), connections)
        )
        time.sleep(hold_s)
    return taken


def many_streams(address: str, connections: int, streams: int, hold_s: float) -> int:
    """Opens calls that send a first piece of their body and no more; returns how many are still open at the end."""
    piece = file_message(16_000)
    with callers(address, connections) as opened:
        for connection in opened:
            for _ in range(streams):
                stream = connection.open(SEGMENT)
                connection.send_message(stream, piece, declared=MIB)
            connection.pump(0.01)
        end = time.monotonic() + hold_s
        while time.monotonic() < end:
            for connection in opened:
                connection.pump(0.005)
        return sum(
            stream not in connection.reset and "grpc-status" not in connection.headers.get(stream, {})
            for connection in opened
            if not connection.closed
            for stream in range(1, 2 * streams, 2)
        )


@contextmanager
def callers(address: str, count: int, **options: int) -> Iterator[list[Http2Caller]]:
    """Opens connections and closes them at the end."""
    with ExitStack() as stack:
        opened = [Http2Caller(address, **options) for _ in range(count)]
        for connection in opened:
            stack.callback(connection.close)
        yield opened


def _field(number: int, content: bytes) -> bytes:
    length, prefix = len(content), b""
    while length > 127:
        prefix, length = prefix + bytes((length & 127 | 128,)), length >> 7
    return bytes((number << 3 | 2,)) + prefix + bytes((length,)) + content
