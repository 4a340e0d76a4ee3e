"""A network that breaks: a TCP proxy that resets a connection in the middle of its bytes."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: the end of a socket is a reset


class DroppingProxy:
    """Forwards connections to a server.

    Args:
        target: "host:port" of the server.
        drops: Bytes that the first connections carry to the server before they break, in order. Later ones last.

    Attributes:
        address: Address of the proxy.
        sent: Bytes that each connection has carried to the server.
    """

    def __init__(self, target: str, *drops: int) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._drops = list(drops)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent: list[int] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Ends the proxy and its connections."""
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open += [caller, server]
                number, most = len(self.sent), self._drops.pop(0) if self._drops else None
                self.sent.append(0)
                threading.Thread(target=self._carry, args=(caller, server, number, most), daemon=True).start()
                threading.Thread(target=self._carry, args=(server, caller, None, None), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, number: int | None, most: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
                if number is not None:
                    self.sent[number] += len(data)
                    if most is not None and self.sent[number] >= most:
                        break
        for one in (source, sink):
            with contextlib.suppress(OSError):
                if most is not None:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                one.shutdown(socket.SHUT_RDWR) if most is None else one.close()


@contextlib.contextmanager
def dropping(target: str, *drops: int) -> Iterator[DroppingProxy]:
    """Runs a `DroppingProxy`."""
    proxy = DroppingProxy(target, *drops)
    try:
        yield proxy
    finally:
        proxy.close()
