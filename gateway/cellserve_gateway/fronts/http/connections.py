"""Bounds of HTTP connections: how many there are, how long one may be silent, and how much it may send unasked.

Uvicorn parses HTTP but ends no connection that stops sending or reading. `Connection` extends uvicorn's protocol with
deadlines, and `guard` puts the same deadlines around the messages of an application.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from cellserve_gateway.ops.metrics import Metrics

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

End = Literal["failed", "greedy", "idle", "refused", "replaced", "stalled"]
"""Why the gateway ends a connection: a label of the metric, whose help explains each."""

MAX_HEADER_BYTES = 64 << 10
STATE_KEY = "connection"  # of the ASGI scope's state


class BodyStalledError(Exception):
    """The caller stopped sending the body of its request."""


class AnswerUnreadError(asyncio.CancelledError):
    """The caller stopped reading the answer; its connection is closed, and so the call counts as cancelled."""


@dataclass(slots=True)
class Connections:
    """The connections of one listener.

    Args:
        port: Name of the port in the metrics.
        metrics: Count open connections, and those ended by the gateway.
        limit: Largest number of connections. One more replaces the connection that has been idle for the longest time;
            if none is idle, the new one is refused.
        idle_s: Seconds between a connection's start (or its last answer) and the last byte of the next header.
        stall_s: Seconds without a byte of a request's body, or without progress of an answer.
    """

    port: str
    metrics: Metrics
    limit: int
    idle_s: float
    stall_s: float
    open: set[object] = field(default_factory=set)
    idle: dict[Connection, None] = field(default_factory=dict)  # the one idle for the longest time comes first

    def __post_init__(self) -> None:
        for why in get_args(End):  # counters start at 0, so that their first increment shows as a rate
            self.metrics.http_connections_ended.labels(self.port, why)

    def take(self, holder: object) -> bool:
        """Counts one more connection; returns False if there is no room for the connection."""
        if holder not in self.open and len(self.open) >= self.limit:
            oldest = next(iter(self.idle), None)
            if oldest is None:
                self.ended("refused")
                return False
            oldest.abort("replaced")
        self.open.add(holder)
        self._count()
        return True

    def release(self, holder: object) -> None:
        """Forgets a connection."""
        self.open.discard(holder)
        self._count()

    def ended(self, why: End) -> None:
        """Counts a connection that the gateway ends."""
        self.metrics.http_connections_ended.labels(self.port, why).inc()

    def _count(self) -> None:
        self.metrics.http_connections.labels(self.port).set(len(self.open))


class Connection(HttpToolsProtocol):
    """One connection: uvicorn's protocol with deadlines and bounds.

    A connection is idle until the header of a request is complete, and again after the answer. An idle connection is
    closed after `idle_s`, however many bytes it sends meanwhile. During a request `guard` watches the connection.
    """

    def __init__(
        self,
        connections: Connections,
        config: uvicorn.Config,
        server_state: ServerState,
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state={STATE_KEY: self})
        self._guarded = connections
        self._alarm: asyncio.TimerHandle | None = None
        self._requests = 0  # more than one if the caller does not wait for answers (pipelining)
        self._allowed_bytes = MAX_HEADER_BYTES
        self._granted = False  # whether the bytes of the next request are among those allowed
        self._written = asyncio.Event()
        self._written.set()

    @classmethod
    def of(cls, scope: Scope) -> Self:
        """Returns the connection that a request came on."""
        connection = scope["state"][STATE_KEY]
        assert isinstance(connection, cls)
        return connection

    @property
    def stall_s(self) -> float:
        """Seconds without progress after which a caller is given up."""
        return self._guarded.stall_s

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins the first idle period; closes a connection that exceeds the limit."""
        super().connection_made(transport)
        # Writing counts as paused until the kernel has taken all bytes: an answer is held until it has left.
        transport.set_write_buffer_limits(high=1, low=0)
        if self._guarded.take(self):
            self._begin_idle()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the connection's deadlines."""
        self._end_idle()
        self._guarded.release(self)
        self._written.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes bytes; closes a connection that sends more than headers and declared bodies."""
        if self._allowed_bytes <= 0:
            self.abort("greedy")
            return
        self._allowed_bytes -= len(data)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Allows the body that a header declares: more of the body can come before the task of the request runs."""
        super().on_headers_complete()
        if not self._requests and not self._granted:
            self._allowed_bytes = declared_bytes(self.scope) + MAX_HEADER_BYTES
            self._granted = True

    def pause_writing(self) -> None:
        """Notes that bytes wait for the caller."""
        self._written.clear()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Notes that the kernel has taken all bytes."""
        self._written.set()
        super().resume_writing()

    async def written(self) -> None:
        """Waits until the kernel has taken all bytes of the answer, or the connection is lost."""
        await self._written.wait()

    def abort(self, why: End) -> None:
        """Closes the connection at once; bytes not yet sent are lost.

        Args:
            why: Label of the metric.
        """
        self._guarded.ended(why)
        self._guarded.release(self)  # not later: connections that replace this one are counted before the loss is seen
        self._end_idle()
        self.transport.abort()

    def stalled(self) -> None:
        """Notes that the body of a request has stopped. The connection ends once it is idle."""
        self._guarded.ended("stalled")

    def begin_request(self, body_bytes: int) -> None:
        """Notes that a header is complete, and how long a body the header declares."""
        self._requests += 1
        self._end_idle()
        if not self._granted:
            self._allowed_bytes = body_bytes + MAX_HEADER_BYTES
        self._granted = False

    def end_request(self) -> None:
        """Notes that a request has been answered."""
        self._requests -= 1
        if not self._requests and not (self.transport.is_closing() and self._written.is_set()):
            self._allowed_bytes += MAX_HEADER_BYTES
            self._begin_idle()

    def _begin_idle(self) -> None:
        self._guarded.idle[self] = None
        self._alarm = self.loop.call_later(self._guarded.idle_s, self.abort, "idle")

    def _end_idle(self) -> None:
        self._guarded.idle.pop(self, None)
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None


def is_last(message: Message) -> bool:
    """Returns whether a message is the last part of an answer."""
    return message["type"] == "http.response.body" and not message.get("more_body", False)


def declared_bytes(scope: Mapping[str, Any]) -> int:
    """Returns the declared length of a request's body: 0 if the header declares none."""
    return next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)


def guard(app: Application) -> Application:
    """Returns an application whose requests have the deadlines of their connections.

    `receive` raises BodyStalledError if the body stops. `send` raises AnswerUnreadError if the caller stops reading;
    after the last part of an answer `send` returns once the kernel has taken all bytes.
    """

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        connection = Connection.of(scope)
        connection.begin_request(declared_bytes(scope))
        more_body = True

        async def guarded_receive() -> Message:
            nonlocal more_body
            try:
                async with asyncio.timeout(connection.stall_s if more_body else None):
                    message = await receive()
            except TimeoutError:
                connection.stalled()
                raise BodyStalledError from None
            more_body = message.get("more_body", False)
            return message

        async def guarded_send(message: Message) -> None:
            try:
                async with asyncio.timeout(connection.stall_s):
                    await send(message)
                    if is_last(message):
                        await connection.written()
            except TimeoutError:
                connection.abort("stalled")
                raise AnswerUnreadError("the caller stopped reading the answer") from None

        try:
            await app(scope, guarded_receive, guarded_send)
        except AnswerUnreadError:
            pass  # the connection is closed
        finally:
            connection.end_request()

    return guarded
