"""What is recorded of every call: one log line, metrics, a span, and errors in one form."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping

import structlog
from cellserve_preprocess import ParameterError

from cellserve_gateway.access.tokens import Tokens
from cellserve_gateway.errors import InternalError, InvalidRequest, ServiceError
from cellserve_gateway.ops.instruments import Instruments

from .context import RequestContext

log = structlog.get_logger()
PRINTABLE = re.compile(r"[\x20-\x7e]{0,128}")


class CallObserver:
    """Authenticates, measures, traces and logs calls.

    Args:
        instruments: Metrics and traces.
        tokens: Tokens of the callers.
        service: Name of the service in the traces.
        protocol: Protocol of the front, "grpc" or "http".
    """

    def __init__(self, instruments: Instruments, tokens: Tokens, service: str, protocol: str) -> None:
        self._metrics = instruments.metrics
        self._tracing = instruments.tracing
        self._tokens = tokens
        self._service = service
        self._protocol = protocol

    @contextlib.asynccontextmanager
    async def call(
        self, method: str, context: RequestContext, metadata: Mapping[str, str | bytes]
    ) -> AsyncIterator[None]:
        """Surrounds the work of one call, or of one frame of a stream.

        Args:
            method: Name of the method.
            context: Gets the caller, and a random request id in place of an empty one.
            metadata: Metadata of the call, with its token and its trace.

        Raises:
            ServiceError: Whatever failed, in the form that callers see.
        """
        structlog.contextvars.clear_contextvars()
        asked, context.request_id = context.request_id, context.request_id[:128] or uuid.uuid4().hex
        structlog.contextvars.bind_contextvars(method=method, request_id=context.request_id)
        start = time.perf_counter()
        code, reason = "OK", ""
        try:
            names = {"rpc.system": self._protocol, "rpc.service": self._service, "rpc.method": method}
            names["cellserve.request_id"] = context.request_id
            with self._tracing.call(f"{self._service}/{method}", names, metadata), translated():
                self.authenticate(context, metadata)
                check_id("request_id", asked)
                yield
        except ServiceError as error:
            code, reason, error.recorded = error.code.name, error.reason, True
            if error.__cause__:  # tells whether the caller or a library is to blame
                structlog.contextvars.bind_contextvars(cause=repr(error.__cause__)[:200])
            raise
        except (asyncio.CancelledError, GeneratorExit):
            code, reason = "CANCELLED", "CANCELLED"
            raise
        finally:
            seconds = time.perf_counter() - start
            self._metrics.request_seconds.labels(method).observe(seconds)
            self._count(method, code, reason)
            told = {"reason": reason} if reason else {}
            log.info("call", code=code, seconds=round(seconds, 4), **told, **context.facts)

    def authenticate(self, context: RequestContext, metadata: Mapping[str, str | bytes]) -> None:
        """Sets the caller of a call, for the core and for the log.

        Raises:
            Unauthenticated: The token is missing or unknown.
        """
        context.caller = self._tokens.caller(metadata)
        structlog.contextvars.bind_contextvars(caller=context.caller)

    def failed(self, method: str, error: ServiceError) -> None:
        """Records the failure of a stream as a whole, unless `call` has recorded it."""
        if error.recorded:
            return
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
    """Turns every exception into a ServiceError. Unforeseen exceptions are logged here and not shown to callers."""
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
