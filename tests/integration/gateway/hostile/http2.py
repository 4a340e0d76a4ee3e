"""A gRPC caller on a bare socket: it sends frames that a well-behaved client never sends, and reads only when told."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

from hpack import Decoder, Encoder

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW = 65_535
FRAME = 16_384


class Http2Caller:
    """One HTTP/2 connection.

    Args:
        address: "host:port", plain text.
        window: Flow-control window of every stream for the server's answers, bytes. 0: the server may send no answer.

    Attributes:
        headers: Response headers and trailers per stream, as far as `pump` has read them.
        received: Bytes of DATA per stream.
        reset: Streams that the server has ended with RST_STREAM.
        closed: Whether the server has closed the connection.
    """

    def __init__(self, address: str, window: int = INITIAL_WINDOW) -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout=5)
        self._encoder, self._decoder = Encoder(), Decoder()
        self._next_stream = 1
        self._buffer = b""
        self._connection_window = self._initial_window = INITIAL_WINDOW
        self._windows: dict[int, int] = {}
        self.headers: dict[int, dict[str, str]] = {}
        self.received: dict[int, int] = {}
        self.reset: set[int] = set()
        self.closed = False
        self._send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0, struct.pack(">HI", 4, window)))

    def close(self) -> None:
        """Closes the connection."""
        self.socket.close()

    def open(self, path: str, extra: dict[str, str] | None = None) -> int:
        """Sends the headers of a call; returns its stream."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "test", "te": "trailers"}
        block = self._encoder.encode(list((fields | {"content-type": "application/grpc"} | (extra or {})).items()))
        self._send(_frame(HEADERS, END_HEADERS, stream, block))
        self._windows[stream] = self._initial_window
        return stream

    def send_message(
        self, stream: int, message: bytes, declared: int | None = None, *, compressed: bool = False, end: bool = False
    ) -> int:
        """Sends a gRPC message as far as the server's window allows within a second; returns the bytes sent.

        Args:
            stream: Of `open`.
            message: The bytes to send.
            declared: Length in the message's prefix; None: the true one.
            compressed: Flag in the message's prefix.
            end: Whether the call's side of the stream ends.
        """
        body = memoryview(struct.pack(">BI", compressed, len(message) if declared is None else declared) + message)
        sent, idle_since = 0, time.monotonic()
        while sent < len(body) and not self.closed and stream not in self.reset:
            room = min(FRAME, self._connection_window, self._windows.get(stream, 0), len(body) - sent)
            if room <= 0:
                if time.monotonic() - idle_since > 1:
                    break
                self.pump(0.05)
                continue
            last = end and sent + room == len(body)
            self._send(_frame(DATA, END_STREAM if last else 0, stream, body[sent : sent + room].tobytes()))
            sent += room
            self._connection_window -= room
            self._windows[stream] -= room
            idle_since = time.monotonic()
        return sent

    def pump(self, seconds: float) -> None:
        """Reads and answers frames for a while; returns early when the server closes."""
        end = time.monotonic() + seconds
        while not self.closed and (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 20)
            except TimeoutError:
                return
            except OSError:
                data = b""
            if not data:
                self.closed = True
                return
            self._buffer += data
            for kind, flags, stream, payload in self._frames():
                self._handle(kind, flags, stream, payload)

    def status(self, stream: int, timeout_s: float = 10.0) -> str | None:
        """Returns the gRPC status of a call as soon as the server has sent one; None without one in time."""
        end = time.monotonic() + timeout_s
        while "grpc-status" not in self.headers.get(stream, {}) and time.monotonic() < end and not self.closed:
            self.pump(0.1)
        return self.headers.get(stream, {}).get("grpc-status")

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        while len(self._buffer) >= 9:
            length = int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < 9 + length:
                return
            kind, flags, stream = self._buffer[3], self._buffer[4], int.from_bytes(self._buffer[5:9], "big")
            payload, self._buffer = self._buffer[9 : 9 + length], self._buffer[9 + length :]
            yield kind, flags, stream, payload

    def _handle(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            for number, value in struct.iter_unpack(">HI", payload):
                if number == 4:
                    grown = value - self._initial_window
                    self._initial_window = value
                    self._windows = {key: window + grown for key, window in self._windows.items()}
            self._send(_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self._send(_frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            grown = int.from_bytes(payload, "big")
            if stream:
                self._windows[stream] = self._windows.get(stream, 0) + grown
            else:
                self._connection_window += grown
        elif kind == HEADERS:
            self.headers.setdefault(stream, {}).update(self._decoder.decode(payload))
        elif kind == DATA:
            self.received[stream] = self.received.get(stream, 0) + len(payload)
        elif kind == RST_STREAM:
            self.reset.add(stream)

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.socket.settimeout(5)
            self.socket.sendall(data)
            return
        self.closed = True


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
