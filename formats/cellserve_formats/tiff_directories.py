"""The directories of a TIFF file, checked before a parser spends time and memory on them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import ImageError
from .limits import Limits

_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_SUB_IFDS = 330
_POINTERS = frozenset({_SUB_IFDS, 34665, 34853, 40965})  # tags that lead to directories: smaller copies, EXIF, GPS, ...
_ENTRY_BYTES = 64  # memory of one parsed tag without its value, at least
_MOST_ENTRIES = 4096  # tifffile takes no more either


@dataclass(frozen=True, slots=True)
class _Layout:
    """Numbers of classic TIFF or BigTIFF."""

    order: str
    count: str
    entry: str
    offset: str
    inline: int

    @classmethod
    def of(cls, data: bytes) -> _Layout:
        order = "<" if data[:2] == b"II" else ">"
        if b"+" in data[2:4]:
            return cls(order, order + "Q", order + "HHQ8s", order + "Q", 8)
        return cls(order, order + "H", order + "HHI4s", order + "I", 4)


@dataclass(frozen=True, slots=True)
class _Entry:
    tag: int
    size: int
    offsets: tuple[int, ...]


def check_directories(data: bytes, limits: Limits) -> None:
    """Follows the chain of pages of a TIFF file, and counts its pages and the bytes of its tags.

    Args:
        data: The file.
        limits: `pages` and `metadata_bytes` are compared.

    Raises:
        ImageError: IMAGE_UNDECODABLE if the chain leads back to itself or a tag is larger than the file;
            IMAGE_TOO_LARGE above a limit.
    """
    layout = _Layout.of(data)
    metadata, extra, seen = 0, 0, set[int]()
    try:
        (offset,) = struct.unpack_from(layout.offset, data, layout.inline)
        while offset:
            if offset in seen:
                raise damaged("its pages lead back to themselves")
            seen.add(offset)
            entries, offset = _directory(data, offset, layout)
            for entry in entries:
                metadata += _ENTRY_BYTES + entry.size
                for below in entry.offsets:
                    extra += entry.tag == _SUB_IFDS
                    metadata += sum(_ENTRY_BYTES + entry.size for entry in _directory_below(data, below, layout))
                    limits.check_one("metadata_bytes", metadata)
            limits.check_one("pages", len(seen) + extra)
            limits.check_one("metadata_bytes", metadata)
    except struct.error:  # the chain ends outside the file: the parser takes the pages before
        return


def damaged(why: str = "it is damaged or cut off") -> ImageError:
    """Returns the error of a TIFF file that cannot be decoded."""
    return ImageError(f"the TIFF file cannot be decoded; {why}", "IMAGE_UNDECODABLE")


def _directory_below(data: bytes, offset: int, layout: _Layout) -> list[_Entry]:
    try:
        return list(_directory(data, offset, layout)[0])
    except struct.error:
        return []


def _directory(data: bytes, offset: int, layout: _Layout) -> tuple[Iterator[_Entry], int]:
    """Returns the entries of a directory and the offset of the next one. Raises struct.error outside the file."""
    (count,) = struct.unpack_from(layout.count, data, offset)
    if count > _MOST_ENTRIES:
        raise damaged(f"a page has {count} tags")
    start = offset + struct.calcsize(layout.count)
    end = start + count * struct.calcsize(layout.entry)
    (following,) = struct.unpack_from(layout.offset, data, end)
    return (_entry(data, layout, *fields) for fields in struct.iter_unpack(layout.entry, data[start:end])), following


def _entry(data: bytes, layout: _Layout, tag: int, kind: int, count: int, value: bytes) -> _Entry:
    size = _TYPE_SIZES.get(kind, 0) * count
    if size > len(data):
        raise damaged(f"tag {tag} is larger than the file")
    offsets: tuple[int, ...] = ()
    if tag in _POINTERS and _TYPE_SIZES.get(kind) in (4, 8) and kind not in (5, 10, 11, 12):
        letter = "I" if _TYPE_SIZES[kind] == 4 else "Q"
        at = 0 if size <= layout.inline else struct.unpack(layout.offset, value)[0]
        source = value if size <= layout.inline else data
        offsets = struct.unpack_from(f"{layout.order}{count}{letter}", source, at)
    return _Entry(tag, size, offsets)
