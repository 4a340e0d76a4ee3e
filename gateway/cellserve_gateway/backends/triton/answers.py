"""Triton's answers in our words: its outputs as arrays, its failures as errors of the gateway."""

from __future__ import annotations

import numpy as np
from cellserve_postprocess import STYLE_SIZE
from numpy.typing import NDArray
from tritonclient.grpc import InferResult
from tritonclient.utils import InferenceServerException

from cellserve_gateway.app.networks import TileOutput
from cellserve_gateway.errors import BackendUnavailable, DeadlinePassed, InternalError, Overloaded, ServiceError

OUTPUT_NAMES: dict[TileOutput, str] = {"maps": "flows", "style": "style"}
"""Names of the outputs in the ONNX graph."""


class ModelFailed(BackendUnavailable):
    """The model on one server failed, although the server itself may say that it is ready."""


def arrays_of(
    result: InferResult, tiles: tuple[int, ...], outputs: tuple[TileOutput, ...], network: str
) -> dict[TileOutput, NDArray[np.float32]]:
    """Returns the outputs for tiles of that shape, [n, 2, Y, X], as views of the answer's bytes.

    Raises:
        InternalError: An output is missing, or its type or shape does not fit the tiles.
    """
    arrays: dict[TileOutput, NDArray[np.float32]] = {}
    shapes: dict[TileOutput, tuple[int, ...]] = {"maps": (3, *tiles[2:]), "style": (STYLE_SIZE,)}
    for output in outputs:
        expected = (tiles[0], *shapes[output])
        try:
            array = result.as_numpy(OUTPUT_NAMES[output])
        except ValueError:  # fewer or more bytes than the shape asks for
            array = None
        if array is None or array.shape != expected or array.dtype != np.float32:
            got = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
            raise InternalError(
                f"the inference server's answer does not fit the request: output '{OUTPUT_NAMES[output]}' "
                f"of '{network}' is {got}, not float32 {list(expected)}",
                reason="TRITON_BAD_ANSWER",
                network=network,
                output=OUTPUT_NAMES[output],
                got=got,
                expected=f"float32 {list(expected)}",
            )
        arrays[output] = array
    return arrays


def service_error(error: InferenceServerException, network: str) -> ServiceError:
    """Returns our error for Triton's.

    Triton's queue speaks of itself in the message only. While Triton shuts down, models that it served are NOT_FOUND.
    """
    status, message = str(error.status()).removeprefix("StatusCode."), str(error.message())
    if "maximum queue size" in message:
        return Overloaded(
            "the queue of the inference server is full; try again later", reason="TRITON_QUEUE_FULL", network=network
        )
    if status == "DEADLINE_EXCEEDED" or "timeout expired" in message:
        return DeadlinePassed(
            "the inference server did not answer before the deadline", stage="inference", network=network
        )
    if status in ("UNAVAILABLE", "CANCELLED", "NOT_FOUND"):
        return BackendUnavailable("the inference server cannot be reached, or shuts down; try again", network=network)
    if status in ("INTERNAL", "UNKNOWN", "ABORTED", "DATA_LOSS"):
        return ModelFailed("the model on the inference server failed; try again", network=network)
    return InternalError(
        f"the inference server refused the request: {status}", reason="TRITON_REFUSED", network=network, status=status
    )
