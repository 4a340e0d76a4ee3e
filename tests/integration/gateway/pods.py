"""Servers that are started again whenever they end, at the same address: what Kubernetes does for pods."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from devtools import stack


class Pod:
    """A server and its successors.

    Args:
        start: Starts the server. Gets the port of the one before, 0 for the first.
    """

    def __init__(self, start: Callable[[int], stack.Process]) -> None:
        self._start = start
        self._process = start(0)
        self._closing = threading.Event()
        self._watch = threading.Thread(target=self._replace, name="pod")
        self.address = ""
        self.starts = 1

    def wait_ready(self) -> str:
        """Waits until the first server is there, watches over it from then on, and returns its address."""
        self.address = self._process.wait_ready()["grpc"]
        self._watch.start()
        return self.address

    def pids(self, name: str) -> list[int]:
        """Returns the processes of the server whose command contains a name."""
        return [pid for pid in _tree(self._process.pid) if name in _command(pid)]

    def close(self) -> None:
        """Ends the server for good."""
        self._closing.set()
        for pid in self.pids(""):
            send(pid, signal.SIGCONT)
        self._process.stop()
        if self.address:
            self._watch.join()

    def _replace(self) -> None:
        while True:
            self._end_with(self._process)
            if self._closing.is_set():
                return
            self._process = self._start(int(self.address.rpartition(":")[2]))
            self.starts += 1
            if self._closing.is_set():
                self._process.stop()

    def _end_with(self, process: stack.Process) -> None:
        """Waits for the end of a server, then ends what the server leaves behind, as the end of a container does."""
        sessions: set[int] = set()
        while process._popen.poll() is None:
            sessions |= {_session(pid) for pid in _tree(process.pid)}
            time.sleep(0.2)
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and _session(int(entry.name)) in sessions - {os.getsid(0), 0}:
                send(int(entry.name), signal.SIGKILL)


def send(pid: int, number: int) -> None:
    """Sends a signal to a process, if it still is there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _session(pid: int) -> int:
    """Returns the session of a process, 0 if it is over."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def _tree(pid: int) -> Iterator[int]:
    """Yields a process and those under it."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


def _command(pid: int) -> str:
    """Returns the command line of a process, "" if it is over."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
