"""Server reflection, v1 and v1alpha: tools such as grpcurl ask the server for its contract."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import ReflectionServicer

from .call import Answer, Call
from .receiver import Receiver

V1ALPHA: ServiceDescriptor = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]


def _v1() -> ServiceDescriptor:
    """Returns the service of v1. The versions differ in the package alone, so v1 is made from v1alpha."""
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    old, new = f".{file.package}.", ".grpc.reflection.v1."
    file.name, file.package = "grpc/reflection/v1/reflection.proto", new.strip(".")
    for message in file.message_type:
        for field in (field for field in message.field if field.type_name):
            field.type_name = field.type_name.replace(old, new)
    for method in file.service[0].method:
        method.input_type, method.output_type = (
            name.replace(old, new) for name in (method.input_type, method.output_type)
        )
    return descriptor_pool.Default().AddSerializedFile(file.SerializeToString()).services_by_name["ServerReflection"]


V1 = _v1()


class Reflection:
    """The reflection service of both versions.

    Args:
        services: Full names of the services to tell of.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._servicer = ReflectionServicer(services)

    async def ServerReflectionInfo(
        self, requests: Receiver[reflection_pb2.ServerReflectionRequest], call: Call
    ) -> AsyncGenerator[Answer, None]:
        """Answers questions about the services and their messages."""
        async for request in requests:
            request.reservation.release()
            asked = reflection_pb2.ServerReflectionRequest.FromString(request.message.SerializeToString())
            for answer in self._servicer.ServerReflectionInfo(iter([asked]), None):
                yield Answer(answer.SerializeToString())
