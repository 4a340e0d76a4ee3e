"""The calling side: one reading per file, that ends with its caller."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import mmap
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import numpy as np
from cellserve_contract.warnings import WarningKind

from cellserve_formats.errors import ImageError
from cellserve_formats.image import Image, PixelSize
from cellserve_formats.limits import Limits
from cellserve_formats.options import ReadOptions

from .memory_file import MemoryFile

Grant = Callable[[int], AbstractContextManager[object]]
BYTES_PER_SECOND = 16 << 20
"""Bytes of a file that are worth one more second of processor time."""
POLL_S = 0.05
_MESSAGE_BYTES = 1 << 16
_NEARLY = 0.95  # the kernel counts processor time in ticks
_HELPER_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # only a process of one thread can be forked
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}
_DAMAGED = "the file cannot be decoded; it is damaged, and made the decoder fail"
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class IsolatedReader:
    """Reads image files, each in a process of its own. Thread-safe. Linux only.

    A file that takes more memory or processor time than its share, or that crashes a codec, costs its own process. A
    helper process has all libraries loaded and forks the others. The helper ends with the calling process, however that
    process ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._helper: _Helper | None = None

    def start(self) -> None:
        """Starts the helper. Without this call the first file waits for the helper, a fraction of a second."""
        with self._lock:
            self._helper = self._helper or _Helper()

    def read(
        self,
        data: bytes | memoryview | MemoryFile,
        *,
        limits: Limits,
        seconds: int,
        axes: str | None = None,
        series: int | None = None,
        wait: Callable[[], None] = lambda: None,
        grant: Grant = contextlib.nullcontext,
    ) -> Image:
        """Reads an image file; see `read_image`.

        Args:
            data: The file. A `MemoryFile` is closed afterwards; its content is gone.
            limits: Largest image taken.
            seconds: Processor time for a small file. A file gets one second more for each `BYTES_PER_SECOND`.
            axes: Axes of a TIFF file that does not name its axes.
            series: Number of the image in a file that holds several. None: the only one.
            wait: Called several times per second. What `wait` raises ends the reading and its process.
            grant: Called with the bytes that the file needs, before they are spent: those of the pixels, and those that
                an unusual file needs beside. What `grant` returns lasts until the next call, or until the reading ends.

        Returns:
            Pixels in memory of their own, read-only.

        Raises:
            ImageError: As for `read_image`. IMAGE_UNDECODABLE if the process ended without an answer, or took too much
                time; IMAGE_TOO_LARGE if it took too much memory.
        """
        memory = data if isinstance(data, MemoryFile) else MemoryFile(data)
        seconds += memory.size // BYTES_PER_SECOND
        options = asdict(ReadOptions(axes, series=series))
        start = time.monotonic()
        with contextlib.ExitStack() as stack:
            stack.callback(memory.close)
            file = memory.fileno()
            os.lseek(file, 0, os.SEEK_SET)
            request = {"limits": asdict(limits), "seconds": seconds, "options": options}
            process = stack.enter_context(self._fork(request, file, stack))
            granted = stack.enter_context(contextlib.ExitStack())
            try:
                while "needs" in (answer := _receive(process, wait)):
                    granted.close()  # whoever holds memory waits for none
                    granted.enter_context(grant(int(answer["needs"])))
                    process.send(b"\1")
            except (EOFError, ConnectionError) as error:
                raise _ended(time.monotonic() - start, seconds) from error
            if "error" in answer:
                message, reason, metadata = answer["error"]
                raise ImageError(message, reason, **metadata)
            return _image(answer, file, limits)

    def close(self) -> None:
        """Ends the helper. Readings under way end with their callers."""
        with self._lock:
            if self._helper:
                self._helper.end()
            self._helper = None

    def _fork(self, request: dict[str, Any], file: int, stack: contextlib.ExitStack) -> socket.socket:
        """Returns the socket of a new process, which lives no longer than the stack."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(POLL_S)
        watched, held = os.pipe()
        stack.callback(os.close, held)
        try:
            self._ask(json.dumps(request).encode(), theirs.fileno(), file, watched)
        finally:
            theirs.close()
            os.close(watched)
        return ours

    def _ask(self, request: bytes, *descriptors: int) -> None:
        """Sends a request to the helper. Starts another helper if there is none, or it was killed."""
        with self._lock:
            if self._helper and self._helper.ask(request, descriptors):
                return
            self._helper = _Helper()
            self._helper.ask(request, descriptors)


class _Helper:
    """The helper process, and the socket that leads to the helper."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.process", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | _HELPER_ENVIRONMENT,
                start_new_session=True,  # signals of a terminal are for this process alone
            )

    def ask(self, request: bytes, descriptors: Sequence[int]) -> bool:
        """Sends a request. Returns False if the helper has ended."""
        try:
            socket.send_fds(self._requests, [request], descriptors)
        except ConnectionError:
            self.end()
            return False
        return True

    def end(self) -> None:
        """Ends the helper."""
        self._requests.close()
        self._process.wait()


def _receive(source: socket.socket, wait: Callable[[], None]) -> dict[str, Any]:
    """Returns the next message of a process. Raises EOFError if the process has ended."""
    while True:
        try:
            message = source.recv(_MESSAGE_BYTES)
        except TimeoutError:
            wait()
            continue
        if not message:
            raise EOFError
        return dict(json.loads(message))


def _image(answer: dict[str, Any], file: int, limits: Limits) -> Image:
    """Returns the image of an answer.

    Nothing in the answer is believed: a file that exploits a fault of a codec could have written the answer.
    """
    dtype, shape = np.dtype(str(answer["dtype"])), tuple(map(int, answer["shape"]))
    if dtype.kind not in "biuf" or min(shape) < 1:
        raise ImageError(_DAMAGED, "IMAGE_UNDECODABLE")
    size = math.prod(shape) * dtype.itemsize
    limits.check_one("bytes", size)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)  # no process can change the pixels, or cut them off
    pixels = np.frombuffer(mmap.mmap(file, size, mmap.MAP_PRIVATE, mmap.PROT_READ), dtype).reshape(shape)
    found = answer["pixel_size"]
    warnings = tuple((WarningKind[kind], dict(facts)) for kind, facts in answer["warnings"])
    return Image(pixels, str(answer["axes"]), PixelSize(*found) if found else None, warnings=warnings)


def _ended(seconds: float, limit: int) -> ImageError:
    """Returns the error for a process that ended without an answer."""
    if seconds < _NEARLY * limit:
        return ImageError(_DAMAGED, "IMAGE_UNDECODABLE")
    return ImageError(
        f"the file was not decoded within {limit} s of processor time; save the image in a plain form",
        "IMAGE_UNDECODABLE",
        resource="seconds",
        limit=limit,
    )
