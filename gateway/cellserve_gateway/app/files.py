"""Image files to pixels: each in a process of its own, with the gateway's limits and errors."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from cellserve_formats import FileFormat, Image, file_format
from cellserve_formats.isolated import POLL_S, IsolatedReader, MemoryFile
from cellserve_parallel import CancellationToken

from cellserve_gateway.errors import InvalidImage
from cellserve_gateway.settings import Settings

from .decode import Decoded, limits_of, translated_image_errors

_HEAD_BYTES = 16
"""Bytes that tell the format of a file."""


class ImageFiles:
    """Decodes image files. Thread-safe; the calling thread only waits."""

    def __init__(self, settings: Settings) -> None:
        self._limits = limits_of(settings)
        self._seconds = settings.decode_s
        self._reader = IsolatedReader()
        self._memory = _Memory(settings.max_bytes_decoding)

    def start(self) -> None:
        """Prepares for the first file."""
        self._reader.start()

    def close(self) -> None:
        """Ends the helper process. Takes no more files."""
        self._reader.close()

    def decode(
        self, data: bytes | memoryview, cancellation: CancellationToken, kind: FileFormat, series: int | None = None
    ) -> Decoded:
        """Returns the image of a file as the pipeline needs it; arguments and errors as in `read`.

        Args:
            data: The file.
            cancellation: Ends the work.
            kind: Format of the file, as the caller named it.
            series: Number of the image in a file that holds several. None: the only one.
        """
        if file_format(bytes(data[:_HEAD_BYTES])) != kind:
            raise InvalidImage(f"the data is not a {kind.upper()} file", reason="IMAGE_UNDECODABLE")
        return Decoded.of(self.read(data, cancellation, series=series))

    def read(
        self,
        data: bytes | memoryview | MemoryFile,
        cancellation: CancellationToken,
        axes: str | None = None,
        series: int | None = None,
    ) -> Image:
        """Reads an image file.

        Args:
            data: The file. A `MemoryFile` is closed afterwards.
            cancellation: Ends the work, within `POLL_S`.
            axes: Axes of a TIFF file that does not name its axes; None: the reader's guess.
            series: As for `decode`.

        Raises:
            InvalidImage, ImageTooLarge: As `IsolatedReader.read`.
            WorkCancelledError: The work was cancelled.
        """
        wait = cancellation.raise_if_cancelled
        with translated_image_errors():
            return self._reader.read(
                data,
                limits=self._limits,
                seconds=self._seconds,
                axes=axes,
                series=series,
                wait=wait,
                grant=lambda size: self._memory.held(size, wait),
            )


class _Memory:
    """Memory for image files that are decoded at the same time, bytes. One image may exceed the limit alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._freed = threading.Condition()

    @contextlib.contextmanager
    def held(self, size: int, wait: Callable[[], None]) -> Iterator[None]:
        """Waits until the bytes are free, then holds them while the body runs."""
        with self._freed:
            while self._used and self._used + size > self._limit:
                self._freed.wait(POLL_S)
                wait()
            self._used += size
        try:
            yield
        finally:
            with self._freed:
                self._used -= size
                self._freed.notify_all()
