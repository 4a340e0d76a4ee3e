"""What the metadata files of a Zarr store say, read without the library of Zarr: a plate has thousands of them."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cellserve_formats.errors import ImageError
from cellserve_formats.limits import Limits

_FORMAT_3 = "zarr.json"
_MARKS = (_FORMAT_3, ".zattrs", ".zgroup", ".zarray")  # files that a folder has if it is a Zarr store


def is_store(path: Path) -> bool:
    """Tells whether a folder is a Zarr store."""
    return any(os.path.lexists(path / mark) for mark in _MARKS)


def is_array(path: Path, limits: Limits) -> bool:
    """Tells whether a store is a single array. Errors as in `attributes`."""
    if (path / _FORMAT_3).is_file():
        return _read(path / _FORMAT_3, limits).get("node_type") == "array"
    return (path / ".zarray").is_file()


def attributes(group: Path, limits: Limits) -> dict[str, Any]:
    """Returns the attributes of a group, of format 2 or 3.

    Raises:
        ImageError: IMAGE_UNDECODABLE: there is no group, or its metadata are damaged; IMAGE_TOO_LARGE.
        OSError: A file cannot be read.
    """
    if (group / _FORMAT_3).is_file():
        found = _read(group / _FORMAT_3, limits).get("attributes", {})
        return found if isinstance(found, dict) else {}
    if not (group / ".zgroup").is_file():
        raise _undecodable(f"{group.name} is not there or is no group: it has neither {_FORMAT_3} nor .zgroup")
    return _read(group / ".zattrs", limits) if (group / ".zattrs").is_file() else {}


def shape_and_dtype(array: Path, limits: Limits) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Returns the shape of an array, and the type of its values in native byte order. Errors as in `attributes`."""
    try:
        if (array / _FORMAT_3).is_file():
            facts = _read(array / _FORMAT_3, limits)
            dtype = np.dtype(facts["data_type"])
        elif (array / ".zarray").is_file():
            facts = _read(array / ".zarray", limits)
            dtype = np.dtype(facts["dtype"])
        else:
            raise _undecodable(f"the array {array.name} is not there")
        return tuple(int(length) for length in facts["shape"]), dtype.newbyteorder("=")
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise _undecodable(f"those of the array {array.name} break the rules ({_said(error)})") from error


def below(folder: Path, name: object) -> Path:
    """Returns the path of a node that metadata name. Raises ImageError if the name leads out of the folder."""
    path = PurePosixPath(str(name))
    if not isinstance(name, str) or not path.parts or path.is_absolute() or ".." in path.parts:
        raise _undecodable(f"they name the path {str(name)[:80]!r}, which is not in the store")
    return folder / path


def _read(file: Path, limits: Limits) -> dict[str, Any]:
    limits.check_one("metadata_bytes", file.stat().st_size)
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _undecodable(f"{file.name} of {file.parent.name} is damaged ({_said(error)})") from error
    if not isinstance(found, dict):
        raise _undecodable(f"{file.name} of {file.parent.name} is damaged (no object)")
    return found


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _undecodable(why: str) -> ImageError:
    return ImageError(f"the metadata of the Zarr store cannot be used: {why}", "IMAGE_UNDECODABLE")
