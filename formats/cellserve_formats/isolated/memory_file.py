"""Files in anonymous memory, which pass from process to process without a copy."""

from __future__ import annotations

import os
import weakref


class MemoryFile:
    """A file in anonymous memory (memfd). Whoever still refers to the file keeps its memory.

    Attributes:
        size: Bytes written.
    """

    def __init__(self, data: bytes | memoryview = b"") -> None:
        self._file = os.memfd_create("image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._close = weakref.finalize(self, os.close, self._file)
        self.size = 0
        self.write(data)

    def fileno(self) -> int:
        """Returns the descriptor, which is valid until `close`."""
        return self._file

    def write(self, data: bytes | memoryview) -> None:
        """Appends bytes.

        Raises:
            OSError: There is no memory.
        """
        view = memoryview(data)
        while view:
            written = os.write(self._file, view)
            view = view[written:]
            self.size += written

    def close(self) -> None:
        """Frees the memory, unless another process or a mapping has it."""
        self._close()
