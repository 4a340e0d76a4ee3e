"""The calls of the service on a channel."""

from __future__ import annotations

from typing import Any

from cellserve_contract.arrays import Detached
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2

SERVICE = segmentation_pb2.DESCRIPTOR.services_by_name["SegmentationService"].full_name


class ServiceCalls:
    """The calls of the service. The generated stub would copy an image four times more on its way to gRPC.

    Args:
        channel: A channel of `grpc` or of `grpc.aio`.
    """

    def __init__(self, channel: Any) -> None:
        self.segment = channel.unary_unary(
            f"/{SERVICE}/Segment",
            request_serializer=Detached.serialize,
            response_deserializer=pb.SegmentResponse.FromString,
        )
        self.segment_stream = channel.stream_stream(
            f"/{SERVICE}/SegmentStream",
            request_serializer=Detached.serialize,
            response_deserializer=pb.SegmentStreamResponse.FromString,
        )
        self.estimate_diameter = channel.unary_unary(
            f"/{SERVICE}/EstimateDiameter",
            request_serializer=Detached.serialize,
            response_deserializer=pb.EstimateDiameterResponse.FromString,
        )
        self.list_models = channel.unary_unary(
            f"/{SERVICE}/ListModels",
            request_serializer=pb.ListModelsRequest.SerializeToString,
            response_deserializer=pb.ListModelsResponse.FromString,
        )
        self.get_model = channel.unary_unary(
            f"/{SERVICE}/GetModel",
            request_serializer=pb.GetModelRequest.SerializeToString,
            response_deserializer=pb.GetModelResponse.FromString,
        )
