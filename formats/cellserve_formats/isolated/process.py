"""The helper of an `IsolatedReader`: forks a process for each image file.

    python -m cellserve_formats.isolated.process FD

FD is a socket of messages. A message is the request for one file (JSON). Three descriptors come with it: a socket for
the answer, the file in memory, and the reading end of a pipe. The kernel ends the process of a file when the other end
of the pipe is closed: the caller has left, or the calling process has ended.

One process always waits for the next file. Forking takes milliseconds, and nobody waits for them.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import io
import json
import mmap
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from cellserve_formats.errors import ImageError
from cellserve_formats.image import Image
from cellserve_formats.limits import Limits
from cellserve_formats.options import ReadOptions
from cellserve_formats.png import png_bytes
from cellserve_formats.read import decode_image, read_image, taken_dtype

WORKING_BYTES = 32 << 20
"""Memory for the parser, the codecs and the tags of a file, beside the file and its pixels."""
MORE_WORKING_BYTES = 192 << 20
"""Added for a file that `WORKING_BYTES` do not suffice for, once the calling process has room."""
PIXEL_COPIES = 3
"""Memory for pixels, in multiples of their size: a decoder can add alpha, or keep coefficients of a JPEG image."""
MESSAGE_BYTES = 1 << 16
_WARM_BYTES = 16 << 20
_PART_BYTES = 8 << 20
_C_LIBRARY = ctypes.CDLL(None)
_MOST_WORKING = WORKING_BYTES + MORE_WORKING_BYTES
_TOO_MUCH_MEMORY = (
    f"decoding the file takes more than {_MOST_WORKING >> 20} MiB beside its pixels; save the image in a plain form"
)


@dataclass(frozen=True)
class _AskingLimits(Limits):
    """Limits that ask the calling process before memory is spent on the pixels of an image.

    Attributes:
        answer: Leads to the calling process.
        base: Memory without pixels, bytes.
        more: Working memory beyond `WORKING_BYTES`, bytes.
    """

    answer: socket.socket | None = None
    base: int = 0
    more: int = 0

    def check(self, channels: int, height: int, width: int, itemsize: int, stacked: int = 1) -> int:
        size = Limits.check(self, channels, height, width, itemsize, stacked)
        self.ask(size)
        return size

    def ask(self, pixels: int) -> None:
        """Waits until the calling process has room for so many bytes of pixels; then they can be taken."""
        assert self.answer
        _send(self.answer, {"needs": pixels + self.more})
        self.answer.recv(1)
        _limit_memory(self.base + self.more + PIXEL_COPIES * pixels)


def main() -> None:
    """Serves until the other end of the socket is closed."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    for number in (signal.SIGTERM, signal.SIGINT):  # the calling process gets them, too, and drains first
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks for exit statuses
    for number in (signal.SIGIO, signal.SIGPROF):  # these end a process
        signal.signal(number, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _load_codecs()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for output in (1, 2):  # libraries print what they think of a file
        os.dup2(nowhere, output)
    gc.collect()
    gc.freeze()  # the forked processes share what is there
    while True:
        taken, taking = os.pipe()
        if os.fork() == 0:
            os.close(taken)
            _serve_one(requests, taking)
            os._exit(0)
        os.close(taking)
        if not os.read(taken, 1) and _is_closed(requests):
            return
        os.close(taken)


def _serve_one(requests: socket.socket, taking: int) -> None:
    """Waits for a file, and answers."""
    _load_codecs()  # changes memory that was shared until now, before somebody waits for it
    b"\1" * _WARM_BYTES  # memory that stays with the C library for the file and its pixels
    base = _data_bytes() + WORKING_BYTES
    message, descriptors, _, _ = socket.recv_fds(requests, MESSAGE_BYTES, 3)
    if len(descriptors) == 3:
        with contextlib.suppress(BrokenPipeError):  # the helper was killed: this file is the last one
            os.write(taking, b"\1")
        requests.close()
        answer, file, pipe = descriptors
        _end_with(pipe)
        _answer(json.loads(message), socket.socket(fileno=answer), file, base)


def _is_closed(requests: socket.socket) -> bool:
    try:
        return not requests.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False


def _load_codecs() -> None:
    """Imports what files need, or only uses all that again."""
    pixels = np.zeros((16, 16), np.uint8)
    read_image(png_bytes(pixels))
    for compression in (None, "zlib", "lzw", "zstd", "lzma", "packbits", "jpeg"):
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, compression=compression, ome=True)
        read_image(file.getvalue())


def _end_with(pipe: int) -> None:
    """Lets the kernel end this process when the other end of a pipe is closed, whatever code runs then."""
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)  # the kernel sends SIGIO, which ends a process
    try:
        os.read(pipe, 1)
    except BlockingIOError:
        return
    os._exit(0)  # closed before


def _answer(request: Mapping[str, Any], answer: socket.socket, file: int, base: int) -> None:
    """Reads a file. Puts the pixels in the place of the file, and sends their shape, or the error."""
    data = _content(file)
    signal.setitimer(signal.ITIMER_PROF, request["seconds"])  # counts processor time from now on, and ends the process
    resource.setrlimit(resource.RLIMIT_CPU, (request["seconds"] + 2,) * 2)  # counts from the fork; code cannot raise it
    base += len(data)
    _limit_memory(base)
    limits = _AskingLimits(**request["limits"], answer=answer, base=base)
    try:
        image = _decoded(data, limits, ReadOptions(**request["options"]))
        dtype = taken_dtype(image, limits)
        warnings = [(kind.name, dict(facts)) for kind, facts in image.warnings]
        about = {"axes": image.axes, "pixel_size": image.pixel_size, "warnings": warnings}
        _move_pixels(image.pixels, dtype, file)
        _send(answer, about | {"shape": image.pixels.shape, "dtype": dtype.str})
    except ImageError as error:
        _send(answer, {"error": [error.message, error.reason, error.metadata]})
    except MemoryError:
        _send(answer, {"error": [_TOO_MUCH_MEMORY, "IMAGE_TOO_LARGE", {"resource": "memory", "limit": _MOST_WORKING}]})


def _decoded(data: bytes, limits: _AskingLimits, options: ReadOptions) -> Image:
    """Decodes a file, if need be once more with more working memory. Raises MemoryError if that does not suffice."""
    with contextlib.suppress(MemoryError):
        return _decode(data, limits, options)
    gc.collect()
    limits = replace(limits, more=MORE_WORKING_BYTES)
    limits.ask(0)
    return _decode(data, limits, options)


def _decode(data: bytes, limits: _AskingLimits, options: ReadOptions) -> Image:
    try:
        return decode_image(data, limits, options)
    except ImageError as error:
        if "mem" in str(error.__cause__).lower():  # LZMA_MEM_ERROR, "Insufficient memory": codecs have no type for it
            raise MemoryError from error
        raise


def _content(file: int) -> bytes:
    """Takes the content out of a file in memory."""
    with os.fdopen(os.dup(file), "rb") as stream:
        data = stream.read()
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    return data


def _move_pixels(pixels: NDArray[Any], dtype: np.dtype[Any], file: int) -> None:
    """Writes pixels to a file, as `dtype` in C order. Gives their memory back on the way: they are zeros afterwards."""
    rows = pixels.reshape(-1, 1 if pixels.flags.c_contiguous else pixels.shape[-1])  # of ascending addresses
    count = max(1, _PART_BYTES // rows[0].nbytes)
    for at in range(0, len(rows), count):
        part = rows[at : at + count]
        taken: Any = np.ascontiguousarray(part, dtype)
        view = memoryview(taken).cast("B")
        while view:
            view = view[os.write(file, view) :]
        _give_back(part)


def _give_back(part: NDArray[Any]) -> None:
    """Returns the memory of a part of an array to the kernel."""
    first, end = np.lib.array_utils.byte_bounds(part)
    first, end = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
    if first < end:
        _C_LIBRARY.madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), mmap.MADV_DONTNEED)


def _send(answer: socket.socket, message: Mapping[str, Any]) -> None:
    answer.send(json.dumps(message, default=str).encode())


def _data_bytes() -> int:
    """Returns the private memory of the process, as RLIMIT_DATA counts."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData:"))


def _limit_memory(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (size, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
