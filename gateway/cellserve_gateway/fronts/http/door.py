"""The door of the HTTP port: request context, token, admission, observation and errors, for every call."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable

from cellserve_formats import check_sent
from cellserve_formats.isolated import MemoryFile
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from cellserve_gateway.app.admission import Admission, Reservation
from cellserve_gateway.app.calls import PRINTABLE, CallObserver
from cellserve_gateway.app.context import RequestContext
from cellserve_gateway.app.decode import translated_image_errors
from cellserve_gateway.errors import DeadlinePassed, ServiceError
from cellserve_gateway.settings import Settings

from .connections import (
    AnswerUnreadError,
    Application,
    BodyStalledError,
    Connection,
    Message,
    Receive,
    Scope,
    Send,
    is_last,
)
from .problems import BodyStalled, LengthRequired, problem

Failure = Callable[[ServiceError, str, str], Response]
"""Returns the answer to a request that failed; arguments as of `problem`."""
STATE_KEY = "call"  # of the ASGI scope's state


class Call:
    """A call that was let in.

    Attributes:
        context: Request context.
        reservation: Holds the body, later the image, then the answer, until the last byte of the answer has left. None:
            the call has no body.
        task: Task that serves the call.
        started: True: a part of the answer was sent.
        answered: True: the last part of the answer was sent.
        left: True: the caller left before the answer was complete.
    """

    def __init__(self, context: RequestContext, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.context = context
        self.reservation: Reservation | None = None
        self.task = task
        self.started = self.answered = self.left = False
        self._receive = receive
        self._send = send
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, request: Request) -> Call:
        """Returns the call of a request."""
        call: Call = request.scope["state"][STATE_KEY]
        return call

    async def body(self) -> MemoryFile:
        """Receives the body into memory that its decoder gets. From then on the call is cancelled if the caller leaves.

        Raises:
            BodyStalled, DeadlinePassed: The body did not come in time.
        """
        received = MemoryFile()
        more = True
        try:
            async with asyncio.timeout_at(self.context.deadline):
                while more:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        self.left = True
                        raise asyncio.CancelledError
                    received.write(message.get("body", b""))
                    more = message.get("more_body", False)
        except TimeoutError:
            raise DeadlinePassed("the deadline passed before the body was complete", stage="receive") from None
        except BodyStalledError:
            raise BodyStalled("the body of the request stopped before its declared length", stage="receive") from None
        self._watch = asyncio.create_task(self._cancel_on_disconnect())
        return received

    async def send(self, message: Message) -> None:
        """Sends a part of the answer."""
        self.started = True
        self.answered = is_last(message)
        await self._send(message)

    def end(self) -> None:
        """Ends the watch over the caller's connection."""
        if self._watch:
            self._watch.cancel()

    async def _cancel_on_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self.answered:
            self.left = True
            self.task.cancel()


class Door:
    """Lets calls in.

    Args:
        settings: Limits on sizes and deadlines.
        admission: Limits on what is in flight.
        observer: Authenticates, measures and logs each call.
    """

    def __init__(self, settings: Settings, admission: Admission, observer: CallObserver) -> None:
        self._settings = settings
        self._admission = admission
        self._observer = observer

    def route_class(self, failure: Failure = problem) -> type[APIRoute]:
        """Returns the class of routes behind this door.

        Args:
            failure: Makes the answers to requests that fail.
        """
        door = self

        class DoorRoute(APIRoute):
            async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
                if scope["method"] in (self.methods or ()):
                    method = f"{scope['method']} {self.path}"
                    await door.serve(method, super().handle, scope, receive, send, failure)
                else:
                    await super().handle(scope, receive, send)  # answers 405

        return DoorRoute

    async def serve(
        self, method: str, app: Application, scope: Scope, receive: Receive, send: Send, failure: Failure = problem
    ) -> None:
        """Serves one call: checks token and declared size, reserves memory, and only then lets the application answer.

        Args:
            method: Name of the call in logs, metrics and traces.
            app: Answers the call, or raises a ServiceError.
            scope: Scope of the request.
            receive: Receives the body.
            send: Sends the answer.
            failure: Makes the answer to a request that failed.
        """
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        now = asyncio.get_running_loop().time()
        context = RequestContext(
            headers.get("x-request-id", ""),
            deadline=now + min(self._settings.default_deadline_s, self._settings.max_deadline_s),
        )
        call = Call(context, receive, send)
        try:
            async with self._observer.call(method, context, _with_bearer(headers)), self._admitted(call, headers):
                scope["state"][STATE_KEY] = call
                await app(scope, receive, call.send)
        except AnswerUnreadError:
            raise
        except asyncio.CancelledError:
            if not call.left:
                raise
            call.task.uncancel()
        except ServiceError as error:
            if call.started:
                if not call.answered:  # half an answer cannot be taken back
                    Connection.of(scope).abort("failed")
                return
            request_id = context.request_id if PRINTABLE.fullmatch(context.request_id) else ""
            await failure(error, request_id, scope.get("root_path", ""))(scope, receive, call.send)
        finally:
            call.end()

    @contextlib.asynccontextmanager
    async def _admitted(self, call: Call, headers: dict[str, str]) -> AsyncIterator[None]:
        """Reserves memory for the declared body while the call lasts."""
        if "transfer-encoding" in headers:
            raise LengthRequired(
                "the request declares no Content-Length; send the body in one piece", field="Content-Length"
            )
        declared = int(headers.get("content-length", "0"))
        if declared == 0:
            yield
            return
        with translated_image_errors():
            check_sent(declared, self._settings.max_transfer_bytes)
        with self._admission.admit(requests=1, bytes=declared) as call.reservation:
            yield


def _with_bearer(headers: dict[str, str]) -> dict[str, str]:
    """Returns headers in which the password of Basic credentials is the token.

    Many programs take nothing but an address. Credentials in an address become this header.
    """
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return headers
    try:
        token = base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return headers
    return headers | {"authorization": f"Bearer {token}"}
