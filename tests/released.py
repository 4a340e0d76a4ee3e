"""The contracts of the releases: messages and calls, made from the descriptors in `proto/releases` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

RELEASES = sorted((Path(__file__).parents[1] / "proto" / "releases").glob("*.binpb"), key=lambda path: path.stem)


class Contract:
    """What the stubs of a release know, and nothing of what came later.

    Args:
        path: File of the release.

    Attributes:
        methods: Methods of the service by name.
    """

    def __init__(self, path: Path) -> None:
        self._pool = DescriptorPool()
        for file in FileDescriptorSet.FromString(path.read_bytes()).file:
            self._pool.Add(file)
        service = self._pool.FindServiceByName("cellserve.v1.SegmentationService")
        self.methods: dict[str, MethodDescriptor] = {method.name: method for method in service.methods}

    def message(self, name: str, package: str = "cellserve.v1") -> Any:
        """Returns the class of a message."""
        return GetMessageClass(self._pool.FindMessageTypeByName(f"{package}.{name}"))

    def number(self, enum: str, value: str) -> int:
        """Returns the number of a value of an enumeration."""
        descriptor = self._pool.FindEnumTypeByName(f"cellserve.v1.{enum}")
        return int(descriptor.values_by_name[value].number)

    def call(self, channel: Any, name: str) -> Any:
        """Returns a method of the service on a channel."""
        method = self.methods[name]
        request, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        return getattr(channel, kind)(
            f"/{method.containing_service.full_name}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )
