"""The directories of a TIFF file, checked before a parser spends time and memory on them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import ImageError
from .files import FileBytes
from .limits import Limits

_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {4: "I", 13: "I", 16: "Q", 18: "Q"}  # types of offsets
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
    def of(cls, data: FileBytes) -> _Layout:
        order = "<" if data[:2] == b"II" else ">"
        if b"+" in data[2:4]:
            return cls(order, order + "Q", order + "HHQ8s", order + "Q", 8)
        return cls(order, order + "H", order + "HHI4s", order + "I", 4)


@dataclass(frozen=True, slots=True)
class _Entry:
    tag: int
    size: int
    offsets: tuple[int, ...]


def check_directories(data: FileBytes, limits: Limits) -> None:
    """Follows the chain of pages of a TIFF file, and counts its pages and the bytes of its tags.

    Args:
        data: The file.
        limits: `pages` and `metadata_bytes` are compared.

    Raises:
        ImageError: IMAGE_UNDECODABLE if the chain leads back to itself or a tag is larger than the file;
            IMAGE_TOO_LARGE above a limit.
    """
    layout = _Layout.of(data)
    metadata, smaller, seen = 0, 0, set[int]()
    following = _number(data, layout.inline, layout)
    while following:
        if following in seen:
            raise damaged("its pages lead back to themselves")
        seen.add(following)
        entries, following = _directory(data, following, layout)
        for entry in entries:
            metadata += _ENTRY_BYTES + entry.size
            for below in entry.offsets:
                if below >= len(data):  # metadata that the parser leaves out
                    continue
                smaller += entry.tag == _SUB_IFDS
                metadata += sum(_ENTRY_BYTES + part.size for part in _directory(data, below, layout)[0])
                limits.check_one("metadata_bytes", metadata)
        limits.check_one("pages", len(seen) + smaller)
        limits.check_one("metadata_bytes", metadata)


def damaged(why: str = "it is damaged or cut off") -> ImageError:
    """Returns the error of a TIFF file that cannot be decoded."""
    return ImageError(f"the TIFF file cannot be decoded; {why}", "IMAGE_UNDECODABLE")


def _directory(data: FileBytes, offset: int, layout: _Layout) -> tuple[Iterator[_Entry], int]:
    """Returns the entries of a directory and the offset of the next one, 0 after the last one.

    Raises:
        ImageError: IMAGE_UNDECODABLE: the file ends before.
    """
    start = offset + struct.calcsize(layout.count)
    if start > len(data):
        raise damaged("it is cut off: a page of it is not there")
    (count,) = struct.unpack_from(layout.count, data, offset)
    if count > _MOST_ENTRIES:
        raise damaged(f"a page has {count} tags")
    end = start + count * struct.calcsize(layout.entry)
    if end > len(data):
        raise damaged("it is cut off: a page of it is not there")
    entries = (_entry(data, layout, *fields) for fields in struct.iter_unpack(layout.entry, data[start:end]))
    return entries, _number(data, end, layout)


def _number(data: FileBytes, at: int, layout: _Layout) -> int:
    """Returns the offset that is stored at a place of the file; 0 where the file ends before."""
    if at + struct.calcsize(layout.offset) > len(data):
        return 0
    (number,) = struct.unpack_from(layout.offset, data, at)
    return int(number)


def _entry(data: FileBytes, layout: _Layout, tag: int, kind: int, count: int, value: bytes) -> _Entry:
    size = _TYPE_SIZES.get(kind, 0) * count
    if size > len(data):
        raise damaged(f"tag {tag} is larger than the file")
    offsets: tuple[int, ...] = ()
    if tag in _POINTERS and kind in _INTEGERS:
        inline = size <= layout.inline
        at = 0 if inline else struct.unpack(layout.offset, value)[0]
        source = value if inline else data
        if at + size <= len(source):
            offsets = struct.unpack_from(f"{layout.order}{count}{_INTEGERS[kind]}", source, at)
    return _Entry(tag, size, offsets)
