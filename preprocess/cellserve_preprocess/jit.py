"""How kernels are compiled."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a loop to machine code on first use, keep it on disk, and release the interpreter lock while it runs.

    Kernels are single-threaded: a server runs several images side by side.
    """
    return cast(Function, njit(cache=True, nogil=True)(function))


def inlined(function: Function) -> Function:
    """Compile a part of a loop into the kernels that call it: a call costs more than a step of it."""
    return cast(Function, njit(nogil=True, forceinline=True)(function))
