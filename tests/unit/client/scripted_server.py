"""A gRPC server that answers as a gateway does, but finds its objects by a threshold, and fails when told to.

Run as a program it serves until it is killed: `scripted_server.py PORT` (0: a free one) prints its port.
"""

from __future__ import annotations

import sys
import threading
import time
import zlib
from collections import deque
from concurrent import futures

import grpc
import numpy as np
from cellserve.testing import service
from cellserve.testing.service import Refusal
from cellserve_formats import Image, planes
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from scipy import ndimage

DTYPES = {
    pb.DATA_TYPE_UINT8: np.dtype("<u1"),
    pb.DATA_TYPE_UINT16: np.dtype("<u2"),
    pb.DATA_TYPE_UINT32: np.dtype("<u4"),
    pb.DATA_TYPE_INT16: np.dtype("<i2"),
    pb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    pb.DATA_TYPE_FLOAT64: np.dtype("<f8"),
    pb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    pb.DATA_TYPE_INT32: np.dtype("<i4"),
}
VERSION = pb.ModelVersion(
    family="generalist",
    name="generalist",
    version="1",
    sha256="ab" * 32,
    weights=pb.PRECISION_FLOAT16,
    precision=pb.PRECISION_BFLOAT16,
    runtime="onnxruntime",
)
MODEL = pb.Model(
    name="generalist",
    description="Cells and nuclei.",
    versions=[VERSION],
    working_diameter=30.0,
    channels=["cytoplasm", "nucleus"],
    license="BSD-3-Clause",
    provenance="Scripted.",
    ready=True,
    tile_size=224,
    max_batch_size=8,
)

LIMITS = pb.Limits(
    max_image_pixels=100_000,
    max_image_bytes=600_000,
    max_planes=4,
    max_tiles=50,
    max_transfer_bytes=400_000,
    max_message_bytes=300_000,
    default_deadline_s=300,
    max_deadline_s=600,
    max_stack_planes=40,
    max_stack_voxels=1_000_000,
    max_stack_tiles=500,
)


def failure(
    code: grpc.StatusCode,
    message: str,
    reason: str = "",
    *,
    retry_after_s: float | None = None,
    **metadata: str,
) -> status_pb2.Status:
    """A status as the gateway sends it; without a reason, as a proxy would."""
    status = status_pb2.Status(code=code.value[0], message=message)
    if reason:
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="cellserve", metadata=metadata))
    if retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(round(retry_after_s * 1000))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def unpack(array: pb.Array) -> np.ndarray:
    data = zlib.decompress(array.data) if array.compression == pb.COMPRESSION_ZLIB else array.data
    return np.frombuffer(data, DTYPES[array.data_type]).reshape(tuple(array.shape))


def pack(values: np.ndarray, compression: int = pb.COMPRESSION_NONE) -> pb.Array:
    number = next(number for number, dtype in DTYPES.items() if dtype == values.dtype)
    data = zlib.compress(values.tobytes()) if compression == pb.COMPRESSION_ZLIB else values.tobytes()
    return pb.Array(data_type=number, shape=values.shape, compression=compression, data=data)


def bright(image: Image) -> np.ndarray:
    """Labels what is brighter than the middle of the range."""
    pixels = planes(image).astype(np.float32).mean(axis=0)
    labels, _ = ndimage.label(pixels > (pixels.min() + pixels.max()) / 2)
    return labels


class Service(service.Service):
    """The server that ships with the client, with answers of a real one: after failures, late, or damaged."""

    def __init__(self, *failures: status_pb2.Status, delay_s: float = 0.0) -> None:
        super().__init__(bright, MODEL, "9.9", self._receive)
        self.failures = deque(failures)
        self.header_failures: deque[status_pb2.Status] = deque()
        self.upload_failures: deque[status_pb2.Status] = deque()
        self.limits_failure: status_pb2.Status | None = None
        self.delay_s = delay_s
        self.damage = 0
        self.requests: list = []
        self.metadata: list[dict[str, str]] = []
        self.running = self.most_running = 0
        self.cancelled = threading.Event()
        self._lock = threading.Lock()

    def delay_of(self, request) -> float:
        """Seconds that a request takes."""
        return self.delay_s

    def wait_running(self, count: int) -> None:
        """Waits until so many requests are being worked on."""
        end = time.monotonic() + 20
        while self.running < count:
            assert time.monotonic() < end, f"only {self.running} of {count} requests came"
            time.sleep(0.01)

    def wait_received(self, count: int) -> None:
        """Waits until so many requests have come."""
        end = time.monotonic() + 20
        while len(self.requests) < count:
            assert time.monotonic() < end, f"only {len(self.requests)} of {count} requests came"
            time.sleep(0.01)

    def SegmentLarge(self, requests, context):
        """Fails, if told to, in the middle of the upload."""
        with service.refusing(context):
            yield from self._segment_large(requests, context)

    def _segment_large(self, requests, context):
        context.add_callback(lambda: None if context.code() is not None else self.cancelled.set())
        header = next(requests).header
        if self.header_failures:
            raise Refusal(self.header_failures.popleft())
        yield pb.SegmentLargeResponse(upload=pb.UploadProgress())
        data = b""
        while len(data) < header.image_bytes:
            chunk = next(requests).chunk
            assert (chunk.offset, chunk.crc32) == (len(data), zlib.crc32(chunk.data))
            data += chunk.data
            if self.upload_failures:
                raise Refusal(self.upload_failures.popleft())
        work = header.segment if header.HasField("segment") else header.estimate_diameter
        work.image.raw.pixels.data = data
        self.requests.append(header)
        if not header.HasField("segment"):
            yield pb.SegmentLargeResponse(diameter=self.estimated(work))
            return
        end = time.monotonic() + self.delay_s
        while time.monotonic() < end and context.is_active():
            time.sleep(0.005)
        for part in service.in_parts(self.segmented(work)):
            yield from self._smaller(part) if part.HasField("chunk") else [part]

    def _smaller(self, part):
        """Cuts a chunk into smaller ones, which may be damaged."""
        whole = part.chunk.chunk
        for offset in range(0, len(whole.data), 5000):
            piece = whole.data[offset : offset + 5000]
            chunk = pb.Chunk(offset=whole.offset + offset, data=piece, crc32=zlib.crc32(piece) ^ self.damage)
            yield pb.SegmentLargeResponse(chunk=pb.ResultChunk(array=part.chunk.array, chunk=chunk))

    def segmented(self, request):
        answer = super().segmented(request)
        answer.timing.CopyFrom(pb.Timing(decode_s=0.01, inference_s=0.5, postprocess_s=0.2, total_s=0.75, tiles=9))
        for entry in answer.objects:
            entry.mean_probability, entry.flow_error = 0.97, 0.012
        for warning in answer.warnings:
            warning.metadata["largest_logit"] = "-3"
        return answer

    def RunNetworks(self, request, context):
        """Answers with the first channel of the planes, once, twice and three times."""
        with service.refusing(context):
            self.receive(request, context)
            first = np.rint(unpack(request.planes)[:, :1] * 2.0**20).astype(np.int32)
            sums = pack(first * np.array([1, 2, 3], np.int32)[:, None, None])
            return pb.RunNetworksResponse(request_id=request.request_id, model=VERSION, server_version="9.9", sums=sums)

    def diameter(self, labels, params):
        if params.diameter:
            return params.diameter, pb.DIAMETER_SOURCE_CALLER
        return 30.1, pb.DIAMETER_SOURCE_TRAINING_DIAMETER

    def GetLimits(self, request, context):
        with service.refusing(context):
            if self.limits_failure:
                raise Refusal(self.limits_failure)
            return pb.GetLimitsResponse(limits=LIMITS, server_version="9.9")

    def _receive(self, request, context):
        context.add_callback(lambda: None if context.code() is not None else self.cancelled.set())
        with self._lock:
            self.requests.append(request)
            self.metadata.append(dict(context.invocation_metadata()))
            status = self.failures.popleft() if self.failures else None
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            end = time.monotonic() + self.delay_of(request)
            while time.monotonic() < end:
                if not context.is_active():
                    self.cancelled.set()
                    return
                time.sleep(0.005)
        finally:
            with self._lock:
                self.running -= 1
        if status is not None:
            raise Refusal(status)


def start(service: Service, address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None):
    """Starts a server; returns it, its health service and its port."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(futures.ThreadPoolExecutor(32), options=options)
    health = HealthServicer()
    segmentation_pb2_grpc.add_SegmentationServiceServicer_to_server(service, server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    return server, health, port


if __name__ == "__main__":
    running, _, bound = start(Service(delay_s=0.02), f"127.0.0.1:{sys.argv[1]}")
    print(bound, flush=True)
    running.wait_for_termination()
