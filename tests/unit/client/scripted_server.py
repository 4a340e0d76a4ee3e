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
}
MAP_TYPES = {pb.DATA_TYPE_FLOAT32: "<f4", pb.DATA_TYPE_FLOAT16: "<f2"}
ARRAYS = {
    pb.RESULT_ARRAY_LABELS: "labels",
    pb.RESULT_ARRAY_FLOWS: "flows",
    pb.RESULT_ARRAY_CELL_PROBABILITY: "cell_probability",
    pb.RESULT_ARRAY_MAPS: "maps",
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


class Service(segmentation_pb2_grpc.SegmentationServiceServicer):
    """Answers every request, after `failures` is used up and `delay_s` is over."""

    def __init__(self, *failures: status_pb2.Status, delay_s: float = 0.0) -> None:
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

    def Segment(self, request, context):
        self._receive(request, context)
        return segmented(request)

    def SegmentLarge(self, requests, context):
        """Fails, if told to, in the middle of the upload."""
        context.add_callback(lambda: None if context.code() is not None else self.cancelled.set())
        header = next(requests).header
        if self.header_failures:
            self._fail(self.header_failures.popleft(), context)
        yield pb.SegmentLargeResponse(upload=pb.UploadProgress())
        data = b""
        while len(data) < header.image_bytes:
            chunk = next(requests).chunk
            assert (chunk.offset, chunk.crc32) == (len(data), zlib.crc32(chunk.data))
            data += chunk.data
            if self.upload_failures:
                self._fail(self.upload_failures.popleft(), context)
        work = header.segment if header.HasField("segment") else header.estimate_diameter
        work.image.raw.pixels.data = data
        self.requests.append(header)
        if not header.HasField("segment"):
            yield pb.SegmentLargeResponse(diameter=estimated(work))
            return
        end = time.monotonic() + self.delay_s
        while time.monotonic() < end and context.is_active():
            time.sleep(0.005)
        answer = segmented(work)
        arrays = {number: getattr(answer, name) for number, name in ARRAYS.items() if answer.HasField(name)}
        parts = [(number, array.data) for number, array in arrays.items()]
        objects = list(answer.objects)
        for array in arrays.values():
            array.ClearField("data")
        answer.ClearField("objects")
        yield pb.SegmentLargeResponse(result=answer)
        for found in objects:
            yield pb.SegmentLargeResponse(objects=pb.ObjectBatch(objects=[found]))
        for number, whole in parts:
            for offset in range(0, len(whole), 5000):
                piece = whole[offset : offset + 5000]
                chunk = pb.Chunk(offset=offset, data=piece, crc32=zlib.crc32(piece) ^ self.damage)
                yield pb.SegmentLargeResponse(chunk=pb.ResultChunk(array=number, chunk=chunk))

    def EstimateDiameter(self, request, context):
        self._receive(request, context)
        return estimated(request)

    def ListModels(self, request, context):
        return pb.ListModelsResponse(models=[MODEL], default_model="generalist")

    def GetModel(self, request, context):
        if request.name != MODEL.name:
            self._fail(failure(grpc.StatusCode.NOT_FOUND, "no such model", "MODEL_UNKNOWN"), context)
        return pb.GetModelResponse(model=MODEL)

    def GetLimits(self, request, context):
        if self.limits_failure:
            self._fail(self.limits_failure, context)
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
            self._fail(status, context)

    def _fail(self, status, context):
        context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
        code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
        context.abort(code, status.message)


def estimated(request: pb.EstimateDiameterRequest) -> pb.EstimateDiameterResponse:
    return pb.EstimateDiameterResponse(
        request_id=request.request_id, diameter=30.1, source=pb.DIAMETER_SOURCE_TRAINING_DIAMETER, model=VERSION
    )


def segmented(request: pb.SegmentRequest) -> pb.SegmentResponse:
    """Labels what is brighter than the middle of the range."""
    pixels = unpack(request.image.raw.pixels).astype(np.float32)
    if request.image.raw.axes != "YX":
        pixels = pixels.mean(axis=0 if request.image.raw.axes == "CYX" else 2)
    if request.maps_only:
        maps = pack(np.zeros((3, *pixels.shape), MAP_TYPES[request.map_type]))
        return pb.SegmentResponse(
            axes="YX", maps=maps, params=request.params, diameter_source=pb.DIAMETER_SOURCE_CALLER, model=VERSION
        )
    labels, _ = ndimage.label(pixels > (pixels.min() + pixels.max()) / 2)
    params = pb.SegmentParams()
    params.CopyFrom(request.params)
    params.model = "generalist"
    params.cytoplasm_channel = params.cytoplasm_channel
    if not params.diameter:
        params.diameter = 30.0
    answer = pb.SegmentResponse(
        request_id=request.request_id,
        axes="YX",
        server_version="9.9",
        labels=pack(labels.astype("<u2"), request.compression),
        params=params,
        diameter_source=pb.DIAMETER_SOURCE_CALLER if request.params.diameter else pb.DIAMETER_SOURCE_TRAINING_DIAMETER,
        model=VERSION,
        timing=pb.Timing(decode_s=0.01, inference_s=0.5, postprocess_s=0.2, total_s=0.75, tiles=9),
    )
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        mask = labels[rows, columns] == label
        area = int(mask.sum())
        y, x = ndimage.center_of_mass(mask)
        entry = answer.objects.add(
            label=label,
            bbox=pb.BoundingBox(y_min=rows.start, x_min=columns.start, z_max=1, y_max=rows.stop, x_max=columns.stop),
            centroid=pb.Centroid(y=rows.start + y, x=columns.start + x),
            area=area,
            equivalent_diameter_area=2 * (area / np.pi) ** 0.5,
            mean_probability=0.97,
            flow_error=0.012,
        )
        if pb.OUTPUT_OUTLINES in request.outputs:
            entry.outlines.add().points.extend([rows.start, columns.start, rows.start, columns.stop - 1])
    if pb.OUTPUT_FLOWS in request.outputs:
        answer.flows.CopyFrom(pack(np.zeros((2, *labels.shape), "<f4")))
    if pb.OUTPUT_CELL_PROBABILITY in request.outputs:
        answer.cell_probability.CopyFrom(pack(np.ones(labels.shape, "<f4")))
    if pb.OUTPUT_STYLE in request.outputs:
        answer.style.extend([1 / 16] * 256)
    if request.omit_labels:
        answer.ClearField("labels")
    if request.image.HasField("pixel_size"):
        answer.pixel_size.CopyFrom(request.image.pixel_size)
    if not answer.objects:
        answer.warnings.add(
            kind=pb.WARNING_KIND_NOTHING_FOUND, message="Nothing.", suggestion="Try.", metadata={"largest_logit": "-3"}
        )
    return answer


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
