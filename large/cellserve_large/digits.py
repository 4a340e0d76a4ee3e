"""Intensities as whole numbers of the same order, counted digit by digit: exact percentiles of what no memory holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BITS = 16
"""Bits of a digit."""

_PART = 1 << 20
"""Values that are counted at a time."""


def digits_of(dtype: np.dtype[Any]) -> int:
    """Returns the number of digits of the keys of a type."""
    return -(-8 * dtype.itemsize // BITS)


def to_keys(values: NDArray[Any]) -> NDArray[Any]:
    """Returns whole numbers in the order of the values; equal ones for equal values.

    Args:
        values: Of any real type of 1, 2, 4 or 8 bytes, finite.
    """
    kind, size = values.dtype.kind, values.dtype.itemsize
    unsigned = np.dtype(f"u{size}")
    top = unsigned.type(1 << (8 * size - 1))
    if kind in "bu":
        return values.astype(unsigned, copy=False)
    if kind == "i":
        keys: NDArray[Any] = values.view(unsigned) ^ top
        return keys
    bits: NDArray[Any] = (values + values.dtype.type(0)).view(unsigned)  # no negative zero
    return np.where(bits & top, ~bits, bits | top)


def from_key(key: int, dtype: np.dtype[Any]) -> float:
    """Returns the value of a key."""
    unsigned, top = np.dtype(f"u{dtype.itemsize}"), 1 << (8 * dtype.itemsize - 1)
    if dtype.kind in "bu":
        return float(key)
    if dtype.kind == "i":
        return float(key - top)
    bits = key ^ top if key & top else ~key & (2 * top - 1)
    return float(np.array(bits, unsigned).view(dtype))


def key_of(value: float, dtype: np.dtype[Any]) -> int:
    """Returns the key of a value, which the type can hold."""
    return int(to_keys(np.array([value]).astype(dtype))[0])


def count_digits(values: NDArray[Any], level: int, prefixes: Sequence[int]) -> NDArray[np.int64]:
    """Count a digit of the keys that begin with some prefix.

    Args:
        values: Of any shape.
        level: Digits before the one that is counted.
        prefixes: These digits, as one number each.

    Returns:
        int64 [prefixes, 2**BITS].
    """
    flat = values.reshape(-1)
    shift = BITS * (digits_of(values.dtype) - 1 - level)
    counts = np.zeros((len(prefixes), 1 << BITS), np.int64)
    for first in range(0, flat.size, _PART):
        keys = to_keys(flat[first : first + _PART])
        digits = (keys >> keys.dtype.type(shift)).astype(np.uint16) if shift else keys.astype(np.uint16)
        heads = None if level == 0 else keys >> keys.dtype.type(shift + BITS)
        for row, prefix in zip(counts, prefixes, strict=True):
            found = np.bincount(digits if heads is None else digits[heads == prefix])
            row[: found.size] += found
    return counts
