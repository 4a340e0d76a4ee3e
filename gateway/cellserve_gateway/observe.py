"""What is seen of every call: its request id, one log line, its metrics, and errors in one form."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping

import structlog
from cellserve_preprocess import ParameterError
from cellserve_proto.v1 import segmentation_pb2

from .access import Tokens
from .errors import InternalError, InvalidRequest, ServiceError
from .metrics import Metrics
from .tracing import Tracing

log = structlog.get_logger()
SERVICE = segmentation_pb2.DESCRIPTOR.services_by_name["SegmentationService"].full_name
PRINTABLE = re.compile(r"[\x20-\x7e]{0,128}")


class Observer:
    """Lets callers in, and measures, traces and logs their calls."""

    def __init__(self, metrics: Metrics, tracing: Tracing, tokens: Tokens) -> None:
        self._metrics = metrics
        self._tracing = tracing
        self._tokens = tokens

    @contextlib.asynccontextmanager
    async def call(self, method: str, request_id: str, metadata: Mapping[str, str | bytes]) -> AsyncIterator[None]:
        """Surrounds the work of one call, or of one frame of a stream.

        Args:
            method: Name of the RPC.
            request_id: The caller's; an empty one is replaced.
            metadata: Of the call: its token, its trace.

        Raises:
            ServiceError: Whatever went wrong, in the form that callers see.
        """
        structlog.contextvars.clear_contextvars()
        named = request_id[:128] or uuid.uuid4().hex
        structlog.contextvars.bind_contextvars(method=method, request_id=named)
        start = time.perf_counter()
        code, reason = "OK", ""
        try:
            with self._tracing.call(SERVICE, method, named, metadata), translated():
                self.admit(metadata)
                check_id("request_id", request_id)
                yield
        except ServiceError as error:
            code, reason = error.code.name, error.reason
            if error.__cause__:  # for whoever wonders whether the caller or a library is to blame
                structlog.contextvars.bind_contextvars(cause=repr(error.__cause__)[:200])
            raise
        except asyncio.CancelledError:
            code, reason = "CANCELLED", "CANCELLED"
            raise
        finally:
            seconds = time.perf_counter() - start
            self._metrics.request_seconds.labels(method).observe(seconds)
            self._count(method, code, reason)
            log.info("call", code=code, seconds=round(seconds, 4), **({"reason": reason} if reason else {}))

    def admit(self, metadata: Mapping[str, str | bytes]) -> None:
        """Raises Unauthenticated unless the caller may call; the log names callers that have a name."""
        if caller := self._tokens.caller(metadata):
            structlog.contextvars.bind_contextvars(caller=caller)

    def failed(self, method: str, error: ServiceError) -> None:
        """Records the failure of a stream as a whole; its frames are observed by `call`."""
        self._count(method, error.code.name, error.reason)
        log.info("stream", method=method, code=error.code.name, reason=error.reason)

    def _count(self, method: str, code: str, reason: str) -> None:
        self._metrics.requests.labels(method, code).inc()
        if reason:
            self._metrics.errors.labels(method, reason).inc()


def check_id(field: str, value: str) -> None:
    """Raises InvalidRequest unless the id can be logged and echoed safely."""
    if not PRINTABLE.fullmatch(value):
        raise InvalidRequest(f"{field} exceeds 128 printable ASCII characters", field=field)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turns every exception into a ServiceError; what was not foreseen is logged here and shown to nobody."""
    try:
        yield
    except ServiceError:
        raise
    except ParameterError as error:
        raise InvalidRequest(
            str(error), reason="PARAMETER_OUT_OF_RANGE", parameter=error.parameter, allowed=error.allowed
        ) from error
    except Exception as error:
        log.exception("unexpected error")
        raise InternalError("an unexpected error happened; the server's log tells more under the request id") from error
