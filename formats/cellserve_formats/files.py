"""Files that are whole or not there: a failure leaves the earlier file, never half a new one."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

FileBytes = bytes | mmap.mmap
"""The bytes of a file: in memory, or mapped, so that only the parts that are used take memory."""

_PIECE = 1 << 20


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Opens a file that replaces `path` when it is closed without an error. Creates its folder.

    Raises:
        OSError: The file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{secrets.token_hex(8)}.part")  # short: file systems bound names
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file that replaces `path` once it is whole.

    Raises:
        OSError: The file cannot be written.
    """
    with replacing(path) as file:
        file.write(data)


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Writes JSON, indented, with each list of numbers on one line.

    Raises:
        OSError: The file cannot be written.
        ValueError: A number is not finite.
    """
    text = json.dumps(content, indent=2, allow_nan=False)
    text = re.sub(r"\[\n([-+.\deE,\s]+)\n\s*\]", lambda numbers: f"[{' '.join(numbers[1].split())}]", text)
    write_bytes(path, text.encode() + b"\n")


def read_bytes(path: Path, most: int) -> bytes | None:
    """Reads a file of any kind, a pipe too, of limited size.

    Args:
        path: The file.
        most: Largest size, bytes.

    Returns:
        The bytes; None if there are more than `most`.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode):
            return None if status.st_size > most else file.read()
        data = bytearray()
        while piece := file.read(_PIECE):
            data += piece
            if len(data) > most:
                return None
        return bytes(data)


def map_bytes(path: Path) -> FileBytes:
    """Maps a file.

    Returns:
        The bytes; those of an empty file are in memory.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
