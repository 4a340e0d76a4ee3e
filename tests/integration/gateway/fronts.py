"""Callers of the gateway, one per front, behind one interface: the tests of `test_fronts.py` know no transport."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import cellserve
import httpx
import imagecodecs
import numpy as np
from cellserve_contract.payload import Detached

from .conftest import Gateway


class RefusedError(Exception):
    """A call failed."""

    def __init__(self, code: str, reason: str, metadata: dict[str, str], retry_after_s: float | None) -> None:
        super().__init__(code, reason, metadata, retry_after_s)
        self.code, self.reason, self.metadata, self.retry_after_s = code, reason, metadata, retry_after_s


@dataclass(frozen=True)
class Answer:
    """What every front answers for an image.

    Attributes:
        labels: Label image.
        objects: Rows of the object table, by column name.
        params: Parameters as used, by name.
        computed: Precision and runtime of the network.
    """

    labels: np.ndarray
    objects: list[dict[str, int | float]]
    params: dict[str, Any]
    diameter_source: str
    sha256: str
    computed: tuple[str, str]
    warnings: list[str]
    request_id: str


class Caller(Protocol):
    """A caller of one gateway."""

    def segment(self, file: bytes, request_id: str | None = None, **params: Any) -> Answer:
        """Segments an image file. Raises RefusedError."""

    def diameter(self, file: bytes, **params: Any) -> tuple[float, str]:
        """Returns the diameter and its source. Raises RefusedError."""

    def models(self) -> dict[str, bool]:
        """Returns which families are ready. Raises RefusedError."""

    def limits(self) -> dict[str, Any]:
        """Returns the limits of the gateway. Raises RefusedError."""

    def give_up(self, file: bytes, after_s: float, **params: Any) -> None:
        """Begins to segment an image file, and leaves after some seconds."""


class GrpcCaller:
    """Calls through the client library."""

    CLIENT = cellserve.Client

    def __init__(self, gateway: Gateway, token: str | None = None) -> None:
        metadata = [("authorization", f"Bearer {token}")] if token else []
        self._client = self.CLIENT(gateway.address, metadata=metadata)

    def segment(self, file: bytes, request_id: str | None = None, **params: Any) -> Answer:
        with _refusals():
            result = self._client.segment(cellserve.EncodedImage(file), request_id=request_id, **params)
        return Answer(
            result.labels,
            [entry.row() for entry in result.objects],
            _used(result.params),
            result.diameter_source,
            result.model.sha256,
            (result.model.precision, result.model.runtime),
            [warning.kind for warning in result.warnings],
            result.request_id,
        )

    def diameter(self, file: bytes, **params: Any) -> tuple[float, str]:
        with _refusals():
            estimate = self._client.estimate_diameter(cellserve.EncodedImage(file), **params)
        return estimate.diameter, estimate.source

    def models(self) -> dict[str, bool]:
        with _refusals():
            return {model.name: model.ready for model in self._client.models()}

    def limits(self) -> dict[str, Any]:
        with _refusals():
            limits = self._client.limits()
        assert limits
        return asdict(limits)

    def give_up(self, file: bytes, after_s: float, **params: Any) -> None:
        with contextlib.suppress(cellserve.CellServeError):
            self._client.segment(cellserve.EncodedImage(file), deadline_s=after_s, **params)


class ChunkedClient(cellserve.Client):
    """A client to which every image is too large for a message."""

    def _call(self, method: Any, request: Any, *rest: Any) -> Any:
        if isinstance(request, Detached):
            raise cellserve.InvalidRequestError("too large", reason="MESSAGE_TOO_LARGE")
        return super()._call(method, request, *rest)


class ChunkedGrpcCaller(GrpcCaller):
    """Calls `SegmentLarge` through the client library."""

    CLIENT = ChunkedClient


class HttpCaller:
    """Calls the REST interface."""

    def __init__(self, gateway: Gateway, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=f"http://{gateway.http}/v1", headers=headers, timeout=120)

    def segment(self, file: bytes, request_id: str | None = None, **params: Any) -> Answer:
        headers = {"X-Request-Id": request_id} if request_id else {}
        found = self._post("/segment", file, params, headers).json()
        labels = self._post("/segment", file, params, {"Accept": "image/png"})
        return Answer(
            imagecodecs.png_decode(labels.content),
            found["objects"],
            {name: value for name, value in found["params"].items() if name != "invert"},
            found["diameter_source"],
            found["model"]["sha256"],
            (found["model"]["precision"], found["model"]["runtime"]),
            [warning["kind"] for warning in found["warnings"]],
            found["request_id"],
        )

    def diameter(self, file: bytes, **params: Any) -> tuple[float, str]:
        found = self._post("/diameter", file, params).json()
        return found["diameter"], found["diameter_source"]

    def models(self) -> dict[str, bool]:
        return {model["name"]: model["ready"] for model in _checked(self._client.get("/models")).json()["models"]}

    def limits(self) -> dict[str, Any]:
        content: dict[str, Any] = _checked(self._client.get("/limits")).json()
        return content

    def give_up(self, file: bytes, after_s: float, **params: Any) -> None:
        with contextlib.suppress(httpx.ReadTimeout):
            self._client.post("/segment", params=params, content=file, timeout=after_s)

    def _post(self, path: str, file: bytes, params: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        return _checked(self._client.post(path, params=params, content=file, headers=headers))


CALLERS: dict[str, type[GrpcCaller | HttpCaller]] = {
    "grpc": GrpcCaller,
    "grpc in chunks": ChunkedGrpcCaller,
    "http": HttpCaller,
}


def png(pixels: np.ndarray) -> bytes:
    """Returns an image file."""
    return bytes(imagecodecs.png_encode(pixels))


def disks(count: int, diameter: int = 30) -> np.ndarray:
    """Draws a row of bright disks on dark ground, uint8 [Y, X]."""
    pitch = 2 * diameter
    y, x = np.mgrid[:pitch, : pitch * count]
    inside = (y - pitch / 2) ** 2 + (x % pitch - pitch / 2) ** 2 < diameter**2 / 4
    return np.where(inside, 200, 20).astype(np.uint8)


def tiff(pixels: np.ndarray) -> bytes:
    """Returns an image file of many planes."""
    import tifffile

    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, metadata={"axes": "CYX"})
    return buffer.getvalue()


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except cellserve.CellServeError as error:
        raise RefusedError(error.code.name, error.reason, error.metadata, error.retry_after_s) from error


def _used(params: cellserve.SegmentParams) -> dict[str, Any]:
    """Parameters as used, by name; those of stacks are None if the image is no stack."""
    values = asdict(replace(params, normalization="off")) | {"normalization": str(params.normalization)}
    return {name: value for name, value in values.items() if value is not None}


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    assert response.headers["content-type"] == "application/problem+json"
    content = response.json()
    raise RefusedError(content["code"], content["reason"], content["metadata"], content.get("retry_after_s"))
